//! Values of up to sixteen bytes, as nearly all are, looked at in two registers rather than byte
//! by byte.

use crate::logs::pieces::BLOCK;

/// Longest value that is short.
pub(super) const SHORT_BYTES: usize = BLOCK;

const HIGH_BITS: u128 = every(0x80);

/// The first so many bytes.
const FIRST: [u128; SHORT_BYTES + 1] = {
    let mut masks = [0; SHORT_BYTES + 1];
    let mut length = 1;
    while length <= SHORT_BYTES {
        masks[length] = u128::MAX >> (8 * (SHORT_BYTES - length));
        length += 1;
    }
    masks
};

/// A value that fits, zeros behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    bytes: u128,
    length: usize,
}

/// A mask that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShortMask(Short);

impl Short {
    /// The first `length` bytes of `from`.
    #[inline]
    pub(super) fn of(from: &[u8; SHORT_BYTES], length: usize) -> Self {
        Self { bytes: u128::from_le_bytes(*from) & FIRST[length], length }
    }

    /// The high bit of each byte that is a digit.
    #[inline]
    pub(super) fn digits(self) -> Digits {
        // Without their high bits, bytes can be added to without carrying into the next.
        let low = self.bytes & !HIGH_BITS;
        let at_least = |byte: u8| low + every(0x80 - byte);
        Digits(at_least(b'0') & !at_least(b'9' + 1) & !self.bytes & HIGH_BITS)
    }

    /// The value with its digits made zeros.
    #[inline]
    pub(super) fn mask(self, digits: Digits) -> ShortMask {
        let whole = digits.0 | (digits.0 - (digits.0 >> 7));
        let bytes = self.bytes & !whole | whole & every(b'0');
        ShortMask(Self { bytes, length: self.length })
    }

    /// How many digits are those of `other`, which has the same mask.
    #[inline]
    pub(super) fn equal_digits(self, other: Self, digits: Digits) -> usize {
        let differ = ((self.bytes ^ other.bytes) + every(0x7f)) & HIGH_BITS;
        digits.count() - Digits(differ).count()
    }

    /// Whether there are lower-case hexadecimal digits alone.
    #[inline]
    pub(super) fn is_hexadecimal(self) -> bool {
        let low = self.bytes & !HIGH_BITS;
        let at_least = |byte: u8| low + every(0x80 - byte);
        let letters = at_least(b'a') & !at_least(b'f' + 1) & !self.bytes & HIGH_BITS;
        letters | self.digits().0 == HIGH_BITS & FIRST[self.length]
    }

    /// Two hexadecimal digits a byte, the first in the upper half; and how many bytes.
    #[inline]
    pub(super) fn half_bytes(self) -> ([u8; SHORT_BYTES], usize) {
        let halves = (self.bytes & every(0x0f)) + ((self.bytes >> 6) & every(0x01)) * 9;
        // Every other byte is whole; then they move together, two, four and eight at a time.
        let bytes = (halves << 4 | halves >> 8) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
        let bytes = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
        let bytes = (bytes | bytes >> 16) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
        let bytes = bytes | bytes >> 32;
        (bytes.to_le_bytes(), self.length.div_ceil(2))
    }

    /// This, which is a mask.
    pub(super) fn as_mask(self) -> ShortMask {
        ShortMask(self)
    }
}

/// Which bytes are digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digits(u128);

impl Digits {
    #[inline]
    pub(super) fn count(self) -> usize {
        // Bytes added up by a multiplication: many processors count bits only when asked to in an
        // instruction that others do not have.
        let ones = (self.0 >> 7) as u64 + (self.0 >> 71) as u64;
        (ones.wrapping_mul(0x0101_0101_0101_0101) >> 56) as usize
    }

    /// Whether there is nothing but digits in `value`.
    #[inline]
    pub(super) fn are_all_of(self, value: Short) -> bool {
        self.0 == HIGH_BITS & FIRST[value.length]
    }

    /// Calls `visit` with the start and length of each run of digits.
    #[inline]
    pub(super) fn runs(self, mut visit: impl FnMut(usize, usize)) {
        let packed = |high_bits: u64| high_bits.wrapping_mul(0x0002_0408_1020_4081) >> 56;
        let mut rest = packed(self.0 as u64) | packed((self.0 >> 64) as u64) << 8;
        while rest != 0 {
            let start = rest.trailing_zeros();
            let length = (!(rest >> start)).trailing_zeros();
            visit(start as usize, length as usize);
            rest &= u64::MAX << (start + length);
        }
    }
}

impl ShortMask {
    /// Longer than any.
    pub(super) const NONE: Self = Self(Short { bytes: 0, length: usize::MAX });

    /// That of a number.
    pub(super) fn zeros(length: usize) -> Self {
        Self(Short { bytes: every(b'0') & FIRST[length], length })
    }

    #[inline]
    pub(super) fn to_bytes(self) -> ([u8; SHORT_BYTES], usize) {
        (self.0.bytes.to_le_bytes(), self.0.length)
    }

    /// A hash in the upper bits.
    #[inline]
    pub(super) fn hash(self) -> u64 {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let Self(Short { bytes, length }) = self;
        let (low, high) = (bytes as u64, (bytes >> 64) as u64);
        let mixed = (low ^ length as u64) as u128 * u128::from(FACTOR);
        (mixed as u64 ^ (mixed >> 64) as u64 ^ high).wrapping_mul(FACTOR)
    }
}

const fn every(byte: u8) -> u128 {
    0x0101_0101_0101_0101_0101_0101_0101_0101 * byte as u128
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
            let mut found = Vec::new();
            digits.runs(|start, length| found.extend_from_slice(&value[start..start + length]));
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
