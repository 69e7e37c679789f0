//! Reading the queue: which partitions are ours, from where, and how much is held.
//!
//! [`ownership`] says which partitions are ours, [`load`] how much may be held.
//!
//! One task per kind owns the consumer and is the only one that changes what is held. It turns
//! around on whatever comes first: an event of the queue, an acquisition, the outcome of a cut.
//!
//! What always holds:
//! * A partition is read only after the catalog recorded us as its owner, from the offset and the
//!   source positions that this very commit found published.
//! * An offset counts as taken only when its rows are in memory or its message is in the
//!   dead-letter topic.
//! * At most one cut is being published; the next open rows grow meanwhile.
//!
//! On a crash or a lost partition the next owner starts from what is published and reads the rest
//! again. Bounded by `memory_bytes_max` plus one delivery of the queue: above it, published rows
//! leave early, and if that is not enough reading pauses.

mod load;
mod ownership;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use queue::{Consumer, ConsumerEvent, Message, Offset, QueueError, TopicPartition};
use runtime::admin::ReadyPart;
use runtime::backoff::Backoff;
use runtime::clock::SharedClock;
use runtime::cpu::CpuPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::Drain;
use crate::IndexerError;
use crate::acquire::Acquired;
use crate::cost::Costs;
use crate::cut::{Cut, CutPolicy, Moment};
use crate::dead_letter::SetAside;
use crate::decode::{Formats, Poison};
use crate::intake::Delivery;
use crate::kind::Kind;
use crate::label_pool::LabelPool;
use crate::open::{Held, Intake};
use crate::publish::{CutSet, Outcome};
use crate::replay::Replays;
use crate::telemetry;

/// Longest wait for the queue before age, window and memory are looked at again. Shorter wakes an
/// idle process more often; longer makes cuts by age late.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Longest wait of a stopping process for its first partitions: one that is stopped just after it
/// was started still publishes what the queue has.
const JOIN_WAIT_MAX: Duration = Duration::from_secs(5);

/// What a source is made of.
#[derive(Debug)]
pub(crate) struct SourceParts<K: Kind> {
    pub(crate) consumer: Box<dyn Consumer>,
    pub(crate) held: Arc<Held<K>>,
    pub(crate) clock: SharedClock,
    pub(crate) decode: Arc<CpuPool>,
    pub(crate) formats: Formats,
    pub(crate) costs: Arc<Costs>,
    pub(crate) labels: Arc<LabelPool>,
    pub(crate) letters: SetAside,
    pub(crate) policy: CutPolicy,
    pub(crate) memory_bytes_max: u64,
    pub(crate) grace: Duration,
    pub(crate) pauses: Backoff,
    pub(crate) requests: mpsc::Sender<Vec<TopicPartition>>,
    pub(crate) acquired: mpsc::Receiver<Acquired>,
    pub(crate) cuts: mpsc::Sender<CutSet<K>>,
    pub(crate) outcomes: mpsc::Receiver<Outcome>,
    pub(crate) ready: ReadyPart,
}

/// The task that reads one kind of topic.
pub(crate) struct Source<K: Kind> {
    parts: SourceParts<K>,
    owned: BTreeMap<TopicPartition, Owned>,
    /// Partitions the queue gave us that are not acquired yet, each with when to try.
    wanted: BTreeMap<TopicPartition, Duration>,
    acquiring: bool,
    acquire_pauses: Backoff,
    queue_pauses: Backoff,
    publishing: bool,
    paused: bool,
    ready: bool,
    /// Whether the queue has given us anything yet.
    joined: bool,
}

/// A partition we own and read.
#[derive(Debug)]
struct Owned {
    epoch: u64,
    /// The next offset to take.
    next: i64,
    replays: Replays,
}

/// What made the task turn around.
enum Turn {
    Event(Result<Option<ConsumerEvent>, QueueError>),
    Acquired(Option<Acquired>),
    Settled(Option<Outcome>),
    Stop,
}

