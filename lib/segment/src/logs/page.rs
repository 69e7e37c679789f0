//! Decoding one page of a column of numbers, without a Parquet reader.
//!
//! Setting up a Parquet reader costs more than decoding the 8,192 numbers of a page, and a scan
//! reads thousands of pages. So the columns that decide rows (time, stream, level, pattern) are
//! decoded here: the page's header (Thrift's compact protocol), zstd, then PLAIN,
//! BYTE_STREAM_SPLIT or DELTA_BINARY_PACKED. And a granule's variables, which are one value, are
//! found here without being copied.
//!
//! What always holds: what a page says is checked before it is believed, so any bytes give numbers
//! or [`Malformed`]; a page of another encoding, page kind or compression gives `None`, and the
//! caller asks Parquet.
//!
//! Bounds: a page decompresses to at most [`ROW_BYTES_MAX`] bytes a row.

use bytes::Bytes;

use super::granule::GRANULE_ROWS_MAX;
use crate::wire::Malformed;

/// Bytes a number may take in a page before compression: eight, and the heads of packed blocks.
const ROW_BYTES_MAX: usize = 16;

/// Room for heads of pages with few rows.
const PAGE_BYTES_SPARE: usize = 4_096;

/// Nesting of Thrift structures that are skipped; Parquet's have two levels.
const THRIFT_DEPTH_MAX: usize = 8;

const CUT_SHORT: Malformed = Malformed("a page is cut short");
const NOT_THE_ROWS: Malformed = Malformed("a page does not hold the rows of its granule");

/// Decompresses pages; keeps zstd's tables and the buffer from page to page.
pub(crate) struct PageDecoder {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    plain: Vec<u8>,
}

impl std::fmt::Debug for PageDecoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PageDecoder").finish_non_exhaustive()
    }
}

impl PageDecoder {
    pub(crate) fn new() -> Self {
        Self { zstd: zstd::bulk::Decompressor::new().ok(), plain: Vec::new() }
    }

    /// The numbers of a page of a required 32-bit column.
    pub(crate) fn numbers(
        &mut self,
        page: &[u8],
        rows: usize,
    ) -> Result<Option<Vec<u32>>, Malformed> {
        let Some((encoding, plain)) = self.open(page, rows)? else { return Ok(None) };
        match encoding {
            PLAIN => {
                let words = plain.get(..rows * 4).ok_or(CUT_SHORT)?.chunks_exact(4);
                let word = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes);
                Ok(Some(words.map(word).collect::<Result<_, _>>().map_err(|_| CUT_SHORT)?))
            }
            BYTE_STREAM_SPLIT => split_words(plain, rows).map(Some),
            DELTA_BINARY_PACKED => {
                let numbers = delta_binary_packed(plain, rows)?;
                // A 32-bit column wraps at 32 bits.
                Ok(Some(numbers.into_iter().map(|number| number as u32).collect()))
            }
            _ => Ok(None),
        }
    }

    /// The numbers of a page of a required 64-bit column.
    pub(crate) fn longs(
        &mut self,
        page: &[u8],
        rows: usize,
    ) -> Result<Option<Vec<i64>>, Malformed> {
        let Some((encoding, plain)) = self.open(page, rows)? else { return Ok(None) };
        match encoding {
            PLAIN => {
                let words = plain.get(..rows * 8).ok_or(CUT_SHORT)?.chunks_exact(8);
                let word = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes);
                Ok(Some(words.map(word).collect::<Result<_, _>>().map_err(|_| CUT_SHORT)?))
            }
            DELTA_BINARY_PACKED => delta_binary_packed(plain, rows).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether a page of a list column is known to hold empty lists only, one a row.
    pub(crate) fn holds_nothing(&mut self, page: &[u8], rows: usize) -> bool {
        match self.open(page, rows) {
            Ok(Some((_, plain))) => definition_levels(plain)
                .is_some_and(|levels| all_zero(levels, rows).unwrap_or(false)),
            Ok(None) | Err(_) => false,
        }
    }

    /// A page's encoding and its bytes before compression; `None` when Parquet has to be asked.
    fn open(&mut self, page: &[u8], rows: usize) -> Result<Option<(i64, &[u8])>, Malformed> {
        let mut thrift = Thrift { rest: page };
        let header = PageHeader::read(&mut thrift)?;
        let (Some(DATA_PAGE), Some(zstd)) = (header.kind, self.zstd.as_mut()) else {
            return Ok(None);
        };
        if header.values != Some(rows as i64) || GRANULE_ROWS_MAX < rows {
            return Err(NOT_THE_ROWS);
        }
        let size = |number: Option<i64>| number.and_then(|size| usize::try_from(size).ok());
        let (plain_bytes, bytes) =
            size(header.plain_bytes).zip(size(header.bytes)).ok_or(CUT_SHORT)?;
        if ROW_BYTES_MAX * rows + PAGE_BYTES_SPARE < plain_bytes {
            return Err(Malformed("a page is larger than its rows can be"));
        }
        let body = thrift.rest.get(..bytes).ok_or(CUT_SHORT)?;
        self.plain.clear();
        self.plain.reserve(plain_bytes);
        zstd.decompress_to_buffer(body, &mut self.plain)
            .map_err(|_| Malformed("a page cannot be decompressed"))?;
        if self.plain.len() != plain_bytes {
            return Err(CUT_SHORT);
        }
        Ok(header.encoding.map(|encoding| (encoding, &self.plain[..])))
    }
}

