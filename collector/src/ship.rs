//! From inputs to the queue: batches, back-pressure, acknowledgements.
//!
//! Every input (files, pushes, scrapes) hands batches to the one [`Shipper`] and gets a
//! [`Receipt`] for each, which resolves once the queue holds the rows durably. One lane per
//! partition sends them ([`lane`]).
//!
//! What always holds:
//! - rows of one stream, and batches handed over one after the other, reach their partition in
//!   that order, whatever fails in between: indexers tell replays by growing offsets;
//! - a receipt says yes only after the queue's acknowledgement;
//! - at most `in_flight_bytes_max` bytes are accepted and not acknowledged; more has to wait.
//!
//! On a crash everything in flight is forgotten; whoever holds no receipt sends again.

mod lane;
mod message;
mod waiting;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::join_all;
use queue::{Producer, Topic};
use record::{BatchKind, LogBatch, SampleBatch, TenantId, partition_for};
use runtime::backoff::Backoff;
use runtime::clock::SharedClock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::ShipSection;
use lane::{Entry, Lane};
pub(crate) use message::{ORIGINAL_BYTES, TRUNCATED};

/// Batches that wait in front of one lane. The bytes are bounded by the budget; this bounds the
/// number of tiny ones.
const LANE_BATCHES_MAX: usize = 256;

/// What a row costs in memory beside its line, about.
const ROW_BYTES: usize = 48;

/// Pauses between attempts to reach a queue that does not answer.
pub(crate) fn retry_delays() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(5))
}

/// Why a batch was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShipError {
    /// The collector is stopping: send again, here after its restart or elsewhere.
    #[error("the collector is stopping")]
    Closed,
    /// These rows can never be stored; they have been counted as dropped.
    #[error("the queue refused the rows: {reason}")]
    Refused { reason: String },
}

/// Who sends: goes into the headers of every message.
#[derive(Clone, Debug)]
pub struct Sender {
    pub collector: String,
    /// Grows with every start.
    pub boot_epoch: u64,
}

/// The way to the queue. Clones share everything.
#[derive(Clone, Debug)]
pub struct Shipper {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    budget: Arc<Semaphore>,
    budget_bytes: usize,
    batch_bytes: usize,
    lanes: watch::Receiver<Option<Arc<Lanes>>>,
    clock: SharedClock,
}

/// The open ends of all lanes, by partition.
#[derive(Debug)]
struct Lanes {
    logs: Vec<mpsc::Sender<Entry>>,
    samples: Vec<mpsc::Sender<Entry>>,
}

/// The sending side; must run for anything to be acknowledged.
#[derive(Debug)]
pub struct ShipTask {
    producer: Arc<dyn Producer>,
    section: ShipSection,
    sender: Sender,
    clock: SharedClock,
    lanes: watch::Sender<Option<Arc<Lanes>>>,
}

/// The steps of stopping, in their order.
#[derive(Clone, Debug, Default)]
pub struct Stopping {
    /// Inputs are to end.
    pub stop: CancellationToken,
    /// Inputs have ended: what they hand over from now on fails, what they handed over is sent.
    pub drain: CancellationToken,
    /// The time for that is up.
    pub abandon: CancellationToken,
}

/// Makes the way to the queue and the task that walks it.
pub fn shipper(
    section: &ShipSection,
    producer: Arc<dyn Producer>,
    sender: Sender,
    clock: SharedClock,
) -> (Shipper, ShipTask) {
    let (lanes_sender, lanes) = watch::channel(None);
    let inner = Inner {
        budget: Arc::new(Semaphore::new(section.in_flight_bytes_max)),
        budget_bytes: section.in_flight_bytes_max,
        batch_bytes: section.batch_bytes,
        lanes,
        clock: Arc::clone(&clock),
    };
    let task = ShipTask { producer, section: section.clone(), sender, clock, lanes: lanes_sender };
    (Shipper { inner: Arc::new(inner) }, task)
}

impl Shipper {
    /// Accepts log rows of any streams; waits while the budget is used up.
    ///
    /// Dropping this call before it returns may leave some of the rows on their way.
    ///
    /// # Errors
    /// [`ShipError::Closed`] when the collector is stopping.
    pub async fn logs(&self, tenant: &TenantId, batch: LogBatch) -> Result<Receipt, ShipError> {
        let lanes = self.lanes().await?;
        let mut receipt = Receipt::default();
        for (partition, part) in message::split(batch, lanes.logs.len(), self.inner.batch_bytes) {
            let bytes = log_bytes(&part);
            let payload = message::Payload::Logs(part);
            receipt.add(self.hand_over(&lanes.logs, partition, tenant, payload, bytes).await?);
        }
        Ok(receipt)
    }

    /// Accepts log rows that all belong to `partition`; see [`Shipper::log_partitions`].
    ///
    /// # Errors
    /// [`ShipError::Closed`] when the collector is stopping.
    pub async fn logs_to(
        &self,
        partition: u32,
        tenant: &TenantId,
        batch: LogBatch,
    ) -> Result<Receipt, ShipError> {
        let lanes = self.lanes().await?;
        let bytes = log_bytes(&batch);
        let payload = message::Payload::Logs(batch);
        let part = self.hand_over(&lanes.logs, partition, tenant, payload, bytes).await?;
        Ok(Receipt { parts: vec![part] })
    }

