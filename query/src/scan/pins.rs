//! Which catalog state a query reads.
//!
//! Always holds: a pinned state is no older than `catalog_refresh_ms`, or the query carries a
//! warning that says how the refresh failed. Refreshes of several queries are one.
//!
//! A damaged commit does not end answering: the state before it goes on being pinned, with the
//! warning, and owners that hold nothing from its offsets on are left out by name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime::clock::SharedClock;
use segment::catalog::{Catalog, CatalogState};
use segment::recent::Pin;
use tokio::sync::Mutex;

use crate::admission::QueryContext;
use crate::error::QueryError;
use crate::telemetry;

#[derive(Debug)]
pub(super) struct Pins {
    catalog: Catalog,
    clock: SharedClock,
    max_age: Duration,
    /// When the catalog was last read to its end.
    refreshed: Mutex<Option<Duration>>,
    /// The catalog cannot be read further, and waiting does not help: a commit is damaged.
    stopped: AtomicBool,
}

impl Pins {
    pub(super) fn new(catalog: Catalog, clock: SharedClock, max_age: Duration) -> Self {
        let (refreshed, stopped) = (Mutex::new(None), AtomicBool::new(false));
        Self { catalog, clock, max_age, refreshed, stopped }
    }

    /// A state that is fresh enough.
    pub(super) async fn current(
        &self,
        context: &QueryContext,
    ) -> Result<Arc<CatalogState>, QueryError> {
        self.refreshed_since(self.clock.elapsed().checked_sub(self.max_age), context).await
    }

    /// Whether planning again cannot help, because no newer state can be read.
    pub(super) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// A state read after this call began.
    pub(super) async fn newer(
        &self,
        context: &QueryContext,
    ) -> Result<Arc<CatalogState>, QueryError> {
        self.refreshed_since(Some(self.clock.elapsed()), context).await
    }

    /// Refreshes unless that was done at or after `since`; `None` accepts any earlier refresh.
    async fn refreshed_since(
        &self,
        since: Option<Duration>,
        context: &QueryContext,
    ) -> Result<Arc<CatalogState>, QueryError> {
        let refreshing = async {
            // Whoever waits here finds the refresh done by the one before.
            let mut refreshed = self.refreshed.lock().await;
            let fresh = refreshed.is_some_and(|at| since.is_none_or(|since| since <= at));
            if fresh {
                return self.catalog.state();
            }
            let started = self.clock.elapsed();
            match self.catalog.refresh().await {
                Ok(state) => {
                    *refreshed = Some(started);
                    self.stopped.store(false, Ordering::Relaxed);
                    state
                }
                Err(error) => {
                    metrics::counter!(telemetry::CATALOG_REFRESH_FAILURES).increment(1);
                    self.stopped.store(!error.retryable(), Ordering::Relaxed);
                    tracing::warn!(%error, "catalog could not be refreshed");
                    context.warn(format!(
                        "the catalog could not be refreshed, the newest rows may be missing: {error}"
                    ));
                    self.catalog.state()
                }
            }
        };
        context.within(refreshing).await
    }
}

/// The partitions of `topics` by the base URL of their owner, each with the first offset that is
/// not in a segment of `state`.
pub(super) fn pins_by_owner(state: &CatalogState, topics: &[String]) -> BTreeMap<String, Vec<Pin>> {
    let mut owners: BTreeMap<String, Vec<Pin>> = BTreeMap::new();
    for ((topic, partition), known) in &state.partitions {
        if known.owner.is_empty() || !topics.contains(topic) {
            continue;
        }
        let pin = Pin { topic: topic.clone(), partition: *partition, offset: known.published };
        owners.entry(known.owner.clone()).or_default().push(pin);
    }
    owners
}
