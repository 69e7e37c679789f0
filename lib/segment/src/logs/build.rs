//! Building a logs segment: collect rows, sort them, write granule after granule.
//!
//! The builder keeps the batches it is given (their columns are shared, not copied) and one small
//! entry a row. [`LogSegmentBuilder::finish`] sorts the entries by stream and time, stable, then
//! goes through them once, a shelf of rows at a time: every line is cut into tokens once, copied
//! once into its column, and counted in the side tables.
//!
//! What always holds: the segment has exactly the rows that were pushed; rows of one stream with
//! one time keep the order they were pushed in.
//!
//! On a crash there is nothing to clean up: a segment is bytes in memory until the caller stores
//! them.
//!
//! Bounds: [`SEGMENT_BYTES_MAX`] of rows; memory peaks near the rows, their encoded form and the caps
//! of the side tables.

use std::collections::HashMap;

use bytes::Bytes;
use record::{DETECTED_LEVEL, Labels, LogBatch};

use super::assemble::assemble;
use super::dealt::Dealt;
use super::error::BuildError;
use super::frame::PATTERNS_FREE;
use super::granule::{GRANULE_ROWS, GRANULE_ROWS_MAX};
use super::intern::{Interner, Probe};
use super::widened::WidenedFrames;

/// Bytes of lines and attributes in one segment. Indexers cut far below; Arrow's offsets would end
/// at twice as much.
pub const SEGMENT_BYTES_MAX: usize = 1 << 30;

/// zstd level of fresh segments. Higher ones cost more than they save: most bytes are digits that
/// zstd is not asked to compress.
pub const ZSTD_LEVEL_FRESH: i32 = 1;

/// zstd level of merged segments.
pub const ZSTD_LEVEL_MERGED: i32 = 9;

/// Attributes that may get columns of their own. Each costs a page a granule.
pub(crate) const PROMOTED_MAX: usize = 16;

/// A column of its own pays when at least one row in this many has the attribute.
pub(crate) const PROMOTED_ROWS_SHARE: usize = 8;

/// Attribute names that are counted; a segment with more has none that is frequent among the rest.
const NAMES_COUNTED_MAX: usize = 4_096;

/// How a segment is written. All of it changes size and speed only: fresh and merged segments are
/// of one layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// zstd level of every section, 1 to 22.
    pub zstd_level: i32,
    /// Rows of a granule, 1 to 65,536. Small ones let tests have many granules.
    pub granule_rows: usize,
    /// Patterns up to which words that change stay in them. Few let tests have some that do not.
    pub patterns_free: usize,
}

impl BuildOptions {
    /// For rows that were just received: fast, since every row is written this way once.
    pub const fn fresh() -> Self {
        Self {
            zstd_level: ZSTD_LEVEL_FRESH,
            granule_rows: GRANULE_ROWS,
            patterns_free: PATTERNS_FREE,
        }
    }

    /// For rows of segments being merged, which then stay: as small as it gets for about the CPU of
    /// [`BuildOptions::fresh`]. Larger granules have more values in each slot of a pattern.
    pub const fn merged() -> Self {
        Self {
            zstd_level: ZSTD_LEVEL_MERGED,
            granule_rows: 2 * GRANULE_ROWS,
            patterns_free: PATTERNS_FREE,
        }
    }
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self::fresh()
    }
}

/// Collects rows into a segment.
#[derive(Debug)]
pub struct LogSegmentBuilder {
    options: BuildOptions,
    frames: WidenedFrames,
    batches: Vec<LogBatch>,
    streams: Vec<Labels>,
    stream_numbers: HashMap<Labels, u32>,
    rows: Vec<Row>,
    names: NameCounts,
    raw_bytes: u64,
    bytes: usize,
}

/// Where a row is and what it is sorted by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) stream: u32,
    pub(crate) batch: u32,
    pub(crate) row: u32,
    pub(crate) time: i64,
}

/// Everything a segment is made of, in order.
#[derive(Debug)]
pub(crate) struct SortedRows {
    pub(crate) options: BuildOptions,
    /// What segments before have widened, and this one hands on.
    pub(crate) frames: WidenedFrames,
    pub(crate) batches: Vec<LogBatch>,
    /// In the order of their numbers.
    pub(crate) streams: Vec<Labels>,
    pub(crate) rows: Vec<Row>,
    /// Names of the attributes that get columns.
    pub(crate) promoted: Vec<String>,
}

