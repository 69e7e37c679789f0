//! Reading from Kafka: the task's side. `poll` is the thread's.
//!
//! Positions live here: what the thread sends is checked against them, so that nothing of a
//! partition that was sought elsewhere, paused or revoked gets through.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use runtime::clock::{SharedClock, within};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    Consumer, ConsumerEvent, KafkaSection, Message, Offset, QueueError, Topic, TopicPartition,
    telemetry,
};

use super::Seat;
use super::client::request_error;
use super::poll::{Bell, Command, Poller, ROOM_BYTES, Told};
use super::settings;
use super::topics::Topics;

/// Requests on their way to the thread, which takes them at once.
const COMMANDS_MAX: usize = 64;

/// Runs of messages and other words on their way to the task; bytes are bounded by the buffer.
const TOLD_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct KafkaConsumer {
    group: String,
    clock: SharedClock,
    topics: Arc<Topics>,
    bell: Arc<Bell>,
    commands: mpsc::Sender<Command>,
    told: mpsc::Receiver<Told>,
    thread: Option<JoinHandle<()>>,
    positions: BTreeMap<TopicPartition, Position>,
    /// Runs started so far, over all partitions.
    runs: u64,
    /// Reports of `seek` that wait for the next call.
    waiting: VecDeque<ConsumerEvent>,
    /// The caller was told of a revocation; its next call releases the partitions.
    release: bool,
    /// Ranges must be looked at: the thread saw an offset that is missing.
    look: bool,
    _seat: Seat,
}

#[derive(Debug, Default)]
struct Position {
    /// The next offset to hand out; `None` until `seek`.
    next: Option<Offset>,
    paused: bool,
    /// The run whose messages count.
    run: u64,
}

