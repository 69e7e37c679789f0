//! The headers of a queue message: what must be known before the payload is decoded.

use crate::batch::FORMAT_VERSION;
use crate::error::HeaderError;
use crate::source::{SourceId, SourceRange};
use crate::tenant::TenantId;

const VERSION: &str = "millrace-version";
const KIND: &str = "millrace-kind";
const TENANT: &str = "millrace-tenant";
const COLLECTOR: &str = "millrace-collector";
const BOOT_EPOCH: &str = "millrace-boot-epoch";
const RANGES: &str = "millrace-ranges";

/// Bytes of one encoded range: source, first, last.
const RANGE_BYTES: usize = 16 + 8 + 8;

/// What a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchKind {
    /// A [`crate::LogBatch`].
    Logs,
    /// A [`crate::SampleBatch`].
    Samples,
}

/// Everything the headers of a message say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeaders {
    /// What the payload holds.
    pub kind: BatchKind,
    /// Whose data it is.
    pub tenant: TenantId,
    /// Which collector sent it, for people: replays are told by the ranges alone.
    pub collector: String,
    /// Grows with every start of that collector, for people.
    pub boot_epoch: u64,
    /// Offsets of every source in the batch. Empty for pushes and samples.
    pub ranges: Vec<SourceRange>,
}

impl BatchHeaders {
    /// Name and value of each header, the format version first.
    pub fn to_pairs(&self) -> Vec<(String, Vec<u8>)> {
        let kind = match self.kind {
            BatchKind::Logs => "logs",
            BatchKind::Samples => "samples",
        };
        let mut pairs = vec![
            (VERSION.to_owned(), FORMAT_VERSION.to_string().into_bytes()),
            (KIND.to_owned(), kind.into()),
            (TENANT.to_owned(), self.tenant.as_str().into()),
            (COLLECTOR.to_owned(), self.collector.clone().into_bytes()),
            (BOOT_EPOCH.to_owned(), self.boot_epoch.to_string().into_bytes()),
        ];
        if !self.ranges.is_empty() {
            pairs.push((RANGES.to_owned(), encode_ranges(&self.ranges)));
        }
        pairs
    }

    /// Reads the headers back; headers of other names are ignored.
    ///
    /// # Errors
    /// When one is missing, malformed, or of a newer version than this build reads.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, HeaderError> {
        let found: Vec<(&str, &[u8])> = pairs.into_iter().collect();
        let value = |name: &'static str| {
            found
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| *v)
                .ok_or(HeaderError::Missing(name))
        };
        let version = number(VERSION, value(VERSION)?)?;
        let version = u16::try_from(version).unwrap_or(u16::MAX);
        if version == 0 || FORMAT_VERSION < version {
            return Err(HeaderError::Version(version, FORMAT_VERSION));
        }
        let kind = match value(KIND)? {
            b"logs" => BatchKind::Logs,
            b"samples" => BatchKind::Samples,
            other => return Err(wrong(KIND, format!("`{}`", String::from_utf8_lossy(other)))),
        };
        let tenant = TenantId::new(text(TENANT, value(TENANT)?)?)
            .map_err(|error| wrong(TENANT, error.to_string()))?;
        let ranges = match value(RANGES) {
            Ok(bytes) => decode_ranges(bytes)?,
            Err(_) => Vec::new(),
        };
        Ok(Self {
            kind,
            tenant,
            collector: text(COLLECTOR, value(COLLECTOR)?)?.to_owned(),
            boot_epoch: number(BOOT_EPOCH, value(BOOT_EPOCH)?)?,
            ranges,
        })
    }
}

fn wrong(name: &'static str, problem: String) -> HeaderError {
    HeaderError::Wrong { name, problem }
}

fn text<'a>(name: &'static str, bytes: &'a [u8]) -> Result<&'a str, HeaderError> {
    std::str::from_utf8(bytes).map_err(|_| wrong(name, "not UTF-8".to_owned()))
}

fn number(name: &'static str, bytes: &[u8]) -> Result<u64, HeaderError> {
    let text = text(name, bytes)?;
    text.parse().map_err(|_| wrong(name, format!("`{text}` is not a number")))
}

fn encode_ranges(ranges: &[SourceRange]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ranges.len() * RANGE_BYTES);
    for range in ranges {
        bytes.extend_from_slice(&range.source.0);
        bytes.extend_from_slice(&range.first.to_le_bytes());
        bytes.extend_from_slice(&range.last.to_le_bytes());
    }
    bytes
}

fn decode_ranges(bytes: &[u8]) -> Result<Vec<SourceRange>, HeaderError> {
    let (chunks, rest) = bytes.as_chunks::<RANGE_BYTES>();
    if !rest.is_empty() {
        return Err(wrong(RANGES, format!("{} bytes are no whole ranges", bytes.len())));
    }
    let ranges = chunks.iter().map(|chunk| {
        let word = |at: usize| {
            let bytes: [u8; 8] = std::array::from_fn(|i| chunk[at + i]);
            u64::from_le_bytes(bytes)
        };
        let source = SourceId(std::array::from_fn(|i| chunk[i]));
        SourceRange { source, first: word(16), last: word(24) }
    });
    Ok(ranges.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    fn sample() -> BatchHeaders {
        let source = SourceId::of(&[b"f"]);
        BatchHeaders {
            kind: BatchKind::Logs,
            tenant: TenantId::default(),
            collector: "node-1".to_owned(),
            boot_epoch: 7,
            ranges: vec![SourceRange { source, first: 3, last: u64::MAX }],
        }
    }

    fn read(pairs: &[(String, Vec<u8>)]) -> Result<BatchHeaders, HeaderError> {
        BatchHeaders::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_slice())))
    }

    #[test]
    fn round_trips_among_foreign_headers() {
        let mut pairs = sample().to_pairs();
        pairs.insert(0, ("traceparent".to_owned(), vec![0xff]));
        assert_eq!(read(&pairs), Ok(sample()));
    }

    #[test]
    fn each_fault_is_named() {
        for i in 0..5 {
            let mut pairs = sample().to_pairs();
            let name = pairs.remove(i).0;
            assert!(matches!(read(&pairs), Err(HeaderError::Missing(n)) if n == name));
        }
        let mut newer = sample().to_pairs();
        newer[0].1 = b"999".to_vec();
        assert_eq!(read(&newer), Err(HeaderError::Version(999, FORMAT_VERSION)));
        let mut torn = sample().to_pairs();
        torn[5].1.pop();
        assert!(read(&torn).is_err_and(|e| e.to_string().contains("31 bytes")));
    }
}
