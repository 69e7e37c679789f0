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

mod attributes;
mod best;
mod by_pattern;
mod core;
mod decide;
mod decided;
mod in_part;
mod leaves;
mod narrow;
mod numbers;
mod stats;
mod tally;
mod undecided;

use std::sync::Arc;
use std::time::Duration;

use record::{LogBatch, TenantId};
use runtime::cpu::CpuPool;

pub use self::core::Found;
use self::core::{ScanCore, Step};
pub use self::stats::ScanStats;
pub use self::tally::{RowTally, StreamRun};
use crate::logs::budget::{ScanBudget, ScanLimit};
use crate::logs::error::SegmentError;
use crate::logs::plan::{CompiledPlan, LogPlan};
use crate::logs::segment::{Ask, Fetched, LogSegment};

/// A scan under way.
#[derive(Debug)]
pub struct LogScan {
    segment: LogSegment,
    /// `None` while a pool has it; lost for good when the caller drops [`LogScan::next`] then.
    core: Option<Box<ScanCore>>,
    cpu: Option<Arc<CpuPool>>,
    /// What the core waits for.
    asked: Option<Ask>,
    budget: Arc<ScanBudget>,
    /// Time spent waiting for the store.
    fetching: Duration,
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
        self.start_scan(self.core(plan, budget, false), budget, cpu)
    }

    /// As [`LogSegment::scan`], for whoever counts: where only time, stream and level of the rows
    /// are needed, they come as [`Found::Tally`].
    pub fn scan_counting(
        &self,
        plan: &Arc<CompiledPlan>,
        budget: &Arc<ScanBudget>,
        cpu: Option<Arc<CpuPool>>,
    ) -> LogScan {
        self.start_scan(self.counting_core(plan, budget), budget, cpu)
    }

    /// As [`LogSegment::scan_counting`], for whoever counts by minutes that begin after their first
    /// instant: where lines alone decide, the rows come as [`Found::Minutes`].
    pub fn scan_counting_minutes(
        &self,
        plan: &Arc<CompiledPlan>,
        budget: &Arc<ScanBudget>,
        cpu: Option<Arc<CpuPool>>,
    ) -> LogScan {
        self.start_scan(self.counting_core(plan, budget).by_minute(), budget, cpu)
    }

    /// Reads every row in the order in which they lie, holding the pages of at most `granules` and
    /// the rows of one.
    pub(crate) fn read_through(&self, granules: usize, cpu: Option<Arc<CpuPool>>) -> LogScan {
        let all = LogPlan::all(TenantId::default(), i64::MIN, i64::MAX, Vec::new());
        let plan = CompiledPlan::new(&all).expect("a plan without filters compiles");
        let budget = Arc::new(ScanBudget::unlimited());
        let core = self.core(&Arc::new(plan), &budget, false).ahead(granules);
        self.start_scan(core, &budget, cpu)
    }

    fn counting_core(&self, plan: &Arc<CompiledPlan>, budget: &Arc<ScanBudget>) -> ScanCore {
        // Among the best rows of a limit single rows come and go, so they stay rows.
        self.core(plan, budget, plan.plan().limit.is_none())
    }

    fn core(&self, plan: &Arc<CompiledPlan>, budget: &Arc<ScanBudget>, counting: bool) -> ScanCore {
        ScanCore::new(self.clone(), Arc::clone(plan), Arc::clone(budget), counting)
    }

    fn start_scan(
        &self,
        core: ScanCore,
        budget: &Arc<ScanBudget>,
        cpu: Option<Arc<CpuPool>>,
    ) -> LogScan {
        LogScan {
            segment: self.clone(),
            core: Some(Box::new(core)),
            cpu,
            asked: None,
            budget: Arc::clone(budget),
            fetching: Duration::ZERO,
            stats: ScanStats::default(),
        }
    }
}

impl LogScan {
    /// The next rows, or `None` after the last.
    ///
    /// # Errors
    /// When a limit was hit, the store did not deliver, or a part of the segment is damaged. The
    /// scan is over then.
    pub async fn next(&mut self) -> Result<Option<Found>, SegmentError> {
        if let Some(found) = self.take_ready() {
            return Ok(Some(found));
        }
        loop {
            let fetched = match &self.asked {
                Some(ask) => {
                    let started = self.budget.elapsed();
                    let fetched = self.segment.fetch(ask).await?;
                    self.fetching += self.budget.elapsed().saturating_sub(started);
                    fetched
                }
                None => Fetched::default(),
            };
            self.asked = None;
            match self.step(fetched).await? {
                Step::Fetch(ask) => self.asked = Some(ask),
                Step::Found(found) => return Ok(Some(*found)),
                Step::Done => return Ok(None),
            }
        }
    }

    /// The next rows, if they were found along with the last: without a way through the pool of
    /// threads, which costs more than few rows do.
    pub fn take_ready(&mut self) -> Option<Found> {
        self.core.as_mut()?.take_ready()
    }

    /// The next rows of a scan that does not count, or `None` after the last.
    ///
    /// # Errors
    /// As [`LogScan::next`].
    pub async fn next_rows(&mut self) -> Result<Option<LogBatch>, SegmentError> {
        while let Some(found) = self.next().await? {
            if let Found::Rows { rows, .. } = found {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    /// All remaining rows of a scan that does not count, and what the scan did.
    ///
    /// # Errors
    /// As [`LogScan::next`].
    pub async fn collect(mut self) -> Result<(Vec<LogBatch>, ScanStats), SegmentError> {
        let mut batches = Vec::new();
        while let Some(rows) = self.next_rows().await? {
            batches.push(rows);
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
        self.stats.fetch_nanos = nanos(self.fetching);
        self.core = Some(core);
        step
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
