//! The queue between collectors and indexers.
//!
//! One pair of traits, [`Producer`] and [`Consumer`], and three implementations that pass one
//! conformance suite: Kafka, a log on the local disk, and a deterministic one in memory for
//! tests. Nothing outside this crate knows which one it talks to, and no other crate names
//! rdkafka.
//!
//! Always holds: an acknowledged message is durable and is delivered to every group; order within
//! a partition is the order of submission; only durable messages are delivered. The traits'
//! modules say this in full.
//!
//! On a crash: what was acknowledged is there afterwards; what was not may be there too, so
//! readers drop replays.
//!
//! Bounds: every buffer has a size in the configuration ([`QueueSection`]); a full one makes
//! [`Producer::submit`] wait.

mod config;
pub mod conformance;
mod consumer;
mod embedded;
mod error;
mod group;
mod kafka;
mod local;
pub mod memory;
mod names;
mod producer;
pub mod telemetry;

use std::path::Path;
use std::sync::Arc;

use runtime::clock::SharedClock;

pub use config::{
    Compression, KafkaSection, LocalSection, MemorySection, OnFull, QueueSection, SaslMechanism,
    SecurityProtocol, SecuritySection,
};
pub use consumer::{Consumer, ConsumerEvent};
pub use error::QueueError;
pub use memory::MemoryQueue;
pub use names::{Message, Offset, Partition, Topic, TopicPartition};
pub use producer::{Ack, Producer};

/// A queue that is open. Cheap to clone; producers and consumers keep what they need of it alive.
#[derive(Clone, Debug)]
pub struct Queue {
    implementation: Implementation,
}

#[derive(Clone, Debug)]
enum Implementation {
    Memory(MemoryQueue),
    Local(local::LocalQueue),
    Kafka(kafka::KafkaQueue),
}

impl Queue {
    /// Opens the queue that `section` describes; a local one lies under `data_dir`.
    ///
    /// Blocks while a local queue checks its newest files: call it before serving starts.
    ///
    /// # Errors
    ///
    /// [`QueueError::Config`], [`QueueError::Locked`], [`QueueError::Corrupt`] or
    /// [`QueueError::Io`]. An unreachable Kafka is no error here: it may come back.
    pub fn open(
        section: &QueueSection,
        data_dir: &Path,
        clock: SharedClock,
    ) -> Result<Self, QueueError> {
        let implementation = match section {
            QueueSection::Memory(section) => {
                Implementation::Memory(MemoryQueue::new(section.clone(), clock))
            }
            QueueSection::Local(section) => {
                let folder = data_dir.join(&section.path);
                Implementation::Local(local::LocalQueue::open(section, &folder, clock)?)
            }
            QueueSection::Kafka(section) => {
                Implementation::Kafka(kafka::KafkaQueue::open(section, clock)?)
            }
        };
        Ok(Self { implementation })
    }

    /// Returns the sending side. Ask once and share it: Kafka connects anew each time.
    ///
    /// # Errors
    ///
    /// [`QueueError::Config`] when the client refuses its settings.
    pub fn producer(&self) -> Result<Arc<dyn Producer>, QueueError> {
        Ok(match &self.implementation {
            Implementation::Memory(queue) => queue.producer(),
            Implementation::Local(queue) => queue.producer(),
            Implementation::Kafka(queue) => queue.producer()?,
        })
    }

    /// Joins `group` as a reader of `topics`.
    ///
    /// # Errors
    ///
    /// [`QueueError::Config`] when the client refuses its settings.
    pub fn consumer(&self, group: &str, topics: &[Topic]) -> Result<Box<dyn Consumer>, QueueError> {
        Ok(match &self.implementation {
            Implementation::Memory(queue) => queue.consumer(group, topics),
            Implementation::Local(queue) => queue.consumer(group, topics)?,
            Implementation::Kafka(queue) => queue.consumer(group, topics)?,
        })
    }

    /// Makes sure `topic` exists with at least `partitions` partitions, without ever removing any.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unavailable`], [`QueueError::Config`] or [`QueueError::Io`].
    pub async fn ensure_topic(&self, topic: &Topic, partitions: u32) -> Result<(), QueueError> {
        match &self.implementation {
            Implementation::Memory(queue) => {
                queue.ensure_topic(topic, partitions);
                Ok(())
            }
            Implementation::Local(queue) => queue.ensure_topic(topic, partitions).await,
            Implementation::Kafka(queue) => queue.ensure_topic(topic, partitions).await,
        }
    }
}

/// Questions that need no consumer, for whoever watches.
impl Queue {
    /// Returns the oldest readable offset of `at` and the offset its next message will get.
    ///
    /// # Errors
    ///
    /// [`QueueError::UnknownPartition`], [`QueueError::UnknownTopic`], [`QueueError::Unavailable`].
    pub async fn watermarks(&self, at: &TopicPartition) -> Result<(Offset, Offset), QueueError> {
        match &self.implementation {
            Implementation::Memory(queue) => queue.watermarks(at),
            Implementation::Local(queue) => queue.watermarks(at),
            Implementation::Kafka(queue) => queue.watermarks(at).await,
        }
    }

    /// Returns messages of `at` from `next` on without joining a group: as many as come in one
    /// go, none at the end. What was removed or lost is passed over.
    ///
    /// For tools; an indexer reads as a [`Consumer`].
    ///
    /// # Errors
    ///
    /// [`QueueError::UnknownPartition`], [`QueueError::UnknownTopic`], [`QueueError::Unavailable`].
    pub async fn read(
        &self,
        at: &TopicPartition,
        next: Offset,
    ) -> Result<Vec<(Offset, Message)>, QueueError> {
        match &self.implementation {
            Implementation::Memory(queue) => queue.read(at, next).await,
            Implementation::Local(queue) => queue.read(at, next).await,
            Implementation::Kafka(queue) => queue.read(at, next).await,
        }
    }

    /// Asks the queue for a sign of life; nothing remembered will do.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unavailable`] when nobody answered, [`QueueError::Config`] when the answer
    /// was that we may not ask.
    pub async fn check(&self) -> Result<(), QueueError> {
        match &self.implementation {
            Implementation::Memory(queue) => queue.check(),
            Implementation::Local(_) => Ok(()),
            Implementation::Kafka(queue) => queue.check().await,
        }
    }
}

impl From<MemoryQueue> for Queue {
    /// Makes a queue of a memory queue whose faults a test keeps in hand.
    fn from(queue: MemoryQueue) -> Self {
        Self { implementation: Implementation::Memory(queue) }
    }
}