    /// Accepts samples; waits while the budget is used up. All go to the partition of the first
    /// series: samples need no order among series, and an input is best kept together.
    ///
    /// # Errors
    /// [`ShipError::Closed`] when the collector is stopping.
    pub async fn samples(
        &self,
        tenant: &TenantId,
        batch: SampleBatch,
    ) -> Result<Receipt, ShipError> {
        let lanes = self.lanes().await?;
        let first = batch.series().first().map_or(0, record::Labels::hash64);
        let partitions = u32::try_from(lanes.samples.len()).unwrap_or(u32::MAX);
        let bytes = batch.len() * (ROW_BYTES / 2);
        let payload = message::Payload::Samples(batch);
        let partition = partition_for(first, partitions);
        let part = self.hand_over(&lanes.samples, partition, tenant, payload, bytes).await?;
        Ok(Receipt { parts: vec![part] })
    }

    /// Returns how many partitions logs have; waits until the queue has told.
    ///
    /// # Errors
    /// [`ShipError::Closed`] when the collector is stopping.
    pub async fn log_partitions(&self) -> Result<u32, ShipError> {
        let lanes = self.lanes().await?;
        Ok(u32::try_from(lanes.logs.len()).unwrap_or(u32::MAX))
    }

    /// Returns the bytes accepted and not yet acknowledged.
    pub fn in_flight_bytes(&self) -> usize {
        self.inner.budget_bytes.saturating_sub(self.inner.budget.available_permits())
    }

    async fn hand_over(
        &self,
        lanes: &[mpsc::Sender<Entry>],
        partition: u32,
        tenant: &TenantId,
        payload: message::Payload,
        bytes: usize,
    ) -> Result<oneshot::Receiver<Result<(), ShipError>>, ShipError> {
        let lane = lanes.get(partition as usize).ok_or_else(|| ShipError::Refused {
            reason: format!("there is no partition {partition}"),
        })?;
        let permit = self.room_for(bytes).await?;
        let (done, receipt) = oneshot::channel();
        let accepted = self.inner.clock.elapsed();
        let entry = Entry { tenant: tenant.clone(), payload, permit, done, accepted };
        lane.send(entry).await.map_err(|_| ShipError::Closed)?;
        Ok(receipt)
    }

    /// Waits for room; something larger than the whole budget waits until it has it alone.
    async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ShipError> {
        let wanted = bytes.clamp(1, self.inner.budget_bytes);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.inner.budget);
        budget.acquire_many_owned(wanted).await.map_err(|_| ShipError::Closed)
    }

    async fn lanes(&self) -> Result<Arc<Lanes>, ShipError> {
        let mut lanes = self.inner.lanes.clone();
        let known = lanes.wait_for(Option::is_some).await.map_err(|_| ShipError::Closed)?;
        known.as_ref().map(Arc::clone).ok_or(ShipError::Closed)
    }
}

/// About what a batch takes in memory.
pub(crate) fn log_bytes(batch: &LogBatch) -> usize {
    let lines = usize::try_from(batch.raw_bytes()).unwrap_or(usize::MAX);
    lines.saturating_add(batch.len() * ROW_BYTES)
}

/// The promise that rows are durable: resolves when all of them are, or when one is refused.
#[derive(Debug, Default)]
pub struct Receipt {
    parts: Vec<oneshot::Receiver<Result<(), ShipError>>>,
}

impl Receipt {
    fn add(&mut self, part: oneshot::Receiver<Result<(), ShipError>>) {
        self.parts.push(part);
    }
}

impl Future for Receipt {
    type Output = Result<(), ShipError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(part) = self.parts.last_mut() {
            match Pin::new(part).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Ok(()))) => drop(self.parts.pop()),
                Poll::Ready(Ok(Err(error))) => return Poll::Ready(Err(error)),
                // The lane ended without an answer: nothing is known about the rows.
                Poll::Ready(Err(_)) => return Poll::Ready(Err(ShipError::Closed)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl ShipTask {
    /// Sends until inputs have ended and what they handed over is stored, or until that is
    /// abandoned.
    pub async fn run(self, stopping: Stopping) {
        let asked = async {
            let logs = self.partitions(&Topic::logs()).await;
            (logs, self.partitions(&Topic::samples()).await)
        };
        // Before the queue has told, nothing can be handed over, so there is nothing to drain.
        // Ending here also ends the inputs that wait for the answer.
        let (logs, samples) = tokio::select! {
            counts = asked => counts,
            () = stopping.stop.cancelled() => return,
        };
        let mut running = Vec::new();
        let mut open = |topic: &Topic, kind, count: u32| -> Vec<mpsc::Sender<Entry>> {
            let partitions = 0..i32::try_from(count).unwrap_or(i32::MAX);
            let start = |partition| {
                let (sender, receiver) = mpsc::channel(LANE_BATCHES_MAX);
                let lane = Lane::new(&self, topic, partition, kind, receiver);
                running.push(lane.run(stopping.drain.clone(), stopping.abandon.clone()));
                sender
            };
            partitions.map(start).collect()
        };
        let lanes = Lanes {
            logs: open(&Topic::logs(), BatchKind::Logs, logs),
            samples: open(&Topic::samples(), BatchKind::Samples, samples),
        };
        self.lanes.send_replace(Some(Arc::new(lanes)));
        join_all(running).await;
    }

    /// Asks until the queue answers: while it is away, the files are the buffer.
    async fn partitions(&self, topic: &Topic) -> u32 {
        let mut delays = retry_delays();
        loop {
            match self.producer.partitions(topic).await {
                Ok(count) => return count.max(1),
                Err(error) => {
                    warn!(%topic, %error, "asked the queue for partitions, asking again");
                }
            }
            self.clock.sleep(delays.delay()).await;
        }
    }
}

#[cfg(test)]
mod tests;
