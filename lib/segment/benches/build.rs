//! How fast logs segments are built, how large they are, and how fast their lines are searched.
//!
//! `cargo bench -p segment --bench build -- --raw-mb 256 --segment-mb 64 --layout fresh`
//!
//! Lines are those of the log files in `MILLRACE_LOGHUB` (else `../shared/data/loghub` beside the
//! repository, else a few shapes of our own), their digits varied from the second round on.
//! Times are CPU seconds of the one thread that works, so other load on the machine does not count.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may panic and prints")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use record::{Labels, LogBatch, LogBatchBuilder, TenantId, TimestampNanos};
use segment::logs::{
    BuildOptions, BuiltSegment, CompiledPlan, LineFilter, LineFilterOp, LogPlan, LogSegment,
    LogSegmentBuilder, ScanBudget,
};
use segment::{SegmentId, SegmentKind, SegmentMeta};

const BATCH_ROWS: usize = 2_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let number = |name: &str, default: u64| value(name).map_or(default, |v| v.parse().unwrap());
    let raw_bytes = number("--raw-mb", 128) * 1_000_000;
    let segment_bytes = number("--segment-mb", 64) * 1_000_000;
    let options = options(value("--layout").map_or("fresh", String::as_str));
    let mut corpus = Corpus::load(number("--seed", 1));
    println!("{} sources of {}, {options:?}", corpus.sources.len(), corpus.origin);
    let mut totals = Totals::default();
    while totals.raw_bytes < raw_bytes {
        let batches = corpus.batches(segment_bytes.min(raw_bytes));
        let (held, started) = (memory_bytes("VmRSS:"), cpu_seconds());
        let built = build(&batches, options);
        totals.add(&built, cpu_seconds() - started);
        totals.peak_bytes.get_or_insert(memory_bytes("VmHWM:").saturating_sub(held));
        totals.last = Some(built);
    }
    totals.print();
    if let Some(built) = totals.last {
        search(&built);
    }
}

fn options(layout: &str) -> BuildOptions {
    match layout {
        "fresh" => BuildOptions::fresh(),
        "merged" => BuildOptions::merged(),
        other => panic!("there is no layout `{other}`"),
    }
}

fn build(batches: &[LogBatch], options: BuildOptions) -> BuiltSegment {
    let mut builder = LogSegmentBuilder::new(options);
    for batch in batches {
        builder.push_batch(batch, None).unwrap();
    }
    builder.finish().unwrap()
}

#[derive(Default)]
struct Totals {
    segments: u64,
    rows: u64,
    raw_bytes: u64,
    stored_bytes: u64,
    tokens: u64,
    footer_bytes: u64,
    cpu_seconds: f64,
    /// What the first build took at most beside the rows.
    peak_bytes: Option<u64>,
    sections: BTreeMap<String, u64>,
    last: Option<BuiltSegment>,
}

impl Totals {
    fn add(&mut self, built: &BuiltSegment, cpu_seconds: f64) {
        self.segments += 1;
        self.rows += built.rows;
        self.raw_bytes += built.raw_bytes;
        self.stored_bytes += built.bytes.len() as u64;
        self.tokens += built.stats.tokens;
        self.footer_bytes += built.footer_bytes;
        self.cpu_seconds += cpu_seconds;
        for (name, bytes) in &built.stats.sections {
            *self.sections.entry(format!("section {name}")).or_default() += bytes;
        }
        for (name, bytes) in &built.stats.columns {
            *self.sections.entry(format!("  column {name}")).or_default() += bytes;
        }
    }

    fn print(&self) {
        let raw = self.raw_bytes as f64;
        println!(
            "{} segments, {} rows, {:.1} MB raw, {:.1} raw MB per CPU second, {:.1} MB beside the rows of one",
            self.segments,
            self.rows,
            raw / 1e6,
            raw / 1e6 / self.cpu_seconds,
            self.peak_bytes.unwrap_or(0) as f64 / 1e6,
        );
        println!(
            "stored {} bytes, {:.4} of raw; {} bytes of footer a segment; {:.2} tokens a row, {:.2} bytes each",
            self.stored_bytes,
            self.stored_bytes as f64 / raw,
            self.footer_bytes / self.segments,
            self.tokens as f64 / self.rows as f64,
            self.sections["section tokens"] as f64 / self.tokens as f64,
        );
        for (name, bytes) in &self.sections {
            let of_raw = *bytes as f64 / raw;
            let a_row = *bytes as f64 / self.rows as f64;
            println!("{name:28} {bytes:>12} bytes  {of_raw:.5} of raw  {a_row:.3} a row");
        }
    }
}

