//! Which granules may hold a token, by hash: about a byte and a half per distinct token.
//!
//! Holds every variable that is [`selective`], and every attribute as `name=value`.
//! Tokens are spread by hash over blocks of about [`BLOCK_TOKENS`], so a lookup reads one block
//! whatever the size of the segment. A token becomes a **fingerprint** there. Most tokens are in one
//! granule: fingerprint and granule together are one number, and the block has the gaps between
//! these. A token of several granules has a wider fingerprint, since a token that is mistaken for it
//! costs as many granules, and a list of them.
//!
//! What always holds: a token of a granule is found in it. An absent token is found by mistake in
//! about one granule of 2^[`ALONE_BITS`], whatever the number of granules, and then costs a granule
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

/// Tokens a block holds on average: about 3 KiB, one small read.
const BLOCK_TOKENS: u64 = 2_048;

/// An absent token is mistaken for one of a single granule in one granule of `2^ALONE_BITS`. Each
/// bit more costs an eighth of a byte for every such token and halves what is read for nothing.
const ALONE_BITS: u32 = 11;

/// An absent token is mistaken for one of several granules in one segment of `2^SHARED_BITS`.
const SHARED_BITS: u32 = 12;

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

/// Whether the filter holds a token, be it a variable or not.
pub(crate) fn holds(token: &[u8]) -> bool {
    let digits = token.iter().filter(|byte| byte.is_ascii_digit()).count();
    digits != 0 && selective(token, digits == token.len())
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
    /// Of all granules, one after the other.
    hashes: Vec<u64>,
    /// Each granule, and where its hashes end.
    granules: Vec<(u32, usize)>,
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
        self.hashes.len()
    }

    /// Makes room for so many tokens to come, of different granules.
    pub(crate) fn reserve(&mut self, tokens: usize) {
        self.hashes.reserve(tokens);
    }

    /// Adds hashes of one granule, which may repeat.
    pub(crate) fn add(&mut self, granule: u32, hashes: impl Iterator<Item = u64>) {
        self.hashes.extend(hashes);
        self.granules.push((granule, self.hashes.len()));
    }

    pub(crate) fn encode(self, granules: u32) -> EncodedFilter {
        let pairs = self.sorted();
        let tokens = pairs.chunk_by(|a, b| a.0 == b.0).count() as u64;
        let shape = Shape { blocks: tokens.div_ceil(BLOCK_TOKENS).max(1), granules };
        let mut blocks = Vec::new();
        let mut directory = Vec::new();
        wire::put_varint(&mut directory, shape.blocks);
        let mut rest = &pairs[..];
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

    /// The distinct pairs by hash, then granule. Hashes are as good as random, so dealing them out by
    /// their upper bits leaves a few in each place.
    fn sorted(self) -> Vec<(u64, u32)> {
        const PAIRS_A_PLACE: usize = 64;
        let bits = (self.hashes.len() / PAIRS_A_PLACE).max(2).ilog2();
        let place = |hash: u64| (hash >> (u64::BITS - bits)) as usize;
        let mut ends = vec![0; 1 << bits];
        self.hashes.iter().for_each(|hash| ends[place(*hash)] += 1);
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        let mut sorted = vec![(0, 0); self.hashes.len()];
        let mut from = 0;
        for (granule, to) in self.granules {
            for hash in &self.hashes[from..to] {
                let end = &mut ends[place(*hash)];
                sorted[*end] = (*hash, granule);
                *end += 1;
            }
            from = to;
        }
        let mut start = 0;
        for end in ends {
            sorted[start..end].sort_unstable();
            start = end;
        }
        sorted.dedup();
        sorted
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
    fn fingerprint(self, hash: u64, fingerprints: u64) -> u64 {
        let rest = hash.wrapping_mul(self.blocks);
        ((u128::from(rest) * u128::from(fingerprints)) >> 64) as u64
    }

    /// Fingerprints of a block for tokens of one granule: the fewer granules there are, the more
    /// tell tokens apart.
    fn alone(self) -> u64 {
        BLOCK_TOKENS << ALONE_BITS.saturating_sub(self.granule_bits())
    }

    /// Bits of the largest granule's number.
    fn granule_bits(self) -> u32 {
        u32::BITS - self.granules.saturating_sub(1).leading_zeros()
    }

    /// Fingerprints of a block for tokens of several granules.
    fn shared(self) -> u64 {
        BLOCK_TOKENS << SHARED_BITS
    }

    fn number(self, fingerprint: u64, granule: u32) -> u64 {
        fingerprint * u64::from(self.granules) + u64::from(granule)
    }

    /// The Rice parameter of a list of so many granules. Of a token that is in nearly all of them, a
    /// list takes little more than a bit for each.
    fn list_bits(self, count: u64) -> u32 {
        gap_bits(count as usize + 1, self.granules.into())
    }
}

fn encode_block(pairs: &[(u64, u32)], shape: Shape) -> Vec<u8> {
    let mut numbers: Vec<u64> = Vec::with_capacity(pairs.len());
    let mut shared: Vec<&[(u64, u32)]> = Vec::new();
    for token in pairs.chunk_by(|a, b| a.0 == b.0) {
        match token {
            [(hash, granule)] => {
                let fingerprint = shape.fingerprint(*hash, shape.alone());
                numbers.push(shape.number(fingerprint, *granule));
            }
            _ => shared.push(token),
        }
    }
    // Tokens of one fingerprint come by their hashes, not their granules.
    numbers.sort_unstable();
    numbers.dedup();
    let range = shape.alone().saturating_mul(shape.granules.into());
    let alone_bits = gap_bits(numbers.len(), range);
    let shared_bits = gap_bits(shared.len(), shape.shared());
    let alone = encode_alone(&numbers, alone_bits);
    let mut out = Vec::new();
    wire::put_varint(&mut out, numbers.len() as u64);
    wire::put_varint(&mut out, shared.len() as u64);
    wire::put_varint(&mut out, alone.len() as u64);
    out.extend([alone_bits as u8, shared_bits as u8]);
    out.extend_from_slice(&alone);
    out.extend_from_slice(&encode_shared(&shared, shared_bits, shape));
    out
}

/// The gaps between numbers.
fn encode_alone(numbers: &[u64], low_bits: u32) -> Vec<u8> {
    let mut bits = BitWriter::default();
    let mut previous = 0;
    for number in numbers {
        bits.put_rice(number - previous, low_bits);
        previous = *number;
    }
    bits.finish()
}

/// The gaps between fingerprints, each followed by how many granules the token has and their gaps.
fn encode_shared(tokens: &[&[(u64, u32)]], low_bits: u32, shape: Shape) -> Vec<u8> {
    let mut bits = BitWriter::default();
    let mut previous = 0;
    for token in tokens {
        let fingerprint = shape.fingerprint(token[0].0, shape.shared());
        bits.put_rice(fingerprint - previous, low_bits);
        previous = fingerprint;
        let count = token.len() as u64;
        bits.put_gamma(count - 1);
        let list_bits = shape.list_bits(count);
        let mut next = 0;
        for (_, granule) in *token {
            bits.put_rice(u64::from(granule - next), list_bits);
            next = granule + 1;
        }
    }
    bits.finish()
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
            // Later formats count tokens of many granules apart.
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
        let shape = self.shape(granules);
        match self.format {
            1 => past::lookup_of_format_1(block, shape, hash),
            2..=4 => past::lookup_with_maps(block, shape, hash),
            _ => lookup(block, shape, hash),
        }
    }
}

