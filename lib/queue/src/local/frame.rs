//! Bytes of a file header and of a frame; `docs/formats/queue.md` is the contract.
//!
//! Pure: no files here. Always holds: decoding trusts no length it has not checked, and never
//! panics.

use bytes::Bytes;

use crate::{Compression, LocalSection, Message, Offset};

pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 40;
pub(super) const MARK: [u8; 4] = *b"FRM1";
/// Mark, length and checksum before a frame's body.
pub(super) const PREFIX_BYTES: usize = 12;

const MAGIC: [u8; 8] = *b"MILLRACQ";
const BODY_FIXED_BYTES: usize = 28;
/// Longest body: the largest message, and room for what surrounds it.
const BODY_BYTES_MAX: usize = LocalSection::MESSAGE_BYTES_LIMIT + (1 << 20);
const CODEC_NONE: u8 = 0;
const CODEC_ZSTD: u8 = 1;
const FLAG_KEY: u8 = 1;

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) salt: u32,
    pub(super) base: Offset,
    pub(super) created_ms: i64,
}

/// Why a header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Written by a newer program: nothing is wrong with the file.
    Version(u32),
    Damaged,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, BadHeader> {
        let mut fields = Fields(bytes);
        let magic = fields.take(8);
        let version = fields.u32();
        let (salt, base, created_ms) = (fields.u32(), fields.i64(), fields.i64());
        fields.take(4);
        let intact = fields.u32() == Some(crc32c::crc32c(&bytes[..36]));
        if magic != Some(MAGIC.as_slice()) || !intact {
            return Err(BadHeader::Damaged);
        }
        match (version, salt, base, created_ms) {
            (Some(VERSION), Some(salt), Some(base), Some(created_ms)) if 0 <= base => {
                Ok(Self { salt, base: Offset(base), created_ms })
            }
            (Some(version), ..) if version != VERSION => Err(BadHeader::Version(version)),
            _ => Err(BadHeader::Damaged),
        }
    }
}

/// Why a message cannot be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unframeable {
    #[error("it has more than 65535 headers")]
    Headers,
    #[error("a header's name is longer than 65535 bytes")]
    HeaderName,
    #[error("a part is longer than 4 GiB")]
    Part,
}

/// Checks that `message` fits the format's length fields.
pub(super) fn check(message: &Message) -> Result<(), Unframeable> {
    let long = |bytes: &Bytes| u32::try_from(bytes.len()).is_err();
    if u16::try_from(message.headers.len()).is_err() {
        return Err(Unframeable::Headers);
    }
    for (name, value) in &message.headers {
        if u16::try_from(name.len()).is_err() {
            return Err(Unframeable::HeaderName);
        }
        if long(value) {
            return Err(Unframeable::Part);
        }
    }
    if long(&message.payload) || message.key.as_ref().is_some_and(long) {
        return Err(Unframeable::Part);
    }
    Ok(())
}

/// Writes frames, keeping the compressor between them.
pub(super) struct Encoder {
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Encoder")
    }
}

impl Encoder {
    pub(super) fn new(compression: Compression, level: i32) -> std::io::Result<Self> {
        let compressor = match compression {
            Compression::Zstd => Some(zstd::bulk::Compressor::new(level)?),
            Compression::None => None,
        };
        Ok(Self { compressor })
    }

    /// Appends the frame of a checked `message` to `out`.
    pub(super) fn encode(
        &mut self,
        salt: u32,
        offset: Offset,
        appended_ms: i64,
        message: &Message,
        out: &mut Vec<u8>,
    ) -> Result<(), Unframeable> {
        let length = |bytes: usize| u32::try_from(bytes).map_err(|_| Unframeable::Part);
        let start = out.len();
        out.extend_from_slice(&MARK);
        out.extend_from_slice(&[0; 8]);
        let key = message.key.as_deref().unwrap_or_default();
        let (codec, payload) = self.compress(&message.payload);
        let headers = u16::try_from(message.headers.len()).map_err(|_| Unframeable::Headers)?;
        out.extend_from_slice(&offset.0.to_le_bytes());
        out.extend_from_slice(&appended_ms.to_le_bytes());
        out.push(codec);
        out.push(if message.key.is_some() { FLAG_KEY } else { 0 });
        out.extend_from_slice(&headers.to_le_bytes());
        out.extend_from_slice(&length(key.len())?.to_le_bytes());
        out.extend_from_slice(&length(message.payload.len())?.to_le_bytes());
        out.extend_from_slice(key);
        for (name, value) in &message.headers {
            let name_length = u16::try_from(name.len()).map_err(|_| Unframeable::HeaderName)?;
            out.extend_from_slice(&name_length.to_le_bytes());
            out.extend_from_slice(&length(value.len())?.to_le_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value);
        }
        out.extend_from_slice(&payload);
        let body = length(out.len() - start - PREFIX_BYTES)?;
        out[start + 4..start + 8].copy_from_slice(&body.to_le_bytes());
        let crc = checksum(salt, &out[start + 4..start + 8], &out[start + PREFIX_BYTES..]);
        out[start + 8..start + PREFIX_BYTES].copy_from_slice(&crc.to_le_bytes());
        Ok(())
    }

    /// Returns the payload as it goes to disk: compressed where that helps.
    fn compress<'a>(&mut self, payload: &'a [u8]) -> (u8, std::borrow::Cow<'a, [u8]>) {
        if let Some(compressor) = &mut self.compressor
            && let Ok(smaller) = compressor.compress(payload)
            && smaller.len() < payload.len()
        {
            return (CODEC_ZSTD, smaller.into());
        }
        (CODEC_NONE, payload.into())
    }
}

