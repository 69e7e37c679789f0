//! What sixteen bytes are, found at once.

use wide::u8x16;

/// Bytes looked at at once.
pub(crate) const LANES: usize = 16;

/// Which bytes are part of a token, and which are digits; the first in the lowest bit.
#[inline]
pub(crate) fn classes(bytes: &[u8; LANES]) -> (u64, u64) {
    let bytes = u8x16::new(*bytes);
    let digits = within(bytes, b'0', b'9');
    let letters = within(bytes | u8x16::splat(b'a' - b'A'), b'a', b'z');
    // A byte of 0x80 or above, which is a letter too, has its high bit set as it is.
    let tokens = (digits | letters | bytes).to_bitmask();
    (tokens.into(), digits.to_bitmask().into())
}

/// All bits of each byte from `first` to `last`.
#[inline]
pub(crate) fn within(bytes: u8x16, first: u8, last: u8) -> u8x16 {
    let above = bytes - u8x16::splat(first);
    above.min(u8x16::splat(last - first)).simd_eq(above)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::token::{ByteClass, class};

    #[test]
    fn every_byte_in_every_place_has_its_class() {
        for byte in 0..=u8::MAX {
            for place in 0..LANES {
                let bit = |is: bool| u64::from(is) << place;
                let class = class(byte);
                let digit = bit(class == ByteClass::Digit);
                let token = bit(class != ByteClass::Separator);
                let mut bytes = [b' '; LANES];
                bytes[place] = byte;
                assert_eq!(classes(&bytes), (token, digit), "{byte:#x} at {place}");
                let mut bytes = [b'9'; LANES];
                bytes[place] = byte;
                let others = u64::from(u16::MAX) & !bit(true);
                let expected = (others | token, others | digit);
                assert_eq!(classes(&bytes), expected, "{byte:#x} at {place}");
            }
        }
    }
}
