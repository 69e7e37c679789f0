//! A deterministic queue in memory, with faults to order.
//!
//! No thread and no timer of its own: things happen only inside calls, by the clock handed in.
//! Acknowledgements are never reordered, because no real queue may do that either.
//!
//! On a crash everything is gone. Bounded by messages in flight and by bytes per partition.

mod faults;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use runtime::clock::SharedClock;
use tokio::sync::{Semaphore, oneshot};

use crate::embedded::{self, EmbeddedConsumer, Found, Hub, Logs};
use crate::producer::Lanes;
use crate::{
    Ack, Consumer, MemorySection, Message, Offset, Partition, Producer, QueueError, Topic,
    TopicPartition, telemetry,
};
use state::{Pending, State};

/// A queue in memory. Clones share everything, so a test keeps one to order faults from.
#[derive(Clone, Debug)]
pub struct MemoryQueue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    section: MemorySection,
    clock: SharedClock,
    hub: Hub,
    lanes: Lanes,
    room: Arc<Semaphore>,
    state: Mutex<State>,
}

impl MemoryQueue {
    pub fn new(section: MemorySection, clock: SharedClock) -> Self {
        let room = section.buffer_messages_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State::new(section.partition_bytes_max)),
                section,
                clock,
                hub: Hub::new(),
                lanes: Lanes::default(),
                room: Arc::new(Semaphore::new(room)),
            }),
        }
    }

    pub fn ensure_topic(&self, topic: &Topic, partitions: u32) {
        self.shared.lock().ensure_topic(topic, partitions);
        self.shared.hub.ring();
    }

    pub fn producer(&self) -> Arc<dyn Producer> {
        Arc::new(MemoryProducer { shared: Arc::clone(&self.shared) })
    }

    pub fn consumer(&self, group: &str, topics: &[Topic]) -> Box<dyn Consumer> {
        Box::new(EmbeddedConsumer::join(Arc::clone(&self.shared), group, topics))
    }

    pub(crate) fn watermarks(&self, at: &TopicPartition) -> Result<(Offset, Offset), QueueError> {
        self.check()?;
        self.shared.watermarks(at)
    }

    pub(crate) async fn read(
        &self,
        at: &TopicPartition,
        next: Offset,
    ) -> Result<Vec<(Offset, Message)>, QueueError> {
        self.check()?;
        embedded::peek(&*self.shared, at, next).await
    }

    pub(crate) fn check(&self) -> Result<(), QueueError> {
        if self.shared.lock().connected() {
            return Ok(());
        }
        Err(QueueError::unavailable("connection is down"))
    }

    /// Returns everything durable in one partition, for a test to compare with.
    pub fn messages(&self, at: &TopicPartition) -> Vec<(Offset, Message)> {
        let state = self.shared.lock();
        state
            .log(at)
            .map_or_else(Vec::new, |log| log.read(log.low(), usize::MAX).unwrap_or_default())
    }

    /// Returns the highest offset `group` reported as done, if it reported one.
    pub fn committed(&self, group: &str, at: &TopicPartition) -> Option<Offset> {
        self.shared.lock().committed(group, at)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores what is due, and returns how long until more is; `None` when only a call can tell.
    fn settle(&self) -> Option<Duration> {
        let now = self.clock.elapsed();
        let mut state = self.lock();
        let settled = state.settle(now, &self.lanes);
        let due = state.next_due().map(|due| due.saturating_sub(now));
        drop(state);
        if settled {
            self.hub.ring();
        }
        due
    }
}

#[async_trait]
impl Logs for Shared {
    type Cursor = ();

