//! From a queue message to a batch, or to a reason why it is none.
//!
//! Always holds: no message stops the pipeline. What cannot be decoded is poison, which goes to the
//! dead-letter topic with the reason; a decoder that panics makes poison of that one message.
//! Nothing here depends on what was read before.

use std::panic::{AssertUnwindSafe, catch_unwind};

use queue::Message;
use record::{BatchError, BatchHeaders, BatchKind, HeaderError, Limits, TenantId};

use crate::kind::Kind;

/// The header that says what a batch holds, by which an unknown kind is told from broken headers.
const KIND_HEADER: &str = "millrace-kind";

/// A message that holds a batch.
#[derive(Debug)]
pub(crate) struct Decoded<B> {
    pub(crate) tenant: TenantId,
    pub(crate) batch: B,
    /// Size of the payload, about what the batch takes in memory.
    pub(crate) payload_bytes: usize,
}

/// Why a message holds no batch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Poison {
    #[error(transparent)]
    Headers(HeaderError),
    #[error(transparent)]
    Version(HeaderError),
    #[error("the topic holds {expected}, the message says it holds {found}")]
    Kind { expected: &'static str, found: String },
    #[error(transparent)]
    Limits(BatchError),
    #[error(transparent)]
    Payload(BatchError),
    #[error("decoding it panicked, please report this message")]
    Panic,
}

impl Poison {
    /// The `reason` label of `millrace_indexer_dead_letters_total`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Headers(_) => "headers",
            Self::Version(_) => "version",
            Self::Kind { .. } => "kind",
            Self::Limits(_) => "limits",
            Self::Payload(_) => "payload",
            Self::Panic => "panic",
        }
    }
}

impl From<HeaderError> for Poison {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Version(..) => Self::Version(error),
            HeaderError::Missing(_) | HeaderError::Wrong { .. } => Self::Headers(error),
        }
    }
}

impl From<BatchError> for Poison {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Limit { .. } => Self::Limits(error),
            _ => Self::Payload(error),
        }
    }
}

/// Decodes one message of a topic of kind `K`.
pub(crate) fn decode<K: Kind>(
    message: &Message,
    limits: &Limits,
) -> Result<Decoded<K::Batch>, Poison> {
    catch_unwind(AssertUnwindSafe(|| decode_unguarded::<K>(message, limits)))
        .unwrap_or(Err(Poison::Panic))
}

fn decode_unguarded<K: Kind>(
    message: &Message,
    limits: &Limits,
) -> Result<Decoded<K::Batch>, Poison> {
    let pairs = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
    let headers = match BatchHeaders::from_pairs(pairs) {
        Ok(headers) => headers,
        Err(HeaderError::Wrong { name, problem }) if name == KIND_HEADER => {
            return Err(Poison::Kind { expected: K::NAME, found: problem });
        }
        Err(error) => return Err(error.into()),
    };
    if headers.kind != K::BATCH {
        let found = match headers.kind {
            BatchKind::Logs => "logs",
            BatchKind::Samples => "samples",
        };
        return Err(Poison::Kind { expected: K::NAME, found: found.to_owned() });
    }
    let batch = K::decode(&message.payload, limits)?;
    Ok(Decoded { tenant: headers.tenant, batch, payload_bytes: message.payload.len() })
}
