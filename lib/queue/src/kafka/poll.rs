//! The thread that serves one Kafka consumer.
//!
//! The client must be polled all the time or the group throws us out, so the thread never waits
//! for the task that reads: when the task is slow, partitions are paused, and polling goes on.
//!
//! Always holds: a partition is assigned in the client somewhere and paused, and its messages
//! are passed on only after the task said where to start; every run has a number, so that
//! messages of an earlier run are recognised; revoked partitions are given back when the task has
//! seen it, or after `revoke_wait_ms`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use runtime::backoff::Backoff;
use runtime::clock::SharedClock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{Message, Offset, Topic, TopicPartition};

use super::client::Reporter;
use super::rebalance::Callbacks;
use super::session::Session;

/// Longest sleep of the thread; everything it waits for rings the bell, this is for what cannot.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// The buffer is counted in pieces of this size.
pub(super) const ROOM_BYTES: usize = 1_024;

/// What the task asks for.
#[derive(Debug)]
pub(super) enum Command {
    /// Read from an offset on; `run` marks the messages that follow.
    Start {
        at: TopicPartition,
        next: Offset,
        run: u64,
    },
    Stop {
        at: TopicPartition,
    },
    /// The task is done with what was revoked.
    Release,
    Report {
        at: TopicPartition,
        next: Offset,
    },
}

/// What the task is told.
#[derive(Debug)]
pub(super) enum Told {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Messages {
        at: TopicPartition,
        run: u64,
        messages: Vec<(Offset, Message)>,
        _room: OwnedSemaphorePermit,
    },
    /// Some partition that runs was told that its offset does not exist.
    OffsetMissing,
}

/// Wakes the thread.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    ring: Condvar,
    pub(super) closing: AtomicBool,
}

impl Bell {
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ring.notify_one();
    }

    pub(super) fn wait(&self, limit: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ring.wait_timeout_while(rung, limit, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    pub(super) fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

/// What the thread is made of.
pub(super) struct Poller {
    pub(super) config: ClientConfig,
    pub(super) topics: Vec<Topic>,
    pub(super) clock: SharedClock,
    pub(super) bell: Arc<Bell>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) told: mpsc::Sender<Told>,
    pub(super) room: Arc<Semaphore>,
    pub(super) room_total: u32,
    pub(super) revoke_wait: Duration,
}

/// Why a session ended.
pub(super) enum End {
    Closing,
    /// The client is of no use any more.
    Fatal,
}

impl Poller {
    /// Builds the client and joins the group.
    pub(super) fn connect(&self) -> Result<BaseConsumer<Callbacks>, KafkaError> {
        let reporter = Reporter::new("consumer", Arc::clone(&self.clock));
        let callbacks = Callbacks::new(reporter, Arc::clone(&self.bell));
        let mut consumer = BaseConsumer::from_config_and_context(&self.config, callbacks)?;
        let bell = Arc::clone(&self.bell);
        consumer.set_nonempty_callback(move || bell.ring());
        let names: Vec<&str> = self.topics.iter().map(Topic::as_str).collect();
        consumer.subscribe(&names)?;
        Ok(consumer)
    }

    /// The thread: sessions until the consumer is closed.
    pub(super) fn run(mut self, first: BaseConsumer<Callbacks>) {
        let mut next = Some(first);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        while !self.bell.closing() {
            let connected = match next.take() {
                Some(consumer) => Ok(consumer),
                None => self.connect(),
            };
            match connected {
                Ok(consumer) => {
                    let mut session = Session::new(&mut self, consumer);
                    let end = session.run();
                    session.wind_up();
                    if let End::Closing = end {
                        return;
                    }
                    session.abandon();
                }
                Err(error) => tracing::warn!(%error, "cannot build a kafka consumer"),
            }
            let pause = self.clock.elapsed() + backoff.delay();
            while self.clock.elapsed() < pause && !self.bell.closing() {
                self.bell.wait(TICK);
            }
        }
    }
}
