//! A corpus through the whole path: what each role uses, and what is stored.

use std::time::{Duration, Instant};

use anyhow::ensure;
use bench::corpus::Corpus;
use bench::podlog::{Output, PodLog};
use clap::Args;
use fastrand::Rng;

use crate::stage::{Stage, unix_nanos};

#[derive(Args)]
pub(crate) struct Logs {
    /// Bytes of log lines.
    #[arg(long, default_value_t = 1_000_000_000)]
    bytes: u64,
    /// Seed of the varied digits.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Logs {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let mut stage = Stage::start("logs").await?;
        stage.stop_indexer().await?;
        let (rows, raw_bytes) = self.write(&stage)?;
        println!("raw bytes {raw_bytes}, rows {rows}, seed {}", self.seed);
        let collected = stage.wait_collected(rows).await?;
        println!(
            "collector: {:.1} MB/s of CPU, peak {} MiB",
            raw_bytes as f64 / 1e6 / collected.cpu_seconds,
            collected.peak_rss_bytes >> 20,
        );
        let started = Instant::now();
        stage.start_indexer().await?;
        let indexed = stage.publish_all(rows).await?;
        println!(
            "indexer, Kafka message to published segment: {:.1} raw MB per CPU second, {:.1} s wall, peak {} MiB",
            raw_bytes as f64 / 1e6 / indexed.cpu_seconds,
            started.elapsed().as_secs_f64(),
            indexed.peak_rss_bytes >> 20,
        );
        let stored = stage.stored_bytes().await?;
        println!("stored {stored} bytes, {:.3} of raw", stored as f64 / raw_bytes as f64);
        self.ask(&stage, rows).await?;
        stage.print_usage()
    }

    fn write(&self, stage: &Stage) -> anyhow::Result<(u64, u64)> {
        let corpus = Corpus::load()?;
        let mut rng = Rng::with_seed(self.seed);
        let mut pods = Vec::new();
        // The lines of an hour that has just passed.
        let start = unix_nanos() - 3_600_000_000_000;
        for source in &corpus.sources {
            let pod = format!("{}-0", source.name);
            pods.push(PodLog::create(
                stage.pods(),
                &source.name,
                &pod,
                start,
                64 << 20,
                rng.fork(),
            )?);
        }
        let (mut rows, mut bytes) = (0, 0);
        while bytes < self.bytes {
            let at = rng.usize(..pods.len());
            let line = corpus.sources[at].line(usize::try_from(rows)?, &mut rng);
            pods[at].write(Output::Stdout, &line)?;
            rows += 1;
            bytes += line.len() as u64;
        }
        for pod in &mut pods {
            pod.finish()?;
        }
        Ok((rows, bytes))
    }

    /// A few questions, so that the query role's memory means something.
    async fn ask(&self, stage: &Stage, rows: u64) -> anyhow::Result<()> {
        let everything = r#"{namespace=~".+"}"#;
        let counts = [
            format!("sum(count_over_time({everything}[2h]))"),
            format!(r#"sum(count_over_time({everything} |= "error" [2h]))"#),
            format!(r#"sum(count_over_time({everything} |= "blk_-16089996" [2h]))"#),
            format!(r#"sum(count_over_time({everything} |~ "user=[a-z]+" [2h]))"#),
        ];
        for (n, query) in counts.iter().enumerate() {
            let mut times = Vec::new();
            let mut value = 0.0;
            for _ in 0..5 {
                let started = Instant::now();
                value = stage.loki().number(query, unix_nanos()).await?;
                times.push(started.elapsed());
            }
            times.sort();
            ensure!(n != 0 || value == rows as f64, "{value} of {rows} rows counted");
            println!("{query}: {value} rows, median {:?} of 5", Duration::as_millis(&times[2]));
        }
        Ok(())
    }
}
