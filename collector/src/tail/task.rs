//! Drives the [`Tailer`]: when to look, when to read, when to save.
//!
//! One task. The blocking parts (folders, files, the checkpoint) run on the blocking pool, one at
//! a time each, so the reactor never waits for a disk. Waiting for the queue never stops
//! discovery, acknowledgements or checkpoints: only reading waits (C-903, C-907).
//!
//! Bounds: one step's batches wait here for room in the shipper; nothing is read before they are
//! handed over.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use metrics::{counter, gauge};
use record::TenantId;
use runtime::clock::{SharedClock, within};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::checkpoint::{CheckpointFolder, Entry, Loaded};
use super::glob::GlobError;
use super::sink::{Batch, BatchId};
use super::tailer::{Stepped, Tailer};
use super::watch::{self, Wakes, WatchEvents};
use crate::blocking::blocking;
use crate::config::CollectorSection;
use crate::parse::partial::FileSerial;
use crate::ship::{Receipt, ShipError, Shipper};
use crate::telemetry;

/// How long events gather after the first one: a writer that writes line by line wakes us some
/// fifty times a second, not once per line. Part of the time until a line can be searched; each
/// wake costs a few context switches, which at 5 ms were a third of the collector's CPU time.
const EVENT_GATHER: Duration = Duration::from_millis(20);

/// Pause between two rounds of upkeep.
const TICK: Duration = Duration::from_secs(1);

/// Pause between two full scans while some folders cannot be watched.
const DEGRADED_SCAN: Duration = Duration::from_secs(1);

/// Reads the log files of this node.
#[derive(Debug)]
pub struct TailTask {
    section: CollectorSection,
    folder: Arc<CheckpointFolder>,
    loaded: Loaded,
    shipper: Shipper,
    clock: SharedClock,
}

impl TailTask {
    pub fn new(
        section: CollectorSection,
        folder: CheckpointFolder,
        loaded: Loaded,
        shipper: Shipper,
        clock: SharedClock,
    ) -> Self {
        counter!(telemetry::CHECKPOINT_SKIPPED).increment(loaded.skipped);
        Self { section, folder: Arc::new(folder), loaded, shipper, clock }
    }

    /// Reads until `stop`, then waits for what is on its way, at most the grace period, and
    /// writes the last checkpoint.
    ///
    /// # Errors
    /// When a configured pattern is none.
    pub async fn run(self, stop: CancellationToken) -> Result<(), GlobError> {
        let partitions = tokio::select! {
            partitions = self.shipper.log_partitions() => partitions,
            () = stop.cancelled() => return Ok(()),
        };
        let Ok(partitions) = partitions else { return Ok(()) };
        let (watch, events) = watch::open();
        let clock = Arc::clone(&self.clock);
        let tailer = Tailer::new(&self.section, partitions, self.loaded, watch, clock)?;
        let driver = Driver {
            tailer: Some(tailer),
            events,
            folder: self.folder,
            tenant: self.section.tenant.clone(),
            scan_interval: Duration::from_millis(self.section.tail.scan_interval_ms),
            save_interval: Duration::from_millis(self.section.checkpoint.interval_ms),
            shipper: self.shipper,
            clock: self.clock,
            outbox: VecDeque::new(),
            handing: None,
            receipts: FuturesUnordered::new(),
            saving: None,
            more: true,
            must_save: false,
            scan_at: Duration::ZERO,
            tick_at: Duration::ZERO,
            save_at: Duration::ZERO,
        };
        driver.run(stop, self.section.shutdown_grace()).await;
        Ok(())
    }
}

type Handed = (BatchId, Vec<FileSerial>, Result<Receipt, ShipError>);
type Saved = (Vec<Entry>, io::Result<()>);
type Answered = (BatchId, Vec<FileSerial>, Result<(), ShipError>);

struct Driver {
    /// Away while a blocking step runs.
    tailer: Option<Tailer>,
    events: Option<WatchEvents>,
    folder: Arc<CheckpointFolder>,
    tenant: TenantId,
    scan_interval: Duration,
    save_interval: Duration,
    shipper: Shipper,
    clock: SharedClock,
    /// Closed batches that wait for the one being handed over.
    outbox: VecDeque<Batch>,
    handing: Option<BoxFuture<'static, Handed>>,
    receipts: FuturesUnordered<BoxFuture<'static, Answered>>,
    saving: Option<BoxFuture<'static, Saved>>,
    /// Whether the last step left something to read.
    more: bool,
    must_save: bool,
    scan_at: Duration,
    tick_at: Duration,
    save_at: Duration,
}

