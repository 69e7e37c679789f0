//! What can go wrong with a logs segment, by what the caller can do.

use runtime::cpu::CpuError;

use super::budget::ScanLimit;
use crate::bundle::BundleError;
use crate::wire::Malformed;

/// Why a segment gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The object is not what was written: set the segment aside, the rest still answers.
    #[error("segment object `{path}` is damaged: {what}")]
    Damaged { path: String, what: String },
    /// Written by a newer build: upgrade this one.
    #[error(
        "segment object `{path}` has {what} format {found}, this program reads up to {newest}: \
         run a newer Millrace"
    )]
    TooNew { path: String, what: &'static str, found: u32, newest: u32 },
    /// The object store did not deliver: retry or report.
    #[error("read segment object `{path}`")]
    Store {
        path: String,
        #[source]
        source: object_store::Error,
    },
    /// The query's own limit was hit.
    #[error(transparent)]
    Limit(#[from] ScanLimit),
    /// The CPU pool did not run the work.
    #[error(transparent)]
    Cpu(#[from] CpuError),
}

/// Why rows did not become a segment.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no row to write.
    #[error("a segment needs at least one row")]
    Empty,
    /// The batch does not fit: finish this segment and put the batch into the next.
    #[error("a segment holds at most {bytes_max} bytes of rows")]
    Full { bytes_max: usize },
    /// An encoder failed; a bug, or no memory.
    #[error("write section `{section}`: {reason}")]
    Encode { section: &'static str, reason: String },
}

impl SegmentError {
    pub(crate) fn damaged(path: &str, section: &str, cause: Malformed) -> Self {
        Self::Damaged { path: path.to_owned(), what: format!("section `{section}`: {cause}") }
    }
}

impl From<BundleError> for SegmentError {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Store { path, source } => Self::Store { path, source },
            BundleError::Damaged { path, what } => Self::Damaged { path, what },
            BundleError::TooNew { path, what, found, newest } => {
                Self::TooNew { path, what, found, newest }
            }
        }
    }
}

impl BuildError {
    pub(crate) fn encode(section: &'static str, cause: impl std::fmt::Display) -> Self {
        Self::Encode { section, reason: cause.to_string() }
    }
}
