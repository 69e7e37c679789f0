//! The columns of a segment: a Parquet file whose pages are granules.
//!
//! Lines are kept as patterns and variables ([`super::variables`]); the variables of a granule are
//! one value, in the granule's first row. One row group, no dictionaries, and exactly one data page a granule in every leaf column, so a
//! granule of a column is fetched by byte range and decoded alone. The file ends with Parquet's
//! own metadata and offset index; cut out of the segment it is an ordinary Parquet file.
//!
//! What always holds: [`ColumnWriter::finish`] refuses a file whose pages are not the granules.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, MapBuilder, MapFieldNames, RecordBatch, StringBuilder,
    TimestampNanosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::build::BuildOptions;
use super::error::BuildError;
use super::granule::{Head, Page};
use super::sections::COLUMNS;

/// The column of lines in format 1.
pub(crate) const LINE: &str = "line";

/// The column of lines without their patterns, one value a granule, in its first row.
pub(crate) const VARIABLES: &str = "variables";

/// Before the name of a promoted attribute in its column's name.
pub(crate) const PROMOTED_PREFIX: &str = "attribute_";

/// Leaf columns by number; promoted attributes follow.
pub(crate) const TIME: usize = 0;
pub(crate) const STREAM: usize = 1;
pub(crate) const LEVEL: usize = 2;
pub(crate) const PATTERN: usize = 3;
/// The lines in format 1, [`VARIABLES`] since.
pub(crate) const LINES: usize = 4;
/// Names of the attributes that have no column of their own.
pub(crate) const ATTRIBUTE_NAMES: usize = 5;
pub(crate) const ATTRIBUTE_VALUES: usize = 6;
pub(crate) const PROMOTED: usize = 7;

fn entry_names() -> MapFieldNames {
    MapFieldNames {
        entry: "key_value".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    }
}

/// Which of the formats' columns hold the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineColumn {
    /// Format 1: whole lines.
    Lines,
    /// Format 2: variables.
    Variables,
}

pub(crate) fn schema(line: LineColumn, promoted: &[String]) -> Arc<Schema> {
    let names = entry_names();
    let entry = Fields::from(vec![
        Field::new(names.key, DataType::Utf8, false),
        Field::new(names.value, DataType::Utf8, false),
    ]);
    let entries = Field::new(names.entry, DataType::Struct(entry), false);
    let utc = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let mut fields = vec![
        Field::new("time", utc, false),
        Field::new("stream", DataType::UInt32, false),
        Field::new("level", DataType::UInt32, false),
        Field::new("pattern", DataType::UInt32, false),
        match line {
            LineColumn::Lines => Field::new(LINE, DataType::Utf8, false),
            LineColumn::Variables => Field::new(VARIABLES, DataType::Binary, true),
        },
        Field::new("attributes", DataType::Map(Arc::new(entries), false), false),
    ];
    let column =
        |name: &String| Field::new(format!("{PROMOTED_PREFIX}{name}"), DataType::Utf8, true);
    fields.extend(promoted.iter().map(column));
    Arc::new(Schema::new(fields))
}

