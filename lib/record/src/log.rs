//! The logs batch: rows of streams, columnar.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder,
    MapArray, RecordBatch, StringArray, StringBuilder, StructArray, TimestampNanosecondArray,
    UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit, UInt32Type};
use bytes::Bytes;

use crate::batch::{self, column, label_column, read_labels, shape};
use crate::error::BatchError;
use crate::labels::Labels;
use crate::limits::Limits;
use crate::source::SourceId;
use crate::time::TimestampNanos;

/// The structured metadata of a row: name and value pairs, in the order given.
pub type Attributes = Vec<(String, String)>;

const TIME: usize = 0;
const STREAM: usize = 1;
const LINE: usize = 2;
const ATTRIBUTES: usize = 3;
const SOURCE: usize = 4;
const OFFSET: usize = 5;

/// Log rows with their streams, times, attributes and source offsets. Cloning is cheap.
///
/// The rows of a source stand in the order they were read.
#[derive(Clone, Debug)]
pub struct LogBatch {
    rows: RecordBatch,
    columns: Arc<Columns>,
    stream_index: Arc<[u32]>,
    streams: Arc<[Labels]>,
    sources: Arc<[SourceId]>,
}

/// The columns under their types, so that no row looks for them again. Handles, no copies.
#[derive(Clone, Debug)]
struct Columns {
    times: TimestampNanosecondArray,
    lines: StringArray,
    /// Where each row's attributes start, and where the last one's end.
    attribute_offsets: OffsetBuffer<i32>,
    attribute_names: StringArray,
    attribute_values: StringArray,
    sources: UInt32Array,
    source_offsets: UInt64Array,
}

impl Columns {
    /// The columns of rows whose types are those of [`SCHEMA`]; shared, as they take more room than
    /// all else in a batch that is passed around.
    fn of(rows: &RecordBatch) -> Arc<Self> {
        let text = |array: &ArrayRef| -> StringArray {
            array.as_any().downcast_ref().cloned().expect("the schema says these are strings")
        };
        let map: &MapArray = column(rows, ATTRIBUTES);
        let sources: &DictionaryArray<UInt32Type> = column(rows, SOURCE);
        Arc::new(Self {
            times: column::<TimestampNanosecondArray>(rows, TIME).clone(),
            lines: column::<StringArray>(rows, LINE).clone(),
            attribute_offsets: map.offsets().clone(),
            attribute_names: text(map.keys()),
            attribute_values: text(map.values()),
            sources: sources.keys().clone(),
            source_offsets: column::<UInt64Array>(rows, OFFSET).clone(),
        })
    }
}

fn entry_fields() -> Fields {
    Fields::from(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
    ])
}

static ENTRY_FIELD: LazyLock<Arc<Field>> =
    LazyLock::new(|| Arc::new(Field::new("attribute", DataType::Struct(entry_fields()), false)));

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let dictionary = |values| DataType::Dictionary(Box::new(DataType::UInt32), Box::new(values));
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("time", time, false),
        Field::new("stream", dictionary(DataType::Utf8), false),
        Field::new("line", DataType::Utf8, false),
        Field::new("attributes", DataType::Map(Arc::clone(&ENTRY_FIELD), false), false),
        Field::new("source", dictionary(DataType::FixedSizeBinary(16)), true),
        Field::new("source_offset", DataType::UInt64, false),
    ]))
});

impl LogBatch {
    /// The distinct streams; [`LogBatch::stream_index`] points into them.
    pub fn streams(&self) -> &[Labels] {
        &self.streams
    }

