//! The streams that a group's variables are made of, each decompressed once, when it is wanted.

use std::borrow::Cow;
use std::ops::Range;

use super::{STREAM_BYTES_MAX, digits};
use crate::wire::{self, Malformed, Reader};

/// What [`super::groups::Groups`] wrote of a group, in its order.
#[derive(Debug, Default)]
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
#[derive(Clone, Copy, Debug, Default)]
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
    /// Reads those of a group whose slots are known; since format 8.
    pub(super) fn read(slots: &[u8], mut reader: Reader<'a>) -> Result<Self, Malformed> {
        Self::of_slots(slots).read_rest(&mut reader)?.read_random(reader)
    }

    /// Those of a group of which nothing else was read.
    pub(super) fn of_slots(slots: &[u8]) -> Self {
        Self { slots: Stream::loaded(slots), ..Self::default() }
    }

    /// Reads those of a group that has its slots, and, as the only one up to format 6, half-bytes.
    pub(super) fn read_with_slots(
        mut reader: Reader<'a>,
        with_half_bytes: bool,
    ) -> Result<Self, Malformed> {
        let slots = Stream::read(&mut reader)?;
        let mut streams = Self { slots, ..Self::default() }.read_rest(&mut reader)?;
        if with_half_bytes {
            streams.half_bytes = Stream::read(&mut reader)?;
        }
        streams.read_random(reader)
    }

    fn read_rest(self, reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let choices = Stream::read(reader)?;
        let repetitive = Stream::read(reader)?;
        let lengths = Stream::read(reader)?;
        let text = Stream::read(reader)?;
        Ok(Self { choices, repetitive, lengths, text, ..self })
    }

    fn read_random(self, mut reader: Reader<'a>) -> Result<Self, Malformed> {
        let random = RandomDigits { count: reader.number()?, packed: reader.into_rest() };
        Ok(Self { random, ..self })
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

    /// A stream that was part of another.
    fn loaded(plain: &[u8]) -> Self {
        let plain = Some(Cow::Owned(plain.to_vec()));
        Self { length: 0, stored: &[], plain }
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
    spell(half_bytes, &mut out);
    out
}

/// Writes half-bytes as text to `out`, which is twice as long.
#[inline]
pub(super) fn spell(half_bytes: &[u8], out: &mut [u8]) {
    let (fours, rest) = half_bytes.as_chunks();
    let (eights, rest_out) = out.split_at_mut((8 * fours.len()).min(out.len()));
    for (four, eight) in fours.iter().zip(eights.as_chunks_mut().0) {
        *eight = spelled_four(*four);
    }
    for (byte, two) in rest.iter().zip(rest_out.as_chunks_mut().0) {
        let [first, second, ..] = spelled_four([*byte, 0, 0, 0]);
        *two = [first, second];
    }
}

fn spelled_four(half_bytes: [u8; 4]) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Bytes move apart, then each half into a byte of its own, the upper one first.
    let bytes = u64::from(u32::from_le_bytes(half_bytes));
    let bytes = (bytes | bytes << 16) & 0x0000_ffff_0000_ffff;
    let bytes = (bytes | bytes << 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes >> 4 | bytes << 8) & (0x0f * ONES);
    let letters = (halves + 6 * ONES) >> 4 & ONES;
    (halves + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'0' - 10)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn spells_half_bytes(half_bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let expected: String = half_bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(spelled_out(&half_bytes), expected.into_bytes());
        }
    }
}