fn properties(options: BuildOptions) -> Result<WriterProperties, ParquetError> {
    let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    Ok(WriterProperties::builder()
        .set_created_by(concat!("millrace ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(options.zstd_level)?))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::DELTA_LENGTH_BYTE_ARRAY)
        .set_column_encoding(path("time"), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(path("stream"), Encoding::DELTA_BINARY_PACKED)
        // Small numbers: their upper bytes are zeros, which together take no room.
        .set_column_encoding(path("level"), Encoding::BYTE_STREAM_SPLIT)
        .set_column_encoding(path("pattern"), Encoding::BYTE_STREAM_SPLIT)
        .set_column_encoding(path(VARIABLES), Encoding::PLAIN)
        // Compressed by us, stream by stream.
        .set_column_compression(path(VARIABLES), Compression::UNCOMPRESSED)
        // A page ends where a granule does, whatever its size, and only there.
        .set_data_page_row_count_limit(options.granule_rows)
        .set_data_page_size_limit(usize::MAX)
        .set_write_batch_size(options.granule_rows)
        .set_max_row_group_row_count(None)
        .build())
}

/// The rows of one granule on their way into columns.
#[derive(Debug)]
pub(crate) struct GranuleColumns {
    pub(crate) times: Vec<i64>,
    pub(crate) streams: Vec<u32>,
    pub(crate) levels: Vec<u32>,
    pub(crate) patterns: Vec<u32>,
    pub(crate) variables: Vec<u8>,
    /// How many of the last bytes of `variables` are groups.
    pub(crate) groups_bytes: usize,
    attributes: MapBuilder<StringBuilder, StringBuilder>,
    /// Whether `attributes` has any.
    rest: bool,
    promoted: Vec<StringBuilder>,
}

impl GranuleColumns {
    /// Room for `rows` rows.
    pub(crate) fn new(rows: usize, promoted: usize) -> Self {
        let value = Field::new("value", DataType::Utf8, false);
        Self {
            times: Vec::with_capacity(rows),
            streams: Vec::with_capacity(rows),
            levels: Vec::with_capacity(rows),
            patterns: Vec::with_capacity(rows),
            variables: Vec::new(),
            groups_bytes: 0,
            attributes: MapBuilder::with_capacity(
                Some(entry_names()),
                StringBuilder::new(),
                StringBuilder::new(),
                rows,
            )
            .with_values_field(value),
            rest: false,
            promoted: (0..promoted).map(|_| StringBuilder::with_capacity(rows, 0)).collect(),
        }
    }

    /// Whether no row has an attribute without a column of its own.
    pub(crate) fn rest_is_empty(&self) -> bool {
        !self.rest
    }

    /// Adds an attribute without a column of its own to the row at hand.
    pub(crate) fn attribute(&mut self, name: &str, value: &str) {
        self.rest = true;
        self.attributes.keys().append_value(name);
        self.attributes.values().append_value(value);
    }

    /// Ends the row's attributes: `promoted` are its values in the columns of their own.
    pub(crate) fn end_attributes(&mut self, promoted: &[Option<&str>]) -> Result<(), BuildError> {
        for (column, value) in self.promoted.iter_mut().zip(promoted) {
            column.append_option(*value);
        }
        self.attributes.append(true).map_err(failed)
    }

    fn finish(mut self, schema: &Arc<Schema>) -> Result<RecordBatch, BuildError> {
        let rows = self.times.len();
        let mut variables = BinaryBuilder::with_capacity(rows, self.variables.len());
        variables.append_value(&self.variables);
        variables.append_nulls(rows - 1);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from(self.times).with_timezone("UTC")),
            Arc::new(UInt32Array::from(self.streams)),
            Arc::new(UInt32Array::from(self.levels)),
            Arc::new(UInt32Array::from(self.patterns)),
            Arc::new(variables.finish()),
            Arc::new(self.attributes.finish()),
        ];
        columns
            .extend(self.promoted.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        RecordBatch::try_new(Arc::clone(schema), columns).map_err(failed)
    }
}

/// Writes the Parquet file granule by granule.
pub(crate) struct ColumnWriter {
    schema: Arc<Schema>,
    writer: ArrowWriter<Vec<u8>>,
    granule_rows: usize,
    rows: usize,
    /// By granule, how many of the last bytes of its variables are groups.
    groups_bytes: Vec<usize>,
}

/// The finished Parquet file, and what the footer and the granule table need of it.
#[derive(Debug)]
pub(crate) struct EncodedColumns {
    pub(crate) file: Bytes,
    /// Parquet's offset index and metadata, at the end of the file.
    pub(crate) meta: Range<usize>,
    pub(crate) pages: Vec<Vec<Page>>,
    pub(crate) heads: Vec<Head>,
}

fn failed(cause: impl std::fmt::Display) -> BuildError {
    BuildError::encode(COLUMNS, cause)
}

impl ColumnWriter {
    pub(crate) fn new(promoted: &[String], options: BuildOptions) -> Result<Self, BuildError> {
        let schema = schema(LineColumn::Variables, promoted);
        let properties = properties(options).map_err(failed)?;
        let writer_options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer =
            ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), writer_options)
                .map_err(failed)?;
        let (granule_rows, groups_bytes) = (options.granule_rows, Vec::new());
        Ok(Self { schema, writer, granule_rows, rows: 0, groups_bytes })
    }

    /// Appends the next granule; only the last may have fewer rows.
    pub(crate) fn write(&mut self, granule: GranuleColumns) -> Result<(), BuildError> {
        self.groups_bytes.push(granule.groups_bytes);
        let batch = granule.finish(&self.schema)?;
        self.rows += batch.num_rows();
        self.writer.write(&batch).map_err(failed)
    }

    pub(crate) fn finish(mut self) -> Result<EncodedColumns, BuildError> {
        self.writer.finish().map_err(failed)?;
        let file = Bytes::from(std::mem::take(self.writer.inner_mut()));
        let pages = pages(&file, self.rows, self.granule_rows).map_err(failed)?;
        let heads = heads(&file, &pages[LINES], &self.groups_bytes).map_err(failed)?;
        let last_page_end = pages.iter().flatten().map(|p| p.offset + u64::from(p.bytes)).max();
        let meta_start = usize::try_from(last_page_end.unwrap_or(0)).map_err(failed)?;
        Ok(EncodedColumns { meta: meta_start..file.len(), file, pages, heads })
    }
}

