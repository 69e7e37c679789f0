//! Carrying a merge out: read and build, upload, then one commit that takes the inputs away and
//! adds the outputs.
//!
//! # What always holds
//!
//! - A commit is refused when an input is gone, so of several merges of one segment at most one
//!   happens, and each row is in exactly one published segment before and after.
//! - Outputs have exactly the rows of the inputs (samples: of equal ones one), or there is no commit.
//! - Inputs' objects stay: queries that pinned an older state read them until the sweep's grace has
//!   passed.
//!
//! # On a crash
//!
//! Before the commit nothing happened that anyone can see: uploaded outputs that no commit names are
//! swept. After it everything did.
//!
//! Bounded by [`MergePolicy`](super::policy::MergePolicy) and by bytes a second ([`Pace`]).

use std::sync::Arc;
use std::time::Duration;

use object_store::{ObjectStore, ObjectStoreExt};
use runtime::backoff::Backoff;
use runtime::clock::SharedClock;
use runtime::cpu::{CpuError, CpuPool};
use segment::bundle::BundleError;
use segment::catalog::{Catalog, CatalogState, CommitError, Op, Refusal};
use segment::logs::{BuildOptions, LogMerge, LogSegment, MergeError, SegmentError};
use segment::meta::BuiltSegment;
use segment::samples::{SampleMerge, SamplePlan, SampleSegment};
use segment::{OffsetRange, SegmentId, SegmentKind, SegmentMeta};
use tracing::warn;

use super::pace::Pace;
use super::plan::MergePlan;
use crate::telemetry;
use crate::upload::Uploader;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// What came of a merge.
#[derive(Debug)]
pub(crate) enum Merged {
    Done {
        outputs: Vec<SegmentMeta>,
        version: u64,
    },
    /// An input was gone: merged or removed by someone else. Nothing was changed.
    Lost,
}

/// Why a merge came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecuteError {
    /// This input cannot be read, now or ever: leave it out from now on.
    #[error("input segment {id}: {reason}")]
    Input { id: SegmentId, reason: String },
    /// The store or the pool failed: later may be better.
    #[error("merge put off: {0}")]
    Later(String),
    /// These inputs do not make a segment: a bug. Leave them all out from now on.
    #[error("merge refused: {0}")]
    Impossible(String),
    /// Nobody knows yet whether the commit was made; the catalog will tell.
    #[error("merge left undecided: {0}")]
    Undecided(String),
}

/// What merges stand on.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) catalog: Catalog,
    pub(crate) clock: SharedClock,
    pub(crate) cpu: Arc<CpuPool>,
    pub(crate) uploader: Uploader,
    pub(crate) pauses: Backoff,
    pub(crate) pace: Pace,
    /// Longest time between an upload and its commit: less than the sweep's grace.
    pub(crate) commit_within: Duration,
}

impl Executor {
    pub(crate) async fn execute(&mut self, plan: &MergePlan) -> Result<Merged, ExecuteError> {
        let kind = plan.inputs.first().map_or(SegmentKind::Logs, |input| input.kind);
        let built = match kind {
            SegmentKind::Logs => self.merge_logs(plan).await?,
            SegmentKind::Samples => self.merge_samples(plan).await?,
        };
        check_rows(plan, kind, &built)?;
        let mut outputs = Vec::with_capacity(built.len());
        let started = self.clock.elapsed();
        for one in built {
            let meta = self.describe(plan, &one);
            self.uploader.upload(&meta.location(), &one.bytes).await;
            self.pace.pay(meta.bytes).await;
            outputs.push(meta);
        }
        let ops = ops(plan, &outputs);
        match self.commit(ops, started + self.commit_within).await {
            Ok(state) => Ok(Merged::Done { outputs, version: state.version }),
            Err(CommitError::Refused(Refusal::SegmentMissing(_))) => {
                self.discard(&outputs).await;
                Ok(Merged::Lost)
            }
            Err(CommitError::Refused(refusal)) => {
                self.discard(&outputs).await;
                Err(ExecuteError::Impossible(refusal.to_string()))
            }
            Err(error @ CommitError::Catalog(_)) => Err(ExecuteError::Later(error.to_string())),
            Err(error @ CommitError::Undecided { .. }) => {
                Err(ExecuteError::Undecided(error.to_string()))
            }
        }
    }

