//! From a queue message to a batch, or to a reason why it is none.
//!
//! Always holds: no message stops the pipeline. What cannot be decoded is poison, which goes to the
//! dead-letter topic with the reason; a decoder that panics makes poison of that one message. A
//! line that fits no grammar is kept raw and counted. Nothing here depends on what was read before,
//! so a message that is read again gives the same rows.
//!
//! A topic has one [`Format`]; each has a file. `docs/formats/foreign.md` says what is made of other
//! people's messages. Bounded by [`Limits`], message by message.

mod foreign;
mod json;
mod millrace;
mod otlp;
mod raw;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use queue::{Message, Topic};
use record::{BatchError, HeaderError, Limits, TenantId};

use crate::config::{LogFormat, LogTopic};
use crate::kind::Kind;
use foreign::Foreign;

/// How the messages of a topic are read.
#[derive(Debug, Default)]
pub(crate) enum Format {
    #[default]
    Millrace,
    Foreign(Foreign),
}

/// The formats of a lane's topics.
#[derive(Debug, Default)]
pub(crate) struct Formats {
    foreign: HashMap<Topic, Arc<Format>>,
    own: Arc<Format>,
}

impl Formats {
    /// Returns the formats of checked topics.
    pub(crate) fn of(topics: &[LogTopic]) -> Self {
        let foreign = topics.iter().filter(|topic| topic.format != LogFormat::Millrace);
        let foreign = foreign.filter_map(|topic| {
            Some((Topic::new(&topic.name).ok()?, Arc::new(Format::Foreign(Foreign::new(topic)))))
        });
        Self { foreign: foreign.collect(), own: Arc::default() }
    }

    pub(crate) fn get(&self, topic: &Topic) -> Arc<Format> {
        Arc::clone(self.foreign.get(topic).unwrap_or(&self.own))
    }
}

/// A message that holds a batch.
#[derive(Debug)]
pub(crate) struct Decoded<B> {
    pub(crate) tenant: TenantId,
    pub(crate) batch: B,
    /// About what the batch takes in memory.
    pub(crate) bytes: usize,
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
    #[error("message is no {format}: {problem}")]
    Foreign { format: &'static str, problem: String },
    #[error("header `{name}` names no tenant: {problem}")]
    Tenant { name: String, problem: String },
    #[error("decoding it panicked, please report this message")]
    Panic,
}

impl Poison {
    /// The `reason` label of `millrace_indexer_dead_letters_total`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Headers(_) | Self::Tenant { .. } => "headers",
            Self::Version(_) => "version",
            Self::Kind { .. } => "kind",
            Self::Limits(_) => "limits",
            Self::Payload(_) | Self::Foreign { .. } => "payload",
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

/// Decodes one message of a topic of kind `K`. `now_ns` is the time of rows that nothing else
/// gives one.
pub(crate) fn decode<K: Kind>(
    format: &Format,
    message: &Message,
    limits: &Limits,
    now_ns: i64,
) -> Result<Decoded<K::Batch>, Poison> {
    let attempt = || match format {
        Format::Millrace => millrace::decode::<K>(message, limits),
        Format::Foreign(foreign) => {
            let Decoded { tenant, batch, bytes } = foreign.decode(message, limits, now_ns)?;
            let found = || Poison::Kind { expected: K::NAME, found: "logs".to_owned() };
            Ok(Decoded { tenant, batch: K::adopt(batch).ok_or_else(found)?, bytes })
        }
    };
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_or(Err(Poison::Panic))
}