impl Driver {
    async fn run(mut self, stop: CancellationToken, grace: Duration) {
        while !stop.is_cancelled() {
            self.step().await;
            self.hand_next();
            self.save_if_due();
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wait() => {}
            }
        }
        let clock = Arc::clone(&self.clock);
        if within(&*clock, grace, self.drain()).await.is_none() {
            let unanswered = self.receipts.len() + self.outbox.len();
            warn!(
                unanswered,
                "batches not acknowledged in time, they are sent again after the start"
            );
        }
        self.save_last().await;
    }

    /// Looks, reads if nothing waits to be handed over, and closes due batches.
    async fn step(&mut self) {
        let Some(mut tailer) = self.tailer.take() else { return };
        let now = self.clock.elapsed();
        let wakes = match &mut self.events {
            Some(events) => events.take(tailer.watch_mut()),
            None => Wakes::default(),
        };
        let read = self.outbox.is_empty() && self.handing.is_none();
        let (scan, tick) = (self.scan_at <= now, self.tick_at <= now);
        let work = move || {
            tailer.wake(wakes);
            if scan {
                tailer.scan();
            }
            if tick {
                tailer.tick();
            }
            let stepped = tailer.step(read);
            (tailer, stepped)
        };
        let (tailer, stepped) = blocking(work).await;
        if scan {
            let pause = if tailer.degraded() { DEGRADED_SCAN } else { self.scan_interval };
            self.scan_at = now + pause.min(self.scan_interval);
        }
        if tick {
            self.tick_at = now + TICK;
            gauge!(telemetry::IN_FLIGHT_BYTES).set(self.shipper.in_flight_bytes() as f64);
        }
        self.tailer = Some(tailer);
        self.take(stepped);
    }

    fn take(&mut self, stepped: Stepped) {
        self.outbox.extend(stepped.batches);
        self.more = stepped.more;
        self.must_save = stepped.must_save;
    }

    /// Waits until there is something to do. Cancel-safe: what ends early goes on next time.
    async fn wait(&mut self) {
        let now = self.clock.elapsed();
        let due = self.next_due();
        if due <= now || self.more && self.outbox.is_empty() && self.handing.is_none() {
            // Acknowledgements must not starve while there is always more to read.
            while let Some(Some(answered)) = self.receipts.next().now_or_never() {
                self.settle(answered);
            }
            tokio::task::yield_now().await;
            return;
        }
        let (clock, events) = (Arc::clone(&self.clock), &self.events);
        let event = async {
            match events {
                Some(events) => events.ready().await,
                None => std::future::pending().await,
            }
            clock.sleep(EVENT_GATHER).await;
        };
        tokio::select! {
            handed = of(&mut self.handing) => self.handed(handed),
            Some(answered) = self.receipts.next() => self.settle(answered),
            (entries, outcome) = of(&mut self.saving) => self.saved(&entries, outcome),
            () = event => {}
            () = self.clock.sleep(due - now) => {}
        }
    }

    fn next_due(&self) -> Duration {
        let step = self.tailer.as_ref().and_then(Tailer::next_due);
        let save = self.saving.is_none().then_some(self.save_at);
        [Some(self.scan_at), Some(self.tick_at), save, step]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_default()
    }

    /// Starts to hand over the next batch; it waits there for room.
    fn hand_next(&mut self) {
        if self.handing.is_some() {
            return;
        }
        let Some(batch) = self.outbox.pop_front() else { return };
        let (shipper, tenant) = (self.shipper.clone(), self.tenant.clone());
        let handing = async move {
            let receipt = shipper.logs_to(batch.partition, &tenant, batch.rows).await;
            (batch.id, batch.files, receipt)
        };
        self.handing = Some(handing.boxed());
    }

    fn handed(&mut self, (batch, files, outcome): Handed) {
        self.handing = None;
        match outcome {
            Ok(receipt) => {
                self.receipts.push(async move { (batch, files, receipt.await) }.boxed());
            }
            Err(error) => self.settle((batch, files, Err(error))),
        }
        self.hand_next();
    }

    fn settle(&mut self, (batch, files, outcome): Answered) {
        match outcome {
            // What is refused has been counted as dropped; waiting for it would stop the file.
            Ok(()) | Err(ShipError::Refused { .. }) => {
                if let Some(tailer) = &mut self.tailer {
                    tailer.resolve(batch, &files);
                }
            }
            // The position stays; the rows are read again after the start.
            Err(ShipError::Closed) => {}
        }
    }

    fn save_if_due(&mut self) {
        let now = self.clock.elapsed();
        if self.saving.is_some() || now < self.save_at && !self.must_save {
            return;
        }
        self.save_at = now + self.save_interval;
        let Some(entries) = self.tailer.as_mut().and_then(Tailer::checkpoint) else { return };
        self.saving = Some(save(Arc::clone(&self.folder), entries).boxed());
    }

    fn saved(&mut self, entries: &[Entry], outcome: io::Result<()>) {
        self.saving = None;
        let well = outcome.is_ok();
        match outcome {
            Ok(()) => counter!(telemetry::CHECKPOINT_WRITES).increment(1),
            Err(error) => {
                counter!(telemetry::CHECKPOINT_ERRORS).increment(1);
                error!(%error, "write checkpoint, going on with positions in memory");
            }
        }
        if let Some(tailer) = &mut self.tailer {
            tailer.saved(entries, well);
            self.more = true;
        }
    }

    /// Hands over everything that was read and waits until it is acknowledged.
    async fn drain(&mut self) {
        if let Some(tailer) = &mut self.tailer {
            self.outbox.extend(tailer.flush());
        }
        self.hand_next();
        while self.handing.is_some() || !self.receipts.is_empty() {
            tokio::select! {
                handed = of(&mut self.handing) => self.handed(handed),
                Some(answered) = self.receipts.next() => self.settle(answered),
            }
        }
    }

    async fn save_last(&mut self) {
        if let Some(saving) = self.saving.take() {
            let (entries, outcome) = saving.await;
            self.saved(&entries, outcome);
        }
        if let Some(entries) = self.tailer.as_mut().and_then(Tailer::checkpoint) {
            let (entries, outcome) = save(Arc::clone(&self.folder), entries).await;
            self.saved(&entries, outcome);
        }
        info!("log files: last checkpoint written");
    }
}

/// Waits for a future that may not be there; for ever when it is not.
async fn of<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn save(folder: Arc<CheckpointFolder>, entries: Vec<Entry>) -> Saved {
    blocking(move || {
        let outcome = folder.save(&entries);
        (entries, outcome)
    })
    .await
}
