//! Whether the queue answers: a part of readiness.
//!
//! Without the queue an indexer still answers for what it holds and publishes it, and the queue is
//! what it waits for to do more. So one that is away for a moment changes nothing; one that has not
//! answered for `queue_silence_secs_max` makes the process not ready, which says why and takes it
//! out of a rollout before the next one is stopped.
//!
//! Bounded: one question at a time.

use std::time::Duration;

use queue::Queue;
use runtime::admin::ReadyPart;
use runtime::clock::{SharedClock, within};
use tracing::{info, warn};

use crate::telemetry;

/// Pause between questions.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// Longest wait for an answer; the client's own request timeout may be anything.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);

/// Asks the queue for signs of life.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) queue: Queue,
    pub(crate) clock: SharedClock,
    pub(crate) silence_max: Duration,
    /// Not ready until the queue has answered for the first time.
    pub(crate) ready: ReadyPart,
}

impl Watch {
    /// Runs until dropped.
    pub(crate) async fn run(self) {
        let mut heard_at = self.clock.elapsed();
        let mut ready = false;
        loop {
            let problem = self.ask().await;
            let now = self.clock.elapsed();
            metrics::gauge!(telemetry::QUEUE_REACHABLE).set(f64::from(u8::from(problem.is_none())));
            match problem {
                None => {
                    heard_at = now;
                    if !ready {
                        info!("queue answers");
                        self.ready.ready();
                    }
                    ready = true;
                }
                Some(problem) => {
                    let silence = now.saturating_sub(heard_at);
                    if self.silence_max <= silence || !ready {
                        let secs = silence.as_secs();
                        self.ready.not_ready(&format!("queue silent for {secs} s: {problem}"));
                        if ready {
                            warn!(problem, silence_secs = secs, "queue does not answer");
                        }
                        ready = false;
                    }
                }
            }
            self.clock.sleep(ASK_EVERY).await;
        }
    }

    /// Returns why the queue is of no use.
    async fn ask(&self) -> Option<String> {
        match within(&*self.clock, ANSWER_WAIT_MAX, self.queue.check()).await {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(error.to_string()),
            None => Some(format!("no answer within {ANSWER_WAIT_MAX:?}")),
        }
    }
}
