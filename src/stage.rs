//! A role while it runs: how it is told to stop, and how one learns that it has ended.
//!
//! Each role stops on its own signal and not on the process's, so that several can be stopped one
//! after another in the direction of the data.

use std::fmt::Display;
use std::time::Duration;

use runtime::clock::{Clock, within};
use runtime::shutdown::Tasks;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Added to a role's own time for draining before the process stops waiting for it.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);

/// A running role.
#[derive(Debug)]
pub(crate) struct Stage {
    name: &'static str,
    stop: CancellationToken,
    ended: CancellationToken,
    drain_deadline: Duration,
}

impl Stage {
    /// Runs a role, which gets the token that tells it to stop and has `drain` to do so.
    pub(crate) fn spawn<F, E>(
        name: &'static str,
        tasks: &Tasks,
        drain: Duration,
        run: impl FnOnce(CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let stop = CancellationToken::new();
        let ended = CancellationToken::new();
        let role = run(stop.clone());
        let on_end = ended.clone().drop_guard();
        tasks.spawn_fallible(name, async move {
            let _on_end = on_end;
            role.await
        });
        Self { name, stop, ended, drain_deadline: drain.saturating_add(DRAIN_MARGIN) }
    }

    /// Waits until the role has ended by itself, which only a failing one does.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Tells the role to stop and waits until it has drained, or until its time is up.
    pub(crate) async fn drain(&self, clock: &dyn Clock) {
        let started = clock.elapsed();
        self.stop.cancel();
        let drained = within(clock, self.drain_deadline, self.ended.cancelled()).await;
        let millis = clock.elapsed().saturating_sub(started).as_millis() as u64;
        match drained {
            Some(()) => info!(role = self.name, millis, "drained"),
            None => warn!(role = self.name, millis, "not drained in time, left behind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::clock::SystemClock;
    use runtime::shutdown::Shutdown;

    #[tokio::test]
    async fn stages_stop_one_after_another() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(&shutdown);
        let wait = |stop: CancellationToken| async move {
            stop.cancelled().await;
            Ok::<(), String>(())
        };
        let first = Stage::spawn("first", &tasks, Duration::ZERO, wait);
        let second = Stage::spawn("second", &tasks, Duration::ZERO, wait);
        let clock = SystemClock::new();
        first.drain(&clock).await;
        first.ended().await;
        assert!(!second.ended.is_cancelled());
        second.drain(&clock).await;
        assert_eq!(tasks.join(Duration::from_secs(10)).await, Ok(()));
    }

    #[tokio::test]
    async fn a_stage_that_fails_stops_the_process() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(&shutdown);
        let stage = Stage::spawn("broken", &tasks, Duration::ZERO, |_| async {
            Err::<(), _>("disk gone".to_owned())
        });
        shutdown.token().cancelled().await;
        stage.ended().await;
    }
}
