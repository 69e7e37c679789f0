//! What can be wrong with a message, by what the caller can do about it.

use crate::labels::LabelsError;

/// Why a payload is not a batch. The message goes to the dead-letter topic.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The bytes are no Arrow IPC stream, or a damaged one.
    #[error("batch is not a readable Arrow stream: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The columns are not those of `docs/formats/batch.md`.
    #[error("batch has the wrong shape: {0}")]
    Shape(String),
    /// A label set in the dictionary cannot be read.
    #[error("batch holds a bad label set: {0}")]
    Labels(#[from] LabelsError),
    /// A size is over its limit.
    #[error("batch is over the limit `{limit}` ({max}): {found}")]
    Limit {
        /// Field of [`crate::Limits`].
        limit: &'static str,
        /// Its value.
        max: usize,
        /// What was found.
        found: usize,
    },
}

impl BatchError {
    pub(crate) fn check(limit: &'static str, found: usize, max: usize) -> Result<(), Self> {
        if found <= max {
            return Ok(());
        }
        Err(Self::Limit { limit, max, found })
    }
}

/// Why a message's headers cannot be read. The message goes to the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A header every batch carries is absent.
    #[error("header `{0}` is missing")]
    Missing(&'static str),
    /// A header's value cannot be read.
    #[error("header `{name}` is wrong: {problem}")]
    Wrong {
        /// Which header.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Written by a newer version than this one reads.
    #[error("batch format version {0} is not supported (this build reads up to {1})")]
    Version(u16, u16),
}
