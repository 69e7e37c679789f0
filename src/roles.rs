//! Each role: wired to what it stands on, and run alone.
//!
//! A role that starts before Kafka or the bucket can be reached says so and goes on trying where
//! waiting is safe, and refuses to start where it is not: a store whose conditional put is not
//! atomic would lose or double rows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use collector::{Collector, Dependencies};
use indexer::{Drain, Indexer};
use object_store::ObjectStore;
use query::Query;
use queue::{Queue, QueueError, Topic};
use runtime::backoff::Backoff;
use runtime::clock::SharedClock;
use segment::catalog::{Catalog, CatalogOptions, PREFIX, doctor};
use segment::store::{self, CachedStore};
use tracing::{error, info, warn};

use crate::process::{Port, Process};
use crate::stage::Stage;

/// Longest wait for the store's first answer at start.
const STORE_CHECK_DEADLINE: Duration = Duration::from_secs(20);

/// First and longest wait before topics are looked for again.
const TOPICS_RETRY_MIN: Duration = Duration::from_millis(500);
const TOPICS_RETRY_MAX: Duration = Duration::from_secs(15);

/// Runs the collector alone.
pub(crate) async fn collector(process: &Process) -> anyhow::Result<()> {
    let port = process.listen().await?;
    let queue = open_queue(process).await?;
    let collector = new_collector(process, &queue, &port.url)?;
    let routes = collector.router();
    alone(process, port, routes, run_collector(process, collector)).await
}

/// Runs the indexer alone. What it has not read when it stops is its successor's.
pub(crate) async fn indexer(process: &Process) -> anyhow::Result<()> {
    let port = process.listen().await?;
    let published = Published::open(process, "indexer").await?;
    published.require_atomic_puts(process).await?;
    let queue = open_queue(process).await?;
    let indexer = new_indexer(process, &queue, &published, &port.url_for_others, Drain::Held)?;
    let routes = indexer.router();
    alone(process, port, routes, run_indexer(process, indexer)).await
}

/// Runs the query role alone.
pub(crate) async fn query(process: &Process) -> anyhow::Result<()> {
    let port = process.listen().await?;
    let published = Published::open(process, "query").await?;
    let query = new_query(process, &published).await?;
    let routes = query.router();
    alone(process, port, routes, run_query(process, query)).await
}

/// Serves one role until the process is told to stop, then drains it and closes the port.
async fn alone(process: &Process, port: Port, routes: Router, stage: Stage) -> anyhow::Result<()> {
    info!(url = port.url, "listening");
    let server = process.serve(port, routes);
    tokio::select! {
        () = process.stop_wanted() => {}
        () = stage.ended() => process.shutdown.trigger(),
    }
    stage.drain(&*process.clock).await;
    server.drain(&*process.clock).await;
    Ok(())
}

/// Opens the queue and makes sure that its topics exist.
pub(crate) async fn open_queue(process: &Process) -> anyhow::Result<Queue> {
    let section = process.config.file.queue.clone();
    let (data_dir, clock) = (process.data_dir().to_owned(), Arc::clone(&process.clock));
    let opening = tokio::task::spawn_blocking(move || Queue::open(&section, &data_dir, clock));
    let queue = opening.await.context("open the queue")?.context("open the queue")?;
    let topics = Topics::of(process);
    if let Err(error) = topics.ensure(&queue).await {
        warn!(%error, "topics not ensured yet, trying again");
        let (queue, clock) = (queue.clone(), Arc::clone(&process.clock));
        let token = process.shutdown.token();
        process.tasks.spawn("topics", async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = topics.ensure_at_last(&queue, clock) => {}
            }
        });
    }
    Ok(queue)
}

/// The topics of our own batches that this configuration speaks of, with the partitions each should
/// have. Other people's topics are theirs to make.
#[derive(Debug)]
struct Topics(Vec<(Topic, u32)>);

impl Topics {
    fn of(process: &Process) -> Self {
        let file = &process.config.file;
        let names: BTreeSet<&str> =
            file.indexer.topics.own().chain([Topic::LOGS, Topic::SAMPLES]).collect();
        // Names were checked with the configuration; an illegal one cannot get here.
        let topics = names.into_iter().filter_map(|name| Topic::new(name).ok());
        Self(topics.map(|topic| (topic.clone(), file.queue.partitions_default(&topic))).collect())
    }

    async fn ensure(&self, queue: &Queue) -> Result<(), QueueError> {
        for (topic, partitions) in &self.0 {
            queue.ensure_topic(topic, *partitions).await?;
        }
        Ok(())
    }

