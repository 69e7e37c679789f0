//! Sending to Kafka.
//!
//! Every submitted message is kept here until it is acknowledged, numbered in order of
//! submission. The client is given messages in that order; when it fails for good (idempotence
//! lost, a gap it refuses to make), it is thrown away, a new one is built, and everything kept is
//! given to it again, in order. That may store a message twice, never out of order and never not
//! at all; readers drop replays.
//!
//! One thread serves the client. Bounds: `buffer_bytes_max`, by a semaphore that hands out room
//! in order of asking.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::statistics::Statistics;
use runtime::backoff::Backoff;
use runtime::clock::{SharedClock, within};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::producer::Lanes;
use crate::{
    Ack, KafkaSection, Message, Offset, Partition, Producer, QueueError, Topic, TopicPartition,
    telemetry,
};

use super::client::{Reporter, request_error};
use super::settings;
use super::topics::{TopicFacts, Topics};

/// The buffer is counted in pieces of this size, since a semaphore counts to 2^32 at most.
const ROOM_BYTES: usize = 1_024;

/// How long the thread serves the client before it looks around. Acknowledgements do not wait for
/// it; only messages the client had no room for do.
const SERVE: Duration = Duration::from_millis(50);

/// The same while no message waits. The client keeps a processor busy for the last millisecond of
/// every wait, so that an idle one waits longer.
const SERVE_IDLE: Duration = Duration::from_millis(250);

/// How long a client that failed may take to hand everything back.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Pauses between attempts to build a client anew, and between questions about a topic.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

type Client = BaseProducer<Deliveries>;

#[derive(Debug)]
pub(super) struct KafkaProducer {
    shared: Arc<Shared>,
    topics: Arc<Topics>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    clock: SharedClock,
    lanes: Lanes,
    room: Arc<Semaphore>,
    room_total: u32,
    closing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is not acknowledged, by number of submission.
    kept: BTreeMap<usize, Kept>,
    submitted: usize,
    /// Messages from this number on have not been given to the client.
    unsent: usize,
    client: Option<Arc<Client>>,
    /// Why the client must be replaced.
    failed: Option<String>,
}

struct Kept {
    at: TopicPartition,
    message: Message,
    ack: oneshot::Sender<Result<Offset, QueueError>>,
    room: OwnedSemaphorePermit,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("kept", &self.lock().kept.len())
            .finish_non_exhaustive()
    }
}

