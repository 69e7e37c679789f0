//! Decimal digits, three to ten bits.
//!
//! Ten bits hold 1,024 values, so three digits in them waste a third of a percent, whatever the
//! digits are. That is what random digits cost at least, and hardly any compressor reaches it.

use std::ops::Range;

use crate::wire::Malformed;

/// Digits of a block, and the bytes they take.
const BLOCK_DIGITS: usize = 12;
const BLOCK_BYTES: usize = 5;

/// Three digits by their number; what is no number of three digits starts with [`NO_DIGIT`].
const TRIPLETS: [[u8; 3]; 1024] = {
    let mut triplets = [[NO_DIGIT; 3]; 1024];
    let mut number = 0;
    while number < 1_000 {
        let (a, b, c) = (number / 100, number / 10 % 10, number % 10);
        triplets[number] = [b'0' + a as u8, b'0' + b as u8, b'0' + c as u8];
        number += 1;
    }
    triplets
};

const NO_DIGIT: u8 = 0;

/// Bytes that `digits` digits take.
pub(super) fn packed_bytes(digits: usize) -> usize {
    digits.div_ceil(BLOCK_DIGITS) * BLOCK_BYTES
}

/// Appends ASCII digits; the last block is filled up with zeros.
pub(super) fn pack(digits: &[u8], out: &mut Vec<u8>) {
    out.reserve(packed_bytes(digits.len()));
    let mut blocks = digits.chunks_exact(BLOCK_DIGITS);
    for block in &mut blocks {
        pack_block(block, out);
    }
    let rest = blocks.remainder();
    if !rest.is_empty() {
        let mut block = [b'0'; BLOCK_DIGITS];
        block[..rest.len()].copy_from_slice(rest);
        pack_block(&block, out);
    }
}

fn pack_block(block: &[u8], out: &mut Vec<u8>) {
    let value = |digit: u8| u64::from(digit - b'0');
    let triplet =
        |at: usize| value(block[at]) * 100 + value(block[at + 1]) * 10 + value(block[at + 2]);
    let bits = triplet(0) | triplet(3) << 10 | triplet(6) << 20 | triplet(9) << 30;
    out.extend_from_slice(&bits.to_le_bytes()[..BLOCK_BYTES]);
}

/// Appends digits `range` of the `count` that `packed` holds, as ASCII.
pub(super) fn unpack(
    packed: &[u8],
    count: usize,
    range: Range<usize>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    if packed.len() != packed_bytes(count) || range.end < range.start || count < range.end {
        return Err(Malformed("its digits are cut short"));
    }
    let blocks = range.start / BLOCK_DIGITS..range.end.div_ceil(BLOCK_DIGITS);
    let start = out.len();
    out.resize(start + blocks.len() * BLOCK_DIGITS, 0);
    let packed = &packed[blocks.start * BLOCK_BYTES..blocks.end * BLOCK_BYTES];
    let mut whole = true;
    for (bytes, digits) in
        packed.chunks_exact(BLOCK_BYTES).zip(out[start..].chunks_exact_mut(BLOCK_DIGITS))
    {
        let bits = u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], 0, 0, 0]);
        for (group, digits) in digits.chunks_exact_mut(3).enumerate() {
            let triplet = TRIPLETS[(bits >> (10 * group)) as usize & 1_023];
            whole &= triplet[0] != NO_DIGIT;
            digits.copy_from_slice(&triplet);
        }
    }
    if !whole {
        return Err(Malformed("it has digits above nine"));
    }
    // Blocks begin before the range.
    let before = range.start - blocks.start * BLOCK_DIGITS;
    out.copy_within(start + before..start + before + range.len(), start);
    out.truncate(start + range.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_was_packed(
            digits in prop::collection::vec(b'0'..=b'9', 0..100),
            (from, to) in any::<(Index, Index)>(),
        ) {
            let mut packed = Vec::new();
            pack(&digits, &mut packed);
            prop_assert_eq!(packed.len(), packed_bytes(digits.len()));
            let (from, to) = (from.index(digits.len() + 1), to.index(digits.len() + 1));
            let range = from.min(to)..from.max(to);
            for range in [0..digits.len(), range] {
                let mut out = b"before".to_vec();
                unpack(&packed, digits.len(), range.clone(), &mut out).unwrap();
                prop_assert_eq!(&out, &[b"before", &digits[range]].concat());
            }
        }
    }

    #[test]
    fn damage_is_noticed() {
        let mut out = Vec::new();
        let mut all = |packed: &[u8]| unpack(packed, 12, 0..12, &mut out);
        assert!(all(&[0xff; 5]).is_err(), "1,023 is not three digits");
        assert!(all(&[0; 4]).is_err());
        assert!(all(&[0; 10]).is_err());
        assert!(unpack(&[0; 5], 12, 3..13, &mut out).is_err());
    }
}
