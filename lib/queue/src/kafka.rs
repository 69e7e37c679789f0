//! The queue on Apache Kafka.
//!
//! The only place that names rdkafka. Each producer and each consumer has a thread of its own
//! that serves the client; tasks talk to it through bounded channels.
//!
//! Always holds: acknowledged means that every in-sync replica has it; nothing expires
//! (`message.timeout.ms=0`); order survives retries (idempotence without gaps) and a rebuilt
//! client (everything unacknowledged is sent again, in order). Where reading starts is told by
//! the caller, never by offsets committed to the broker.
//!
//! On a broker outage appends wait and reads are quiet; both go on by themselves. Bounds are in
//! [`KafkaSection`].

mod client;
mod consumer;
mod peek;
mod poll;
mod producer;
mod rebalance;
mod session;
mod settings;
mod topics;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use runtime::clock::SharedClock;

use crate::{Consumer, KafkaSection, Message, Offset, Producer, QueueError, Topic, TopicPartition};
use consumer::KafkaConsumer;
use producer::KafkaProducer;
use topics::Topics;

/// A Kafka cluster; clones share the connection for questions about topics.
#[derive(Clone, Debug)]
pub(crate) struct KafkaQueue {
    section: Arc<KafkaSection>,
    clock: SharedClock,
    topics: Arc<Topics>,
    seats: Seats,
}

/// The numbers taken by this process's consumers, per group.
type Seats = Arc<Mutex<HashMap<String, BTreeSet<u32>>>>;

/// A consumer's number within its group and process, part of its name there. Free again when
/// dropped, so that a consumer made anew is the same member.
#[derive(Debug)]
struct Seat {
    seats: Seats,
    group: String,
    number: u32,
}

impl Seat {
    fn take(seats: &Seats, group: &str) -> Self {
        let mut all = seats.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = all.entry(group.to_owned()).or_default();
        let number = (1..=u32::MAX).find(|number| !taken.contains(number));
        let number = number.unwrap_or(u32::MAX);
        taken.insert(number);
        Self { seats: Arc::clone(seats), group: group.to_owned(), number }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = all.get_mut(&self.group) {
            taken.remove(&self.number);
        }
    }
}

impl KafkaQueue {
    pub(crate) fn open(section: &KafkaSection, clock: SharedClock) -> Result<Self, QueueError> {
        let section = Arc::new(section.clone());
        Ok(Self {
            topics: Arc::new(Topics::new(Arc::clone(&section), Arc::clone(&clock))?),
            section,
            clock,
            seats: Seats::default(),
        })
    }

    pub(crate) fn producer(&self) -> Result<Arc<dyn Producer>, QueueError> {
        let topics = Arc::clone(&self.topics);
        Ok(Arc::new(KafkaProducer::start(&self.section, topics, Arc::clone(&self.clock))?))
    }

    pub(crate) fn consumer(
        &self,
        group: &str,
        topics: &[Topic],
    ) -> Result<Box<dyn Consumer>, QueueError> {
        let seat = Seat::take(&self.seats, group);
        Ok(Box::new(KafkaConsumer::start(
            &self.section,
            group,
            seat,
            topics,
            Arc::clone(&self.topics),
            Arc::clone(&self.clock),
        )?))
    }

    pub(crate) async fn watermarks(
        &self,
        at: &TopicPartition,
    ) -> Result<(Offset, Offset), QueueError> {
        self.topics.watermarks(at).await
    }

    pub(crate) async fn read(
        &self,
        at: &TopicPartition,
        next: Offset,
    ) -> Result<Vec<(Offset, Message)>, QueueError> {
        let (low, high) = self.topics.watermarks(at).await?;
        let next = next.max(low);
        if high <= next {
            return Ok(Vec::new());
        }
        let (section, clock) = (Arc::clone(&self.section), Arc::clone(&self.clock));
        let at = at.clone();
        let reading =
            tokio::task::spawn_blocking(move || peek::read(&section, &clock, &at, next, high));
        reading.await.unwrap_or(Err(QueueError::Closed))
    }

    pub(crate) async fn check(&self) -> Result<(), QueueError> {
        self.topics.check().await
    }

    pub(crate) async fn ensure_topic(
        &self,
        topic: &Topic,
        partitions: u32,
    ) -> Result<(), QueueError> {
        self.topics.ensure(topic, partitions).await
    }
}
