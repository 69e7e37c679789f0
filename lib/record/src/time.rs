//! Instants as integers since the Unix epoch, UTC. Negative values lie before 1970.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch: the time of a log record.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TimestampNanos(pub i64);

/// Milliseconds since the Unix epoch: the time of a sample.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TimestampMillis(pub i64);

impl TimestampNanos {
    /// The millisecond this instant falls in, rounded down.
    pub fn millis(self) -> TimestampMillis {
        TimestampMillis(self.0.div_euclid(1_000_000))
    }
}

impl fmt::Display for TimestampNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TimestampMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
