//! What is published: a log of numbered commits in the object store, and the state they add up to.
//!
//! A writer proposes operations; they are checked against the newest state and become commit
//! `version + 1` by one create-only put. Of all writers racing for a number exactly one wins; the
//! others read what won, check again and try the next. `docs/formats/catalog.md` has the bytes
//! and the protocol.
//!
//! # What always holds
//!
//! - History is linear: commit n+1 names the id of commit n, and readers check it.
//! - A commit applies wholly or not at all, and at most once however often it was attempted.
//! - A publish whose epoch is not current, or whose offsets do not continue the published ones,
//!   is refused: zombies are fenced and nothing is published twice, without clocks.
//! - [`Catalog::commit`] never guesses: it reports made, refused, not made, or undecided.
//!
//! # On a crash
//!
//! Nothing needs repair: an object is there or it is not. A commit whose writer died before
//! hearing the answer is found by whoever reads next.
//!
//! # What bounds it
//!
//! Object sizes (`envelope`), commits between snapshots, the time a commit and a request may
//! take ([`CatalogOptions`]), reads ahead ([`TAIL_READS_MAX`]).

mod commit;
pub mod doctor;
mod envelope;
mod error;
mod history;
mod log;
mod lost;
mod op;
mod snapshot;
mod state;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use object_store::ObjectStore;
use runtime::clock::SharedClock;

pub use commit::Pending;
pub use envelope::Damage;
pub use error::{CatalogError, CommitError};
pub use history::CLOCK_SKEW_MAX;
pub use lost::{LOST_RANGES_MAX, Lost, LostRange};
pub use op::{Commit, Op, Refusal};
pub use state::{CatalogState, Misfit, PartitionState, SourceMark};

use crate::telemetry;
use log::{CommitLog, ReadError};

/// Where the catalog lives in its store unless configured otherwise.
pub const PREFIX: &str = "catalog";

/// Commits read ahead at once when far behind. More opens faster after a long pause and holds
/// that many commit objects in memory (usually kilobytes, at worst 16 MiB each).
pub const TAIL_READS_MAX: u64 = 16;

/// How a catalog behaves.
#[derive(Clone, Debug)]
pub struct CatalogOptions {
    pub clock: SharedClock,
    /// Who this process is, written into its commits for people.
    pub writer: String,
    /// How long replay positions of a source outlive its last published row. A collector that
    /// was away longer and replays may double its lines; keeping them costs about 100 bytes each.
    pub source_retention: Duration,
    /// Longest wait for one request to the store.
    pub request_timeout: Duration,
    /// Longest time one commit may try before it is reported as undecided.
    pub commit_timeout: Duration,
    /// Commits between snapshots.
    pub snapshot_every: u64,
}

impl CatalogOptions {
    /// The defaults: positions kept 7 days, requests 30 s, commits 60 s, a snapshot every 64.
    pub fn new(clock: SharedClock, writer: impl Into<String>) -> Self {
        Self {
            clock,
            writer: writer.into(),
            source_retention: Duration::from_secs(7 * 24 * 3_600),
            request_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(60),
            snapshot_every: snapshot::SNAPSHOT_COMMITS_EVERY,
        }
    }
}

/// A handle on one catalog. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Catalog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    log: CommitLog,
    options: CatalogOptions,
    /// The newest state this process knows.
    known: RwLock<Arc<CatalogState>>,
    /// Held while committing: writers of one process queue instead of racing each other.
    writing: tokio::sync::Mutex<()>,
}

