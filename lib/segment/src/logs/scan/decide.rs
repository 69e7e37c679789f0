//! Which rows of one granule satisfy the plan, reading as few columns as possible.
//!
//! First pattern, stream, level and time decide, each column decoded only while rows are left;
//! most granules end here. Then, for the rows left, lines and attributes are read where the answer
//! carries them or where they are still open.

use std::collections::HashMap;

use arrow::array::{Array, StringArray};
use record::{DETECTED_LEVEL, LogBatch, LogBatchBuilder, TimestampNanos};

use super::ScanStats;
use super::best::BestRows;
use super::core::Found;
use super::leaves::Leaves;
use super::numbers::GranulePages;
use super::tally::RowTally;
use crate::logs::column_reader::{AttributeMap, GranuleBatch, Lines};
use crate::logs::columns::{ATTRIBUTE_NAMES, LEVEL, PATTERN, STREAM, TIME};
use crate::logs::error::SegmentError;
use crate::logs::page::PageDecoder;
use crate::logs::plan::{AttributeColumns, CompiledPlan, Direction};
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

/// A granule's rows that are not refused yet.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) pages: GranulePages,
    rows: Vec<Candidate>,
    /// Of all rows, as the rest.
    times: Vec<i64>,
    streams: Streams,
    levels: Vec<u32>,
    /// Pattern numbers, where lines may be read.
    patterns: Vec<u32>,
    /// Whether attributes without columns of their own have to be read.
    rest: bool,
    /// Whether attributes and labels still decide.
    labels_open: bool,
    pub(crate) finishing: Option<GranuleBatch>,
}

/// A row, and in the lowest bit whether its line has to be searched: a granule has at most 65,536.
#[derive(Clone, Copy, Debug, Default)]
struct Candidate(u32);

impl Candidate {
    fn new(row: u32, open: bool) -> Self {
        Self(row << 1 | u32::from(open))
    }

    fn row(self) -> usize {
        (self.0 >> 1) as usize
    }

    fn open(self) -> bool {
        self.0 & 1 == 1
    }
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

    fn of(&self, row: usize) -> u32 {
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
        let mut times = Vec::new();
        if let Some(best) = bounded {
            times = pages.times(TIME, segment, decoder).map_err(damaged)?;
            if !times.iter().any(|time| best.may_take(*time, *time)) {
                return Ok(None);
            }
        }
        let mut patterns = Vec::new();
        if leaves.patterns_read() {
            patterns = pages.numbers(PATTERN, segment, decoder).map_err(damaged)?;
        }
        let in_reach = bounded.map(|best| times.iter().map(|time| best.may_take(*time, *time)));
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
        in_reach: Option<impl Iterator<Item = bool>>,
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
                let verdict = |(pattern, in_reach): (&u32, bool)| match in_reach {
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

impl Decided {
    /// The times of the rows that nothing can refuse any more.
    pub(crate) fn certain_times(&self) -> impl Iterator<Item = i64> {
        let decided = self.rows.iter().filter(|row| !self.labels_open && !row.open());
        decided.map(|row| self.times[row.row()])
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
        let time = self.times[candidate.row()];
        best.may_take(time, time)
    }

    /// Whether a line has to be searched.
    pub(crate) fn open(&self) -> bool {
        self.rows.iter().any(|candidate| candidate.open())
    }

    /// Whether attributes without columns of their own have to be read.
    pub(crate) fn rest(&self) -> bool {
        self.rest
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

/// The attributes of a granule's rows, as far as they were read.
struct RowAttributes<'a> {
    levels: Option<(&'a [Option<String>], &'a [u32])>,
    promoted: Vec<(&'a str, &'a StringArray)>,
    rest: Option<AttributeMap<'a>>,
}

impl<'a> RowAttributes<'a> {
    fn new(
        segment: &'a LogSegment,
        leaves: &'a Leaves,
        decided: &'a Decided,
    ) -> Result<Self, SegmentError> {
        let damaged = |cause| segment.damaged(COLUMNS, cause);
        let levels = if leaves.level_read() {
            Some((segment.level_table()?, &decided.levels[..]))
        } else {
            None
        };
        let Some(late) = &decided.finishing else {
            return Ok(Self { levels, promoted: Vec::new(), rest: None });
        };
        let column = |name: &'a str| late.promoted(name).map(|column| (name, column));
        let promoted = leaves.promoted().map(column).collect::<Result<_, _>>().map_err(damaged)?;
        let rest = if decided.rest { Some(late.attributes().map_err(damaged)?) } else { None };
        Ok(Self { levels, promoted, rest })
    }

    /// The first value of an attribute.
    fn first(&self, row: usize, name: &str) -> Option<&'a str> {
        self.in_own_column(row, name).or_else(|| {
            let own = name == DETECTED_LEVEL || self.has_own_column(name);
            self.rest.filter(|_| !own)?.row(row).find(|(found, _)| *found == name).map(|(_, v)| v)
        })
    }

    /// The first value of an attribute that is not empty.
    fn first_filled(&self, row: usize, name: &str) -> Option<&'a str> {
        let own = self.in_own_column(row, name).filter(|value| !value.is_empty());
        own.or_else(|| {
            let mut filled =
                self.rest?.row(row).filter(|(found, value)| *found == name && !value.is_empty());
            filled.next().map(|(_, value)| value)
        })
    }

    fn has_own_column(&self, name: &str) -> bool {
        self.promoted.iter().any(|(promoted, _)| *promoted == name)
    }

    fn in_own_column(&self, row: usize, name: &str) -> Option<&'a str> {
        if name == DETECTED_LEVEL {
            return self.level(row);
        }
        let (_, column) = self.promoted.iter().find(|(promoted, _)| *promoted == name)?;
        (!column.is_null(row)).then(|| column.value(row))
    }

    fn level(&self, row: usize) -> Option<&'a str> {
        let (levels, numbers) = self.levels?;
        levels.get(numbers[row] as usize)?.as_deref()
    }

    /// The attributes the answer carries, sorted by name.
    fn collect<'b>(
        &'b self,
        row: usize,
        wanted: &'b AttributeColumns,
        pairs: &mut Vec<(&'b str, &'b str)>,
    ) {
        pairs.clear();
        match wanted {
            AttributeColumns::None => {}
            AttributeColumns::All | AttributeColumns::Named(_) => {
                let level = self.level(row).map(|level| (DETECTED_LEVEL, level));
                let promoted = self
                    .promoted
                    .iter()
                    .filter(|(_, column)| !column.is_null(row))
                    .map(|(name, column)| (*name, column.value(row)));
                let rest = self.rest.iter().flat_map(|rest| rest.row(row));
                let all = level.into_iter().chain(promoted).chain(rest);
                pairs.extend(all.filter(|(name, _)| wanted.wants(name)));
                pairs.sort_by_key(|(name, _)| *name);
                if let AttributeColumns::Named(_) = wanted {
                    keep_to_first_filled(pairs);
                }
            }
        }
    }
}

/// Of each name in sorted pairs, drops what stands behind the first that has a value.
fn keep_to_first_filled(pairs: &mut Vec<(&str, &str)>) {
    let mut filled: Option<&str> = None;
    pairs.retain(|(name, value)| {
        let behind = filled == Some(*name);
        if !behind && !value.is_empty() {
            filled = Some(*name);
        }
        !behind
    });
}