fn checksum(salt: u32, length: &[u8], body: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, length), body)
}

/// Returns the whole length of the frame that starts with `prefix`, when that is plausible.
pub(super) fn frame_bytes(prefix: &[u8; PREFIX_BYTES]) -> Option<usize> {
    let mut fields = Fields(prefix);
    if fields.take(4)? != MARK {
        return None;
    }
    let body = usize::try_from(fields.u32()?).ok()?;
    (BODY_FIXED_BYTES..=BODY_BYTES_MAX).contains(&body).then_some(PREFIX_BYTES + body)
}

/// A frame whose checksum is right.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) offset: Offset,
    pub(super) appended_ms: i64,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks one whole frame.
    pub(super) fn check(salt: u32, bytes: &'a [u8]) -> Option<Self> {
        let (prefix, body) = bytes.split_at_checked(PREFIX_BYTES)?;
        let mut fields = Fields(prefix);
        fields.take(4)?;
        let length = fields.take(4)?;
        if fields.u32()? != checksum(salt, length, body) {
            return None;
        }
        Self::parse(bytes)
    }

    /// Takes apart a frame that was checked before.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (_, body) = bytes.split_at_checked(PREFIX_BYTES)?;
        let mut fields = Fields(body);
        Some(Self { offset: Offset(fields.i64()?), appended_ms: fields.i64()?, body })
    }

    /// Decodes the message; `None` when the body does not parse although its checksum is right.
    pub(super) fn message(&self) -> Option<Message> {
        let mut fields = Fields(self.body);
        fields.take(16)?;
        let codec = fields.u8()?;
        let flags = fields.u8()?;
        let header_count = fields.u16()?;
        let key_length = usize::try_from(fields.u32()?).ok()?;
        let payload_length = usize::try_from(fields.u32()?).ok()?;
        let key = fields.take(key_length)?;
        let mut headers = Vec::new();
        for _ in 0..header_count {
            let name_length = usize::from(fields.u16()?);
            let value_length = usize::try_from(fields.u32()?).ok()?;
            let name = std::str::from_utf8(fields.take(name_length)?).ok()?;
            let value = Bytes::copy_from_slice(fields.take(value_length)?);
            headers.push((name.to_owned(), value));
        }
        if LocalSection::MESSAGE_BYTES_LIMIT < payload_length {
            return None;
        }
        let payload = match codec {
            CODEC_NONE => Bytes::copy_from_slice(fields.0),
            CODEC_ZSTD => Bytes::from(zstd::bulk::decompress(fields.0, payload_length).ok()?),
            _ => return None,
        };
        if payload.len() != payload_length {
            return None;
        }
        let key = (flags & FLAG_KEY != 0).then(|| Bytes::copy_from_slice(key));
        Some(Message { key, headers, payload, time_ms: Some(self.appended_ms) })
    }
}

/// Takes fields off the front of bytes; `None` when there are not enough.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn messages() -> impl Strategy<Value = Message> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        let headers = prop::collection::vec(("[a-zä]{0,20}", bytes()), 0..5);
        (prop::option::of(bytes()), headers, bytes()).prop_map(|(key, headers, payload)| Message {
            key,
            headers,
            payload,
            time_ms: None,
        })
    }

    fn encode(message: &Message, compression: Compression) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(compression, 1).unwrap();
        encoder.encode(7, Offset(42), -5, message, &mut out).unwrap();
        out
    }

    proptest! {
        #[test]
        fn frames_come_back(message in messages(), zstd in any::<bool>()) {
            let compression = if zstd { Compression::Zstd } else { Compression::None };
            let bytes = encode(&message, compression);
            let prefix = bytes[..PREFIX_BYTES].try_into().unwrap();
            prop_assert_eq!(frame_bytes(&prefix), Some(bytes.len()));
            let frame = Frame::check(7, &bytes).unwrap();
            prop_assert_eq!((frame.offset, frame.appended_ms), (Offset(42), -5));
            let found = frame.message().unwrap();
            prop_assert_eq!(found.time_ms, Some(-5));
            prop_assert_eq!(found, message);
        }

        #[test]
        fn a_changed_byte_or_another_salt_is_noticed(
            message in messages(),
            place in any::<prop::sample::Index>(),
            change in 1..=255u8,
        ) {
            let mut bytes = encode(&message, Compression::None);
            prop_assert!(Frame::check(8, &bytes).is_none());
            let place = place.index(bytes.len());
            bytes[place] ^= change;
            let prefix = bytes[..PREFIX_BYTES].try_into().unwrap();
            let valid = frame_bytes(&prefix) == Some(bytes.len()) && Frame::check(7, &bytes).is_some();
            prop_assert!(!valid);
        }

        #[test]
        fn hostile_bodies_do_not_panic(mut body in prop::collection::vec(any::<u8>(), 16..200)) {
            let length = u32::try_from(body.len()).unwrap().to_le_bytes();
            let crc = checksum(7, &length, &body).to_le_bytes();
            let mut bytes = [MARK, length, crc].concat();
            bytes.append(&mut body);
            Frame::check(7, &bytes).unwrap().message();
        }
    }

    #[test]
    fn headers_come_back_and_damage_is_told_from_a_newer_version() {
        let header = Header { salt: 9, base: Offset(1_000), created_ms: 5 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        let mut damaged = bytes;
        damaged[20] ^= 1;
        assert_eq!(Header::decode(&damaged), Err(BadHeader::Damaged));
        let mut newer = bytes;
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..36]);
        newer[36..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&newer), Err(BadHeader::Version(2)));
    }
}
