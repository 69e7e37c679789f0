//! The questions that a logs store is judged by, asked of one query process over real log lines.
//!
//! ```sh
//! MILLRACE_LOGHUB=<folder of .log files> cargo bench -p query --bench logs
//! ```
//!
//! `MILLRACE_BENCH_BYTES` says how many bytes of lines there are (default 250 MB). They lie in
//! segments of [`SEGMENT_BYTES`] in a local folder, each of a time window of its own, as an indexer
//! cuts them. Every question is asked once cold (nothing opened yet), then [`ROUNDS`] times warm.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark talks to a person and may panic"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use fastrand::Rng;
use http_body_util::BodyExt;
use object_store::{ObjectStore, ObjectStoreExt};
use query::{Deps, Query, QuerySection};
use record::{DETECTED_LEVEL, Labels, LogBatchBuilder, TenantId, TimestampNanos};
use runtime::clock::SystemClock;
use segment::catalog::{Catalog, CatalogOptions, Op, PREFIX};
use segment::logs::{BuildOptions, LogSegmentBuilder};
use segment::store::{LocalSection, StoreSection};
use segment::{SegmentId, SegmentKind, SegmentMeta};
use tower::ServiceExt;

/// Raw bytes of one segment.
const SEGMENT_BYTES: u64 = 100_000_000;

/// Times a question is asked warm.
const ROUNDS: usize = 15;

/// Streams of each source.
const PODS: usize = 8;

const START_NS: i64 = 1_700_000_000_000_000_000;
const SPAN_NS: i64 = 6 * 3_600 * 1_000_000_000;

/// Stands in one line, in the middle of the corpus.
const TRACE: &str = "7d5d3fb0e15a4a8c9f2b60c4d1e83a97";

struct Source {
    name: String,
    lines: Vec<String>,
}

fn sources() -> Vec<Source> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/loghub");
    let folder = std::env::var_os("MILLRACE_LOGHUB").map_or(beside.into(), PathBuf::from);
    let mut sources: Vec<Source> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("read {}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| {
            let text = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&text);
            let name = path.file_stem().unwrap().to_string_lossy().to_lowercase();
            Source { name, lines: text.lines().map(str::to_owned).collect() }
        })
        .collect();
    sources.sort_by(|left, right| left.name.cmp(&right.name));
    sources
}

fn varied(line: &str, rng: &mut Rng) -> String {
    line.chars().map(|c| if c.is_ascii_digit() { rng.digit(10) } else { c }).collect()
}

fn level_of(line: &str) -> &'static str {
    for (mark, level) in [
        ("ERROR", "error"),
        ("error", "error"),
        ("WARN", "warn"),
        ("INFO", "info"),
        ("DEBUG", "debug"),
    ] {
        if line.contains(mark) {
            return level;
        }
    }
    "unknown"
}

/// Fills the store, and says how many rows and bytes there are: raw and stored.
async fn fill(catalog: &Catalog, store: &Arc<dyn ObjectStore>, bytes: u64) -> (u64, u64, u64) {
    let sources = sources();
    let line_bytes: usize = sources.iter().flat_map(|s| &s.lines).map(String::len).sum();
    let lines: usize = sources.iter().map(|source| source.lines.len()).sum();
    let rows_all = bytes * lines as u64 / line_bytes as u64;
    let pods: Vec<Vec<Labels>> = sources
        .iter()
        .map(|source| {
            let labels = |pod| {
                let pod = format!("{}-{pod}", source.name);
                Labels::from_pairs([("namespace", source.name.as_str()), ("pod", pod.as_str())])
            };
            (0..PODS).map(labels).collect()
        })
        .collect();
    let mut rng = Rng::with_seed(1);
    let (mut rows, mut raw, mut stored, mut segments) = (0_u64, 0_u64, 0_u64, 0_i64);
    while raw < bytes {
        let mut builder = LogSegmentBuilder::new(BuildOptions::default());
        let mut in_segment = 0_u64;
        while in_segment < SEGMENT_BYTES && raw + in_segment < bytes {
            let mut batch = LogBatchBuilder::new();
            for _ in 0..20_000 {
                let which = rng.usize(..sources.len());
                let source = &sources[which];
                let mut line = varied(&source.lines[rng.usize(..source.lines.len())], &mut rng);
                if rows == rows_all / 2 {
                    line.push_str(&format!(" trace_id={TRACE}"));
                }
                let time = START_NS + (rows as f64 / rows_all as f64 * SPAN_NS as f64) as i64;
                let time = TimestampNanos(time + rng.i64(0..1_000_000));
                let stream = &pods[which][rng.usize(..PODS)];
                batch.push(time, stream, &line, &[(DETECTED_LEVEL, level_of(&line))], None);
                in_segment += line.len() as u64;
                rows += 1;
            }
            builder.push_batch(&batch.finish(), None).unwrap();
        }
        raw += in_segment;
        segments += 1;
        let built = builder.finish().unwrap();
        stored += built.bytes.len() as u64;
        let id = SegmentId::generate(segments * 1_000_000_000);
        let tenant = TenantId::default();
        let meta = SegmentMeta {
            id,
            kind: SegmentKind::Logs,
            path: SegmentMeta::object_path(SegmentKind::Logs, &tenant, id, built.time_min),
            tenant,
            bytes: built.bytes.len() as u64,
            raw_bytes: built.raw_bytes,
            rows: built.rows,
            time_min_ns: built.time_min,
            time_max_ns: built.time_max,
            ranges: Vec::new(),
            created_ms: segments,
            footer_bytes: built.footer_bytes,
            level: 0,
            class: String::new(),
        };
        store.put(&meta.location(), built.bytes.clone().into()).await.unwrap();
        catalog.commit(vec![Op::AddSegments { segments: vec![meta] }]).await.unwrap();
    }
    (rows, raw, stored)
}