impl Catalog {
    /// Opens the catalog below `prefix`, reading the newest snapshot and the commits after it.
    /// An empty store is an empty catalog.
    ///
    /// # Errors
    /// When the store cannot be read, or a commit after the newest readable snapshot is damaged.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        options: CatalogOptions,
    ) -> Result<Self, CatalogError> {
        match Self::open_to_read(store, prefix, options).await? {
            (catalog, None) => Ok(catalog),
            (_, Some(error)) => Err(error),
        }
    }

    /// As [`Self::open`], for a process that had rather answer from an older state than not at all:
    /// when a commit is damaged, the state is the one before it, and the error says what stopped
    /// there. [`Self::refresh`] says it again until the object is restored.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open_to_read(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        options: CatalogOptions,
    ) -> Result<(Self, Option<CatalogError>), CatalogError> {
        let log =
            CommitLog::new(store, prefix, Arc::clone(&options.clock), options.request_timeout);
        let start = Arc::new(newest_snapshot(&log).await?);
        let catalog = Self {
            shared: Arc::new(Shared {
                log,
                options,
                known: RwLock::new(start),
                writing: tokio::sync::Mutex::new(()),
            }),
        };
        match catalog.refresh().await {
            Ok(_) => Ok((catalog, None)),
            Err(error) if error.retryable() => Err(error),
            Err(error) => Ok((catalog, Some(error))),
        }
    }

    /// The newest state this process knows; asks nobody.
    pub fn state(&self) -> Arc<CatalogState> {
        Arc::clone(&self.shared.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads forward to the newest commit. One request when nothing is new.
    ///
    /// # Errors
    /// When the store cannot be read or a commit is damaged; [`Self::state`] then stays where
    /// reading stopped.
    pub async fn refresh(&self) -> Result<Arc<CatalogState>, CatalogError> {
        let mut state = self.state();
        let mut window = 1;
        loop {
            let (next, more) = self.read_on(state, window).await?;
            state = next;
            if !more {
                return Ok(self.state());
            }
            window = (window * 2).min(TAIL_READS_MAX);
        }
    }

    /// Makes the operations one commit and returns the state **just after it**.
    ///
    /// Reads forward and checks again when other writers were first. Without operations it is a
    /// [`Self::refresh`]. Not cancel-safe: when dropped midway the commit may or may not be made.
    ///
    /// # Errors
    /// See [`CommitError`]; only `Undecided` leaves open whether the commit was made.
    pub async fn commit(&self, ops: Vec<Op>) -> Result<Arc<CatalogState>, CommitError> {
        if ops.is_empty() {
            return Ok(self.refresh().await?);
        }
        self.resume(Box::new(Pending::new(ops, self.shared.options.clock.unix_nanos()))).await
    }

    /// Goes on with a commit that was left undecided.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn resume(&self, pending: Box<Pending>) -> Result<Arc<CatalogState>, CommitError> {
        let _queue = self.shared.writing.lock().await;
        let started = self.shared.options.clock.elapsed();
        let outcome = commit::drive(self, pending).await;
        let seconds = self.shared.options.clock.elapsed().saturating_sub(started).as_secs_f64();
        metrics::histogram!(telemetry::CATALOG_COMMIT_SECONDS).record(seconds);
        let label = match &outcome {
            Ok(_) => "made",
            Err(CommitError::Refused(_)) => "refused",
            Err(CommitError::Catalog(_)) => "not_made",
            Err(CommitError::Undecided { .. }) => "undecided",
        };
        metrics::counter!(telemetry::CATALOG_COMMITS, "outcome" => label).increment(1);
        outcome
    }

    /// Reads up to `window` commits after `state` and applies them; tells whether there may be
    /// more.
    async fn read_on(
        &self,
        state: Arc<CatalogState>,
        window: u64,
    ) -> Result<(Arc<CatalogState>, bool), CatalogError> {
        let first = state.version + 1;
        let numbers = first..first.saturating_add(window);
        let mut reads = futures::stream::iter(numbers)
            .map(|version| async move { (version, self.shared.log.commit(version).await) })
            .buffered(window as usize);
        let mut state = state;
        while let Some((version, read)) = reads.next().await {
            let commit = match read {
                Ok(Some(commit)) => commit,
                Ok(None) => return Ok((state, false)),
                Err(error) => return Err(stopped(version, error)),
            };
            state = self.follow(&state, &commit)?;
        }
        Ok((state, true))
    }

    /// Applies a durable commit to the state before it and makes the result known.
    fn follow(
        &self,
        state: &CatalogState,
        commit: &Commit,
    ) -> Result<Arc<CatalogState>, CatalogError> {
        match state.after(commit) {
            Ok(next) => {
                let next = Arc::new(next);
                self.know(&next);
                Ok(next)
            }
            Err(misfit) => {
                metrics::counter!(telemetry::CATALOG_CORRUPT_OBJECTS, "kind" => "commit")
                    .increment(1);
                let version = commit.version;
                let path = self.shared.log.commit_path(version).to_string();
                Err(CatalogError::Misfit { version, path, misfit })
            }
        }
    }

    /// Makes `state` the newest known, unless a newer one is known already.
    fn know(&self, state: &Arc<CatalogState>) {
        let mut known = self.shared.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.version < state.version {
            *known = Arc::clone(state);
            metrics::gauge!(telemetry::CATALOG_VERSION).set(state.version as f64);
            metrics::gauge!(telemetry::CATALOG_SEGMENTS).set(state.segments.len() as f64);
        }
    }
}

/// The state of the newest snapshot that can be read, or the empty state.
async fn newest_snapshot(log: &CommitLog) -> Result<CatalogState, CatalogError> {
    let mut damaged = BTreeSet::new();
    for all in [false, true] {
        for version in log.snapshot_versions(all).await.map_err(listing_failed)? {
            if damaged.contains(&version) {
                continue;
            }
            match log.snapshot(version).await {
                Ok(body) => return Ok(body.into_state()),
                Err(ReadError::Damaged { path, damage }) => {
                    metrics::counter!(telemetry::CATALOG_CORRUPT_OBJECTS, "kind" => "snapshot")
                        .increment(1);
                    tracing::warn!(%path, %damage, "snapshot is damaged, trying an older one");
                    damaged.insert(version);
                }
                Err(error) => return Err(CatalogError::reading_commit(version, error)),
            }
        }
    }
    Ok(CatalogState::default())
}

fn listing_failed(error: ReadError) -> CatalogError {
    CatalogError::reading_commit(0, error)
}

/// Counts and names what stopped the reader at `version`.
fn stopped(version: u64, error: ReadError) -> CatalogError {
    if matches!(error, ReadError::Damaged { .. }) {
        metrics::counter!(telemetry::CATALOG_CORRUPT_OBJECTS, "kind" => "commit").increment(1);
    }
    CatalogError::reading_commit(version, error)
}
