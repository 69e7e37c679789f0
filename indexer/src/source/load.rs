//! How much is held: cuts and their outcomes, the memory bound.
//!
//! Always holds: at most one cut is under way. Above the memory bound, published rows leave early;
//! if that is not enough, reading pauses until enough is published.

use queue::Offset;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::Source;
use crate::cut::Cut;
use crate::kind::Kind;
use crate::publish::{CutSet, Outcome};
use crate::telemetry;

/// Reading goes on when less than this share of the memory bound is held.
const RESUME_NUMERATOR: u64 = 3;
const RESUME_DENOMINATOR: u64 = 4;

impl<K: Kind> Source<K> {
    /// Drops what has expired; releases or pauses when too much is held.
    pub(super) async fn bound_memory(&mut self) {
        let held = &self.parts.held;
        let now = self.parts.clock.elapsed();
        if let Some(until) = now.checked_sub(self.parts.grace) {
            held.expire(until);
        }
        let memory_max = self.parts.memory_bytes_max;
        let mut weight = held.weight();
        if memory_max < weight.memory_bytes {
            held.expire(now);
            weight = held.weight();
        }
        metrics::gauge!(telemetry::HELD_ROWS, "kind" => K::NAME).set(weight.rows as f64);
        metrics::gauge!(telemetry::HELD_BYTES, "kind" => K::NAME).set(weight.memory_bytes as f64);
        metrics::gauge!(telemetry::PARTITIONS, "kind" => K::NAME).set(self.owned.len() as f64);
        metrics::gauge!(telemetry::MEMORY_BYTES_MAX, "kind" => K::NAME).set(memory_max as f64);
        let resume_below = memory_max / RESUME_DENOMINATOR * RESUME_NUMERATOR;
        if !self.paused && memory_max < weight.memory_bytes {
            warn!(kind = K::NAME, bytes = weight.memory_bytes, "too much is held, reading pauses");
            metrics::counter!(telemetry::PAUSES, "kind" => K::NAME).increment(1);
            self.set_paused(true).await;
        } else if self.paused && weight.memory_bytes < resume_below {
            info!(kind = K::NAME, bytes = weight.memory_bytes, "reading goes on");
            self.set_paused(false).await;
        }
    }

    async fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        metrics::gauge!(telemetry::PAUSED, "kind" => K::NAME).set(f64::from(u8::from(paused)));
        let consumer = &mut self.parts.consumer;
        for at in self.owned.keys() {
            let done = if paused { consumer.pause(at).await } else { consumer.resume(at).await };
            if let Err(error) = done {
                // A partition that is not ours any more; the event that says so is on its way.
                warn!(partition = %at, %error, paused, "partition not paused or resumed");
            }
        }
    }

    /// Cuts when a limit is reached and nothing is being published.
    pub(super) fn cut_if_due(&mut self) {
        if self.publishing {
            return;
        }
        let sources = self.owned.values().map(|owned| owned.replays.touched()).sum();
        let open = self.parts.held.open(sources);
        if let Some(reason) = self.parts.policy.decide(&open, self.now()) {
            self.cut(reason);
        }
    }

    /// Hands everything that is open to the publisher.
    pub(super) fn cut(&mut self, reason: Cut) {
        let mut parts = self.parts.held.cut();
        for part in &mut parts {
            if let Some(owned) = self.owned.get_mut(&part.at) {
                part.sources = owned.replays.cut();
            }
        }
        metrics::counter!(telemetry::CUTS, "kind" => K::NAME, "reason" => reason.as_str())
            .increment(1);
        self.publishing = true;
        let sent = self.parts.cuts.try_send(CutSet { parts, reason });
        // A closed channel means the publisher failed, which ends this task too.
        debug_assert!(
            !matches!(sent, Err(mpsc::error::TrySendError::Full(_))),
            "one cut at a time fits the channel"
        );
    }

    /// Takes note of what became of a cut.
    pub(super) async fn settle(&mut self, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else {
            // The publisher ended with an error, which whoever runs both tasks returns.
            return std::future::pending().await;
        };
        self.publishing = false;
        let now = self.parts.clock.elapsed();
        for settled in &outcome.published {
            self.parts.held.published(&settled.at, settled.epoch, settled.to, now);
            if let Err(error) =
                self.parts.consumer.commit_advisory(&settled.at, Offset(settled.to)).await
            {
                debug!(partition = %settled.at, %error, "published offset not reported");
            }
            let Some(owned) = self.owned.get_mut(&settled.at) else { continue };
            let state = outcome.state.as_ref();
            let known = state.and_then(|state| {
                state.partition(settled.at.topic.as_str(), settled.at.partition.0)
            });
            if let Some(known) = known.filter(|known| known.epoch == owned.epoch) {
                owned.replays.forget(|source| known.sources.contains_key(source));
            }
        }
        for lost in outcome.fenced {
            self.fenced(&lost.at, lost.epoch, now).await;
        }
    }
}
