//! Keeping the bytes a second of background work below a bound.

use std::time::Duration;

use runtime::clock::SharedClock;

/// Hands out bytes; over any stretch of time no more than the rate allows, plus one request.
#[derive(Debug)]
pub(crate) struct Pace {
    clock: SharedClock,
    bytes_per_sec: u64,
    /// When what was handed out is paid for.
    paid_at: Duration,
}

impl Pace {
    pub(crate) fn new(clock: SharedClock, bytes_per_sec: u64) -> Self {
        Self { clock, bytes_per_sec: bytes_per_sec.max(1), paid_at: Duration::ZERO }
    }

    /// Waits until `bytes` that were just moved are paid for.
    pub(crate) async fn pay(&mut self, bytes: u64) {
        let now = self.clock.elapsed();
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_sec as f64);
        self.paid_at = self.paid_at.max(now) + cost;
        self.clock.sleep(self.paid_at.saturating_sub(now)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use runtime::clock::ManualClock;

    use super::*;

    #[tokio::test]
    async fn bytes_take_the_time_they_should() {
        let clock = ManualClock::new(0);
        let shared = Arc::<ManualClock>::clone(&clock);
        let mut pace = Pace::new(shared, 1_000);
        let mut paying = Box::pin(pace.pay(2_500));
        assert!(futures::poll!(&mut paying).is_pending());
        clock.advance(Duration::from_millis(2_499));
        assert!(futures::poll!(&mut paying).is_pending());
        clock.advance(Duration::from_millis(1));
        assert!(futures::poll!(&mut paying).is_ready());
        drop(paying);
        clock.advance(Duration::from_secs(60));
        assert!(futures::poll!(Box::pin(pace.pay(1_000))).is_pending(), "rest saves up nothing");
    }
}
