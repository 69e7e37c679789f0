//! What can go wrong, told apart by what the caller can do about it.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Offset, TopicPartition};

/// Why the queue did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// It may work in a while and nothing was lost: try again, with a pause.
    #[error("queue is unavailable for now: {reason}")]
    Unavailable { reason: String },

    /// The disk is full, and `on_full: error` asks to hear of it rather than wait. Try again.
    #[error("disk of the queue is full: {reason}")]
    Full { reason: String },

    /// The message can never be stored as it is: split it. Nothing of it was stored.
    #[error("message of {bytes} bytes to `{at}` is over the limit of {max} bytes")]
    TooLarge { at: TopicPartition, bytes: usize, max: usize },

    /// The queue will never take this message, for a reason other than its size.
    #[error("message to `{at}` was rejected: {reason}")]
    Rejected { at: TopicPartition, reason: String },

    /// A message before this one was not stored, so neither was this one.
    ///
    /// Wait for the acknowledgements still open on this partition, then submit again from the
    /// first that failed.
    #[error("an earlier message to `{at}` was not stored; submit again from there")]
    Interrupted { at: TopicPartition },

    /// The topic has no such partition.
    #[error("no partition `{at}` on the queue")]
    UnknownPartition { at: TopicPartition },

    /// The topic does not exist: create it.
    #[error("no topic `{topic}` on the queue")]
    UnknownTopic { topic: String },

    /// The partition belongs to another consumer by now; forget it until it is assigned again.
    #[error("partition `{at}` is not assigned to this consumer")]
    NotAssigned { at: TopicPartition },

    /// The deadline passed first; the work goes on.
    #[error("queue did not finish within {limit:?}")]
    Deadline { limit: Duration },

    /// The queue or this part of it is closed for good.
    #[error("queue is closed")]
    Closed,

    /// Another process has the queue's folder.
    #[error("queue folder `{}` is in use by {holder}", path.display())]
    Locked { path: PathBuf, holder: String },

    /// Someone must change the configuration or the permissions.
    #[error("queue cannot be used as configured: {message}")]
    Config { message: String },

    /// A file of the queue is not what it should be; someone must look at it.
    #[error("queue file `{}` cannot be read: {reason}", path.display())]
    Corrupt { path: PathBuf, reason: String },

    /// The operating system refused.
    #[error("{action} `{}`: {reason}", path.display())]
    Io { action: &'static str, path: PathBuf, reason: String },

    /// The wanted offset is outside what the partition holds.
    #[error("offset {wanted} of `{at}` is outside {low}..={high}")]
    OutOfRange { at: TopicPartition, wanted: Offset, low: Offset, high: Offset },
}

impl QueueError {
    /// Returns whether the same call may succeed later without anyone stepping in.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::Full { .. }
                | Self::Interrupted { .. }
                | Self::Deadline { .. }
        )
    }

    pub(crate) fn unavailable(reason: impl ToString) -> Self {
        Self::Unavailable { reason: reason.to_string() }
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::Config { message: message.into() }
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), reason: error.to_string() }
    }
}
