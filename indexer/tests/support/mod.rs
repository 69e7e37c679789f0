//! A queue, a store that fails on request and indexers over them, with what the queue holds as the
//! oracle of what must be found.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its share")]
#![allow(clippy::unwrap_used, reason = "tests")]

pub mod metrics;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use futures::TryStreamExt;
use http_body_util::BodyExt;
use indexer::{Deps, Drain, Indexer, IndexerError, IndexerSection};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use queue::{
    MemoryQueue, MemorySection, Message, Offset, Partition, Producer, Queue, Topic, TopicPartition,
};
use record::{
    BatchHeaders, BatchKind, Labels, Limits, LogBatch, LogBatchBuilder, SourceId, TenantId,
    TimestampNanos,
};
use runtime::admin::Readiness;
use runtime::clock::{ManualClock, SharedClock, SystemClock};
use segment::catalog::{Catalog, CatalogOptions, CatalogState, doctor};
use segment::logs::plan::{CompiledPlan, LogPlan};
use segment::logs::{LogSegment, ScanBudget};
use segment::recent::{Ask, LOGS_SCAN, Pin, STATS_HEADER, ScanStats, split_frames};
use segment::store::faulty::{Faults, FaultyStore};
use segment::{SegmentKind, SegmentMeta};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// One log row as a test sends it and expects it back. Lines are unique within a test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub stream: u8,
    pub time: i64,
    pub line: String,
    pub source: Option<(u8, u64)>,
}

pub fn row(stream: u8, time: i64, line: &str, source: Option<(u8, u64)>) -> Row {
    Row { stream, time, line: line.to_owned(), source }
}

fn labels(stream: u8) -> Labels {
    Labels::from_pairs([("stream", format!("s{stream}"))])
}

fn row_of(batch: &LogBatch, at: usize) -> Row {
    let stream = batch.stream(at).get("stream").unwrap();
    Row {
        stream: stream.trim_start_matches('s').parse().unwrap(),
        time: batch.times()[at],
        line: batch.line(at).to_owned(),
        source: batch.source(at).map(|(source, offset)| (source.0[0], offset)),
    }
}

pub fn rows_of(batch: &LogBatch) -> Vec<Row> {
    (0..batch.len()).map(|at| row_of(batch, at)).collect()
}

pub fn log_batch(rows: &[Row]) -> LogBatch {
    let mut builder = LogBatchBuilder::new();
    for row in rows {
        let source = row.source.map(|(source, offset)| (SourceId([source; 16]), offset));
        let attributes = [("detected_level", "info")];
        let time = TimestampNanos(row.time);
        builder.push(time, &labels(row.stream), &row.line, &attributes, source);
    }
    builder.finish()
}

pub fn headers(kind: BatchKind, tenant: &TenantId) -> Vec<(String, Bytes)> {
    let headers = BatchHeaders {
        kind,
        tenant: tenant.clone(),
        collector: "test".to_owned(),
        boot_epoch: 1,
        ranges: Vec::new(),
    };
    headers.to_pairs().into_iter().map(|(name, value)| (name, value.into())).collect()
}

pub fn message(rows: &[Row]) -> Message {
    message_of(&TenantId::default(), rows)
}

pub fn message_of(tenant: &TenantId, rows: &[Row]) -> Message {
    Message {
        headers: headers(BatchKind::Logs, tenant),
        payload: log_batch(rows).encode().unwrap(),
        ..Message::default()
    }
}

pub fn logs(partition: i32) -> TopicPartition {
    TopicPartition::new(&Topic::logs(), Partition(partition))
}

/// Everything an indexer needs that outlives it.
pub struct Rig {
    pub clock: SharedClock,
    pub memory: MemoryQueue,
    pub store: Arc<dyn ObjectStore>,
    pub faults: Faults,
    /// The store without the faults, for the test's own look.
    pub sound_store: Arc<dyn ObjectStore>,
    producer: Arc<dyn Producer>,
    pub section: IndexerSection,
    pub drain: Drain,
    pub snapshot_every: u64,
    partitions: i32,
}

