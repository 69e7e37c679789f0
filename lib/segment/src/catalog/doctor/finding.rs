//! What an audit can find, and what to do about it.

use std::fmt;

use crate::catalog::envelope::Damage;
use crate::catalog::state::Misfit;
use crate::id::SegmentId;

/// One thing that is wrong. `Display` says what; [`Finding::advice`] what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Commits are missing although later ones exist.
    Gap { first: u64, last: u64, resumed_at: Option<u64> },
    /// A commit object cannot be read.
    CorruptCommit { version: u64, path: String, damage: Damage, resumed_at: Option<u64> },
    /// A commit cannot follow the commits before it: another history, or a broken rule.
    Misfit { version: u64, path: String, misfit: Misfit, resumed_at: Option<u64> },
    /// A snapshot object cannot be read.
    CorruptSnapshot { version: u64, path: String, damage: Damage },
    /// A snapshot does not say what the commits up to its version add up to.
    SnapshotDiffers { version: u64, path: String },
    /// A published segment's object is not in the store.
    SegmentMissing { id: SegmentId, path: String, rows: u64 },
    /// A published segment's object has another size than it was published with.
    SegmentSize { id: SegmentId, path: String, bytes: u64, found: u64 },
}

/// Why losing a commit is, or is not, losing data.
fn restore(path: &str, resumed_at: Option<u64>) -> String {
    match resumed_at {
        Some(snapshot) => format!(
            "nothing is lost: snapshot {snapshot} holds its effect, and processes that start now \
             open from it; restart those that stopped there, or restore `{path}` from the store's \
             own versions"
        ),
        None => format!(
            "restore `{path}` from the store's own versions or a backup; until then indexers \
             publish nothing more (the queue keeps the rows) and queries answer from the state \
             before it, with a warning"
        ),
    }
}

impl Finding {
    /// What to do about it.
    pub fn advice(&self) -> String {
        match self {
            Self::Gap { first, resumed_at, .. } => {
                restore(&format!("commits/{first:020}"), *resumed_at)
            }
            Self::CorruptCommit { damage: Damage::TooNew { .. }, .. } => {
                "a newer Millrace wrote it: run that version, or a newer one".to_owned()
            }
            Self::CorruptCommit { path, resumed_at, .. } => restore(path, *resumed_at),
            Self::Misfit { misfit: Misfit::Forked { .. }, path, .. } => format!(
                "two writers both created one number: stop every indexer, move the catalog to a \
                 store whose conditional put is atomic, and compare `{path}` and the commit before \
                 it with the store's own versions: rows of the losing commit are still in the \
                 queue or in a segment object that no commit names"
            ),
            Self::Misfit { path, .. } => format!(
                "no released Millrace writes this; keep a copy of `{path}` and of the snapshots, \
                 and report it"
            ),
            Self::CorruptSnapshot { path, .. } => format!(
                "delete `{path}`: an older snapshot and the commits after it say the same, and the \
                 next snapshot is written by itself"
            ),
            Self::SnapshotDiffers { path, .. } => format!(
                "stop the indexers, delete `{path}` and start them again: the commits are what \
                 counts"
            ),
            Self::SegmentMissing { path, rows, .. } => format!(
                "restore `{path}` from the store's own versions or a backup; until then queries \
                 leave its {rows} rows out, with a warning that names it"
            ),
            Self::SegmentSize { path, .. } => format!(
                "`{path}` was changed or cut by something other than Millrace: restore it; until \
                 then queries leave it out, with a warning that names it"
            ),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { first, last, .. } if first == last => {
                write!(f, "commit {first} is missing, although later ones exist")
            }
            Self::Gap { first, last, .. } => {
                write!(f, "commits {first} to {last} are missing, although later ones exist")
            }
            Self::CorruptCommit { path, damage, .. } => {
                write!(f, "commit `{path}` is damaged: {damage}")
            }
            Self::Misfit { path, misfit, .. } => {
                write!(f, "commit `{path}` does not fit: {misfit}")
            }
            Self::CorruptSnapshot { path, damage, .. } => {
                write!(f, "snapshot `{path}` is damaged: {damage}")
            }
            Self::SnapshotDiffers { version, path } => {
                write!(f, "snapshot `{path}` differs from what commits 1 to {version} add up to")
            }
            Self::SegmentMissing { id, path, .. } => {
                write!(f, "object `{path}` of published segment {id} is missing")
            }
            Self::SegmentSize { id, path, bytes, found } => write!(
                f,
                "object `{path}` of published segment {id} has {found} bytes, it was published \
                 with {bytes}"
            ),
        }
    }
}
