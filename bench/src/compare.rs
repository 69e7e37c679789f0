//! `bench compare`: another system fed the same lines and asked the same questions.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use bench::corpus::{CorpusKind, Rows, Summary};
use bench::cpu::ThreadTimes;
use bench::questions::named;
use bench::systems::millrace::{Usage, usage};
use bench::systems::rival::{Rival, RivalKind, folder_bytes};
use bench::timing::Timing;
use clap::Args;
use serde::Serialize;

use crate::generate::CorpusArguments;

#[derive(Args)]
pub(crate) struct Compare {
    #[command(flatten)]
    corpus: CorpusArguments,
    /// Which system.
    #[arg(long, value_enum)]
    system: RivalKind,
    /// Its base URL, `http://host:port`.
    #[arg(long)]
    addr: String,
    /// Base URL for writing where it is another one.
    #[arg(long)]
    push_addr: Option<String>,
    /// Its process id, if it runs here: for CPU and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// Its data folder, if it is here: for bytes stored.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Do not write the corpus, it is there already.
    #[arg(long)]
    no_feed: bool,
    /// Seconds without growth after which what is stored counts as merged.
    #[arg(long, default_value_t = 20)]
    settle_secs: u64,
    /// Runs of a question after it ran once.
    #[arg(long, default_value_t = 20)]
    warm_runs: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Comparison {
    system: RivalKind,
    corpus: CorpusKind,
    seed: u64,
    rows: u64,
    raw_bytes: u64,
    generated: Summary,
    /// CPU from the first request to everything settled, background merges included.
    index_cpu_seconds: Option<f64>,
    index_raw_mb_per_cpu_s: Option<f64>,
    stored_bytes: Option<u64>,
    stored_bytes_per_raw_byte: Option<f64>,
    peak_rss_bytes: Option<u64>,
    queries: Vec<Asked>,
}

#[derive(Debug, Serialize)]
struct Asked {
    name: &'static str,
    rows: u64,
    warm: Timing,
}

impl Compare {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let rival = Rival::new(self.system, &self.addr, self.push_addr.as_deref());
        let plan = self.corpus.plan();
        let before = self.usage()?;
        let (summary, rows) = if self.no_feed {
            let mut rows = Rows::new(plan)?;
            while rows.next_row().is_some() {}
            (rows.summary(), rows)
        } else {
            rival.feed(plan).await?
        };
        let stored_bytes = self.settle().await?;
        let after = self.usage()?;
        let used = before.zip(after).filter(|_| !self.no_feed);
        let cpu = used.map(|(before, after)| after.cpu_seconds - before.cpu_seconds);
        let raw = summary.raw_bytes as f64;
        let mut queries = Vec::new();
        for question in named(rows.needles()) {
            let rows = rival.ask(&question, plan.range()).await?;
            let (mut times_ms, cpu_before) = (Vec::new(), self.threads()?);
            for _ in 0..self.warm_runs {
                let started = Instant::now();
                rival.ask(&question, plan.range()).await?;
                times_ms.push(started.elapsed().as_secs_f64() * 1e3);
            }
            let cpu = self.threads()?.since(&cpu_before).as_secs_f64() * 1e3;
            let warm = Timing::of(times_ms, cpu, 0, summary.raw_bytes);
            queries.push(Asked { name: question.name, rows, warm });
        }
        let found = Comparison {
            system: self.system,
            corpus: plan.kind,
            seed: plan.seed,
            rows: summary.rows,
            raw_bytes: summary.raw_bytes,
            generated: summary,
            index_cpu_seconds: cpu,
            index_raw_mb_per_cpu_s: cpu.map(|cpu| raw / 1e6 / cpu),
            stored_bytes,
            stored_bytes_per_raw_byte: stored_bytes.map(|stored| stored as f64 / raw),
            peak_rss_bytes: self.usage()?.map(|usage| usage.peak_rss_bytes),
            queries,
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&found)?);
        } else {
            found.print();
        }
        Ok(())
    }

    /// Waits until the data folder no longer changes; returns its size.
    async fn settle(&self) -> anyhow::Result<Option<u64>> {
        let Some(folder) = &self.data else { return Ok(None) };
        let mut bytes = folder_bytes(folder)?;
        let mut quiet = 0;
        while quiet < self.settle_secs {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = folder_bytes(folder)?;
            quiet = if now == bytes { quiet + 1 } else { 0 };
            bytes = now;
        }
        Ok(Some(bytes))
    }

    fn usage(&self) -> anyhow::Result<Option<Usage>> {
        self.pid.map(|pid| usage(pid).context("read the system's process")).transpose()
    }

    fn threads(&self) -> anyhow::Result<ThreadTimes> {
        self.pid.map_or_else(|| Ok(ThreadTimes::default()), ThreadTimes::of)
    }
}

impl Comparison {
    fn print(&self) {
        println!("system      {:?}", self.system);
        println!("corpus      {:?}, seed {}, {}", self.corpus, self.seed, self.generated);
        if let (Some(rate), Some(cpu)) = (self.index_raw_mb_per_cpu_s, self.index_cpu_seconds) {
            println!("written     {rate:.1} raw MB/CPU-s ({cpu:.1} CPU s, merges included)");
        }
        if let (Some(bytes), Some(share)) = (self.stored_bytes, self.stored_bytes_per_raw_byte) {
            println!("stored      {bytes} bytes, {share:.4} of raw");
        }
        if let Some(bytes) = self.peak_rss_bytes {
            println!("peak memory {} MiB", bytes >> 20);
        }
        println!("{:<26} {:>9} {:>30}", "query", "rows", "warm p50/p95/cpu ms");
        for Asked { name, rows, warm } in &self.queries {
            let Timing { p50_ms, p95_ms, cpu_ms, .. } = warm;
            let cells = format!("{p50_ms:.1} {p95_ms:.1} {cpu_ms:.1}");
            println!("{name:<26} {rows:>9} {cells:>30}");
        }
    }
}
