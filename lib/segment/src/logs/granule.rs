//! The granule table: what each granule of a segment holds, and where its pages are.
//!
//! A **granule** is [`GRANULE_ROWS`] consecutive rows (the last may have fewer) and exactly one
//! page in every column: the unit of pruning, fetching and decoding. The table is part of what
//! opening a segment reads, so pruning by time and stream costs no further read.
//!
//! What always holds: rows are sorted by stream, then time, and every stream number up to the
//! last has a row, so a granule's streams are exactly the range its first and last row span.

use std::ops::{Range, RangeInclusive};

use super::columns::LINES;
use super::grams::Grams;
use super::runs::Runs;
use crate::wire::{self, Malformed, Reader};

/// Rows of a granule. More make pages compress better, and make every read that needs one row of
/// them dearer.
pub const GRANULE_ROWS: usize = 8_192;

/// Most rows a granule may have in any segment, so that a reader's batches are bounded.
pub(crate) const GRANULE_ROWS_MAX: usize = 65_536;

/// What pruning knows of a granule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granule {
    pub(crate) rows: u32,
    /// Both inclusive, ns.
    pub(crate) time_min: i64,
    pub(crate) time_max: i64,
    pub(crate) streams: RangeInclusive<u32>,
    pub(crate) lengths: LengthSet,
    pub(crate) runs: Runs,
    pub(crate) grams: Grams,
    pub(crate) complete: Complete,
    /// Whether it is known that its rows have no attribute without a column of its own, but for the
    /// level. Since format 6.
    pub(crate) rest_empty: bool,
}

/// Bit of [`Granule::rest_empty`] beside those of [`Complete`].
const REST_EMPTY: u8 = 8;

/// Which lengths in bytes a granule's variables have: bit `n` for length `n + 1`, the last bit for
/// all longer ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LengthSet(pub(crate) u64);

/// Which of a granule's side tables hold everything they should. One that does not says nothing:
/// the granule is a candidate for whatever it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Complete {
    pub(crate) words: bool,
    pub(crate) fragments: bool,
    pub(crate) tokens: bool,
}

/// A page's place and checksum, the Parquet file's start being 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    pub(crate) crc: u32,
}

/// First format that says what of a page of variables comes before its groups.
const HEADS_SINCE: u32 = 8;

/// What of a page of variables comes before its groups: with it, a reader knows which of them it
/// needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) bytes: u32,
    pub(crate) crc: u32,
}

/// All granules, and their pages by leaf column.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GranuleTable {
    /// Rows of every granule but the last: [`GRANULE_ROWS`], except in tests.
    pub(crate) granule_rows: usize,
    /// Bytes of all lines.
    pub(crate) raw_bytes: u64,
    pub(crate) granules: Vec<Granule>,
    /// `pages[column][granule]`, in the order of the Parquet schema's leaves.
    pub(crate) pages: Vec<Vec<Page>>,
    /// By granule; none up to format 7.
    pub(crate) heads: Vec<Head>,
}

impl Page {
    /// The page's place in the section of the columns.
    pub(crate) fn range(self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.bytes)
    }
}

impl GranuleTable {
    /// Where a granule's variables begin, up to their groups.
    pub(crate) fn head_range(&self, granule: u32) -> Option<Range<u64>> {
        let head = self.heads.get(granule as usize)?;
        let offset = self.pages.get(LINES)?.get(granule as usize)?.offset;
        Some(offset..offset + u64::from(head.bytes))
    }
}

impl LengthSet {
    pub(crate) fn insert(&mut self, bytes: usize) {
        self.0 |= 1 << Self::bit(bytes);
    }

    /// Whether there may be a token longer than `bytes`.
    pub(crate) fn has_longer(self, bytes: usize) -> bool {
        match Self::bit(bytes) {
            63 => self.0 >> 63 == 1,
            bit => 0 < self.0 >> (bit + 1),
        }
    }

    /// Whether there may be a token of at least `bytes`.
    pub(crate) fn has_at_least(self, bytes: usize) -> bool {
        0 < self.0 >> Self::bit(bytes)
    }

    fn bit(bytes: usize) -> usize {
        bytes.clamp(1, 64) - 1
    }
}