/// The value of a page's first row; the page is of an optional column of bytes, PLAIN and not
/// compressed. `None` when Parquet has to be asked.
///
/// # Errors
/// [`Malformed`] when the page has other rows or is cut short.
pub(crate) fn first_value(page: &Bytes, rows: usize) -> Result<Option<Bytes>, Malformed> {
    let mut thrift = Thrift { rest: page };
    let header = PageHeader::read(&mut thrift)?;
    if (header.kind, header.encoding) != (Some(DATA_PAGE), Some(PLAIN)) {
        return Ok(None);
    }
    if header.values != Some(rows as i64) {
        return Err(NOT_THE_ROWS);
    }
    let (levels_bytes, rest) = thrift.rest.split_first_chunk::<4>().ok_or(CUT_SHORT)?;
    let levels_bytes = u32::from_le_bytes(*levels_bytes) as usize;
    let (mut levels, rest) = rest.split_at_checked(levels_bytes).ok_or(CUT_SHORT)?;
    // A run, of which the level is in the next byte, or packed bits, the first of them there.
    varint(&mut levels)?;
    if levels.first().ok_or(CUT_SHORT)? & 1 == 0 {
        return Ok(None);
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(CUT_SHORT)?;
    let value = rest.get(..u32::from_le_bytes(*length) as usize).ok_or(CUT_SHORT)?;
    Ok(Some(page.slice_ref(value)))
}

/// The definition levels of a page, which stand behind the repetition levels, both with their
/// lengths before them.
fn definition_levels(plain: &[u8]) -> Option<&[u8]> {
    let (repetition_bytes, rest) = plain.split_first_chunk::<4>()?;
    let rest = rest.get(u32::from_le_bytes(*repetition_bytes) as usize..)?;
    let (bytes, rest) = rest.split_first_chunk::<4>()?;
    rest.get(..u32::from_le_bytes(*bytes) as usize)
}

/// Whether `rows` levels of one bit are all 0, in Parquet's mix of runs and packed bits.
fn all_zero(mut levels: &[u8], rows: usize) -> Result<bool, Malformed> {
    let mut left = rows as u64;
    while 0 < left {
        let head = varint(&mut levels)?;
        let packed = head & 1 == 1;
        let bytes = if packed { head >> 1 } else { 1 };
        let bytes = usize::try_from(bytes).map_err(|_| CUT_SHORT)?;
        let (run, after) = levels.split_at_checked(bytes).ok_or(CUT_SHORT)?;
        if run.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        levels = after;
        left = left.saturating_sub(if packed { (head >> 1).saturating_mul(8) } else { head >> 1 });
        if head >> 1 == 0 {
            return Err(CUT_SHORT);
        }
    }
    Ok(true)
}

const DATA_PAGE: i64 = 0;
const PLAIN: i64 = 0;
const DELTA_BINARY_PACKED: i64 = 5;
const BYTE_STREAM_SPLIT: i64 = 9;

/// What is read of Parquet's `PageHeader`.
#[derive(Debug, Default)]
struct PageHeader {
    kind: Option<i64>,
    plain_bytes: Option<i64>,
    bytes: Option<i64>,
    values: Option<i64>,
    encoding: Option<i64>,
}

impl PageHeader {
    fn read(thrift: &mut Thrift<'_>) -> Result<Self, Malformed> {
        let mut header = Self::default();
        let mut id = 0;
        while let Some(kind) = thrift.field(&mut id)? {
            match (id, kind) {
                (1, INT) => header.kind = Some(thrift.signed()?),
                (2, INT) => header.plain_bytes = Some(thrift.signed()?),
                (3, INT) => header.bytes = Some(thrift.signed()?),
                (5, STRUCT) => {
                    let mut id = 0;
                    while let Some(kind) = thrift.field(&mut id)? {
                        match (id, kind) {
                            (1, INT) => header.values = Some(thrift.signed()?),
                            (2, INT) => header.encoding = Some(thrift.signed()?),
                            _ => thrift.skip(kind, THRIFT_DEPTH_MAX)?,
                        }
                    }
                }
                _ => thrift.skip(kind, THRIFT_DEPTH_MAX)?,
            }
        }
        Ok(header)
    }
}

const INT: u8 = 5;
const STRUCT: u8 = 12;

/// Thrift's compact protocol, as far as page headers use it.
struct Thrift<'a> {
    rest: &'a [u8],
}

