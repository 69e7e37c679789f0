//! DELTA_BINARY_PACKED: numbers by their differences, which are packed to as many bits as they need.

use super::header::{varint, zigzag};
use super::{CUT_SHORT, NOT_THE_ROWS};
use crate::wire::Malformed;

/// Decodes DELTA_BINARY_PACKED: blocks of differences, each block with its least difference and
/// bit-packed miniblocks of what the differences are above it.
pub(super) fn delta_binary_packed(mut rest: &[u8], rows: usize) -> Result<Vec<i64>, Malformed> {
    let rest = &mut rest;
    let block = varint(rest)?;
    let miniblocks = varint(rest)?;
    let count = varint(rest)?;
    let first = zigzag(varint(rest)?);
    if count != rows as u64 || rows == 0 {
        return Err(NOT_THE_ROWS);
    }
    let sound = (1..=1_024).contains(&miniblocks) && (1..=65_536).contains(&block);
    if !sound || block % miniblocks != 0 || block / miniblocks % 32 != 0 {
        return Err(Malformed("a page is packed in odd blocks"));
    }
    let in_miniblock = (block / miniblocks) as usize;
    let mut values = Vec::with_capacity(rows);
    values.push(first);
    let mut last = first;
    let mut above = Vec::with_capacity(in_miniblock);
    while values.len() < rows {
        let least = zigzag(varint(rest)?);
        let (widths, after) = rest.split_at_checked(miniblocks as usize).ok_or(CUT_SHORT)?;
        *rest = after;
        for width in widths {
            if values.len() == rows {
                break;
            }
            let wanted = in_miniblock.min(rows - values.len());
            let bytes = usize::from(*width) * in_miniblock / 8;
            // The last miniblock of a page may end with its last value.
            let (packed, after) = rest.split_at(bytes.min(rest.len()));
            *rest = after;
            above.clear();
            unpack(packed, u32::from(*width), wanted, &mut above)?;
            values.extend(above.iter().map(|above| {
                last = last.wrapping_add(least).wrapping_add(*above as i64);
                last
            }));
        }
    }
    Ok(values)
}

/// Numbers that are unpacked at once: as many as the smallest miniblock has.
const GROUP: usize = 32;

/// Widest numbers that one load of eight bytes has, whichever bit they begin at.
const ONE_LOAD_BITS: u32 = 56;

/// Bytes of a group of the widest numbers, and a load beyond.
const GROUP_BYTES_MAX: usize = GROUP * ONE_LOAD_BITS as usize / 8 + 8;

/// Appends `count` numbers of `width` bits, least significant bit first.
fn unpack(packed: &[u8], width: u32, count: usize, out: &mut Vec<u64>) -> Result<(), Malformed> {
    if width == 0 {
        out.resize(out.len() + count, 0);
        return Ok(());
    }
    if 64 < width || packed.len() * 8 < count * width as usize {
        return Err(CUT_SHORT);
    }
    let mut groups = 0;
    if width <= ONE_LOAD_BITS {
        let mut bytes = [0; GROUP_BYTES_MAX];
        for group in packed.chunks_exact(GROUP * width as usize / 8).take(count / GROUP) {
            bytes[..group.len()].copy_from_slice(group);
            out.extend_from_slice(&unpack_group(&bytes, width));
            groups += 1;
        }
    }
    let done = groups * GROUP;
    unpack_each(&packed[done * width as usize / 8..], width, count - done, out)
}

/// The numbers of a group, by code for their width alone.
fn unpack_group(packed: &[u8; GROUP_BYTES_MAX], width: u32) -> [u64; GROUP] {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                $($width => group_of::<$width>(packed),)*
                _ => [0; GROUP],
            }
        };
    }
    by_width!(
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28
        29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56
    )
}

#[inline]
fn group_of<const WIDTH: usize>(packed: &[u8; GROUP_BYTES_MAX]) -> [u64; GROUP] {
    std::array::from_fn(|at| {
        let bit = at * WIDTH;
        let word = packed[bit / 8..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        word >> (bit % 8) & (u64::MAX >> (64 - WIDTH))
    })
}

/// As [`unpack`] does, one by one: numbers of any width and groups that are not full.
fn unpack_each(
    packed: &[u8],
    width: u32,
    count: usize,
    out: &mut Vec<u64>,
) -> Result<(), Malformed> {
    let mask = u64::MAX >> (64 - width);
    for at in 0..count {
        let bit = at * width as usize;
        let (byte, shift) = (bit / 8, (bit % 8) as u32);
        let low = match packed.get(byte..byte + 8) {
            Some(word) => u64::from_le_bytes(word.try_into().map_err(|_| CUT_SHORT)?),
            None => {
                let mut word = [0; 8];
                let tail = &packed[byte..];
                word[..tail.len()].copy_from_slice(tail);
                u64::from_le_bytes(word)
            }
        };
        let mut value = low >> shift;
        if 64 < shift + width {
            value |= u64::from(packed[byte + 8]) << (64 - shift);
        }
        out.push(value & mask);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_of_every_width_are_unpacked(
            width in 0_u32..=64,
            numbers in prop::collection::vec(any::<u64>(), 0..150),
        ) {
            let low = |number: &u64| if width == 0 { 0 } else { number & (u64::MAX >> (64 - width)) };
            let numbers: Vec<u64> = numbers.iter().map(low).collect();
            let mut packed = vec![0_u8; (numbers.len() * width as usize).div_ceil(8)];
            for (at, number) in numbers.iter().enumerate() {
                for bit in (0..width as usize).filter(|bit| number >> bit & 1 == 1) {
                    let place = at * width as usize + bit;
                    packed[place / 8] |= 1 << (place % 8);
                }
            }
            let mut found = Vec::new();
            unpack(&packed, width, numbers.len(), &mut found).unwrap();
            prop_assert_eq!(found, numbers);
        }
    }
}
