//! Line written to line returned, by probes one after another under a steady load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bench::corpus::Corpus;
use bench::loki::RangeQuery;
use bench::podlog::{Output, PodLog};
use clap::Args;
use fastrand::Rng;

use crate::stage::{Stage, unix_nanos};

/// Small pieces make the load even.
const LOAD_SLICE: Duration = Duration::from_millis(10);

/// Slowest probes that are told with their numbers: the first ones wait for a start, others do not.
const SLOWEST_NAMED: usize = 5;

#[derive(Args)]
pub(crate) struct Latency {
    /// Probes, one after another.
    #[arg(long, default_value_t = 1000)]
    probes: usize,
    /// Load beside them in bytes of log lines a second.
    #[arg(long, default_value_t = 5_000_000)]
    load_bytes: u64,
}

impl Latency {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let stage = Stage::start("latency", "").await?;
        let stop = Arc::new(AtomicBool::new(false));
        let load_written = Arc::new(AtomicU64::new(0));
        let load = std::thread::spawn({
            let (root, rate) = (stage.pods().to_owned(), self.load_bytes);
            let (stop, written) = (Arc::clone(&stop), Arc::clone(&load_written));
            move || write_load(&root, rate, &stop, &written)
        });
        let started = Instant::now();
        let result = self.probe(&stage).await;
        stop.store(true, Ordering::Relaxed);
        load.join().ok().context("the load thread panicked")??;
        let rate = load_written.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
        let in_order = result?;
        let mut times = in_order.clone();
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_millis();
        let mut slowest: Vec<(usize, &Duration)> = in_order.iter().enumerate().collect();
        slowest.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
        let slowest = slowest.iter().take(SLOWEST_NAMED);
        let slowest =
            slowest.map(|(probe, time)| format!("{} ms (probe {probe})", time.as_millis()));
        println!("probes {}, load {:.2} MB/s", times.len(), rate / 1e6);
        println!("p50 {} ms, p99 {} ms, max {} ms", at(0.5), at(0.99), at(1.0));
        println!("slowest: {}", slowest.collect::<Vec<_>>().join(", "));
        stage.print_usage()
    }

    async fn probe(&self, stage: &Stage) -> anyhow::Result<Vec<Duration>> {
        let mut rng = Rng::new();
        let mut pod =
            PodLog::create(stage.pods(), "probe", "probe-0", unix_nanos(), 1 << 20, rng.fork())?;
        let mut times = Vec::new();
        for probe in 0..self.probes {
            let token = format!("probe{probe:06}x{:08x}", rng.u32(..));
            pod.advance_to(unix_nanos());
            let written = Instant::now();
            let time_ns = pod.write(Output::Stdout, &format!("here is {token}"))?;
            pod.finish()?;
            let query = format!(r#"{{namespace="probe"}} |= "{token}""#);
            let (start_ns, end_ns) = (time_ns - 1_000_000_000, time_ns + 1_000_000_000);
            let ask = RangeQuery { query: &query, start_ns, end_ns, limit: 10, forward: true };
            loop {
                let found = stage.loki().query_range(&ask).await;
                if found.as_ref().is_ok_and(|lines| !lines.is_empty()) {
                    break;
                }
                // An error too: while an indexer takes over its partitions, answers are not whole.
                let late = Duration::from_secs(60) < written.elapsed();
                ensure!(!late, "{token} was not found: {:?}", found.err());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            times.push(written.elapsed());
            tokio::time::sleep(Duration::from_millis(rng.u64(10..100))).await;
        }
        Ok(times)
    }
}

fn write_load(
    root: &std::path::Path,
    bytes_per_second: u64,
    stop: &AtomicBool,
    written: &AtomicU64,
) -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut rng = Rng::with_seed(1);
    let mut pods = Vec::new();
    for source in &corpus.sources {
        let (pod, start) = (format!("{}-0", source.name), unix_nanos());
        pods.push(PodLog::create(root, &source.name, &pod, start, 10 << 20, rng.fork())?);
    }
    let started = Instant::now();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * bytes_per_second as f64) as u64;
        while written.load(Ordering::Relaxed) < due {
            let at = rng.usize(..pods.len());
            let line = corpus.sources[at].line(n, &mut rng);
            n += 1;
            pods[at].advance_to(unix_nanos());
            pods[at].write(Output::Stdout, &line)?;
            written.fetch_add(line.len() as u64, Ordering::Relaxed);
        }
        std::thread::sleep(LOAD_SLICE);
    }
    Ok(())
}