impl KafkaConsumer {
    pub(super) fn start(
        section: &KafkaSection,
        group: &str,
        seat: Seat,
        names: &[Topic],
        topics: Arc<Topics>,
        clock: SharedClock,
    ) -> Result<Self, QueueError> {
        let pieces = u32::try_from(section.consumer_buffer_bytes_max / ROOM_BYTES);
        let room_total = pieces
            .unwrap_or(u32::MAX)
            .clamp(2, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let instance = section.group_instance_id.as_ref();
        let instance = instance.map(|name| format!("{name}-{}", seat.number));
        let bell = Arc::new(Bell::default());
        let (commands, obeyed) = mpsc::channel(COMMANDS_MAX);
        let (tell, told) = mpsc::channel(TOLD_MAX);
        let poller = Poller {
            config: settings::consumer(section, group, instance.as_deref())?,
            topics: names.to_vec(),
            clock: Arc::clone(&clock),
            bell: Arc::clone(&bell),
            commands: obeyed,
            told: tell,
            room: Arc::new(Semaphore::new(room_total as usize)),
            room_total,
            revoke_wait: Duration::from_millis(section.revoke_wait_ms),
        };
        let client = poller.connect().map_err(|error| request_error(&error))?;
        let thread = std::thread::Builder::new()
            .name("kafka-consumer".to_owned())
            .spawn(move || poller.run(client))
            .map_err(QueueError::unavailable)?;
        Ok(Self {
            group: group.to_owned(),
            clock,
            topics,
            bell,
            commands,
            told,
            thread: Some(thread),
            positions: BTreeMap::new(),
            runs: 0,
            waiting: VecDeque::new(),
            release: false,
            look: false,
            _seat: seat,
        })
    }

    async fn command(&self, command: Command) -> Result<(), QueueError> {
        let sent = self.commands.send(command).await;
        self.bell.ring();
        sent.map_err(|_| QueueError::Closed)
    }

    /// Has the thread read `at` from its position on.
    async fn run_from(&mut self, at: &TopicPartition, next: Offset) -> Result<(), QueueError> {
        self.runs += 1;
        let run = self.runs;
        let position = self.position(at)?;
        position.run = run;
        let at = at.clone();
        self.command(Command::Start { at, next, run }).await
    }

    fn position(&mut self, at: &TopicPartition) -> Result<&mut Position, QueueError> {
        self.positions.get_mut(at).ok_or_else(|| QueueError::NotAssigned { at: at.clone() })
    }

    /// Makes an event of what the thread told, if it still counts.
    fn event(&mut self, told: Told) -> Option<ConsumerEvent> {
        match told {
            Told::Assigned(all) => {
                for at in &all {
                    self.positions.insert(at.clone(), Position::default());
                }
                self.count("assigned");
                Some(ConsumerEvent::Assigned(all))
            }
            Told::Revoked(all) => {
                for at in &all {
                    self.positions.remove(at);
                    self.forget_reports(at);
                }
                self.release = true;
                self.count("revoked");
                Some(ConsumerEvent::Revoked(all))
            }
            Told::Messages { at, run, messages, .. } => {
                let position = self.positions.get_mut(&at)?;
                if position.run != run || position.next.is_none() || position.paused {
                    return None;
                }
                let (first, last) = (messages.first()?.0, messages.last()?.0);
                let skipped = position.next.map_or(0, |next| first.0.saturating_sub(next.0));
                position.next = Some(last.next());
                if 0 < skipped {
                    metrics::counter!(telemetry::SKIPPED_OFFSETS, "topic" => at.topic.to_string())
                        .increment(skipped.unsigned_abs());
                }
                count_delivered(&at, &messages);
                Some(ConsumerEvent::Messages(at, messages))
            }
            Told::OffsetMissing => {
                self.look = true;
                None
            }
        }
    }

    fn count(&self, kind: &'static str) {
        let group = self.group.clone();
        metrics::counter!(telemetry::REBALANCES, "group" => group, "kind" => kind).increment(1);
    }

    fn forget_reports(&mut self, gone: &TopicPartition) {
        self.waiting
            .retain(|event| !matches!(event, ConsumerEvent::OutOfRange { at, .. } if at == gone));
    }

    /// Finds the partitions whose next offset does not exist, and starts the others again: the
    /// client does not say which it has stopped.
    async fn look_at_ranges(&mut self) -> Result<(), QueueError> {
        let running: Vec<(TopicPartition, Offset)> = self
            .positions
            .iter()
            .filter(|(_, position)| !position.paused)
            .filter_map(|(at, position)| Some((at.clone(), position.next?)))
            .collect();
        for (at, next) in running {
            let (low, high) = self.topics.watermarks(&at).await?;
            if low <= next && next <= high {
                self.run_from(&at, next).await?;
            } else {
                self.report_range(&at, next, low, high);
            }
        }
        self.look = false;
        Ok(())
    }

    fn report_range(&mut self, at: &TopicPartition, wanted: Offset, low: Offset, high: Offset) {
        if let Some(position) = self.positions.get_mut(at) {
            position.next = None;
        }
        metrics::counter!(telemetry::OUT_OF_RANGE, "topic" => at.topic.to_string()).increment(1);
        self.waiting.push_back(ConsumerEvent::OutOfRange { at: at.clone(), wanted, low, high });
    }
}

fn count_delivered(at: &TopicPartition, messages: &[(Offset, Message)]) {
    let bytes: usize = messages.iter().map(|(_, message)| message.bytes()).sum();
    let topic = at.topic.to_string();
    metrics::counter!(telemetry::DELIVERED_MESSAGES, "topic" => topic.clone())
        .increment(messages.len() as u64);
    metrics::counter!(telemetry::DELIVERED_BYTES, "topic" => topic).increment(bytes as u64);
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn next(&mut self, max_wait: Duration) -> Result<Option<ConsumerEvent>, QueueError> {
        if self.release {
            self.command(Command::Release).await?;
            self.release = false;
        }
        let deadline = self.clock.elapsed().saturating_add(max_wait);
        loop {
            if self.look {
                self.look_at_ranges().await?;
            }
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            let left = deadline.saturating_sub(self.clock.elapsed());
            let told = match self.told.try_recv() {
                Ok(told) => Some(Some(told)),
                Err(_) => within(&*self.clock, left, self.told.recv()).await,
            };
            match told {
                None => return Ok(None),
                Some(None) => return Err(QueueError::Closed),
                Some(Some(told)) => {
                    // The thread may have waited for this place.
                    self.bell.ring();
                    if let Some(event) = self.event(told) {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    async fn seek(&mut self, at: &TopicPartition, next: Offset) -> Result<(), QueueError> {
        self.position(at)?;
        self.forget_reports(at);
        match self.topics.watermarks(at).await {
            Ok((low, high)) if next < low || high < next => {
                self.command(Command::Stop { at: at.clone() }).await?;
                self.report_range(at, next, low, high);
                return Ok(());
            }
            // Where nobody can tell now, the client finds out when it reads.
            Ok(_) | Err(_) => {}
        }
        let position = self.position(at)?;
        position.next = Some(next);
        position.paused = false;
        self.run_from(at, next).await
    }

    async fn pause(&mut self, at: &TopicPartition) -> Result<(), QueueError> {
        self.position(at)?.paused = true;
        self.command(Command::Stop { at: at.clone() }).await
    }

    async fn resume(&mut self, at: &TopicPartition) -> Result<(), QueueError> {
        let position = self.position(at)?;
        let was_paused = std::mem::take(&mut position.paused);
        match position.next {
            Some(next) if was_paused => self.run_from(at, next).await,
            _ => Ok(()),
        }
    }

    async fn watermarks(&mut self, at: &TopicPartition) -> Result<(Offset, Offset), QueueError> {
        self.topics.watermarks(at).await
    }

    async fn commit_advisory(
        &mut self,
        at: &TopicPartition,
        next: Offset,
    ) -> Result<(), QueueError> {
        self.position(at)?;
        let at = at.clone();
        self.command(Command::Report { at, next }).await
    }

    async fn close(mut self: Box<Self>) -> Result<(), QueueError> {
        self.say_goodbye();
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let ended = tokio::task::spawn_blocking(move || thread.join()).await;
        match ended {
            Ok(Ok(())) => Ok(()),
            _ => Err(QueueError::unavailable("the consumer's thread failed")),
        }
    }
}

impl KafkaConsumer {
    fn say_goodbye(&self) {
        self.bell.closing.store(true, Ordering::Release);
        self.bell.ring();
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        // The thread leaves the group and ends by itself; waiting for the broker here would hold
        // up other tasks.
        self.say_goodbye();
    }
}
