//! Scanning a segment: the rows that satisfy a plan.
//!
//! [`LogScan`] moves bytes: it fetches the ranges that [`ScanCore`] asks for and hands them in.
//! The core is synchronous, owns no I/O and does the work: on a [`CpuPool`] when given one,
//! else in place.
//!
//! What always holds: the rows are those a naive scan of the segment would find. With a limit they
//! are the best `limit` rows by the plan's direction; which rows of one time are kept at the edge
//! is not said. Rows of a batch are sorted by stream and time; batches come in no promised order.
//! A scan that hits a limit of its budget ends with the error, never with fewer rows.
//!
//! Bounds: the budget, checked between granules; [`self::core::WINDOW_BYTES_MAX`] of pages in
//! memory; with a limit, that many rows.

mod best;
mod core;
mod decide;
mod narrow;

use std::sync::Arc;

use record::{LogBatch, TenantId};
use runtime::cpu::CpuPool;
use serde::{Deserialize, Serialize};

use self::core::{ScanCore, Step};
use crate::logs::budget::{ScanBudget, ScanLimit};
use crate::logs::error::SegmentError;
use crate::logs::plan::{CompiledPlan, LogPlan};
use crate::logs::segment::{Ask, Fetched, LogSegment};

/// What a scan did: explains a query, and adds up over segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScanStats {
    pub segments: u64,
    pub granules_considered: u64,
    pub granules_pruned_by_time: u64,
    /// By streams, labels or levels.
    pub granules_pruned_by_streams: u64,
    /// By patterns, words or fragments.
    pub granules_pruned_by_words: u64,
    /// By the token filter and token lengths.
    pub granules_pruned_by_tokens: u64,
    /// Not looked at because the limit was reached with better rows.
    pub granules_skipped_by_limit: u64,
    pub granules_read: u64,
    /// Rows of the granules read.
    pub rows_considered: u64,
    /// Rows of these whose line had to be read to decide.
    pub lines_searched: u64,
    pub rows_matched: u64,
    /// Bytes asked of the object store, opening not counted.
    pub bytes_read: u64,
}

impl ScanStats {
    /// Adds what another scan did.
    pub fn add(&mut self, other: &Self) {
        self.segments += other.segments;
        self.granules_considered += other.granules_considered;
        self.granules_pruned_by_time += other.granules_pruned_by_time;
        self.granules_pruned_by_streams += other.granules_pruned_by_streams;
        self.granules_pruned_by_words += other.granules_pruned_by_words;
        self.granules_pruned_by_tokens += other.granules_pruned_by_tokens;
        self.granules_skipped_by_limit += other.granules_skipped_by_limit;
        self.granules_read += other.granules_read;
        self.rows_considered += other.rows_considered;
        self.lines_searched += other.lines_searched;
        self.rows_matched += other.rows_matched;
        self.bytes_read += other.bytes_read;
    }
}

/// A scan under way.
#[derive(Debug)]
pub struct LogScan {
    segment: LogSegment,
    /// `None` while a pool has it; lost for good when the caller drops [`LogScan::next`] then.
    core: Option<Box<ScanCore>>,
    cpu: Option<Arc<CpuPool>>,
    /// What the core waits for.
    asked: Option<Ask>,
    stats: ScanStats,
}

impl LogSegment {
    /// Scans the segment for the rows that satisfy `plan`, within `budget`. The plan's tenant is
    /// the caller's to check: a segment is of one tenant.
    ///
    /// Decoding and searching run on `cpu` where one is given.
    pub fn scan(
        &self,
        plan: &Arc<CompiledPlan>,
        budget: &Arc<ScanBudget>,
        cpu: Option<Arc<CpuPool>>,
    ) -> LogScan {
        self.scan_with(ScanCore::new(self.clone(), Arc::clone(plan), Arc::clone(budget)), cpu)
    }

    /// Reads every row in the order in which they lie, holding at most `granules` decoded ones.
    pub(crate) fn read_through(&self, granules: usize, cpu: Option<Arc<CpuPool>>) -> LogScan {
        let all = LogPlan::all(TenantId::default(), i64::MIN, i64::MAX, Vec::new());
        let plan = CompiledPlan::new(&all).expect("a plan without filters compiles");
        let budget = Arc::new(ScanBudget::unlimited());
        self.scan_with(ScanCore::new(self.clone(), Arc::new(plan), budget).ahead(granules), cpu)
    }

    fn scan_with(&self, core: ScanCore, cpu: Option<Arc<CpuPool>>) -> LogScan {
        let stats = ScanStats::default();
        LogScan { segment: self.clone(), core: Some(Box::new(core)), cpu, asked: None, stats }
    }
}

impl LogScan {
    /// The next rows, or `None` after the last.
    ///
    /// # Errors
    /// When a limit was hit, the store did not deliver, or a part of the segment is damaged. The
    /// scan is over then.
    pub async fn next(&mut self) -> Result<Option<LogBatch>, SegmentError> {
        loop {
            let fetched = match &self.asked {
                Some(ask) => self.segment.fetch(ask).await?,
                None => Fetched::default(),
            };
            self.asked = None;
            match self.step(fetched).await? {
                Step::Fetch(ask) => self.asked = Some(ask),
                Step::Rows(rows) => return Ok(Some(*rows)),
                Step::Done => return Ok(None),
            }
        }
    }

    /// All remaining rows and what the scan did.
    ///
    /// # Errors
    /// As [`LogScan::next`].
    pub async fn collect(mut self) -> Result<(Vec<LogBatch>, ScanStats), SegmentError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok((batches, self.stats))
    }

    /// What the scan did so far.
    pub fn stats(&self) -> &ScanStats {
        &self.stats
    }

    async fn step(&mut self, fetched: Fetched) -> Result<Step, SegmentError> {
        let Some(mut core) = self.core.take() else {
            return Err(ScanLimit::Cancelled.into());
        };
        let (core, step) = match &self.cpu {
            None => {
                let step = core.step(fetched);
                (core, step)
            }
            Some(cpu) => {
                let job = move || {
                    let step = core.step(fetched);
                    (core, step)
                };
                cpu.run(job).await?
            }
        };
        self.stats = *core.stats();
        self.core = Some(core);
        step
    }
}
