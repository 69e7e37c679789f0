//! Which granules may hold a token, by hash: a few bytes per distinct token.
//!
//! Holds every variable of every line and every attribute as `name=value`. Tokens are spread by
//! hash over blocks of about [`BLOCK_TOKENS`], so a lookup reads one block whatever the size of
//! the segment. Within a block tokens are sorted by fingerprint (the next bits of the hash) and
//! stored as gaps, each followed by its granules.
//!
//! What always holds: a token of a granule is found in it. An absent token is found by mistake
//! once in about 2^[`FINGERPRINT_SPARE_BITS`] lookups, and then costs a granule read for nothing.
//!
//! Bounds: granules that have more distinct tokens than the builder's caps are left out whole and
//! marked in the granule table, so no answer is ever taken from a part of one.

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::bits::{BitReader, BitWriter};
use crate::wire::{self, Malformed, Reader};

/// Tokens a block holds on average: about 2.5 KiB, one small read.
const BLOCK_TOKENS: usize = 1_024;

/// Bits of fingerprint beyond those that tell a block's tokens apart.
const FINGERPRINT_SPARE_BITS: u32 = 10;

/// Fingerprints are below `2^FINGERPRINT_BITS`.
const FINGERPRINT_BITS: u32 = BLOCK_TOKENS.ilog2() + FINGERPRINT_SPARE_BITS;

/// The filter's hash of a variable, or of an attribute spelled `name=value`.
pub(crate) fn token_hash(token: &[u8]) -> u64 {
    xxh3_64(token)
}

/// The filter's hash of an attribute. `scratch` saves an allocation per attribute.
pub(crate) fn attribute_hash(name: &str, value: &str, scratch: &mut Vec<u8>) -> u64 {
    scratch.clear();
    scratch.extend_from_slice(name.as_bytes());
    scratch.push(b'=');
    scratch.extend_from_slice(value.as_bytes());
    token_hash(scratch)
}

/// Collects hashes and granules.
#[derive(Debug, Default)]
pub(crate) struct TokenFilterBuilder {
    pairs: Vec<(u64, u32)>,
}

/// A finished filter: blocks end to end, and where each ends.
#[derive(Debug)]
pub(crate) struct EncodedFilter {
    pub(crate) blocks: Vec<u8>,
    pub(crate) directory: Vec<u8>,
    /// Distinct tokens, for statistics.
    pub(crate) tokens: u64,
}

impl TokenFilterBuilder {
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Adds the distinct hashes of one granule.
    pub(crate) fn add(&mut self, granule: u32, hashes: impl Iterator<Item = u64>) {
        self.pairs.extend(hashes.map(|hash| (hash, granule)));
    }

    pub(crate) fn encode(mut self, granules: u32) -> EncodedFilter {
        self.pairs.sort_unstable();
        let tokens = self.pairs.chunk_by(|a, b| a.0 == b.0).count();
        let block_count = tokens.div_ceil(BLOCK_TOKENS).max(1) as u64;
        let mut blocks = Vec::new();
        let mut directory = Vec::new();
        wire::put_varint(&mut directory, block_count);
        let mut rest = &self.pairs[..];
        for block in 0..block_count {
            let end = rest.partition_point(|(hash, _)| block_of(*hash, block_count) == block);
            let encoded = encode_block(&rest[..end], block_count, granules);
            wire::put_varint(&mut directory, encoded.len() as u64);
            directory.extend_from_slice(&crc32c::crc32c(&encoded).to_le_bytes());
            blocks.extend_from_slice(&encoded);
            rest = &rest[end..];
        }
        EncodedFilter { blocks, directory, tokens: tokens as u64 }
    }
}

/// Spreads hashes over blocks evenly and in order.
fn block_of(hash: u64, block_count: u64) -> u64 {
    ((u128::from(hash) * u128::from(block_count)) >> 64) as u64
}

/// What is left of a hash once its block is known, in order within the block.
fn fingerprint_of(hash: u64, block_count: u64) -> u64 {
    hash.wrapping_mul(block_count) >> (64 - FINGERPRINT_BITS)
}

fn granule_bits(granules: u32) -> u32 {
    u32::BITS - granules.saturating_sub(1).leading_zeros()
}

/// Varint count of tokens, one byte of Rice parameter, then per token: gap, granules.
fn encode_block(pairs: &[(u64, u32)], block_count: u64, granules: u32) -> Vec<u8> {
    let tokens = pairs.chunk_by(|a, b| a.0 == b.0).count();
    let low_bits = gap_bits(tokens);
    let mut out = Vec::new();
    wire::put_varint(&mut out, tokens as u64);
    out.push(low_bits as u8);
    let mut bits = BitWriter::default();
    let mut previous = 0;
    for token in pairs.chunk_by(|a, b| a.0 == b.0) {
        let fingerprint = fingerprint_of(token[0].0, block_count);
        bits.put_rice(fingerprint - previous, low_bits);
        previous = fingerprint;
        put_granules(&mut bits, token, granules);
    }
    out.append(&mut bits.finish());
    out
}

/// The best Rice parameter for `tokens` gaps that sum to the fingerprint range.
fn gap_bits(tokens: usize) -> u32 {
    ((1_u64 << FINGERPRINT_BITS) / tokens.max(1) as u64).max(2).ilog2() - 1
}

