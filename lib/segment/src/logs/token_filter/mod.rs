//! Which granules may hold a token, by hash: about a byte and a half per distinct token.
//!
//! Holds every variable that is [`selective`], and every attribute as `name=value`.
//! Tokens are spread by hash over blocks of about [`BLOCK_TOKENS`], so a lookup reads one block
//! whatever the size of the segment. A token becomes a **fingerprint** there; fingerprint and
//! granule together are one number, and a block is the gaps between these numbers. Tokens of many
//! granules, whose numbers would be many, have a bit map instead.
//!
//! What always holds: a token of a granule is found in it. An absent token is found by mistake in
//! about one granule of 2^[`SPARSE_BITS`], whatever the number of granules, and then costs a granule
//! read for nothing.
//!
//! Bounds: granules that have more distinct tokens than the builder's caps are left out whole and
//! marked in the granule table, so no answer is ever taken from a part of one.

mod past;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::bits::{BitReader, BitWriter};
use crate::wire::{self, Malformed, Reader};

/// Shortest variable with letters that the filter holds.
const TOKEN_BYTES_MIN: usize = 6;

/// Shortest variable of digits alone that the filter holds. Shorter numbers are counters, times and
/// sizes for the most part: a third of all tokens, in many granules each, and seldom asked for.
const NUMBER_BYTES_MIN: usize = 8;

/// Tokens a block holds on average: about 6 KiB, one small read, decoded in 20 microseconds.
const BLOCK_TOKENS: u64 = 4_096;

/// An absent token is found in one granule of `2^SPARSE_BITS`. Each bit more costs an eighth of a
/// byte for every distinct token and halves what is read for nothing.
const SPARSE_BITS: u32 = 10;

/// Largest Rice parameter: gaps are far below.
const LOW_BITS_MAX: u32 = 40;

/// The filter's hash of a variable, or of an attribute spelled `name=value`.
pub(crate) fn token_hash(token: &[u8]) -> u64 {
    xxh3_64(token)
}

/// Whether the filter holds a variable, of digits alone or not: short ones are in nearly every
/// granule, and would double the filter to rule next to nothing out.
#[inline]
pub(crate) fn selective(variable: &[u8], plain: bool) -> bool {
    let bytes_min = if plain { NUMBER_BYTES_MIN } else { TOKEN_BYTES_MIN };
    bytes_min <= variable.len()
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

    /// Adds the distinct hashes of one granule, sorted; granules come in order.
    pub(crate) fn add(&mut self, granule: u32, hashes: impl Iterator<Item = u64>) {
        self.pairs.extend(hashes.map(|hash| (hash, granule)));
    }

    pub(crate) fn encode(mut self, granules: u32) -> EncodedFilter {
        // Stable, for it merges what comes sorted granule by granule.
        self.pairs.sort_by_key(|(hash, _)| *hash);
        let tokens = self.pairs.chunk_by(|a, b| a.0 == b.0).count() as u64;
        let shape = Shape { blocks: tokens.div_ceil(BLOCK_TOKENS).max(1), granules };
        let mut blocks = Vec::new();
        let mut directory = Vec::new();
        wire::put_varint(&mut directory, shape.blocks);
        let mut rest = &self.pairs[..];
        for block in 0..shape.blocks {
            let end = rest.partition_point(|(hash, _)| shape.block(*hash) == block);
            let encoded = encode_block(&rest[..end], shape);
            wire::put_varint(&mut directory, encoded.len() as u64);
            directory.extend_from_slice(&crc32c::crc32c(&encoded).to_le_bytes());
            blocks.extend_from_slice(&encoded);
            rest = &rest[end..];
        }
        EncodedFilter { blocks, directory, tokens }
    }
}

/// What places a hash: all of it follows from these two.
#[derive(Clone, Copy, Debug)]
struct Shape {
    blocks: u64,
    granules: u32,
}

impl Shape {
    /// Spreads hashes over blocks evenly and in order.
    fn block(self, hash: u64) -> u64 {
        ((u128::from(hash) * u128::from(self.blocks)) >> 64) as u64
    }

    /// What is left of a hash once its block is known, in order within the block.
    fn fingerprint(self, hash: u64) -> u64 {
        let rest = hash.wrapping_mul(self.blocks);
        ((u128::from(rest) * u128::from(self.fingerprints())) >> 64) as u64
    }

    /// Fingerprints of a block: the fewer granules there are, the more tell tokens apart.
    fn fingerprints(self) -> u64 {
        let granule_bits = u32::BITS - self.granules.saturating_sub(1).leading_zeros();
        BLOCK_TOKENS << SPARSE_BITS.saturating_sub(granule_bits)
    }

    fn number(self, fingerprint: u64, granule: u32) -> u64 {
        fingerprint * u64::from(self.granules) + u64::from(granule)
    }
}

