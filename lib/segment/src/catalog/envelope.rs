//! The JSON document around every catalog object: kind, format version, checksum, body.
//!
//! Reading never panics and never takes more memory than the limits here, whatever the bytes.

use std::io::Read;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The newest format this program reads and the one it writes.
pub(crate) const FORMAT: u32 = 2;

/// Largest commit object. A publish names a handful of segments and the sources in them, about
/// 60 bytes each; this is room for 250,000 sources. Every reader holds one in memory at a time
/// per read under way.
pub(crate) const COMMIT_BYTES_MAX: u64 = 16 << 20;

/// Largest snapshot after decompression: about a million segments and a million sources.
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = 512 << 20;

/// Fast, and JSON of ids and numbers gains little from more.
const ZSTD_LEVEL: i32 = 3;

/// Which of the two objects a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Commit,
    Snapshot,
}

/// Why bytes are not the object they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("it is not a catalog document: {0}")]
    Malformed(String),
    #[error("its checksum is {found}, its bytes give {computed}")]
    Checksum { found: String, computed: String },
    #[error("it is a `{found}`, expected a `{expected}`")]
    Kind { expected: &'static str, found: String },
    #[error("its format is {found}, this program reads up to {FORMAT}: run a newer Millrace")]
    TooNew { found: u32 },
    #[error("it has more than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("it cannot be decompressed: {0}")]
    Compression(String),
    #[error("it says it is number {found}")]
    Misnamed { found: u64 },
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Snapshot => "snapshot",
        }
    }

    pub(crate) const fn bytes_max(self) -> u64 {
        match self {
            Self::Commit => COMMIT_BYTES_MAX,
            Self::Snapshot => SNAPSHOT_BYTES_MAX,
        }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    kind: &'a str,
    format: u32,
    crc32c: &'a str,
    body: &'a RawValue,
}

#[derive(Deserialize)]
struct Found<'a> {
    kind: String,
    format: u32,
    crc32c: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// Wraps `body` into the bytes of an object.
pub(crate) fn encode<T: Serialize>(kind: Kind, body: &T) -> Bytes {
    let body = serde_json::value::to_raw_value(body)
        .expect("catalog bodies are structs of strings and integers, which are always valid JSON");
    let checksum = format!("{:08x}", crc32c::crc32c(body.get().as_bytes()));
    let document = Written { kind: kind.as_str(), format: FORMAT, crc32c: &checksum, body: &body };
    let text = serde_json::to_vec(&document).expect("the envelope is strings and one number");
    match kind {
        Kind::Commit => Bytes::from(text),
        Kind::Snapshot => Bytes::from(
            zstd::bulk::compress(&text, ZSTD_LEVEL)
                .expect("compressing into a buffer that grows cannot fail"),
        ),
    }
}

/// Checks and unwraps the bytes of an object.
pub(crate) fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, Damage> {
    match kind {
        Kind::Commit => decode_text(kind, bytes),
        Kind::Snapshot => decode_text(kind, &inflate(bytes, kind.bytes_max())?),
    }
}

fn decode_text<T: DeserializeOwned>(kind: Kind, text: &[u8]) -> Result<T, Damage> {
    let malformed = |error: serde_json::Error| Damage::Malformed(error.to_string());
    let found: Found<'_> = serde_json::from_slice(text).map_err(malformed)?;
    if found.kind != kind.as_str() {
        return Err(Damage::Kind { expected: kind.as_str(), found: found.kind });
    }
    if FORMAT < found.format {
        return Err(Damage::TooNew { found: found.format });
    }
    let computed = format!("{:08x}", crc32c::crc32c(found.body.get().as_bytes()));
    if found.crc32c != computed {
        return Err(Damage::Checksum { found: found.crc32c, computed });
    }
    serde_json::from_str(found.body.get()).map_err(malformed)
}

fn inflate(bytes: &[u8], bytes_max: u64) -> Result<Vec<u8>, Damage> {
    let broken = |error: std::io::Error| Damage::Compression(error.to_string());
    let mut text = Vec::new();
    let decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(broken)?;
    decoder.take(bytes_max + 1).read_to_end(&mut text).map_err(broken)?;
    if bytes_max < text.len() as u64 {
        return Err(Damage::TooLarge { bytes_max });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::catalog::testing::{acquire, advance, commit_on, segment};
    use crate::catalog::{CatalogState, Commit, Op};

    fn commit() -> Commit {
        let ops = vec![
            Op::AddSegments { segments: vec![segment(7)] },
            acquire("http://indexer-0:3100"),
            advance(1, 0, 10),
        ];
        commit_on(&CatalogState::default(), ops)
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let bytes = encode(Kind::Commit, &commit());
        assert_eq!(decode::<Commit>(Kind::Commit, &bytes), Ok(commit()));
        let bytes = encode(Kind::Snapshot, &commit());
        assert_eq!(decode::<Commit>(Kind::Snapshot, &bytes), Ok(commit()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_an_error_or_changes_nothing() {
        for kind in [Kind::Commit, Kind::Snapshot] {
            let bytes = encode(kind, &commit());
            for at in 0..bytes.len() {
                assert!(decode::<Commit>(kind, &bytes[..at]).is_err(), "cut at {at}");
                for bit in 0..8 {
                    let mut damaged = bytes.to_vec();
                    damaged[at] ^= 1 << bit;
                    if let Ok(read) = decode::<Commit>(kind, &damaged) {
                        assert_eq!(read, commit(), "bit {bit} of byte {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let bytes = encode(Kind::Commit, &commit());
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let newer = text.replacen("\"format\":2", "\"format\":3", 1);
        assert_eq!(
            decode::<Commit>(Kind::Commit, newer.as_bytes()),
            Err(Damage::TooNew { found: 3 })
        );
    }

    #[test]
    fn a_snapshot_that_inflates_without_end_is_cut_off() {
        let bomb = zstd::bulk::compress(&vec![b' '; 1 << 20], 3).unwrap();
        assert_eq!(inflate(&bomb, 1_000), Err(Damage::TooLarge { bytes_max: 1_000 }));
    }
}