impl<K: Kind> Source<K> {
    pub(crate) fn new(parts: SourceParts<K>) -> Self {
        let (acquire_pauses, queue_pauses) = (parts.pauses.clone(), parts.pauses.clone());
        Self {
            parts,
            owned: BTreeMap::new(),
            wanted: BTreeMap::new(),
            acquiring: false,
            acquire_pauses,
            queue_pauses,
            publishing: false,
            paused: false,
            ready: false,
            joined: false,
        }
    }

    /// Reads until `stop`, then drains as `drain` says, publishes everything and returns.
    pub(crate) async fn run(
        mut self,
        stop: CancellationToken,
        drain: Drain,
    ) -> Result<(), IndexerError> {
        while !stop.is_cancelled() {
            self.turn(&stop).await?;
        }
        let never = CancellationToken::new();
        if drain == Drain::ToHighWatermark {
            self.read_to_the_end(&never).await?;
        }
        self.publish_rest().await?;
        if let Err(error) = self.parts.consumer.close().await {
            warn!(%error, "consumer group not left");
        }
        Ok(())
    }

    async fn turn(&mut self, stop: &CancellationToken) -> Result<(), IndexerError> {
        self.acquire_due();
        self.bound_memory().await;
        self.cut_if_due();
        self.tell_ready();
        let turn = tokio::select! {
            biased;
            () = stop.cancelled() => Turn::Stop,
            outcome = self.parts.outcomes.recv() => Turn::Settled(outcome),
            answer = self.parts.acquired.recv() => Turn::Acquired(answer),
            event = self.parts.consumer.next(WAIT_MAX) => Turn::Event(event),
        };
        match turn {
            Turn::Stop => Ok(()),
            Turn::Settled(outcome) => {
                self.settle(outcome).await;
                Ok(())
            }
            Turn::Acquired(Some(answer)) => {
                self.acquired(answer).await;
                Ok(())
            }
            // The lane is ending, and with it this task.
            Turn::Acquired(None) => std::future::pending().await,
            Turn::Event(Ok(None)) => Ok(()),
            Turn::Event(Ok(Some(event))) => self.handle(event).await,
            Turn::Event(Err(error)) if error.retryable() => {
                let pause = self.queue_pauses.delay();
                warn!(%error, ?pause, kind = K::NAME, "queue not read, trying again");
                self.parts.clock.sleep(pause).await;
                Ok(())
            }
            Turn::Event(Err(error)) => Err(error.into()),
        }
    }

    async fn handle(&mut self, event: ConsumerEvent) -> Result<(), IndexerError> {
        self.queue_pauses.reset();
        match event {
            ConsumerEvent::Assigned(partitions) => {
                self.joined = true;
                for at in partitions {
                    info!(partition = %at, "partition assigned");
                    self.wanted.insert(at, Duration::ZERO);
                }
                Ok(())
            }
            ConsumerEvent::Revoked(partitions) => {
                for at in partitions {
                    self.revoked(&at);
                }
                Ok(())
            }
            ConsumerEvent::Messages(at, messages) => self.deliver(&at, messages).await,
            ConsumerEvent::OutOfRange { at, wanted, low, .. } if wanted < low => {
                error!(
                    partition = %at, from = wanted.0, to = low.0,
                    "queue removed these offsets before they were read, they are lost"
                );
                self.pass_over(&at, wanted.0, low.0);
                self.seek(&at, low.0).await;
                Ok(())
            }
            ConsumerEvent::OutOfRange { at, wanted, high, .. } => {
                Err(IndexerError::QueueBehindCatalog { at, published: wanted, high })
            }
            ConsumerEvent::Lost { at, first, last, reason } => {
                error!(
                    partition = %at, from = first.0, to = last.next().0, reason,
                    "queue cannot read these offsets any more, they are lost"
                );
                self.pass_over(&at, first.0, last.next().0);
                Ok(())
            }
        }
    }

