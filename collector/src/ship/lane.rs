//! One partition's lane: sends its batches in order, several at a time.
//!
//! What always holds: messages are submitted in the order their batches came. When one is not
//! stored, the queue stores none behind it until every open acknowledgement has been awaited
//! (see `queue::Producer`); the lane then submits again from the first that failed, in order.
//! Otherwise an indexer would take the later rows first and drop the repeated earlier ones as
//! replays.
//!
//! Batches of one tenant that wait together become one message, so that many small pushes do not
//! make many small messages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};
use queue::{Ack, Offset, Partition, Producer, QueueError, Topic};
use record::{BatchKind, TenantId};
use runtime::backoff::Backoff;
use runtime::clock::SharedClock;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::message::{self, Payload};
use super::waiting::Waiting;
use super::{Sender, ShipError, ShipTask, retry_delays};
use crate::telemetry;

/// A batch on its way into a lane.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) tenant: TenantId,
    pub(crate) payload: Payload,
    /// Its share of the budget; free again once the rows are durable.
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) done: oneshot::Sender<Result<(), ShipError>>,
    /// When it was handed over, on the collector's monotonic clock.
    pub(crate) accepted: Duration,
}

/// One message to be, and those who wait for it.
#[derive(Debug)]
struct Group {
    tenant: TenantId,
    payload: Payload,
    /// Size on the queue, once it has been encoded.
    encoded_bytes: u64,
    waiting: Arc<Waiting>,
}

/// The sender of one partition.
#[derive(Debug)]
pub(crate) struct Lane {
    producer: Arc<dyn Producer>,
    topic: Topic,
    partition: Partition,
    kind: BatchKind,
    sender: Sender,
    clock: SharedClock,
    batch_bytes: usize,
    window_max: usize,
    entries: mpsc::Receiver<Entry>,
    /// Taken from `entries` but not yet part of a group.
    next: Option<Entry>,
    /// Submitted and not yet acknowledged, in order.
    window: VecDeque<(Group, Ack)>,
    /// To be submitted, again or for the first time; all of it comes after the window.
    unsent: VecDeque<Group>,
    delays: Backoff,
}

/// Why rows are dropped.
const REJECTED: &str = "rejected";
const TOO_LARGE: &str = "too_large";

/// The queue is closed for good: nobody will get an answer any more.
struct QueueClosed;

impl Lane {
    pub(crate) fn new(
        task: &ShipTask,
        topic: &Topic,
        partition: i32,
        kind: BatchKind,
        entries: mpsc::Receiver<Entry>,
    ) -> Self {
        // Those who watch for drops would miss the first, had there been nothing before it.
        for reason in [REJECTED, TOO_LARGE] {
            for name in [telemetry::DROPPED_RECORDS, telemetry::DROPPED_BYTES] {
                counter!(name, "topic" => topic.to_string(), "reason" => reason).increment(0);
            }
        }
        Self {
            producer: Arc::clone(&task.producer),
            topic: topic.clone(),
            partition: Partition(partition),
            kind,
            sender: task.sender.clone(),
            clock: Arc::clone(&task.clock),
            batch_bytes: task.section.batch_bytes,
            window_max: task.section.in_flight_batches_max,
            entries,
            next: None,
            window: VecDeque::new(),
            unsent: VecDeque::new(),
            delays: retry_delays(),
        }
    }

    /// Sends until `drain` and everything handed over before it is stored, or until `abandon`.
    pub(crate) async fn run(mut self, drain: CancellationToken, abandon: CancellationToken) {
        let ended = tokio::select! {
            () = abandon.cancelled() => return,
            ended = self.send_all(&drain) => ended,
        };
        if let Err(QueueClosed) = ended {
            error!(topic = %self.topic, partition = %self.partition, "queue closed, not sending any more");
            // Keep refusing, so that no input waits for room that will never come.
            self.entries.close();
        }
    }

    async fn send_all(&mut self, drain: &CancellationToken) -> Result<(), QueueClosed> {
        let mut drained = false;
        loop {
            self.fill_window().await?;
            let idle = self.window.is_empty() && self.unsent.is_empty() && self.next.is_none();
            if drained && idle {
                return Ok(());
            }
            let wants_more = !drained
                && self.next.is_none()
                && self.unsent.is_empty()
                && self.window.len() < self.window_max;
            tokio::select! {
                biased;
                outcome = front(&mut self.window) => self.settle_front(outcome).await?,
                entry = self.entries.recv(), if wants_more => match entry {
                    Some(entry) => self.next = Some(entry),
                    None => drained = true,
                },
                () = drain.cancelled(), if !self.entries.is_closed() => self.entries.close(),
            }
        }
    }

    /// Submits what there is until the window is full.
    async fn fill_window(&mut self) -> Result<(), QueueClosed> {
        while self.window.len() < self.window_max {
            let group = match self.unsent.pop_front() {
                Some(group) => group,
                None => match self.gather() {
                    Some(group) => group,
                    None => return Ok(()),
                },
            };
            let Some((group, error)) = self.submit(group).await else { continue };
            self.unsent.push_front(group);
            if matches!(error, QueueError::Interrupted { .. }) && !self.window.is_empty() {
                // The cause comes with the acknowledgement that failed.
                return Ok(());
            }
            self.deal_with(error).await?;
        }
        Ok(())
    }

