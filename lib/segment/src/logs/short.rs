//! Values of up to sixteen bytes, as nearly all are, looked at in one register rather than byte by
//! byte.

use wide::u8x16;

use super::lanes::within;
use super::pieces::BLOCK;

/// Longest value that is short.
pub(crate) const SHORT_BYTES: usize = BLOCK;

/// All bits of the first so many bytes.
const FIRST: [[u8; SHORT_BYTES]; SHORT_BYTES + 1] = {
    let mut masks = [[0; SHORT_BYTES]; SHORT_BYTES + 1];
    let mut length = 1;
    while length <= SHORT_BYTES {
        masks[length] = masks[length - 1];
        masks[length][length - 1] = u8::MAX;
        length += 1;
    }
    masks
};

/// A value that fits, zeros behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    bytes: u8x16,
    length: usize,
}

/// A mask that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShortMask(Short);

/// Which bytes are digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digits {
    /// All bits of each.
    lanes: u8x16,
    /// A bit each, the first in the lowest.
    bits: u32,
}

/// Runs of bits: start and length of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs(u64);

impl Short {
    /// The first `length` bytes of `from`.
    #[inline]
    pub(crate) fn of(from: &[u8; SHORT_BYTES], length: usize) -> Self {
        Self { bytes: u8x16::new(*from) & u8x16::new(FIRST[length]), length }
    }

    #[inline]
    pub(crate) fn digits(self) -> Digits {
        let lanes = within(self.bytes, b'0', b'9');
        Digits { lanes, bits: lanes.to_bitmask() }
    }

    /// The value with its digits made zeros.
    #[inline]
    pub(crate) fn mask(self, digits: Digits) -> ShortMask {
        let bytes = digits.lanes.bitselect(u8x16::splat(b'0'), self.bytes);
        ShortMask(Self { bytes, length: self.length })
    }

    /// How many digits are those of `other`, which has the same mask.
    #[inline]
    pub(crate) fn equal_digits(self, other: Self, digits: Digits) -> usize {
        let equal = self.bytes.simd_eq(other.bytes).to_bitmask();
        (equal & digits.bits).count_ones() as usize
    }

    /// Whether there are lower-case hexadecimal digits alone.
    #[inline]
    pub(crate) fn is_hexadecimal(self) -> bool {
        let lanes = within(self.bytes, b'a', b'f') | within(self.bytes, b'0', b'9');
        lanes.to_bitmask() == self.all()
    }

    /// Two hexadecimal digits a byte, the first in the upper half; and how many bytes.
    #[inline]
    pub(crate) fn half_bytes(self) -> ([u8; SHORT_BYTES], usize) {
        let every = |byte: u8| u128::from_le_bytes([byte; SHORT_BYTES]);
        let bytes = u128::from_le_bytes(self.bytes.to_array());
        let halves = (bytes & every(0x0f)) + ((bytes >> 6) & every(0x01)) * 9;
        // Every other byte is whole; then they move together, two, four and eight at a time.
        let bytes = (halves << 4 | halves >> 8) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
        let bytes = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
        let bytes = (bytes | bytes >> 16) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
        let bytes = bytes | bytes >> 32;
        (bytes.to_le_bytes(), self.length.div_ceil(2))
    }

    /// This, which is a mask.
    pub(crate) fn as_mask(self) -> ShortMask {
        ShortMask(self)
    }

    /// A bit for each byte.
    #[inline]
    fn all(self) -> u32 {
        (1 << self.length) - 1
    }
}

impl Digits {
    #[inline]
    pub(crate) fn count(self) -> usize {
        self.bits.count_ones() as usize
    }

    /// Whether there is nothing but digits in `value`.
    #[inline]
    pub(crate) fn are_all_of(self, value: Short) -> bool {
        self.bits == value.all()
    }

    /// A bit for each byte, the first in the lowest.
    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.bits.into()
    }

    /// Start and length of each run of them.
    #[inline]
    pub(crate) fn runs(self) -> Runs {
        Runs(self.bits())
    }
}

