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

mod delta;
mod header;

use bytes::Bytes;

use self::delta::delta_binary_packed;
use self::header::{PageHeader, varint};
use super::granule::GRANULE_ROWS_MAX;
use crate::wire::Malformed;

/// Bytes a number may take in a page before compression: eight, and the heads of packed blocks.
const ROW_BYTES_MAX: usize = 16;

/// Room for heads of pages with few rows.
const PAGE_BYTES_SPARE: usize = 4_096;

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
        let (header, body) = PageHeader::read(page)?;
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
        let body = body.get(..bytes).ok_or(CUT_SHORT)?;
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

/// The value of a page's first row, as far as it is there; the page is of an optional column of
/// bytes, PLAIN and not compressed. `None` when Parquet has to be asked.
///
/// # Errors
/// [`Malformed`] when the page has other rows or is cut short, unless it is a `head`.
pub(crate) fn first_value(
    page: &Bytes,
    rows: usize,
    head: bool,
) -> Result<Option<Bytes>, Malformed> {
    let (header, body) = PageHeader::read(page)?;
    if (header.kind, header.encoding) != (Some(DATA_PAGE), Some(PLAIN)) {
        return Ok(None);
    }
    if header.values != Some(rows as i64) {
        return Err(NOT_THE_ROWS);
    }
    let (levels_bytes, rest) = body.split_first_chunk::<4>().ok_or(CUT_SHORT)?;
    let levels_bytes = u32::from_le_bytes(*levels_bytes) as usize;
    let (mut levels, rest) = rest.split_at_checked(levels_bytes).ok_or(CUT_SHORT)?;
    // A run, of which the level is in the next byte, or packed bits, the first of them there.
    varint(&mut levels)?;
    if levels.first().ok_or(CUT_SHORT)? & 1 == 0 {
        return Ok(None);
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(CUT_SHORT)?;
    let length = u32::from_le_bytes(*length) as usize;
    let length = if head { length.min(rest.len()) } else { length };
    let value = rest.get(..length).ok_or(CUT_SHORT)?;
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

/// Decodes BYTE_STREAM_SPLIT of 32-bit numbers: all lowest bytes, then all second ones, and so on.
fn split_words(plain: &[u8], rows: usize) -> Result<Vec<u32>, Malformed> {
    let part = |n: usize| plain.get(n * rows..(n + 1) * rows).ok_or(CUT_SHORT);
    let (low, second, third, high) = (part(0)?, part(1)?, part(2)?, part(3)?);
    let words = low.iter().zip(second).zip(third.iter().zip(high));
    Ok(words.map(|((a, b), (c, d))| u32::from_le_bytes([*a, *b, *c, *d])).collect())
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
                drop(first_value(&Bytes::copy_from_slice(page), rows, false));
                drop(first_value(&Bytes::copy_from_slice(page), rows, true));
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
            assert_eq!(first_value(&page, rows, false), Ok(Some(Bytes::from(variables))));
            assert!(first_value(&page, rows + 1, false).is_err());
            for cut in 0..page.len() {
                assert!(first_value(&page.slice(..cut), rows, false).is_err(), "{cut} bytes of it");
            }
        }
    }

    #[test]
    fn full_granules_of_sorted_times_decode() {
        let rows = (0..8_192).map(|n| (1_700_000_000_000_000_000 + n * 1_234_567, 7, false));
        check(&[rows.collect()], 8_192);
    }
}