    /// Takes messages in. Returns once each is searchable or set aside.
    async fn deliver(
        &mut self,
        at: &TopicPartition,
        messages: Vec<(Offset, Message)>,
    ) -> Result<(), IndexerError> {
        let rows = self.parts.held.open_rows(at);
        let (Some(owned), Some(rows)) = (self.owned.get_mut(at), rows) else { return Ok(()) };
        if let Some((last, newest)) = messages.last() {
            self.parts.held.received(at, last.next().0, newest.time_ms);
        }
        let mut delivery: Delivery<K> = Delivery {
            messages: messages.into(),
            format: self.parts.formats.get(&at.topic),
            costs: Arc::clone(&self.parts.costs),
            labels: Arc::clone(&self.parts.labels),
            now_ns: self.parts.clock.unix_nanos(),
            replays: std::mem::take(&mut owned.replays),
            rows,
            next: owned.next,
            taken: Intake::default(),
            poison: None,
        };
        loop {
            delivery = self.parts.decode.run(move || delivery.take()).await?;
            let Some((offset, message, poison)) = delivery.poison.take() else { break };
            self.set_aside(at, offset, &message, &poison).await?;
            delivery.skip(offset, &message);
        }
        if let Some(owned) = self.owned.get_mut(at) {
            owned.next = delivery.next;
            owned.replays = delivery.replays;
        }
        self.parts.held.advance(at, delivery.next, delivery.taken, self.now());
        Ok(())
    }

    /// Waits until the queue has taken the dead letter.
    async fn set_aside(
        &mut self,
        at: &TopicPartition,
        offset: Offset,
        message: &Message,
        poison: &Poison,
    ) -> Result<(), IndexerError> {
        let reason = poison.reason();
        warn!(partition = %at, offset = offset.0, reason, error = %poison, "message set aside");
        let mut pauses = self.parts.pauses.clone();
        loop {
            match self.parts.letters.write(at, offset, message, poison).await {
                Ok(()) => break,
                Err(error) if error.retryable() => {
                    let pause = pauses.delay();
                    warn!(%error, ?pause, "dead letter not written, trying again");
                    self.parts.clock.sleep(pause).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        metrics::counter!(telemetry::DEAD_LETTERS, "kind" => K::NAME, "reason" => reason)
            .increment(1);
        Ok(())
    }

    /// Counts offsets that nobody can read any more as taken.
    fn pass_over(&mut self, at: &TopicPartition, from: i64, to: i64) {
        let Some(owned) = self.owned.get_mut(at) else { return };
        // The queue may say of the same offsets twice that they are gone.
        let from = from.max(owned.next);
        if to <= from {
            return;
        }
        owned.next = to;
        let lost = to.saturating_sub(from).unsigned_abs();
        metrics::counter!(telemetry::OFFSETS_LOST, "kind" => K::NAME).increment(lost);
        self.parts.held.pass_over(at, from, to, self.now());
    }

    /// Reads everything that was in the queue when this began.
    async fn read_to_the_end(&mut self, never: &CancellationToken) -> Result<(), IndexerError> {
        let join_until = self.parts.clock.elapsed().saturating_add(JOIN_WAIT_MAX);
        while !self.joined && self.parts.clock.elapsed() < join_until {
            self.turn(never).await?;
        }
        let mut ends: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        loop {
            for at in self.owned.keys() {
                if !ends.contains_key(at) {
                    let (_, high) = self.parts.consumer.watermarks(at).await?;
                    ends.insert(at.clone(), high.0);
                }
            }
            let behind = |(at, owned): (&TopicPartition, &Owned)| {
                ends.get(at).is_none_or(|end| owned.next < *end)
            };
            if self.wanted.is_empty() && !self.owned.iter().any(behind) {
                return Ok(());
            }
            self.turn(never).await?;
        }
    }

    /// Publishes everything that is held and reads nothing more.
    async fn publish_rest(&mut self) -> Result<(), IndexerError> {
        loop {
            if self.publishing {
                let outcome = self.parts.outcomes.recv().await;
                self.settle(outcome).await;
            } else if self.parts.held.open(0).messages == 0 {
                return Ok(());
            } else {
                self.cut(Cut::Drain);
            }
        }
    }

    fn now(&self) -> Moment {
        let clock = &self.parts.clock;
        Moment { elapsed: clock.elapsed(), unix_nanos: clock.unix_nanos() }
    }
}
