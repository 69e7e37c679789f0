//! How long to wait before trying again.
//!
//! Always holds: a delay never exceeds `max`, and jitter only shortens it, so that `max` is what
//! an operator can count on.

use std::time::Duration;

/// Growing, jittered delays. Endless: the caller decides when to give up.
///
/// ```
/// use std::time::Duration;
/// use runtime::backoff::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
/// backoff.jitter = 0.0;
/// let delays: Vec<u128> = backoff.by_ref().take(4).map(|delay| delay.as_millis()).collect();
/// assert_eq!(delays, [100, 200, 350, 350]);
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    /// First delay.
    pub initial: Duration,
    /// No delay is longer.
    pub max: Duration,
    /// Each delay is the one before it times this.
    pub factor: f64,
    /// Share of each delay left to chance, 0 to 1: with 0.5 a delay is shortened by up to half.
    pub jitter: f64,
    attempts: u32,
}

impl Backoff {
    /// Returns delays from `initial` to `max` that double and are shortened by up to half.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, factor: 2.0, jitter: 0.5, attempts: 0 }
    }

    /// Starts over, after something went well.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Returns how many delays have been handed out since the start or the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns the next delay.
    pub fn delay(&mut self) -> Duration {
        let exponent = i32::try_from(self.attempts).unwrap_or(i32::MAX);
        self.attempts = self.attempts.saturating_add(1);
        let longest = self.max.as_secs_f64();
        let grown = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        let capped = if grown.is_finite() && grown < longest { grown } else { longest };
        let share = self.jitter.clamp(0.0, 1.0) * fastrand::f64();
        Duration::try_from_secs_f64(capped * (1.0 - share)).unwrap_or(self.max)
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.delay())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_stay_within_bounds(
            initial_ms in 0_u64..10_000,
            max_ms in 0_u64..10_000,
            factor in 0.0_f64..1e6,
            jitter in -1.0_f64..2.0,
        ) {
            let max = Duration::from_millis(max_ms);
            let backoff = Backoff {
                factor,
                jitter,
                ..Backoff::new(Duration::from_millis(initial_ms), max)
            };
            for delay in backoff.take(200) {
                prop_assert!(delay <= max);
            }
        }
    }

    #[test]
    fn reset_starts_over() {
        let mut backoff = Backoff {
            jitter: 0.0,
            ..Backoff::new(Duration::from_secs(1), Duration::from_secs(60))
        };
        let before: Vec<_> = backoff.by_ref().take(3).collect();
        assert_eq!(before, [1, 2, 4].map(Duration::from_secs));
        assert_eq!(backoff.attempts(), 3);
        backoff.reset();
        assert_eq!(backoff.delay(), Duration::from_secs(1));
    }
}
