//! Who may start a query, and what it may use until it ends.
//!
//! [`Admission`] hands out permits; the [`QueryContext`] it returns is carried through planning,
//! scanning and evaluation. It holds the deadline, the budgets for bytes and rows, the warnings the
//! answer will carry, and the counters of its `stats` object.
//!
//! Always holds: a query runs only with a permit; dropping [`Admitted`] (answer sent, client gone)
//! cancels what is still running for it and frees the permit. Bounds: `concurrency` running,
//! `waiting_max` waiting, and per query the section `query.limits`.

use std::future::Future;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use record::TenantId;
use runtime::clock::SharedClock;
use segment::logs::{ScanBudget, ScanLimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::config::{LimitsSection, QuerySection};
use crate::error::{LimitHit, QueryError};
use crate::explain::Explain;

/// Warnings one answer carries; further ones only repeat that things are broken.
const WARNINGS_MAX: usize = 20;

/// Hands out permits to run queries.
#[derive(Clone, Debug)]
pub struct Admission {
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
    timeout: Duration,
    limits: Arc<LimitsSection>,
    clock: SharedClock,
}

impl Admission {
    pub fn new(section: &QuerySection, clock: SharedClock) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(section.concurrency)),
            waiting: Arc::new(AtomicUsize::new(0)),
            waiting_max: section.waiting_max,
            timeout: section.timeout(),
            limits: Arc::new(section.limits.clone()),
            clock,
        }
    }

    /// Waits for a permit and starts the query's clock.
    ///
    /// `timeout` is the client's own wish; it can only shorten the configured one.
    ///
    /// # Errors
    /// [`QueryError::Busy`] when the waiting room is full, [`QueryError::Deadline`] when the wait
    /// alone took the whole time.
    pub async fn admit(
        &self,
        tenant: TenantId,
        timeout: Option<Duration>,
    ) -> Result<Admitted, QueryError> {
        let started = self.clock.elapsed();
        let timeout = timeout.map_or(self.timeout, |wish| wish.min(self.timeout));
        let permit = self.permit(timeout).await?;
        let deadline = started.saturating_add(timeout);
        let budget = ScanBudget::new(self.limits.bytes_read_max, self.limits.rows_max)
            .with_deadline(Arc::clone(&self.clock), deadline);
        let context = QueryContext(Arc::new(Inner {
            tenant,
            limits: Arc::clone(&self.limits),
            clock: Arc::clone(&self.clock),
            started,
            deadline,
            cancelled: CancellationToken::new(),
            warnings: Mutex::new(Vec::new()),
            budget: Arc::new(budget),
            stats: Stats::default(),
            explain: Mutex::new(Explain::default()),
            _permit: permit,
        }));
        let queued = self.clock.elapsed().saturating_sub(started);
        context.stats().queue_nanos.store(nanos(queued), Ordering::Relaxed);
        Ok(Admitted { context })
    }

    async fn permit(&self, timeout: Duration) -> Result<OwnedSemaphorePermit, QueryError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let _seat = Seat::take(&self.waiting, self.waiting_max).ok_or(QueryError::Busy)?;
        tokio::select! {
            permit = Arc::clone(&self.permits).acquire_owned() => {
                permit.map_err(|_closed| QueryError::Busy)
            }
            () = self.clock.sleep(timeout) => Err(QueryError::Deadline),
        }
    }
}

/// A place in the waiting room, given back on drop.
struct Seat<'a>(&'a AtomicUsize);

