//! What can go wrong with the catalog, by what the caller can do about it.

use std::time::Duration;

use super::Pending;
use super::envelope::Damage;
use super::log::ReadError;
use super::op::Refusal;
use super::state::Misfit;

/// Why the catalog cannot be opened or read further. The state known before stays usable.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A commit object is damaged or from a newer program. Retrying does not help.
    #[error(
        "catalog stops at version {}: object `{path}` is damaged: {damage}; restore it from the \
         store's own versions or a backup, or restart when a snapshot of version {version} or \
         later exists",
        version.saturating_sub(1)
    )]
    CorruptCommit { version: u64, path: String, damage: Damage },

    /// A commit that is intact but cannot follow the commits before it. Retrying does not help.
    #[error(
        "catalog stops at version {}: object `{path}` does not fit: {misfit}; run \
         `millrace catalog doctor` against this store",
        version.saturating_sub(1)
    )]
    Misfit { version: u64, path: String, misfit: Misfit },

    /// The store refused or failed. Retrying may help.
    #[error("read catalog object `{path}`")]
    Store { path: String, source: object_store::Error },

    /// The store did not answer. Retrying may help.
    #[error("catalog object `{path}` was not answered for within {after:?}")]
    Timeout { path: String, after: Duration },
}

/// Why a commit was not made, or is not known to be made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The newest state does not allow it. Nothing changed.
    #[error("commit refused: {0}")]
    Refused(#[from] Refusal),

    /// The catalog cannot be read on, and the commit was not made. Nothing changed.
    #[error("commit not made: {0}")]
    Catalog(#[from] CatalogError),

    /// The store left open whether the commit was made: it may have been, or may still be.
    ///
    /// Go on with [`Catalog::resume`](super::Catalog::resume). Whoever forgets about it instead
    /// must treat the operations as perhaps done and look at the state before redoing them.
    #[error("commit {} undecided at version {}: {last_error}", pending.id(), pending.version())]
    Undecided { pending: Box<Pending>, last_error: String },
}

impl CatalogError {
    /// Whether waiting and trying again can help.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Store { .. } | Self::Timeout { .. })
    }

    /// What reading commit `version` failed with.
    pub(crate) fn reading_commit(version: u64, error: ReadError) -> Self {
        match error {
            ReadError::Damaged { path, damage } => Self::CorruptCommit { version, path, damage },
            ReadError::Store { path, source } => Self::Store { path, source },
            ReadError::Timeout { path, after } => Self::Timeout { path, after },
        }
    }
}
