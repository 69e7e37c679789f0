//! Reading granules of the columns: pages in, Arrow arrays out.
//!
//! What always holds: a file of other columns is refused on opening. Callers compare pages with
//! the checksums of the granule table before they hand them in; what still does not decode is
//! [`Malformed`], never a panic.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, MapArray, RecordBatch, StringArray, TimestampNanosecondArray,
    UInt32Array,
};
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::columns::{
    LINE, LINES, LineColumn, PROMOTED, PROMOTED_PREFIX, VARIABLES, parse_meta, schema,
};
use super::page::first_value;
use super::pattern_table::PatternTable;
use super::variables::{Encoded, Opened, Shapes, TokenNeedles, UNREAD, Variables};
use crate::wire::Malformed;

/// Decodes granules of a Parquet file of which only the end has been read.
#[derive(Debug)]
pub(crate) struct ColumnReader {
    meta: ArrowReaderMetadata,
    file_bytes: u64,
    /// Whether variables stand in place of whole lines, not compressed as a page.
    apart: bool,
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
        let whole = fields.get(LINES).is_some_and(|field| field.name() == LINE);
        let expected = schema(if whole { LineColumn::Lines } else { LineColumn::Variables }, &[]);
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
        let row_group = meta.metadata().row_group(0);
        let plain = row_group.columns().get(LINES).map(|column| column.compression());
        let apart = !whole && plain == Some(Compression::UNCOMPRESSED);
        Ok(Self { meta, file_bytes, apart, promoted })
    }

    /// How many leaf columns there are.
    pub(crate) fn leaves(&self) -> usize {
        PROMOTED + self.promoted.len()
    }

    /// The leaf columns by their paths in the Parquet schema, in order.
    pub(crate) fn leaf_names(&self) -> impl Iterator<Item = String> {
        let leaves = self.meta.parquet_schema().columns().iter();
        leaves.map(|column| column.path().string())
    }

    /// Whether the pages of a leaf column are compressed with zstd.
    pub(crate) fn zstd(&self, leaf: usize) -> bool {
        let columns = self.meta.metadata().row_group(0).columns();
        columns.get(leaf).is_some_and(|c| matches!(c.compression(), Compression::ZSTD(_)))
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
        extent: Extent,
    ) -> Result<GranuleBatch, Malformed> {
        let (mut leaves, mut pages) = (leaves.to_vec(), pages);
        let mut variables = None;
        if let Some(at) = leaves.iter().position(|leaf| self.apart && *leaf == LINES)
            && let Some((_, page)) = pages.get(at)
        {
            variables = first_value(page, rows.len(), extent == Extent::Head)?;
            if variables.is_some() {
                leaves.remove(at);
                pages.remove(at);
            }
        }
        let rows_here = rows.len();
        let columns = match leaves.is_empty() {
            true => None,
            false => Some(self.decode_columns(rows, &leaves, pages)?),
        };
        let groups = (extent == Extent::Head).then(Vec::new);
        Ok(GranuleBatch { rows: rows_here, columns, variables, groups })
    }

    fn decode_columns(
        &self,
        rows: Range<usize>,
        leaves: &[usize],
        pages: Vec<(u64, Bytes)>,
    ) -> Result<RecordBatch, Malformed> {
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
        Ok(batch)
    }
}

/// How much of the page of variables there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    /// What comes before the groups.
    Head,
}

/// Some columns of a granule, decoded.
#[derive(Clone, Debug)]
pub(crate) struct GranuleBatch {
    rows: usize,
    /// `None` when there are none but `variables`.
    columns: Option<RecordBatch>,
    /// The granule's variables, where Parquet had no need to be asked.
    variables: Option<Bytes>,
    /// Where `variables` are what comes before the groups: by their numbers, those that were read.
    groups: Option<Vec<Option<Bytes>>>,
}

impl GranuleBatch {
    /// Takes in the groups that were read.
    pub(crate) fn hold_groups(&mut self, groups: Vec<Option<Bytes>>) {
        self.groups = Some(groups);
    }

