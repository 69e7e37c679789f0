//! The rows of a granule that the columns of numbers do not refuse: searched, chosen, put together.
//!
//! Lines and attributes are read where they are still open or the answer carries them.

use record::{LogBatch, LogBatchBuilder, TimestampNanos};

use super::ScanStats;
use super::attributes::RowAttributes;
use super::best::BestRows;
use super::core::Found;
use super::decide::{Streams, UNKNOWN_STREAM};
use super::leaves::Leaves;
use super::numbers::GranulePages;
use super::tally::RowTally;
use crate::logs::column_reader::{GranuleBatch, Lines};
use crate::logs::error::SegmentError;
use crate::logs::plan::{CompiledPlan, Direction};
use crate::logs::sections::COLUMNS;
use crate::logs::segment::LogSegment;
use crate::logs::variables::{Needed, TokenNeedles};

/// A granule's rows that are not refused yet.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) pages: GranulePages,
    pub(super) rows: Vec<Candidate>,
    /// Of all rows, as the rest; none before they are read.
    pub(super) times: Vec<i64>,
    pub(super) streams: Streams,
    pub(super) levels: Vec<u32>,
    /// Pattern numbers, where lines may be read.
    pub(super) patterns: Vec<u32>,
    /// Whether attributes without columns of their own have to be read.
    pub(super) rest: bool,
    /// Whether attributes and labels still decide.
    pub(super) labels_open: bool,
    pub(crate) finishing: Option<GranuleBatch>,
}

/// A row, and in the lowest bit whether its line has to be searched: a granule has at most 65,536.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Candidate(u32);

impl Candidate {
    pub(super) fn new(row: u32, open: bool) -> Self {
        Self(row << 1 | u32::from(open))
    }

    pub(super) fn row(self) -> usize {
        (self.0 >> 1) as usize
    }

