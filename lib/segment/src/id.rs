//! Names of segments and commits: ULIDs, so that names sort by the time they were made and two
//! writers never choose the same one.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// The name of one segment, unique for all time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SegmentId(Ulid);

/// The name of one attempt to change the catalog; the same through all its retries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(Ulid);

/// A name that is not 26 characters of Crockford's base 32.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a ULID")]
pub struct InvalidId(String);

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentKind {
    /// Log records.
    Logs,
    /// Samples of metrics.
    Samples,
}

impl SegmentKind {
    /// The kind's one word in paths, metrics and the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Samples => "samples",
        }
    }
}

impl fmt::Display for SegmentKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

macro_rules! ulid_name {
    ($name:ident) => {
        impl $name {
            /// Makes a new name: `unix_nanos` of the clock, then 80 random bits.
            ///
            /// Times before 1970 count as 1970.
            pub fn generate(unix_nanos: i64) -> Self {
                let since_epoch = Duration::from_nanos(unix_nanos.try_into().unwrap_or(0));
                Self(Ulid::from_datetime(SystemTime::UNIX_EPOCH + since_epoch))
            }

            /// The name made of exactly these 128 bits; for tests and for ids derived elsewhere.
            pub const fn from_bits(bits: u128) -> Self {
                Self(Ulid(bits))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                match Ulid::from_string(text) {
                    Ok(ulid) => Ok(Self(ulid)),
                    Err(_) => Err(InvalidId(text.chars().take(64).collect())),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    };
}

ulid_name!(SegmentId);
ulid_name!(CommitId);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn names_sort_by_time_and_survive_text() {
        let early = SegmentId::generate(1_000_000_000_000_000_000);
        let late = SegmentId::generate(1_000_000_001_000_000_000);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<SegmentId>().unwrap(), early);
        assert_ne!(early, SegmentId::generate(1_000_000_000_000_000_000));
    }

    #[test]
    fn rejects_what_is_not_a_ulid() {
        for text in ["", "../../etc/passwd", "01ARZ3NDEKTSV4RRFFQ69G5FA", "é"] {
            assert!(text.parse::<SegmentId>().is_err(), "{text:?}");
        }
    }
}
