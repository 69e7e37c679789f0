//! Which rows of one granule satisfy the plan, reading as few columns as possible.
//!
//! First time, stream, level and pattern decide; most rows end here. Then, for the rows left,
//! lines and attributes are read where the answer carries them or where they are still open.

use std::collections::HashMap;

use arrow::array::{Array, StringArray};
use record::{DETECTED_LEVEL, LogBatch, LogBatchBuilder, TimestampNanos};

use super::ScanStats;
use super::best::BestRows;
use crate::logs::column_reader::{AttributeMap, GranuleBatch};
use crate::logs::columns::{
    ATTRIBUTE_NAMES, ATTRIBUTE_VALUES, LEVEL, LINES, PATTERN, PROMOTED, STREAM, TIME,
};
use crate::logs::error::SegmentError;
use crate::logs::granule::Granule;
use crate::logs::plan::{AttributeColumns, CompiledPlan, Direction};
use crate::logs::sections::COLUMNS;
use crate::logs::segment::LogSegment;
use crate::logs::verdict::{CombinationId, PatternVerdicts, Verdict};
use crate::wire::Malformed;

/// Which leaf columns a plan reads, and when.
#[derive(Debug)]
pub(crate) struct Leaves {
    filters: bool,
    lines: bool,
    level_decides: bool,
    level_wanted: bool,
    /// Of the attributes the answer carries or matchers ask for.
    attributes: Vec<usize>,
    /// Whether the attributes without columns of their own are read.
    rest: bool,
    /// Names and leaves of the promoted ones read.
    promoted: Vec<String>,
}

impl Leaves {
    pub(crate) fn new(plan: &CompiledPlan, promoted: &[String]) -> Self {
        let wanted = &plan.plan().attributes;
        let asked = |name: &str| plan.plan().attribute_matchers.iter().any(|m| m.name() == name);
        let named: Vec<&str> = match wanted {
            AttributeColumns::Named(names) => names.iter().map(String::as_str).collect(),
            AttributeColumns::None | AttributeColumns::All => Vec::new(),
        };
        let matchers = plan.plan().attribute_matchers.iter().map(|matcher| matcher.name());
        let own_column = |name: &str| name == DETECTED_LEVEL || promoted.iter().any(|p| p == name);
        let rest = *wanted == AttributeColumns::All
            || named.iter().copied().chain(matchers).any(|name| !own_column(name));
        let read = |name: &String| wanted.wants(name) || asked(name);
        let numbered = promoted.iter().zip(PROMOTED..).filter(|(name, _)| read(name));
        let mut attributes: Vec<usize> =
            if rest { vec![ATTRIBUTE_NAMES, ATTRIBUTE_VALUES] } else { Vec::new() };
        attributes.extend(numbered.map(|(_, leaf)| leaf));
        Self {
            filters: !plan.filters().is_empty(),
            lines: plan.plan().lines,
            level_decides: asked(DETECTED_LEVEL),
            level_wanted: wanted.wants(DETECTED_LEVEL),
            attributes,
            rest,
            promoted: promoted.iter().filter(|name| read(name)).cloned().collect(),
        }
    }

    /// Whether a row's level can refuse it.
    pub(crate) fn level_decides(&self) -> bool {
        self.level_decides
    }

    /// Whether lines may be read, which takes their patterns.
    pub(crate) fn patterns(&self) -> bool {
        self.filters || self.lines
    }

    /// Whether the answer carries levels.
    pub(crate) fn level_wanted(&self) -> bool {
        self.level_wanted
    }

    /// What is read of a granule first. Without line filters nearly every row that is in range is
    /// wanted, so everything is read at once.
    pub(crate) fn deciding(&self, granule: &Granule) -> Vec<usize> {
        let mut leaves = vec![TIME];
        if granule.streams.start() != granule.streams.end() {
            leaves.push(STREAM);
        }
        if self.level_decides || self.level_wanted {
            leaves.push(LEVEL);
        }
        if self.patterns() {
            leaves.push(PATTERN);
        }
        if !self.filters {
            leaves.extend(self.late(false));
        }
        leaves
    }

    /// What is read for the rows left; `open` when lines still decide.
    pub(crate) fn finishing(&self, open: bool) -> Vec<usize> {
        if self.filters { self.late(open) } else { Vec::new() }
    }

    fn late(&self, open: bool) -> Vec<usize> {
        let line = (self.lines || open).then_some(LINES);
        line.into_iter().chain(self.attributes.iter().copied()).collect()
    }
}

