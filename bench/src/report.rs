//! What `bench logs` found: one JSON object for scripts, a table for people.

use std::collections::BTreeMap;

use bench::corpus::{CorpusKind, Summary};
use bench::timing::Timing;
use serde::Serialize;

/// Everything measured; what was not asked for is absent.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) corpus: CorpusKind,
    pub(crate) seed: u64,
    pub(crate) rows: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) generated: Summary,
    #[serde(flatten)]
    pub(crate) stages: Option<Stages>,
    #[serde(flatten)]
    pub(crate) collected: Option<Collected>,
    #[serde(flatten)]
    pub(crate) indexed: Option<Indexed>,
    #[serde(flatten)]
    pub(crate) merged: Option<Merged>,
    /// Largest resident size, by role.
    pub(crate) peak_rss_bytes: BTreeMap<&'static str, u64>,
    pub(crate) queries: Vec<QueryFigures>,
}

/// Each stage alone, in this process, on one thread.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Stages {
    /// Making lines, detecting their levels and gathering them to batches.
    pub(crate) generate_raw_mb_per_cpu_s: f64,
    pub(crate) encode_raw_mb_per_cpu_s: f64,
    pub(crate) tokenise_raw_mb_per_cpu_s: f64,
    pub(crate) decode_raw_mb_per_cpu_s: f64,
    pub(crate) build_raw_mb_per_cpu_s: f64,
    /// CPU time of one commit that adds a segment and moves four partitions.
    pub(crate) publish_cpu_ms: f64,
    pub(crate) tokens: u64,
    pub(crate) variables: u64,
    /// Bytes of encoded batches, before the queue compresses them.
    pub(crate) batch_bytes: u64,
    pub(crate) built: Built,
}

/// The segments built in this process.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Built {
    #[serde(flatten)]
    pub(crate) stored: Stored,
    pub(crate) granules: u64,
    pub(crate) granules_incomplete: u64,
    pub(crate) patterns: u64,
    pub(crate) rows_without_pattern: u64,
    pub(crate) filter_tokens: u64,
}

/// The collector's part of the whole path.
#[derive(Debug, Serialize)]
pub(crate) struct Collected {
    pub(crate) collect_raw_mb_per_cpu_s: f64,
}

/// The indexer's part, and what it left in the store.
#[derive(Debug, Serialize)]
pub(crate) struct Indexed {
    pub(crate) index_raw_mb_per_cpu_s: f64,
    pub(crate) index_cpu_seconds: f64,
    pub(crate) index_wall_seconds: f64,
    pub(crate) stored_bytes_per_raw_byte: f64,
    /// All objects, the catalog included.
    #[serde(flatten)]
    pub(crate) stored: Stored,
}

/// Merging all of it until nothing is left to merge, in this process.
#[derive(Debug, Serialize)]
pub(crate) struct Merged {
    pub(crate) merges: u64,
    pub(crate) merge_cpu_seconds: f64,
    pub(crate) merge_raw_mb_per_cpu_s: f64,
    pub(crate) merge_peak_rss_bytes: u64,
    /// The segments afterwards, without the catalog.
    pub(crate) merged: Stored,
}

/// What lies in the store.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Stored {
    pub(crate) stored_bytes: u64,
    pub(crate) segments: u64,
    pub(crate) stored_bytes_by_section: BTreeMap<String, u64>,
    pub(crate) stored_bytes_by_column: BTreeMap<String, u64>,
}

/// One query of the named set.
#[derive(Debug, Serialize)]
pub(crate) struct QueryFigures {
    pub(crate) name: &'static str,
    pub(crate) query: String,
    /// Entries, or the sum of all values of a metric query.
    pub(crate) rows: u64,
    pub(crate) cold: Timing,
    pub(crate) warm: Timing,
}