impl KafkaProducer {
    pub(super) fn start(
        section: &KafkaSection,
        topics: Arc<Topics>,
        clock: SharedClock,
    ) -> Result<Self, QueueError> {
        let config = settings::producer(section)?;
        let pieces = section.buffer_bytes_max.max(section.message_bytes_max) / ROOM_BYTES;
        let room_total = u32::try_from(pieces)
            .unwrap_or(u32::MAX)
            .clamp(2, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let shared = Arc::new(Shared {
            clock,
            lanes: Lanes::default(),
            room: Arc::new(Semaphore::new(room_total as usize)),
            room_total,
            closing: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let client = shared.build(&config).map_err(|error| request_error(&error))?;
        shared.lock().client = Some(client);
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("kafka-producer".to_owned())
            .spawn(move || serving.serve(&config))
            .map_err(QueueError::unavailable)?;
        Ok(Self { shared, topics, thread: Some(thread) })
    }

    /// Returns the facts about the topic, waiting while nobody can tell them: an outage delays.
    async fn facts(&self, at: &TopicPartition) -> Result<TopicFacts, QueueError> {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        loop {
            match self.topics.facts_of(at).await {
                Err(QueueError::Unavailable { .. }) => {
                    self.shared.clock.sleep(backoff.delay()).await;
                }
                told => return told,
            }
        }
    }
}

#[async_trait]
impl Producer for KafkaProducer {
    async fn partitions(&self, topic: &Topic) -> Result<u32, QueueError> {
        Ok(self.topics.facts(topic).await?.partitions)
    }

    async fn submit(
        &self,
        topic: &Topic,
        partition: Partition,
        message: Message,
    ) -> Result<Ack, QueueError> {
        let at = TopicPartition::new(topic, partition);
        let bytes = message.bytes();
        let max = self.facts(&at).await?.message_bytes_max;
        if max < bytes {
            return Err(QueueError::TooLarge { at, bytes, max });
        }
        if message.headers.iter().any(|(name, _)| name.contains('\0')) {
            let reason = "a header's name holds a zero byte".to_owned();
            return Err(QueueError::Rejected { at, reason });
        }
        let shared = &self.shared;
        let pieces = u32::try_from(bytes.div_ceil(ROOM_BYTES)).unwrap_or(u32::MAX);
        let room = Arc::clone(&shared.room)
            .acquire_many_owned(pieces.min(shared.room_total))
            .await
            .map_err(|_| QueueError::Closed)?;
        let (ack, outcome) = oneshot::channel();
        // The lane and the number are taken together: order is decided here.
        let mut state = shared.lock();
        let lane = shared.lanes.enter(&at)?;
        let number = state.submitted;
        state.submitted += 1;
        metrics::gauge!(telemetry::BUFFERED_BYTES).increment(bytes as f64);
        state.kept.insert(number, Kept { at, message, ack, room });
        state.send();
        drop(state);
        Ok(Ack::from_channel(lane, outcome))
    }

    async fn flush(&self, limit: Duration) -> Result<(), QueueError> {
        // Whoever holds the whole buffer knows that nothing else is in it.
        let everything = self.shared.room.acquire_many(self.shared.room_total);
        match within(&*self.shared.clock, limit, everything).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) => Err(QueueError::Closed),
            None => Err(QueueError::Deadline { limit }),
        }
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        // The thread lets go of what was not acknowledged; it takes a moment at most.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl State {
    /// Gives the client what it has not been given, in order, as far as it has room.
    fn send(&mut self) {
        let Some(client) = &self.client else { return };
        if self.failed.is_some() {
            return;
        }
        for (number, kept) in self.kept.range(self.unsent..) {
            match client.send(record(kept, *number)) {
                Ok(()) => self.unsent = *number + 1,
                Err((error, _)) => {
                    match error.rdkafka_error_code() {
                        // The thread tries again.
                        Some(
                            RDKafkaErrorCode::QueueFull
                            | RDKafkaErrorCode::UnknownTopic
                            | RDKafkaErrorCode::UnknownPartition
                            | RDKafkaErrorCode::UnknownTopicOrPartition
                            | RDKafkaErrorCode::TopicAuthorizationFailed,
                        ) => {}
                        _ => self.failed = Some(error.to_string()),
                    }
                    return;
                }
            }
        }
    }
}

fn record(kept: &Kept, number: usize) -> BaseRecord<'_, [u8], [u8], usize> {
    let mut record = BaseRecord::with_opaque_to(kept.at.topic.as_str(), number)
        .partition(kept.at.partition.0)
        .payload(&kept.message.payload[..]);
    if let Some(key) = &kept.message.key {
        record = record.key(&key[..]);
    }
    if let Some(time_ms) = kept.message.time_ms {
        record = record.timestamp(time_ms);
    }
    if !kept.message.headers.is_empty() {
        let all = OwnedHeaders::new_with_capacity(kept.message.headers.len());
        let all = kept.message.headers.iter().fold(all, |all, (name, value)| {
            all.insert(Header { key: name, value: Some(&value[..]) })
        });
        record = record.headers(all);
    }
    record
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn build(self: &Arc<Self>, config: &ClientConfig) -> Result<Arc<Client>, KafkaError> {
        let deliveries = Deliveries {
            reporter: Reporter::new("producer", Arc::clone(&self.clock)),
            shared: Arc::downgrade(self),
        };
        BaseProducer::from_config_and_context(config, deliveries).map(Arc::new)
    }

    /// The thread: serves the client and replaces it when it fails.
    fn serve(self: &Arc<Self>, config: &ClientConfig) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        let mut acknowledged_at_rebuild = usize::MAX;
        while !self.closing.load(Ordering::Acquire) {
            let (client, idle) = {
                let state = self.lock();
                (state.client.clone(), state.kept.is_empty())
            };
            if let Some(client) = client {
                client.poll(if idle { SERVE_IDLE } else { SERVE });
                let fatal = client.client().fatal_error();
                let mut state = self.lock();
                if let Some((code, reason)) = fatal
                    && state.failed.is_none()
                {
                    state.failed = Some(format!("{code}: {reason}"));
                }
                state.send();
                if state.failed.is_none() {
                    continue;
                }
                // Progress since the last rebuild means that trouble is new.
                let acknowledged = state.submitted - state.kept.len();
                if acknowledged != acknowledged_at_rebuild {
                    backoff.reset();
                }
                acknowledged_at_rebuild = acknowledged;
            }
            self.rebuild(config, &mut backoff);
        }
        let client = self.lock().client.take();
        drop(client);
        // Whoever still waits for these is told that the queue is closed.
        self.lock().kept.clear();
    }

