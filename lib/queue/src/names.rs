//! What things on the queue are called, and the message itself.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::QueueError;

/// Longest topic name Kafka accepts, in bytes; ours are also folder names.
const TOPIC_BYTES_MAX: usize = 249;

/// The name of a topic: letters, digits, `.`, `_` and `-`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(Arc<str>);

impl Topic {
    /// Logs of every tenant.
    pub const LOGS: &'static str = "millrace.logs";
    /// Samples of every tenant.
    pub const SAMPLES: &'static str = "millrace.samples";

    /// Checks `name` against Kafka's rules, which are also safe as a folder name.
    ///
    /// # Errors
    ///
    /// When the name is empty, too long, `.`, `..` or holds any other character.
    pub fn new(name: &str) -> Result<Self, QueueError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let valid = !name.is_empty()
            && name.len() <= TOPIC_BYTES_MAX
            && name != "."
            && name != ".."
            && name.bytes().all(legal);
        if !valid {
            return Err(QueueError::Config {
                message: format!(
                    "topic name `{name}` must be 1 to {TOPIC_BYTES_MAX} letters, digits, `.`, `_` or `-`"
                ),
            });
        }
        Ok(Self(Arc::from(name)))
    }

    /// Returns the topic of logs.
    pub fn logs() -> Self {
        Self(Arc::from(Self::LOGS))
    }

    /// Returns the topic of samples.
    pub fn samples() -> Self {
        Self(Arc::from(Self::SAMPLES))
    }

    /// Returns the topic that takes this topic's undecodable messages.
    ///
    /// # Errors
    ///
    /// When the name would become too long.
    pub fn dead_letters(&self) -> Result<Self, QueueError> {
        Self::new(&format!("{}.dlq", self.0))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for Topic {
    type Error = QueueError;

    fn try_from(name: String) -> Result<Self, QueueError> {
        Self::new(&name)
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.0.as_ref().to_owned()
    }
}

/// The number of a partition within its topic, from 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Partition(pub i32);

impl fmt::Display for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The place of a message within its partition. Grows by at least one per message; may jump.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Offset(pub i64);

impl Offset {
    /// Returns the offset after this one: where reading goes on.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the offset `count` messages later.
    pub(crate) fn plus(self, count: usize) -> Self {
        Self(self.0.saturating_add_unsigned(count as u64))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    pub topic: Topic,
    pub partition: Partition,
}

impl TopicPartition {
    pub fn new(topic: &Topic, partition: Partition) -> Self {
        Self { topic: topic.clone(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.topic, self.partition)
    }
}

/// What travels: for us one batch, with its description in the headers.
///
/// Two messages are equal when their senders said the same: the time is the queue's affair.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub key: Option<Bytes>,
    /// In the order given; a name may occur more than once.
    pub headers: Vec<(String, Bytes)>,
    pub payload: Bytes,
    /// When it was made, ms since 1970 UTC: what the sender said, or when the queue got it.
    ///
    /// `None` on the way in leaves it to the queue. Every queue tells it on the way out, except a
    /// Kafka topic from before message times; the local queue always tells its own.
    pub time_ms: Option<i64>,
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        let Self { key, headers, payload, time_ms: _ } = self;
        (key, headers, payload) == (&other.key, &other.headers, &other.payload)
    }
}

impl Eq for Message {}

/// Room a message takes in buffers beyond its own bytes: bookkeeping, and what a broker adds.
const MESSAGE_OVERHEAD_BYTES: usize = 128;

impl Message {
    /// Returns the bytes this message counts against buffers and size limits.
    pub fn bytes(&self) -> usize {
        let key = self.key.as_ref().map_or(0, Bytes::len);
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        MESSAGE_OVERHEAD_BYTES + key + headers + self.payload.len()
    }

    /// Returns the first header called `name`.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn topic_names_cannot_leave_their_folder() {
        for bad in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(250)] {
            assert!(Topic::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Topic::new("millrace.logs").unwrap(), Topic::logs());
        assert_eq!(Topic::logs().dead_letters().unwrap().as_str(), "millrace.logs.dlq");
    }
}
