//! The consumer of the queues that live inside this process.
//!
//! Memory and local disk differ in where messages lie; who reads what, from where, and how readers
//! wake is the same and is written once here.
//!
//! Always holds: a position moves only when the messages before it were handed out, so a dropped
//! call loses nothing; every durable append and every change of a group wakes all readers.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use runtime::clock::SharedClock;
use tokio::sync::watch;

use crate::group::{GroupEvent, Groups, MemberId};
use crate::{
    Consumer, ConsumerEvent, Message, Offset, QueueError, Topic, TopicPartition, telemetry,
};

/// What a read found.
#[derive(Debug)]
pub(crate) enum Found<C> {
    /// Nothing at or above the offset yet.
    Nothing(C),
    /// Messages from the offset on, and where the next read starts faster than by a search.
    Messages(Vec<(Offset, Message)>, C),
    /// The offset was removed or never written.
    OutOfRange { low: Offset, high: Offset },
    /// Messages up to and including `last` cannot be read.
    Lost { last: Offset, reason: String },
}

/// Where messages lie.
#[async_trait]
pub(crate) trait Logs: Send + Sync + fmt::Debug + 'static {
    /// Where a read stopped; only ever a shortcut.
    type Cursor: Default + Send + Sync + fmt::Debug;

    fn clock(&self) -> &SharedClock;

    fn hub(&self) -> &Hub;

    /// Returns the number of partitions; 0 when there is no such topic.
    fn partitions(&self, topic: &Topic) -> u32;

    fn watermarks(&self, at: &TopicPartition) -> Result<(Offset, Offset), QueueError>;

    async fn read(
        &self,
        at: &TopicPartition,
        next: Offset,
        cursor: Self::Cursor,
    ) -> Result<Found<Self::Cursor>, QueueError>;

    fn commit(&self, group: &str, at: &TopicPartition, next: Offset) -> Result<(), QueueError>;

    /// Returns an error the next call of a consumer must report, and how long a reader may sleep
    /// without missing something that happens by time alone.
    fn trouble(&self) -> (Option<QueueError>, Option<Duration>) {
        (None, None)
    }
}

/// Reads without a group: messages from `next` on, none at the end.
pub(crate) async fn peek<L: Logs>(
    logs: &L,
    at: &TopicPartition,
    mut next: Offset,
) -> Result<Vec<(Offset, Message)>, QueueError> {
    loop {
        match logs.read(at, next, L::Cursor::default()).await? {
            Found::Messages(messages, _) => return Ok(messages),
            Found::Lost { last, .. } => next = last.next(),
            Found::OutOfRange { low, .. } if next < low => next = low,
            Found::Nothing(_) | Found::OutOfRange { .. } => return Ok(Vec::new()),
        }
    }
}

/// Groups, and the bell that wakes their members.
#[derive(Debug)]
pub(crate) struct Hub {
    groups: Mutex<Groups>,
    bell: watch::Sender<u64>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self { groups: Mutex::default(), bell: watch::Sender::new(0) }
    }

    pub(crate) fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an ear for the bell.
    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Wakes every reader.
    pub(crate) fn ring(&self) {
        self.bell.send_modify(|count| *count = count.wrapping_add(1));
    }
}

#[derive(Debug)]
struct Position<C> {
    /// The next offset to hand out; `None` until `seek`.
    next: Option<Offset>,
    paused: bool,
    cursor: C,
}

/// A member of a group on an in-process queue.
#[derive(Debug)]
pub(crate) struct EmbeddedConsumer<L: Logs> {
    logs: Arc<L>,
    group: String,
    member: MemberId,
    bell: watch::Receiver<u64>,
    positions: BTreeMap<TopicPartition, Position<L::Cursor>>,
    /// Reports of `seek` that wait for the next call.
    waiting: VecDeque<ConsumerEvent>,
    /// Read last, so that the next read begins with another partition.
    served: Option<TopicPartition>,
}

impl<L: Logs> EmbeddedConsumer<L> {
    pub(crate) fn join(logs: Arc<L>, group: &str, topics: &[Topic]) -> Self {
        let hub = logs.hub();
        let bell = hub.listen();
        let member = hub.groups().join(group, topics);
        hub.ring();
        Self {
            group: group.to_owned(),
            member,
            bell,
            positions: BTreeMap::new(),
            waiting: VecDeque::new(),
            served: None,
            logs,
        }
    }

    fn group_event(&mut self) -> Option<ConsumerEvent> {
        let logs = &self.logs;
        let (event, released) =
            logs.hub().groups().poll(&self.group, self.member, |topic| logs.partitions(topic));
        if released {
            logs.hub().ring();
        }
        let (kind, event) = match event? {
            GroupEvent::Assigned(all) => {
                for at in &all {
                    let silent =
                        Position { next: None, paused: false, cursor: L::Cursor::default() };
                    self.positions.insert(at.clone(), silent);
                    count_lost(at, 0);
                }
                ("assigned", ConsumerEvent::Assigned(all))
            }
            GroupEvent::Revoked(all) => {
                for at in &all {
                    self.positions.remove(at);
                    forget_reports(&mut self.waiting, at);
                }
                ("revoked", ConsumerEvent::Revoked(all))
            }
        };
        metrics::counter!(telemetry::REBALANCES, "group" => self.group.clone(), "kind" => kind)
            .increment(1);
        Some(event)
    }