/// CPU time of this process so far, in milliseconds.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks * 10.0
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn ask(router: &Router, path: &str) -> serde_json::Value {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(status.is_success(), "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

struct Question {
    name: &'static str,
    logql: String,
    /// Most entries, for those that ask for lines.
    limit: usize,
    /// Whether every line has to be read.
    reads_lines: bool,
}

fn questions() -> Vec<Question> {
    let all = r#"{namespace=~".+"}"#;
    let lines = |name, filter: &str, limit| Question {
        name,
        logql: format!("{all} {filter}"),
        limit,
        reads_lines: false,
    };
    let counts = |name, by: &str, filter: &str, reads_lines| Question {
        name,
        logql: format!("sum{by}(count_over_time({all} {filter} [1m]))"),
        limit: 100,
        reads_lines,
    };
    vec![
        counts("word histogram", "", r#"|= "error""#, false),
        counts("level histogram", " by (detected_level) ", "", false),
        counts("namespace histogram", " by (namespace) ", "", false),
        counts("levels of a word", " by (detected_level) ", r#"|= "user""#, false),
        lines("unique trace id", &format!(r#"|= "{TRACE}""#), 100),
        lines("absent trace id", r#"|= "0badcafe0badcafe0badcafe0badcafe""#, 100),
        lines("newest 100 of a word", r#"|= "error""#, 100),
        lines("newest 100", "", 100),
        lines("absent word", r#"|= " zebra ""#, 100),
        lines("absent substring", r#"|= "zqxjk""#, 100),
        counts("substring of lines", "", r#"|= "1:2""#, true),
        counts("negated substring", "", r#"!= "1:2""#, true),
        counts("regex of lines", "", r#"|~ "[0-9]+7:[0-9]9""#, true),
        counts("regex, two words", "", r#"|~ "(?i)failed.*[0-9]+\\.22""#, true),
    ]
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let bytes = std::env::var("MILLRACE_BENCH_BYTES").map_or(250_000_000, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let section = StoreSection::Local(LocalSection { path: "store".into() });
    let store = segment::store::open(&section, folder.path()).unwrap();
    let clock = SystemClock::shared();
    let options = CatalogOptions::new(Arc::clone(&clock), "bench");
    let catalog = Catalog::open(Arc::clone(&store), PREFIX, options).await.unwrap();
    let started = Instant::now();
    let (rows, raw, stored) = fill(&catalog, &store, bytes).await;
    println!(
        "{rows} rows, {:.1} MB raw, {:.1} MB stored, built in {:.1} s",
        raw as f64 / 1e6,
        stored as f64 / 1e6,
        started.elapsed().as_secs_f64()
    );
    println!(
        "{:<22}{:>10}{:>10}{:>10}{:>10}{:>12}{:>14}{:>10}",
        "question",
        "cold ms",
        "p50 ms",
        "p95 ms",
        "cpu ms",
        "read bytes",
        "raw MB/s core",
        "results"
    );
    let section = QuerySection { catalog_refresh_ms: 60_000, ..QuerySection::default() };
    for question in questions() {
        if only.as_ref().is_some_and(|only| !question.name.contains(only.as_str())) {
            continue;
        }
        let deps =
            Deps { catalog: catalog.clone(), store: Arc::clone(&store), clock: Arc::clone(&clock) };
        let router = Query::new(section.clone(), deps).unwrap().router();
        let path = format!(
            "/loki/api/v1/query_range?query={}&start={START_NS}&end={}&step=60&limit={}",
            encoded(&question.logql),
            START_NS + SPAN_NS,
            question.limit,
        );
        let started = Instant::now();
        let first = ask(&router, &path).await;
        let cold = started.elapsed().as_secs_f64() * 1e3;
        let mut took = Vec::new();
        let cpu_before = cpu_ms();
        for _ in 0..ROUNDS {
            let started = Instant::now();
            ask(&router, &path).await;
            took.push(started.elapsed().as_secs_f64() * 1e3);
        }
        let cpu = (cpu_ms() - cpu_before) / ROUNDS as f64;
        took.sort_by(f64::total_cmp);
        let explained = ask(&router, &format!("{path}&explain=1")).await;
        let read = explained["data"]["explain"]["bytes_read"].as_u64().unwrap_or(0);
        let speed = if question.reads_lines { raw as f64 / 1e3 / cpu.max(0.001) } else { 0.0 };
        println!(
            "{:<22}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>12}{:>14.0}{:>10}",
            question.name,
            cold,
            took[took.len() / 2],
            took[took.len() * 95 / 100],
            cpu,
            read,
            speed,
            results(&first)
        );
    }
}

/// Entries, or the sum of all points.
fn results(answer: &serde_json::Value) -> f64 {
    let series = answer["data"]["result"].as_array().unwrap();
    let values = series.iter().flat_map(|series| series["values"].as_array().unwrap());
    if answer["data"]["resultType"] == "streams" {
        return values.count() as f64;
    }
    values.filter_map(|point| point[1].as_str()?.parse::<f64>().ok()).sum()
}
