//! Where a row came from, by which a replay is told from a new row.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::Xxh3;

/// One file's identity and stream tag (stdout, stderr) on one node, hashed to 128 bits.
///
/// The offsets of a source's rows grow strictly within a partition; a row at or below the
/// highest offset already taken is a replay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub [u8; 16]);

impl SourceId {
    /// Hashes the parts, each with its length, so that `["ab","c"]` and `["a","bc"]` differ.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Xxh3::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.digest128().to_be_bytes())
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("source id `{0}` is not 32 hexadecimal digits")]
pub struct SourceIdError(String);

impl FromStr for SourceId {
    type Err = SourceIdError;

    fn from_str(text: &str) -> Result<Self, SourceIdError> {
        let wrong = || SourceIdError(text.chars().take(40).collect());
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let value = u128::from_str_radix(text, 16).map_err(|_| wrong())?;
        Ok(Self(value.to_be_bytes()))
    }
}

impl serde::Serialize for SourceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for SourceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The offsets of one source in one batch, both ends included.
///
/// An offset is the position in the file just after the record's last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRange {
    /// Whose offsets.
    pub source: SourceId,
    /// Offset of the first row.
    pub first: u64,
    /// Offset of the last row.
    pub last: u64,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_parts_do_not_run_together() {
        let id = SourceId::of(&[b"node", b"file"]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(id, SourceId::of(&[b"nodef", b"ile"]));
        assert!("+0000000000000000000000000000000".parse::<SourceId>().is_err());
    }
}
