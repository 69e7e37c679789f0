//! The columns of a segment: a Parquet file whose pages are granules.
//!
//! One row group, no dictionaries, and exactly one data page a granule in every leaf column, so a
//! granule of a column is fetched by byte range and decoded alone. The file ends with Parquet's
//! own metadata and offset index; cut out of the segment it is an ordinary Parquet file.
//!
//! What always holds: [`ColumnWriter::finish`] refuses a file whose pages are not the granules.
//! Pages are checked against the checksums of the granule table before they are decoded.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, MapArray, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
    TimestampNanosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::ColumnPath;

use super::build::BuildOptions;
use super::error::BuildError;
use super::granule::Page;
use super::sections::COLUMNS;
use super::wire::Malformed;

/// Before the name of a promoted attribute in its column's name.
pub(crate) const PROMOTED_PREFIX: &str = "attribute_";

/// Leaf columns by number; promoted attributes follow.
pub(crate) const TIME: usize = 0;
pub(crate) const STREAM: usize = 1;
pub(crate) const LEVEL: usize = 2;
pub(crate) const PATTERN: usize = 3;
pub(crate) const LINE: usize = 4;
/// Names of the attributes that have no column of their own.
pub(crate) const ATTRIBUTE_NAMES: usize = 5;
pub(crate) const ATTRIBUTE_VALUES: usize = 6;
pub(crate) const PROMOTED: usize = 7;

/// zstd level of the columns: 1 to 3 cost little more to write than they save in writing.
pub const ZSTD_LEVEL_DEFAULT: i32 = 1;

fn entry_names() -> MapFieldNames {
    MapFieldNames {
        entry: "key_value".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    }
}

fn schema(promoted: &[String]) -> Arc<Schema> {
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
        Field::new("line", DataType::Utf8, false),
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
        .set_column_encoding(path("level"), Encoding::PLAIN)
        .set_column_encoding(path("pattern"), Encoding::PLAIN)
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
    pub(crate) lines: StringBuilder,
    attributes: MapBuilder<StringBuilder, StringBuilder>,
    promoted: Vec<StringBuilder>,
}

impl GranuleColumns {
    /// Room for `rows` rows with `line_bytes` bytes of lines.
    pub(crate) fn new(rows: usize, line_bytes: usize, promoted: usize) -> Self {
        let value = Field::new("value", DataType::Utf8, false);
        Self {
            times: Vec::with_capacity(rows),
            streams: Vec::with_capacity(rows),
            levels: Vec::with_capacity(rows),
            patterns: Vec::with_capacity(rows),
            lines: StringBuilder::with_capacity(rows, line_bytes),
            attributes: MapBuilder::with_capacity(
                Some(entry_names()),
                StringBuilder::new(),
                StringBuilder::new(),
                rows,
            )
            .with_values_field(value),
            promoted: (0..promoted).map(|_| StringBuilder::with_capacity(rows, 0)).collect(),
        }
    }

    /// Adds an attribute without a column of its own to the row at hand.
    pub(crate) fn attribute(&mut self, name: &str, value: &str) {
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
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from(self.times).with_timezone("UTC")),
            Arc::new(UInt32Array::from(self.streams)),
            Arc::new(UInt32Array::from(self.levels)),
            Arc::new(UInt32Array::from(self.patterns)),
            Arc::new(self.lines.finish()),
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
}

/// The finished Parquet file, and what the footer and the granule table need of it.
#[derive(Debug)]
pub(crate) struct EncodedColumns {
    pub(crate) file: Bytes,
    /// Parquet's offset index and metadata, at the end of the file.
    pub(crate) meta: Range<usize>,
    pub(crate) pages: Vec<Vec<Page>>,
}

fn failed(cause: impl std::fmt::Display) -> BuildError {
    BuildError::encode(COLUMNS, cause)
}

impl ColumnWriter {
    pub(crate) fn new(promoted: &[String], options: BuildOptions) -> Result<Self, BuildError> {
        let schema = schema(promoted);
        let properties = properties(options).map_err(failed)?;
        let writer_options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer =
            ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), writer_options)
                .map_err(failed)?;
        Ok(Self { schema, writer, granule_rows: options.granule_rows, rows: 0 })
    }

    /// Appends the next granule; only the last may have fewer rows.
    pub(crate) fn write(&mut self, granule: GranuleColumns) -> Result<(), BuildError> {
        let batch = granule.finish(&self.schema)?;
        self.rows += batch.num_rows();
        self.writer.write(&batch).map_err(failed)
    }

    pub(crate) fn finish(mut self) -> Result<EncodedColumns, BuildError> {
        self.writer.finish().map_err(failed)?;
        let file = Bytes::from(std::mem::take(self.writer.inner_mut()));
        let pages = pages(&file, self.rows, self.granule_rows).map_err(failed)?;
        let last_page_end = pages.iter().flatten().map(|p| p.offset + u64::from(p.bytes)).max();
        let meta_start = usize::try_from(last_page_end.unwrap_or(0)).map_err(failed)?;
        Ok(EncodedColumns { meta: meta_start..file.len(), file, pages })
    }
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

