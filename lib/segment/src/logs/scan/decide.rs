//! Which rows of one granule satisfy the plan, reading as few columns as possible.
//!
//! Pattern, stream, level and time decide, each column decoded only while rows are left; most
//! granules end here. What is left goes on in [`super::decided`].

use std::collections::HashMap;

use record::DETECTED_LEVEL;

use super::best::BestRows;
use super::decided::{Candidate, Decided};
use super::leaves::Leaves;
use super::numbers::GranulePages;
use crate::logs::columns::{ATTRIBUTE_NAMES, LEVEL, PATTERN, STREAM, TIME};
use crate::logs::error::SegmentError;
use crate::logs::page::PageDecoder;
use crate::logs::plan::CompiledPlan;
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
        let bounded = best.filter(|best| best.is_bounded());
        let (mut times, mut in_reach) = (Vec::new(), None);
        if let Some(best) = bounded {
            times = pages.times(TIME, segment, decoder).map_err(damaged)?;
            let reached: Vec<bool> = times.iter().map(|t| best.may_take(*t, *t)).collect();
            if !reached.contains(&true) {
                return Ok(None);
            }
            in_reach = Some(reached);
        }
        let mut patterns = Vec::new();
        if leaves.patterns_read() {
            patterns = pages.numbers(PATTERN, segment, decoder).map_err(damaged)?;
        }
        let in_reach = in_reach.as_deref();
        let Some(mut verdicts) = self.by_pattern(plan, segment, &pages, &patterns, in_reach)?
        else {
            return Ok(None);
        };
        let streams = self.by_stream(segment, &pages, decoder, &mut verdicts).map_err(damaged)?;
        let mut levels = Vec::new();
        let (mut level_open, mut levels_empty) = (false, false);
        if leaves.level_read() {
            levels = pages.numbers(LEVEL, segment, decoder).map_err(damaged)?;
            level_open = self.by_level(&levels, &mut verdicts).map_err(damaged)?;
            levels_empty = some_empty(segment, &levels, &verdicts)?;
        }
        if verdicts.iter().all(|verdict| *verdict == Verdict::No) {
            return Ok(None);
        }
        if bounded.is_none() {
            times = pages.times(TIME, segment, decoder).map_err(damaged)?;
        }
        let granule = &segment.granules().granules[pages.granule() as usize];
        let inside = plan.time_matches(granule.time_min) && plan.time_matches(granule.time_max);
        let reached = |time: i64| {
            (inside || plan.time_matches(time)) && best.is_none_or(|best| best.may_take(time, time))
        };
        let rows = candidates(&verdicts, &times, reached);
        if rows.is_empty() {
            return Ok(None);
        }
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

    /// What the line filters say about each row, of rows out of reach "no"; `None` when they refuse
    /// all.
    fn by_pattern(
        &mut self,
        plan: &CompiledPlan,
        segment: &LogSegment,
        pages: &GranulePages,
        patterns: &[u32],
        in_reach: Option<&[bool]>,
    ) -> Result<Option<Vec<Verdict>>, SegmentError> {
        let combination = self.combinations.get(&pages.granule()).copied();
        let Some((verdicts, combination)) = self.verdicts.as_mut().zip(combination) else {
            return Ok(Some(vec![Verdict::Yes; pages.rows(segment)]));
        };
        let table = segment.pattern_table()?;
        let filters = plan.filters();
        let found = match in_reach {
            // Few are: patterns of the others need not be looked at.
            Some(in_reach) => {
                let verdict = |(pattern, in_reach): (&u32, &bool)| match in_reach {
                    true => verdicts.verdict(filters, table, combination, *pattern),
                    false => Verdict::No,
                };
                patterns.iter().zip(in_reach).map(verdict).collect()
            }
            None => verdicts.of_rows(filters, table, combination, patterns),
        };
        Ok(found.iter().any(|verdict| *verdict != Verdict::No).then_some(found))
    }

    /// Refuses rows of streams that are not wanted.
    fn by_stream(
        &self,
        segment: &LogSegment,
        pages: &GranulePages,
        decoder: &mut PageDecoder,
        verdicts: &mut [Verdict],
    ) -> Result<Streams, Malformed> {
        let wanted = |stream: u32| self.streams.get(stream as usize).copied().ok_or(UNKNOWN_STREAM);
        let streams = Streams::read(segment, pages, decoder)?;
        match &streams {
            Streams::One(stream) => {
                if !wanted(*stream)? {
                    verdicts.fill(Verdict::No);
                }
            }
            Streams::Each(streams) => {
                let mut at = 0;
                for run in streams.chunk_by(|a, b| a == b) {
                    if !wanted(run[0])? {
                        verdicts[at..at + run.len()].fill(Verdict::No);
                    }
                    at += run.len();
                }
            }
        }
        Ok(streams)
    }

    /// Refuses rows by their level, and says whether rows are left that it does not decide.
    fn by_level(&self, levels: &[u32], verdicts: &mut [Verdict]) -> Result<bool, Malformed> {
        let Some(accepted) = &self.levels else { return Ok(false) };
        let mut open = false;
        for (level, verdict) in levels.iter().zip(verdicts) {
            match accepted.get(*level as usize).ok_or(UNKNOWN_LEVEL)? {
                Verdict::Yes => {}
                Verdict::No => *verdict = Verdict::No,
                Verdict::Perhaps => open |= *verdict != Verdict::No,
            }
        }
        Ok(open)
    }
}

/// The rows that are not refused and whose time is `reached`.
fn candidates(
    verdicts: &[Verdict],
    times: &[i64],
    reached: impl Fn(i64) -> bool,
) -> Vec<Candidate> {
    // Every row is written and most are kept or not by chance: nothing branches on that.
    let mut rows = vec![Candidate::default(); times.len()];
    let mut count = 0;
    for ((verdict, time), row) in verdicts.iter().zip(times).zip(0..) {
        let Some(place) = rows.get_mut(count) else { break };
        *place = Candidate::new(row, *verdict == Verdict::Perhaps);
        count += usize::from((*verdict != Verdict::No) & reached(*time));
    }
    rows.truncate(count);
    rows
}

/// Whether a row that is left has no level or an empty one.
fn some_empty(
    segment: &LogSegment,
    levels: &[u32],
    verdicts: &[Verdict],
) -> Result<bool, SegmentError> {
    let table = segment.level_table()?;
    let empty: Vec<bool> =
        table.iter().map(|level| level.as_deref().unwrap_or("").is_empty()).collect();
    let mut left = levels.iter().zip(verdicts).filter(|(_, verdict)| **verdict != Verdict::No);
    Ok(left.any(|(level, _)| empty.get(*level as usize) != Some(&false)))
}

/// Whether a granule is known to have no attribute without a column of its own.
fn holds_no_names(segment: &LogSegment, pages: &GranulePages, decoder: &mut PageDecoder) -> bool {
    segment.columns().zstd(ATTRIBUTE_NAMES)
        && pages
            .page(ATTRIBUTE_NAMES)
            .is_some_and(|page| decoder.holds_nothing(page, pages.rows(segment)))
}
