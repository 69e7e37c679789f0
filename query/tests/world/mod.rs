//! A query role over an in-memory store, with an indexer that is only as real as its answers.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a failed test may panic, its server ends with it, and no test uses all of it"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http_body_util::BodyExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use query::{Deps, Query, QuerySection};
use record::{
    Labels, LogBatch, LogBatchBuilder, SampleBatchBuilder, TenantId, TimestampMillis,
    TimestampNanos,
};
use runtime::clock::{SharedClock, SystemClock};
use runtime::http::{HttpSection, bind, serve};
use segment::catalog::{Catalog, CatalogOptions, Op, PREFIX};
use segment::logs::plan::{CompiledPlan, LogPlan};
use segment::logs::{BuildOptions, LogSegmentBuilder, VolumeRow, WidenedFrames};
use segment::recent::{
    Ask, LOGS_SCAN, LOGS_STREAMS, LOGS_VOLUME, PartitionName, SAMPLES_SCAN, SAMPLES_SERIES,
    STATS_HEADER, ScanStats, StreamPlan, end_frame, frame,
};
use segment::samples::{Head, SamplePlan, SampleSegmentBuilder, SeriesData};
use segment::{SegmentId, SegmentKind, SegmentMeta};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const LOGS: &str = "millrace.logs";
pub(crate) const SAMPLES: &str = "millrace.samples";

/// A log line to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) time_ns: i64,
    pub(crate) stream: Labels,
    pub(crate) line: String,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Row {
    pub(crate) fn new(seconds: i64, stream: &str, line: &str, attributes: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            time_ns: seconds * SECOND,
            stream: Labels::parse(stream).unwrap(),
            line: line.to_owned(),
            attributes: attributes.iter().map(owned).collect(),
        }
    }
}

pub(crate) fn batch_of(rows: &[Row]) -> LogBatch {
    let mut builder = LogBatchBuilder::new();
    for row in rows {
        let time = TimestampNanos(row.time_ns);
        builder.push(time, &row.stream, &row.line, &row.attributes, None);
    }
    builder.finish()
}