fn parse_meta(tail: &Bytes, file_bytes: u64) -> Result<ParquetMetaData, ParquetError> {
    let mut reader = ParquetMetaDataReader::new()
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(PageIndexPolicy::Required);
    reader.try_parse_sized(tail, file_bytes)?;
    reader.finish()
}

/// Decodes granules of a Parquet file of which only the end has been read.
#[derive(Debug)]
pub(crate) struct ColumnReader {
    meta: ArrowReaderMetadata,
    file_bytes: u64,
    promoted: Vec<String>,
}

const UNREADABLE: Malformed = Malformed("Parquet cannot read it");
const OTHER_SHAPE: Malformed = Malformed("its columns are not those of a logs segment");

impl ColumnReader {
    /// `tail` are the last bytes of a file of `file_bytes`.
    pub(crate) fn open(tail: &Bytes, file_bytes: u64) -> Result<Self, Malformed> {
        let meta = parse_meta(tail, file_bytes).map_err(|_| UNREADABLE)?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let meta = ArrowReaderMetadata::try_new(Arc::new(meta), options).map_err(|_| UNREADABLE)?;
        let fields = meta.schema().fields();
        let expected = schema(&[]);
        let same =
            expected.fields().iter().zip(fields).all(|(want, have)| {
                want.name() == have.name() && want.data_type() == have.data_type()
            });
        if fields.len() < expected.fields().len() || !same || meta.metadata().num_row_groups() != 1
        {
            return Err(OTHER_SHAPE);
        }
        let promoted = fields
            .iter()
            .skip(expected.fields().len())
            .map(|field| field.name().strip_prefix(PROMOTED_PREFIX).map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or(OTHER_SHAPE)?;
        Ok(Self { meta, file_bytes, promoted })
    }

    /// How many leaf columns there are.
    pub(crate) fn leaves(&self) -> usize {
        PROMOTED + self.promoted.len()
    }

    /// Names of the attributes that have columns of their own, in the order of the columns.
    pub(crate) fn promoted(&self) -> &[String] {
        &self.promoted
    }

    /// Decodes the given leaf columns of the granule that has `rows` from its pages.
    pub(crate) fn decode(
        &self,
        rows: Range<usize>,
        leaves: &[usize],
        pages: Vec<(u64, Bytes)>,
    ) -> Result<GranuleBatch, Malformed> {
        let mask = ProjectionMask::leaves(self.meta.parquet_schema(), leaves.iter().copied());
        let selection = RowSelection::from(vec![
            RowSelector::skip(rows.start),
            RowSelector::select(rows.len()),
        ]);
        let fetched = FetchedPages { pages, file_bytes: self.file_bytes };
        let mut reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(fetched, self.meta.clone())
                .with_batch_size(rows.len())
                .with_projection(mask)
                .with_row_selection(selection)
                .build()
                .map_err(|_| UNREADABLE)?;
        let batch = reader.next().ok_or(UNREADABLE)?.map_err(|_| UNREADABLE)?;
        if batch.num_rows() != rows.len() {
            return Err(Malformed("a page does not hold the rows of its granule"));
        }
        Ok(GranuleBatch(batch))
    }
}

/// Some columns of a granule, decoded.
#[derive(Clone, Debug)]
pub(crate) struct GranuleBatch(RecordBatch);

impl GranuleBatch {
    pub(crate) fn times(&self) -> Result<&[i64], Malformed> {
        self.column::<TimestampNanosecondArray>("time").map(|column| &column.values()[..])
    }

    pub(crate) fn numbers(&self, name: &str) -> Result<&[u32], Malformed> {
        self.column::<UInt32Array>(name).map(|column| &column.values()[..])
    }

    pub(crate) fn lines(&self) -> Result<&StringArray, Malformed> {
        self.column("line")
    }

    /// The attributes without columns of their own.
    pub(crate) fn attributes(&self) -> Result<AttributeMap<'_>, Malformed> {
        let map: &MapArray = self.column("attributes")?;
        let text = |array: &'_ ArrayRef| array.as_any().downcast_ref::<StringArray>().is_some();
        if !text(map.keys()) || !text(map.values()) {
            return Err(OTHER_SHAPE);
        }
        Ok(AttributeMap(map))
    }

    /// The column of a promoted attribute.
    pub(crate) fn promoted(&self, name: &str) -> Result<&StringArray, Malformed> {
        self.column(&format!("{PROMOTED_PREFIX}{name}"))
    }

    fn column<T: Array + 'static>(&self, name: &str) -> Result<&T, Malformed> {
        let column = self.0.column_by_name(name).ok_or(OTHER_SHAPE)?;
        column.as_any().downcast_ref().ok_or(OTHER_SHAPE)
    }
}

/// Names and values by row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttributeMap<'a>(&'a MapArray);

