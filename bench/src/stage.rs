//! A deployment for a benchmark: the released binary, and what its processes use.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bench::loki::Loki;
use bench::systems::deployment::{Deployment, ROLE_DEADLINE};
use bench::systems::millrace::{Role, Usage};
use object_store::ObjectStore;
use runtime::clock::{Clock, SystemClock};

/// Longest time a stage may take to move a gigabyte.
const STAGE_DEADLINE: Duration = Duration::from_secs(1800);

pub(crate) struct Stage {
    deployment: Deployment,
    client: runtime::http::Client,
    // After the processes that use it.
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Starts every role with `settings`, YAML, added to its configuration.
    pub(crate) async fn start(name: &str, settings: &str) -> anyhow::Result<Self> {
        let folder =
            tempfile::Builder::new().prefix(&format!("millrace-bench-{name}-")).tempdir()?;
        let deployment = Deployment::start(&binary()?, folder.path(), settings).await?;
        Ok(Self { deployment, client: Default::default(), _folder: folder })
    }

    pub(crate) fn pods(&self) -> &Path {
        self.deployment.pods()
    }

    pub(crate) fn loki(&self) -> &Loki {
        self.deployment.loki()
    }

    pub(crate) fn query(&self) -> &Role {
        &self.deployment.query
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        self.deployment.store()
    }

    pub(crate) fn bootstrap_servers(&self) -> &str {
        &self.deployment.kafka.bootstrap_servers
    }

    /// Starts the query process anew: whatever it kept in memory is gone.
    pub(crate) async fn restart_query(&mut self) -> anyhow::Result<()> {
        self.deployment.query.terminate(ROLE_DEADLINE).await?;
        self.deployment.query.restart()?;
        self.deployment.ready().await
    }

    /// Sum of a role's metric over all label sets that begin with `name`.
    pub(crate) async fn metric(&self, role: &Role, name: &str) -> anyhow::Result<f64> {
        let text = self.client.get(&format!("{}/metrics", role.address())).await?.text();
        let of_name = text.lines().filter(|line| line.starts_with(name));
        Ok(of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
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
        let name = "millrace_collector_acknowledged_records_total{topic=\"millrace.logs\"}";
        poll(async || Ok(rows as f64 <= self.metric(&self.deployment.collector, name).await?))
            .await
            .context("collect")?;
        self.deployment.collector.usage()
    }

    /// Waits until the indexer has taken `rows` rows, then makes it publish all; returns what
    /// it had used by the time everything was published. Asks only for the indexer's counter:
    /// queries would cost it time of its own.
    pub(crate) async fn publish_all(&mut self, rows: u64) -> anyhow::Result<Usage> {
        let name = "millrace_indexer_rows_taken_total{kind=\"logs\"}";
        poll(async || Ok(rows as f64 <= self.metric(&self.deployment.indexer, name).await?))
            .await
            .context("index")?;
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
