//! The scan as a state machine: asks for bytes, is handed them, yields rows.
//!
//! 1. Prune by time; ask for the sections and filter blocks the plan needs.
//! 2. Prune by labels, streams, levels, words, tokens; ask for the patterns if granules are left.
//! 3. Prune by patterns; put the granules left in order.
//! 4. Window by window: read the columns that decide (time, stream, level, pattern), then, for the
//!    rows still in question, the columns that finish (line, attributes). A scan for an identifier
//!    reads lines [in part](super::in_part).
//!
//! What always holds: bytes are asked for only after the budget granted them, and a granule whose
//! rows cannot be among the best any more is not read.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use record::LogBatch;
use roaring::RoaringBitmap;

use super::ScanStats;
use super::best::BestRows;
use super::decide::Decider;
use super::decided::Decided;
use super::leaves::Leaves;
use super::numbers::GranulePages;
use super::tally::RowTally;
use super::undecided::Undecided;
use crate::logs::budget::ScanBudget;
use crate::logs::column_reader::Extent;
use crate::logs::columns::{LINES, PATTERN, TIME};
use crate::logs::error::SegmentError;
use crate::logs::granule::Granule;
use crate::logs::minutes::MinuteTally;
use crate::logs::page::PageDecoder;
use crate::logs::plan::{CompiledPlan, Direction};
use crate::logs::prune::{self, TextPruner};
use crate::logs::sections::COLUMNS;
use crate::logs::segment::{Ask, Fetched, LogSegment, Part, checked};
use crate::logs::token_filter::BlockRange;
use crate::logs::variables::Needed;

/// Compressed pages asked for at once. Decoded they take about ten times this.
pub(crate) const WINDOW_BYTES_MAX: u64 = 8 << 20;

/// Granules asked for at once; a scan with a limit starts with one and doubles.
const WINDOW_GRANULES_MAX: usize = 16;

/// Granules of one time that a scan with a limit and line filters asks for at once: the rows of the
/// first say nothing of the others, and what is decided of all says which of them to finish.
const SAME_TIME_GRANULES: usize = 8;

/// What the core wants next.
#[derive(Debug)]
pub(crate) enum Step {
    /// These ranges, handed to the next [`ScanCore::step`] in order.
    Fetch(Ask),
    Found(Box<Found>),
    Done,
}

/// Rows that satisfy the plan.
#[derive(Clone, Debug)]
pub enum Found {
    Rows {
        /// Number of the segment's row before which none of these lies: rows of one stream and
        /// time that were indexed later have a higher one.
        first_row: u64,
        rows: LogBatch,
    },
    /// Where counting was asked for and nothing else of the rows is needed.
    Tally(RowTally),
    /// Where counting by minute was asked for and lines alone decide.
    Minutes(MinuteTally),
}

#[derive(Debug)]
pub(crate) struct ScanCore {
    pub(super) segment: LogSegment,
    pub(super) plan: Arc<CompiledPlan>,
    pub(super) budget: Arc<ScanBudget>,
    pub(super) stats: ScanStats,
    pub(super) stage: Stage,
    pub(super) leaves: Leaves,
    /// Whether rows are counted by their patterns where these alone decide them.
    by_pattern: bool,
    /// Whether they are counted by minute then.
    pub(super) by_minute: bool,
    /// How much is read of variables before it is known which of their groups are needed.
    extent: Extent,
    pub(super) decider: Decider,
    /// Granules still to read, in order.
    queue: VecDeque<u32>,
    window_granules: usize,
    window_granules_max: usize,
    best: Option<BestRows>,
    /// Where rows are read through: decided ones that are put together once those before are taken.
    waiting: Option<VecDeque<Undecided>>,
    ready: VecDeque<Found>,
    pub(super) decoder: PageDecoder,
}

/// What the bytes handed to the next step are.
#[derive(Debug)]
pub(super) enum Stage {
    Start,
    /// Parts of the segment, and filter blocks with the hashes looked up in each.
    Parts {
        candidates: RoaringBitmap,
        parts: Vec<Part>,
        blocks: Vec<WantedBlock>,
    },
    /// The patterns, for these granules.
    Patterns {
        candidates: RoaringBitmap,
        text: Option<TextPruner>,
    },
    /// The deciding columns of these granules.
    Deciding {
        granules: Vec<u32>,
    },
    /// The finishing columns of what was decided.
    Finishing {
        decided: Vec<(Undecided, Vec<usize>)>,
    },
    /// The groups that are needed of what was decided.
    Groups {
        decided: Vec<(Undecided, Needed)>,
    },
    /// Times of what was decided without them.
    Times {
        decided: Vec<Undecided>,
    },
    /// Nothing: the queue is next.
    Between,
    Done,
}

