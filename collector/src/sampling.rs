//! The inputs of samples: this host's metrics and scraped targets.
//!
//! Each runs by itself and hands one batch at a time to the shipper: while the queue is away, the
//! next reading waits, so memory does not grow and the gap in the samples is the outage.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use metrics::counter;
use record::{Labels, SampleBatch, TenantId};
use runtime::clock::SharedClock;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::blocking::blocking;
use crate::config::CollectorSection;
use crate::host;
use crate::scrape::{Target, TargetSection};
use crate::ship::Shipper;
use crate::telemetry;

/// The `job` label of host metrics, as node_exporter's dashboards expect it.
const HOST_JOB: &str = "node";

/// The `job` label of this process's own metrics.
const OWN_JOB: &str = "millrace";

/// Where samples go.
#[derive(Clone, Debug)]
pub(crate) struct SampleOutput {
    pub(crate) shipper: Shipper,
    pub(crate) tenant: TenantId,
}

impl SampleOutput {
    /// Hands over a batch and waits until it is durable; what cannot be stored was counted.
    pub(crate) async fn send(&self, batch: SampleBatch) {
        if batch.is_empty() {
            return;
        }
        let handed = self.shipper.samples(&self.tenant, batch).await;
        let outcome = match handed {
            Ok(receipt) => receipt.await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            debug!(%error, "samples not stored");
        }
    }
}

/// Returns what is scraped: the configured targets and, when its address is known, this process.
pub(crate) fn targets(
    section: &CollectorSection,
    own_metrics_url: Option<&str>,
    clock: &SharedClock,
) -> Vec<Target> {
    let own = own_metrics_url.filter(|_| section.scrape.own).map(|url| TargetSection {
        url: url.to_owned(),
        job: OWN_JOB.to_owned(),
        labels: section.labels.clone(),
    });
    let all = section.scrape.targets.iter().cloned().chain(own);
    all.map(|target| Target::new(&target, &section.scrape, Arc::clone(clock))).collect()
}

/// Returns what has to run for samples to come in, each until `stop`.
pub(crate) fn inputs(
    targets: Vec<Target>,
    section: &CollectorSection,
    clock: &SharedClock,
    output: &SampleOutput,
    stop: &CancellationToken,
) -> Vec<BoxFuture<'static, ()>> {
    let mut inputs: Vec<BoxFuture<'static, ()>> = Vec::new();
    for target in targets {
        inputs.push(scrape(target, output.clone(), stop.clone()).boxed());
    }
    let (section, clock) = (section.clone(), Arc::clone(clock));
    inputs.push(read_host(section, clock, output.clone(), stop.clone()).boxed());
    inputs
}

/// Scrapes one target until stopped.
async fn scrape(target: Target, output: SampleOutput, stop: CancellationToken) {
    target.run(stop, &output).await;
}

/// Reads this host's metrics until stopped.
async fn read_host(
    section: CollectorSection,
    clock: SharedClock,
    output: SampleOutput,
    stop: CancellationToken,
) {
    if !section.host.enabled {
        return;
    }
    let labels = Labels::from_pairs(&section.labels)
        .with("cluster", &section.cluster)
        .with("job", HOST_JOB)
        .with("instance", &section.node_name());
    let pause = Duration::from_secs(section.host.interval_secs);
    loop {
        let round = async {
            let (section, labels, now_ns) =
                (section.host.clone(), labels.clone(), clock.unix_nanos());
            let batch = blocking(move || host::read(&section, &labels, now_ns)).await;
            counter!(telemetry::SCRAPED_SAMPLES, "job" => HOST_JOB).increment(batch.len() as u64);
            output.send(batch).await;
            clock.sleep(pause).await;
        };
        // Also while it reads: a filesystem whose server is gone answers statvfs(3) never.
        tokio::select! {
            () = round => {}
            () = stop.cancelled() => return,
        }
    }
}