/// What of the pages of variables comes before their groups, which are at the end: a value that is
/// not compressed is the last thing in its page.
fn heads(file: &Bytes, pages: &[Page], groups_bytes: &[usize]) -> Result<Vec<Head>, &'static str> {
    let head = |(page, groups): (&Page, &usize)| {
        let bytes = page.bytes.checked_sub(u32::try_from(*groups).ok()?)?;
        let start = page.offset as usize;
        Some(Head { bytes, crc: crc32c::crc32c(file.get(start..start + bytes as usize)?) })
    };
    let heads: Option<Vec<Head>> = pages.iter().zip(groups_bytes).map(head).collect();
    heads.ok_or("a page of variables is smaller than its groups")
}

/// Where Parquet put the pages, once it is certain that they are the granules.
///
/// Reads the finished file the way a reader will, so what cannot be read is never published.
fn pages(file: &Bytes, rows: usize, granule_rows: usize) -> Result<Vec<Vec<Page>>, String> {
    let granules = rows.div_ceil(granule_rows);
    let meta = parse_meta(file, file.len() as u64).map_err(|cause| cause.to_string())?;
    if meta.num_row_groups() != 1 {
        return Err(format!("there are {} row groups", meta.num_row_groups()));
    }
    let index = meta.page_index_for_row_group(0);
    let mut columns = Vec::with_capacity(meta.row_group(0).num_columns());
    for column in 0..meta.row_group(0).num_columns() {
        let locations = index.page_locations(column).ok_or("a column has no offset index")?;
        let aligned = locations
            .iter()
            .enumerate()
            .all(|(granule, page)| page.first_row_index == (granule * granule_rows) as i64);
        let adjoining = locations
            .windows(2)
            .all(|two| two[0].offset + i64::from(two[0].compressed_page_size) == two[1].offset);
        if !aligned || !adjoining || locations.len() != granules {
            return Err(format!("the pages of column {column} are not the granules"));
        }
        let located: Option<Vec<Page>> = locations
            .iter()
            .map(|location| {
                let offset = usize::try_from(location.offset).ok()?;
                let bytes = u32::try_from(location.compressed_page_size).ok()?;
                let crc = crc32c::crc32c(file.get(offset..offset + bytes as usize)?);
                Some(Page { offset: offset as u64, bytes, crc })
            })
            .collect();
        columns.push(located.ok_or("a page lies outside the file")?);
    }
    Ok(columns)
}

/// Parquet's metadata off the end of a file of `file_bytes`.
pub(crate) fn parse_meta(tail: &Bytes, file_bytes: u64) -> Result<ParquetMetaData, ParquetError> {
    let mut reader = ParquetMetaDataReader::new()
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(PageIndexPolicy::Required);
    reader.try_parse_sized(tail, file_bytes)?;
    reader.finish()
}