/// Two counts, each with its Rice parameter; the gaps between numbers; gaps between the fingerprints
/// of the tokens with bit maps, each followed by its map.
fn encode_block(pairs: &[(u64, u32)], shape: Shape) -> Vec<u8> {
    let mut numbers: Vec<u64> = Vec::with_capacity(pairs.len());
    let mut maps: Vec<(u64, Vec<u32>)> = Vec::new();
    let same = |a: &(u64, u32), b: &(u64, u32)| shape.fingerprint(a.0) == shape.fingerprint(b.0);
    for token in pairs.chunk_by(same) {
        let fingerprint = shape.fingerprint(token[0].0);
        let listed = u64::from(SPARSE_BITS + 1) * token.len() as u64;
        let of_token = token.iter().map(|(_, granule)| *granule);
        if u64::from(shape.granules) + 24 < listed {
            maps.push((fingerprint, of_token.collect()));
            continue;
        }
        let start = numbers.len();
        numbers.extend(of_token.map(|granule| shape.number(fingerprint, granule)));
        numbers[start..].sort_unstable();
    }
    numbers.dedup();
    let range = shape.fingerprints();
    let low_bits = gap_bits(numbers.len(), range.saturating_mul(shape.granules.into()));
    let map_bits = gap_bits(maps.len(), range);
    let mut out = Vec::new();
    wire::put_varint(&mut out, numbers.len() as u64);
    wire::put_varint(&mut out, maps.len() as u64);
    out.extend([low_bits as u8, map_bits as u8]);
    let mut bits = BitWriter::default();
    let mut previous = 0;
    for number in numbers {
        bits.put_rice(number - previous, low_bits);
        previous = number;
    }
    let mut previous = 0;
    for (fingerprint, mut of_token) in maps {
        bits.put_rice(fingerprint - previous, map_bits);
        previous = fingerprint;
        of_token.sort_unstable();
        of_token.dedup();
        let mut next = of_token.iter().peekable();
        for granule in 0..shape.granules {
            bits.put(next.next_if(|next| **next == granule).is_some().into(), 1);
        }
    }
    out.append(&mut bits.finish());
    out
}

/// The best Rice parameter for `count` gaps that sum to `range`.
fn gap_bits(count: usize, range: u64) -> u32 {
    let mean = (range / count.max(1) as u64).max(2);
    // The parameter is best where the mean is about 1.4 times its power of two.
    (mean * 7 / 10).max(1).ilog2().min(LOW_BITS_MAX)
}

/// Where the blocks are: part of what opening a segment reads.
#[derive(Debug)]
pub(crate) struct FilterDirectory {
    /// End of each block within the filter, and its CRC32C.
    blocks: Vec<(u64, u32)>,
    format: u32,
}

/// A block's place within the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockRange {
    pub(crate) bytes: std::ops::Range<u64>,
    pub(crate) crc: u32,
}

impl FilterDirectory {
    /// The directory of a segment of `format`.
    pub(crate) fn decode(
        section: &[u8],
        filter_bytes: u64,
        format: u32,
    ) -> Result<Self, Malformed> {
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
        Ok(Self { blocks, format })
    }

    fn shape(&self, granules: u32) -> Shape {
        Shape { blocks: self.blocks.len() as u64, granules }
    }

    /// How many entries the whole filter holds: of a token at least one.
    pub(crate) fn entries(&self, filter: &[u8]) -> Result<u64, Malformed> {
        let mut entries = 0_u64;
        let mut start = 0;
        for (end, _) in &self.blocks {
            let block = filter.get(start as usize..*end as usize);
            let mut header = Reader::new(block.ok_or(Malformed("a block lies outside of it"))?);
            // Later formats count lists and maps of granules apart.
            let counts = if self.format == 1 { 1 } else { 2 };
            for _ in 0..counts {
                entries = entries.saturating_add(header.varint()?);
            }
            start = *end;
        }
        Ok(entries)
    }

    /// The block that would hold `hash`.
    pub(crate) fn block(&self, hash: u64) -> BlockRange {
        let block = self.shape(0).block(hash) as usize;
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
        if self.format == 1 {
            return past::lookup(block, self.blocks.len() as u64, hash, granules);
        }
        lookup(block, self.shape(granules), hash)
    }
}

fn lookup(block: &[u8], shape: Shape, hash: u64) -> Result<RoaringBitmap, Malformed> {
    let mut header = Reader::new(block);
    let (numbers, maps): (usize, usize) = (header.number()?, header.number()?);
    let (low_bits, map_bits) = (header.take(1)?[0].into(), header.take(1)?[0].into());
    if LOW_BITS_MAX < low_bits || LOW_BITS_MAX < map_bits {
        return Err(Malformed("a block's parameter is out of range"));
    }
    let fingerprint = shape.fingerprint(hash);
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
        let directory = FilterDirectory::decode(&encoded.directory, bytes, 2).unwrap();
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
            drop(past::lookup(&block, 3, hash, 2));
            drop(FilterDirectory::decode(&directory, 64, 2));
        }
    }

    #[test]
    fn is_small_and_rarely_wrong() {
        let mut next = 0_u64;
        let mut fresh = || {
            next += 1;
            token_hash(&next.to_le_bytes())
        };
        for count in [60, 190, 900] {
            let everywhere = fresh();
            let granules: Vec<Vec<u64>> = (0..count)
                .map(|_| [everywhere].into_iter().chain((0..300).map(|_| fresh())).collect())
                .collect();
            let filter = filter(&granules);
            let bytes = filter.encoded.blocks.len() + filter.encoded.directory.len();
            let per_token = bytes as f64 / filter.encoded.tokens as f64;
            assert!(per_token < 1.6, "{per_token} bytes a token");
            assert_eq!(filter.get(everywhere).len(), count);
            let wrong: usize = (0..2_000).map(|_| filter.get(fresh()).len()).sum();
            let expected = 2_000 * count / (1 << SPARSE_BITS);
            assert!(wrong < 2 * expected, "{wrong} granules of {count} for 2,000 absent tokens");
        }
    }

    #[test]
    fn a_segment_without_tokens_has_a_filter_too() {
        let filter = filter(&[vec![]]);
        assert!(filter.get(7).is_empty());
    }
}