/// What decides a row before its line is read.
#[derive(Debug, Default)]
pub(crate) struct Decider {
    /// By stream number: whether the matchers hold.
    pub(crate) streams: Vec<bool>,
    /// By level number: whether the level's matchers hold.
    pub(crate) levels: Option<Vec<bool>>,
    pub(crate) verdicts: Option<PatternVerdicts>,
    /// By granule: which verdicts hold there.
    pub(crate) combinations: HashMap<u32, CombinationId>,
}

/// A granule's rows that are not refused yet.
#[derive(Debug)]
pub(crate) struct Decided {
    granule: u32,
    rows: Vec<Candidate>,
    deciding: GranuleBatch,
    pub(crate) finishing: Option<GranuleBatch>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    row: u32,
    /// Whether its line has to be searched.
    open: bool,
}

impl Decider {
    /// The rows of a granule that the deciding columns do not refuse; `None` when none are left.
    pub(crate) fn decide(
        &mut self,
        plan: &CompiledPlan,
        segment: &LogSegment,
        granule: u32,
        deciding: GranuleBatch,
        best: Option<&BestRows>,
    ) -> Result<Option<Decided>, SegmentError> {
        let rows = self.candidates(plan, segment, granule, &deciding, best)?;
        Ok((!rows.is_empty()).then_some(Decided { granule, rows, deciding, finishing: None }))
    }

    fn candidates(
        &mut self,
        plan: &CompiledPlan,
        segment: &LogSegment,
        granule: u32,
        batch: &GranuleBatch,
        best: Option<&BestRows>,
    ) -> Result<Vec<Candidate>, SegmentError> {
        let damaged = |cause| segment.damaged(COLUMNS, cause);
        let stream = Streams::new(segment, granule, batch).map_err(damaged)?;
        let levels = match &self.levels {
            Some(accepted) => Some((accepted, batch.numbers("level").map_err(damaged)?)),
            None => None,
        };
        let combination = self.combinations.get(&granule).copied();
        let mut patterns = match self.verdicts.as_mut().zip(combination) {
            Some((verdicts, combination)) => {
                let numbers = batch.numbers("pattern").map_err(damaged)?;
                Some((verdicts, combination, segment.pattern_table()?, numbers))
            }
            None => None,
        };
        let mut rows = Vec::new();
        for (row, time) in batch.times().map_err(damaged)?.iter().enumerate() {
            let reached = best.is_none_or(|best| best.may_take(*time, *time));
            if !plan.time_matches(*time) || !reached {
                continue;
            }
            let wanted = self.streams.get(stream.of(row) as usize);
            if !wanted.copied().ok_or_else(|| damaged(UNKNOWN_STREAM))? {
                continue;
            }
            if let Some((accepted, numbers)) = levels
                && !accepted
                    .get(numbers[row] as usize)
                    .copied()
                    .ok_or_else(|| damaged(UNKNOWN_LEVEL))?
            {
                continue;
            }
            let verdict = match &mut patterns {
                Some((verdicts, combination, table, numbers)) => {
                    verdicts.verdict(plan.filters(), table, *combination, numbers[row])
                }
                None => Verdict::Yes,
            };
            if verdict != Verdict::No {
                rows.push(Candidate { row: row as u32, open: verdict == Verdict::Perhaps });
            }
        }
        Ok(rows)
    }
}

const UNKNOWN_STREAM: Malformed = Malformed("a row names a stream that is not there");
const UNKNOWN_LEVEL: Malformed = Malformed("a row names a level that is not there");

/// The stream numbers of a granule's rows; a granule of one stream has no need to read them.
#[derive(Clone, Copy, Debug)]
enum Streams<'a> {
    One(u32),
    Each(&'a [u32]),
}

impl<'a> Streams<'a> {
    fn new(segment: &LogSegment, granule: u32, batch: &'a GranuleBatch) -> Result<Self, Malformed> {
        let streams = &segment.granules().granules[granule as usize].streams;
        if streams.start() == streams.end() {
            return Ok(Self::One(*streams.start()));
        }
        batch.numbers("stream").map(Self::Each)
    }

    fn of(self, row: usize) -> u32 {
        match self {
            Self::One(stream) => stream,
            Self::Each(streams) => streams[row],
        }
    }
}

impl Decided {
    pub(crate) fn granule(&self) -> u32 {
        self.granule
    }

    /// Whether a line has to be searched.
    pub(crate) fn open(&self) -> bool {
        self.rows.iter().any(|candidate| candidate.open)
    }

