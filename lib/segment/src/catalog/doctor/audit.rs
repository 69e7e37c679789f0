//! Reading a whole catalog and naming everything that is wrong with it.
//!
//! Replays every commit there is, compares each snapshot with what the commits before it add up to,
//! and looks for the object of every published segment. Where the log is broken the replay goes on
//! from the next snapshot, so that one fault does not hide the next.
//!
//! Writes nothing. May run beside live writers: what it says is true of the moment it read it, and
//! a segment found missing is looked for again in the newest state before it is reported.
//!
//! Bounded by one state, the versions listed (8 bytes each), one entry per published segment, and
//! [`TAIL_READS_MAX`] commits read ahead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::finding::Finding;
use crate::catalog::log::{CommitLog, ReadError};
use crate::catalog::{CatalogError, CatalogOptions, CatalogState, Commit, Lost, TAIL_READS_MAX};
use crate::meta::SegmentMeta;

/// Where segment objects are, from the store's root.
const SEGMENTS: &str = "segments";

/// What an audit looked at and what it found.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// The newest version that can be read.
    pub version: u64,
    /// Commits read and sound.
    pub commits: u64,
    /// Snapshots read and sound.
    pub snapshots: u64,
    /// Published segments, all of them looked for.
    pub segments: u64,
    /// Segment objects that no commit names: left by a crash between upload and commit, not yet
    /// swept, or being published right now.
    pub orphans: u64,
    pub orphan_bytes: u64,
    /// By topic and partition, what its queue lost before it was read. No fault of the catalog.
    pub lost: Vec<(String, i32, Lost)>,
    pub findings: Vec<Finding>,
}

/// Reads the catalog below `prefix` and the names of all segment objects.
///
/// # Errors
/// When the store cannot be read. What is wrong with the catalog is in [`Audit::findings`].
pub async fn audit(
    store: &Arc<dyn ObjectStore>,
    prefix: &str,
    options: &CatalogOptions,
) -> Result<Audit, CatalogError> {
    let clock = Arc::clone(&options.clock);
    let log = CommitLog::new(Arc::clone(store), prefix, clock, options.request_timeout);
    let reading = |error| CatalogError::reading_commit(0, error);
    // In this order: a snapshot is written after its commit, so each one's commit is listed.
    let snapshots = log.snapshot_versions(true).await.map_err(reading)?;
    let versions = log.commit_versions().await.map_err(reading)?;
    let mut replay = Replay {
        log: &log,
        snapshots: snapshots.into_iter().collect(),
        state: None,
        last: CatalogState::default(),
        audit: Audit::default(),
    };
    replay.start(versions.first().copied()).await?;
    replay.all(&versions).await?;
    let Replay { state, last, mut audit, .. } = replay;
    let state = state.unwrap_or(last);
    audit.version = state.version;
    audit.segments = state.segments.len() as u64;
    let lost = state.partitions.iter().filter(|(_, known)| known.lost != Lost::default());
    let named =
        lost.map(|((topic, partition), known)| (topic.clone(), *partition, known.lost.clone()));
    audit.lost = named.collect();
    let missing = check_objects(store, &state, &mut audit).await?;
    if !missing.is_empty() {
        // Merged or expired while we read, unless the newest state still names it.
        let newest = read_on(&log, state).await;
        audit.findings.extend(missing.into_iter().filter(|finding| match finding {
            Finding::SegmentMissing { id, .. } => newest.segments.contains_key(id),
            _ => true,
        }));
    }
    Ok(audit)
}

/// The newest state, as far as it can be read.
async fn read_on(log: &CommitLog, mut state: CatalogState) -> CatalogState {
    while let Ok(Some(commit)) = log.commit(state.version + 1).await {
        let Ok(next) = state.after(&commit) else { break };
        state = next;
    }
    state
}

/// The replay of a log, as far as it got.
struct Replay<'a> {
    log: &'a CommitLog,
    snapshots: BTreeSet<u64>,
    /// `None` where the log is broken and no later snapshot heals it.
    state: Option<CatalogState>,
    /// The newest state before it broke for good.
    last: CatalogState,
    audit: Audit,
}