    fn clock(&self) -> &SharedClock {
        &self.clock
    }

    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn partitions(&self, topic: &Topic) -> u32 {
        self.lock().partitions(topic)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(Offset, Offset), QueueError> {
        let state = self.lock();
        let log = state.log(at).ok_or_else(|| QueueError::UnknownPartition { at: at.clone() })?;
        Ok((log.low(), log.high()))
    }

    async fn read(
        &self,
        at: &TopicPartition,
        next: Offset,
        (): Self::Cursor,
    ) -> Result<Found<Self::Cursor>, QueueError> {
        let state = self.lock();
        let log = state.log(at).ok_or_else(|| QueueError::UnknownPartition { at: at.clone() })?;
        if let Some(last) = log.lost_from(next) {
            return Ok(Found::Lost { last, reason: "a test lost it".to_owned() });
        }
        Ok(match log.read(next, self.section.fetch_messages_max) {
            None => Found::OutOfRange { low: log.low(), high: log.high() },
            Some(messages) if messages.is_empty() => Found::Nothing(()),
            Some(messages) => Found::Messages(messages, ()),
        })
    }

    fn commit(&self, group: &str, at: &TopicPartition, next: Offset) -> Result<(), QueueError> {
        self.lock().commit(group, at, next);
        self.settle();
        Ok(())
    }

    fn trouble(&self) -> (Option<QueueError>, Option<Duration>) {
        let due = self.settle();
        if self.lock().connected() {
            return (None, due);
        }
        (Some(QueueError::unavailable("connection is down")), None)
    }
}

#[derive(Debug)]
struct MemoryProducer {
    shared: Arc<Shared>,
}

#[async_trait]
impl Producer for MemoryProducer {
    async fn partitions(&self, topic: &Topic) -> Result<u32, QueueError> {
        match self.shared.lock().partitions(topic) {
            0 => Err(QueueError::UnknownTopic { topic: topic.to_string() }),
            count => Ok(count),
        }
    }

    async fn submit(
        &self,
        topic: &Topic,
        partition: Partition,
        mut message: Message,
    ) -> Result<Ack, QueueError> {
        let at = TopicPartition::new(topic, partition);
        let (bytes, max) = (message.bytes(), self.shared.section.message_bytes_max);
        if max < bytes {
            return Err(QueueError::TooLarge { at, bytes, max });
        }
        let room =
            Arc::clone(&self.shared.room).acquire_owned().await.map_err(|_| QueueError::Closed)?;
        let (ack, mut outcome) = oneshot::channel();
        let lane = {
            let mut state = self.shared.lock();
            if state.log(&at).is_none() {
                return Err(QueueError::UnknownPartition { at });
            }
            let lane = self.shared.lanes.enter(&at)?;
            message.time_ms.get_or_insert(self.shared.clock.unix_millis());
            state.submit(Pending { at, message, ack, _room: room }, self.shared.clock.elapsed());
            lane
        };
        self.shared.settle();
        let shared = Arc::clone(&self.shared);
        Ok(Ack::new(lane, async move {
            loop {
                let due = shared.settle();
                let nap = async {
                    match due {
                        Some(due) => shared.clock.sleep(due).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    done = &mut outcome => return done.unwrap_or(Err(QueueError::Closed)),
                    () = nap => {}
                }
            }
        }))
    }

    async fn flush(&self, limit: Duration) -> Result<(), QueueError> {
        let shared = &self.shared;
        let deadline = shared.clock.elapsed().saturating_add(limit);
        let last = shared.lock().submitted();
        let mut bell = shared.hub.listen();
        loop {
            let due = shared.settle();
            if shared.lock().settled_through(last) {
                return Ok(());
            }
            let left = deadline.saturating_sub(shared.clock.elapsed());
            if left.is_zero() {
                return Err(QueueError::Deadline { limit });
            }
            tokio::select! {
                _ = bell.changed() => {}
                () = shared.clock.sleep(due.map_or(left, |due| due.min(left))) => {}
            }
        }
    }
}

/// Counts an append that became durable.
fn count_appended(at: &TopicPartition, bytes: usize) {
    let topic = at.topic.to_string();
    metrics::counter!(telemetry::APPENDED_MESSAGES, "topic" => topic.clone()).increment(1);
    metrics::counter!(telemetry::APPENDED_BYTES, "topic" => topic).increment(bytes as u64);
}
