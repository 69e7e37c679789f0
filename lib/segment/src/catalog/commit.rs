//! Making one commit: check, put, find out what happened, try again.
//!
//! The put of a number can end in three ways, and only the store's content tells which: the
//! object has our id, another id, or does not exist (yet: a put we stopped waiting for may still
//! arrive). So after anything but a plain success the object is read back, and as long as it does
//! not exist the *same bytes* are put again under the *same number*. A number is given up only
//! when another commit holds it, which makes it impossible for ours to appear there later.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runtime::backoff::Backoff;

use super::envelope::{self, Kind};
use super::error::{CatalogError, CommitError};
use super::log::{Put, ReadError};
use super::op::{Commit, Op, Refusal};
use super::snapshot::SnapshotBody;
use super::state::{CatalogState, Misfit};
use super::{Catalog, telemetry};
use crate::id::CommitId;

/// Pauses while the store fails: doubling, shortened at random by up to half.
const FAILURE_PAUSE_MIN: Duration = Duration::from_millis(50);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Pauses after losing a number: a random share of this, so that losers do not collide again.
/// They grow with the losses in a row but stay short, since a loss means that others got on; more
/// would let a busy catalog starve one writer.
const LOSS_PAUSE_MIN: Duration = Duration::from_millis(10);
const LOSS_PAUSE_MAX: Duration = Duration::from_millis(200);

/// A commit under way; handed back when its outcome is undecided.
#[derive(Debug)]
pub struct Pending {
    id: CommitId,
    ops: Vec<Op>,
    /// Set from the first put of a number until that number is decided.
    attempt: Option<Attempt>,
}

/// One number we try to take.
#[derive(Debug)]
struct Attempt {
    base: Arc<CatalogState>,
    commit: Commit,
    next: Arc<CatalogState>,
    bytes: Bytes,
}

/// What became of a number.
enum Decision {
    Ours,
    Theirs(Commit),
    /// Nobody has it, as far as can be seen.
    Open(String),
}

impl Pending {
    pub(super) fn new(ops: Vec<Op>, unix_nanos: i64) -> Self {
        Self { id: CommitId::generate(unix_nanos), ops, attempt: None }
    }

    /// The id the commit has or will have.
    pub fn id(&self) -> CommitId {
        self.id
    }

    /// The number whose outcome is open; 0 when none was tried.
    pub fn version(&self) -> u64 {
        self.attempt.as_ref().map_or(0, |attempt| attempt.commit.version)
    }
}

/// Drives `pending` until it is made, refused, or out of time.
pub(super) async fn drive(
    catalog: &Catalog,
    mut pending: Box<Pending>,
) -> Result<Arc<CatalogState>, CommitError> {
    let options = &catalog.shared.options;
    let deadline = options.clock.elapsed() + options.commit_timeout;
    let mut failures = Backoff::new(FAILURE_PAUSE_MIN, FAILURE_PAUSE_MAX);
    let mut losses = Backoff::new(LOSS_PAUSE_MIN, LOSS_PAUSE_MAX);
    losses.jitter = 1.0;
    loop {
        let attempt = match pending.attempt.take() {
            Some(attempt) => attempt,
            None => prepare(catalog, &pending).await?,
        };
        let (last_error, pause) = match decide(catalog, &attempt).await {
            Ok(Decision::Ours) => {
                catalog.know(&attempt.next);
                write_snapshot(catalog, &attempt.next).await;
                return Ok(attempt.next);
            }
            Ok(Decision::Theirs(commit)) => {
                metrics::counter!(telemetry::CATALOG_COMMIT_CONFLICTS).increment(1);
                catch_up(catalog, &attempt.base, &commit).await?;
                let lost = format!("lost version {} to `{}`", commit.version, commit.writer);
                (lost, losses.delay())
            }
            Ok(Decision::Open(error)) => {
                pending.attempt = Some(attempt);
                (error, failures.delay())
            }
            Err(error) => {
                pending.attempt = Some(attempt);
                let last_error = error.to_string();
                return Err(CommitError::Undecided { pending, last_error });
            }
        };
        if deadline <= options.clock.elapsed() {
            return Err(CommitError::Undecided { pending, last_error });
        }
        options.clock.sleep(pause).await;
    }
}