impl Replay<'_> {
    /// Finds what the first commit follows: nothing, or the snapshot just before it.
    async fn start(&mut self, first: Option<u64>) -> Result<(), CatalogError> {
        let before = match first {
            Some(first) => first.saturating_sub(1),
            None => u64::MAX,
        };
        if before == 0 {
            self.state = Some(CatalogState::default());
            return Ok(());
        }
        // Commits below a snapshot may have been deleted: the newest snapshot that joins on.
        let candidates: Vec<u64> = self.snapshots.range(..=before).copied().rev().collect();
        for version in candidates {
            self.state = self.snapshot(version).await?;
            if self.state.is_some() {
                break;
            }
        }
        if self.state.is_none() && (first.is_some() || self.snapshots.is_empty()) {
            self.state = Some(CatalogState::default());
        }
        Ok(())
    }

    async fn all(&mut self, versions: &[u64]) -> Result<(), CatalogError> {
        let log = self.log;
        let mut reads = futures::stream::iter(versions.iter().copied())
            .map(|version| async move { (version, log.commit(version).await) })
            .buffered(TAIL_READS_MAX as usize);
        while let Some((version, read)) = reads.next().await {
            match read {
                Ok(Some(commit)) => self.commit(commit).await?,
                // Listed, and deleted meanwhile: as if it had not been listed.
                Ok(None) => {}
                Err(ReadError::Damaged { path, damage }) => {
                    self.gap_before(version).await?;
                    let resumed_at = if self.awaits(version) {
                        self.resume_at(version).await?
                    } else {
                        self.state.as_ref().map(|state| state.version)
                    };
                    let finding = Finding::CorruptCommit { version, path, damage, resumed_at };
                    self.audit.findings.push(finding);
                }
                Err(error) => return Err(CatalogError::reading_commit(version, error)),
            }
        }
        // Snapshots beyond the last commit.
        let next = self.state.as_ref().map_or(0, |state| state.version + 1);
        let beyond: Vec<u64> = self.snapshots.range(next..).copied().collect();
        if let (Some(last), Some(state)) = (beyond.last().copied(), &self.state) {
            let first = state.version + 1;
            let resumed_at = self.resume_at(first).await?;
            self.audit.findings.push(Finding::Gap { first, last, resumed_at });
        }
        Ok(())
    }

    /// Whether `version` is one that the state needs next; those below a snapshot that was taken
    /// as a new start are not.
    fn awaits(&self, version: u64) -> bool {
        self.state.as_ref().is_some_and(|state| state.version + 1 == version)
    }

    async fn commit(&mut self, commit: Commit) -> Result<(), CatalogError> {
        let version = commit.version;
        self.gap_before(version).await?;
        self.audit.commits += 1;
        if !self.awaits(version) {
            return Ok(());
        }
        let Some(state) = &self.state else { return Ok(()) };
        match state.after(&commit) {
            Ok(next) => {
                self.state = Some(next);
                self.compare_snapshot(version).await
            }
            Err(misfit) => {
                let path = self.log.commit_path(version).to_string();
                let resumed_at = self.resume_at(version).await?;
                self.audit.findings.push(Finding::Misfit { version, path, misfit, resumed_at });
                Ok(())
            }
        }
    }

    /// Notes the commits between the state and `version` that are not there.
    async fn gap_before(&mut self, version: u64) -> Result<(), CatalogError> {
        let Some(state) = &self.state else { return Ok(()) };
        let first = state.version + 1;
        if version <= first {
            return Ok(());
        }
        let last = version - 1;
        let resumed_at = self.resume_at(first).await?;
        self.audit.findings.push(Finding::Gap { first, last, resumed_at });
        Ok(())
    }

    /// Goes on from the first sound snapshot at or beyond `version`; returns which one.
    async fn resume_at(&mut self, version: u64) -> Result<Option<u64>, CatalogError> {
        let candidates: Vec<u64> = self.snapshots.range(version..).copied().collect();
        if let Some(state) = self.state.take() {
            self.last = state;
        }
        for candidate in candidates {
            self.state = self.snapshot(candidate).await?;
            if self.state.is_some() {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    async fn compare_snapshot(&mut self, version: u64) -> Result<(), CatalogError> {
        if !self.snapshots.contains(&version) {
            return Ok(());
        }
        let found = self.snapshot(version).await?;
        if found.is_some() && found != self.state {
            let path = self.log.snapshot_path(version).to_string();
            self.audit.snapshots -= 1;
            self.audit.findings.push(Finding::SnapshotDiffers { version, path });
        }
        Ok(())
    }

    /// The state a snapshot holds; `None`, with a finding, when it is damaged.
    async fn snapshot(&mut self, version: u64) -> Result<Option<CatalogState>, CatalogError> {
        match self.log.snapshot(version).await {
            Ok(body) => {
                self.audit.snapshots += 1;
                Ok(Some(body.into_state()))
            }
            Err(ReadError::Damaged { path, damage }) => {
                self.snapshots.remove(&version);
                self.audit.findings.push(Finding::CorruptSnapshot { version, path, damage });
                Ok(None)
            }
            Err(error) => Err(CatalogError::reading_commit(version, error)),
        }
    }
}

/// Looks for the object of every published segment, and counts the objects of none. Returns those
/// it did not find.
async fn check_objects(
    store: &Arc<dyn ObjectStore>,
    state: &CatalogState,
    audit: &mut Audit,
) -> Result<Vec<Finding>, CatalogError> {
    let failed = |source| CatalogError::Store { path: SEGMENTS.to_owned(), source };
    let mut wanted: BTreeMap<Path, &SegmentMeta> =
        state.segments.values().map(|meta| (meta.location(), &**meta)).collect();
    let mut listed = store.list(Some(&Path::from(SEGMENTS)));
    while let Some(object) = listed.next().await {
        let object = object.map_err(failed)?;
        match wanted.remove(&object.location) {
            None => {
                audit.orphans += 1;
                audit.orphan_bytes += object.size;
            }
            Some(meta) if object.size != meta.bytes => {
                let (id, path) = (meta.id, meta.path.clone());
                let (bytes, found) = (meta.bytes, object.size);
                audit.findings.push(Finding::SegmentSize { id, path, bytes, found });
            }
            Some(_) => {}
        }
    }
    let mut missing = Vec::new();
    for meta in wanted.into_values() {
        match store.head(&meta.location()).await {
            Err(object_store::Error::NotFound { .. }) => {
                let (id, path, rows) = (meta.id, meta.path.clone(), meta.rows);
                missing.push(Finding::SegmentMissing { id, path, rows });
            }
            Err(source) => return Err(CatalogError::Store { path: meta.path.clone(), source }),
            Ok(_) => {}
        }
    }
    Ok(missing)
}