impl Thrift<'_> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.rest.split_first().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        varint(&mut self.rest)
    }

    fn signed(&mut self) -> Result<i64, Malformed> {
        self.varint().map(zigzag)
    }

    /// The type of the next field, whose number goes into `id`; `None` at the structure's end.
    fn field(&mut self, id: &mut i64) -> Result<Option<u8>, Malformed> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        *id = match head >> 4 {
            0 => self.signed()?,
            step => id.saturating_add(step.into()),
        };
        Ok(Some(head & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<(), Malformed> {
        const STRANGE: Malformed = Malformed("a page's header is not what Parquet writes");
        let Some(depth) = depth.checked_sub(1) else { return Err(STRANGE) };
        match kind {
            1 | 2 => Ok(()),
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.skip_bytes(8),
            8 => {
                let length = self.varint()?;
                self.skip_bytes(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.varint()?,
                    count => count.into(),
                };
                // An element takes at least a byte, except for booleans, of which there are none.
                if (self.rest.len() as u64) < count {
                    return Err(CUT_SHORT);
                }
                (0..count).try_for_each(|_| self.skip(head & 0x0f, depth))
            }
            STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth)?;
                }
                Ok(())
            }
            _ => Err(STRANGE),
        }
    }

    fn skip_bytes(&mut self, count: u64) -> Result<(), Malformed> {
        let count = usize::try_from(count).map_err(|_| CUT_SHORT)?;
        self.rest = self.rest.get(count..).ok_or(CUT_SHORT)?;
        Ok(())
    }
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(CUT_SHORT)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed("a number in a page is too long"))
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Decodes BYTE_STREAM_SPLIT of 32-bit numbers: all lowest bytes, then all second ones, and so on.
fn split_words(plain: &[u8], rows: usize) -> Result<Vec<u32>, Malformed> {
    let part = |n: usize| plain.get(n * rows..(n + 1) * rows).ok_or(CUT_SHORT);
    let (low, second, third, high) = (part(0)?, part(1)?, part(2)?, part(3)?);
    let words = low.iter().zip(second).zip(third.iter().zip(high));
    Ok(words.map(|((a, b), (c, d))| u32::from_le_bytes([*a, *b, *c, *d])).collect())
}

