//! What the memory queue holds, and when a submitted message becomes durable.
//!
//! Synchronous and under one lock. Always holds: messages settle in the order they were submitted.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::producer::Lanes;
use crate::{Message, Offset, QueueError, Topic, TopicPartition};

use super::count_appended;

/// A message between `submit` and its acknowledgement.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) at: TopicPartition,
    pub(super) message: Message,
    pub(super) ack: oneshot::Sender<Result<Offset, QueueError>>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// What a test has ordered.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) fail_next: u32,
    pub(super) delay: Duration,
    pub(super) held: bool,
    pub(super) disconnected: bool,
}

#[derive(Debug)]
struct Queued {
    pending: Pending,
    due: Duration,
    fails: bool,
}

/// One partition.
#[derive(Debug, Default)]
pub(super) struct Log {
    low: i64,
    messages: VecDeque<Message>,
    bytes: usize,
    /// First to last offset of messages a test has lost.
    lost: Vec<(Offset, Offset)>,
}

#[derive(Debug)]
pub(super) struct State {
    topics: BTreeMap<Topic, Vec<Log>>,
    commits: BTreeMap<TopicPartition, BTreeMap<String, Offset>>,
    queued: VecDeque<Queued>,
    submitted: u64,
    settled: u64,
    partition_bytes_max: usize,
    pub(super) orders: Orders,
}

impl State {
    pub(super) fn new(partition_bytes_max: usize) -> Self {
        Self {
            topics: BTreeMap::new(),
            commits: BTreeMap::new(),
            queued: VecDeque::new(),
            submitted: 0,
            settled: 0,
            partition_bytes_max,
            orders: Orders::default(),
        }
    }

    pub(super) fn ensure_topic(&mut self, topic: &Topic, partitions: u32) {
        let logs = self.topics.entry(topic.clone()).or_default();
        while logs.len() < partitions as usize {
            logs.push(Log::default());
        }
    }

    pub(super) fn partitions(&self, topic: &Topic) -> u32 {
        let count = self.topics.get(topic).map_or(0, Vec::len);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    pub(super) fn log(&self, at: &TopicPartition) -> Option<&Log> {
        let number = usize::try_from(at.partition.0).ok()?;
        self.topics.get(&at.topic)?.get(number)
    }

    pub(super) fn log_mut(&mut self, at: &TopicPartition) -> Option<&mut Log> {
        let number = usize::try_from(at.partition.0).ok()?;
        self.topics.get_mut(&at.topic)?.get_mut(number)
    }

    pub(super) fn connected(&self) -> bool {
        !self.orders.disconnected
    }

    pub(super) fn submit(&mut self, pending: Pending, now: Duration) {
        let fails = 0 < self.orders.fail_next;
        self.orders.fail_next = self.orders.fail_next.saturating_sub(1);
        self.submitted += 1;
        self.queued.push_back(Queued {
            pending,
            due: now.saturating_add(self.orders.delay),
            fails,
        });
    }

    pub(super) fn submitted(&self) -> u64 {
        self.submitted
    }

    pub(super) fn settled_through(&self, submitted: u64) -> bool {
        submitted <= self.settled
    }

    /// Returns when the oldest queued message is due, if time alone settles it.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let front = self.queued.front()?;
        let blocked = self.orders.held || self.orders.disconnected || !self.has_room(front);
        (!blocked).then_some(front.due)
    }

    /// Stores or fails every message that is due, in order; returns whether there was one.
    pub(super) fn settle(&mut self, now: Duration, lanes: &Lanes) -> bool {
        let mut any = false;
        while self.next_due().is_some_and(|due| due <= now) {
            let Some(Queued { pending, fails, .. }) = self.queued.pop_front() else {
                break;
            };
            any = true;
            self.settled += 1;
            if fails {
                self.fail(pending, lanes);
            } else {
                self.store(pending);
            }
        }
        any
    }

    fn has_room(&self, next: &Queued) -> bool {
        let Some(log) = self.log(&next.pending.at) else {
            return true;
        };
        let done = self.done(&next.pending.at);
        let held: usize = if log.bytes + next.pending.message.bytes() <= self.partition_bytes_max {
            0
        } else {
            log.bytes_from(done)
        };
        held + next.pending.message.bytes() <= self.partition_bytes_max
    }