impl<'a> Seat<'a> {
    fn take(waiting: &'a AtomicUsize, waiting_max: usize) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let seat = Self(waiting);
        (before < waiting_max).then_some(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A query that may run. Dropping it cancels whatever still works for it.
#[derive(Debug)]
pub struct Admitted {
    context: QueryContext,
}

impl Deref for Admitted {
    type Target = QueryContext;

    fn deref(&self) -> &QueryContext {
        &self.context
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.context.0.cancelled.cancel();
        self.context.0.budget.cancel();
    }
}

/// What a running query carries along. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QueryContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tenant: TenantId,
    limits: Arc<LimitsSection>,
    clock: SharedClock,
    /// Monotonic time at which the request came in.
    started: Duration,
    /// Monotonic time at which it is stopped.
    deadline: Duration,
    cancelled: CancellationToken,
    warnings: Mutex<Vec<String>>,
    /// Bytes and rows, shared with the scans of segments.
    budget: Arc<ScanBudget>,
    stats: Stats,
    explain: Mutex<Explain>,
    _permit: OwnedSemaphorePermit,
}

impl QueryContext {
    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }

    pub fn limits(&self) -> &LimitsSection {
        &self.0.limits
    }

    pub fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    pub fn stats(&self) -> &Stats {
        &self.0.stats
    }

    /// Time since the request came in.
    pub fn elapsed(&self) -> Duration {
        self.0.clock.elapsed().saturating_sub(self.0.started)
    }

    /// Time since [`QueryContext::elapsed`] gave `before`.
    pub fn since(&self, before: Duration) -> Duration {
        self.elapsed().saturating_sub(before)
    }

    /// Adds to the figures that explain the query.
    pub fn explain(&self, add: impl FnOnce(&mut Explain)) {
        add(&mut self.0.explain.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The figures so far.
    pub fn explained(&self) -> Explain {
        self.0.explain.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Time until the deadline; zero once it has passed.
    pub fn remaining(&self) -> Duration {
        self.0.deadline.saturating_sub(self.0.clock.elapsed())
    }

    /// To be called between pieces of work, so that none runs on for nobody.
    ///
    /// # Errors
    /// [`QueryError::Cancelled`] or [`QueryError::Deadline`].
    pub fn check(&self) -> Result<(), QueryError> {
        if self.0.cancelled.is_cancelled() {
            return Err(QueryError::Cancelled);
        }
        if self.remaining().is_zero() {
            return Err(QueryError::Deadline);
        }
        Ok(())
    }

    /// Runs `work` until it is done, the deadline passes or the query is cancelled.
    ///
    /// # Errors
    /// As [`QueryContext::check`].
    pub async fn within<F: Future>(&self, work: F) -> Result<F::Output, QueryError> {
        tokio::select! {
            biased;
            () = self.0.cancelled.cancelled() => Err(QueryError::Cancelled),
            output = work => Ok(output),
            () = self.0.clock.sleep(self.remaining()) => Err(QueryError::Deadline),
        }
    }

    /// The budget of bytes and rows, for scans of segments.
    pub fn budget(&self) -> &Arc<ScanBudget> {
        &self.0.budget
    }

    /// Takes `bytes` from the budget of bytes read.
    ///
    /// # Errors
    /// [`LimitHit::BytesRead`] once the budget is spent.
    pub fn take_bytes(&self, bytes: u64) -> Result<(), QueryError> {
        self.0.budget.take_bytes(bytes).map_err(QueryError::from)
    }

    /// Takes `rows` (log rows or samples) from the budget of rows decoded.
    ///
    /// # Errors
    /// [`LimitHit::Rows`] once the budget is spent.
    pub fn take_rows(&self, rows: u64) -> Result<(), QueryError> {
        self.0.budget.take_rows(rows).map_err(QueryError::from)
    }

    /// Adds a warning to the answer, once.
    pub fn warn(&self, warning: String) {
        let mut warnings = self.0.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < WARNINGS_MAX && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    pub fn warnings(&self) -> Vec<String> {
        self.0.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a query has done so far, for its `stats` object and for telemetry.
#[derive(Debug, Default)]
pub struct Stats {
    pub queue_nanos: AtomicU64,
    /// Bytes of the log lines looked at.
    pub line_bytes: AtomicU64,
    /// Rows left after all filters.
    pub rows_matched: AtomicU64,
    pub segments: AtomicU64,
    pub indexers: AtomicU64,
}

impl Stats {
    pub fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

impl From<ScanLimit> for QueryError {
    fn from(limit: ScanLimit) -> Self {
        match limit {
            ScanLimit::Bytes { max } => LimitHit::BytesRead { max }.into(),
            ScanLimit::Rows { max } => LimitHit::Rows { max }.into(),
            ScanLimit::Deadline => Self::Deadline,
            ScanLimit::Cancelled => Self::Cancelled,
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use runtime::clock::ManualClock;

    use super::*;

    #[tokio::test]
    async fn a_query_ends_at_its_deadline_and_a_client_can_only_shorten_it() {
        let clock = ManualClock::new(0);
        let section = QuerySection { timeout_secs: 60, ..QuerySection::default() };
        let admission = Admission::new(&section, Arc::<ManualClock>::clone(&clock));
        let admit = |timeout| admission.admit(TenantId::default(), timeout);
        let usual = admit(Some(Duration::from_secs(300))).await.expect("there are permits");
        let short = admit(Some(Duration::from_secs(5))).await.expect("there are permits");
        clock.advance(Duration::from_secs(5));
        assert!(usual.check().is_ok());
        assert!(matches!(short.check(), Err(QueryError::Deadline)));
        assert!(matches!(
            short.within(std::future::pending::<()>()).await,
            Err(QueryError::Deadline)
        ));
        clock.advance(Duration::from_secs(55));
        let late = usual.check().expect_err("60 s have passed").to_string();
        assert!(late.starts_with("request timed out, decrease the duration"), "{late}");
    }

    #[tokio::test]
    async fn budgets_name_themselves_once_spent() {
        let mut section = QuerySection::default();
        (section.limits.bytes_read_max, section.limits.rows_max) = (10, 3);
        let admission = Admission::new(&section, ManualClock::new(0));
        let query = admission.admit(TenantId::default(), None).await.expect("there are permits");
        query.take_bytes(10).expect("within the budget");
        let spent = query.take_bytes(1).expect_err("over the budget").to_string();
        assert!(spent.starts_with("the query would read too many bytes"), "{spent}");
        let spent = query.take_rows(4).expect_err("over the budget").to_string();
        assert!(spent.contains("query.limits.rows_max"), "{spent}");
    }

    #[tokio::test]
    async fn warnings_are_kept_once_and_bounded() {
        let admission = Admission::new(&QuerySection::default(), ManualClock::new(0));
        let query = admission.admit(TenantId::default(), None).await.expect("there are permits");
        for number in 0..100 {
            query.warn(format!("warning {}", number / 2));
        }
        assert_eq!(query.warnings().len(), WARNINGS_MAX);
    }
}
