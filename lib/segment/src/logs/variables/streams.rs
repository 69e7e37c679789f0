//! The streams that a granule's variables are made of, each decompressed when it is wanted.

use std::borrow::Cow;
use std::ops::Range;

use super::{STREAM_BYTES_MAX, digits};
use crate::wire::{self, Malformed, Reader};

/// Everything [`super::VariablesWriter::encode`] wrote, in its order.
#[derive(Debug)]
pub(super) struct Streams<'a> {
    pub(super) masks: Stream<'a>,
    pub(super) slots: Stream<'a>,
    pub(super) choices: Stream<'a>,
    pub(super) repetitive: Stream<'a>,
    pub(super) lengths: Stream<'a>,
    pub(super) text: Stream<'a>,
    half_bytes: Stream<'a>,
    /// How many random digits there are, and they themselves.
    pub(super) random: usize,
    packed_digits: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Stream<'a> {
    length: usize,
    stored: &'a [u8],
}

impl<'a> Streams<'a> {
    pub(super) fn open(encoded: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(encoded);
        Ok(Self {
            masks: Stream::read(&mut reader)?,
            slots: Stream::read(&mut reader)?,
            choices: Stream::read(&mut reader)?,
            repetitive: Stream::read(&mut reader)?,
            lengths: Stream::read(&mut reader)?,
            text: Stream::read(&mut reader)?,
            half_bytes: Stream::read(&mut reader)?,
            random: reader.number()?,
            packed_digits: reader.into_rest(),
        })
    }

    /// How many characters all half-bytes are.
    pub(super) fn half_byte_characters(&self) -> usize {
        self.half_bytes.length * 2
    }

    /// All half-bytes as text, two characters a byte.
    pub(super) fn all_half_bytes(&self) -> Result<Vec<u8>, Malformed> {
        let packed = self.half_bytes.plain()?;
        let mut out = vec![0; packed.len() * 2];
        for (two, byte) in out.chunks_exact_mut(2).zip(&*packed) {
            two.copy_from_slice(&HALVES[usize::from(*byte)]);
        }
        Ok(out)
    }

    /// Half-bytes as they are stored.
    pub(super) fn packed_half_bytes(&self) -> Result<Cow<'a, [u8]>, Malformed> {
        self.half_bytes.plain()
    }

    pub(super) fn all_random_digits(&self) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        digits::unpack(self.packed_digits, self.random, 0..self.random, &mut out)?;
        Ok(out)
    }

    /// Appends some of the random digits to `out`.
    pub(super) fn random_digits(
        &self,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        digits::unpack(self.packed_digits, self.random, range, out)
    }
}

impl<'a> Stream<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let length = reader.number()?;
        if STREAM_BYTES_MAX < length {
            return Err(Malformed("it is larger than this version ever writes"));
        }
        Ok(Self { length, stored: reader.bytes()? })
    }

    pub(super) fn plain(self) -> Result<Cow<'a, [u8]>, Malformed> {
        if self.stored.len() == self.length {
            return Ok(Cow::Borrowed(self.stored));
        }
        let plain = wire::unpack(self.stored, self.length);
        plain.map(Cow::Owned).map_err(|_| Malformed("its variables do not decompress"))
    }
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