    pub(super) fn open(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Decided {
    /// The times of the rows that nothing can refuse any more.
    pub(crate) fn certain_times(&self) -> impl Iterator<Item = i64> {
        let decided = self.rows.iter().filter(|row| !self.labels_open && !row.open());
        decided.filter_map(|row| self.times.get(row.row()).copied())
    }

    /// Refuses rows that cannot be among the best any more, and says whether any are left.
    pub(crate) fn narrow(&mut self, best: &BestRows) -> bool {
        let mut rows = std::mem::take(&mut self.rows);
        rows.retain(|candidate| self.reaches(*candidate, best));
        self.rows = rows;
        !self.rows.is_empty()
    }

    /// Whether a row that is left could be among the best.
    pub(crate) fn any_reaches(&self, best: &BestRows) -> bool {
        self.rows.iter().any(|candidate| self.reaches(*candidate, best))
    }

    /// Whether a row could be among the best.
    fn reaches(&self, candidate: Candidate, best: &BestRows) -> bool {
        let time = self.times.get(candidate.row());
        time.is_none_or(|time| best.may_take(*time, *time))
    }

    /// Whether a line has to be searched.
    pub(crate) fn open(&self) -> bool {
        self.rows.iter().any(|candidate| candidate.open())
    }

    /// Whether attributes without columns of their own have to be read.
    pub(crate) fn rest(&self) -> bool {
        self.rest
    }

    /// The groups in which open rows may satisfy `filters`, and those of the other rows, should the
    /// answer carry their lines.
    pub(crate) fn groups_needed(
        &self,
        filters: &[TokenNeedles],
        segment: &LogSegment,
        leaves: &Leaves,
    ) -> Result<Needed, SegmentError> {
        let Some(batch) = &self.finishing else { return Ok(Needed::default()) };
        let Lines::Opened(mut opened) = self.lines(segment, batch)? else {
            return Ok(Needed::default());
        };
        let open = self.rows.iter().filter(|row| row.open()).map(|row| row.row());
        let certain = self.rows.iter().filter(|row| leaves.lines() && !row.open());
        let needed = opened.needed_for_rows(filters, open, certain.map(|row| row.row()));
        needed.map_err(|cause| segment.damaged(COLUMNS, cause))
    }

    /// Searches the lines still open in the groups that were read: from then on nothing but
    /// attributes and labels decides. Says whether rows are left.
    pub(crate) fn search(
        &mut self,
        filters: &[TokenNeedles],
        segment: &LogSegment,
        stats: &mut ScanStats,
    ) -> Result<bool, SegmentError> {
        let Some(batch) = self.finishing.as_ref().filter(|_| self.open()) else {
            return Ok(!self.rows.is_empty());
        };
        let open = self.rows.iter().filter(|row| row.open()).map(|row| row.row());
        stats.lines_searched += open.clone().count() as u64;
        let satisfying = self.lines(segment, batch)?.satisfying(filters, open);
        if let Some(satisfying) = satisfying.map_err(|cause| segment.damaged(COLUMNS, cause))? {
            self.rows.retain(|row| !row.open() || satisfying[row.row()]);
            self.rows.iter_mut().for_each(|row| *row = Candidate::new(row.row() as u32, false));
        }
        Ok(!self.rows.is_empty())
    }

    /// Searches the lines and attributes still open and builds the answer of a scan without a limit;
    /// `None` when no row is left.
    pub(crate) fn finish(
        self,
        plan: &CompiledPlan,
        segment: &LogSegment,
        leaves: &Leaves,
        stats: &mut ScanStats,
    ) -> Result<Option<Found>, SegmentError> {
        let chosen = self.choose(plan, segment, leaves, None, stats)?;
        stats.rows_matched += chosen.rows() as u64;
        if chosen.rows() == 0 {
            return Ok(None);
        }
        if leaves.counts_without_rows(self.rest) {
            let rows = chosen.rows;
            let tally = self.tally(segment, leaves, &rows);
            return tally
                .map(|tally| Some(Found::Tally(tally)))
                .ok_or_else(|| segment.damaged(COLUMNS, UNKNOWN_STREAM));
        }
        let (first_row, rows) = chosen.into_rows(plan, segment, leaves)?;
        Ok(Some(Found::Rows { first_row, rows }))
    }

    /// Searches the lines and attributes still open.
    pub(crate) fn choose<'a>(
        &'a self,
        plan: &CompiledPlan,
        segment: &'a LogSegment,
        leaves: &Leaves,
        best: Option<&BestRows>,
        stats: &mut ScanStats,
    ) -> Result<Chosen<'a>, SegmentError> {
        let damaged = |cause| segment.damaged(COLUMNS, cause);
        let mut lines = match &self.finishing {
            Some(batch) if self.open() => Some(self.lines(segment, batch)?),
            _ => None,
        };
        let open = self.rows.iter().filter(|candidate| candidate.open());
        let open = open.map(|candidate| candidate.row());
        let satisfying = match (&mut lines, plan.token_needles()) {
            (Some(lines), Some(filters)) => lines.satisfying(filters, open).map_err(damaged)?,
            _ => None,
        };
        if satisfying.is_none() {
            let rows = self.rows.iter().map(|candidate| candidate.row());
            lines = lines.map(|lines| lines.for_rows(rows)).transpose().map_err(damaged)?;
        }
        let attributes = RowAttributes::new(segment, leaves, self)?;
        let table = segment.stream_table()?;
        let limit = best.map_or(usize::MAX, BestRows::limit);
        let mut chosen = Vec::with_capacity(self.rows.len().min(limit));
        for candidate in self.most_promising_first(best) {
            if chosen.len() == limit {
                break;
            }
            if best.is_some_and(|best| !self.reaches(candidate, best)) {
                continue;
            }
            let row = candidate.row();
            if candidate.open() {
                stats.lines_searched += 1;
                let passes = match (&satisfying, &mut lines) {
                    (Some(satisfying), _) => satisfying[row],
                    (None, Some(lines)) => plan.line_matches(lines.get(row).map_err(damaged)?),
                    (None, None) => plan.line_matches(""),
                };
                if !passes {
                    continue;
                }
            }
            if self.labels_open {
                let stream = table.get(self.streams.of(row) as usize);
                let stream = &stream.ok_or_else(|| damaged(UNKNOWN_STREAM))?.labels;
                if !plan.attributes_match(|name| attributes.first(row, name))
                    || !plan.labels_match(stream, |name| attributes.first_filled(row, name))
                {
                    continue;
                }
            }
            chosen.push(row as u32);
        }
        chosen.sort_unstable();
        Ok(Chosen { of: self, rows: chosen, lines })
    }