    async fn ensure_at_last(&self, queue: &Queue, clock: SharedClock) {
        let mut backoff = Backoff::new(TOPICS_RETRY_MIN, TOPICS_RETRY_MAX);
        loop {
            clock.sleep(backoff.delay()).await;
            match self.ensure(queue).await {
                Ok(()) => {
                    info!("topics are there");
                    return;
                }
                Err(error) => warn!(%error, "topics not ensured yet, trying again"),
            }
        }
    }
}

/// Where published rows are: the store and the catalog in it.
#[derive(Debug)]
pub(crate) struct Published {
    store: Arc<dyn ObjectStore>,
    catalog: Catalog,
    options: CatalogOptions,
}

impl Published {
    /// Opens the store, asks it something, and reads the catalog. `role` names us in commits.
    pub(crate) async fn open(process: &Process, role: &str) -> anyhow::Result<Self> {
        let section = &process.config.file.store;
        let store = store::open(section, process.data_dir()).context("open the store")?;
        let clock = &*process.clock;
        store::check(&store, section, process.data_dir(), clock, STORE_CHECK_DEADLINE)
            .await
            .context("ask the store")?;
        let writer = format!("{role}@{}", process.config.file.collector.node_name());
        let options = CatalogOptions::new(Arc::clone(&process.clock), writer);
        let (catalog, stopped) = Catalog::open_to_read(Arc::clone(&store), PREFIX, options.clone())
            .await
            .context("open the catalog")?;
        if let Some(error) = stopped {
            // What was published before it goes on answering; nothing is published after it.
            error!(%error, "catalog can be read only so far; run `millrace catalog doctor`");
        }
        Ok(Self { store, catalog, options })
    }

    /// Refuses a store on which several writers can create one object.
    pub(crate) async fn require_atomic_puts(&self, process: &Process) -> anyhow::Result<()> {
        let probed = tokio::select! {
            probed = doctor::probe(&self.store, PREFIX, &self.options) => probed,
            () = process.stop_wanted() => return Ok(()),
        };
        probed.context("check that the store can hold a catalog")?;
        Ok(())
    }
}

pub(crate) fn new_collector(
    process: &Process,
    queue: &Queue,
    url: &str,
) -> anyhow::Result<Collector> {
    let needs = Dependencies {
        producer: queue.producer().context("open the queue for sending")?,
        clock: Arc::clone(&process.clock),
        data_dir: process.data_dir().to_owned(),
        own_metrics_url: Some(format!("{url}/metrics")),
    };
    Collector::new(process.config.file.collector.clone(), needs).context("start the collector")
}

pub(crate) fn new_indexer(
    process: &Process,
    queue: &Queue,
    published: &Published,
    url: &str,
    drain: Drain,
) -> anyhow::Result<Indexer> {
    let deps = indexer::Deps {
        queue: queue.clone(),
        store: Arc::clone(&published.store),
        catalog: published.catalog.clone(),
        clock: Arc::clone(&process.clock),
        readiness: process.ready.clone(),
        listen_url: url.to_owned(),
        drain,
    };
    Indexer::new(process.config.file.indexer.clone(), deps).context("start the indexer")
}

pub(crate) async fn new_query(process: &Process, published: &Published) -> anyhow::Result<Query> {
    let cache = process.config.file.query.cache(process.data_dir());
    let store = CachedStore::open(Arc::clone(&published.store), &cache)
        .await
        .context("open the cache of the store")?;
    let deps = query::Deps {
        catalog: published.catalog.clone(),
        store: Arc::new(store),
        clock: Arc::clone(&process.clock),
    };
    Query::new(process.config.file.query.clone(), deps).context("start the query role")
}

pub(crate) fn run_collector(process: &Process, collector: Collector) -> Stage {
    let drain = process.config.file.collector.shutdown_grace();
    Stage::spawn("collector", &process.tasks, drain, |stop| collector.run(stop))
}

pub(crate) fn run_indexer(process: &Process, indexer: Indexer) -> Stage {
    let drain = Duration::from_secs(process.config.file.indexer.drain_secs);
    Stage::spawn("indexer", &process.tasks, drain, |stop| indexer.run(stop))
}

pub(crate) fn run_query(process: &Process, query: Query) -> Stage {
    Stage::spawn("query", &process.tasks, Duration::ZERO, |stop| async {
        query.run(stop).await;
        Ok::<(), std::convert::Infallible>(())
    })
}