    async fn merge_logs(&mut self, plan: &MergePlan) -> Result<Vec<BuiltSegment>, ExecuteError> {
        let mut inputs = Vec::with_capacity(plan.inputs.len());
        for meta in &plan.inputs {
            let opened = LogSegment::open(Arc::clone(&self.store), meta).await;
            inputs.push(opened.map_err(|error| of_input(plan, error))?);
            self.pace.pay(meta.footer_bytes).await;
        }
        let cpu = Arc::clone(&self.cpu);
        let mut merge = LogMerge::new(inputs, plan.cuts.clone(), BuildOptions::merged(), cpu);
        let mut paid = 0;
        while merge.step().await.map_err(|error| of_merge(plan, error))? {
            let read = merge.bytes_read();
            if paid < read {
                self.pace.pay(read - paid).await;
                paid = read;
            }
        }
        let built = merge.finish().await.map_err(|error| of_merge(plan, error))?;
        let segments = built.into_iter().map(|one| BuiltSegment {
            kind: SegmentKind::Logs,
            bytes: one.bytes,
            rows: one.rows,
            raw_bytes: one.raw_bytes,
            time_min_ns: one.time_min,
            time_max_ns: one.time_max,
            footer_bytes: one.footer_bytes,
        });
        Ok(segments.collect())
    }

    async fn merge_samples(&mut self, plan: &MergePlan) -> Result<Vec<BuiltSegment>, ExecuteError> {
        // A sample's time is whole milliseconds: it is below a cut exactly when it is below the
        // next whole millisecond.
        let cuts = plan.cuts.iter().map(|cut| {
            cut.div_euclid(NANOS_PER_MILLI) + i64::from(cut.rem_euclid(NANOS_PER_MILLI) != 0)
        });
        let mut merge = SampleMerge::new(cuts.collect());
        for meta in &plan.inputs {
            let failed = |error: BundleError| of_input(plan, error.into());
            let segment =
                SampleSegment::open(Arc::clone(&self.store), meta).await.map_err(failed)?;
            let series = segment.scan(&everything(meta)).await.map_err(failed)?;
            self.pace.pay(meta.bytes).await;
            let taking = self.cpu.run(move || {
                merge.push(series, segment.metadata());
                merge
            });
            merge = taking.await.map_err(of_pool)?;
        }
        let built = self.cpu.run(move || merge.finish()).await.map_err(of_pool)?;
        built.map_err(|error| ExecuteError::Impossible(error.to_string()))
    }

    fn describe(&self, plan: &MergePlan, built: &BuiltSegment) -> SegmentMeta {
        let first = &plan.inputs[0];
        let id = SegmentId::generate(self.clock.unix_nanos());
        let ranges = plan.inputs.iter().flat_map(|input| input.ranges.clone()).collect();
        // The newest input's place in the order of ingest, see `plan`.
        let created_ms = plan.inputs.iter().map(|input| input.created_ms).max().unwrap_or(0);
        let level = plan.inputs.iter().map(|input| input.level).max().unwrap_or(0);
        let ranges = OffsetRange::coalesce(ranges);
        SegmentMeta {
            level: level.saturating_add(1),
            class: first.class.clone(),
            ..built.meta(id, first.tenant.clone(), ranges, created_ms)
        }
    }

    /// Commits, trying again until `deadline` while the store fails.
    async fn commit(
        &self,
        ops: Vec<Op>,
        deadline: Duration,
    ) -> Result<Arc<CatalogState>, CommitError> {
        let mut pauses = self.pauses.clone();
        let mut outcome = self.catalog.commit(ops.clone()).await;
        loop {
            let error = match outcome {
                Err(error @ CommitError::Undecided { .. }) => error,
                Err(CommitError::Catalog(error)) if error.retryable() => error.into(),
                decided => return decided,
            };
            if deadline <= self.clock.elapsed() {
                return Err(error);
            }
            let pause = pauses.delay();
            warn!(%error, ?pause, "merge not committed, trying again");
            self.clock.sleep(pause).await;
            outcome = match error {
                CommitError::Undecided { pending, .. } => self.catalog.resume(pending).await,
                _ => self.catalog.commit(ops.clone()).await,
            };
        }
    }

    /// Deletes outputs that certainly no commit names. What fails here is left to the sweep.
    async fn discard(&self, outputs: &[SegmentMeta]) {
        for output in outputs {
            if let Err(error) = self.store.delete(&output.location()).await {
                warn!(path = output.path, %error, "unused segment not deleted, the sweep will");
            }
        }
    }
}

