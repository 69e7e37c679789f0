//! One Kafka client from its first poll to its last.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::topic_partition_list::Offset as KafkaOffset;

use crate::{Message, Offset, Partition, Topic, TopicPartition};

use super::poll::{Command, End, Poller, ROOM_BYTES, TICK, Told};
use super::rebalance::{Callbacks, Rebalance, answer, give_back, list_at, list_of};

/// How long the thread lets the task catch up before it pauses partitions, which costs what was
/// fetched ahead.
const PATIENCE: Duration = Duration::from_millis(500);

/// Messages passed on at once, of one partition.
const RUN_MESSAGES_MAX: usize = 256;
const RUN_BYTES_MAX: usize = 1 << 20;

/// How long a seek may take; it is a step inside the client, without the network.
const SEEK_MAX: Duration = Duration::from_secs(5);

/// Where a partition is assigned before anyone said where to start; it is paused at once.
///
/// It must not be a logical offset such as the end: the client would ask the broker for it, a seek
/// meanwhile would make the answer outdated, and librdkafka 2.12 then asks again half a second
/// later and moves the partition there, over the seek (`rd_kafka_toppar_handle_Offset`).
const PLACEHOLDER: KafkaOffset = KafkaOffset::Offset(0);

/// The client and what it is at.
pub(super) struct Session<'a> {
    poller: &'a mut Poller,
    consumer: BaseConsumer<Callbacks>,
    /// What we own, and the number of its run; `None` until started.
    runs: BTreeMap<TopicPartition, Option<u64>>,
    /// Given back when the task releases it, or at this time.
    leaving: Option<(Vec<TopicPartition>, Duration)>,
    /// Starts the client was not ready for.
    deferred: Vec<(TopicPartition, Offset, u64)>,
    /// What the task has not taken yet: at most one run of messages and what came with it.
    outbox: VecDeque<Parcel>,
    /// Since when the task has not kept up.
    stuck_since: Option<Duration>,
    /// Partitions are paused because the task does not keep up.
    pressed: bool,
}

/// Something for the task, before there is room for it.
enum Parcel {
    Word(Told),
    Messages { at: TopicPartition, run: u64, messages: Vec<(Offset, Message)>, bytes: usize },
}

impl<'a> Session<'a> {
    pub(super) fn new(poller: &'a mut Poller, consumer: BaseConsumer<Callbacks>) -> Self {
        Self {
            poller,
            consumer,
            runs: BTreeMap::new(),
            leaving: None,
            deferred: Vec::new(),
            outbox: VecDeque::new(),
            stuck_since: None,
            pressed: false,
        }
    }

    pub(super) fn run(&mut self) -> End {
        loop {
            if self.poller.bell.closing() || self.poller.told.is_closed() {
                self.poller.bell.closing.store(true, Ordering::Release);
                return End::Closing;
            }
            while let Ok(command) = self.poller.commands.try_recv() {
                self.obey(command);
            }
            self.retry_starts();
            self.carry_out();
            let busy = match self.fetch() {
                Ok(busy) => busy,
                Err(error) => {
                    tracing::warn!(%error, "kafka consumer failed; building another");
                    return End::Fatal;
                }
            };
            self.deliver();
            self.mind_pressure();
            if !busy || !self.outbox.is_empty() {
                self.poller.bell.wait(TICK);
            }
        }
    }

    /// Answers what the group waits for, without which the client would never close.
    pub(super) fn wind_up(&mut self) {
        let context = Arc::clone(self.consumer.context());
        context.abandon();
        if let Some((all, _)) = &self.leaving {
            give_back(&self.consumer, &list_of(all));
        }
        for decision in context.decided().drain(..) {
            match decision {
                Rebalance::Assign(all) => answer(&self.consumer, true, &list_of(&all)),
                Rebalance::Revoke(all) => answer(&self.consumer, false, &list_of(&all)),
            }
        }
    }

