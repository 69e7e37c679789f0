//! Millrace's own batches, `docs/formats/batch.md`.

use queue::Message;
use record::{BatchHeaders, BatchKind, HeaderError, Limits};

use super::{Decoded, Poison};
use crate::kind::Kind;

/// The header that says what a batch holds, by which an unknown kind is told from broken headers.
const KIND_HEADER: &str = "millrace-kind";

pub(super) fn decode<K: Kind>(
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
    Ok(Decoded { tenant: headers.tenant, batch, bytes: message.payload.len() })
}
