//! Time, as a thing that is handed in.
//!
//! The only module that reads the system clock. Everything that decides by time takes a
//! [`SharedClock`]; tests hand in a [`ManualClock`] and move it.
//!
//! Always holds: [`Clock::elapsed`] never goes backwards. [`Clock::unix_nanos`] may, since it
//! follows the machine's wall clock.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::oneshot;

/// A clock that several owners share.
pub type SharedClock = Arc<dyn Clock>;

/// Source of time and of delays.
#[async_trait]
pub trait Clock: Send + Sync + Debug + 'static {
    /// Returns nanoseconds since 1970-01-01 UTC; negative before that.
    fn unix_nanos(&self) -> i64;

    /// Returns the time since this clock was made. Monotonic: for measuring and for deadlines.
    fn elapsed(&self) -> Duration;

    /// Waits until `duration` has passed on this clock. Cancel-safe.
    async fn sleep(&self, duration: Duration);

    /// Returns milliseconds since 1970-01-01 UTC, rounded down.
    fn unix_millis(&self) -> i64 {
        self.unix_nanos().div_euclid(1_000_000)
    }
}

/// Runs `work`, giving up when `limit` has passed on `clock`.
///
/// Returns `None` when the limit came first; `work` is dropped then.
pub async fn within<T>(
    clock: &dyn Clock,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock.sleep(limit) => None,
    }
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Returns a system clock ready to be shared.
    pub fn shared() -> SharedClock {
        Arc::new(Self::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn unix_nanos(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos)
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<ManualState>,
}

#[derive(Debug)]
struct ManualState {
    start_unix_nanos: i64,
    elapsed: Duration,
    next_id: u64,
    /// Keyed by wake-up time, then by arrival, so that sleepers wake in order.
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
}

impl ManualClock {
    /// Returns a clock that stands at `unix_nanos`.
    pub fn new(unix_nanos: i64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(ManualState {
                start_unix_nanos: unix_nanos,
                elapsed: Duration::ZERO,
                next_id: 0,
                sleepers: BTreeMap::new(),
            }),
        })
    }

    /// Moves time forward and wakes every sleeper whose time has come, earliest first.
    pub fn advance(&self, by: Duration) {
        let mut state = self.lock();
        state.elapsed = state.elapsed.saturating_add(by);
        let first_asleep = (state.elapsed.saturating_add(Duration::from_nanos(1)), 0);
        let still_asleep = state.sleepers.split_off(&first_asleep);
        let due = std::mem::replace(&mut state.sleepers, still_asleep);
        drop(state);
        for sleeper in due.into_values() {
            if sleeper.send(()).is_err() {
                // The sleeper was dropped: nobody is waiting.
            }
        }
    }

    /// Returns how many sleepers wait, so that a test can advance only once its subject sleeps.
    pub fn sleepers(&self) -> usize {
        let mut state = self.lock();
        state.sleepers.retain(|_, sleeper| !sleeper.is_closed());
        state.sleepers.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ManualState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn unix_nanos(&self) -> i64 {
        let state = self.lock();
        let elapsed = i64::try_from(state.elapsed.as_nanos()).unwrap_or(i64::MAX);
        state.start_unix_nanos.saturating_add(elapsed)
    }

    fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    async fn sleep(&self, duration: Duration) {
        let waker = {
            let mut state = self.lock();
            if duration.is_zero() {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            let key = (state.elapsed.saturating_add(duration), state.next_id);
            state.next_id += 1;
            state.sleepers.insert(key, sender);
            receiver
        };
        // An error would mean the clock is gone, which cannot happen while `self` is borrowed.
        drop(waker.await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn manual_sleepers_wake_only_when_their_time_has_come() {
        let clock = ManualClock::new(1_000);
        let sleeper = {
            let clock = Arc::clone(&clock);
            async move {
                clock.sleep(Duration::from_secs(10)).await;
                clock.unix_nanos()
            }
        };
        let mut sleeper = Box::pin(sleeper);
        assert!(futures::poll!(&mut sleeper).is_pending());
        assert_eq!(clock.sleepers(), 1);
        clock.advance(Duration::from_secs(9));
        assert!(futures::poll!(&mut sleeper).is_pending());
        clock.advance(Duration::from_secs(1));
        assert_eq!(sleeper.await, 10_000_001_000);
    }

    #[tokio::test]
    async fn work_that_takes_too_long_is_given_up() {
        let clock = ManualClock::new(0);
        let mut work =
            Box::pin(within(&*clock, Duration::from_secs(5), std::future::pending::<()>()));
        assert!(futures::poll!(&mut work).is_pending());
        clock.advance(Duration::from_secs(5));
        assert_eq!(work.await, None);
        assert_eq!(within(&*clock, Duration::from_secs(5), async { 7 }).await, Some(7));
    }

    #[test]
    fn milliseconds_round_down_before_1970_too() {
        assert_eq!(ManualClock::new(-1).unix_millis(), -1);
        assert_eq!(ManualClock::new(1_999_999).unix_millis(), 1);
    }
}
