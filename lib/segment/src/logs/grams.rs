//! Grams of a granule's longest variables.
//!
//! An identifier that is searched for may be part of a longer variable, about which the token
//! filter says nothing. Variables longer than most identifiers are few, mostly. So of the longest,
//! [`GRAM`] bytes from every [`STRIDE`]th on are kept, as a Bloom filter (Bloom, "Space/Time
//! Trade-offs in Hash Coding with Allowable Errors", 1970). Wherever in such a variable the
//! identifier stands, the grams that lie within it are all there.
//!
//! What always holds: a granule that has a longer variable with the identifier in it may have it.
//!
//! Bounds: [`GRAMS_MAX`] and [`DIGEST_GRAMS_MAX`] for a granule of [`GRANULE_ROWS`] rows; when there
//! are more, the shortest variables are left out, and identifiers they could extend are not ruled
//! out.

use xxhash_rust::xxh3::xxh3_64;

use super::granule::GRANULE_ROWS;
use super::runs::LONG;
use crate::wire::{self, Malformed, Reader};

/// Bytes of a gram: most combinations of so many characters occur in no variable.
const GRAM: usize = 8;

/// Bytes from gram to gram: the most that puts a whole one into every identifier of [`LONG`] bytes.
const STRIDE: usize = 6;

/// Variables longer than this are digests more than identifiers: forty hexadecimal digits are 160
/// bits.
const IDENTIFIER_BYTES: usize = 40;

/// Grams of identifiers for [`GRANULE_ROWS`] rows; 5 KiB, a fortieth of what the rows take. Twice as
/// many would take in trace ids, which are in every granule of many logs.
const GRAMS_MAX: usize = 4_096;

/// Grams of digests for [`GRANULE_ROWS`] rows: few granules are full of them.
const DIGEST_GRAMS_MAX: usize = 16_384;

const GRAMS_OF: [usize; 2] = [GRAMS_MAX, DIGEST_GRAMS_MAX];

/// Bits of the filter for each gram, and how many of them a gram sets: one absent gram of eighty
/// seems to be there.
const BITS_PER_GRAM: usize = 10;
const BITS_SET: u64 = 4;

/// Longer variables are of one class: kept all or not at all.
const LENGTH_MAX: usize = 64;

/// Collects the grams of one granule.
#[derive(Debug)]
pub(crate) struct GramsBuilder {
    /// Rows of a granule, in units of [`GRANULE_ROWS`].
    scale: usize,
    above: usize,
    /// By the variable's length, up to [`LENGTH_MAX`].
    by_length: Vec<Vec<[u8; GRAM]>>,
    /// Grams of identifiers and of digests.
    counts: [usize; 2],
}

/// The grams of one granule. Since format 4; before, every one was possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grams {
    /// Of variables longer than so many bytes the grams are here.
    above: u32,
    filter: Box<[u8]>,
}

impl GramsBuilder {
    /// For granules of so many rows.
    pub(crate) fn new(granule_rows: usize) -> Self {
        Self {
            scale: granule_rows.div_ceil(GRANULE_ROWS),
            above: LONG,
            by_length: vec![Vec::new(); LENGTH_MAX + 1],
            counts: [0; 2],
        }
    }

    /// Takes a variable.
    #[inline]
    pub(crate) fn insert(&mut self, variable: &[u8]) {
        if self.above < variable.len() {
            self.insert_long(variable);
        }
    }

    fn insert_long(&mut self, variable: &[u8]) {
        let digest = IDENTIFIER_BYTES < variable.len();
        let class = &mut self.by_length[variable.len().min(LENGTH_MAX)];
        let before = class.len();
        class.extend(grams_from(variable, 0).take(self.scale * DIGEST_GRAMS_MAX + 1));
        let count = &mut self.counts[usize::from(digest)];
        *count += class.len() - before;
        if self.scale * GRAMS_OF[usize::from(digest)] < *count {
            self.make_room();
        }
    }

    /// Gives up the shortest variables; an eighth is left free, so that this is seldom done.
    fn make_room(&mut self) {
        self.by_length.iter_mut().for_each(dedup);
        let grams = |lengths: &[Vec<_>]| lengths.iter().map(Vec::len).sum();
        let (identifiers, digests) = self.by_length.split_at(IDENTIFIER_BYTES + 1);
        self.counts = [grams(identifiers), grams(digests)];
        let full = |counts: [usize; 2]| {
            (0..2).any(|kind| self.scale * GRAMS_OF[kind] / 8 * 7 < counts[kind])
        };
        while full(self.counts) {
            self.above += 1;
            let digest = IDENTIFIER_BYTES < self.above;
            self.counts[usize::from(digest)] -= self.by_length[self.above].len();
            self.by_length[self.above].clear();
            if self.above == LENGTH_MAX {
                self.above = usize::MAX;
            }
        }
    }

    /// Ends the granule.
    pub(crate) fn end_granule(&mut self) -> Grams {
        let above = u32::try_from(self.above).unwrap_or(u32::MAX);
        let mut grams: Vec<_> = self.by_length.iter_mut().flat_map(|c| c.drain(..)).collect();
        (self.above, self.counts) = (LONG, [0; 2]);
        dedup(&mut grams);
        let mut filter = vec![0; (BITS_PER_GRAM * grams.len()).div_ceil(8)].into_boxed_slice();
        for gram in &grams {
            for bit in bits(gram, filter.len()) {
                filter[bit / 8] |= 1 << (bit % 8);
            }
        }
        Grams { above, filter }
    }
}

