//! Watching for work that blocks the reactor.
//!
//! A handler that computes or does blocking I/O for milliseconds delays every other task of its
//! thread. A timer that should fire at a fixed pace shows it by firing late.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::Clock;

pub(super) const DELAY_SECONDS: &str = "millrace_reactor_delay_seconds";

/// Pace of the timer: shorter finds shorter stalls and wakes the process more often.
const PACE: Duration = Duration::from_millis(100);

/// A delay from which on a stall is logged: long enough that users notice.
const DELAY_LOGGED: Duration = Duration::from_secs(1);

/// Measures how late timers fire until `token` is cancelled.
pub async fn watch_reactor(clock: &dyn Clock, token: CancellationToken) {
    loop {
        let due = clock.elapsed() + PACE;
        tokio::select! {
            () = token.cancelled() => return,
            () = clock.sleep(PACE) => {}
        }
        let delay = clock.elapsed().saturating_sub(due);
        metrics::histogram!(DELAY_SECONDS).record(delay.as_secs_f64());
        if DELAY_LOGGED < delay {
            warn!(
                delay_ms = delay.as_millis() as u64,
                "reactor was blocked, or the machine is busy"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn timers_are_measured_until_the_end() {
        let handle = crate::telemetry::install(&[]);
        let clock = ManualClock::new(0);
        let token = CancellationToken::new();
        let mut watch = Box::pin(watch_reactor(&*clock, token.clone()));
        assert!(futures::poll!(&mut watch).is_pending());
        clock.advance(PACE + Duration::from_millis(30));
        assert!(futures::poll!(&mut watch).is_pending());
        let text = handle.render();
        let late = format!("{DELAY_SECONDS}_bucket{{le=\"0.05\"}} 1");
        assert!(text.contains(&late), "{text}");
        token.cancel();
        watch.await;
    }
}
