//! Writing to the queue.
//!
//! Always holds, for every implementation:
//! - An acknowledgement that resolves with an offset means the message is durable.
//! - Messages of one partition are stored in the order their `submit` calls returned.
//! - When a message is not stored, no later message of its partition is stored before the caller
//!   has seen it: acknowledgements behind it fail with [`QueueError::Interrupted`], and so does
//!   every new `submit` to that partition until all its open acknowledgements have been awaited
//!   or dropped. Without this, a pipelining sender could store message 2, then repeat message 1,
//!   and an indexer that drops replays by source position would drop message 1.
//! - Outages do not fail acknowledgements, they delay them.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::{Message, Offset, Partition, QueueError, Topic, TopicPartition};

/// The sending side of a queue. Shared by any number of tasks.
#[async_trait]
pub trait Producer: Send + Sync + fmt::Debug {
    /// Returns how many partitions `topic` has.
    ///
    /// # Errors
    ///
    /// [`QueueError::UnknownTopic`], or [`QueueError::Unavailable`] when nobody could tell.
    async fn partitions(&self, topic: &Topic) -> Result<u32, QueueError>;

    /// Gives `message` its place in the order of its partition and starts to store it.
    ///
    /// Waits while the queue's buffer is full: this is the back-pressure. Returns before the
    /// message is durable; the returned [`Ack`] tells when it is. Dropping the `Ack` does not
    /// take the message back. Dropping this call before it returns submits nothing.
    ///
    /// # Errors
    ///
    /// [`QueueError::TooLarge`], [`QueueError::UnknownPartition`], [`QueueError::Interrupted`],
    /// [`QueueError::Full`] by configuration, [`QueueError::Closed`]. Nothing was submitted then.
    async fn submit(
        &self,
        topic: &Topic,
        partition: Partition,
        message: Message,
    ) -> Result<Ack, QueueError>;

    /// Stores `message` and returns its offset once it is durable.
    ///
    /// # Errors
    ///
    /// Those of [`Producer::submit`] and of the acknowledgement.
    async fn append(
        &self,
        topic: &Topic,
        partition: Partition,
        message: Message,
    ) -> Result<Offset, QueueError> {
        self.submit(topic, partition, message).await?.await
    }

    /// Waits until everything submitted before this call is acknowledged or failed.
    ///
    /// # Errors
    ///
    /// [`QueueError::Deadline`] when that took longer than `limit`; the work goes on.
    async fn flush(&self, limit: Duration) -> Result<(), QueueError>;
}

/// The promise of an offset: resolves when the message is durable.
///
/// Kafka cannot tell the offset of a message that was stored at an attempt whose answer got lost;
/// it is -1 then, and the message is durable all the same.
pub struct Ack(BoxFuture<'static, Result<Offset, QueueError>>);

impl Ack {
    /// Wraps `outcome`, keeping `lane` open until it resolves or is dropped.
    pub(crate) fn new(
        lane: Arc<Lane>,
        outcome: impl Future<Output = Result<Offset, QueueError>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(async move {
            let result = outcome.await;
            drop(lane);
            result
        }))
    }

    /// As [`Ack::new`], for the usual case of a channel; a dropped sender reads as closed.
    pub(crate) fn from_channel(
        lane: Arc<Lane>,
        outcome: oneshot::Receiver<Result<Offset, QueueError>>,
    ) -> Self {
        Self::new(lane, async move { outcome.await.unwrap_or(Err(QueueError::Closed)) })
    }
}

impl Future for Ack {
    type Output = Result<Offset, QueueError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ack")
    }
}

/// A run of messages to one partition with no failure in it. Every open [`Ack`] holds its lane.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    interrupted: AtomicBool,
}

/// The current lane of every partition.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    current: Mutex<HashMap<TopicPartition, Arc<Lane>>>,
}

impl Lanes {
    /// Returns the lane a new message to `at` joins.
    ///
    /// # Errors
    ///
    /// [`QueueError::Interrupted`] while acknowledgements of an interrupted lane are open.
    pub(crate) fn enter(&self, at: &TopicPartition) -> Result<Arc<Lane>, QueueError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = current.entry(at.clone()).or_default();
        if lane.interrupted.load(Ordering::Acquire) {
            if 1 < Arc::strong_count(lane) {
                return Err(QueueError::Interrupted { at: at.clone() });
            }
            *lane = Arc::default();
        }
        Ok(Arc::clone(lane))
    }

    /// Marks the lane of `at`: nothing joins it any more.
    pub(crate) fn interrupt(&self, at: &TopicPartition) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = current.get(at) {
            lane.interrupted.store(true, Ordering::Release);
        }
    }
}
