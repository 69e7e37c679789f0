//! Which partitions are ours: assigned by the queue, acquired in the catalog, lost again.
//!
//! Always holds: a partition is in `owned` only between an acquisition that succeeded and the
//! moment we hear that it is someone else's; only then is it read.

use std::time::Duration;

use queue::{Offset, QueueError, TopicPartition};
use segment::catalog::CatalogState;
use tracing::{info, warn};

use super::{Owned, Source};
use crate::acquire::Acquired;
use crate::kind::Kind;
use crate::replay::Replays;
use crate::telemetry;

/// Wait before a partition someone else acquired is acquired back, if the queue still gives it to
/// us. The queue usually takes it away within seconds; without it, nobody would read it.
const REACQUIRE_AFTER: Duration = Duration::from_secs(10);

impl<K: Kind> Source<K> {
    /// Stops reading a partition that the queue gave to someone else.
    pub(super) fn revoked(&mut self, at: &TopicPartition) {
        info!(partition = %at, "partition revoked");
        self.wanted.remove(at);
        if self.owned.remove(at).is_none() {
            return;
        }
        let rows = self.parts.held.retire(at, self.parts.clock.elapsed());
        metrics::counter!(telemetry::ROWS_GIVEN_UP, "kind" => K::NAME, "reason" => "revoked")
            .increment(rows);
    }

    /// Asks for every partition whose time has come, in one request.
    pub(super) fn acquire_due(&mut self) {
        let now = self.parts.clock.elapsed();
        if self.acquiring || !self.wanted.values().any(|due| *due <= now) {
            return;
        }
        let due = self.wanted.iter().filter(|(_, due)| **due <= now);
        let partitions: Vec<TopicPartition> = due.map(|(at, _)| at.clone()).collect();
        // One request at a time fits the channel; it closes only when the lane ends.
        self.acquiring = self.parts.requests.try_send(partitions).is_ok();
    }

    /// Starts the partitions of a request that is answered.
    pub(super) async fn acquired(&mut self, answer: Acquired) {
        self.acquiring = false;
        let Acquired { partitions, outcome } = answer;
        let state = match outcome {
            Ok(state) => state,
            Err(error) => {
                let pause = self.acquire_pauses.delay();
                warn!(%error, ?pause, "partitions not acquired, trying again");
                metrics::counter!(telemetry::PUBLISH_RETRIES, "kind" => K::NAME, "step" => "acquire")
                    .increment(1);
                self.want_again(&partitions, pause);
                return;
            }
        };
        self.acquire_pauses.reset();
        for at in partitions {
            // Revoked while we acquired it: whoever has it now acquires it anew.
            if !self.wanted.contains_key(&at) {
                continue;
            }
            match self.start(&at, &state).await {
                Ok(()) => {
                    self.wanted.remove(&at);
                }
                Err(QueueError::NotAssigned { .. }) => {
                    self.wanted.remove(&at);
                }
                Err(error) => {
                    let pause = self.acquire_pauses.delay();
                    warn!(partition = %at, %error, ?pause, "partition not started, trying again");
                    self.want_again(&[at], pause);
                }
            }
        }
    }

    /// Starts to read a partition where `state`, in which we own it, says.
    async fn start(&mut self, at: &TopicPartition, state: &CatalogState) -> Result<(), QueueError> {
        let partition = state
            .partition(at.topic.as_str(), at.partition.0)
            .expect("the commit that made this state acquired the partition");
        let (_, high) = self.parts.consumer.watermarks(at).await?;
        self.parts.consumer.seek(at, Offset(partition.published)).await?;
        if self.paused {
            self.parts.consumer.pause(at).await?;
        }
        let marks = partition.sources.iter().map(|(source, mark)| (*source, mark.high));
        let owned = Owned {
            epoch: partition.epoch,
            next: partition.published,
            replays: Replays::seeded(marks),
        };
        self.parts.held.assign(at, partition.epoch, partition.published, high.0);
        self.owned.insert(at.clone(), owned);
        let (epoch, offset) = (partition.epoch, partition.published);
        info!(partition = %at, epoch, offset, "partition acquired");
        Ok(())
    }

    fn want_again(&mut self, partitions: &[TopicPartition], pause: Duration) {
        let due = self.parts.clock.elapsed().saturating_add(pause);
        for at in partitions {
            if let Some(when) = self.wanted.get_mut(at) {
                *when = due;
            }
        }
    }

    /// Goes on reading an owned partition from `next`.
    pub(super) async fn seek(&mut self, at: &TopicPartition, next: i64) {
        if !self.owned.contains_key(at) {
            return;
        }
        let mut sought = self.parts.consumer.seek(at, Offset(next)).await;
        if self.paused && sought.is_ok() {
            sought = self.parts.consumer.pause(at).await;
        }
        if let Err(error) = sought {
            // A partition that is not ours any more; the event that says so is on its way.
            warn!(partition = %at, %error, "partition not sought");
        }
    }

    /// Drops a partition that someone else acquired while we published it.
    pub(super) async fn fenced(&mut self, at: &TopicPartition, epoch: u64, now: Duration) {
        if self.owned.get(at).is_none_or(|owned| owned.epoch != epoch) {
            return;
        }
        self.owned.remove(at);
        let rows = self.parts.held.remove(at);
        metrics::counter!(telemetry::ROWS_GIVEN_UP, "kind" => K::NAME, "reason" => "fenced")
            .increment(rows);
        match self.parts.consumer.pause(at).await {
            Ok(()) => {
                self.wanted.insert(at.clone(), now.saturating_add(REACQUIRE_AFTER));
            }
            Err(error) => info!(partition = %at, %error, "partition is not ours any more"),
        }
    }

    pub(super) fn tell_ready(&mut self) {
        let ready = self.wanted.is_empty();
        if ready == self.ready {
            return;
        }
        self.ready = ready;
        if ready {
            self.parts.ready.ready();
        } else {
            self.parts.ready.not_ready("partitions are not acquired yet");
        }
    }
}