    /// Returns the partitions to read, beginning after the one served last.
    fn turns(&self) -> Vec<TopicPartition> {
        let ready: Vec<&TopicPartition> = self
            .positions
            .iter()
            .filter(|(_, position)| position.next.is_some() && !position.paused)
            .map(|(at, _)| at)
            .collect();
        let first = match &self.served {
            Some(served) => ready.partition_point(|at| *at <= served),
            None => 0,
        };
        let (before, after) = ready.split_at(first);
        after.iter().chain(before).map(|at| (*at).clone()).collect()
    }

    async fn read(&mut self) -> Result<Option<ConsumerEvent>, QueueError> {
        for at in self.turns() {
            let Some(position) = self.positions.get_mut(&at) else {
                continue;
            };
            let Some(next) = position.next else {
                continue;
            };
            let cursor = std::mem::take(&mut position.cursor);
            match self.logs.read(&at, next, cursor).await? {
                Found::Nothing(cursor) => position.cursor = cursor,
                Found::Messages(messages, cursor) => {
                    if let Some((last, _)) = messages.last() {
                        position.next = Some(last.next());
                        position.cursor = cursor;
                        self.served = Some(at.clone());
                        count_delivered(&at, &messages);
                        return Ok(Some(ConsumerEvent::Messages(at, messages)));
                    }
                }
                Found::OutOfRange { low, high } => {
                    position.next = None;
                    return Ok(Some(out_of_range(at, next, low, high)));
                }
                Found::Lost { last, reason } => {
                    position.next = Some(last.next());
                    count_lost(&at, last.next().0.saturating_sub(next.0).max(0).unsigned_abs());
                    return Ok(Some(ConsumerEvent::Lost { at, first: next, last, reason }));
                }
            }
        }
        Ok(None)
    }

    fn position(&mut self, at: &TopicPartition) -> Result<&mut Position<L::Cursor>, QueueError> {
        self.positions.get_mut(at).ok_or_else(|| QueueError::NotAssigned { at: at.clone() })
    }
}

/// Counts messages that can no longer be read; also none, since those who watch for losses would miss
/// the first, had there been nothing before it.
fn count_lost(at: &TopicPartition, messages: u64) {
    metrics::counter!(telemetry::LOST_MESSAGES, "topic" => at.topic.to_string())
        .increment(messages);
}

fn count_delivered(at: &TopicPartition, messages: &[(Offset, Message)]) {
    let bytes: usize = messages.iter().map(|(_, message)| message.bytes()).sum();
    let topic = at.topic.to_string();
    metrics::counter!(telemetry::DELIVERED_MESSAGES, "topic" => topic.clone())
        .increment(messages.len() as u64);
    metrics::counter!(telemetry::DELIVERED_BYTES, "topic" => topic).increment(bytes as u64);
}

/// Drops what was to be said about `at`, which has moved on.
fn forget_reports(waiting: &mut VecDeque<ConsumerEvent>, gone: &TopicPartition) {
    waiting.retain(|event| !matches!(event, ConsumerEvent::OutOfRange { at, .. } if at == gone));
}

fn out_of_range(at: TopicPartition, wanted: Offset, low: Offset, high: Offset) -> ConsumerEvent {
    metrics::counter!(telemetry::OUT_OF_RANGE, "topic" => at.topic.to_string()).increment(1);
    ConsumerEvent::OutOfRange { at, wanted, low, high }
}

#[async_trait]
impl<L: Logs> Consumer for EmbeddedConsumer<L> {
    async fn next(&mut self, max_wait: Duration) -> Result<Option<ConsumerEvent>, QueueError> {
        let clock = Arc::clone(self.logs.clock());
        let deadline = clock.elapsed().saturating_add(max_wait);
        loop {
            self.bell.mark_unchanged();
            let (trouble, doze) = self.logs.trouble();
            if let Some(error) = trouble {
                return Err(error);
            }
            if let Some(event) = self.group_event() {
                return Ok(Some(event));
            }
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            if let Some(event) = self.read().await? {
                return Ok(Some(event));
            }
            let left = deadline.saturating_sub(clock.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            let sleep = doze.map_or(left, |doze| doze.min(left));
            tokio::select! {
                rung = self.bell.changed() => {
                    if rung.is_err() {
                        return Err(QueueError::Closed);
                    }
                }
                () = clock.sleep(sleep) => {}
            }
        }
    }

    async fn seek(&mut self, at: &TopicPartition, next: Offset) -> Result<(), QueueError> {
        let (low, high) = self.logs.watermarks(at)?;
        let position = self.position(at)?;
        position.cursor = L::Cursor::default();
        position.paused = false;
        let inside = low <= next && next <= high;
        position.next = inside.then_some(next);
        forget_reports(&mut self.waiting, at);
        if !inside {
            self.waiting.push_back(out_of_range(at.clone(), next, low, high));
        }
        Ok(())
    }

    async fn pause(&mut self, at: &TopicPartition) -> Result<(), QueueError> {
        self.position(at)?.paused = true;
        Ok(())
    }

    async fn resume(&mut self, at: &TopicPartition) -> Result<(), QueueError> {
        self.position(at)?.paused = false;
        Ok(())
    }

    async fn watermarks(&mut self, at: &TopicPartition) -> Result<(Offset, Offset), QueueError> {
        self.logs.watermarks(at)
    }

    async fn commit_advisory(
        &mut self,
        at: &TopicPartition,
        next: Offset,
    ) -> Result<(), QueueError> {
        self.position(at)?;
        self.logs.commit(&self.group, at, next)
    }

    async fn close(self: Box<Self>) -> Result<(), QueueError> {
        // Dropping leaves the group.
        Ok(())
    }
}

impl<L: Logs> Drop for EmbeddedConsumer<L> {
    fn drop(&mut self) {
        let hub = self.logs.hub();
        hub.groups().leave(&self.group, self.member);
        hub.ring();
    }
}
