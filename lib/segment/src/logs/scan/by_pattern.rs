//! Counting the rows of a granule where patterns and variables alone decide them.
//!
//! No row is looked at by itself but for its pattern: most patterns refuse all of their rows or let
//! all through, and variables are searched pattern by pattern. Which rows are of which stream and
//! minute is known from the volume table: where minutes are counted, neither column is read.

use std::sync::Arc;

use super::ScanStats;
use super::core::Found;
use super::decide::{Decider, Streams, UNKNOWN_STREAM};
use super::numbers::GranulePages;
use super::tally::RowTally;
use crate::logs::column_reader::GranuleBatch;
use crate::logs::columns::{PATTERN, TIME};
use crate::logs::error::SegmentError;
use crate::logs::minutes::MinuteTally;
use crate::logs::page::PageDecoder;
use crate::logs::plan::CompiledPlan;
use crate::logs::sections::COLUMNS;
use crate::logs::segment::LogSegment;
use crate::logs::streams::{NO_LEVEL, VolumeEntry};
use crate::logs::variables::{Needed, Shapes, TokenNeedles};
use crate::logs::verdict::Verdict;
use crate::wire::Malformed;

const NOT_JUDGED: Malformed = Malformed("patterns were counted before they were looked at");

const WHOLE_LINES: Malformed = Malformed("it has whole lines where variables belong");

/// A granule some patterns of which let rows through, or may.
#[derive(Debug)]
pub(crate) struct ByPattern {
    pub(crate) pages: GranulePages,
    patterns: Vec<u32>,
    shapes: Shapes,
    /// By shape.
    verdicts: Vec<Verdict>,
    pub(crate) finishing: Option<GranuleBatch>,
}

impl Decider {
    /// What the patterns of a granule's rows say; `None` when they refuse all.
    pub(crate) fn by_patterns(
        &mut self,
        plan: &CompiledPlan,
        segment: &LogSegment,
        pages: GranulePages,
        decoder: &mut PageDecoder,
    ) -> Result<Option<ByPattern>, SegmentError> {
        let damaged = |cause| segment.damaged(COLUMNS, cause);
        let patterns = pages.numbers(PATTERN, segment, decoder).map_err(damaged)?;
        let table = segment.pattern_table()?;
        let shapes = Shapes::of(table, &patterns).map_err(damaged)?;
        let combination = self.combinations.get(&pages.granule()).copied();
        let (known, combination) =
            self.verdicts.as_mut().zip(combination).ok_or_else(|| damaged(NOT_JUDGED))?;
        let mut verdict = |pattern| known.verdict(plan.filters(), table, combination, pattern);
        let verdicts: Vec<Verdict> =
            shapes.all().iter().map(|shape| verdict(shape.pattern)).collect();
        let left = verdicts.iter().any(|verdict| *verdict != Verdict::No);
        let finishing = None;
        Ok(left.then_some(ByPattern { pages, patterns, shapes, verdicts, finishing }))
    }
}

impl ByPattern {
    /// Whether variables have to be searched.
    pub(crate) fn open(&self) -> bool {
        self.verdicts.contains(&Verdict::Perhaps)
    }

    /// The groups in which rows still open may satisfy `filters`.
    pub(crate) fn groups_needed(
        &self,
        filters: &[TokenNeedles],
        segment: &LogSegment,
    ) -> Result<Needed, SegmentError> {
        let damaged = |cause| segment.damaged(COLUMNS, cause);
        let Some(batch) = self.finishing.as_ref().filter(|_| self.open()) else {
            return Ok(Needed::default());
        };
        let open = self.shapes_open();
        let opened = batch.opened(segment.pattern_table()?, &self.patterns, &self.shapes);
        let mut opened = opened.map_err(damaged)?.ok_or_else(|| damaged(WHOLE_LINES))?;
        opened.needed(filters, &open, &vec![false; open.len()]).map_err(damaged)
    }

    /// By shape, whether its rows are still open.
    fn shapes_open(&self) -> Vec<bool> {
        self.verdicts.iter().map(|verdict| *verdict == Verdict::Perhaps).collect()
    }

