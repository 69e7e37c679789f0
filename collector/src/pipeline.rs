//! Every task and channel of a collector, on one page.
//!
//! ```text
//! log files ── tail::task (1 task; files and checkpoint on the blocking pool, 2 jobs at most)
//!                 │ batches: one step's, at most 2 MiB beyond what is in flight
//! push requests ──┤ (at most `push.requests_max` at once; each waits for its receipt)
//! targets, host ──┤ (one task each, one batch at a time)
//!                 ▼
//!           ship::Shipper ── budget `ship.in_flight_bytes_max`
//!                 │ one channel per partition, 256 batches
//!                 ▼
//!           ship::lane (one per partition, in one task) ── window `in_flight_batches_max`
//!                 │
//!               queue ── acknowledgement ── receipt ── tail: ledger ── checkpoint
//! ```
//!
//! It stops in the direction of the data: inputs first, then what is on its way, then the last
//! checkpoint. All of it takes at most `shutdown_grace_secs`, wherever the queue is: what is not
//! acknowledged by then is read again after the start, and pushes are told to come again.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use futures::future::join_all;
use queue::Producer;
use runtime::clock::SharedClock;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::CollectorSection;
use crate::push;
use crate::sampling::{self, SampleOutput};
use crate::scrape::Target;
use crate::ship::{self, Sender, ShipTask, Shipper, Stopping};
use crate::tail::checkpoint::{CheckpointError, CheckpointFolder};
use crate::tail::glob::GlobError;
use crate::tail::task::TailTask;

/// What a collector needs from its process.
#[derive(Clone, Debug)]
pub struct Dependencies {
    pub producer: Arc<dyn Producer>,
    pub clock: SharedClock,
    /// Folder of the process; the checkpoint's folder is below it.
    pub data_dir: PathBuf,
    /// Where this process serves its own metrics, to be scraped: `http://host:port/metrics`.
    pub own_metrics_url: Option<String>,
}

/// Why a collector cannot start.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// Someone must look at the checkpoint's folder.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Someone must correct the configuration.
    #[error("a pattern of `collector.tail` {0}")]
    Pattern(#[from] GlobError),
}

/// The collector role.
#[derive(Debug)]
pub struct Collector {
    section: CollectorSection,
    clock: SharedClock,
    shipper: Shipper,
    ship: ShipTask,
    tail: TailTask,
    targets: Vec<Target>,
}

impl Collector {
    /// Takes the checkpoint's folder; nothing runs yet.
    ///
    /// # Errors
    /// When another collector has the folder, or its content cannot be read.
    pub fn new(section: CollectorSection, needs: Dependencies) -> Result<Self, CollectorError> {
        let folder = CheckpointFolder::open(&needs.data_dir.join(&section.checkpoint.path))?;
        let loaded = folder.load()?;
        info!(files = loaded.entries.len(), skipped = loaded.skipped, "read checkpoint");
        let boot_epoch = u64::try_from(needs.clock.unix_nanos()).unwrap_or_default();
        let sender = Sender { collector: section.node_name(), boot_epoch };
        let clock = needs.clock;
        let (shipper, ship) =
            ship::shipper(&section.ship, needs.producer, sender, Arc::clone(&clock));
        let tail =
            TailTask::new(section.clone(), folder, loaded, shipper.clone(), Arc::clone(&clock));
        let targets = sampling::targets(&section, needs.own_metrics_url.as_deref(), &clock);
        Ok(Self { section, clock, shipper, ship, tail, targets })
    }

    /// Returns the way to the queue, for other inputs.
    pub fn shipper(&self) -> Shipper {
        self.shipper.clone()
    }

    /// Returns the routes this role serves.
    pub fn router(&self) -> Router {
        if !self.section.push.enabled {
            return Router::new();
        }
        push::router(&self.section.push, self.shipper(), Arc::clone(&self.clock))
    }

    /// Runs until `stop`, then drains.
    ///
    /// # Errors
    /// When the configuration turns out to be unusable.
    pub async fn run(self, stop: CancellationToken) -> Result<(), CollectorError> {
        let stopping = Stopping { stop: stop.clone(), ..Stopping::default() };
        let output =
            SampleOutput { shipper: self.shipper.clone(), tenant: self.section.tenant.clone() };
        let sampling = sampling::inputs(self.targets, &self.section, &self.clock, &output, &stop);
        let inputs = async {
            let (ended, _) = futures::join!(self.tail.run(stop.clone()), join_all(sampling));
            stopping.drain.cancel();
            ended
        };
        let sending = self.ship.run(stopping.clone());
        let deadline = async {
            stop.cancelled().await;
            self.clock.sleep(self.section.shutdown_grace()).await;
            stopping.abandon.cancel();
        };
        let mut both = std::pin::pin!(async { futures::join!(inputs, sending).0 });
        let ended = tokio::select! {
            ended = &mut both => ended,
            () = deadline => both.await,
        };
        ended.map_err(CollectorError::from)
    }
}
