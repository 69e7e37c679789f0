//! The streams that a group's variables are made of, each decompressed once, when it is wanted.

use std::borrow::Cow;
use std::ops::Range;

use super::{STREAM_BYTES_MAX, digits};
use crate::wire::{self, Malformed, Reader};

/// What [`super::groups::Groups`] wrote of a group, in its order.
#[derive(Debug)]
pub(super) struct Streams<'a> {
    pub(super) slots: Stream<'a>,
    pub(super) choices: Stream<'a>,
    pub(super) repetitive: Stream<'a>,
    pub(super) lengths: Stream<'a>,
    pub(super) text: Stream<'a>,
    /// Up to format 6; later, identifiers are the granule's.
    pub(super) half_bytes: Stream<'a>,
    pub(super) random: RandomDigits<'a>,
}

/// The digits that are packed rather than compressed.
#[derive(Clone, Copy, Debug)]
pub(super) struct RandomDigits<'a> {
    pub(super) count: usize,
    packed: &'a [u8],
}

#[derive(Debug, Default)]
pub(super) struct Stream<'a> {
    length: usize,
    stored: &'a [u8],
    plain: Option<Cow<'a, [u8]>>,
}

impl<'a> Streams<'a> {
    pub(super) fn read(mut reader: Reader<'a>, with_half_bytes: bool) -> Result<Self, Malformed> {
        Ok(Self {
            slots: Stream::read(&mut reader)?,
            choices: Stream::read(&mut reader)?,
            repetitive: Stream::read(&mut reader)?,
            lengths: Stream::read(&mut reader)?,
            text: Stream::read(&mut reader)?,
            half_bytes: match with_half_bytes {
                true => Stream::read(&mut reader)?,
                false => Stream::default(),
            },
            random: RandomDigits { count: reader.number()?, packed: reader.into_rest() },
        })
    }
}

impl RandomDigits<'_> {
    pub(super) fn all(self) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        self.some(0..self.count, &mut out)?;
        Ok(out)
    }

    /// Appends some of the random digits to `out`.
    pub(super) fn some(self, range: Range<usize>, out: &mut Vec<u8>) -> Result<(), Malformed> {
        digits::unpack(self.packed, self.count, range, out)
    }
}

impl<'a> Stream<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let length = reader.number()?;
        if STREAM_BYTES_MAX < length {
            return Err(Malformed("it is larger than this version ever writes"));
        }
        Ok(Self { length, stored: reader.bytes()?, plain: None })
    }

    /// Bytes it has when it is loaded.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Its bytes, which [`Stream::plain`] has from then on.
    pub(super) fn load(&mut self) -> Result<&[u8], Malformed> {
        if self.plain.is_none() {
            self.plain = Some(self.unpacked()?);
        }
        Ok(self.plain())
    }

    /// Its bytes, if they were loaded.
    pub(super) fn plain(&self) -> &[u8] {
        self.plain.as_deref().unwrap_or_default()
    }

    pub(super) fn into_plain(mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        match self.plain.take() {
            Some(plain) => Ok(plain),
            None => self.unpacked(),
        }
    }

    fn unpacked(&self) -> Result<Cow<'a, [u8]>, Malformed> {
        if self.stored.len() == self.length {
            return Ok(Cow::Borrowed(self.stored));
        }
        let plain = wire::unpack(self.stored, self.length);
        plain.map(Cow::Owned).map_err(|_| Malformed("its variables do not decompress"))
    }
}

/// Half-bytes as text, two characters a byte.
pub(super) fn spelled_out(half_bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; half_bytes.len() * 2];
    for (two, byte) in out.chunks_exact_mut(2).zip(half_bytes) {
        two.copy_from_slice(&HALVES[usize::from(*byte)]);
    }
    out
}

/// The two characters of every byte.
pub(super) const HALVES: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut halves = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        halves[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    halves
};
