//! A deployment for a benchmark: the released binary, and what its processes use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use bench::loki::Loki;
use bench::systems::deployment::{Deployment, ROLE_DEADLINE};
use bench::systems::millrace::Usage;
use runtime::clock::{Clock, SystemClock};

/// Longest time a stage may take to move a gigabyte.
const STAGE_DEADLINE: Duration = Duration::from_secs(1800);

pub(crate) struct Stage {
    deployment: Deployment,
    // After the processes that use it.
    _folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn start(name: &str) -> anyhow::Result<Self> {
        let folder =
            tempfile::Builder::new().prefix(&format!("millrace-bench-{name}-")).tempdir()?;
        let deployment = Deployment::start(&binary()?, folder.path(), "").await?;
        Ok(Self { deployment, _folder: folder })
    }

    pub(crate) fn pods(&self) -> &Path {
        self.deployment.pods()
    }

    pub(crate) fn loki(&self) -> &Loki {
        self.deployment.loki()
    }

    pub(crate) async fn stop_indexer(&mut self) -> anyhow::Result<()> {
        self.deployment.indexer.terminate(ROLE_DEADLINE).await?;
        Ok(())
    }

    pub(crate) async fn start_indexer(&mut self) -> anyhow::Result<()> {
        self.deployment.indexer.restart()?;
        self.deployment.ready().await
    }

    /// Waits until the broker has acknowledged `rows` rows; returns what the collector used.
    pub(crate) async fn wait_collected(&self, rows: u64) -> anyhow::Result<Usage> {
        let address = self.deployment.collector.address().to_owned();
        let url = format!("{address}/metrics");
        let client = runtime::http::Client::default();
        poll(async || {
            let text = client.get(&url).await?.text();
            let name = "millrace_collector_acknowledged_records_total{topic=\"millrace.logs\"}";
            let of_name = text.lines().filter(|l| l.starts_with(name));
            let acknowledged: f64 =
                of_name.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum();
            Ok(rows as f64 <= acknowledged)
        })
        .await
        .context("collect")?;
        self.deployment.collector.usage()
    }

    /// Waits until `rows` rows are searchable, then makes the indexer publish all; returns what
    /// it had used by the time everything was published.
    pub(crate) async fn publish_all(&mut self, rows: u64) -> anyhow::Result<Usage> {
        let query = r#"sum(count_over_time({namespace=~".+"}[2h]))"#;
        poll(async || Ok(self.loki().number(query, unix_nanos()).await? == rows as f64)).await?;
        self.deployment.publish_all().await
    }

    pub(crate) async fn stored_bytes(&self) -> anyhow::Result<u64> {
        self.deployment.stored_bytes().await
    }

    pub(crate) fn print_usage(&self) -> anyhow::Result<()> {
        let Deployment { collector, indexer, query, .. } = &self.deployment;
        for (name, role) in [("collector", collector), ("indexer", indexer), ("query", query)] {
            let Usage { cpu_seconds, peak_rss_bytes } = role.usage()?;
            println!("{name}: {cpu_seconds:.1} CPU seconds, peak {} MiB", peak_rss_bytes >> 20);
        }
        Ok(())
    }
}

/// `millrace` beside this binary: both come from one release build.
fn binary() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("millrace");
    ensure!(path.is_file(), "{path:?} is missing: run `cargo build --release` first");
    Ok(path)
}

async fn poll(mut done: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let waiting = async {
        // An error while a role starts is no answer yet; the last one is told at the deadline.
        while !done().await.unwrap_or(false) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(STAGE_DEADLINE, waiting).await.context("deadline passed")
}

pub(crate) fn unix_nanos() -> i64 {
    SystemClock::new().unix_nanos()
}
