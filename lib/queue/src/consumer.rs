//! Reading from the queue.
//!
//! Always holds, for every implementation:
//! - The partitions of a topic are shared out among the consumers of a group; each partition has
//!   at most one of them at a time as far as the group can tell. A consumer cut off from the
//!   group may learn late; the catalog's epochs fence it.
//! - An assigned partition is silent until [`Consumer::seek`]: the catalog, not the queue, knows
//!   where to go on.
//! - Messages of a partition arrive in order of offset, without gaps in what was stored. Offsets
//!   may jump; where messages were lost, [`ConsumerEvent::Lost`] comes in their place.
//! - Only durable messages are seen: none of them can vanish in a crash.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Message, Offset, QueueError, TopicPartition};

/// What a consumer is told. A closed set: match it fully.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerEvent {
    /// These partitions are ours from now on. They are silent until `seek`.
    Assigned(Vec<TopicPartition>),

    /// These partitions are ours no longer: no message of them follows.
    ///
    /// The next call of [`Consumer::next`] releases them to their new owner, so finish first
    /// what must be finished; how long the group waits for that is bounded.
    Revoked(Vec<TopicPartition>),

    /// Messages of one partition, in order, at least one.
    Messages(TopicPartition, Vec<(Offset, Message)>),

    /// The next offset to read is not there: it was removed (`wanted < low`) or never written
    /// (`high < wanted`). The partition is silent until `seek`.
    OutOfRange {
        at: TopicPartition,
        wanted: Offset,
        /// The oldest offset that can be read.
        low: Offset,
        /// The offset the next message will get.
        high: Offset,
    },

    /// Stored messages cannot be read any more; reading goes on after `last`.
    Lost {
        at: TopicPartition,
        first: Offset,
        last: Offset,
        /// What happened and where the remains are.
        reason: String,
    },
}

/// A member of a consumer group. Owned by one task.
#[async_trait]
pub trait Consumer: Send + fmt::Debug {
    /// Waits up to `max_wait` for the next event; `None` when there was none.
    ///
    /// Wakes at once when a message becomes durable. Cancel-safe: dropping the call loses nothing.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unavailable`] for trouble that passes by itself: call again after a pause.
    async fn next(&mut self, max_wait: Duration) -> Result<Option<ConsumerEvent>, QueueError>;

    /// Reads `at` from `next` on, whether it was silent, running or paused; it is running then.
    ///
    /// An offset outside the partition is reported as [`ConsumerEvent::OutOfRange`].
    ///
    /// # Errors
    ///
    /// [`QueueError::NotAssigned`] when the partition is not ours (any more).
    async fn seek(&mut self, at: &TopicPartition, next: Offset) -> Result<(), QueueError>;

    /// Stops delivery of `at` until [`Consumer::resume`], to bound memory. Keeps its place.
    ///
    /// # Errors
    ///
    /// [`QueueError::NotAssigned`].
    async fn pause(&mut self, at: &TopicPartition) -> Result<(), QueueError>;

    /// Goes on where [`Consumer::pause`] stopped.
    ///
    /// # Errors
    ///
    /// [`QueueError::NotAssigned`].
    async fn resume(&mut self, at: &TopicPartition) -> Result<(), QueueError>;

    /// Returns the oldest readable offset of `at` and the offset its next message will get.
    ///
    /// # Errors
    ///
    /// [`QueueError::UnknownPartition`], [`QueueError::Unavailable`].
    async fn watermarks(&mut self, at: &TopicPartition) -> Result<(Offset, Offset), QueueError>;

    /// Reports that everything below `next` is published.
    ///
    /// Advisory: for lag tools and for retention. Reading never starts from it.
    ///
    /// # Errors
    ///
    /// [`QueueError::NotAssigned`], [`QueueError::Unavailable`]; may be ignored.
    async fn commit_advisory(
        &mut self,
        at: &TopicPartition,
        next: Offset,
    ) -> Result<(), QueueError>;

    /// Leaves the group and gives its partitions up.
    ///
    /// # Errors
    ///
    /// When leaving could not be announced; the group finds out by itself.
    async fn close(self: Box<Self>) -> Result<(), QueueError>;
}