/// One granule is `0` and its number; more are `1`, then `0`, how many and the numbers, or `1` and
/// one bit a granule where that is shorter.
fn put_granules(bits: &mut BitWriter, token: &[(u64, u32)], granules: u32) {
    let width = granule_bits(granules);
    if let [(_, granule)] = token {
        bits.put(0, 1);
        bits.put((*granule).into(), width);
        return;
    }
    bits.put(1, 1);
    if token.len() as u64 * u64::from(width) + 8 < granules.into() {
        bits.put(0, 1);
        bits.put_rice(token.len() as u64 - 2, 3);
        for (_, granule) in token {
            bits.put((*granule).into(), width);
        }
        return;
    }
    bits.put(1, 1);
    let mut next = token.iter().map(|(_, granule)| *granule).peekable();
    for granule in 0..granules {
        bits.put(next.next_if_eq(&granule).is_some().into(), 1);
    }
}

/// Where the blocks are: part of what opening a segment reads.
#[derive(Debug)]
pub(crate) struct FilterDirectory {
    /// End of each block within the filter, and its CRC32C.
    blocks: Vec<(u64, u32)>,
}

/// A block's place within the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockRange {
    pub(crate) bytes: std::ops::Range<u64>,
    pub(crate) crc: u32,
}

impl FilterDirectory {
    pub(crate) fn decode(section: &[u8], filter_bytes: u64) -> Result<Self, Malformed> {
        let mut reader = Reader::new(section);
        let count = reader.count(5)?;
        if count == 0 {
            return Err(Malformed("it has no block"));
        }
        let mut blocks = Vec::with_capacity(count);
        let mut end = 0_u64;
        for _ in 0..count {
            end = end.checked_add(reader.varint()?).ok_or(Malformed("a block is too long"))?;
            blocks.push((end, reader.fixed_u32()?));
        }
        reader.finish()?;
        if end != filter_bytes {
            return Err(Malformed("its blocks are not the filter"));
        }
        Ok(Self { blocks })
    }

    /// The block that would hold `hash`.
    pub(crate) fn block(&self, hash: u64) -> BlockRange {
        let block = block_of(hash, self.blocks.len() as u64) as usize;
        let start = if block == 0 { 0 } else { self.blocks[block - 1].0 };
        let (end, crc) = self.blocks[block];
        BlockRange { bytes: start..end, crc }
    }

    /// The granules whose tokens may have `hash`, read off the block that [`Self::block`] names.
    pub(crate) fn lookup(
        &self,
        block: &[u8],
        hash: u64,
        granules: u32,
    ) -> Result<RoaringBitmap, Malformed> {
        let wanted = fingerprint_of(hash, self.blocks.len() as u64);
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
}

fn take_granules(
    bits: &mut BitReader<'_>,
    granules: u32,
    mut each: impl FnMut(u32),
) -> Result<(), Malformed> {
    let width = granule_bits(granules);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct Filter {
        encoded: EncodedFilter,
        directory: FilterDirectory,
        granules: u32,
    }

    fn filter(granules: &[Vec<u64>]) -> Filter {
        let mut builder = TokenFilterBuilder::default();
        for (granule, hashes) in granules.iter().enumerate() {
            builder.add(granule as u32, hashes.iter().copied());
        }
        let granules = granules.len() as u32;
        let encoded = builder.encode(granules);
        let bytes = encoded.blocks.len() as u64;
        let directory = FilterDirectory::decode(&encoded.directory, bytes).unwrap();
        Filter { encoded, directory, granules }
    }

    impl Filter {
        fn get(&self, hash: u64) -> Vec<u32> {
            let range = self.directory.block(hash);
            let block = &self.encoded.blocks[range.bytes.start as usize..range.bytes.end as usize];
            assert_eq!(crc32c::crc32c(block), range.crc);
            self.directory.lookup(block, hash, self.granules).unwrap().iter().collect()
        }
    }

    proptest! {
        #[test]
        fn finds_every_token_in_its_granules(
            tokens in prop::collection::btree_map(any::<u64>(), prop::collection::btree_set(0_u32..40, 1..40), 0..300),
            granules in 40_u32..200,
        ) {
            let mut per_granule = vec![Vec::new(); granules as usize];
            for (hash, numbers) in &tokens {
                numbers.iter().for_each(|g| per_granule[*g as usize].push(*hash));
            }
            let filter = filter(&per_granule);
            prop_assert_eq!(filter.encoded.tokens, tokens.len() as u64);
            let mut wanted: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
            for (hash, numbers) in tokens {
                wanted.entry(hash).or_default().extend(numbers);
            }
            for (hash, numbers) in wanted {
                let found = filter.get(hash);
                prop_assert!(numbers.iter().all(|g| found.contains(g)));
            }
        }

        #[test]
        fn damaged_blocks_never_panic(
            block in prop::collection::vec(any::<u8>(), 0..64),
            directory in prop::collection::vec(any::<u8>(), 0..32),
            hash in any::<u64>(),
        ) {
            let filter = filter(&[vec![1, 2], vec![3]]);
            drop(filter.directory.lookup(&block, hash, 2));
            drop(FilterDirectory::decode(&directory, 64));
        }
    }

    #[test]
    fn is_small_and_rarely_wrong() {
        let mut next = 0_u64;
        let mut fresh = || {
            next += 1;
            token_hash(&next.to_le_bytes())
        };
        let granules: Vec<Vec<u64>> =
            (0..190).map(|_| (0..500).map(|_| fresh()).collect()).collect();
        let filter = filter(&granules);
        let bytes = filter.encoded.blocks.len() + filter.encoded.directory.len();
        let per_token = bytes as f64 / filter.encoded.tokens as f64;
        assert!(per_token < 3.0, "{per_token} bytes a token");
        let wrong = (0..10_000).filter(|_| !filter.get(fresh()).is_empty()).count();
        assert!(wrong < 40, "{wrong} of 10,000 absent tokens were found");
    }

    #[test]
    fn a_segment_without_tokens_has_a_filter_too() {
        let filter = filter(&[vec![]]);
        assert!(filter.get(7).is_empty());
    }
}