/// An answer of the API, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The warnings of a query answer, joined.
    pub(crate) fn warnings(&self) -> String {
        let json = self.json();
        let all = json["warnings"].as_array().cloned().unwrap_or_default();
        let texts: Vec<&str> = all.iter().filter_map(|warning| warning.as_str()).collect();
        texts.join("\n")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What the indexer holds, and how it behaves.
#[derive(Debug, Default)]
pub(crate) struct FakeIndexer {
    held: Mutex<Vec<(i64, LogBatch)>>,
    head: Mutex<Head>,
    /// So many answers are "plan again".
    pub(crate) plan_again: AtomicUsize,
    /// Requests answered so far.
    pub(crate) asked: AtomicUsize,
    pub(crate) catching_up: Mutex<bool>,
    pub(crate) broken: Mutex<bool>,
}

pub(crate) struct World {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) catalog: Catalog,
    pub(crate) indexer: Arc<FakeIndexer>,
    pub(crate) router: Router,
    pub(crate) clock: SharedClock,
    published: i64,
    next_offset: i64,
    built: i64,
    /// Segments are built after each other, as in an indexer.
    frames: WidenedFrames,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(QuerySection { catalog_refresh_ms: 0, ..QuerySection::default() }).await
    }

    pub(crate) async fn with(section: QuerySection) -> Self {
        let indexer = Arc::new(FakeIndexer::default());
        let stop = CancellationToken::new();
        let listener = bind("127.0.0.1:0").await.unwrap();
        let owner = format!("http://{}", listener.local_addr().unwrap());
        let app = routes(Arc::clone(&indexer));
        tokio::task::spawn(serve(listener, app, HttpSection::default(), stop.clone()));
        Self::owned_by(section, &owner, indexer, stop).await
    }

    /// A world whose partitions belong to whoever listens at `owner`.
    pub(crate) async fn owned_by(
        section: QuerySection,
        owner: &str,
        indexer: Arc<FakeIndexer>,
        stop: CancellationToken,
    ) -> Self {
        let clock: SharedClock = SystemClock::shared();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let options = CatalogOptions::new(Arc::clone(&clock), "test");
        let catalog = Catalog::open(Arc::clone(&store), PREFIX, options).await.unwrap();
        let acquire = |topic: &str| Op::Acquire {
            topic: topic.to_owned(),
            partition: 0,
            owner: owner.to_owned(),
        };
        catalog.commit(vec![acquire(LOGS), acquire(SAMPLES)]).await.unwrap();
        let deps =
            Deps { catalog: catalog.clone(), store: Arc::clone(&store), clock: Arc::clone(&clock) };
        let router = Query::new(section, deps).unwrap().router();
        let (published, next_offset, built) = (0, 0, 0);
        let frames = WidenedFrames::default();
        Self { store, catalog, indexer, router, clock, published, next_offset, built, frames, stop }
    }

    /// Publishes rows as one segment.
    pub(crate) async fn publish(&mut self, rows: &[Row]) -> SegmentMeta {
        self.publish_for(&TenantId::default(), rows).await
    }

    pub(crate) async fn publish_for(&mut self, tenant: &TenantId, rows: &[Row]) -> SegmentMeta {
        self.publish_with(tenant, rows, BuildOptions::default()).await
    }

    /// Publishes rows as one segment with granules of this many rows, and as many patterns before
    /// words are kept apart.
    pub(crate) async fn publish_in_granules(&mut self, rows: &[Row], granule_rows: usize) {
        let options =
            BuildOptions { granule_rows, patterns_free: granule_rows, ..BuildOptions::default() };
        self.publish_with(&TenantId::default(), rows, options).await;
    }

    async fn publish_with(
        &mut self,
        tenant: &TenantId,
        rows: &[Row],
        options: BuildOptions,
    ) -> SegmentMeta {
        let mut builder = LogSegmentBuilder::new(options).with_frames(&self.frames);
        builder.push_batch(&batch_of(rows), None).unwrap();
        let built = builder.finish().unwrap();
        self.built += 1;
        let id = SegmentId::generate(self.built * SECOND);
        let meta = SegmentMeta {
            id,
            kind: SegmentKind::Logs,
            tenant: tenant.clone(),
            path: SegmentMeta::object_path(SegmentKind::Logs, tenant, id, built.time_min),
            bytes: built.bytes.len() as u64,
            raw_bytes: built.raw_bytes,
            rows: built.rows,
            time_min_ns: built.time_min,
            time_max_ns: built.time_max,
            ranges: Vec::new(),
            created_ms: self.built,
            footer_bytes: built.footer_bytes,
            level: 0,
            class: String::new(),
        };
        self.store.put(&meta.location(), built.bytes.clone().into()).await.unwrap();
        let to = self.next_offset.max(self.published + 1);
        let advance = Op::Advance {
            topic: LOGS.to_owned(),
            partition: 0,
            epoch: 1,
            from: self.published,
            to,
            sources: Vec::new(),
        };
        let add = Op::AddSegments { segments: vec![meta.clone()] };
        self.catalog.commit(vec![add, advance]).await.unwrap();
        (self.published, self.next_offset) = (to, to);
        meta
    }

    /// Gives rows to the indexer.
    pub(crate) fn hold(&mut self, rows: &[Row]) {
        let held = (self.next_offset, batch_of(rows));
        self.indexer.held.lock().unwrap().push(held);
        self.next_offset += 1;
    }

    /// Publishes samples of one series as a segment.
    pub(crate) async fn publish_samples(&mut self, labels: &Labels, samples: &[(i64, f64)]) {
        let mut head = Head::new();
        head.insert(&series(labels, samples));
        let built = SampleSegmentBuilder::of(head).finish().unwrap();
        self.built += 1;
        let id = SegmentId::generate(self.built * SECOND);
        let meta = built.meta(id, TenantId::default(), Vec::new(), self.built);
        self.store.put(&meta.location(), built.bytes.clone().into()).await.unwrap();
        self.catalog.commit(vec![Op::AddSegments { segments: vec![meta] }]).await.unwrap();
    }

    pub(crate) fn hold_samples(&mut self, labels: &Labels, samples: &[(i64, f64)]) {
        self.indexer.head.lock().unwrap().insert(&series(labels, samples));
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post_form(&self, path: &str, form: &str) -> Answer {
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()));
        self.send(request.unwrap()).await
    }

    /// A second query role on the same store, started now.
    pub(crate) async fn another_query(&self) -> Router {
        let options = CatalogOptions::new(Arc::clone(&self.clock), "test");
        let opened = Catalog::open_to_read(Arc::clone(&self.store), PREFIX, options).await;
        let (catalog, _stopped) = opened.unwrap();
        let section = QuerySection { catalog_refresh_ms: 0, ..QuerySection::default() };
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Query::new(section, Deps { catalog, store, clock }).unwrap().router()
    }

    pub(crate) async fn get_from(&self, router: &Router, path: &str) -> Answer {
        answer_of(router, Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        answer_of(&self.router, request).await
    }
}