/// Applies the commit that won and whatever came after it.
///
/// That the store cannot be read just now does not matter: the next put finds out.
async fn catch_up(
    catalog: &Catalog,
    base: &CatalogState,
    winner: &Commit,
) -> Result<(), CatalogError> {
    catalog.follow(base, winner)?;
    match catalog.refresh().await {
        Err(error) if !error.retryable() => Err(error),
        _ => Ok(()),
    }
}

/// Checks the operations against the newest state and builds the commit for the next number.
///
/// Tries the known state first: when nobody else wrote, that saves reading.
async fn prepare(catalog: &Catalog, pending: &Pending) -> Result<Attempt, CommitError> {
    let known = catalog.state();
    match attempt_on(catalog, pending, &known) {
        Ok(attempt) => Ok(attempt),
        Err(refusal) => {
            let newest = catalog.refresh().await?;
            if newest.version == known.version {
                return Err(CommitError::Refused(refusal));
            }
            Ok(attempt_on(catalog, pending, &newest)?)
        }
    }
}

fn attempt_on(
    catalog: &Catalog,
    pending: &Pending,
    base: &Arc<CatalogState>,
) -> Result<Attempt, Refusal> {
    let options = &catalog.shared.options;
    let now_ms = options.clock.unix_millis();
    let retention_ms = i64::try_from(options.source_retention.as_millis()).unwrap_or(i64::MAX);
    let commit = Commit {
        version: base.version + 1,
        id: pending.id,
        previous: base.head,
        writer: options.writer.clone(),
        committed_ms: now_ms,
        forget_sources_before_ms: now_ms.saturating_sub(retention_ms),
        ops: pending.ops.clone(),
    };
    let next = match base.after(&commit) {
        Ok(next) => Arc::new(next),
        Err(Misfit::Refused(refusal)) => return Err(refusal),
        Err(misfit) => unreachable!("the commit was numbered after its base: {misfit}"),
    };
    let bytes = envelope::encode(Kind::Commit, &commit);
    let (found, bytes_max) = (bytes.len() as u64, Kind::Commit.bytes_max());
    if bytes_max < found {
        return Err(Refusal::TooLarge { bytes: found, bytes_max });
    }
    Ok(Attempt { base: Arc::clone(base), commit, next, bytes })
}

/// Puts the attempt's object and finds out who has the number.
///
/// # Errors
/// When the object is there but damaged: neither ours nor provably another's.
async fn decide(catalog: &Catalog, attempt: &Attempt) -> Result<Decision, CatalogError> {
    let log = &catalog.shared.log;
    let version = attempt.commit.version;
    let reason = match log.create_commit(version, attempt.bytes.clone()).await {
        Put::Created => return Ok(Decision::Ours),
        Put::Unsure(reason) => reason,
    };
    match log.commit(version).await {
        Ok(Some(found)) if found.id == attempt.commit.id => Ok(Decision::Ours),
        Ok(Some(found)) => Ok(Decision::Theirs(found)),
        Ok(None) => Ok(Decision::Open(reason)),
        Err(error @ ReadError::Damaged { .. }) => Err(super::stopped(version, error)),
        Err(error) => Ok(Decision::Open(format!("{reason}; then {error}"))),
    }
}

/// Writes a snapshot when `state` is due for one. Failing costs the next opener time, no more.
async fn write_snapshot(catalog: &Catalog, state: &Arc<CatalogState>) {
    let every = catalog.shared.options.snapshot_every.max(1);
    if !state.version.is_multiple_of(every) {
        return;
    }
    let shared_state = Arc::clone(state);
    let encoding = tokio::task::spawn_blocking(move || {
        envelope::encode(Kind::Snapshot, &SnapshotBody::of(&shared_state))
    });
    let put = match encoding.await {
        Ok(bytes) => catalog.shared.log.create_snapshot(state.version, bytes).await,
        Err(error) => Put::Unsure(error.to_string()),
    };
    let outcome = match put {
        Put::Created => "written",
        Put::Unsure(reason) => {
            tracing::warn!(version = state.version, %reason, "snapshot not written");
            "failed"
        }
    };
    metrics::counter!(telemetry::CATALOG_SNAPSHOTS, "outcome" => outcome).increment(1);
}