    /// Hands a group to the queue; returns it with the error when that failed.
    async fn submit(&mut self, mut group: Group) -> Option<(Group, QueueError)> {
        let message = match group.payload.message(&group.tenant, &self.sender) {
            Ok(message) => message,
            Err(error) => {
                self.refuse(&group, "encode", error.to_string());
                return None;
            }
        };
        group.encoded_bytes = message.payload.len() as u64;
        match self.producer.submit(&self.topic, self.partition, message).await {
            Ok(ack) => {
                let topic = self.topic.to_string();
                counter!(telemetry::SENT_RECORDS, "topic" => topic.clone())
                    .increment(group.payload.rows() as u64);
                counter!(telemetry::SENT_BYTES, "topic" => topic).increment(group.encoded_bytes);
                self.window.push_back((group, ack));
                None
            }
            Err(error) => Some((group, error)),
        }
    }

    /// Makes one group of the batches that wait and fit together.
    fn gather(&mut self) -> Option<Group> {
        let first = self.next.take().or_else(|| self.entries.try_recv().ok())?;
        let (tenant, accepted) = (first.tenant, first.accepted);
        let mut bytes = first.payload.bytes();
        let mut waiting = vec![(first.permit, first.done)];
        let mut payloads = vec![first.payload];
        while self.kind == BatchKind::Logs {
            let Ok(entry) = self.entries.try_recv() else { break };
            if entry.tenant != tenant || self.batch_bytes < bytes + entry.payload.bytes() {
                self.next = Some(entry);
                break;
            }
            bytes += entry.payload.bytes();
            waiting.push((entry.permit, entry.done));
            payloads.push(entry.payload);
        }
        let waiting = Arc::new(Waiting::new(waiting, accepted));
        let payload = message::join(payloads)?;
        Some(Group { tenant, payload, encoded_bytes: 0, waiting })
    }

    async fn settle_front(
        &mut self,
        outcome: Result<Offset, QueueError>,
    ) -> Result<(), QueueClosed> {
        let Some((group, _)) = self.window.pop_front() else { return Ok(()) };
        let Err(cause) = outcome else {
            self.acknowledge(&group);
            return Ok(());
        };
        // The queue takes nothing more before everything behind the failure has been awaited.
        let mut failed = vec![group];
        while let Some((group, ack)) = self.window.pop_front() {
            match ack.await {
                Ok(_) => self.acknowledge(&group),
                Err(_) => failed.push(group),
            }
        }
        for group in failed.into_iter().rev() {
            self.unsent.push_front(group);
        }
        self.deal_with(cause).await
    }

    /// Does what the failure of the first unsent group asks for.
    async fn deal_with(&mut self, cause: QueueError) -> Result<(), QueueClosed> {
        match cause {
            QueueError::Closed => Err(QueueClosed),
            QueueError::TooLarge { .. } => {
                self.make_smaller(&cause);
                Ok(())
            }
            QueueError::Rejected { .. } => {
                if let Some(group) = self.unsent.pop_front() {
                    self.refuse(&group, REJECTED, cause.to_string());
                }
                Ok(())
            }
            // Also what someone has to step in for: the rows wait, and so do the files.
            _ => {
                let delay = self.delays.delay();
                counter!(telemetry::SEND_RETRIES, "topic" => self.topic.to_string()).increment(1);
                warn!(topic = %self.topic, partition = %self.partition, error = %cause, ?delay, "batch not stored, sending again");
                self.clock.sleep(delay).await;
                Ok(())
            }
        }
    }

    /// Replaces the first unsent group by two halves, or its only row by a shorter one.
    fn make_smaller(&mut self, cause: &QueueError) {
        let Some(group) = self.unsent.pop_front() else { return };
        if let Some((first, second)) = group.payload.halve() {
            group.waiting.also_waits();
            for payload in [second, first] {
                let (tenant, waiting) = (group.tenant.clone(), Arc::clone(&group.waiting));
                self.unsent.push_front(Group { tenant, payload, encoded_bytes: 0, waiting });
            }
            return;
        }
        match group.payload.shorten() {
            Some(payload) => self.unsent.push_front(Group { payload, ..group }),
            None => self.refuse(&group, TOO_LARGE, cause.to_string()),
        }
    }

    fn acknowledge(&mut self, group: &Group) {
        self.delays.reset();
        let topic = self.topic.to_string();
        let waited = self.clock.elapsed().saturating_sub(group.waiting.accepted());
        counter!(telemetry::ACKED_RECORDS, "topic" => topic.clone())
            .increment(group.payload.rows() as u64);
        counter!(telemetry::ACKED_BYTES, "topic" => topic.clone()).increment(group.encoded_bytes);
        histogram!(telemetry::ACK_SECONDS, "topic" => topic).record(waited.as_secs_f64());
        group.waiting.answer(Ok(()));
    }

    fn refuse(&self, group: &Group, reason: &'static str, text: String) {
        let topic = self.topic.to_string();
        error!(%topic, partition = %self.partition, rows = group.payload.rows(), reason, error = text, "rows dropped");
        counter!(telemetry::DROPPED_RECORDS, "topic" => topic.clone(), "reason" => reason)
            .increment(group.payload.rows() as u64);
        counter!(telemetry::DROPPED_BYTES, "topic" => topic, "reason" => reason)
            .increment(group.payload.raw_bytes());
        group.waiting.answer(Err(ShipError::Refused { reason: text }));
    }
}

/// Waits for the oldest acknowledgement; for ever when there is none.
async fn front(window: &mut VecDeque<(Group, Ack)>) -> Result<Offset, QueueError> {
    match window.front_mut() {
        Some((_, ack)) => ack.await,
        None => std::future::pending().await,
    }
}