/// A finished segment, ready to be stored as one object.
#[derive(Clone, Debug)]
pub struct BuiltSegment {
    pub bytes: Bytes,
    pub rows: u64,
    /// Bytes of all lines.
    pub raw_bytes: u64,
    /// Earliest time, ns.
    pub time_min: i64,
    /// Latest time, ns, inclusive.
    pub time_max: i64,
    /// Bytes at the end that opening reads.
    pub footer_bytes: u64,
    pub stats: BuildStats,
}

/// What a segment is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildStats {
    pub granules: u64,
    pub streams: u64,
    /// Distinct patterns.
    pub patterns: u64,
    /// Rows whose line has no pattern because the table was full.
    pub rows_without_pattern: u64,
    /// Distinct tokens in the filter.
    pub tokens: u64,
    /// Granules some side table of which is incomplete.
    pub granules_incomplete: u64,
    /// Stored bytes by section.
    pub sections: Vec<(&'static str, u64)>,
    /// Stored bytes by leaf column.
    pub columns: Vec<(String, u64)>,
}

impl LogSegmentBuilder {
    /// An empty builder.
    pub fn new(options: BuildOptions) -> Self {
        let granule_rows = options.granule_rows.clamp(1, GRANULE_ROWS_MAX);
        Self {
            options: BuildOptions { granule_rows, ..options },
            frames: WidenedFrames::default(),
            batches: Vec::new(),
            streams: Vec::new(),
            stream_numbers: HashMap::new(),
            rows: Vec::new(),
            names: NameCounts::default(),
            raw_bytes: 0,
            bytes: 0,
        }
    }

    /// Begins with what the segments before it have found to change, and adds to it.
    #[must_use]
    pub fn with_frames(self, frames: &WidenedFrames) -> Self {
        Self { frames: frames.clone(), ..self }
    }

    /// Makes room for so many rows to come.
    pub fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows);
    }

    /// Adds the rows of `batch`; with a mask, those where it is true.
    ///
    /// # Errors
    /// [`BuildError::Full`] when the rows do not fit; nothing was added then.
    ///
    /// # Panics
    /// When `mask` is not as long as the batch.
    pub fn push_batch(
        &mut self,
        batch: &LogBatch,
        mask: Option<&[bool]>,
    ) -> Result<(), BuildError> {
        assert!(mask.is_none_or(|mask| mask.len() == batch.len()), "one flag a row");
        let taken = |row: &usize| mask.is_none_or(|mask| mask[*row]);
        let (lines, attributes) = match mask {
            None => (batch.raw_bytes() as usize, batch.attribute_bytes()),
            Some(_) => (
                (0..batch.len()).filter(taken).map(|row| batch.line(row).len()).sum(),
                (0..batch.len()).filter(taken).map(|row| attribute_bytes(batch, row)).sum(),
            ),
        };
        let full = SEGMENT_BYTES_MAX < self.bytes + lines + attributes;
        let (Ok(number), false) = (u32::try_from(self.batches.len()), full) else {
            return Err(BuildError::Full { bytes_max: SEGMENT_BYTES_MAX });
        };
        let streams: Vec<u32> = batch.streams().iter().map(|s| self.stream_number(s)).collect();
        let positions = batch.times().iter().zip(batch.stream_index()).enumerate();
        self.rows.reserve(batch.len());
        for (row, (time, stream)) in positions.filter(|(row, _)| taken(row)) {
            let stream = streams[*stream as usize];
            self.rows.push(Row { stream, batch: number, row: row as u32, time: *time });
            self.names.count(batch.attributes(row).map(|(name, _)| name));
        }
        self.batches.push(batch.clone());
        self.bytes += lines + attributes;
        self.raw_bytes += lines as u64;
        Ok(())
    }

    /// Bytes of all lines so far.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the segment. Takes seconds of CPU for large ones: run it on a CPU pool.
    ///
    /// # Errors
    /// [`BuildError::Empty`] without rows, [`BuildError::Encode`] when an encoder failed.
    pub fn finish(self) -> Result<BuiltSegment, BuildError> {
        if self.rows.is_empty() {
            return Err(BuildError::Empty);
        }
        assemble(self.sorted())
    }

    fn sorted(mut self) -> SortedRows {
        let mut used = vec![false; self.streams.len()];
        self.rows.iter().for_each(|row| used[row.stream as usize] = true);
        let mut order: Vec<usize> = (0..self.streams.len()).filter(|s| used[*s]).collect();
        order.sort_by(|a, b| self.streams[*a].cmp(&self.streams[*b]));
        let mut numbers = vec![0; self.streams.len()];
        for (number, stream) in order.iter().enumerate() {
            numbers[*stream] = number as u32;
        }
        for row in &mut self.rows {
            row.stream = numbers[row.stream as usize];
        }
        let rows = by_stream(&self.rows);
        SortedRows {
            options: self.options,
            frames: self.frames,
            promoted: self.names.frequent(rows.len()),
            batches: self.batches,
            streams: order.iter().map(|stream| self.streams[*stream].clone()).collect(),
            rows,
        }
    }

    fn stream_number(&mut self, stream: &Labels) -> u32 {
        if let Some(number) = self.stream_numbers.get(stream) {
            return *number;
        }
        let number = u32::try_from(self.streams.len()).expect("rows end far below 2^32 streams");
        self.streams.push(stream.clone());
        self.stream_numbers.insert(stream.clone(), number);
        number
    }
}