fn dedup(grams: &mut Vec<[u8; GRAM]>) {
    grams.sort_unstable();
    grams.dedup();
}

/// The grams that begin at `start` and every [`STRIDE`] bytes on.
fn grams_from(text: &[u8], start: usize) -> impl Iterator<Item = [u8; GRAM]> {
    let windows = text.windows(GRAM).skip(start).step_by(STRIDE);
    windows.filter_map(|window| window.try_into().ok())
}

/// A gram's bits in a filter of `bytes` bytes.
fn bits(gram: &[u8; GRAM], bytes: usize) -> impl Iterator<Item = usize> {
    let hash = xxh3_64(gram);
    let step = hash.rotate_left(32) | 1;
    (0..BITS_SET).map(move |n| {
        let place = hash.wrapping_add(step.wrapping_mul(n));
        ((u128::from(place) * (8 * bytes as u128)) >> 64) as usize
    })
}

impl Grams {
    /// What formats without grams say.
    pub(crate) fn unknown() -> Self {
        Self { above: u32::MAX, filter: Box::default() }
    }

    /// Whether a variable longer than `identifier` may contain it.
    pub(crate) fn may_extend(&self, identifier: &[u8]) -> bool {
        if identifier.len() < self.above as usize {
            return true;
        }
        // As many ways as the identifier can lie between grams.
        (0..STRIDE).any(|start| grams_from(identifier, start).all(|gram| self.has(&gram)))
    }

    fn has(&self, gram: &[u8; GRAM]) -> bool {
        let set = |bit: usize| self.filter.get(bit / 8).is_some_and(|b| b >> (bit % 8) & 1 == 1);
        bits(gram, self.filter.len()).all(set)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        wire::put_varint(out, self.above.into());
        wire::put_bytes(out, &self.filter);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let above: u32 = reader.number()?;
        if (above as usize) < LONG {
            return Err(Malformed("its grams are of variables too short for them"));
        }
        Ok(Self { above, filter: reader.bytes()?.into() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grams(variables: &[String]) -> Grams {
        let mut builder = GramsBuilder::new(1);
        variables.iter().for_each(|variable| builder.insert(variable.as_bytes()));
        builder.end_granule()
    }

    fn half(n: u64) -> u64 {
        xxh3_64(&n.to_le_bytes())
    }

    fn hex(n: u64) -> String {
        format!("{:016x}{:016x}{:016x}", half(n), half(n + 1_000_000), half(n + 2_000_000))
    }

    #[test]
    fn an_identifier_is_found_in_longer_ones_and_hardly_elsewhere() {
        let long: Vec<String> = (0..300).map(hex).collect();
        let grams = grams(&long);
        for variable in &long {
            for start in 0..=16 {
                assert!(grams.may_extend(&variable.as_bytes()[start..start + 32]));
            }
        }
        let others = (1_000..2_000).map(hex);
        let wrong = others.filter(|other| grams.may_extend(&other.as_bytes()[..20])).count();
        assert!(wrong < 20, "{wrong} of 1,000");
        assert!(grams.may_extend(b"0123456789abcde"), "short ones are not ruled out");
    }

    #[test]
    fn too_many_leave_the_longest() {
        let mut variables: Vec<String> = (0..10).map(hex).collect();
        variables.extend((10..16_000).map(|n| format!("{:016x}{:04x}", half(n), n)));
        let grams = grams(&variables);
        assert!(grams.filter.len() <= GRAMS_MAX * BITS_PER_GRAM / 8);
        let absent = hex(19_000);
        assert!(grams.may_extend(&absent.as_bytes()[..19]), "one of twenty may extend it");
        assert!(!grams.may_extend(&absent.as_bytes()[..32]), "and cannot extend this");
        assert!(grams.may_extend(&variables[3].as_bytes()[7..40]));
    }

    #[test]
    fn a_granule_full_of_digests_rules_identifiers_out() {
        let digests: Vec<String> = (0..2_000).map(hex).collect();
        let mut variables = digests.clone();
        variables.extend((0..400).map(|n| format!("{:016x}{:04x}", half(n), n)));
        let grams = grams(&variables);
        let absent = (9_000..9_100).map(hex);
        let wrong = absent.filter(|id| grams.may_extend(&id.as_bytes()[..32])).count();
        assert!(wrong < 5, "{wrong} of 100");
        assert!(digests.iter().all(|digest| grams.may_extend(&digest.as_bytes()[5..37])));
    }

    #[test]
    fn a_granule_of_blobs_rules_nothing_out() {
        let blob = (0..4_000).map(hex).collect::<String>();
        assert!(grams(&[blob]).may_extend(hex(3_000).as_bytes()));
    }

    proptest! {
        #[test]
        fn a_longer_variable_is_never_ruled_out(
            (before, identifier, after) in ("[0-9a-z]{0,9}", "[0-9a-z]{10,70}", "[0-9a-z]{0,9}"),
            others in prop::collection::vec("[0-9a-f]{10,40}", 0..400),
        ) {
            let whole = format!("{before}{identifier}{after}");
            let extended = whole.len() != identifier.len();
            let mut variables = others;
            variables.insert(variables.len() / 2, whole);
            let grams = grams(&variables);
            prop_assert!(!extended || grams.may_extend(identifier.as_bytes()));
            let mut bytes = Vec::new();
            grams.encode(&mut bytes);
            prop_assert_eq!(Grams::decode(&mut Reader::new(&bytes)), Ok(grams));
        }
    }
}
