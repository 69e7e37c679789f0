//! Every task, channel and capacity of an indexer.
//!
//! ```text
//!              ┌──────── requests (1) ──────> Acquirer ───> catalog
//!              │   <────── acquired (1) ─────────┘
//!  queue ──> Source ──────── cuts (1) ───────> Publisher ──> store, catalog
//!              │   <─────── outcomes (1) ────────┘
//!              │ decode pool                      build pool
//!              v
//!            Held rows  <────────── api (answer pool) <── query
//!              └──────> Lag ───> queue
//! ```
//!
//! One such lane per kind: log records and samples are read, cut and published apart. A lane is
//! one future, so dropping it stops everything in it; nothing is detached. Beside the lanes, one task
//! looks after published segments ([`crate::upkeep`]) on a thread of its own. CPU work runs on three
//! pools, so that a build of seconds delays neither taking rows in nor searching them.
//!
//! Stopping follows the data: the source stops reading (or reads to the end of the queue), has
//! everything it holds published, leaves its consumer group and ends; the publisher ends with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use queue::{QueueError, Topic};
use runtime::admin::ReadyPart;
use runtime::backoff::Backoff;
use runtime::cpu::CpuPool;
use segment::logs::WidenedFrames;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::acquire::Acquirer;
use crate::api::Recent;
use crate::build::Windows;
use crate::config::{IndexerSection, LaneSection, LogTopic};
use crate::cost::Costs;
use crate::dead_letter::SetAside;
use crate::decode::Formats;
use crate::kind::Kind;
use crate::lag::Lag;
use crate::open::Held;
use crate::publish::Publisher;
use crate::retention::Rules;
use crate::source::{Source, SourceParts};
use crate::telemetry;
use crate::upload::Uploader;
use crate::{Deps, IndexerError};

/// Cuts on their way to the publisher: one, since the source makes the next only after it has
/// heard of the last. Its rows are in memory either way.
const CUTS_MAX: usize = 1;

/// Outcomes on their way back: one per cut.
const OUTCOMES_MAX: usize = 1;

/// Requests for partitions on their way to the catalog, and answers on their way back: one, since
/// the source asks again only after it has heard.
const REQUESTS_MAX: usize = 1;

/// Jobs that wait for a decode or build thread. Lanes wait for their own jobs, so this is never
/// reached; it is the number of lanes times what one lane starts at once, and more.
const POOL_QUEUE_MAX: usize = 256;

/// The pools that CPU work runs on.
#[derive(Clone, Debug)]
pub(crate) struct Pools {
    pub(crate) decode: Arc<CpuPool>,
    pub(crate) build: Arc<CpuPool>,
    pub(crate) answer: Arc<CpuPool>,
}

impl Pools {
    pub(crate) fn new(section: &IndexerSection) -> std::io::Result<Self> {
        let pool =
            |name, threads, queue_max| CpuPool::named(name, threads, queue_max).map(Arc::new);
        Ok(Self {
            decode: pool("indexer-decode", section.decode_threads, POOL_QUEUE_MAX)?,
            build: pool("indexer-build", section.build_threads, POOL_QUEUE_MAX)?,
            answer: pool("indexer-answer", section.answer_threads, section.answers_max)?,
        })
    }
}

/// One kind's way from the queue to the catalog.
#[derive(Debug)]
pub(crate) struct Lane<K: Kind> {
    pub(crate) topics: Vec<Topic>,
    pub(crate) formats: Formats,
    pub(crate) costs: Arc<Costs>,
    pub(crate) section: LaneSection,
    pub(crate) held: Arc<Held<K>>,
    pub(crate) ready: ReadyPart,
}

