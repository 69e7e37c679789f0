//! Which rows of one granule satisfy the plan, reading as few columns as possible.
//!
//! Pattern, stream, level and time decide, each column decoded only while rows are left; most
//! granules end here. What is left goes on in [`super::decided`].

use std::collections::HashMap;
use std::ops::RangeInclusive;

use record::DETECTED_LEVEL;

use super::best::BestRows;
use super::decided::{Candidate, Decided};
use super::leaves::Leaves;
use super::numbers::GranulePages;
use crate::logs::columns::{ATTRIBUTE_NAMES, LEVEL, PATTERN, STREAM, TIME};
use crate::logs::error::SegmentError;
use crate::logs::page::PageDecoder;
use crate::logs::plan::{CompiledPlan, LogPlan};
use crate::logs::sections::COLUMNS;
use crate::logs::segment::LogSegment;
use crate::logs::verdict::{CombinationId, PatternVerdicts, Verdict};
use crate::wire::Malformed;

/// What decides a row before its line is read.
#[derive(Debug, Default)]
pub(crate) struct Decider {
    /// By stream number: whether the matchers hold.
    pub(crate) streams: Vec<bool>,
    /// By level number: what the level's matchers say.
    pub(crate) levels: Option<Vec<Verdict>>,
    pub(crate) verdicts: Option<PatternVerdicts>,
    /// By granule: which verdicts hold there.
    pub(crate) combinations: HashMap<u32, CombinationId>,
}

/// The stream numbers of a granule's rows; a granule of one stream has no need to read them.
#[derive(Debug)]
pub(super) enum Streams {
    One(u32),
    Each(Vec<u32>),
}

pub(super) const UNKNOWN_STREAM: Malformed = Malformed("a row names a stream that is not there");
const UNKNOWN_LEVEL: Malformed = Malformed("a row names a level that is not there");

impl Streams {
    pub(super) fn read(
        segment: &LogSegment,
        pages: &GranulePages,
        decoder: &mut PageDecoder,
    ) -> Result<Self, Malformed> {
        let range = &segment.granules().granules[pages.granule() as usize].streams;
        match range.start() == range.end() {
            true => Ok(Self::One(*range.start())),
            false => Ok(Self::Each(pages.numbers(STREAM, segment, decoder)?)),
        }
    }

    pub(super) fn of(&self, row: usize) -> u32 {
        match self {
            Self::One(stream) => *stream,
            Self::Each(streams) => streams[row],
        }
    }

    /// The streams of `rows`, each with how many of them there are up to its last.
    pub(super) fn runs(&self, rows: &[u32]) -> Vec<(u32, usize)> {
        let mut runs: Vec<(u32, usize)> = Vec::new();
        match self {
            Self::One(stream) => runs.push((*stream, rows.len())),
            Self::Each(streams) => {
                for (at, row) in rows.iter().enumerate() {
                    let stream = streams[*row as usize];
                    match runs.last_mut() {
                        Some((known, end)) if *known == stream => *end = at + 1,
                        _ => runs.push((stream, at + 1)),
                    }
                }
            }
        }
        runs
    }
}

