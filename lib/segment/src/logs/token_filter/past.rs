//! Looking a token up in a filter of format 1, which no build writes any more.
//!
//! A block is a varint count of tokens, the Rice parameter of their fingerprints, and per token the
//! fingerprint's distance from the one before and its granules: one number, a list, or one bit for
//! every granule.

use roaring::RoaringBitmap;

use crate::logs::bits::BitReader;
use crate::wire::{Malformed, Reader};

const FINGERPRINT_BITS: u32 = 20;

/// The granules whose tokens may have `hash`, read off the one of `blocks` blocks that is its.
pub(super) fn lookup(
    block: &[u8],
    blocks: u64,
    hash: u64,
    granules: u32,
) -> Result<RoaringBitmap, Malformed> {
    let wanted = hash.wrapping_mul(blocks) >> (64 - FINGERPRINT_BITS);
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
        take_granules(&mut bits, granules, |granule| {
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