impl<K: Kind> Lane<K> {
    /// Runs the lane until `stop` and all that follows from it is done.
    pub(crate) async fn run(
        self,
        indexer: &IndexerSection,
        deps: &Deps,
        pools: &Pools,
        stop: CancellationToken,
    ) -> Result<(), IndexerError> {
        if self.topics.is_empty() {
            self.ready.ready();
            return Ok(());
        }
        telemetry::announce(K::NAME);
        let (requests, requests_in) = mpsc::channel(REQUESTS_MAX);
        let (acquired_out, acquired) = mpsc::channel(REQUESTS_MAX);
        let (cuts, cuts_in) = mpsc::channel(CUTS_MAX);
        let (outcomes_out, outcomes) = mpsc::channel(OUTCOMES_MAX);
        let pauses = Backoff::new(
            Duration::from_millis(indexer.publish_retry_ms_min),
            Duration::from_millis(indexer.publish_retry_ms_max),
        );
        let group = format!("{}-{}", indexer.group, K::NAME);
        let source = Source::new(SourceParts {
            consumer: deps.queue.consumer(&group, &self.topics)?,
            held: Arc::clone(&self.held),
            clock: Arc::clone(&deps.clock),
            decode: Arc::clone(&pools.decode),
            formats: self.formats,
            costs: Arc::clone(&self.costs),
            labels: Arc::default(),
            letters: SetAside::new(deps.queue.clone())?,
            policy: self.section.cut_policy(),
            memory_bytes_max: self.section.memory_bytes_max,
            grace: Duration::from_secs(indexer.recent_grace_secs),
            pauses: pauses.clone(),
            requests,
            acquired,
            cuts,
            outcomes,
            ready: self.ready,
        });
        let acquirer = Acquirer {
            catalog: deps.catalog.clone(),
            url: deps.url(indexer),
            requests: requests_in,
            outcomes: acquired_out,
        };
        let publisher: Publisher<K> = Publisher {
            catalog: deps.catalog.clone(),
            uploader: Uploader {
                store: Arc::clone(&deps.store),
                clock: Arc::clone(&deps.clock),
                timeout: Duration::from_secs(indexer.upload_timeout_secs),
                pauses: pauses.clone(),
                kind: K::NAME,
            },
            clock: Arc::clone(&deps.clock),
            build: Arc::clone(&pools.build),
            builds_max: indexer.build_threads,
            windows: Windows {
                length: Duration::from_secs(self.section.window_secs),
                windows_max: self.section.windows_max,
                stragglers_max: self.section.stragglers_max,
                rules: Arc::new(Rules::new(&indexer.retention)),
                frames: WidenedFrames::default(),
            },
            costs: self.costs,
            commit_within: indexer.sweep.commit_within(),
            pauses,
            cuts: cuts_in,
            outcomes: outcomes_out,
        };
        let lag = Lag {
            queue: deps.queue.clone(),
            held: Arc::clone(&self.held),
            clock: Arc::clone(&deps.clock),
            reported: BTreeSet::new(),
        };
        // Ends only with the source, whose end of its channels it serves.
        let acquires = async {
            acquirer.run().await;
            std::future::pending::<()>().await;
        };
        let gives_up = async {
            stop.cancelled().await;
            deps.clock.sleep(Duration::from_secs(indexer.drain_secs)).await;
        };
        tokio::select! {
            biased;
            Err(error) = publisher.run() => Err(error.into()),
            () = acquires => Ok(()),
            () = lag.run() => Ok(()),
            done = source.run(stop.clone(), deps.drain) => done,
            () = gives_up => Err(unpublished(&self.held, indexer.drain_secs)),
        }
    }
}

fn unpublished<K: Kind>(held: &Held<K>, drain_secs: u64) -> IndexerError {
    let rows = held.unpublished_rows();
    IndexerError::Unpublished { kind: K::NAME, rows, drain_secs }
}

/// The part of an indexer that answers questions.
pub(crate) fn recent(deps: &Deps, pools: &Pools, lanes: &Lanes) -> Recent {
    Recent {
        logs: Arc::clone(&lanes.logs.held),
        samples: Arc::clone(&lanes.samples.held),
        pool: Arc::clone(&pools.answer),
        clock: Arc::clone(&deps.clock),
    }
}

fn logs_topics(topics: &[LogTopic]) -> impl Iterator<Item = Result<Topic, QueueError>> {
    topics.iter().map(|topic| Topic::new(&topic.name))
}

/// Both lanes of an indexer.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) logs: Lane<crate::kind::Logs>,
    pub(crate) samples: Lane<crate::kind::Samples>,
}

impl Lanes {
    pub(crate) fn new(section: &IndexerSection, deps: &Deps) -> Result<Self, IndexerError> {
        let logs: Vec<Topic> =
            logs_topics(&section.topics.logs).collect::<Result<_, QueueError>>()?;
        let samples = section.topics.samples.iter().map(|name| Topic::new(name));
        let samples: Vec<Topic> = samples.collect::<Result<_, QueueError>>()?;
        let costs = Arc::new(Costs::new(section.cost_pairs_max));
        let waits = "partitions are not assigned yet";
        Ok(Self {
            logs: Lane {
                topics: logs,
                formats: Formats::of(&section.topics.logs),
                costs: Arc::clone(&costs),
                section: section.logs.clone(),
                held: Arc::default(),
                ready: deps.readiness.part("indexer-logs", waits),
            },
            samples: Lane {
                topics: samples,
                formats: Formats::default(),
                costs,
                section: section.samples.clone(),
                held: Arc::default(),
                ready: deps.readiness.part("indexer-samples", waits),
            },
        })
    }
}