    pub(crate) fn times(&self) -> Result<&[i64], Malformed> {
        self.column::<TimestampNanosecondArray>("time").map(|column| &column.values()[..])
    }

    pub(crate) fn numbers(&self, name: &str) -> Result<&[u32], Malformed> {
        self.column::<UInt32Array>(name).map(|column| &column.values()[..])
    }

    /// The granule's lines, whichever way the segment keeps them. `patterns` are those of all rows.
    pub(crate) fn lines<'a>(
        &'a self,
        table: &'a PatternTable,
        patterns: &'a [u32],
    ) -> Result<Lines<'a>, Malformed> {
        match self.variables(patterns)? {
            None => self.column(LINE).map(Lines::Whole),
            Some(variables) => {
                let shapes = Cow::Owned(Shapes::of(table, patterns)?);
                let opened = Opened::new(variables, table, patterns, shapes)?;
                Ok(Lines::Opened(Box::new(opened)))
            }
        }
    }

    /// The granule's variables, `shapes` being its rows by pattern; `None` when it has whole lines.
    pub(crate) fn opened<'a>(
        &'a self,
        table: &'a PatternTable,
        patterns: &'a [u32],
        shapes: &'a Shapes,
    ) -> Result<Option<Opened<'a>>, Malformed> {
        let shapes = Cow::Borrowed(shapes);
        let variables = self.variables(patterns)?;
        variables.map(|encoded| Opened::new(encoded, table, patterns, shapes)).transpose()
    }

    /// The granule's variables; `None` when it has whole lines.
    fn variables(&self, patterns: &[u32]) -> Result<Option<Encoded<'_>>, Malformed> {
        if patterns.len() != self.rows {
            return Err(OTHER_SHAPE);
        }
        match (&self.variables, &self.groups) {
            (Some(head), Some(groups)) => return Ok(Some(Encoded::InPart { head, groups })),
            (Some(all), None) => return Ok(Some(Encoded::Whole(all))),
            (None, _) => {}
        }
        if self.columns.as_ref().is_none_or(|c| c.column_by_name(VARIABLES).is_none()) {
            return Ok(None);
        }
        let variables: &BinaryArray = self.column(VARIABLES)?;
        if variables.is_empty() || variables.is_null(0) {
            return Err(OTHER_SHAPE);
        }
        Ok(Some(Encoded::Whole(variables.value(0))))
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
        let column = self.columns.as_ref().and_then(|columns| columns.column_by_name(name));
        let column = column.ok_or(OTHER_SHAPE)?;
        column.as_any().downcast_ref().ok_or(OTHER_SHAPE)
    }
}