/// A filter block to read, and the hashes to look up in it.
#[derive(Debug)]
pub(super) struct WantedBlock {
    pub(super) range: BlockRange,
    pub(super) hashes: Vec<u64>,
}

impl ScanCore {
    pub(crate) fn new(
        segment: LogSegment,
        plan: Arc<CompiledPlan>,
        budget: Arc<ScanBudget>,
        counting: bool,
    ) -> Self {
        let leaves = Leaves::new(&plan, segment.columns().promoted(), counting);
        let limit = plan.plan().limit;
        let by_tokens = plan.token_needles().is_some() && segment.has_variables();
        Self {
            by_pattern: by_tokens && leaves.patterns_alone(),
            by_minute: false,
            extent: match plan.seeks_identifier() && !segment.granules().heads.is_empty() {
                true => Extent::Head,
                false => Extent::Whole,
            },
            leaves,
            decider: Decider::default(),
            queue: VecDeque::new(),
            window_granules: if limit.is_some() { 1 } else { WINDOW_GRANULES_MAX },
            window_granules_max: WINDOW_GRANULES_MAX,
            best: limit.map(|limit| BestRows::new(limit, plan.plan().direction)),
            waiting: None,
            ready: VecDeque::new(),
            stats: ScanStats { segments: 1, ..ScanStats::default() },
            stage: Stage::Start,
            decoder: PageDecoder::new(),
            segment,
            plan,
            budget,
        }
    }

    /// Reads at most so many granules ahead, whatever the plan, and puts the rows of one at a time
    /// together: they take several times the room of what was read.
    pub(crate) fn ahead(mut self, granules: usize) -> Self {
        self.window_granules_max = granules.clamp(1, WINDOW_GRANULES_MAX);
        self.window_granules = self.window_granules.min(self.window_granules_max);
        self.waiting = Some(VecDeque::new());
        self
    }

    /// Counts rows by minute where that needs no row.
    pub(crate) fn by_minute(mut self) -> Self {
        self.by_minute = self.by_pattern && self.segment.volume_has_firsts();
        self
    }

    pub(crate) fn stats(&self) -> &ScanStats {
        &self.stats
    }

    /// Rows found along with the last that were yielded.
    pub(crate) fn take_ready(&mut self) -> Option<Found> {
        self.ready.pop_front()
    }

