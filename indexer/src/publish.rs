//! Making the rows of a cut durable: build, upload, then one commit that adds the segments and
//! moves the offsets they cover.
//!
//! What always holds:
//! * Segments and the offsets of **every** partition whose rows they hold enter the catalog in one
//!   commit, so a row is published exactly when its offset is.
//! * A partition that someone else acquired meanwhile is taken out and the segments are built
//!   again without its rows. Nothing of it is published by us.
//! * One cut at a time, in the order they were made.
//!
//! On a crash: before the commit nothing happened that anyone can see (an uploaded object that no
//! commit names is garbage); after it everything did. While the store is down the same step is
//! tried until it works; the rows wait in memory, and reading pauses when they fill it.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use queue::TopicPartition;
use runtime::backoff::Backoff;
use runtime::clock::SharedClock;
use runtime::cpu::{CpuError, CpuPool};
use segment::catalog::{Catalog, CatalogState, CommitError, Op, Refusal};
use segment::{SegmentId, SegmentMeta};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::build::{BuildError, Built, Job, Windows};
use crate::cost::{Costs, Shares};
use crate::cut::Cut;
use crate::kind::Kind;
use crate::open::CutPart;
use crate::telemetry;
use crate::upload::Uploader;

/// Everything that was open at one moment.
#[derive(Debug)]
pub(crate) struct CutSet<K: Kind> {
    pub(crate) parts: Vec<CutPart<K>>,
    pub(crate) reason: Cut,
}

/// What became of a cut.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) published: Vec<Settled>,
    /// Partitions that belong to someone else by now.
    pub(crate) fenced: Vec<Settled>,
    /// The state just after the commit; `None` when no partition was left to commit.
    pub(crate) state: Option<Arc<CatalogState>>,
}

/// A partition's part in an outcome.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) at: TopicPartition,
    pub(crate) epoch: u64,
    pub(crate) to: i64,
}

