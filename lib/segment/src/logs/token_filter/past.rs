//! Looking a token up in the filters of formats that no build writes any more.
//!
//! Format 1: a block is a varint count of tokens, the Rice parameter of their fingerprints, and per
//! token the fingerprint's distance from the one before and its granules: one number, a list, or one
//! bit for every granule.
//!
//! Formats 2 to 4: a block is two counts, each with its Rice parameter; the gaps between the numbers
//! that fingerprint and granule make; and gaps between the fingerprints of tokens of many granules,
//! each followed by one bit for every granule.

use roaring::RoaringBitmap;

use super::{LOW_BITS_MAX, Shape};
use crate::logs::bits::BitReader;
use crate::wire::{Malformed, Reader};

/// Of format 1.
const FINGERPRINT_BITS: u32 = 20;

/// Of formats 2 to 4: an absent token was mistaken for another in one granule of so many bits.
const SPARSE_BITS: u32 = 10;

/// Of formats 2 to 4: tokens of a block on average.
const BLOCK_TOKENS: u64 = 4_096;

pub(super) fn lookup_with_maps(
    block: &[u8],
    shape: Shape,
    hash: u64,
) -> Result<RoaringBitmap, Malformed> {
    let mut header = Reader::new(block);
    let (numbers, maps): (usize, usize) = (header.number()?, header.number()?);
    let (low_bits, map_bits) = (header.take(1)?[0].into(), header.take(1)?[0].into());
    if LOW_BITS_MAX < low_bits || LOW_BITS_MAX < map_bits {
        return Err(Malformed("a block's parameter is out of range"));
    }
    let fingerprints = BLOCK_TOKENS << SPARSE_BITS.saturating_sub(shape.granule_bits());
    let fingerprint = shape.fingerprint(hash, fingerprints);
    let first = shape.number(fingerprint, 0);
    let wanted = first..first + u64::from(shape.granules);
    let mut bits = BitReader::new(header.into_rest());
    let mut found = RoaringBitmap::new();
    let mut number = 0_u64;
    for _ in 0..numbers {
        number = number.saturating_add(bits.take_rice(low_bits)?);
        if wanted.contains(&number) {
            found.insert((number - first) as u32);
        } else if wanted.end <= number && maps == 0 {
            break;
        }
    }
    let mut of_map = 0_u64;
    for _ in 0..maps {
        of_map = of_map.saturating_add(bits.take_rice(map_bits)?);
        for granule in 0..shape.granules {
            if bits.take(1)? == 1 && of_map == fingerprint {
                found.insert(granule);
            }
        }
    }
    Ok(found)
}

pub(super) fn lookup_of_format_1(
    block: &[u8],
    shape: Shape,
    hash: u64,
) -> Result<RoaringBitmap, Malformed> {
    let wanted = hash.wrapping_mul(shape.blocks) >> (64 - FINGERPRINT_BITS);
    let mut header = Reader::new(block);
    let tokens: usize = header.number()?;
    let low_bits = u32::from(header.take(1)?[0]);
    if FINGERPRINT_BITS < low_bits {
        return Err(Malformed("a block's parameter is out of range"));
    }
    let mut bits = BitReader::new(header.into_rest());
    let mut found = RoaringBitmap::new();
    let mut fingerprint = 0_u64;
    for _ in 0..tokens {
        fingerprint = fingerprint.saturating_add(bits.take_rice(low_bits)?);
        if wanted < fingerprint {
            break;
        }
        let hit = fingerprint == wanted;
        take_granules(&mut bits, shape.granules, |granule| {
            if hit {
                found.insert(granule);
            }
        })?;
    }
    Ok(found)
}

fn take_granules(
    bits: &mut BitReader<'_>,
    granules: u32,
    mut each: impl FnMut(u32),
) -> Result<(), Malformed> {
    let width = u32::BITS - granules.saturating_sub(1).leading_zeros();
    let listed = match (bits.take(1)?, width) {
        (0, _) => 1,
        _ if bits.take(1)? == 0 => bits.take_rice(3)? + 2,
        _ => {
            for granule in 0..granules {
                if bits.take(1)? == 1 {
                    each(granule);
                }
            }
            return Ok(());
        }
    };
    for _ in 0..listed {
        let granule = bits.take(width)? as u32;
        if granules <= granule {
            return Err(Malformed("it names a granule that is not there"));
        }
        each(granule);
    }
    Ok(())
}