impl<'a> AttributeMap<'a> {
    pub(crate) fn row(self, row: usize) -> impl Iterator<Item = (&'a str, &'a str)> {
        let text = |array: &'a ArrayRef| array.as_any().downcast_ref::<StringArray>();
        let columns = text(self.0.keys()).zip(text(self.0.values()));
        let offsets = self.0.value_offsets();
        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        columns.into_iter().flat_map(move |(names, values)| {
            (start..end).map(move |at| (names.value(at), values.value(at)))
        })
    }
}

/// Stands for the Parquet file: knows the fetched pages only.
#[derive(Debug)]
struct FetchedPages {
    pages: Vec<(u64, Bytes)>,
    file_bytes: u64,
}

impl Length for FetchedPages {
    fn len(&self) -> u64 {
        self.file_bytes
    }
}

impl ChunkReader for FetchedPages {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let missing = || ParquetError::General("a page was not fetched".to_owned());
        let inside = |(at, bytes): &&(u64, Bytes)| (*at..at + bytes.len() as u64).contains(&start);
        let (at, bytes) = self.pages.iter().find(inside).ok_or_else(missing)?;
        Ok(bytes.slice((start - at) as usize..).reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let rest = self.get_read(start)?.into_inner();
        if rest.len() < length {
            return Err(ParquetError::General("a page was fetched in part".to_owned()));
        }
        Ok(rest.slice(..length))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::granule::GRANULE_ROWS;
    use super::*;

    fn write(rows: usize) -> EncodedColumns {
        let promoted = ["trace_id".to_owned()];
        let mut writer = ColumnWriter::new(&promoted, BuildOptions::default()).unwrap();
        for granule in (0..rows).step_by(GRANULE_ROWS) {
            let here = GRANULE_ROWS.min(rows - granule);
            let mut columns = GranuleColumns::new(here, 0, 1);
            for row in granule..granule + here {
                columns.times.push(row as i64);
                columns.streams.push(0);
                columns.levels.push(row as u32 % 3);
                columns.patterns.push(row as u32);
                columns.lines.append_value(format!("line {row} {}", "x".repeat(row % 50)));
                for n in 0..row % 4 {
                    columns.attribute(&format!("name{n}"), &format!("{row}"));
                }
                let trace = format!("{row:x}");
                columns.end_attributes(&[(row % 2 == 0).then_some(&trace[..])]).unwrap();
            }
            writer.write(columns).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn every_granule_is_one_page_in_every_column_and_decodes_alone() {
        for rows in [1, GRANULE_ROWS, GRANULE_ROWS + 1, 3 * GRANULE_ROWS - 7] {
            let encoded = write(rows);
            assert_eq!(encoded.pages.len(), PROMOTED + 1);
            let tail = encoded.file.slice(encoded.meta.clone());
            let reader = ColumnReader::open(&tail, encoded.file.len() as u64).unwrap();
            assert_eq!(reader.promoted(), ["trace_id"]);
            assert_eq!(reader.leaves(), PROMOTED + 1);
            for granule in 0..rows.div_ceil(GRANULE_ROWS) {
                let here = GRANULE_ROWS.min(rows - granule * GRANULE_ROWS);
                let page = |leaf: usize| {
                    let page = encoded.pages[leaf][granule];
                    let start = page.offset as usize;
                    (page.offset, encoded.file.slice(start..start + page.bytes as usize))
                };
                let leaves: Vec<usize> = (0..reader.leaves()).collect();
                let pages = leaves.iter().map(|leaf| page(*leaf)).collect();
                let start = granule * GRANULE_ROWS;
                let batch = reader.decode(start..start + here, &leaves, pages).unwrap();
                for at in [0, here / 2, here - 1] {
                    let row = granule * GRANULE_ROWS + at;
                    assert_eq!(batch.times().unwrap()[at], row as i64);
                    assert_eq!(batch.numbers("pattern").unwrap()[at], row as u32);
                    assert!(batch.lines().unwrap().value(at).starts_with(&format!("line {row} ")));
                    assert_eq!(batch.attributes().unwrap().row(at).count(), row % 4);
                    let trace = batch.promoted("trace_id").unwrap();
                    assert_eq!(trace.is_null(at), row % 2 == 1);
                }
                let only = reader.decode(start..start + here, &[TIME], vec![page(TIME)]).unwrap();
                assert_eq!(only.times().unwrap().len(), here);
                assert!(only.lines().is_err());
            }
        }
    }

    #[test]
    fn rows_without_any_attribute_still_have_their_pages() {
        let mut writer = ColumnWriter::new(&[], BuildOptions::default()).unwrap();
        for _ in 0..2 {
            let mut columns = GranuleColumns::new(GRANULE_ROWS, 0, 0);
            for _ in 0..GRANULE_ROWS {
                columns.times.push(0);
                columns.streams.push(0);
                columns.levels.push(0);
                columns.patterns.push(0);
                columns.lines.append_value("");
                columns.end_attributes(&[]).unwrap();
            }
            writer.write(columns).unwrap();
        }
        let encoded = writer.finish().unwrap();
        assert!(encoded.pages.iter().all(|column| column.len() == 2));
    }
}
