//! How far behind we are: messages and seconds, per partition and stage.
//!
//! A stage of its own, since asking a broker that is away takes as long as its timeout, which must
//! hold up neither reading nor publishing.
//!
//! Always holds: a stage that has everything is 0 seconds behind, however old that is. A partition
//! that is not ours any more reads 0, or its last owner would report it for ever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use queue::{Queue, QueueError, TopicPartition};
use runtime::clock::SharedClock;

use crate::kind::Kind;
use crate::open::{Held, Progress, Reach};
use crate::telemetry;

/// How often the queue is asked how far it goes. A broker answers one question per partition.
const LAG_EVERY: Duration = Duration::from_secs(10);

/// The `stage` label.
const STAGES: [&str; 3] = ["received", "searchable", "published"];

/// Watches the partitions of one lane.
#[derive(Debug)]
pub(crate) struct Lag<K: Kind> {
    pub(crate) queue: Queue,
    pub(crate) held: Arc<Held<K>>,
    pub(crate) clock: SharedClock,
    pub(crate) reported: BTreeSet<TopicPartition>,
}

impl<K: Kind> Lag<K> {
    /// Runs until dropped.
    pub(crate) async fn run(mut self) {
        loop {
            self.look().await;
            self.clock.sleep(LAG_EVERY).await;
        }
    }

    async fn look(&mut self) {
        let owned = self.held.progress();
        let now: BTreeSet<TopicPartition> =
            owned.iter().map(|progress| progress.at.clone()).collect();
        for gone in self.reported.difference(&now) {
            for stage in STAGES {
                report(gone, stage, 0, Some(0.0));
            }
            gauge(telemetry::UNPUBLISHED, gone).set(0.0);
        }
        self.reported = now;
        for progress in &owned {
            gauge(telemetry::UNPUBLISHED, &progress.at).set(progress.unpublished as f64);
        }
        for Progress { at, received, searchable, published, .. } in &owned {
            match self.queue.watermarks(at).await {
                Ok((_, high)) => {
                    let now_ms = self.clock.unix_millis();
                    for (stage, reach) in STAGES.into_iter().zip([received, searchable, published])
                    {
                        report(at, stage, behind(high.0, reach), seconds(high.0, reach, now_ms));
                    }
                }
                // Asking for the others would only take as long again.
                Err(QueueError::Unavailable { .. }) => return,
                Err(error) => tracing::debug!(partition = %at, %error, "lag not known"),
            }
        }
    }
}

fn behind(high: i64, reach: &Reach) -> i64 {
    high.saturating_sub(reach.next).max(0)
}

/// `None` where nothing has come through since we own the partition.
fn seconds(high: i64, reach: &Reach, now_ms: i64) -> Option<f64> {
    if behind(high, reach) == 0 {
        return Some(0.0);
    }
    let age_ms = now_ms.saturating_sub(reach.time_ms?).max(0);
    Some(Duration::from_millis(age_ms.unsigned_abs()).as_secs_f64())
}

fn report(at: &TopicPartition, stage: &'static str, messages: i64, seconds: Option<f64>) {
    let (topic, partition) = (at.topic.as_str().to_owned(), at.partition.to_string());
    metrics::gauge!(
        telemetry::LAG, "topic" => topic.clone(), "partition" => partition.clone(), "stage" => stage
    )
    .set(messages as f64);
    if let Some(seconds) = seconds {
        metrics::gauge!(
            telemetry::LAG_SECONDS, "topic" => topic, "partition" => partition, "stage" => stage
        )
        .set(seconds);
    }
}

fn gauge(name: &'static str, at: &TopicPartition) -> metrics::Gauge {
    let topic = at.topic.as_str().to_owned();
    metrics::gauge!(name, "topic" => topic, "partition" => at.partition.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_counts_only_while_something_waits() {
        let reach = Reach { next: 10, time_ms: Some(5_000) };
        assert_eq!((behind(10, &reach), seconds(10, &reach, 65_000)), (0, Some(0.0)));
        assert_eq!((behind(12, &reach), seconds(12, &reach, 65_000)), (2, Some(60.0)));
        // A queue whose clock is ahead of ours.
        assert_eq!(seconds(12, &reach, 4_000), Some(0.0));
        // The watermark is older than what was read since.
        assert_eq!(behind(7, &reach), 0);
        assert_eq!(seconds(12, &Reach { next: 10, time_ms: None }, 65_000), None);
    }
}