    /// Takes the bytes asked for last and goes on to the next thing to ask for or to yield.
    pub(crate) fn step(&mut self, fetched: Fetched) -> Result<Step, SegmentError> {
        let mut fetched = Some(fetched);
        loop {
            self.budget.check()?;
            if let Some(found) = self.ready.pop_front() {
                return Ok(Step::Found(Box::new(found)));
            }
            if let Some(one) = self.waiting.as_mut().and_then(VecDeque::pop_front) {
                let started = self.budget.elapsed();
                self.finish(one)?;
                self.stats.finish_nanos += self.nanos_since(started);
                continue;
            }
            let given = fetched.take().unwrap_or_default();
            let ask = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Start => self.start()?,
                Stage::Parts { candidates, parts, blocks } => {
                    let started = self.budget.elapsed();
                    let (left, text) = self.prune(candidates, &parts, &blocks, &given)?;
                    let missing = self.patterns_missing(&left);
                    self.stage = Stage::Patterns { candidates: left, text };
                    self.stats.prune_nanos += self.nanos_since(started);
                    missing.then(|| Ask { parts: vec![Part::Patterns], ..Ask::default() })
                }
                Stage::Patterns { candidates, text } => {
                    let started = self.budget.elapsed();
                    if let Some(sections) = given.parts.first() {
                        self.segment.keep(Part::Patterns, sections)?;
                    }
                    let left = self.prune_by_patterns(text.as_ref(), candidates)?;
                    self.stats.prune_nanos += self.nanos_since(started);
                    self.queue = self.in_order(&left);
                    self.stage = Stage::Between;
                    None
                }
                Stage::Deciding { granules } => {
                    let started = self.budget.elapsed();
                    let ask = self.decide(&granules, given.columns)?;
                    self.stats.decide_nanos += self.nanos_since(started);
                    ask
                }
                Stage::Finishing { decided } => {
                    let started = self.budget.elapsed();
                    let ask = self.complete_all(decided, given.columns)?;
                    self.stats.finish_nanos += self.nanos_since(started);
                    ask
                }
                Stage::Groups { decided } => {
                    let started = self.budget.elapsed();
                    let ask = self.search_groups(decided, given.columns)?;
                    self.stats.finish_nanos += self.nanos_since(started);
                    ask
                }
                Stage::Times { decided } => {
                    let started = self.budget.elapsed();
                    let decided = self.with_times(decided, given.columns)?;
                    self.finish_all(decided)?;
                    self.stats.finish_nanos += self.nanos_since(started);
                    None
                }
                Stage::Between => self.next_window()?,
                Stage::Done => return Ok(Step::Done),
            };
            if let Some(ask) = ask {
                let bytes = self.segment.ask_bytes(&ask);
                self.budget.take_bytes(bytes)?;
                self.stats.bytes_read += bytes;
                return Ok(Step::Fetch(ask));
            }
        }
    }

    fn nanos_since(&self, started: Duration) -> u64 {
        super::nanos(self.budget.elapsed().saturating_sub(started))
    }

    fn start(&mut self) -> Result<Option<Ask>, SegmentError> {
        let granules = &self.segment.granules().granules;
        self.stats.granules_considered = granules.len() as u64;
        let candidates = prune::by_time(granules, &self.plan);
        self.stats.granules_pruned_by_time = granules.len() as u64 - candidates.len();
        if candidates.is_empty() || self.plan.plan().limit == Some(0) {
            return Ok(None);
        }
        let (parts, blocks) = (self.parts(), self.blocks());
        let tokens = blocks.iter().map(|block| block.range.bytes.clone()).collect();
        let ask = Ask { parts: parts.clone(), tokens, ..Ask::default() };
        self.stage = Stage::Parts { candidates, parts, blocks };
        Ok(Some(ask))
    }

    /// Without a limit as they lie; with one, the most promising first.
    fn in_order(&self, candidates: &RoaringBitmap) -> VecDeque<u32> {
        let granules = &self.segment.granules().granules;
        let mut order: Vec<u32> = candidates.iter().collect();
        if self.best.is_some() {
            match self.plan.plan().direction {
                Direction::Forward => order.sort_by_key(|g| granules[*g as usize].time_min),
                Direction::Backward => {
                    order.sort_by_key(|g| std::cmp::Reverse(granules[*g as usize].time_max));
                }
            }
        }
        order.into()
    }

    /// Asks for the deciding columns of the next granules, or ends the scan.
    fn next_window(&mut self) -> Result<Option<Ask>, SegmentError> {
        let table = self.segment.granules();
        let mut granules = Vec::new();
        let mut ranges = Vec::new();
        let mut bytes = 0;
        while let Some(granule) = self.queue.front().copied() {
            if self.out_of_reach(&table.granules[granule as usize]) {
                // The queue is in order: no later one reaches either.
                self.stats.granules_skipped_by_limit += self.queue.len() as u64;
                self.queue.clear();
                break;
            }
            let leaves = self.deciding(&table.granules[granule as usize]);
            let pages = leaves.iter().map(|leaf| table.pages[*leaf][granule as usize]);
            bytes += pages.map(|page| u64::from(page.bytes)).sum::<u64>();
            let enough = self.window_granules <= granules.len();
            let full = enough && !self.is_of_same_time(&granules, granule);
            if (full || WINDOW_BYTES_MAX < bytes) && !granules.is_empty() {
                break;
            }
            ranges.extend(leaves.iter().map(|leaf| self.range(*leaf, granule)));
            granules.push(granule);
            self.queue.pop_front();
        }
        self.window_granules = (self.window_granules * 2).min(self.window_granules_max);
        if granules.is_empty() {
            if let Some(best) = self.best.take() {
                let batches = best.into_batches().into_iter();
                self.ready.extend(batches.map(|(first_row, rows)| Found::Rows { first_row, rows }));
            }
            self.stage = if self.ready.is_empty() { Stage::Done } else { Stage::Between };
            return Ok(None);
        }
        self.stage = Stage::Deciding { granules };
        Ok(Some(Ask { columns: ranges, ..Ask::default() }))
    }

    /// Whether a scan with a limit decides another granule along with those of the window.
    fn is_of_same_time(&self, window: &[u32], granule: u32) -> bool {
        let granules = &self.segment.granules().granules;
        let Some(first) = window.first().map(|first| &granules[*first as usize]) else {
            return false;
        };
        let granule = &granules[granule as usize];
        let overlaps = granule.time_min <= first.time_max && first.time_min <= granule.time_max;
        let searched = self.best.is_some() && !self.plan.filters().is_empty();
        searched && overlaps && window.len() < SAME_TIME_GRANULES.min(self.window_granules_max)
    }

    /// Where a column of a granule is, as far as it is read.
    fn range(&self, leaf: usize, granule: u32) -> Range<u64> {
        let table = self.segment.granules();
        match table.head_range(granule) {
            Some(head) if leaf == LINES && self.extent == Extent::Head => head,
            _ => table.pages[leaf][granule as usize].range(),
        }
    }

    /// Whether all rows of a granule are in the plan's time range.
    fn inside(&self, granule: &Granule) -> bool {
        self.plan.time_matches(granule.time_min) && self.plan.time_matches(granule.time_max)
    }

    /// Whether patterns and variables alone decide a granule's rows.
    fn by_patterns(&self, granule: &Granule) -> bool {
        let wanted = |stream: u32| self.decider.streams.get(stream as usize) == Some(&true);
        self.by_pattern && self.inside(granule) && granule.streams.clone().all(wanted)
    }

    /// The columns that are read of a granule first.
    fn deciding(&self, granule: &Granule) -> Vec<usize> {
        let by_patterns = self.by_patterns(granule);
        let mut leaves = match self.by_minute && by_patterns {
            true => vec![PATTERN],
            false => self.leaves.deciding(granule),
        };
        if self.extent == Extent::Head {
            let times_later = self.inside(granule) && !by_patterns;
            leaves.retain(|leaf| *leaf != TIME || !times_later);
            leaves.push(LINES);
        }
        leaves
    }

    fn out_of_reach(&self, granule: &Granule) -> bool {
        self.best.as_ref().is_some_and(|best| !best.may_take(granule.time_min, granule.time_max))
    }

    fn decide(
        &mut self,
        granules: &[u32],
        fetched: Vec<Bytes>,
    ) -> Result<Option<Ask>, SegmentError> {
        let mut fetched = fetched.into_iter();
        let mut undecided: Vec<Undecided> = Vec::new();
        for &number in granules {
            self.budget.check()?;
            let segment = self.segment.clone();
            let granule = &segment.granules().granules[number as usize];
            self.budget.take_rows(granule.rows.into())?;
            self.stats.granules_read += 1;
            self.stats.rows_considered += u64::from(granule.rows);
            let leaves = self.deciding(granule);
            let pages =
                GranulePages::new(number, self.checked_pages(number, leaves, &mut fetched)?);
            let one = if self.by_patterns(granule) {
                let (decider, decoder) = (&mut self.decider, &mut self.decoder);
                let left = decider.by_patterns(&self.plan, &segment, pages, decoder)?;
                left.map(Undecided::Patterns)
            } else {
                let left = self.decider.decide(
                    &self.plan,
                    &segment,
                    &self.leaves,
                    pages,
                    self.best.as_ref(),
                    &mut self.decoder,
                )?;
                left.map(Undecided::Rows)
            };
            if let (Some(best), Some(one)) = (&mut self.best, &one) {
                one.promise(best);
            }
            undecided.extend(one);
        }
        if let Some(best) = &self.best {
            undecided.retain_mut(|one| one.narrow(best));
        }
        let table = self.segment.granules();
        let (mut decided, mut ranges) = (Vec::new(), Vec::new());
        for one in undecided {
            let late = self.leaves.late(one.open(), one.rest());
            let missing = late.iter().filter(|leaf| one.pages().page(**leaf).is_none());
            let granule = one.pages().granule() as usize;
            ranges.extend(missing.map(|leaf| table.pages[*leaf][granule].range()));
            decided.push((one, late));
        }
        if decided.is_empty() {
            self.stage = Stage::Between;
            return Ok(None);
        }
        self.stage = Stage::Finishing { decided };
        Ok((!ranges.is_empty()).then_some(Ask { columns: ranges, ..Ask::default() }))
    }

    fn finish_all(&mut self, decided: Vec<Undecided>) -> Result<(), SegmentError> {
        let mut searched = Vec::new();
        for one in decided {
            self.budget.check()?;
            match (one, &mut self.waiting) {
                (Undecided::Rows(one), _) if self.best.is_some() => searched.push(one),
                (one, Some(waiting)) => waiting.push_back(one),
                (one, None) => self.finish(one)?,
            }
        }
        if let Some(mut best) = self.best.take() {
            let finished = self.finish_best(&searched, &mut best);
            self.best = Some(best);
            finished?;
        }
        self.stage = Stage::Between;
        Ok(())
    }

    /// Puts together what is left of a granule.
    fn finish(&mut self, one: Undecided) -> Result<(), SegmentError> {
        let segment = self.segment.clone();
        let found = match one {
            Undecided::Rows(one) => {
                one.finish(&self.plan, &segment, &self.leaves, &mut self.stats)?
            }
            Undecided::Patterns(one) => {
                let filters = self.plan.token_needles().unwrap_or_default();
                let (decoder, stats) = (&mut self.decoder, &mut self.stats);
                one.finish(&self.plan, filters, &segment, self.by_minute, decoder, stats)?
            }
        };
        self.ready.extend(found);
        Ok(())
    }

    /// Searches granules before rows of any are put together, so that only those are that are still
    /// among the best.
    fn finish_best(
        &mut self,
        granules: &[Decided],
        best: &mut BestRows,
    ) -> Result<(), SegmentError> {
        let segment = self.segment.clone();
        let mut searched = Vec::with_capacity(granules.len());
        for one in granules {
            self.budget.check()?;
            if !one.any_reaches(best) {
                continue;
            }
            let (plan, leaves) = (&self.plan, &self.leaves);
            let chosen = one.choose(plan, &segment, leaves, Some(best), &mut self.stats)?;
            best.promise(chosen.certain_now());
            searched.push(chosen);
        }
        for mut chosen in searched {
            self.budget.check()?;
            chosen.narrow(best);
            self.stats.rows_matched += chosen.rows() as u64;
            if 0 < chosen.rows() {
                let (first_row, rows) = chosen.into_rows(&self.plan, &segment, &self.leaves)?;
                best.add(first_row, rows);
            }
        }
        Ok(())
    }

    /// Adds the columns that finish granules to them, and finishes them, or asks for what is still
    /// missing of their variables.
    fn complete_all(
        &mut self,
        mut decided: Vec<(Undecided, Vec<usize>)>,
        fetched: Vec<Bytes>,
    ) -> Result<Option<Ask>, SegmentError> {
        let mut fetched = fetched.into_iter();
        for (one, late) in &mut decided {
            self.budget.check()?;
            self.complete(one, late, &mut fetched)?;
        }
        match self.extent {
            Extent::Head => self.ask_for_groups(decided),
            Extent::Whole => {
                self.finish_all(decided.into_iter().map(|(one, _)| one).collect())?;
                Ok(None)
            }
        }
    }

    /// Adds the columns that finish a granule, `late`, to it.
    fn complete(
        &self,
        one: &mut Undecided,
        late: &[usize],
        fetched: &mut impl Iterator<Item = Bytes>,
    ) -> Result<(), SegmentError> {
        if late.is_empty() {
            return Ok(());
        }
        let damaged = |cause| self.segment.damaged(COLUMNS, cause);
        let granule = one.pages().granule();
        let missing = late.iter().copied().filter(|leaf| one.pages().page(*leaf).is_none());
        let missing: Vec<usize> = missing.collect();
        one.pages_mut().add(self.checked_pages(granule, missing, fetched)?);
        let pages = one.pages().of(late).map_err(damaged)?;
        one.finish_with(self.segment.decode(granule, late, pages, self.extent).map_err(damaged)?);
        Ok(())
    }

    /// The next pages of a granule, each compared with its checksum.
    pub(super) fn checked_pages(
        &self,
        granule: u32,
        leaves: Vec<usize>,
        fetched: &mut impl Iterator<Item = Bytes>,
    ) -> Result<Vec<(usize, Bytes)>, SegmentError> {
        let table = self.segment.granules();
        let checked = |(leaf, bytes): (usize, Bytes)| {
            let page = table.pages[leaf][granule as usize];
            let head = table.heads.get(granule as usize);
            let crc = match (head, self.extent) {
                (Some(head), Extent::Head) if leaf == LINES => head.crc,
                _ => page.crc,
            };
            let sound = checked(crc, &bytes).map(|()| (leaf, bytes));
            sound.map_err(|cause| self.segment.damaged(COLUMNS, cause))
        };
        leaves.into_iter().zip(fetched).map(checked).collect()
    }
}