async fn answer_of(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

fn series(labels: &Labels, samples: &[(i64, f64)]) -> SeriesData {
    let (times, values) = samples.iter().copied().unzip();
    SeriesData { labels: labels.clone(), times, values }
}

/// Percent-encodes a parameter's value.
pub(crate) fn encoded(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn routes(indexer: Arc<FakeIndexer>) -> Router {
    Router::new()
        .route(LOGS_SCAN, post(logs_scan))
        .route(LOGS_STREAMS, post(logs_streams))
        .route(LOGS_VOLUME, post(logs_volume))
        .route(SAMPLES_SCAN, post(samples_scan))
        .route(SAMPLES_SERIES, post(samples_series))
        .with_state(indexer)
}

impl FakeIndexer {
    /// What stands between a request and its answer, if anything.
    fn obstacle(&self) -> Option<Response> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if *self.broken.lock().unwrap() {
            return Some((StatusCode::INTERNAL_SERVER_ERROR, "broken").into_response());
        }
        let before = self.plan_again.load(Ordering::Relaxed);
        if before != 0 {
            self.plan_again.store(before - 1, Ordering::Relaxed);
            return Some((StatusCode::CONFLICT, "plan again").into_response());
        }
        None
    }

    fn stats(&self) -> String {
        let mut stats = ScanStats::default();
        if *self.catching_up.lock().unwrap() {
            stats.catching_up.push(PartitionName { topic: LOGS.to_owned(), partition: 0 });
        }
        serde_json::to_string(&stats).unwrap()
    }

    fn since(&self, offset: i64) -> Vec<LogBatch> {
        let held = self.held.lock().unwrap();
        held.iter().filter(|(at, _)| offset <= *at).map(|(_, batch)| batch.clone()).collect()
    }

    fn rows(&self, ask: &Ask<StreamPlan>) -> Vec<(Labels, i64, String, u64)> {
        let plan = &ask.plan;
        let mut found = Vec::new();
        for batch in self.since(ask.pinned[0].offset) {
            for row in 0..batch.len() {
                let (stream, time) = (batch.stream(row), batch.times()[row]);
                let inside = plan.start_ns <= time && time < plan.end_ns;
                if inside && plan.matchers.iter().all(|matcher| matcher.matches_labels(stream)) {
                    let level = batch.attributes(row).find(|(name, _)| *name == "detected_level");
                    let level = level.map_or("", |(_, level)| level).to_owned();
                    found.push((stream.clone(), time, level, batch.line(row).len() as u64));
                }
            }
        }
        found
    }
}

async fn logs_scan(
    State(indexer): State<Arc<FakeIndexer>>,
    Json(ask): Json<Ask<LogPlan>>,
) -> Response {
    if let Some(obstacle) = indexer.obstacle() {
        return obstacle;
    }
    let plan = CompiledPlan::new(&ask.plan).unwrap();
    let mut body = Vec::new();
    for batch in indexer.since(ask.pinned[0].offset) {
        let kept = batch.filter(&plan.select(&batch));
        if !kept.is_empty() {
            body.extend_from_slice(&frame(&kept.encode().unwrap()).unwrap());
        }
    }
    body.extend_from_slice(&end_frame());
    ([(STATS_HEADER, indexer.stats())], Bytes::from(body)).into_response()
}

async fn logs_streams(
    State(indexer): State<Arc<FakeIndexer>>,
    Json(ask): Json<Ask<StreamPlan>>,
) -> Response {
    if let Some(obstacle) = indexer.obstacle() {
        return obstacle;
    }
    let streams: Vec<Labels> = indexer.rows(&ask).into_iter().map(|row| row.0).collect();
    ([(STATS_HEADER, indexer.stats())], Json(streams)).into_response()
}

async fn logs_volume(
    State(indexer): State<Arc<FakeIndexer>>,
    Json(ask): Json<Ask<StreamPlan>>,
) -> Response {
    if let Some(obstacle) = indexer.obstacle() {
        return obstacle;
    }
    let minute = 60 * SECOND;
    let row = |(stream, time, level, bytes): (Labels, i64, String, u64)| VolumeRow {
        stream,
        level,
        minute_ns: time.div_euclid(minute) * minute,
        lines: 1,
        bytes,
    };
    let rows: Vec<VolumeRow> = indexer.rows(&ask).into_iter().map(row).collect();
    ([(STATS_HEADER, indexer.stats())], Json(rows)).into_response()
}

async fn samples_scan(
    State(indexer): State<Arc<FakeIndexer>>,
    Json(ask): Json<Ask<SamplePlan>>,
) -> Response {
    if let Some(obstacle) = indexer.obstacle() {
        return obstacle;
    }
    let mut builder = SampleBatchBuilder::new();
    for series in indexer.head.lock().unwrap().scan(&ask.plan) {
        for (time, value) in series.times.iter().zip(&series.values) {
            builder.push(TimestampMillis(*time), &series.labels, *value);
        }
    }
    let mut body = Vec::new();
    if !builder.is_empty() {
        body.extend_from_slice(&frame(&builder.finish().encode().unwrap()).unwrap());
    }
    body.extend_from_slice(&end_frame());
    ([(STATS_HEADER, indexer.stats())], Bytes::from(body)).into_response()
}

async fn samples_series(
    State(indexer): State<Arc<FakeIndexer>>,
    Json(ask): Json<Ask<SamplePlan>>,
) -> Response {
    if let Some(obstacle) = indexer.obstacle() {
        return obstacle;
    }
    let plan = &ask.plan;
    let head = indexer.head.lock().unwrap();
    Json(head.series(&plan.matchers, plan.start_ms, plan.end_ms)).into_response()
}