/// Messages of one delivery, by which an indexer may exceed its memory bound.
pub const FETCH_MESSAGES_MAX: usize = 16;

/// A section that cuts by bytes and fails fast; tests change what they are about.
pub fn quick_section() -> IndexerSection {
    let mut section = IndexerSection {
        publish_retry_ms_min: 1,
        publish_retry_ms_max: 5,
        drain_secs: 20,
        ..IndexerSection::default()
    };
    section.logs.cut_raw_bytes_max = 60;
    // Tests that are about merges and sweeps start them when they want them.
    section.merge.enabled = false;
    section.sweep.enabled = false;
    section
}

impl Rig {
    /// A rig on the machine's clock.
    pub fn new(partitions: u32) -> Self {
        Self::on(SystemClock::shared(), partitions)
    }

    /// A rig on a clock that only the test moves.
    pub fn manual(partitions: u32) -> (Self, Arc<ManualClock>) {
        let clock = ManualClock::new(1_700_000_000_000_000_000);
        (Self::on(Arc::<ManualClock>::clone(&clock), partitions), clock)
    }

    fn on(clock: SharedClock, partitions: u32) -> Self {
        let section =
            MemorySection { fetch_messages_max: FETCH_MESSAGES_MAX, ..Default::default() };
        let memory = MemoryQueue::new(section, Arc::clone(&clock));
        memory.ensure_topic(&Topic::logs(), partitions);
        memory.ensure_topic(&Topic::samples(), 1);
        let sound_store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (store, faults) = FaultyStore::new(Arc::clone(&sound_store), Arc::clone(&clock));
        let producer = memory.producer();
        Self {
            clock,
            memory,
            store,
            faults,
            sound_store,
            producer,
            section: quick_section(),
            drain: Drain::ToHighWatermark,
            snapshot_every: 64,
            partitions: partitions as i32,
        }
    }

    pub async fn send(&self, at: &TopicPartition, message: Message) -> Offset {
        self.producer.append(&at.topic, at.partition, message).await.unwrap()
    }

    /// The catalog as anyone sees it.
    pub async fn catalog(&self) -> Catalog {
        let options = CatalogOptions::new(Arc::clone(&self.clock), "test");
        Catalog::open(Arc::clone(&self.sound_store), "catalog", options).await.unwrap()
    }

    pub async fn state(&self) -> Arc<CatalogState> {
        self.catalog().await.state()
    }

    pub async fn start(&self, name: &str) -> Running {
        self.start_with(name, self.section.clone()).await
    }

    pub async fn start_with(&self, name: &str, section: IndexerSection) -> Running {
        let mut options = CatalogOptions::new(Arc::clone(&self.clock), name);
        options.request_timeout = Duration::from_secs(5);
        options.snapshot_every = self.snapshot_every;
        let catalog = until("catalog opened", async || {
            let store = Arc::clone(&self.store);
            Catalog::open(store, "catalog", options.clone()).await.ok()
        })
        .await;
        let readiness = Readiness::new();
        let deps = Deps {
            queue: Queue::from(self.memory.clone()),
            store: Arc::clone(&self.store),
            catalog,
            clock: Arc::clone(&self.clock),
            readiness: readiness.clone(),
            listen_url: format!("http://{name}"),
            drain: self.drain,
        };
        let indexer = Indexer::new(section, deps).unwrap();
        let router = indexer.router();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(indexer.run(stop.clone()));
        Running { router, stop, readiness, tasks }
    }

    /// What must be found: the rows in the queue without those taken before.
    pub fn expected(&self) -> Vec<Row> {
        (0..self.partitions).flat_map(|partition| self.expected_of(partition)).collect()
    }