    /// The candidates in the order in which a limit takes them; as they lie when none is in sight.
    fn most_promising_first(&self, best: Option<&BestRows>) -> Vec<Candidate> {
        let mut rows = self.rows.clone();
        let Some(best) = best.filter(|best| best.limit() < rows.len()) else { return rows };
        let time = |candidate: &Candidate| self.times[candidate.row()];
        match best.direction() {
            Direction::Forward => rows.sort_by_key(time),
            Direction::Backward => rows.sort_by_key(|candidate| std::cmp::Reverse(time(candidate))),
        }
        rows
    }

    fn lines<'a>(
        &'a self,
        segment: &'a LogSegment,
        batch: &'a GranuleBatch,
    ) -> Result<Lines<'a>, SegmentError> {
        let lines = batch.lines(segment.pattern_table()?, &self.patterns);
        lines.map_err(|cause| segment.damaged(COLUMNS, cause))
    }

    fn tally(mut self, segment: &LogSegment, leaves: &Leaves, chosen: &[u32]) -> Option<RowTally> {
        if !leaves.level_wanted() {
            self.levels.clear();
        }
        let runs = self.streams.runs(chosen);
        if chosen.len() == self.times.len() {
            return RowTally::new(segment, self.times, runs, self.levels);
        }
        let times = chosen.iter().map(|row| self.times[*row as usize]).collect();
        let level = |row: &u32| self.levels.get(*row as usize).copied();
        let levels = chosen.iter().filter_map(level).collect();
        RowTally::new(segment, times, runs, levels)
    }

    fn rows(
        &self,
        plan: &CompiledPlan,
        segment: &LogSegment,
        leaves: &Leaves,
        chosen: &[u32],
        lines: Option<Lines<'_>>,
    ) -> Result<LogBatch, SegmentError> {
        let damaged = |cause| segment.damaged(COLUMNS, cause);
        let lines = match (&self.finishing, lines) {
            (Some(batch), None) if leaves.lines() => Some(self.lines(segment, batch)?),
            (_, lines) => lines.filter(|_| leaves.lines()),
        };
        let asked = chosen.iter().map(|row| *row as usize);
        let mut lines = lines.map(|lines| lines.for_rows(asked)).transpose().map_err(damaged)?;
        let attributes = RowAttributes::new(segment, leaves, self)?;
        let table = segment.stream_table()?;
        let mut builder = LogBatchBuilder::new();
        let mut pairs = Vec::new();
        for row in chosen.iter().map(|row| *row as usize) {
            let stream = table.get(self.streams.of(row) as usize);
            let stream = stream.ok_or_else(|| damaged(UNKNOWN_STREAM))?;
            attributes.collect(row, &plan.plan().attributes, &mut pairs);
            let line = match &mut lines {
                Some(lines) => lines.get(row).map_err(damaged)?,
                None => "",
            };
            builder.push(TimestampNanos(self.times[row]), &stream.labels, line, &pairs, None);
        }
        Ok(builder.finish())
    }
}

/// Rows of a granule that are wanted.
#[derive(Debug)]
pub(crate) struct Chosen<'a> {
    of: &'a Decided,
    /// Ascending.
    rows: Vec<u32>,
    /// The granule's lines, if they were opened to choose rows.
    lines: Option<Lines<'a>>,
}

impl Chosen<'_> {
    /// How many there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The times of the rows that were not [certain](Decided::certain_times) before.
    pub(crate) fn certain_now(&self) -> impl Iterator<Item = i64> {
        let open = self.of.rows.iter().filter(|row| self.of.labels_open || row.open());
        let chosen = open.filter(|row| self.rows.binary_search(&(row.row() as u32)).is_ok());
        chosen.map(|row| self.of.times[row.row()])
    }

    /// Drops rows that cannot be among the best any more.
    pub(crate) fn narrow(&mut self, best: &BestRows) {
        let time = |row: &u32| self.of.times[*row as usize];
        self.rows.retain(|row| best.may_take(time(row), time(row)));
    }

    /// The rows, and the number of the segment's row that the granule begins with.
    pub(crate) fn into_rows(
        self,
        plan: &CompiledPlan,
        segment: &LogSegment,
        leaves: &Leaves,
    ) -> Result<(u64, LogBatch), SegmentError> {
        let first = u64::from(self.of.pages.granule()) * segment.granules().granule_rows as u64;
        Ok((first, self.of.rows(plan, segment, leaves, &self.rows, self.lines)?))
    }
}
