//! Rows as what counting needs of them: time, stream and level, column by column.
//!
//! Counting a million rows must not cost a million rows: no line, no attribute list and no label
//! set is made for them.

use std::ops::Range;

use record::Labels;

use crate::logs::segment::LogSegment;
use crate::logs::streams::NO_LEVEL;

/// Matching rows of one granule, sorted by stream, then time.
#[derive(Clone, Debug)]
pub struct RowTally {
    segment: LogSegment,
    times: Vec<i64>,
    /// Streams by number, each with where its rows end.
    runs: Vec<(u32, usize)>,
    /// Levels by number; empty when levels were not asked for.
    levels: Vec<u32>,
}

/// Rows of one stream within a [`RowTally`].
#[derive(Clone, Debug)]
pub struct StreamRun<'a> {
    pub stream: &'a Labels,
    pub rows: Range<usize>,
}

impl RowTally {
    /// `None` when a row names a stream or level that is not there.
    pub(crate) fn new(
        segment: &LogSegment,
        times: Vec<i64>,
        runs: Vec<(u32, usize)>,
        levels: Vec<u32>,
    ) -> Option<Self> {
        let streams = segment.stream_table().ok()?.len();
        let known = runs.iter().all(|(stream, _)| (*stream as usize) < streams);
        let levels_known = match levels.iter().max() {
            Some(most) => (*most as usize) < segment.level_table().ok()?.len(),
            None => true,
        };
        let tally = Self { segment: segment.clone(), times, runs, levels };
        (known && levels_known).then_some(tally)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Time of each row, ns.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// The rows of each stream; times ascend within each.
    pub fn streams(&self) -> impl Iterator<Item = StreamRun<'_>> {
        let table = self.segment.stream_table().unwrap_or_default();
        let starts = std::iter::once(0).chain(self.runs.iter().map(|(_, end)| *end));
        self.runs.iter().zip(starts).filter_map(move |((stream, end), start)| {
            let stream = &table.get(*stream as usize)?.labels;
            Some(StreamRun { stream, rows: start..*end })
        })
    }

    /// Calls `each` with the numbers of stream and level, and the time, of each row.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u32, u32, i64)) {
        let mut at = 0;
        for (stream, end) in &self.runs {
            for row in at..*end {
                let level = self.levels.get(row).copied().unwrap_or(NO_LEVEL);
                each(*stream, level, self.times[row]);
            }
            at = *end;
        }
    }

    /// Number of each row's level, below [`RowTally::levels`]; empty when levels were not asked
    /// for.
    pub fn level_numbers(&self) -> &[u32] {
        &self.levels
    }

    /// The segment's levels by number. `None` is a row without.
    pub fn levels(&self) -> &[Option<String>] {
        self.segment.level_table().unwrap_or_default()
    }
}