fn lookup(block: &[u8], shape: Shape, hash: u64) -> Result<RoaringBitmap, Malformed> {
    let mut header = Reader::new(block);
    let (numbers, shared): (usize, usize) = (header.number()?, header.number()?);
    let alone_bytes: usize = header.number()?;
    let (alone_bits, shared_bits) = (header.take(1)?[0].into(), header.take(1)?[0].into());
    if LOW_BITS_MAX < alone_bits || LOW_BITS_MAX < shared_bits {
        return Err(Malformed("a block's parameter is out of range"));
    }
    let mut found = RoaringBitmap::new();
    let mut bits = BitReader::new(header.take(alone_bytes)?);
    let first = shape.number(shape.fingerprint(hash, shape.alone()), 0);
    let end = first + u64::from(shape.granules);
    let mut number = 0_u64;
    for _ in 0..numbers {
        number = number.saturating_add(bits.take_rice(alone_bits)?);
        if end <= number {
            break;
        }
        if first <= number {
            found.insert((number - first) as u32);
        }
    }
    let mut bits = BitReader::new(header.into_rest());
    let wanted = shape.fingerprint(hash, shape.shared());
    let mut fingerprint = 0_u64;
    for _ in 0..shared {
        fingerprint = fingerprint.saturating_add(bits.take_rice(shared_bits)?);
        if wanted < fingerprint {
            break;
        }
        let count = bits.take_gamma()?.saturating_add(1);
        if u64::from(shape.granules) < count {
            return Err(Malformed("a token has more granules than there are"));
        }
        let list_bits = shape.list_bits(count);
        let mut next = 0;
        for _ in 0..count {
            let granule = bits.take_rice(list_bits)?.saturating_add(next);
            if u64::from(shape.granules) <= granule {
                return Err(Malformed("it names a granule that is not there"));
            }
            next = granule + 1;
            if fingerprint == wanted {
                found.insert(granule as u32);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::logs::sections::FORMAT_VERSION;

    struct Filter {
        encoded: EncodedFilter,
        directory: FilterDirectory,
        granules: u32,
    }

    fn filter(granules: &[Vec<u64>]) -> Filter {
        let mut builder = TokenFilterBuilder::default();
        for (granule, hashes) in granules.iter().enumerate() {
            // Some repeat, and none comes in order.
            builder.add(granule as u32, hashes.iter().chain(hashes).rev().copied());
        }
        let granules = granules.len() as u32;
        let encoded = builder.encode(granules);
        let bytes = encoded.blocks.len() as u64;
        let directory = FilterDirectory::decode(&encoded.directory, bytes, FORMAT_VERSION).unwrap();
        Filter { encoded, directory, granules }
    }

    impl Filter {
        fn get(&self, hash: u64) -> Vec<u32> {
            let range = self.directory.block(hash);
            let block = &self.encoded.blocks[range.bytes.start as usize..range.bytes.end as usize];
            assert_eq!(crc32c::crc32c(block), range.crc);
            self.directory.lookup(block, hash, self.granules).unwrap().iter().collect()
        }

        fn bytes_per_token(&self) -> f64 {
            let bytes = self.encoded.blocks.len() + self.encoded.directory.len();
            bytes as f64 / self.encoded.tokens as f64
        }

        /// Looks up what is not there.
        fn is_rarely_wrong(&self, mut absent: impl FnMut() -> u64) {
            let wrong: usize = (0..1_000).map(|_| self.get(absent()).len()).sum();
            let expected = 1_000 * self.granules as usize / (1 << ALONE_BITS);
            assert!(wrong < 2 * expected, "{wrong} of {} for 1,000 absent ones", self.granules);
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
            drop(past::lookup_of_format_1(&block, Shape { blocks: 3, granules: 2 }, hash));
            drop(past::lookup_with_maps(&block, Shape { blocks: 3, granules: 2 }, hash));
            drop(FilterDirectory::decode(&directory, 64, FORMAT_VERSION));
        }
    }

    /// Hashes of tokens, none twice.
    fn hashes() -> impl FnMut() -> u64 {
        let mut next = 0_u64;
        move || {
            next += 1;
            token_hash(&next.to_le_bytes())
        }
    }

    #[test]
    fn is_small_and_rarely_wrong() {
        let mut fresh = hashes();
        for count in [60, 190, 900] {
            let everywhere = fresh();
            let granules: Vec<Vec<u64>> = (0..count)
                .map(|_| [everywhere].into_iter().chain((0..300).map(|_| fresh())).collect())
                .collect();
            let filter = filter(&granules);
            assert!(filter.bytes_per_token() < 1.6, "{} bytes a token", filter.bytes_per_token());
            assert_eq!(filter.get(everywhere).len(), count);
            filter.is_rarely_wrong(&mut fresh);
        }
    }

    /// Traces go through several services: their tokens are in as many granules.
    #[test]
    fn tokens_of_several_granules_are_not_mistaken_for_absent_ones() {
        let mut fresh = hashes();
        for (count, shared_by) in [(31, 6), (31, 20), (350, 6)] {
            let mut granules = vec![Vec::new(); count];
            for token in 0..8_000 {
                let hash = fresh();
                (0..shared_by).for_each(|n| granules[(token * 7 + n * 3) % count].push(hash));
            }
            let granules: Vec<Vec<u64>> = granules
                .into_iter()
                .map(|hashes| hashes.into_iter().collect::<BTreeSet<u64>>().into_iter().collect())
                .collect();
            let filter = filter(&granules);
            filter.is_rarely_wrong(&mut fresh);
            let bits_max = shared_by.min(count - shared_by) as f64 * 8.0 + 24.0;
            assert!(filter.bytes_per_token() < bits_max / 8.0, "{}", filter.bytes_per_token());
        }
    }

    #[test]
    fn a_segment_without_tokens_has_a_filter_too() {
        let filter = filter(&[vec![]]);
        assert!(filter.get(7).is_empty());
    }
}
