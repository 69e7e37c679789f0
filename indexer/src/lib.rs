//! The indexer: from the queue to segments in the store, and answers about rows not there yet.
//!
//! A message is decoded, rows taken before are dropped by their source position, the rest is
//! appended to the open rows of its partition; from then on it is searchable. Open rows are cut by
//! size, age and time window, built into one segment per tenant and window, uploaded, and
//! published by one catalog commit that also moves the queue offsets and source positions they
//! cover. Beside that, published segments are merged, expired and swept ([`upkeep`]).
//!
//! # What always holds
//!
//! - A row is published exactly once: its segment and its offset enter the catalog in one commit,
//!   refused unless we still own the partition and continue where it was published.
//! - A row is found exactly once: questions name the offset their catalog state had published, and
//!   rows stay in memory for a grace time after that.
//! - Nothing is skipped silently: what cannot be decoded is in the dead-letter topic before its
//!   offset moves, and lost offsets are named and counted.
//! - No state on this machine matters: whoever owns a partition next starts from the catalog.
//!
//! # On a crash
//!
//! Everything held is read from the queue again, from the published offsets. Uploaded objects no
//! commit names are garbage. A dead letter may be written twice.
//!
//! # What bounds it
//!
//! `memory_bytes_max` per kind; above it published rows leave early, then reading pauses and the
//! queue is the buffer. Cuts bound the segments, tenants and sources of one commit.

mod acquire;
mod api;
mod build;
mod config;
mod cost;
pub mod cut;
pub mod dead_letter;
mod decode;
mod intake;
mod kind;
mod label_pool;
mod lag;
pub mod merge;
mod open;
mod pipeline;
mod publish;
mod reachable;
mod recent;
mod replay;
pub mod retention;
mod source;
pub mod sweep;
pub mod telemetry;
mod upkeep;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::FutureExt;
use object_store::ObjectStore;
use queue::{Offset, Queue, QueueError, TopicPartition};
use runtime::admin::Readiness;
use runtime::clock::SharedClock;
use runtime::cpu::CpuError;
use segment::catalog::Catalog;
use tokio_util::sync::CancellationToken;

pub use build::BuildError;
pub use config::{
    IndexerSection, LaneSection, LogFormat, LogTopic, MergeSection, SweepSection, TopicsSection,
};
pub use publish::PublishError;
pub use upkeep::Upkeep;

use pipeline::{Lanes, Pools};
use reachable::Watch;

/// What an indexer stands on.
#[derive(Clone, Debug)]
pub struct Deps {
    pub queue: Queue,
    pub store: Arc<dyn ObjectStore>,
    pub catalog: Catalog,
    pub clock: SharedClock,
    /// Gets a part per kind, ready once every assigned partition is acquired, and one for the
    /// queue, ready while it answers.
    pub readiness: Readiness,
    /// Base URL of this process, used where the configuration names none.
    pub listen_url: String,
    /// What a stop waits for.
    pub drain: Drain,
}

/// How far a stopping indexer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Publishes what it holds; the queue keeps the rest for the next owner.
    Held,
    /// Reads everything that is in the queue first: for one process that is all there is.
    ToHighWatermark,
}

/// Why an indexer ended, or could not start.
#[derive(Debug, thiserror::Error)]
pub enum IndexerError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("start threads")]
    Threads(#[source] std::io::Error),
    #[error("decode messages")]
    Cpu(#[from] CpuError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The queue was emptied or made anew under a catalog that knows better.
    #[error(
        "partition {at} ends at offset {high}, but the catalog says it is published up to \
         {published}; was the topic made anew? use a new topic name or a new catalog prefix"
    )]
    QueueBehindCatalog { at: TopicPartition, published: Offset, high: Offset },
    /// Nothing is lost: the queue still has them.
    #[error(
        "{rows} rows of kind {kind} were not published within {drain_secs} s; the next start \
         reads them from the queue again"
    )]
    Unpublished { kind: &'static str, rows: u64, drain_secs: u64 },
}

impl Deps {
    fn url(&self, section: &IndexerSection) -> String {
        let url = section.advertised_url.as_deref().unwrap_or(&self.listen_url);
        url.trim_end_matches('/').to_owned()
    }
}

/// An indexer that is wired up and not running yet.
#[derive(Debug)]
pub struct Indexer {
    section: IndexerSection,
    deps: Deps,
    pools: Pools,
    lanes: Lanes,
    watch: Watch,
    upkeep: Upkeep,
}

impl Indexer {
    /// Wires an indexer up. `section` has passed its validation.
    ///
    /// # Errors
    /// When a topic's name is illegal or threads cannot be started.
    pub fn new(section: IndexerSection, deps: Deps) -> Result<Self, IndexerError> {
        let pools = Pools::new(&section).map_err(IndexerError::Threads)?;
        let lanes = Lanes::new(&section, &deps)?;
        let watch = Watch {
            queue: deps.queue.clone(),
            clock: Arc::clone(&deps.clock),
            silence_max: Duration::from_secs(section.queue_silence_secs_max),
            ready: deps.readiness.part("indexer-queue", "queue has not answered yet"),
        };
        let owner = deps.url(&section);
        let upkeep = Upkeep::new(&section, &deps.store, &deps.catalog, &deps.clock, owner)
            .map_err(IndexerError::Threads)?;
        Ok(Self { section, deps, pools, lanes, watch, upkeep })
    }

    /// Returns the routes of `/internal/v1/`, by which query asks for recent rows.
    pub fn router(&self) -> Router {
        api::router(pipeline::recent(&self.deps, &self.pools, &self.lanes))
    }

    /// Runs until `stop` is cancelled and everything is drained and published.
    ///
    /// Dropping it midway is a crash: nothing is lost, the rest is read again.
    ///
    /// # Errors
    /// When a kind cannot go on, or not everything could be published within `drain_secs`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), IndexerError> {
        let Self { section, deps, pools, lanes, watch, upkeep } = self;
        let Lanes { logs, samples } = lanes;
        // Either lane's failure stops both: half an indexer would look healthy.
        let stop = stop.child_token();
        let ended = |result: Result<(), IndexerError>| {
            if result.is_err() {
                stop.cancel();
            }
            result
        };
        let lanes = futures::future::join(
            logs.run(&section, &deps, &pools, stop.clone()).map(ended),
            samples.run(&section, &deps, &pools, stop.clone()).map(ended),
        );
        // Upkeep is dropped where it stands as soon as a stop is asked for.
        let upkeep = async {
            stop.run_until_cancelled(upkeep.run()).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            (logs, samples) = lanes => logs.and(samples),
            () = watch.run() => Ok(()),
            () = upkeep => unreachable!("it waits for the lanes"),
        }
    }
}