/// Why a cut can never be published; someone must look. The rows stay in the queue.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("build segments")]
    Build(#[from] BuildError),
    #[error("build segments")]
    Cpu(#[from] CpuError),
    /// Nothing was published.
    #[error("segments hold {built} rows, but {taken} were taken in")]
    Rows { taken: u64, built: u64 },
    #[error("publish segments: {0}")]
    Refused(Refusal),
    /// The store took the segments but no commit for so long that the sweep may soon take them for
    /// garbage. The next start reads the rows again, unless the commit was made after all.
    #[error("segments were not committed within {after:?} of their upload: {last_error}")]
    Stale { after: Duration, last_error: String },
}

/// Publishes cuts, one after the other.
#[derive(Debug)]
pub(crate) struct Publisher<K: Kind> {
    pub(crate) catalog: Catalog,
    pub(crate) uploader: Uploader,
    pub(crate) clock: SharedClock,
    pub(crate) build: Arc<CpuPool>,
    /// Segments built and uploaded at once; each is in memory until it is uploaded.
    pub(crate) builds_max: usize,
    pub(crate) windows: Windows,
    pub(crate) costs: Arc<Costs>,
    /// Longest time between an upload and its commit: less than the sweep's grace.
    pub(crate) commit_within: Duration,
    pub(crate) pauses: Backoff,
    pub(crate) cuts: mpsc::Receiver<CutSet<K>>,
    pub(crate) outcomes: mpsc::Sender<Outcome>,
}

/// How a commit ended.
enum Decision {
    Made(Arc<CatalogState>),
    Fenced { topic: String, partition: i32, refusal: Refusal },
}

impl<K: Kind> Publisher<K> {
    /// Runs until no more cuts come.
    pub(crate) async fn run(mut self) -> Result<(), PublishError> {
        while let Some(set) = self.cuts.recv().await {
            let outcome = self.publish(set).await?;
            if self.outcomes.send(outcome).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn publish(&self, set: CutSet<K>) -> Result<Outcome, PublishError> {
        let started = self.clock.elapsed();
        let mut parts = set.parts;
        let mut fenced = Vec::new();
        while !parts.is_empty() {
            let (segments, shares): (Vec<SegmentMeta>, Vec<Shares>) =
                self.build_and_upload(&parts).await?.into_iter().unzip();
            check_rows::<K>(&parts, &segments)?;
            match self.commit(&parts, &segments).await? {
                Decision::Made(state) => {
                    let took = self.clock.elapsed().saturating_sub(started);
                    report::<K>(set.reason, &parts, &segments, state.version, took);
                    for (segment, shares) in segments.iter().zip(&shares) {
                        self.costs.published(K::NAME, &segment.tenant, shares, segment.bytes);
                    }
                    let published = parts.iter().map(settled).collect();
                    return Ok(Outcome { published, fenced, state: Some(state) });
                }
                Decision::Fenced { topic, partition, refusal } => {
                    warn!(topic, partition, %refusal, "partition lost, publishing without it");
                    metrics::counter!(telemetry::FENCED, "kind" => K::NAME).increment(1);
                    let lost = |part: &CutPart<K>| {
                        part.at.topic.as_str() == topic && part.at.partition.0 == partition
                    };
                    fenced.extend(parts.iter().filter(|part| lost(part)).map(settled));
                    parts.retain(|part| !lost(part));
                }
            }
        }
        Ok(Outcome { published: Vec::new(), fenced, state: None })
    }

    async fn build_and_upload(
        &self,
        parts: &[CutPart<K>],
    ) -> Result<Vec<(SegmentMeta, Shares)>, PublishError> {
        let (owned, windows) = (parts.to_vec(), self.windows.clone());
        let jobs = self.build.run(move || K::jobs(&owned, windows)).await?;
        futures::stream::iter(jobs)
            .map(|job| self.build_one(job))
            .buffered(self.builds_max)
            .try_collect()
            .await
    }

    async fn build_one(&self, job: Job) -> Result<(SegmentMeta, Shares), PublishError> {
        let started = self.clock.elapsed();
        let (tenant, ranges) = (job.tenant.clone(), job.ranges.clone());
        let class = job.class.clone();
        let Built { segment, shares } = self.build.run(move || job.run()).await??;
        let seconds = self.clock.elapsed().saturating_sub(started).as_secs_f64();
        metrics::histogram!(telemetry::BUILD_SECONDS, "kind" => K::NAME).record(seconds);

        let id = SegmentId::generate(self.clock.unix_nanos());
        let meta = segment.meta(id, tenant, ranges, self.clock.unix_millis());
        let meta = SegmentMeta { class, ..meta };
        self.uploader.upload(&meta.location(), &segment.bytes).await;
        Ok((meta, shares))
    }

    /// Commits, however long the store takes to answer.
    async fn commit(
        &self,
        parts: &[CutPart<K>],
        segments: &[SegmentMeta],
    ) -> Result<Decision, PublishError> {
        let mut pauses = self.pauses.clone();
        let uploaded = self.clock.elapsed();
        let mut outcome = self.catalog.commit(ops(parts, segments)).await;
        loop {
            let error = match outcome {
                Ok(state) => return Ok(Decision::Made(state)),
                Err(CommitError::Refused(refusal)) => return decide(refusal),
                Err(error) => error,
            };
            let after = self.clock.elapsed().saturating_sub(uploaded);
            if self.commit_within <= after {
                return Err(PublishError::Stale { after, last_error: error.to_string() });
            }
            let pause = pauses.delay();
            warn!(%error, ?pause, "publish not committed, trying again");
            metrics::counter!(telemetry::PUBLISH_RETRIES, "kind" => K::NAME, "step" => "commit")
                .increment(1);
            self.clock.sleep(pause).await;
            outcome = match error {
                CommitError::Undecided { pending, .. } => self.catalog.resume(pending).await,
                _ => self.catalog.commit(ops(parts, segments)).await,
            };
        }
    }
}

/// Last chance to notice that a build lost or doubled rows, before their offsets move.
fn check_rows<K: Kind>(parts: &[CutPart<K>], segments: &[SegmentMeta]) -> Result<(), PublishError> {
    let taken = parts.iter().map(|part| part.weight.rows).sum();
    let built = segments.iter().map(|segment| segment.rows).sum();
    if K::agree(taken, built) {
        return Ok(());
    }
    Err(PublishError::Rows { taken, built })
}

fn ops<K: Kind>(parts: &[CutPart<K>], segments: &[SegmentMeta]) -> Vec<Op> {
    let mut ops = Vec::with_capacity(parts.len() + 1);
    if !segments.is_empty() {
        ops.push(Op::AddSegments { segments: segments.to_vec() });
    }
    ops.extend(parts.iter().map(|part| Op::Advance {
        topic: part.at.topic.as_str().to_owned(),
        partition: part.at.partition.0,
        epoch: part.epoch,
        from: part.from,
        to: part.to,
        sources: part.sources.clone(),
    }));
    let with_lost = parts.iter().filter(|part| !part.lost.is_empty());
    ops.extend(with_lost.map(|part| Op::NoteLost {
        topic: part.at.topic.as_str().to_owned(),
        partition: part.at.partition.0,
        epoch: part.epoch,
        ranges: part.lost.clone(),
    }));
    ops
}

/// A partition that is not where we left it has another owner, whatever the refusal says of it.
fn decide(refusal: Refusal) -> Result<Decision, PublishError> {
    let (topic, partition) = match &refusal {
        Refusal::Fenced { topic, partition, .. }
        | Refusal::Offset { topic, partition, .. }
        | Refusal::NotAcquired { topic, partition } => (topic.clone(), *partition),
        Refusal::Backwards { .. }
        | Refusal::Lost { .. }
        | Refusal::SegmentExists(_)
        | Refusal::SegmentMissing(_)
        | Refusal::Contradiction { .. }
        | Refusal::TooLarge { .. } => return Err(PublishError::Refused(refusal)),
    };
    Ok(Decision::Fenced { topic, partition, refusal })
}

fn settled<K: Kind>(part: &CutPart<K>) -> Settled {
    Settled { at: part.at.clone(), epoch: part.epoch, to: part.to }
}

fn report<K: Kind>(
    reason: Cut,
    parts: &[CutPart<K>],
    segments: &[SegmentMeta],
    version: u64,
    took: Duration,
) {
    let rows: u64 = segments.iter().map(|segment| segment.rows).sum();
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let raw_bytes: u64 = segments.iter().map(|segment| segment.raw_bytes).sum();
    metrics::counter!(telemetry::ROWS_PUBLISHED, "kind" => K::NAME).increment(rows);
    metrics::counter!(telemetry::RAW_BYTES_PUBLISHED, "kind" => K::NAME).increment(raw_bytes);
    metrics::counter!(telemetry::SEGMENTS, "kind" => K::NAME).increment(segments.len() as u64);
    metrics::counter!(telemetry::SEGMENT_BYTES, "kind" => K::NAME).increment(bytes);
    metrics::histogram!(telemetry::PUBLISH_SECONDS, "kind" => K::NAME).record(took.as_secs_f64());
    info!(
        kind = K::NAME,
        reason = reason.as_str(),
        partitions = parts.len(),
        segments = segments.len(),
        rows,
        raw_bytes,
        bytes,
        version,
        ?took,
        "published"
    );
}