impl Complete {
    pub(crate) const ALL: Self = Self { words: true, fragments: true, tokens: true };

    fn bits(self) -> u8 {
        u8::from(self.words) | u8::from(self.fragments) << 1 | u8::from(self.tokens) << 2
    }

    fn from_bits(bits: u8) -> Self {
        Self { words: bits & 1 != 0, fragments: bits & 2 != 0, tokens: bits & 4 != 0 }
    }
}

impl Granule {
    pub(crate) fn overlaps(&self, start_ns: i64, end_ns: i64) -> bool {
        start_ns <= self.time_max && self.time_min < end_ns
    }

    fn encode(&self, out: &mut Vec<u8>) {
        wire::put_varint(out, self.rows.into());
        wire::put_signed(out, self.time_min);
        wire::put_varint(out, self.time_max.wrapping_sub(self.time_min) as u64);
        wire::put_varint(out, (*self.streams.start()).into());
        wire::put_varint(out, (self.streams.end() - self.streams.start()).into());
        out.extend_from_slice(&self.lengths.0.to_le_bytes());
        out.push(self.complete.bits() | if self.rest_empty { REST_EMPTY } else { 0 });
        self.runs.encode(out);
        self.grams.encode(out);
    }

    fn decode(reader: &mut Reader<'_>, format: u32) -> Result<Self, Malformed> {
        let rows = reader.number()?;
        let time_min = reader.signed()?;
        let time_max = time_min.wrapping_add(reader.varint()? as i64);
        let first: u32 = reader.number()?;
        let last = first.checked_add(reader.number()?).ok_or(Malformed("a stream is too far"))?;
        let lengths = LengthSet(reader.fixed_u64()?);
        let bits = reader.take(1)?[0];
        let (complete, rest_empty) = (Complete::from_bits(bits), bits & REST_EMPTY != 0);
        let runs = if format < 3 { Runs::UNKNOWN } else { Runs::decode(reader)? };
        let grams = if format < 4 { Grams::unknown() } else { Grams::decode(reader)? };
        if rows == 0 || time_max < time_min {
            return Err(Malformed("a granule contradicts itself"));
        }
        let streams = first..=last;
        Ok(Self { rows, time_min, time_max, streams, lengths, runs, grams, complete, rest_empty })
    }
}

impl GranuleTable {
    /// Rows of the segment.
    pub(crate) fn rows(&self) -> u64 {
        self.granules.iter().map(|granule| u64::from(granule.rows)).sum()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_varint(&mut out, self.granule_rows as u64);
        wire::put_varint(&mut out, self.raw_bytes);
        wire::put_varint(&mut out, self.granules.len() as u64);
        self.granules.iter().for_each(|granule| granule.encode(&mut out));
        wire::put_varint(&mut out, self.pages.len() as u64);
        for column in &self.pages {
            wire::put_varint(&mut out, column.first().map_or(0, |page| page.offset));
            for page in column {
                wire::put_varint(&mut out, page.bytes.into());
                out.extend_from_slice(&page.crc.to_le_bytes());
            }
        }
        for head in &self.heads {
            wire::put_varint(&mut out, head.bytes.into());
            out.extend_from_slice(&head.crc.to_le_bytes());
        }
        out
    }

    /// `columns_bytes` is the length of the section all pages must lie in.
    pub(crate) fn decode(
        section: &[u8],
        columns_bytes: u64,
        format: u32,
    ) -> Result<Self, Malformed> {
        let mut reader = Reader::new(section);
        let granule_rows: usize = reader.number()?;
        let raw_bytes = reader.varint()?;
        let count = reader.count(14)?;
        if count == 0 || u32::try_from(count).is_err() || GRANULE_ROWS_MAX < granule_rows {
            return Err(Malformed("it has no granule, or one that is too large"));
        }
        let granules = (0..count)
            .map(|_| Granule::decode(&mut reader, format))
            .collect::<Result<Vec<_>, _>>()?;
        let full = granules.iter().rev().skip(1).all(|g| g.rows as usize == granule_rows);
        if !full || granules.iter().any(|g| granule_rows < g.rows as usize) {
            return Err(Malformed("a granule before the last is not full"));
        }
        let columns = reader.count(5 * count)?;
        let mut pages = Vec::with_capacity(columns);
        for _ in 0..columns {
            pages.push(decode_pages(&mut reader, count, columns_bytes)?);
        }
        let heads = match format {
            HEADS_SINCE.. => decode_heads(&mut reader, pages.get(LINES))?,
            _ => Vec::new(),
        };
        reader.finish()?;
        Ok(Self { granule_rows, raw_bytes, granules, pages, heads })
    }
}