impl Decider {
    /// The rows of a granule that the columns of numbers do not refuse; `None` when none are left.
    pub(crate) fn decide(
        &mut self,
        plan: &CompiledPlan,
        segment: &LogSegment,
        leaves: &Leaves,
        pages: GranulePages,
        best: Option<&BestRows>,
        decoder: &mut PageDecoder,
    ) -> Result<Option<Decided>, SegmentError> {
        let damaged = |cause| segment.damaged(COLUMNS, cause);
        let reach = reach(plan, best);
        let (mut times, mut few) = (Vec::new(), None);
        let timed = pages.page(TIME).is_some();
        if timed && best.is_some_and(BestRows::is_bounded) {
            times = pages.times(TIME, segment, decoder).map_err(damaged)?;
            let rows = in_reach(&times, &reach);
            if rows.is_empty() {
                return Ok(None);
            }
            few = Some(rows);
        }
        let mut patterns = Vec::new();
        if leaves.patterns_read() {
            patterns = pages.numbers(PATTERN, segment, decoder).map_err(damaged)?;
        }
        let mut rows = match few {
            Some(few) => self.few_by_pattern(plan, segment, &pages, &patterns, few)?,
            None => {
                let verdicts = self.by_pattern(plan, segment, &pages, &patterns)?;
                if verdicts.iter().all(|verdict| *verdict == Verdict::No) {
                    return Ok(None);
                }
                if timed {
                    times = pages.times(TIME, segment, decoder).map_err(damaged)?;
                    candidates(&verdicts, &times, &reach)
                } else {
                    all_candidates(&verdicts)
                }
            }
        };
        if rows.is_empty() {
            return Ok(None);
        }
        let streams = Streams::read(segment, &pages, decoder).map_err(damaged)?;
        self.by_stream(&streams, &mut rows).map_err(damaged)?;
        let mut levels = Vec::new();
        let (mut level_open, mut levels_empty) = (false, false);
        if leaves.level_read() {
            levels = pages.numbers(LEVEL, segment, decoder).map_err(damaged)?;
            level_open = self.by_level(&levels, &mut rows).map_err(damaged)?;
            levels_empty = some_empty(segment, &levels, &rows)?;
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let granule = &segment.granules().granules[pages.granule() as usize];
        let rest =
            leaves.rest_read(granule, levels_empty) && !holds_no_names(segment, &pages, decoder);
        let decided_by_level = plan.attribute_names().all(|name| name == DETECTED_LEVEL);
        let labels_open = level_open || !decided_by_level;
        let finishing = None;
        Ok(Some(Decided {
            pages,
            rows,
            times,
            streams,
            levels,
            patterns,
            rest,
            labels_open,
            finishing,
        }))
    }

    /// What the line filters say about each row.
    fn by_pattern(
        &mut self,
        plan: &CompiledPlan,
        segment: &LogSegment,
        pages: &GranulePages,
        patterns: &[u32],
    ) -> Result<Vec<Verdict>, SegmentError> {
        let combination = self.combinations.get(&pages.granule()).copied();
        let Some((verdicts, combination)) = self.verdicts.as_mut().zip(combination) else {
            return Ok(vec![Verdict::Yes; pages.rows(segment)]);
        };
        Ok(verdicts.of_rows(plan.filters(), segment.pattern_table()?, combination, patterns))
    }

    /// Those of `rows` that the line filters do not refuse: patterns of others are not looked at.
    fn few_by_pattern(
        &mut self,
        plan: &CompiledPlan,
        segment: &LogSegment,
        pages: &GranulePages,
        patterns: &[u32],
        rows: Vec<u32>,
    ) -> Result<Vec<Candidate>, SegmentError> {
        let combination = self.combinations.get(&pages.granule()).copied();
        let Some((verdicts, combination)) = self.verdicts.as_mut().zip(combination) else {
            return Ok(rows.into_iter().map(|row| Candidate::new(row, false)).collect());
        };
        let (filters, table) = (plan.filters(), segment.pattern_table()?);
        let candidate = |row: u32| {
            let pattern = patterns[row as usize];
            match verdicts.verdict(filters, table, combination, pattern) {
                Verdict::No => None,
                verdict => Some(Candidate::new(row, verdict == Verdict::Perhaps)),
            }
        };
        Ok(rows.into_iter().filter_map(candidate).collect())
    }

    /// Refuses rows of streams that are not wanted.
    fn by_stream(&self, streams: &Streams, rows: &mut Vec<Candidate>) -> Result<(), Malformed> {
        let wanted = |stream: u32| self.streams.get(stream as usize).copied().ok_or(UNKNOWN_STREAM);
        match streams {
            Streams::One(stream) => {
                if !wanted(*stream)? {
                    rows.clear();
                }
            }
            Streams::Each(streams) => {
                // Rows of one stream lie together, so mostly it is that of the row before.
                let mut last = None;
                let mut unknown = false;
                rows.retain(|candidate| {
                    let stream = streams[candidate.row()];
                    let known = last.filter(|(known, _)| *known == stream);
                    let (_, wanted) = known.unwrap_or_else(|| {
                        let wanted = wanted(stream);
                        unknown |= wanted.is_err();
                        (stream, wanted.unwrap_or(false))
                    });
                    last = Some((stream, wanted));
                    wanted
                });
                if unknown {
                    return Err(UNKNOWN_STREAM);
                }
            }
        }
        Ok(())
    }

    /// Refuses rows by their level, and says whether rows are left that it does not decide.
    fn by_level(&self, levels: &[u32], rows: &mut Vec<Candidate>) -> Result<bool, Malformed> {
        let Some(accepted) = &self.levels else { return Ok(false) };
        let (mut open, mut unknown) = (false, false);
        rows.retain(|candidate| {
            let verdict = accepted.get(levels[candidate.row()] as usize);
            unknown |= verdict.is_none();
            open |= verdict == Some(&Verdict::Perhaps);
            verdict != Some(&Verdict::No)
        });
        if unknown { Err(UNKNOWN_LEVEL) } else { Ok(open) }
    }
}

/// The times of rows that are in the plan's range and may be among the best.
fn reach(plan: &CompiledPlan, best: Option<&BestRows>) -> RangeInclusive<i64> {
    let best = best.map_or(i64::MIN..=i64::MAX, BestRows::reach);
    let LogPlan { start_ns, end_ns, .. } = plan.plan();
    *best.start().max(start_ns)..=*best.end().min(&end_ns.saturating_sub(1))
}

/// The rows whose times are in `reach`.
fn in_reach(times: &[i64], reach: &RangeInclusive<i64>) -> Vec<u32> {
    // Few are, here and there.
    times.iter().zip(0..).filter(|(time, _)| reach.contains(time)).map(|(_, row)| row).collect()
}

/// The rows that are not refused and whose time is in `reach`.
fn candidates(verdicts: &[Verdict], times: &[i64], reach: &RangeInclusive<i64>) -> Vec<Candidate> {
    // Every row is written and most are kept or not by chance: nothing branches on that.
    let mut rows = vec![Candidate::default(); times.len()];
    let mut count = 0;
    for ((verdict, time), row) in verdicts.iter().zip(times).zip(0..) {
        let Some(place) = rows.get_mut(count) else { break };
        *place = Candidate::new(row, *verdict == Verdict::Perhaps);
        let reached = (*reach.start() <= *time) & (*time <= *reach.end());
        count += usize::from((*verdict != Verdict::No) & reached);
    }
    rows.truncate(count);
    rows
}

/// The rows that are not refused, of a granule that is read without times.
fn all_candidates(verdicts: &[Verdict]) -> Vec<Candidate> {
    let rows = (0..).zip(verdicts).filter(|(_, verdict)| **verdict != Verdict::No);
    rows.map(|(row, verdict)| Candidate::new(row, *verdict == Verdict::Perhaps)).collect()
}

/// Whether a row that is left has no level or an empty one.
fn some_empty(
    segment: &LogSegment,
    levels: &[u32],
    rows: &[Candidate],
) -> Result<bool, SegmentError> {
    let table = segment.level_table()?;
    let empty: Vec<bool> =
        table.iter().map(|level| level.as_deref().unwrap_or("").is_empty()).collect();
    let level = |candidate: &Candidate| levels[candidate.row()] as usize;
    Ok(rows.iter().any(|candidate| empty.get(level(candidate)) != Some(&false)))
}

/// Whether a granule is known to have no attribute without a column of its own.
fn holds_no_names(segment: &LogSegment, pages: &GranulePages, decoder: &mut PageDecoder) -> bool {
    segment.columns().zstd(ATTRIBUTE_NAMES)
        && pages
            .page(ATTRIBUTE_NAMES)
            .is_some_and(|page| decoder.holds_nothing(page, pages.rows(segment)))
}
