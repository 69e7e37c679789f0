//! Merging everything there is, the way an indexer does once its windows have settled.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use indexer::{IndexerSection, Upkeep};
use object_store::ObjectStore;
use runtime::clock::SystemClock;
use runtime::process;
use segment::catalog::{Catalog, CatalogOptions, PREFIX};

use super::stored;
use crate::report::Merged;

/// Merges with the default settings until nothing is left to merge; `raw_bytes` are in the store.
pub(crate) async fn all(store: Arc<dyn ObjectStore>, raw_bytes: u64) -> anyhow::Result<Merged> {
    let clock = SystemClock::shared();
    let options = CatalogOptions::new(Arc::clone(&clock), "bench");
    let catalog = Catalog::open(Arc::clone(&store), PREFIX, options).await?;
    let mut section = IndexerSection::default();
    section.merge.settle_secs = 0;
    // Whoever holds the partitions comes first.
    section.merge.takeover_secs = 1;
    section.merge.bytes_per_sec_max = u64::MAX;
    section.sweep.enabled = false;
    let mut upkeep = Upkeep::new(&section, &store, &catalog, &clock, "bench".to_owned())?;
    forget_peak().context("make the kernel count the peak of this process's memory anew")?;
    let cpu_seconds = || process::cpu_seconds().context("read the CPU time of this process");
    let before = cpu_seconds()?;
    let mut merges = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(section.merge.takeover_secs)).await;
        let version = catalog.state().version;
        upkeep.turn().await;
        match catalog.state().version - version {
            0 => break,
            commits => merges += commits,
        }
    }
    let used = cpu_seconds()? - before;
    let peak = process::resident_bytes_peak().context("read the memory of this process")?;
    Ok(Merged {
        merges,
        merge_cpu_seconds: used,
        merge_raw_mb_per_cpu_s: raw_bytes as f64 / 1e6 / used,
        merge_peak_rss_bytes: peak,
        merged: stored::segments(&store, &catalog).await?,
    })
}

fn forget_peak() -> std::io::Result<()> {
    std::fs::write("/proc/self/clear_refs", "5")
}