    /// Tells the task that everything is gone, after a fatal error.
    pub(super) fn abandon(mut self) {
        let mut gone: Vec<TopicPartition> = self.runs.keys().cloned().collect();
        if let Some((leaving, _)) = self.leaving.take() {
            gone.retain(|at| !leaving.contains(at));
        }
        self.outbox.retain(|parcel| matches!(parcel, Parcel::Word(_)));
        if !gone.is_empty() {
            self.outbox.push_back(Parcel::Word(Told::Revoked(gone)));
        }
        while !self.outbox.is_empty() && !self.poller.bell.closing() {
            self.deliver();
            self.poller.bell.wait(TICK);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Start { at, next, run } => {
                self.deferred.retain(|(other, ..)| *other != at);
                self.start(at, next, run);
            }
            Command::Stop { at } => {
                self.deferred.retain(|(other, ..)| *other != at);
                if let Some(run) = self.runs.get_mut(&at) {
                    *run = None;
                    self.pause(&[at]);
                }
            }
            Command::Release => self.release(),
            Command::Report { at, next } => {
                let list = list_at(&[at], KafkaOffset::Offset(next.0.max(0)));
                if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
                    tracing::debug!(%error, "advisory commit failed");
                }
            }
        }
    }

    fn start(&mut self, at: TopicPartition, next: Offset, run: u64) {
        if !self.runs.contains_key(&at) {
            // Revoked meanwhile; the task will find out.
            return;
        }
        let offset = KafkaOffset::Offset(next.0.max(0));
        let mut sought = self.consumer.seek(at.topic.as_str(), at.partition.0, offset, SEEK_MAX);
        if sought.is_err() && self.leaving.is_none() {
            // The client has stopped this partition, as it does when an offset was missing.
            sought = self.assign_anew(&at, offset);
        }
        match sought {
            Ok(()) => {
                self.runs.insert(at.clone(), Some(run));
                if !self.pressed
                    && let Err(error) = self.consumer.resume(&list_of(&[at]))
                {
                    tracing::warn!(%error, "cannot resume a partition");
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the client cannot seek yet");
                self.deferred.push((at, next, run));
            }
        }
    }

    fn assign_anew(&self, at: &TopicPartition, offset: KafkaOffset) -> Result<(), KafkaError> {
        let one = std::slice::from_ref(at);
        self.consumer.incremental_unassign(&list_of(one))?;
        self.consumer.incremental_assign(&list_at(one, offset))
    }

    fn retry_starts(&mut self) {
        for (at, next, run) in std::mem::take(&mut self.deferred) {
            self.start(at, next, run);
        }
    }

    /// Carries out what the group has decided.
    fn carry_out(&mut self) {
        if let Some((_, deadline)) = &self.leaving
            && *deadline <= self.poller.clock.elapsed()
        {
            tracing::warn!("revoked partitions were not released in time; giving them back");
            self.release();
        }
        if self.leaving.is_some() {
            // One at a time.
            return;
        }
        let decision = self.consumer.context().decided().pop_front();
        match decision {
            None => {}
            Some(Rebalance::Assign(all)) => self.take_over(all),
            Some(Rebalance::Revoke(all)) => self.let_go(all),
        }
    }

    fn take_over(&mut self, all: Vec<TopicPartition>) {
        let list = list_at(&all, PLACEHOLDER);
        let taken = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Eager => self.consumer.assign(&list),
            _ => self.consumer.incremental_assign(&list),
        };
        if let Err(error) = taken {
            tracing::warn!(%error, "cannot take partitions over");
            return;
        }
        if all.is_empty() {
            return;
        }
        self.pause(&all);
        self.runs.extend(all.iter().map(|at| (at.clone(), None)));
        self.outbox.push_back(Parcel::Word(Told::Assigned(all)));
    }

    fn let_go(&mut self, all: Vec<TopicPartition>) {
        // No message of these follows what the task is told.
        self.pause(&all);
        for at in &all {
            if let Some(run) = self.runs.get_mut(at) {
                *run = None;
            }
        }
        self.outbox.retain(|parcel| match parcel {
            Parcel::Messages { at, .. } => !all.contains(at),
            Parcel::Word(_) => true,
        });
        self.deferred.retain(|(at, ..)| !all.contains(at));
        let deadline = self.poller.clock.elapsed() + self.poller.revoke_wait;
        self.leaving = Some((all.clone(), deadline));
        if all.is_empty() {
            self.release();
        } else {
            self.outbox.push_back(Parcel::Word(Told::Revoked(all)));
        }
    }

    fn release(&mut self) {
        let Some((all, _)) = self.leaving.take() else {
            return;
        };
        for at in &all {
            self.runs.remove(at);
        }
        give_back(&self.consumer, &list_of(&all));
    }

    fn pause(&self, all: &[TopicPartition]) {
        if let Err(error) = self.consumer.pause(&list_of(all)) {
            tracing::warn!(%error, "cannot pause partitions");
        }
    }

    /// Polls the client while there is room; returns whether there may be more.
    fn fetch(&mut self) -> Result<bool, KafkaError> {
        let message_waits = |parcel: &Parcel| matches!(parcel, Parcel::Messages { .. });
        if !self.pressed && self.outbox.iter().any(message_waits) {
            // Not polled for a moment; `mind_pressure` sees to it that it is only that.
            return Ok(false);
        }
        let (mut polled, mut bytes, mut quiet) = (0, 0, 0);
        // A poll that handled an event of another kind returns nothing too.
        while quiet < 3 && polled < RUN_MESSAGES_MAX && bytes < RUN_BYTES_MAX {
            match self.consumer.poll(Duration::ZERO) {
                None => {
                    quiet += 1;
                    continue;
                }
                Some(Ok(message)) => {
                    if let Some((parcel, size)) = parcel(&self.runs, &message) {
                        bytes += size;
                        add(&mut self.outbox, parcel, size);
                    }
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(KafkaError::MessageConsumptionFatal(code));
                }
                Some(Err(error)) => {
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) {
                        self.outbox.push_back(Parcel::Word(Told::OffsetMissing));
                    }
                }
            }
            quiet = 0;
            polled += 1;
        }
        Ok(quiet < 3)
    }

    /// Hands the task what it has room for.
    fn deliver(&mut self) {
        while let Some(parcel) = self.outbox.pop_front() {
            let Ok(place) = self.poller.told.try_reserve() else {
                self.outbox.push_front(parcel);
                return;
            };
            match parcel {
                Parcel::Word(told) => place.send(told),
                Parcel::Messages { at, run, messages, bytes } => {
                    let pieces = u32::try_from(bytes.div_ceil(ROOM_BYTES)).unwrap_or(u32::MAX);
                    let room = Arc::clone(&self.poller.room);
                    match room.try_acquire_many_owned(pieces.min(self.poller.room_total)) {
                        Ok(room) => place.send(Told::Messages { at, run, messages, _room: room }),
                        Err(_) => {
                            drop(place);
                            self.outbox.push_front(Parcel::Messages { at, run, messages, bytes });
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Pauses what runs when the task has not kept up for a while, and resumes it when it has.
    fn mind_pressure(&mut self) {
        let now = self.poller.clock.elapsed();
        let running = || {
            let runs = self.runs.iter().filter(|(_, run)| run.is_some());
            runs.map(|(at, _)| at.clone()).collect::<Vec<_>>()
        };
        if self.outbox.is_empty() {
            self.stuck_since = None;
            if self.pressed {
                let running = running();
                self.pressed = false;
                if let Err(error) = self.consumer.resume(&list_of(&running)) {
                    tracing::warn!(%error, "cannot resume partitions");
                }
            }
            return;
        }
        let since = *self.stuck_since.get_or_insert(now);
        if !self.pressed && PATIENCE <= now.saturating_sub(since) {
            let running = running();
            self.pressed = true;
            self.pause(&running);
        }
    }
}

/// Makes a parcel of one message; `None` when its partition was not started.
fn parcel(
    runs: &BTreeMap<TopicPartition, Option<u64>>,
    message: &BorrowedMessage<'_>,
) -> Option<(Parcel, usize)> {
    let topic = Topic::new(message.topic()).ok()?;
    let at = TopicPartition::new(&topic, Partition(message.partition()));
    let run = (*runs.get(&at)?)?;
    let copied = copy(message);
    let bytes = copied.bytes();
    let messages = vec![(Offset(message.offset()), copied)];
    let parcel = Parcel::Messages { at, run, messages, bytes };
    Some((parcel, bytes))
}

/// Adds to the last parcel where that is of the same run, so that messages travel together.
fn add(outbox: &mut VecDeque<Parcel>, parcel: Parcel, size: usize) {
    if let (
        Some(Parcel::Messages { at, run, messages, bytes }),
        Parcel::Messages { at: next_at, run: next_run, messages: next, .. },
    ) = (outbox.back_mut(), &parcel)
        && (&*at, &*run) == (next_at, next_run)
        && messages.len() < RUN_MESSAGES_MAX
        && *bytes + size <= RUN_BYTES_MAX
    {
        messages.extend(next.iter().cloned());
        *bytes += size;
        return;
    }
    outbox.push_back(parcel);
}

pub(super) fn copy(message: &BorrowedMessage<'_>) -> Message {
    let bytes = |slice: &[u8]| Bytes::copy_from_slice(slice);
    let headers = message.headers().map_or_else(Vec::new, |all| {
        all.iter()
            .map(|header| {
                let value = header.value.map(bytes).unwrap_or_default();
                (header.key.to_owned(), value)
            })
            .collect()
    });
    Message {
        key: message.key().map(bytes),
        headers,
        payload: message.payload().map(bytes).unwrap_or_default(),
        time_ms: message.timestamp().to_millis(),
    }
}