/// Searches one segment for what only its lines can tell.
fn search(built: &BuiltSegment) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let meta = SegmentMeta {
        id: SegmentId::from_bits(7),
        tenant: TenantId::default(),
        kind: SegmentKind::Logs,
        path: "bench.segment".to_owned(),
        bytes: built.bytes.len() as u64,
        footer_bytes: built.footer_bytes,
        rows: built.rows,
        raw_bytes: built.raw_bytes,
        time_min_ns: built.time_min,
        time_max_ns: built.time_max,
        created_ms: 0,
        ranges: Vec::new(),
        level: 0,
        class: String::new(),
    };
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let segment = runtime.block_on(async {
        store.put(&meta.path.as_str().into(), built.bytes.clone().into()).await.unwrap();
        LogSegment::open(Arc::clone(&store), &meta).await.unwrap()
    });
    let all = LogPlan::all(TenantId::default(), i64::MIN, i64::MAX, Vec::new());
    for (op, needle) in [
        (LineFilterOp::Contains, "error"),
        (LineFilterOp::Contains, "735142"),
        (LineFilterOp::Contains, "f735142"),
        (LineFilterOp::Regex, "[0-9]7[a-z]+351"),
    ] {
        let filter = LineFilter { op, needles: vec![needle.to_owned()] };
        let plan = LogPlan { filters: vec![filter], lines: false, ..all.clone() };
        let compiled = Arc::new(CompiledPlan::new(&plan).unwrap());
        let mut best = f64::INFINITY;
        let mut searched = 0;
        let mut matched = 0;
        for _ in 0..3 {
            let started = cpu_seconds();
            let budget = Arc::new(ScanBudget::unlimited());
            let scan = segment.scan(&compiled, &budget, None).collect();
            let (_, stats) = runtime.block_on(scan).unwrap();
            best = best.min(cpu_seconds() - started);
            (searched, matched) = (stats.lines_searched, stats.rows_matched);
        }
        println!(
            "search {op:?} {needle:18} {:8.1} ms, {:7.1} raw MB per CPU second, {searched} lines searched, {matched} matched",
            best * 1e3,
            built.raw_bytes as f64 / 1e6 / best,
        );
    }
}

/// A line of the process' status, in bytes.
fn memory_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

/// CPU time of this thread.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

struct Corpus {
    sources: Vec<(Labels, Vec<String>)>,
    origin: String,
    rng: Rng,
    times: Vec<i64>,
    row: usize,
}

impl Corpus {
    fn load(seed: u64) -> Self {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/loghub");
        let folder = std::env::var_os("MILLRACE_LOGHUB").map_or(beside, PathBuf::from);
        let mut files = Vec::new();
        if let Ok(entries) = std::fs::read_dir(&folder) {
            let paths = entries.map(|entry| entry.unwrap().path());
            for path in paths.filter(|path| path.extension().is_some_and(|e| e == "log")) {
                let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                let name = path.file_stem().unwrap().to_string_lossy().to_lowercase();
                files.push((name, text.lines().map(str::to_owned).collect::<Vec<_>>()));
            }
        }
        let origin = if files.is_empty() { "our own" } else { "loghub" };
        if files.is_empty() {
            files = built_in();
        }
        files.sort();
        let labels = |name: &str| {
            let pod = format!("{name}-0");
            Labels::from_pairs([("container", "app"), ("namespace", name), ("pod", &pod)])
        };
        let sources: Vec<_> = files.iter().map(|(name, l)| (labels(name), l.clone())).collect();
        let times = vec![1_764_000_000_000_000_000; sources.len()];
        Self { sources, origin: origin.to_owned(), rng: Rng::with_seed(seed), times, row: 0 }
    }

    fn batches(&mut self, raw_bytes: u64) -> Vec<LogBatch> {
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while bytes < raw_bytes {
            let mut builder = LogBatchBuilder::new();
            for _ in 0..BATCH_ROWS {
                bytes += self.push(&mut builder) as u64;
            }
            batches.push(builder.finish());
        }
        batches
    }

    fn push(&mut self, builder: &mut LogBatchBuilder) -> usize {
        let at = self.rng.usize(..self.sources.len());
        self.times[at] += self.rng.i64(1..2_000_000);
        let (labels, lines) = &self.sources[at];
        let mut line = lines[self.row % lines.len()].clone();
        if lines.len() <= self.row {
            let rng = &mut self.rng;
            line =
                line.chars().map(|c| if c.is_ascii_digit() { rng.digit(10) } else { c }).collect();
        }
        self.row += 1;
        let level = [("error", "rror"), ("warn", "WARN"), ("info", "INFO")];
        let found = level.iter().find(|(_, sign)| line.contains(sign)).map(|(level, _)| *level);
        let attributes = [("detected_level", found.unwrap_or("unknown"))];
        builder.push(TimestampNanos(self.times[at]), labels, &line, &attributes, None);
        line.len()
    }
}

fn built_in() -> Vec<(String, Vec<String>)> {
    let shapes = [
        ("web", "10.3.0.7 - - [25/Nov/2026:13:16:46 +0000] \"GET /item/4711 HTTP/1.1\" 200 1893"),
        ("api", "level=info msg=\"request done\" trace_id=4bf92f3577b34da6a3ce929d0e0e4736 ms=17"),
        ("dfs", "INFO dfs.DataNode: Receiving block blk_-1608999687919862906 src: /10.2.9.1:54106"),
    ];
    shapes.map(|(name, line)| (name.to_owned(), vec![line.to_owned(), String::new()])).into()
}
