//! Deleting objects that no catalog state needs any more.
//!
//! An uploaded object that no commit ever named (a crash, a lost race), and one whose segment was
//! retired by a merge or by retention, is an *orphan*. Queries may still read a retired one, and a
//! writer may be about to name a new one, so nothing goes before a grace time has passed.
//!
//! # What always holds
//!
//! - An object goes only when the newest state does not name it, no commit of the last `grace`
//!   retired it, and it was written longer than `grace` ago. Writers name what they upload within
//!   half of that or give up.
//! - Only objects below `segments/` whose name ends in a segment's id are looked at; anything else
//!   is counted and left alone.
//! - When the recent commits cannot be read, nothing is deleted.
//!
//! On a crash the next sweep goes on. Bounded by [`ORPHANS_MAX`] objects a sweep; the listing is
//! streamed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use runtime::clock::SharedClock;
use segment::SegmentId;
use segment::catalog::{Catalog, CatalogError, CatalogState};
use tracing::{info, warn};

use crate::telemetry;

/// Objects deleted by one sweep; the next takes the rest. Each costs about 200 bytes of memory.
pub const ORPHANS_MAX: usize = 100_000;

/// Where segments are, from the store's root.
const SEGMENTS: &str = "segments";

/// Whether orphans are deleted or only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    DryRun,
    Delete,
}

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub objects: u64,
    /// Objects a state names, or whose grace has not passed.
    pub kept: u64,
    /// Objects whose name is no segment's.
    pub unknown: u64,
    /// Names and sizes of what was, or would be, deleted.
    pub orphans: Vec<(String, u64)>,
    /// Orphans that could not be deleted.
    pub failed: u64,
}

/// Why nothing was swept.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error("list segment objects")]
    List(#[source] object_store::Error),
    #[error("read recent commits")]
    Catalog(#[from] CatalogError),
}

/// An object that may be an orphan.
#[derive(Clone, Debug)]
struct Candidate {
    id: SegmentId,
    location: Path,
    bytes: u64,
}

/// Finds orphans and deletes them.
///
/// # Errors
/// When objects cannot be listed or commits cannot be read; nothing was deleted then.
pub async fn sweep(
    store: &Arc<dyn ObjectStore>,
    catalog: &Catalog,
    clock: &SharedClock,
    grace: Duration,
    mode: Mode,
) -> Result<Swept, SweepError> {
    let now_ms = clock.unix_millis();
    let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    let oldest_ms = now_ms.saturating_sub(grace_ms);
    let mut swept = Swept::default();
    let mut candidates = Vec::new();
    let before = catalog.state();
    let mut listing = store.list(Some(&Path::from(SEGMENTS)));
    while let Some(object) = listing.next().await {
        let object = object.map_err(SweepError::List)?;
        swept.objects += 1;
        let Some(id) = id_of(&object) else {
            swept.unknown += 1;
            continue;
        };
        let young = oldest_ms <= object.last_modified.timestamp_millis() && !grace.is_zero();
        if young || before.segments.contains_key(&id) || ORPHANS_MAX <= candidates.len() {
            swept.kept += 1;
            continue;
        }
        candidates.push(Candidate { id, location: object.location, bytes: object.size });
    }
    // After the listing: whatever was named until now is known now.
    let state = catalog.refresh().await?;
    let removed =
        if grace.is_zero() { BTreeSet::new() } else { catalog.removed_since(oldest_ms).await? };
    for candidate in candidates {
        if is_needed(&candidate, &state, &removed) {
            swept.kept += 1;
            continue;
        }
        if mode == Mode::Delete
            && let Err(error) = store.delete(&candidate.location).await
            && !matches!(error, object_store::Error::NotFound { .. })
        {
            warn!(path = %candidate.location, %error, "orphan not deleted");
            swept.failed += 1;
            continue;
        }
        swept.orphans.push((candidate.location.to_string(), candidate.bytes));
    }
    Ok(swept)
}

fn is_needed(candidate: &Candidate, state: &CatalogState, removed: &BTreeSet<SegmentId>) -> bool {
    state.segments.contains_key(&candidate.id) || removed.contains(&candidate.id)
}

fn id_of(object: &ObjectMeta) -> Option<SegmentId> {
    object.location.filename()?.parse().ok()
}

/// Counts and tells what a sweep did.
pub(crate) fn report(swept: &Swept) {
    let bytes: u64 = swept.orphans.iter().map(|(_, bytes)| bytes).sum();
    metrics::counter!(telemetry::SWEPT_OBJECTS).increment(swept.orphans.len() as u64);
    metrics::counter!(telemetry::SWEPT_BYTES).increment(bytes);
    metrics::counter!(telemetry::SWEEP_FAILURES).increment(swept.failed);
    metrics::gauge!(telemetry::SWEEP_UNKNOWN).set(swept.unknown as f64);
    if !swept.orphans.is_empty() || 0 < swept.failed {
        let (objects, failed) = (swept.orphans.len(), swept.failed);
        info!(objects, bytes, failed, "orphans deleted");
    }
}