/// `rows` by stream and time; rows of one stream and time keep the order they came in.
///
/// There are few streams, and most of a stream's rows come in the order of their times, so they are
/// dealt out to their streams, and what is to be sorted then is short and nearly sorted.
fn by_stream(rows: &[Row]) -> Vec<Row> {
    let mut dealt = Dealt::default();
    dealt.deal(rows.iter().map(|row| row.stream));
    let mut sorted: Vec<Row> = dealt.rows().iter().map(|row| rows[*row as usize]).collect();
    for rows in sorted.chunk_by_mut(|a, b| a.stream == b.stream) {
        rows.sort_by_key(|row| row.time);
    }
    sorted
}

fn attribute_bytes(batch: &LogBatch, row: usize) -> usize {
    batch.attributes(row).map(|(name, value)| name.len() + value.len()).sum()
}

/// How many rows have an attribute of each name.
#[derive(Debug, Default)]
struct NameCounts {
    names: Interner,
    rows: Vec<usize>,
}

impl NameCounts {
    fn count<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names.filter(|name| *name != DETECTED_LEVEL) {
            let id = match self.names.probe(name.as_bytes()) {
                Probe::Known(id) => id,
                Probe::Absent(_) if self.names.len() == NAMES_COUNTED_MAX => continue,
                Probe::Absent(place) => {
                    self.rows.push(0);
                    self.names.insert(place, name.as_bytes())
                }
            };
            self.rows[id as usize] += 1;
        }
    }

    /// The names worth a column, most frequent first.
    fn frequent(&self, rows: usize) -> Vec<String> {
        let mut frequent: Vec<(usize, &[u8])> = self
            .rows
            .iter()
            .copied()
            .zip(self.names.iter())
            .filter(|(count, _)| rows <= count * PROMOTED_ROWS_SHARE)
            .collect();
        frequent.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        frequent.truncate(PROMOTED_MAX);
        frequent.iter().map(|(_, name)| String::from_utf8_lossy(name).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use record::{LogBatchBuilder, TimestampNanos};

    use super::*;

    fn batch(rows: &[(i64, &str, &str)]) -> LogBatch {
        let mut builder = LogBatchBuilder::new();
        for (time, app, line) in rows {
            let stream = Labels::from_pairs([("app", app)]);
            builder.push::<&str, &str>(TimestampNanos(*time), &stream, line, &[], None);
        }
        builder.finish()
    }

    #[test]
    fn sorts_by_stream_and_time_and_keeps_ties_in_order() {
        let mut builder = LogSegmentBuilder::new(BuildOptions::default());
        builder.push_batch(&batch(&[(5, "b", "1"), (3, "b", "2"), (9, "a", "3")]), None).unwrap();
        let mask = [true, false, true];
        let second = batch(&[(3, "b", "4"), (1, "unused", "5"), (9, "a", "6")]);
        builder.push_batch(&second, Some(&mask)).unwrap();
        assert_eq!((builder.rows(), builder.raw_bytes()), (5, 5));
        let sorted = builder.sorted();
        assert_eq!(sorted.streams.len(), 2, "a stream without rows has no number");
        let lines: Vec<&str> = sorted
            .rows
            .iter()
            .map(|row| sorted.batches[row.batch as usize].line(row.row as usize))
            .collect();
        assert_eq!(lines, ["3", "6", "2", "4", "1"]);
    }

    #[test]
    fn frequent_attributes_get_columns() {
        let mut names = NameCounts::default();
        for row in 0..80 {
            names.count(["often", DETECTED_LEVEL].into_iter());
            if row % 8 == 0 {
                names.count(["some"].into_iter());
            }
            if row == 0 {
                names.count(["rare"].into_iter());
            }
        }
        assert_eq!(names.frequent(80), ["often", "some"]);
    }

    #[test]
    fn without_rows_there_is_no_segment() {
        let builder = LogSegmentBuilder::new(BuildOptions::default());
        assert!(matches!(builder.finish(), Err(BuildError::Empty)));
    }
}