impl Report {
    /// Prints it for people.
    pub(crate) fn print(&self) {
        let Summary { checksum, .. } = self.generated;
        println!("corpus      {:?}, seed {}, xxh3 {checksum:016x}", self.corpus, self.seed);
        println!("            {}", self.generated);
        if let Some(stages) = &self.stages {
            stages.print(self.raw_bytes, self.rows);
        }
        if let Some(Collected { collect_raw_mb_per_cpu_s }) = self.collected {
            println!("collector   {collect_raw_mb_per_cpu_s:.1} raw MB/CPU-s");
        }
        if let Some(indexed) = &self.indexed {
            indexed.print(self.raw_bytes, self.rows);
        }
        if let Some(merged) = &self.merged {
            merged.print(self.raw_bytes, self.rows);
        }
        for (role, bytes) in &self.peak_rss_bytes {
            println!("peak memory {role:<10} {:>6} MiB", bytes >> 20);
        }
        if !self.queries.is_empty() {
            println!(
                "{:<26} {:>9} {:>32}  {:>32}",
                "query", "rows", "cold p50/p95/cpu ms, read KB", "warm p50/p95/cpu ms, read KB"
            );
        }
        for query in &self.queries {
            let (cold, warm) = (query.cold.cells(), query.warm.cells());
            println!("{:<26} {:>9} {cold:>32}  {warm:>32}", query.name, query.rows);
        }
    }
}

impl Stages {
    fn print(&self, raw_bytes: u64, rows: u64) {
        println!("stages      raw MB for each CPU second, one thread, this process");
        for (name, rate) in [
            ("generate", self.generate_raw_mb_per_cpu_s),
            ("encode", self.encode_raw_mb_per_cpu_s),
            ("tokenise", self.tokenise_raw_mb_per_cpu_s),
            ("decode", self.decode_raw_mb_per_cpu_s),
            ("build", self.build_raw_mb_per_cpu_s),
        ] {
            if 0.0 < rate {
                println!("  {name:<10}{rate:>10.1}");
            }
        }
        let built = &self.built;
        if built.stored.segments == 0 {
            return;
        }
        println!("  publish   {:>10.2} CPU ms a commit", self.publish_cpu_ms);
        println!(
            "built       {} patterns, {} rows without, {} tokens in filters, \
             {} of {} granules incomplete",
            built.patterns,
            built.rows_without_pattern,
            built.filter_tokens,
            built.granules_incomplete,
            built.granules
        );
        built.stored.print("built", raw_bytes, rows);
    }
}

impl Indexed {
    fn print(&self, raw_bytes: u64, rows: u64) {
        println!(
            "indexer     {:.1} raw MB/CPU-s from Kafka message to published segment ({:.1} CPU s, {:.1} s wall)",
            self.index_raw_mb_per_cpu_s, self.index_cpu_seconds, self.index_wall_seconds
        );
        self.stored.print("stored", raw_bytes, rows);
    }
}

impl Merged {
    fn print(&self, raw_bytes: u64, rows: u64) {
        println!(
            "merging     {:.1} raw MB/CPU-s in {} merges ({:.1} CPU s), peak memory {} MiB",
            self.merge_raw_mb_per_cpu_s,
            self.merges,
            self.merge_cpu_seconds,
            self.merge_peak_rss_bytes >> 20
        );
        self.merged.print("merged", raw_bytes, rows);
    }
}

impl Stored {
    fn print(&self, name: &str, raw_bytes: u64, rows: u64) {
        let bytes = self.stored_bytes as f64;
        println!(
            "{name:<11} {bytes} bytes, {:.4} of raw, {:.2} a row, in {} segments",
            bytes / raw_bytes as f64,
            bytes / rows as f64,
            self.segments
        );
        print_parts(&self.stored_bytes_by_section, self.stored_bytes, raw_bytes, rows);
        print_parts(&self.stored_bytes_by_column, self.stored_bytes, raw_bytes, rows);
    }
}

fn print_parts(parts: &BTreeMap<String, u64>, stored: u64, raw_bytes: u64, rows: u64) {
    println!("  {:<34} {:>12} {:>7} {:>9} {:>7}", "", "bytes", "%", "of raw", "a row");
    let mut parts: Vec<(&String, &u64)> = parts.iter().collect();
    parts.sort_by(|a, b| b.1.cmp(a.1));
    for (name, bytes) in parts {
        let share = |whole: u64| *bytes as f64 / whole.max(1) as f64;
        println!(
            "  {name:<34} {bytes:>12} {:>7.2} {:>9.5} {:>7.2}",
            100.0 * share(stored),
            share(raw_bytes),
            share(rows)
        );
    }
}