    /// Searches what is still open and counts; `None` when no row is left.
    pub(crate) fn finish(
        mut self,
        plan: &Arc<CompiledPlan>,
        filters: &[TokenNeedles],
        segment: &LogSegment,
        by_minute: bool,
        decoder: &mut PageDecoder,
        stats: &mut ScanStats,
    ) -> Result<Option<Found>, SegmentError> {
        let damaged = |cause| segment.damaged(COLUMNS, cause);
        let mut found = Vec::new();
        if self.open() {
            let batch = self.finishing.take().ok_or_else(|| damaged(WHOLE_LINES))?;
            found = self.search(filters, segment, &batch, stats)?;
        }
        let passing = self.passing(found);
        let rows: u64 = passing.iter().map(|passes| u64::from(*passes)).sum();
        stats.rows_matched += rows;
        if rows == 0 {
            return Ok(None);
        }
        Ok(Some(if by_minute {
            let counts = self.by_minute(segment, &passing)?;
            Found::Minutes(MinuteTally::of_matching(segment, plan, counts))
        } else {
            Found::Tally(self.tally(segment, &passing, decoder).map_err(damaged)?)
        }))
    }

    /// Which rows of the patterns still open satisfy the filters, in the order of patterns.
    fn search(
        &self,
        filters: &[TokenNeedles],
        segment: &LogSegment,
        batch: &GranuleBatch,
        stats: &mut ScanStats,
    ) -> Result<Vec<bool>, SegmentError> {
        let damaged = |cause| segment.damaged(COLUMNS, cause);
        let open = self.shapes_open();
        let rows = self.shapes.all().iter().zip(&open).filter(|(_, open)| **open);
        stats.lines_searched += rows.map(|(shape, _)| shape.rows.len() as u64).sum::<u64>();
        let opened = batch.opened(segment.pattern_table()?, &self.patterns, &self.shapes);
        let mut opened = opened.map_err(damaged)?.ok_or_else(|| damaged(WHOLE_LINES))?;
        opened.satisfying_of(filters, &open).map_err(damaged)
    }

    /// By row, whether it passes; `found` says it of the patterns still open, in their order.
    fn passing(&self, mut found: Vec<bool>) -> Vec<bool> {
        // Behind what was found stands what is looked at, again and again, for the other patterns:
        // rows pass or not by chance, and nothing branches on that.
        let no = found.len();
        found.extend([false, true]);
        let mut next: Vec<(usize, usize)> = self
            .shapes
            .all()
            .iter()
            .zip(&self.verdicts)
            .map(|(shape, verdict)| match verdict {
                Verdict::No => (no, 0),
                Verdict::Yes => (no + 1, 0),
                Verdict::Perhaps => (shape.rows.start, 1),
            })
            .collect();
        let passes = |pattern: &u32| {
            let (at, step) = &mut next[self.shapes.place(*pattern)];
            let passes = found[*at];
            *at += *step;
            passes
        };
        self.patterns.iter().map(passes).collect()
    }

    /// Counts the rows that pass by stream and minute.
    fn by_minute(
        &self,
        segment: &LogSegment,
        passing: &[bool],
    ) -> Result<Vec<VolumeEntry>, SegmentError> {
        let first = u64::from(self.pages.granule()) * segment.granules().granule_rows as u64;
        let runs = segment.minute_runs()?;
        let mut counts = Vec::new();
        let mut start = 0;
        for run in &runs[runs.partition_point(|run| run.end <= first)..] {
            let end = usize::try_from(run.end - first)
                .map_or(passing.len(), |end| end.min(passing.len()));
            let lines = passing[start..end].iter().map(|passes| u64::from(*passes)).sum();
            if 0 < lines {
                let (stream, minute_ns) = (run.stream, run.minute_ns);
                counts.push(VolumeEntry { stream, level: NO_LEVEL, minute_ns, lines, bytes: 0 });
            }
            start = end;
            if start == passing.len() {
                break;
            }
        }
        Ok(counts)
    }

    /// The rows that pass, each with its time.
    fn tally(
        &self,
        segment: &LogSegment,
        passing: &[bool],
        decoder: &mut PageDecoder,
    ) -> Result<RowTally, Malformed> {
        let rows = (0..).zip(passing).filter(|(_, passes)| **passes);
        let rows: Vec<u32> = rows.map(|(row, _)| row).collect();
        let runs = Streams::read(segment, &self.pages, decoder)?.runs(&rows);
        let times = self.pages.times(TIME, segment, decoder)?;
        let times = rows.iter().map(|row| times[*row as usize]).collect();
        RowTally::new(segment, times, runs, Vec::new()).ok_or(UNKNOWN_STREAM)
    }
}