    /// The sources; one may be there twice where batches were put together.
    pub fn sources(&self) -> &[SourceId] {
        &self.sources
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Time of each row, ns since the Unix epoch.
    pub fn times(&self) -> &[i64] {
        self.columns.times.values()
    }

    /// Which of [`LogBatch::streams`] each row belongs to.
    pub fn stream_index(&self) -> &[u32] {
        &self.stream_index
    }

    /// The stream of row `row`.
    pub fn stream(&self, row: usize) -> &Labels {
        &self.streams[self.stream_index[row] as usize]
    }

    /// The line of row `row`, without its newline.
    pub fn line(&self, row: usize) -> &str {
        self.columns.lines.value(row)
    }

    /// The attributes of row `row`.
    pub fn attributes(&self, row: usize) -> impl Iterator<Item = (&str, &str)> {
        let Columns { attribute_offsets, attribute_names, attribute_values, .. } = &*self.columns;
        let (start, end) = (attribute_offsets[row] as usize, attribute_offsets[row + 1] as usize);
        (start..end).map(move |i| (attribute_names.value(i), attribute_values.value(i)))
    }

    /// The source of row `row` and the offset just after it, or `None` for a pushed row.
    pub fn source(&self, row: usize) -> Option<(SourceId, u64)> {
        self.source_index(row).map(|(source, offset)| (self.sources[source], offset))
    }

    /// Like [`LogBatch::source`], the source as its place among [`LogBatch::sources`].
    pub fn source_index(&self, row: usize) -> Option<(usize, u64)> {
        let Columns { sources, source_offsets, .. } = &*self.columns;
        let taken = || (sources.value(row) as usize, source_offsets.value(row));
        (!sources.is_null(row)).then(taken)
    }

    /// Bytes of all lines, without newlines: what users call the raw size.
    pub fn raw_bytes(&self) -> u64 {
        let lines = &self.columns.lines;
        let offsets = lines.value_offsets();
        (offsets[lines.len()] - offsets[0]).unsigned_abs().into()
    }

    /// Bytes of the names and values of all attributes.
    pub fn attribute_bytes(&self) -> usize {
        let Columns { attribute_offsets, attribute_names, attribute_values, .. } = &*self.columns;
        let ends = |offsets: &[i32]| (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
        let (first, last) = ends(attribute_offsets);
        [attribute_names, attribute_values]
            .map(|texts| ends(&texts.value_offsets()[first..=last]))
            .iter()
            .map(|(start, end)| end - start)
            .sum()
    }

    /// Replaces [`LogBatch::streams`] by equal ones, so that batches can have them in common.
    pub fn replace_streams(&mut self, streams: Vec<Labels>) {
        debug_assert_eq!(*self.streams, *streams, "rows stay in their streams");
        self.streams = streams.into();
    }

    /// Line bytes of each of [`LogBatch::streams`], of the rows where `mask` is true; of all
    /// rows without one.
    ///
    /// # Panics
    /// When `mask` is not as long as the batch.
    pub fn raw_bytes_by_stream(&self, mask: Option<&[bool]>) -> Vec<u64> {
        if let Some(mask) = mask {
            assert_eq!(mask.len(), self.len(), "one flag a row");
        }
        let mut bytes = vec![0; self.streams.len()];
        let lines: &StringArray = column(&self.rows, LINE);
        let lengths = lines.value_offsets().windows(2).map(|ends| ends[1] - ends[0]);
        for (row, (stream, length)) in self.stream_index.iter().zip(lengths).enumerate() {
            if mask.is_none_or(|mask| mask[row]) {
                bytes[*stream as usize] += u64::from(length.unsigned_abs());
            }
        }
        bytes
    }

    /// The rows where `mask` is true, in order.
    ///
    /// # Panics
    /// When `mask` is not as long as the batch.
    pub fn filter(&self, mask: &[bool]) -> Self {
        assert_eq!(mask.len(), self.len(), "one flag a row");
        let kept = filter_record_batch(&self.rows, &BooleanArray::from(mask.to_vec()))
            .expect("lengths are equal");
        let index = self.stream_index.iter().zip(mask).filter(|(_, keep)| **keep);
        Self {
            columns: Columns::of(&kept),
            rows: kept,
            stream_index: index.map(|(stream, _)| *stream).collect(),
            streams: Arc::clone(&self.streams),
            sources: Arc::clone(&self.sources),
        }
    }

    /// All rows of all batches in order, with one dictionary.
    ///
    /// # Errors
    /// When the result would pass Arrow's 2 GiB of lines.
    pub fn concat(batches: &[Self]) -> Result<Self, BatchError> {
        let rows = concat_batches(&SCHEMA, batches.iter().map(|b| &b.rows))?;
        Self::from_rows(rows, &Limits { streams_max: usize::MAX, ..Limits::default() })
    }

    /// The message payload: an Arrow IPC stream of `docs/formats/batch.md`.
    ///
    /// # Errors
    /// When Arrow cannot write it; does not happen for batches this crate built.
    pub fn encode(&self) -> Result<Bytes, BatchError> {
        batch::encode(&self.rows)
    }

    /// Reads a payload, checking every column. The batch lies in the payload, which is kept as long.
    ///
    /// # Errors
    /// When the bytes are damaged, of another shape, or over a limit.
    pub fn decode(payload: &Bytes, limits: &Limits) -> Result<Self, BatchError> {
        let read = Self::from_rows(batch::decode(payload, &SCHEMA, limits)?, limits)?;
        read.check_limits(limits)?;
        Ok(read)
    }

    fn from_rows(rows: RecordBatch, limits: &Limits) -> Result<Self, BatchError> {
        let (stream_index, streams) = read_labels(&rows, STREAM, limits)?;
        let sources: &DictionaryArray<UInt32Type> = column(&rows, SOURCE);
        let ids: &FixedSizeBinaryArray = sources
            .values()
            .as_any()
            .downcast_ref()
            .ok_or_else(|| shape("sources are not 16 bytes"))?;
        if ids.null_count() != 0 {
            return Err(shape("a source is null"));
        }
        let id = |i| SourceId(std::array::from_fn(|at| ids.value(i)[at]));
        let sources = (0..ids.len()).map(id).collect();
        for at in [TIME, LINE, ATTRIBUTES, OFFSET] {
            if rows.column(at).null_count() != 0 {
                return Err(shape(&format!("column {at} has nulls")));
            }
        }
        let columns = Columns::of(&rows);
        let (stream_index, streams) = (stream_index.into(), streams.into());
        Ok(Self { rows, columns, stream_index, streams, sources })
    }

    fn check_limits(&self, limits: &Limits) -> Result<(), BatchError> {
        let line = longest(&self.columns.lines, 0..self.len());
        BatchError::check("line_bytes_max", line, limits.line_bytes_max)?;
        let Columns { attribute_offsets, attribute_names, attribute_values, .. } = &*self.columns;
        if attribute_names.null_count() != 0 || attribute_values.null_count() != 0 {
            return Err(shape("an attribute is null"));
        }
        let widest = attribute_offsets.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
        let widest = usize::try_from(widest).unwrap_or(0);
        BatchError::check("attributes_max", widest, limits.attributes_max)?;
        let range = match &attribute_offsets[..] {
            [first, .., last] => *first as usize..*last as usize,
            _ => 0..0,
        };
        let name = longest(attribute_names, range.clone());
        BatchError::check("label_name_bytes_max", name, limits.label_name_bytes_max)?;
        let value = longest(attribute_values, range);
        BatchError::check("attribute_value_bytes_max", value, limits.attribute_value_bytes_max)
    }
}

/// Bytes of the longest of some texts.
fn longest(texts: &StringArray, range: Range<usize>) -> usize {
    let offsets = texts.value_offsets().get(range.start..=range.end).unwrap_or_default();
    let longest = offsets.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(0);
    usize::try_from(longest).unwrap_or(0)
}

/// Collects rows into a [`LogBatch`].
///
/// Rows of one source are brought together, as are those of one stream that have none: whoever sorts
/// them finds the next line beside the last, and they compress better.
#[derive(Debug, Default)]
pub struct LogBatchBuilder {
    times: Vec<i64>,
    stream_index: Vec<u32>,
    streams: Vec<Labels>,
    stream_ids: HashMap<Labels, u32>,
    lines: StringBuilder,
    attribute_names: StringBuilder,
    attribute_values: StringBuilder,
    /// Attributes of each row.
    attribute_counts: Vec<usize>,
    source_index: Vec<Option<u32>>,
    sources: Vec<SourceId>,
    source_ids: HashMap<SourceId, u32>,
    offsets: Vec<u64>,
    bytes: usize,
}

/// What a row costs beside its line and attributes: the fixed-width columns.
const ROW_BYTES: usize = 8 + 4 + 4 + 4 + 4 + 8;

impl LogBatchBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a row. `source` is the file's identity and the offset just after the record.
    pub fn push<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        time: TimestampNanos,
        stream: &Labels,
        line: &str,
        attributes: &[(N, V)],
        source: Option<(SourceId, u64)>,
    ) {
        let stream = self.stream_id(stream);
        self.times.push(time.0);
        self.stream_index.push(stream);
        self.lines.append_value(line);
        self.bytes += ROW_BYTES + line.len();
        for (name, value) in attributes {
            self.attribute_names.append_value(name);
            self.attribute_values.append_value(value);
            self.bytes += name.as_ref().len() + value.as_ref().len() + 8;
        }
        self.attribute_counts.push(attributes.len());
        let source_index = source.map(|(id, _)| self.source_id(id));
        self.source_index.push(source_index);
        self.offsets.push(source.map_or(0, |(_, offset)| offset));
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// About what the batch takes in memory and, uncompressed, on the queue.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batch of all rows so far; the builder is empty again.
    pub fn finish(&mut self) -> LogBatch {
        let mut done = std::mem::take(self);
        let order = done.order();
        let mut ids = FixedSizeBinaryBuilder::with_capacity(done.sources.len(), 16);
        for source in &done.sources {
            ids.append_value(source.0).expect("a source id has 16 bytes");
        }
        let source_keys = UInt32Array::from(done.source_index);
        let sources = DictionaryArray::<UInt32Type>::try_new(source_keys, Arc::new(ids.finish()))
            .expect("source indexes are in range");
        let streams = label_column(done.stream_index.clone(), &done.streams)
            .expect("stream indexes are in range");
        let entries: [ArrayRef; 2] =
            [Arc::new(done.attribute_names.finish()), Arc::new(done.attribute_values.finish())];
        let attributes = MapArray::new(
            Arc::clone(&ENTRY_FIELD),
            OffsetBuffer::from_lengths(done.attribute_counts),
            StructArray::new(entry_fields(), entries.into(), None),
            None,
            false,
        );
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from(done.times).with_timezone("UTC")),
            streams,
            Arc::new(done.lines.finish()),
            Arc::new(attributes),
            Arc::new(sources),
            Arc::new(UInt64Array::from(done.offsets)),
        ];
        let mut rows = RecordBatch::try_new(Arc::clone(&SCHEMA), columns)
            .expect("the columns are those of the schema");
        let mut stream_index: Arc<[u32]> = done.stream_index.into();
        if let Some(order) = order {
            stream_index = order.iter().map(|row| stream_index[*row as usize]).collect();
            rows = take_record_batch(&rows, &UInt32Array::from(order))
                .expect("the same rows fit as well in another order");
        }
        LogBatch {
            columns: Columns::of(&rows),
            rows,
            stream_index,
            streams: done.streams.into(),
            sources: done.sources.into(),
        }
    }

    /// The rows with those of a source, or of a stream that have none, side by side; `None` when they
    /// are so already.
    fn order(&self) -> Option<Vec<u32>> {
        let group_of = |row: usize| match self.source_index[row] {
            Some(source) => source as usize,
            None => self.sources.len() + self.stream_index[row] as usize,
        };
        let mut ends = vec![0; self.sources.len() + self.streams.len()];
        let (mut last, mut together) = (None, true);
        for row in 0..self.len() {
            let group = group_of(row);
            together &= last == Some(group) || ends[group] == 0;
            ends[group] += 1;
            last = Some(group);
        }
        if together {
            return None;
        }
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        let mut order = vec![0; self.len()];
        for row in 0..self.len() {
            let end = &mut ends[group_of(row)];
            order[*end] = row as u32;
            *end += 1;
        }
        Some(order)
    }

    fn stream_id(&mut self, stream: &Labels) -> u32 {
        // Neighbours often share a stream.
        if let Some(last) = self.stream_index.last()
            && self.streams[*last as usize] == *stream
        {
            return *last;
        }
        if let Some(id) = self.stream_ids.get(stream) {
            return *id;
        }
        let id = u32::try_from(self.streams.len()).expect("a batch holds far fewer streams");
        self.bytes += stream.iter().map(|(n, v)| n.len() + v.len() + 6).sum::<usize>();
        self.streams.push(stream.clone());
        self.stream_ids.insert(stream.clone(), id);
        id
    }

    fn source_id(&mut self, source: SourceId) -> u32 {
        if let Some(Some(last)) = self.source_index.last()
            && self.sources[*last as usize] == source
        {
            return *last;
        }
        *self.source_ids.entry(source).or_insert_with(|| {
            self.sources.push(source);
            u32::try_from(self.sources.len() - 1).expect("a batch holds far fewer sources")
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the builder was given for one row, the oracle of these tests.
    #[derive(Clone, Debug, PartialEq)]
    struct Row {
        time: i64,
        stream: Labels,
        line: String,
        attributes: Attributes,
        source: Option<(SourceId, u64)>,
    }

    fn build(rows: &[Row]) -> LogBatch {
        let mut builder = LogBatchBuilder::new();
        for row in rows {
            let time = TimestampNanos(row.time);
            builder.push(time, &row.stream, &row.line, &row.attributes, row.source);
        }
        assert_eq!(builder.len(), rows.len());
        builder.finish()
    }

    /// Brings together what a batch brings together.
    fn grouped(rows: &[Row]) -> Vec<Row> {
        let mut left = rows.to_vec();
        let mut grouped = Vec::new();
        while let Some(first) = left.first().cloned() {
            let source = |row: &Row| row.source.map(|(source, _)| source);
            let alike = |row: &Row| match source(&first) {
                Some(first) => source(row) == Some(first),
                None => row.source.is_none() && row.stream == first.stream,
            };
            let (group, rest) = left.into_iter().partition(alike);
            grouped.extend::<Vec<Row>>(group);
            left = rest;
        }
        grouped
    }

    fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
        rows.sort_by_key(|row| format!("{row:?}"));
        rows
    }

    fn rows(batch: &LogBatch) -> Vec<Row> {
        let row = |i: usize| Row {
            time: batch.times()[i],
            stream: batch.stream(i).clone(),
            line: batch.line(i).to_owned(),
            attributes: batch.attributes(i).map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            source: batch.source(i),
        };
        (0..batch.len()).map(row).collect()
    }

    fn kept_lines(rows: &[Row], mask: &[bool], stream: &Labels) -> u64 {
        let kept = rows.iter().zip(mask).filter(|(row, kept)| **kept && row.stream == *stream);
        kept.map(|(row, _)| row.line.len() as u64).sum()
    }

    fn any_row() -> impl Strategy<Value = Row> {
        let labels = prop::collection::vec(("[ab]", "[xy]{0,2}"), 0..3);
        let attributes = prop::collection::vec(("[a-c]", ".{0,5}"), 0..3);
        let source = prop::option::of((0_u8..3, any::<u64>()));
        (any::<i64>(), labels, any::<String>(), attributes, source).prop_map(
            |(time, labels, line, attributes, source)| Row {
                time,
                stream: Labels::from_pairs(labels),
                line,
                attributes,
                source: source.map(|(file, offset)| (SourceId::of(&[&[file]]), offset)),
            },
        )
    }

    proptest! {
        #[test]
        fn encoding_filtering_and_joining_keep_every_row(
            first in prop::collection::vec(any_row(), 0..20),
            second in prop::collection::vec(any_row(), 0..20),
            keep in prop::collection::vec(any::<bool>(), 40),
        ) {
            let limits = Limits::default();
            let (a, b) = (build(&first), build(&second));
            let a = LogBatch::decode(&a.encode().unwrap(), &limits).unwrap();
            prop_assert_eq!(sorted(rows(&a)), sorted(first));
            prop_assert_eq!(rows(&a), grouped(&rows(&a)));
            let all: Vec<Row> = rows(&a).into_iter().chain(rows(&b)).collect();
            let joined = LogBatch::concat(&[a, b]).unwrap();
            prop_assert_eq!(rows(&joined), all.clone());
            prop_assert_eq!(joined.raw_bytes(), all.iter().map(|r| r.line.len() as u64).sum::<u64>());
            let attributes = all.iter().flat_map(|row| &row.attributes);
            let bytes: usize = attributes.map(|(name, value)| name.len() + value.len()).sum();
            prop_assert_eq!(joined.attribute_bytes(), bytes);
            let mask = &keep[..all.len()];
            let kept: Vec<Row> =
                all.iter().zip(mask).filter(|(_, k)| **k).map(|(r, _)| r.clone()).collect();
            let filtered = joined.filter(mask);
            let by_stream = joined.raw_bytes_by_stream(Some(mask));
            prop_assert_eq!(&by_stream, &filtered.raw_bytes_by_stream(None));
            // Joined batches may name a stream twice.
            for stream in joined.streams() {
                let named = joined.streams().iter().zip(&by_stream);
                let bytes: u64 = named.filter(|(name, _)| *name == stream).map(|(_, b)| b).sum();
                prop_assert_eq!(bytes, kept_lines(&all, mask, stream));
            }
            prop_assert_eq!(rows(&filtered), kept.clone());
            let again = LogBatch::decode(&filtered.encode().unwrap(), &limits).unwrap();
            prop_assert_eq!(rows(&again), kept);
        }

        #[test]
        fn rows_of_a_source_are_together_in_the_order_they_were_read(
            given in prop::collection::vec(any_row(), 0..30),
        ) {
            let batch = build(&given);
            let found = rows(&batch);
            prop_assert_eq!(sorted(found.clone()), sorted(given.clone()));
            prop_assert_eq!(&grouped(&found), &found);
            for stream in batch.streams() {
                let of_stream = |rows: &[Row]| -> Vec<Row> {
                    let pushed = |row: &&Row| row.source.is_none() && row.stream == *stream;
                    rows.iter().filter(pushed).cloned().collect()
                };
                prop_assert_eq!(of_stream(&found), of_stream(&given));
            }
            for source in batch.sources() {
                let of_source = |rows: &[Row]| -> Vec<Row> {
                    let read = |row: &&Row| row.source.is_some_and(|(from, _)| from == *source);
                    rows.iter().filter(read).cloned().collect()
                };
                prop_assert_eq!(of_source(&found), of_source(&given));
            }
        }

        #[test]
        fn damaged_bytes_are_an_error_or_another_batch_but_never_a_panic(
            rows in prop::collection::vec(any_row(), 1..6),
            at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let mut bytes = build(&rows).encode().unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let bytes = Bytes::from(bytes);
            if let Ok(batch) = LogBatch::decode(&bytes, &Limits::default()) {
                let _ = self::rows(&batch);
            }
            drop(LogBatch::decode(&bytes.slice(..at), &Limits::default()));
        }
    }

    #[test]
    fn each_limit_is_enforced_by_name() {
        let row = Row {
            time: 1,
            stream: Labels::from_pairs([("app", "abc"), ("pod", "p")]),
            line: "hello".to_owned(),
            attributes: vec![
                ("k".to_owned(), "value".to_owned()),
                ("l".to_owned(), "x".to_owned()),
            ],
            source: None,
        };
        let bytes = build(&[row.clone(), row]).encode().unwrap();
        let full = Limits::default();
        let cases = [
            ("batch_bytes_max", Limits { batch_bytes_max: 10, ..full }),
            ("rows_max", Limits { rows_max: 1, ..full }),
            ("line_bytes_max", Limits { line_bytes_max: 4, ..full }),
            ("labels_max", Limits { labels_max: 1, ..full }),
            ("label_name_bytes_max", Limits { label_name_bytes_max: 2, ..full }),
            ("label_value_bytes_max", Limits { label_value_bytes_max: 2, ..full }),
            ("attributes_max", Limits { attributes_max: 1, ..full }),
            ("attribute_value_bytes_max", Limits { attribute_value_bytes_max: 4, ..full }),
        ];
        for (name, limits) in cases {
            match LogBatch::decode(&bytes, &limits) {
                Err(BatchError::Limit { limit, .. }) => assert_eq!(limit, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
