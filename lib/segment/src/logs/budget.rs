//! What one query may cost, shared by all its scans.
//!
//! What always holds: a limit that was hit is an error that names it, never a shorter answer.
//! Checks stand between granules, so a scan overshoots by at most what it decodes at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use runtime::clock::SharedClock;

/// Limits of one query and what it has used. Share it by `Arc` among the query's scans.
#[derive(Debug)]
pub struct ScanBudget {
    bytes_max: u64,
    rows_max: u64,
    deadline: Option<(SharedClock, Duration)>,
    bytes: AtomicU64,
    rows: AtomicU64,
    cancelled: AtomicBool,
}

/// Which limit a scan hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanLimit {
    #[error("the query would read more than {max} bytes of segments")]
    Bytes { max: u64 },
    #[error("the query would look at more than {max} rows")]
    Rows { max: u64 },
    #[error("the query took longer than its deadline")]
    Deadline,
    #[error("the query was cancelled")]
    Cancelled,
}

impl ScanBudget {
    /// A budget of `bytes_max` bytes read from the object store and `rows_max` rows looked at.
    pub fn new(bytes_max: u64, rows_max: u64) -> Self {
        Self {
            bytes_max,
            rows_max,
            deadline: None,
            bytes: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
        }
    }

    /// A budget without limits, for tests and for work that is bounded otherwise.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX, u64::MAX)
    }

    /// Ends scans once `clock`'s elapsed time is `at` or later.
    #[must_use]
    pub fn with_deadline(mut self, clock: SharedClock, at: Duration) -> Self {
        self.deadline = Some((clock, at));
        self
    }

    /// Ends the query's scans at their next check.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// The clock's elapsed time; zero without a deadline, for then there is no clock.
    pub fn elapsed(&self) -> Duration {
        self.deadline.as_ref().map_or(Duration::ZERO, |(clock, _)| clock.elapsed())
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Rows looked at so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`ScanLimit::Cancelled`] or [`ScanLimit::Deadline`].
    pub fn check(&self) -> Result<(), ScanLimit> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(ScanLimit::Cancelled);
        }
        match &self.deadline {
            Some((clock, at)) if *at <= clock.elapsed() => Err(ScanLimit::Deadline),
            _ => Ok(()),
        }
    }

    /// Takes `bytes` before they are read.
    ///
    /// # Errors
    /// [`ScanLimit::Bytes`] when that is more than is left.
    pub fn take_bytes(&self, bytes: u64) -> Result<(), ScanLimit> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.bytes_max < before.saturating_add(bytes) {
            return Err(ScanLimit::Bytes { max: self.bytes_max });
        }
        Ok(())
    }

    /// Takes `rows` before they are looked at.
    ///
    /// # Errors
    /// [`ScanLimit::Rows`] when that is more than is left.
    pub fn take_rows(&self, rows: u64) -> Result<(), ScanLimit> {
        let before = self.rows.fetch_add(rows, Ordering::Relaxed);
        if self.rows_max < before.saturating_add(rows) {
            return Err(ScanLimit::Rows { max: self.rows_max });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use runtime::clock::ManualClock;

    use super::*;

    #[test]
    fn says_which_limit_was_hit() {
        let budget = ScanBudget::new(10, 5);
        assert_eq!(budget.take_bytes(10), Ok(()));
        assert_eq!(budget.take_bytes(1), Err(ScanLimit::Bytes { max: 10 }));
        assert_eq!(budget.take_rows(6), Err(ScanLimit::Rows { max: 5 }));
        assert_eq!(budget.check(), Ok(()));
        budget.cancel();
        assert_eq!(budget.check(), Err(ScanLimit::Cancelled));
    }

    #[test]
    fn a_deadline_is_the_clocks() {
        let clock = ManualClock::new(0);
        let budget = ScanBudget::unlimited()
            .with_deadline(Arc::<ManualClock>::clone(&clock), Duration::from_secs(1));
        assert_eq!(budget.check(), Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!(budget.check(), Err(ScanLimit::Deadline));
    }
}
