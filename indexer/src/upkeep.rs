//! What an indexer does for segments that are published: retention, merges, the sweep.
//!
//! One task, one thing at a time, so that none of it competes with another part of it. It has a
//! thread of its own and a bound on bytes a second, so that it delays neither taking rows in nor
//! publishing them.
//!
//! On a crash, and on a stop, it is dropped where it stands: every part of it is one commit or
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use runtime::backoff::Backoff;
use runtime::clock::SharedClock;
use runtime::cpu::CpuPool;
use segment::catalog::{Catalog, CatalogState};
use tracing::warn;

use crate::config::IndexerSection;
use crate::merge::execute::Executor;
use crate::merge::pace::Pace;
use crate::merge::{Merger, Round, owners, weight};
use crate::retention::{self, Rules};
use crate::sweep::{self, Mode};
use crate::telemetry;
use crate::upload::Uploader;

/// Jobs that wait for the merge thread: one merge asks for a step and a decode at most.
const JOBS_MAX: usize = 8;

/// How long it is one owner's turn to look after retention and the sweep.
const TURN_MS: i64 = 600_000;

/// Merges in a row before retention and the sweep get their turn.
const ROUNDS_MAX: usize = 64;

/// Looks after the published segments of one store.
#[derive(Debug)]
pub struct Upkeep {
    catalog: Catalog,
    clock: SharedClock,
    interval: Duration,
    rules: Rules,
    merger: Option<Merger>,
    sweep: Option<Sweeper>,
    owner: String,
}

#[derive(Debug)]
struct Sweeper {
    interval: Duration,
    grace: Duration,
    store: Arc<dyn ObjectStore>,
    due: Duration,
}

impl Upkeep {
    /// Starts nothing yet. `owner` is the base URL by which the catalog knows this process.
    ///
    /// # Errors
    /// When the merge thread cannot be started.
    pub fn new(
        section: &IndexerSection,
        store: &Arc<dyn ObjectStore>,
        catalog: &Catalog,
        clock: &SharedClock,
        owner: String,
    ) -> std::io::Result<Self> {
        let pauses = Backoff::new(
            Duration::from_millis(section.publish_retry_ms_min),
            Duration::from_millis(section.publish_retry_ms_max),
        );
        let merger = match section.merge.enabled {
            false => None,
            true => Some(Merger {
                policy: section.merge_policy(),
                owner: owner.clone(),
                takeover: Duration::from_secs(section.merge.takeover_secs),
                executor: Executor {
                    store: Arc::clone(store),
                    catalog: catalog.clone(),
                    clock: Arc::clone(clock),
                    cpu: Arc::new(CpuPool::named("indexer-merge", 1, JOBS_MAX)?),
                    uploader: Uploader {
                        store: Arc::clone(store),
                        clock: Arc::clone(clock),
                        timeout: Duration::from_secs(section.upload_timeout_secs),
                        pauses: pauses.clone(),
                        kind: "merged",
                    },
                    pauses,
                    pace: Pace::new(Arc::clone(clock), section.merge.bytes_per_sec_max),
                    commit_within: section.sweep.commit_within(),
                },
                set_aside: std::collections::BTreeSet::new(),
            }),
        };
        let sweep = section.sweep.enabled.then(|| Sweeper {
            interval: Duration::from_secs(section.sweep.interval_secs),
            grace: Duration::from_secs(section.sweep.grace_secs),
            store: Arc::clone(store),
            due: Duration::ZERO,
        });
        Ok(Self {
            catalog: catalog.clone(),
            clock: Arc::clone(clock),
            interval: Duration::from_secs(section.merge.interval_secs),
            rules: Rules::new(&section.retention),
            merger,
            sweep,
            owner,
        })
    }

    /// Works until it is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            self.clock.sleep(self.interval).await;
            self.turn().await;
        }
    }

    /// Looks once: expires, merges what is worth it and ours, sweeps when that is due.
    pub async fn turn(&mut self) {
        let Some(state) = self.refreshed().await else { return };
        if self.has_turn(&state, "retention") {
            let now_ns = self.clock.unix_nanos();
            // Someone else was first, or the store fails: the next turn starts from a newer state.
            drop(retention::enforce(&self.catalog, &state, &self.rules, now_ns).await);
        }
        self.merge().await;
        self.sweep().await;
    }

    async fn merge(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let Some(state) = self.refreshed().await else { return };
            let Some(merger) = &mut self.merger else { return };
            if merger.round(&state).await != Round::Worked {
                return;
            }
        }
    }

    async fn sweep(&mut self) {
        let turn = self.has_turn(&self.catalog.state(), "sweep");
        let Some(sweeper) = &mut self.sweep else { return };
        let now = self.clock.elapsed();
        if !turn || now < sweeper.due {
            return;
        }
        sweeper.due = now + sweeper.interval;
        let (store, grace) = (&sweeper.store, sweeper.grace);
        match sweep::sweep(store, &self.catalog, &self.clock, grace, Mode::Delete).await {
            Ok(swept) => sweep::report(&swept),
            Err(error) => {
                metrics::counter!(telemetry::SWEEP_FAILURES).increment(1);
                warn!(%error, "orphans not swept");
            }
        }
    }

    async fn refreshed(&self) -> Option<Arc<CatalogState>> {
        match self.catalog.refresh().await {
            Ok(state) => Some(state),
            Err(error) => {
                warn!(%error, "catalog not refreshed, upkeep waits");
                None
            }
        }
    }

    /// Whether it is this owner's turn to do `work`. Turns go round among the owners the catalog
    /// names, so one that is gone for good only makes it wait for the next.
    fn has_turn(&self, state: &CatalogState, work: &str) -> bool {
        let turn = (work, self.clock.unix_millis().div_euclid(TURN_MS));
        let ours = weight(&self.owner, &turn);
        owners(state).iter().all(|other| weight(other, &turn) <= ours)
    }
}