/// The lines of a granule.
#[derive(Debug)]
pub(crate) enum Lines<'a> {
    Whole(&'a StringArray),
    /// Patterns and variables, which can be searched.
    Opened(Box<Opened<'a>>),
    /// Patterns and variables, put together line by line.
    Apart(Box<Variables<'a>>),
}

impl Lines<'_> {
    /// Which of `rows` satisfy `filters`, by row of the granule; `None` when lines must be searched.
    pub(crate) fn satisfying(
        &mut self,
        filters: &[TokenNeedles],
        rows: impl Iterator<Item = usize> + Clone,
    ) -> Result<Option<Vec<bool>>, Malformed> {
        match self {
            Self::Opened(opened) => opened.satisfying(filters, rows).map(Some),
            Self::Whole(_) | Self::Apart(_) => Ok(None),
        }
    }

    /// Lines of which `rows` can be read.
    pub(crate) fn for_rows(self, rows: impl Iterator<Item = usize>) -> Result<Self, Malformed> {
        match self {
            Self::Opened(opened) => Ok(Self::Apart(Box::new(Variables::open(*opened, rows)?))),
            lines => Ok(lines),
        }
    }

    /// The line of `row`.
    pub(crate) fn get(&mut self, row: usize) -> Result<&str, Malformed> {
        match self {
            Self::Whole(lines) => Ok(lines.value(row)),
            Self::Opened(_) => Err(UNREAD),
            Self::Apart(variables) => variables.line(row),
        }
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

    use super::super::build::BuildOptions;
    use super::super::columns::{ColumnWriter, EncodedColumns, GranuleColumns, TIME};
    use super::super::granule::GRANULE_ROWS;
    use super::*;

    /// How many of the last bytes of the variables below are groups.
    const GROUPS_BYTES: usize = 1;

    fn write(rows: usize) -> EncodedColumns {
        let promoted = ["trace_id".to_owned()];
        let mut writer = ColumnWriter::new(&promoted, BuildOptions::default()).unwrap();
        for granule in (0..rows).step_by(GRANULE_ROWS) {
            let here = GRANULE_ROWS.min(rows - granule);
            let mut columns = GranuleColumns::new(here, 1);
            for row in granule..granule + here {
                columns.times.push(row as i64);
                columns.streams.push(0);
                columns.levels.push(row as u32 % 3);
                columns.patterns.push(row as u32);
                for n in 0..row % 4 {
                    columns.attribute(&format!("name{n}"), &format!("{row}"));
                }
                let trace = format!("{row:x}");
                columns.end_attributes(&[(row % 2 == 0).then_some(trace.as_str())]).unwrap();
            }
            columns.variables = format!("granule {granule}").into_bytes();
            columns.groups_bytes = GROUPS_BYTES;
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
                let batch =
                    reader.decode(start..start + here, &leaves, pages, Extent::Whole).unwrap();
                for at in [0, here / 2, here - 1] {
                    let row = granule * GRANULE_ROWS + at;
                    assert_eq!(batch.times().unwrap()[at], row as i64);
                    assert_eq!(batch.numbers("pattern").unwrap()[at], row as u32);
                    assert_eq!(batch.attributes().unwrap().row(at).count(), row % 4);
                    let trace = batch.promoted("trace_id").unwrap();
                    assert_eq!(trace.is_null(at), row % 2 == 1);
                }
                let expected = format!("granule {start}");
                let patterns = vec![0; here];
                match batch.variables(&patterns).unwrap() {
                    Some(Encoded::Whole(bytes)) => assert_eq!(bytes, expected.as_bytes()),
                    other => panic!("{other:?}"),
                }
                let head = encoded.heads[granule];
                let front = page(LINES).1.slice(..head.bytes as usize);
                assert_eq!(crc32c::crc32c(&front), head.crc);
                let pages = vec![(encoded.pages[LINES][granule].offset, front)];
                let in_part =
                    reader.decode(start..start + here, &[LINES], pages, Extent::Head).unwrap();
                match in_part.variables(&patterns).unwrap() {
                    Some(Encoded::InPart { head, groups: [] }) => {
                        assert_eq!(head, &expected.as_bytes()[..expected.len() - GROUPS_BYTES]);
                    }
                    other => panic!("{other:?}"),
                }
                let only = reader
                    .decode(start..start + here, &[TIME], vec![page(TIME)], Extent::Whole)
                    .unwrap();
                assert_eq!(only.times().unwrap().len(), here);
                assert!(only.numbers("pattern").is_err());
            }
        }
    }

    #[test]
    fn rows_without_any_attribute_still_have_their_pages() {
        let mut writer = ColumnWriter::new(&[], BuildOptions::default()).unwrap();
        for _ in 0..2 {
            let mut columns = GranuleColumns::new(GRANULE_ROWS, 0);
            for _ in 0..GRANULE_ROWS {
                columns.times.push(0);
                columns.streams.push(0);
                columns.levels.push(0);
                columns.patterns.push(0);
                columns.end_attributes(&[]).unwrap();
            }
            writer.write(columns).unwrap();
        }
        let encoded = writer.finish().unwrap();
        assert!(encoded.pages.iter().all(|column| column.len() == 2));
    }
}