/// Decodes DELTA_BINARY_PACKED: blocks of differences, each block with its least difference and
/// bit-packed miniblocks of what the differences are above it.
fn delta_binary_packed(mut rest: &[u8], rows: usize) -> Result<Vec<i64>, Malformed> {
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

    use super::super::build::BuildOptions;
    use super::super::columns::{
        ATTRIBUTE_NAMES, ColumnWriter, GranuleColumns, LEVEL, LINES, PATTERN, STREAM, TIME,
    };
    use super::*;

    struct Written {
        file: Vec<u8>,
        pages: Vec<Vec<super::super::granule::Page>>,
    }

    impl Written {
        fn page(&self, leaf: usize, granule: usize) -> &[u8] {
            let range = self.pages[leaf][granule].range();
            &self.file[range.start as usize..range.end as usize]
        }
    }

    fn write(granules: &[Vec<(i64, u32, bool)>], granule_rows: usize) -> Written {
        let options = BuildOptions { granule_rows, ..BuildOptions::default() };
        let mut writer = ColumnWriter::new(&[], options).unwrap();
        for rows in granules {
            let mut columns = GranuleColumns::new(rows.len(), 0);
            for (time, number, attribute) in rows {
                columns.times.push(*time);
                columns.streams.push(*number);
                columns.levels.push(*number);
                columns.patterns.push(*number);
                if *attribute {
                    columns.attribute("", "");
                }
                columns.end_attributes(&[]).unwrap();
            }
            writer.write(columns).unwrap();
        }
        let encoded = writer.finish().unwrap();
        Written { file: encoded.file.to_vec(), pages: encoded.pages }
    }

    fn check(granules: &[Vec<(i64, u32, bool)>], granule_rows: usize) {
        let written = write(granules, granule_rows);
        let mut decoder = PageDecoder::new();
        for (at, rows) in granules.iter().enumerate() {
            let times: Vec<i64> = rows.iter().map(|row| row.0).collect();
            let numbers: Vec<u32> = rows.iter().map(|row| row.1).collect();
            let page = written.page(TIME, at);
            assert_eq!(decoder.longs(page, rows.len()), Ok(Some(times)));
            assert!(decoder.longs(page, rows.len() + 1).is_err());
            for leaf in [STREAM, LEVEL, PATTERN] {
                let page = written.page(leaf, at);
                assert_eq!(decoder.numbers(page, rows.len()), Ok(Some(numbers.clone())));
            }
            let names = written.page(ATTRIBUTE_NAMES, at);
            let none = rows.iter().all(|row| !row.2);
            assert_eq!(decoder.holds_nothing(names, rows.len()), none);
        }
    }

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

        #[test]
        fn gives_what_the_parquet_writer_was_given(
            rows in prop::collection::vec(
                (
                    prop_oneof![any::<i64>(), 0_i64..100, 1_700_000_000_000_i64..1_700_000_001_000],
                    prop_oneof![any::<u32>(), 0_u32..5],
                    prop::bool::weighted(0.01),
                ),
                1..700,
            ),
            granule_rows in 1_usize..400,
        ) {
            let granules: Vec<_> = rows.chunks(granule_rows).map(<[_]>::to_vec).collect();
            check(&granules, granule_rows);
        }

        #[test]
        fn damaged_pages_never_panic(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            junk in prop::collection::vec(any::<u8>(), 0..80),
            rows in 0_usize..300,
        ) {
            let mut page = write(&[(0..200).map(|n| (n * n, n as u32, false)).collect()], 200)
                .page(TIME, 0)
                .to_vec();
            let at = at.index(page.len());
            page[at] ^= byte;
            let mut decoder = PageDecoder::new();
            for page in [&page[..], &page[..at], &junk] {
                drop(decoder.longs(page, rows));
                drop(decoder.numbers(page, 200));
                decoder.holds_nothing(page, rows);
                drop(first_value(&Bytes::copy_from_slice(page), rows));
            }
            drop(delta_binary_packed(&junk, rows));
            let _damaged = all_zero(&junk, rows);
        }
    }

    #[test]
    fn the_variables_of_a_granule_are_found_in_their_page() {
        for rows in [1, 2, 7, 9, 8_192] {
            let mut writer = ColumnWriter::new(&[], BuildOptions::default()).unwrap();
            let mut columns = GranuleColumns::new(rows, 0);
            for _ in 0..rows {
                columns.times.push(0);
                columns.streams.push(0);
                columns.levels.push(0);
                columns.patterns.push(0);
                columns.end_attributes(&[]).unwrap();
            }
            columns.variables = b"one value for all rows".repeat(10);
            let variables = columns.variables.clone();
            writer.write(columns).unwrap();
            let encoded = writer.finish().unwrap();
            let range = encoded.pages[LINES][0].range();
            let page = encoded.file.slice(range.start as usize..range.end as usize);
            assert_eq!(first_value(&page, rows), Ok(Some(Bytes::from(variables))));
            assert!(first_value(&page, rows + 1).is_err());
            for cut in 0..page.len() {
                assert!(first_value(&page.slice(..cut), rows).is_err(), "{cut} bytes of it");
            }
        }
    }

    #[test]
    fn full_granules_of_sorted_times_decode() {
        let rows = (0..8_192).map(|n| (1_700_000_000_000_000_000 + n * 1_234_567, 7, false));
        check(&[rows.collect()], 8_192);
    }
}