    /// Returns the offset below which every group that reported is done.
    fn done(&self, at: &TopicPartition) -> Offset {
        let reported = self.commits.get(at).and_then(|all| all.values().min());
        reported.copied().unwrap_or_default()
    }

    fn store(&mut self, pending: Pending) {
        let done = self.done(&pending.at);
        let max = self.partition_bytes_max;
        let bytes = pending.message.bytes();
        let outcome = match self.log_mut(&pending.at) {
            None => Err(QueueError::UnknownPartition { at: pending.at.clone() }),
            Some(log) => {
                if max < log.bytes + bytes {
                    log.trim(done);
                }
                log.bytes += bytes;
                log.messages.push_back(pending.message);
                count_appended(&pending.at, bytes);
                Ok(Offset(log.high().0 - 1))
            }
        };
        // The sender may have dropped its acknowledgement; the message stays.
        drop(pending.ack.send(outcome));
    }

    /// Fails `pending` and everything queued behind it for its partition.
    fn fail(&mut self, pending: Pending, lanes: &Lanes) {
        lanes.interrupt(&pending.at);
        let at = pending.at.clone();
        let behind = std::mem::take(&mut self.queued);
        let (fallen, rest): (VecDeque<_>, VecDeque<_>) =
            behind.into_iter().partition(|queued| queued.pending.at == at);
        self.queued = rest;
        self.settled += fallen.len() as u64;
        let failure = QueueError::unavailable("a test failed this append");
        drop(pending.ack.send(Err(failure)));
        for queued in fallen {
            let interrupted = QueueError::Interrupted { at: at.clone() };
            drop(queued.pending.ack.send(Err(interrupted)));
        }
    }

    pub(super) fn commit(&mut self, group: &str, at: &TopicPartition, next: Offset) {
        let groups = self.commits.entry(at.clone()).or_default();
        groups.insert(group.to_owned(), next);
    }

    pub(super) fn committed(&self, group: &str, at: &TopicPartition) -> Option<Offset> {
        self.commits.get(at)?.get(group).copied()
    }
}

impl Log {
    pub(super) fn low(&self) -> Offset {
        Offset(self.low)
    }

    pub(super) fn high(&self) -> Offset {
        Offset(self.low + i64::try_from(self.messages.len()).unwrap_or(i64::MAX))
    }

    /// Returns up to `count` messages from `next` on; `None` when `next` is out of range.
    pub(super) fn read(&self, next: Offset, count: usize) -> Option<Vec<(Offset, Message)>> {
        let skip = usize::try_from(next.0.checked_sub(self.low)?).ok()?;
        if self.messages.len() < skip {
            return None;
        }
        let stop = self.lost.iter().map(|(first, _)| *first);
        let stop = stop.filter(|first| next <= *first).min();
        let found = (next.0..).map(Offset).zip(self.messages.iter().skip(skip));
        let found = found.take_while(|(offset, _)| stop.is_none_or(|stop| *offset < stop));
        Some(found.take(count).map(|(offset, message)| (offset, message.clone())).collect())
    }

    /// Returns the last offset of the lost run that `next` lies in.
    pub(super) fn lost_from(&self, next: Offset) -> Option<Offset> {
        let mut runs = self.lost.iter();
        runs.find(|(first, last)| *first <= next && next <= *last).map(|(_, last)| *last)
    }

    pub(super) fn lose(&mut self, first: Offset, last: Offset) {
        self.lost.push((first, last));
    }

    /// Forgets everything below `low`.
    pub(super) fn trim(&mut self, low: Offset) {
        while self.low < low.0
            && let Some(message) = self.messages.pop_front()
        {
            self.low += 1;
            self.bytes -= message.bytes();
        }
    }

    fn bytes_from(&self, offset: Offset) -> usize {
        let skip = usize::try_from(offset.0.saturating_sub(self.low)).unwrap_or(0);
        self.messages.iter().skip(skip).map(Message::bytes).sum()
    }
}
