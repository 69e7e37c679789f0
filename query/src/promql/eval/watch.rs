//! When to stop: the deadline, and whether anybody still waits for the answer.

use std::time::Duration;

use runtime::clock::SharedClock;
use tokio_util::sync::CancellationToken;

use crate::promql::error::QueryError;

/// Looked at by everything that works for a query.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    clock: SharedClock,
    /// On the clock's own time.
    deadline: Duration,
    canceled: CancellationToken,
}

impl Watch {
    pub(crate) fn new(clock: SharedClock, timeout: Duration, canceled: CancellationToken) -> Self {
        let deadline = clock.elapsed().saturating_add(timeout);
        Self { clock, deadline, canceled }
    }

    /// # Errors
    /// When the query must stop; the error says in what it was.
    pub(crate) fn check(&self, phase: &'static str) -> Result<(), QueryError> {
        if self.canceled.is_cancelled() {
            return Err(QueryError::Canceled { phase });
        }
        if self.left().is_zero() {
            return Err(QueryError::Timeout { phase });
        }
        Ok(())
    }

    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.clock.elapsed())
    }
}