    fn expected_of(&self, partition: i32) -> Vec<Row> {
        let mut highs: BTreeMap<u8, u64> = BTreeMap::new();
        let mut rows = Vec::new();
        for (_, message) in self.memory.messages(&logs(partition)) {
            let pairs = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
            let logs = BatchHeaders::from_pairs(pairs).is_ok_and(|h| h.kind == BatchKind::Logs);
            let batch = LogBatch::decode(&message.payload, &Limits::default());
            let (true, Ok(batch)) = (logs, batch) else { continue };
            for row in rows_of(&batch) {
                if let Some((source, offset)) = row.source {
                    if highs.get(&source).is_some_and(|high| offset <= *high) {
                        continue;
                    }
                    highs.insert(source, offset);
                }
                rows.push(row);
            }
        }
        rows
    }

    /// The rows of every published segment, each partition's in the order they were published.
    ///
    /// A stream's partition is its number modulo the partitions there are.
    pub async fn published(&self, state: &CatalogState) -> Vec<Row> {
        let mut rows = Vec::new();
        for meta in state.segments.values().filter(|meta| meta.kind == SegmentKind::Logs) {
            let found = segment_rows(&self.sound_store, meta).await;
            assert_eq!(found.len() as u64, meta.rows);
            for row in found {
                let partition = i32::from(row.stream) % self.partitions;
                let range = meta.ranges.iter().find(|range| range.partition == partition);
                rows.push((range.expect("a range for every row").from, row));
            }
        }
        rows.sort_by_key(|(from, _)| *from);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// Names of the segment objects that no commit names.
    pub async fn orphans(&self) -> BTreeSet<String> {
        let state = self.state().await;
        let named: BTreeSet<&str> =
            state.segments.values().map(|meta| meta.path.as_str()).collect();
        let root = object_store::path::Path::from("segments");
        let objects: Vec<_> = self.sound_store.list(Some(&root)).try_collect().await.unwrap();
        let names = objects.into_iter().map(|object| object.location.to_string());
        names.filter(|name| !named.contains(name.as_str())).collect()
    }

    /// Asserts that nothing is wrong with the catalog, and with the objects it names.
    pub async fn assert_sound_catalog(&self) {
        let options = CatalogOptions::new(Arc::clone(&self.clock), "test");
        let audit = doctor::audit(&self.sound_store, "catalog", &options).await.unwrap();
        assert!(audit.findings.is_empty(), "{:?}", audit.findings);
    }

    /// Waits until the partition is published up to `offset`.
    pub async fn until_published(&self, partition: i32, offset: i64) -> Arc<CatalogState> {
        let catalog = self.catalog().await;
        until("published", async || {
            let state = catalog.refresh().await.unwrap();
            let published = state.partition(Topic::LOGS, partition).map_or(0, |p| p.published);
            (offset <= published).then_some(state)
        })
        .await
    }
}

/// Every row of a logs segment, in the order a reader gets them.
pub async fn segment_rows(store: &Arc<dyn ObjectStore>, meta: &SegmentMeta) -> Vec<Row> {
    let segment = LogSegment::open(Arc::clone(store), meta).await.unwrap();
    let plan = LogPlan::all(meta.tenant.clone(), i64::MIN, i64::MAX, Vec::new());
    let plan = Arc::new(CompiledPlan::new(&plan).unwrap());
    let budget = Arc::new(ScanBudget::unlimited());
    let (batches, _) = segment.scan(&plan, &budget, None).collect().await.unwrap();
    batches.iter().flat_map(rows_of).collect()
}

/// Polls `probe` until it gives something; fails after a while that no sound run needs.
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..10_000 {
        if let Some(found) = probe().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

/// Rows in the order a reader sees them: by stream and time, equal ones as they came.
pub fn by_stream(rows: impl IntoIterator<Item = Row>) -> Vec<Row> {
    // Segments do not keep sources: positions are the catalog's.
    let mut rows: Vec<Row> = rows.into_iter().map(|row| Row { source: None, ..row }).collect();
    rows.sort_by_key(|row| (row.stream, row.time));
    rows
}

/// Asserts that the published rows are exactly those the queue holds, in order.
pub async fn assert_all_published(rig: &Rig) {
    let state = rig.state().await;
    for partition in 0..rig.partitions {
        let high =
            rig.memory.messages(&logs(partition)).last().map_or(0, |(last, _)| last.next().0);
        let published = state.partition(Topic::LOGS, partition).map_or(0, |p| p.published);
        assert_eq!(published, high, "partition {partition}");
    }
    let expected = by_stream(rig.expected());
    let found = by_stream(rig.published(&state).await);
    assert_eq!(found, expected);
}

/// Sends rows of two streams to two partitions, each batch twice, in two time windows.
pub async fn send_some(rig: &Rig, round: u8) {
    const WINDOW_NS: i64 = 3_600_000_000_000;
    for number in 0_u8..6 {
        let partition = number % 2;
        let offset = u64::from(round) * 100 + u64::from(number);
        let rows: Vec<Row> = (0..3)
            .map(|part| {
                let line = format!("round {round} line {number}.{part}");
                let time = i64::from(number) + WINDOW_NS * (part % 2) as i64;
                row(partition, time, &line, Some((partition, offset * 10 + part)))
            })
            .collect();
        rig.send(&logs(i32::from(partition)), message(&rows)).await;
        rig.send(&logs(i32::from(partition)), message(&rows)).await;
    }
}

/// An indexer at work.
pub struct Running {
    pub router: Router,
    pub stop: CancellationToken,
    pub readiness: Readiness,
    tasks: JoinSet<Result<(), IndexerError>>,
}

impl Running {
    /// Stops it in order.
    pub async fn stop(mut self) -> Result<(), IndexerError> {
        self.stop.cancel();
        self.ended().await
    }

    /// Waits for it to end by itself.
    pub async fn ended(&mut self) -> Result<(), IndexerError> {
        self.tasks.join_next().await.unwrap().unwrap()
    }

    pub fn has_ended(&mut self) -> Option<Result<(), IndexerError>> {
        self.tasks.try_join_next().map(|ended| ended.unwrap())
    }

    /// Kills it where it stands.
    pub async fn crash(mut self) {
        self.tasks.shutdown().await;
    }

    pub async fn ask<P: Serialize>(&self, path: &str, ask: &Ask<P>) -> Answer {
        ask_of(self.router.clone(), path, ask).await
    }

    /// Recent log rows of the default tenant at and beyond what `state` has published.
    pub async fn recent(&self, state: &CatalogState) -> Result<(Vec<Row>, ScanStats), StatusCode> {
        let pins = pins(state);
        self.recent_at(pins).await
    }

    pub async fn recent_at(&self, pinned: Vec<Pin>) -> Result<(Vec<Row>, ScanStats), StatusCode> {
        let plan = LogPlan::all(TenantId::default(), i64::MIN, i64::MAX, Vec::new());
        let answer = self.ask(LOGS_SCAN, &Ask { pinned, plan }).await;
        if answer.status != StatusCode::OK {
            return Err(answer.status);
        }
        let mut rows = Vec::new();
        for payload in split_frames(answer.body, u32::MAX).unwrap() {
            rows.extend(rows_of(&LogBatch::decode(&payload, &Limits::default()).unwrap()));
        }
        Ok((rows, answer.stats.unwrap()))
    }
}

pub fn pin(partition: i32, offset: i64) -> Pin {
    Pin { topic: Topic::LOGS.to_owned(), partition, offset }
}

/// Pins of every logs partition in `state`.
pub fn pins(state: &CatalogState) -> Vec<Pin> {
    let logs = state.partitions.iter().filter(|((topic, _), _)| topic == Topic::LOGS);
    logs.map(|((_, partition), known)| pin(*partition, known.published)).collect()
}

pub struct Answer {
    pub status: StatusCode,
    pub stats: Option<ScanStats>,
    pub body: Bytes,
}

impl Answer {
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub fn ask_of<P: Serialize>(
    router: Router,
    path: &str,
    ask: &Ask<P>,
) -> impl Future<Output = Answer> + use<P> {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(serde_json::to_vec(ask).unwrap()))
        .unwrap();
    async move {
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let stats = response.headers().get(STATS_HEADER);
        let stats = stats.map(|text| serde_json::from_slice(text.as_bytes()).unwrap());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, stats, body }
    }
}