impl Runs {
    #[inline]
    pub(crate) fn of(bits: u64) -> Self {
        Self(bits)
    }
}

impl Iterator for Runs {
    type Item = (usize, usize);

    #[inline]
    fn next(&mut self) -> Option<(usize, usize)> {
        if self.0 == 0 {
            return None;
        }
        let start = self.0.trailing_zeros();
        let length = (!(self.0 >> start)).trailing_zeros();
        self.0 &= u64::MAX.checked_shl(start + length).unwrap_or(0);
        Some((start as usize, length as usize))
    }
}

impl ShortMask {
    /// Longer than any.
    pub(crate) const NONE: Self = Self(Short { bytes: u8x16::ZERO, length: usize::MAX });

    /// That of a number.
    pub(crate) fn zeros(length: usize) -> Self {
        Self(Short::of(&[b'0'; SHORT_BYTES], length))
    }

    #[inline]
    pub(crate) fn to_bytes(self) -> ([u8; SHORT_BYTES], usize) {
        (self.0.bytes.to_array(), self.0.length)
    }

    /// A hash in the upper bits.
    #[inline]
    pub(crate) fn hash(self) -> u64 {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let bytes = u128::from_le_bytes(self.0.bytes.to_array());
        let (low, high) = (bytes as u64, (bytes >> 64) as u64);
        let mixed = (low ^ self.0.length as u64) as u128 * u128::from(FACTOR);
        (mixed as u64 ^ (mixed >> 64) as u64 ^ high).wrapping_mul(FACTOR)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::string_slice, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn short(bytes: &[u8]) -> Short {
        // What lies behind a value may be anything.
        let mut block = [b'7'; SHORT_BYTES];
        block[..bytes.len()].copy_from_slice(bytes);
        Short::of(&block, bytes.len())
    }

    proptest! {
        #[test]
        fn packs_half_bytes(value in "[0-9a-f]{0,16}|[0-9a-gA-F/:`é]{0,8}") {
            let half = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let value_short = short(value.as_bytes());
            prop_assert_eq!(value_short.is_hexadecimal(), value.bytes().all(half));
            if value_short.is_hexadecimal() {
                let padded = format!("{value}{}", if value.len() % 2 == 0 { "" } else { "0" });
                let expected: Vec<u8> = (0..padded.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&padded[at..at + 2], 16).unwrap())
                    .collect();
                let (bytes, length) = value_short.half_bytes();
                prop_assert_eq!(&bytes[..length], &expected[..]);
            }
        }

        #[test]
        fn agrees_with_going_byte_by_byte(
            value in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..=16),
                prop::collection::vec(b'/'..=b':', 0..=16),
            ],
            other in prop::collection::vec(b'0'..=b'9', 16),
        ) {
            let (value_short, is_digit) = (short(&value), |byte: &&u8| byte.is_ascii_digit());
            let digits = value_short.digits();
            prop_assert_eq!(digits.count(), value.iter().filter(is_digit).count());
            let run = |(start, length): (usize, usize)| &value[start..start + length];
            let found: Vec<u8> = digits.runs().flat_map(run).copied().collect();
            prop_assert_eq!(digits.are_all_of(value_short), found.len() == value.len());
            prop_assert_eq!(found, value.iter().copied().filter(u8::is_ascii_digit).collect::<Vec<_>>());

            let zero = |byte: &u8| if byte.is_ascii_digit() { b'0' } else { *byte };
            let mask: Vec<u8> = value.iter().map(zero).collect();
            let (bytes, length) = value_short.mask(digits).to_bytes();
            prop_assert_eq!(&bytes[..length], &mask[..]);

            let varied: Vec<u8> = value
                .iter()
                .zip(&other)
                .map(|(byte, other)| if byte.is_ascii_digit() { *other } else { *byte })
                .collect();
            prop_assert_eq!(value_short.mask(digits), short(&varied).mask(digits));
            let equal = value.iter().zip(&varied).filter(|(a, b)| a.is_ascii_digit() && a == b);
            prop_assert_eq!(value_short.equal_digits(short(&varied), digits), equal.count());
        }
    }
}