    /// Searches the lines and attributes still open and builds the rows of the answer; `None` when
    /// there are none.
    pub(crate) fn finish(
        self,
        plan: &CompiledPlan,
        segment: &LogSegment,
        leaves: &Leaves,
        best: Option<&BestRows>,
        stats: &mut ScanStats,
    ) -> Result<Option<LogBatch>, SegmentError> {
        let damaged = |cause| segment.damaged(COLUMNS, cause);
        let times = self.deciding.times().map_err(damaged)?;
        let late = self.finishing.as_ref().unwrap_or(&self.deciding);
        let mut lines = if leaves.lines || self.open() {
            let patterns = self.deciding.numbers("pattern").map_err(damaged)?;
            Some(late.lines(segment.pattern_table()?, patterns).map_err(damaged)?)
        } else {
            None
        };
        let attributes = RowAttributes::new(segment, leaves, &self.deciding, late)?;
        let limit = best.map_or(usize::MAX, BestRows::limit);
        let mut chosen = Vec::new();
        for candidate in self.most_promising_first(times, best) {
            if chosen.len() == limit {
                break;
            }
            stats.lines_searched += u64::from(candidate.open);
            let searched = match &mut lines {
                Some(lines) if candidate.open => {
                    plan.line_matches(lines.get(candidate.row as usize).map_err(damaged)?)
                }
                _ => true,
            };
            let passes = searched
                && plan.attributes_match(|name| attributes.first(candidate.row as usize, name));
            if passes {
                chosen.push(candidate.row);
            }
        }
        stats.rows_matched += chosen.len() as u64;
        if chosen.is_empty() {
            return Ok(None);
        }
        chosen.sort_unstable();
        let streams = Streams::new(segment, self.granule, &self.deciding).map_err(damaged)?;
        let table = segment.stream_table()?;
        let mut builder = LogBatchBuilder::new();
        let mut pairs = Vec::new();
        for row in chosen {
            let at = row as usize;
            let stream =
                table.get(streams.of(at) as usize).ok_or_else(|| damaged(UNKNOWN_STREAM))?;
            attributes.collect(at, &plan.plan().attributes, &mut pairs);
            let text = match &mut lines {
                Some(lines) if leaves.lines => lines.get(at).map_err(damaged)?,
                _ => "",
            };
            builder.push(TimestampNanos(times[at]), &stream.labels, text, &pairs, None);
        }
        Ok(Some(builder.finish()))
    }

    /// The candidates in the order in which a limit takes them; as they lie when none is in sight.
    fn most_promising_first(&self, times: &[i64], best: Option<&BestRows>) -> Vec<Candidate> {
        let mut rows = self.rows.clone();
        let Some(best) = best.filter(|best| best.limit() < rows.len()) else { return rows };
        let time = |candidate: &Candidate| times[candidate.row as usize];
        match best.direction() {
            Direction::Forward => rows.sort_by_key(time),
            Direction::Backward => rows.sort_by_key(|candidate| std::cmp::Reverse(time(candidate))),
        }
        rows
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
        deciding: &'a GranuleBatch,
        late: &'a GranuleBatch,
    ) -> Result<Self, SegmentError> {
        let damaged = |cause| segment.damaged(COLUMNS, cause);
        let levels = if leaves.level_decides || leaves.level_wanted {
            Some((segment.level_table()?, deciding.numbers("level").map_err(damaged)?))
        } else {
            None
        };
        let column = |name: &'a String| late.promoted(name).map(|column| (name.as_str(), column));
        let promoted =
            leaves.promoted.iter().map(column).collect::<Result<_, _>>().map_err(damaged)?;
        let rest = if leaves.rest { Some(late.attributes().map_err(damaged)?) } else { None };
        Ok(Self { levels, promoted, rest })
    }

    /// The first value of an attribute.
    fn first(&self, row: usize, name: &str) -> Option<&'a str> {
        if name == DETECTED_LEVEL {
            return self.level(row);
        }
        if let Some((_, column)) = self.promoted.iter().find(|(promoted, _)| *promoted == name) {
            return (!column.is_null(row)).then(|| column.value(row));
        }
        self.rest?.row(row).find(|(found, _)| *found == name).map(|(_, value)| value)
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
            AttributeColumns::Named(names) => {
                let value = |name: &'b String| Some((name.as_str(), self.first(row, name)?));
                pairs.extend(names.iter().filter_map(value));
                pairs.sort_by_key(|(name, _)| *name);
                pairs.dedup_by_key(|(name, _)| *name);
            }
            AttributeColumns::All => {
                pairs.extend(self.level(row).map(|level| (DETECTED_LEVEL, level)));
                for (name, column) in &self.promoted {
                    if !column.is_null(row) {
                        pairs.push((*name, column.value(row)));
                    }
                }
                pairs.extend(self.rest.iter().flat_map(|rest| rest.row(row)));
                pairs.sort_by_key(|(name, _)| *name);
            }
        }
    }
}