fn decode_pages(
    reader: &mut Reader<'_>,
    count: usize,
    columns_bytes: u64,
) -> Result<Vec<Page>, Malformed> {
    let mut offset = reader.varint()?;
    let mut pages = Vec::with_capacity(count);
    for _ in 0..count {
        let page = Page { offset, bytes: reader.number()?, crc: reader.fixed_u32()? };
        offset = offset
            .checked_add(page.bytes.into())
            .filter(|end| *end <= columns_bytes)
            .ok_or(Malformed("a page lies outside the columns"))?;
        pages.push(page);
    }
    Ok(pages)
}

fn decode_heads(
    reader: &mut Reader<'_>,
    pages: Option<&Vec<Page>>,
) -> Result<Vec<Head>, Malformed> {
    let pages = pages.ok_or(Malformed("it has no pages of variables"))?;
    let head = |page: &Page| {
        let head = Head { bytes: reader.number()?, crc: reader.fixed_u32()? };
        let within = head.bytes <= page.bytes;
        within.then_some(head).ok_or(Malformed("a page's head is larger than the page"))
    };
    pages.iter().map(head).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::logs::sections::FORMAT_VERSION;

    fn granule(rows: u32) -> Granule {
        Granule {
            rows,
            time_min: i64::MIN,
            time_max: i64::MAX,
            streams: 3..=9,
            lengths: LengthSet(1 << 63 | 5),
            runs: Runs::UNKNOWN,
            grams: Grams::unknown(),
            complete: Complete { words: true, fragments: false, tokens: true },
            rest_empty: rows == 1,
        }
    }

    #[test]
    fn a_table_survives_its_bytes() {
        let page = |offset| Page { offset, bytes: 10, crc: 0xdead_beef };
        let head = |bytes| Head { bytes, crc: 0xfeed_beef };
        let mut table = GranuleTable {
            granule_rows: GRANULE_ROWS,
            raw_bytes: 1 << 40,
            granules: vec![granule(GRANULE_ROWS as u32), granule(1)],
            pages: (0..5).map(|column| vec![page(20 * column), page(20 * column + 10)]).collect(),
            heads: vec![head(0), head(10)],
        };
        let bytes = table.encode();
        assert_eq!(GranuleTable::decode(&bytes, 100, FORMAT_VERSION).unwrap(), table);
        assert!(GranuleTable::decode(&bytes, 99, FORMAT_VERSION).is_err(), "a page past the end");
        for cut in 0..bytes.len() {
            assert!(GranuleTable::decode(&bytes[..cut], 100, FORMAT_VERSION).is_err());
        }
        table.heads[1].bytes = 11;
        let bytes = table.encode();
        assert!(GranuleTable::decode(&bytes, 100, FORMAT_VERSION).is_err(), "a head past its page");
    }

    proptest! {
        #[test]
        fn lengths_never_deny_what_is_there(
            lengths in prop::collection::vec(1_usize..200, 0..5),
            asked in 1_usize..200,
        ) {
            let mut set = LengthSet::default();
            lengths.iter().for_each(|length| set.insert(*length));
            if lengths.iter().any(|length| asked < *length) {
                prop_assert!(set.has_longer(asked));
            }
            if lengths.iter().any(|length| asked <= *length) {
                prop_assert!(set.has_at_least(asked));
            }
            if asked < 64 && lengths.iter().all(|length| *length <= asked) {
                prop_assert!(!set.has_longer(asked));
            }
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            (1..=FORMAT_VERSION).for_each(|format| {
                drop(GranuleTable::decode(&bytes, 1_000, format));
            });
        }
    }
}