fn ops(plan: &MergePlan, outputs: &[SegmentMeta]) -> Vec<Op> {
    let ids = plan.inputs.iter().map(|input| input.id).collect();
    vec![Op::RemoveSegments { ids }, Op::AddSegments { segments: outputs.to_vec() }]
}

/// Last chance to notice lost or doubled rows before the inputs go.
fn check_rows(
    plan: &MergePlan,
    kind: SegmentKind,
    built: &[BuiltSegment],
) -> Result<(), ExecuteError> {
    let before: u64 = plan.inputs.iter().map(|input| input.rows).sum();
    let after: u64 = built.iter().map(|one| one.rows).sum();
    let agree = match kind {
        SegmentKind::Logs => before == after,
        // One that came twice is one.
        SegmentKind::Samples => 0 < after && after <= before,
    };
    if agree {
        return Ok(());
    }
    Err(ExecuteError::Impossible(format!("the inputs have {before} rows, the outputs {after}")))
}

fn everything(meta: &SegmentMeta) -> SamplePlan {
    SamplePlan {
        tenant: meta.tenant.clone(),
        start_ms: i64::MIN,
        end_ms: i64::MAX,
        matchers: Vec::new(),
    }
}

fn of_pool(error: CpuError) -> ExecuteError {
    match error {
        CpuError::Full { .. } => ExecuteError::Later(error.to_string()),
        CpuError::Panicked { .. } => ExecuteError::Impossible(error.to_string()),
    }
}

fn of_merge(plan: &MergePlan, error: MergeError) -> ExecuteError {
    match error {
        MergeError::Read(error) => of_input(plan, error),
        MergeError::Unsorted { ref path } => input_at(plan, path, error.to_string()),
        MergeError::Cpu(error) => of_pool(error),
        MergeError::Build(_) | MergeError::Rows { .. } => {
            ExecuteError::Impossible(error.to_string())
        }
    }
}

fn of_input(plan: &MergePlan, error: SegmentError) -> ExecuteError {
    match error {
        SegmentError::Damaged { ref path, .. } | SegmentError::TooNew { ref path, .. } => {
            input_at(plan, path, error.to_string())
        }
        SegmentError::Store { ref path, source: object_store::Error::NotFound { .. } } => {
            input_at(plan, path, error.to_string())
        }
        SegmentError::Store { source, path } => {
            ExecuteError::Later(format!("read segment object `{path}`: {source}"))
        }
        SegmentError::Limit(limit) => ExecuteError::Later(limit.to_string()),
        SegmentError::Cpu(error) => of_pool(error),
    }
}

fn input_at(plan: &MergePlan, path: &str, reason: String) -> ExecuteError {
    match plan.inputs.iter().find(|input| input.path == path) {
        Some(input) => ExecuteError::Input { id: input.id, reason },
        None => ExecuteError::Impossible(reason),
    }
}

/// The `outcome` label of `millrace_indexer_merges_total`.
pub(crate) fn outcome_label(result: &Result<Merged, ExecuteError>) -> &'static str {
    match result {
        Ok(Merged::Done { .. }) => "done",
        Ok(Merged::Lost) => "lost",
        Err(ExecuteError::Input { .. }) => "input",
        Err(ExecuteError::Later(_)) => "later",
        Err(ExecuteError::Impossible(_)) => "impossible",
        Err(ExecuteError::Undecided(_)) => "undecided",
    }
}

/// Counts a merge that ended.
pub(crate) fn count(plan: &MergePlan, result: &Result<Merged, ExecuteError>, seconds: f64) {
    let kind = plan.inputs.first().map_or("", |input| input.kind.as_str());
    let outcome = outcome_label(result);
    metrics::counter!(telemetry::MERGES, "kind" => kind, "outcome" => outcome).increment(1);
    metrics::histogram!(telemetry::MERGE_SECONDS, "kind" => kind).record(seconds);
    if let Ok(Merged::Done { outputs, .. }) = result {
        let before: u64 = plan.inputs.iter().map(|input| input.bytes).sum();
        let after: u64 = outputs.iter().map(|output| output.bytes).sum();
        metrics::counter!(telemetry::MERGE_INPUT_BYTES, "kind" => kind).increment(before);
        metrics::counter!(telemetry::MERGE_OUTPUT_BYTES, "kind" => kind).increment(after);
    }
}