    /// Throws the client away, waits a little and builds another, which gets everything again.
    fn rebuild(self: &Arc<Self>, config: &ClientConfig, backoff: &mut Backoff) {
        let (client, reason) = {
            let mut state = self.lock();
            (state.client.take(), state.failed.clone())
        };
        let reason = reason.unwrap_or_default();
        tracing::warn!(%reason, "kafka producer failed; building another and sending again");
        metrics::counter!(telemetry::PRODUCER_REBUILDS).increment(1);
        if let Some(client) = client {
            client.purge(PurgeConfig::default().queue().inflight());
            // Reports that are on their way still count: what they acknowledge is not sent again.
            if let Err(error) = client.flush(DRAIN_MAX) {
                tracing::warn!(%error, "kafka producer did not hand back everything in time");
            }
        }
        let pause = self.clock.elapsed() + backoff.delay();
        while self.clock.elapsed() < pause && !self.closing.load(Ordering::Acquire) {
            std::thread::sleep(SERVE);
        }
        match self.build(config) {
            Ok(client) => {
                let mut state = self.lock();
                state.failed = None;
                state.unsent = state.kept.first_key_value().map_or(state.submitted, |kept| *kept.0);
                state.client = Some(client);
                state.send();
            }
            Err(error) => tracing::warn!(%error, "cannot build a kafka producer"),
        }
    }

    fn delivered(&self, number: usize, offset: Offset) {
        let Some(kept) = self.lock().kept.remove(&number) else {
            return;
        };
        let bytes = kept.message.bytes();
        let topic = kept.at.topic.to_string();
        metrics::counter!(telemetry::APPENDED_MESSAGES, "topic" => topic.clone()).increment(1);
        metrics::counter!(telemetry::APPENDED_BYTES, "topic" => topic).increment(bytes as u64);
        kept.settle(Ok(offset));
    }

    fn undelivered(&self, number: usize, error: &KafkaError) {
        let code = error.rdkafka_error_code();
        let mut state = self.lock();
        match code {
            // Our own doing while the client is replaced: it stays kept.
            Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => {}
            Some(code) if never_accepted(code) => {
                // The client stops after this one; whatever else it holds comes back.
                state.failed.get_or_insert_with(|| error.to_string());
                let fallen = state.reject(number);
                // Before the lock goes: nobody may join the lane of a message that failed.
                if let Some(first) = fallen.first() {
                    self.lanes.interrupt(&first.at);
                }
                drop(state);
                Self::hand_back(fallen, code);
            }
            _ => {
                state.failed.get_or_insert_with(|| error.to_string());
            }
        }
    }

    /// Fails a rejected message (the first) and those behind it in its partition.
    fn hand_back(fallen: Vec<Kept>, code: RDKafkaErrorCode) {
        for (place, kept) in fallen.into_iter().enumerate() {
            let at = kept.at.clone();
            metrics::counter!(telemetry::APPEND_FAILURES, "topic" => at.topic.to_string())
                .increment(1);
            let bytes = kept.message.bytes();
            kept.settle(Err(match (place, code) {
                (0, RDKafkaErrorCode::MessageSizeTooLarge) => QueueError::TooLarge {
                    at,
                    bytes,
                    // The broker does not say where its limit is, only that this is above.
                    max: bytes - 1,
                },
                (0, _) => QueueError::Rejected { at, reason: code.to_string() },
                _ => QueueError::Interrupted { at },
            }));
        }
    }
}

impl State {
    /// Takes out message `number` and all later ones of its partition.
    fn reject(&mut self, number: usize) -> Vec<Kept> {
        let Some(at) = self.kept.get(&number).map(|kept| kept.at.clone()) else {
            return Vec::new();
        };
        let behind = self.kept.range(number..);
        let numbers: Vec<usize> =
            behind.filter(|(_, kept)| kept.at == at).map(|(number, _)| *number).collect();
        let taken = numbers.iter().filter_map(|number| self.kept.remove(number));
        taken.collect()
    }
}

impl Kept {
    fn settle(self, outcome: Result<Offset, QueueError>) {
        metrics::gauge!(telemetry::BUFFERED_BYTES).decrement(self.message.bytes() as f64);
        // The sender may have stopped listening.
        drop(self.ack.send(outcome));
        drop(self.room);
    }
}

/// Returns whether the broker will refuse this very message however often it is sent.
fn never_accepted(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp
    )
}

/// Receives the client's reports. Weak, since the client it belongs to is owned by what it tells.
struct Deliveries {
    reporter: Reporter,
    shared: std::sync::Weak<Shared>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.reporter.log(level, facility, text);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        match result {
            Ok(message) => shared.delivered(number, Offset(message.offset().max(-1))),
            Err((error, _)) => shared.undelivered(number, error),
        }
    }
}
