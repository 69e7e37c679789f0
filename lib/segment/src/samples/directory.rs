//! Where every chunk is and what its statistics are: what opening a samples segment reads.
//!
//! Kept column by column, since equal fields of neighbouring chunks compress together; about 30
//! bytes a chunk once read.

use std::ops::Range;

use super::CHUNK_SAMPLES_MAX;
use super::blocks::{Block, Item, ItemPlaces, put_blocks, read_blocks};
use super::stats::{ChunkStats, NumberStats};
use super::values::Encoding;
use crate::wire::{Malformed, Reader, put_signed, put_varint};

const NAN: u8 = 1 << 2;
const MIN_IS_FIRST: u8 = 1 << 3;
const MIN_IS_LAST: u8 = 1 << 4;
const MAX_IS_FIRST: u8 = 1 << 5;
const MAX_IS_LAST: u8 = 1 << 6;
const INCREASE_IS_DIFFERENCE: u8 = 1 << 7;

/// A time array's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimesEntry {
    pub(super) samples: u32,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    pub(super) item: Item,
}

/// A chunk's entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ChunkEntry {
    /// Number of its time array.
    pub(super) times: u32,
    pub(super) encoding: Encoding,
    pub(super) item: Item,
    pub(super) stats: ChunkStats,
}

/// The directory as read.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) chunk_blocks: Vec<Block>,
    pub(super) time_blocks: Vec<Block>,
    pub(super) times: Vec<TimesEntry>,
    pub(super) chunks: Vec<ChunkEntry>,
    /// For each series where its chunks start, and at the end their number.
    starts: Vec<u32>,
}

impl Directory {
    pub(super) fn series(&self) -> usize {
        self.starts.len() - 1
    }

    /// The chunks of a series that touch `start_ms` to `end_ms`, both inclusive.
    pub(super) fn chunks_between(&self, ordinal: u32, start_ms: i64, end_ms: i64) -> Range<usize> {
        let at = ordinal as usize;
        let all = self.starts[at] as usize..self.starts[at + 1] as usize;
        let chunks = &self.chunks[all.clone()];
        let from = chunks.partition_point(|chunk| chunk.stats.last_ms < start_ms);
        let to = chunks.partition_point(|chunk| chunk.stats.first_ms <= end_ms);
        all.start + from..all.start + to.max(from)
    }

    pub(super) fn decode(bytes: &[u8], series: usize) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let chunk_blocks = read_blocks(&mut reader)?;
        let time_blocks = read_blocks(&mut reader)?;
        let times = read_times(&mut reader, &time_blocks)?;
        let count = reader.count(1)?;
        let starts = read_starts(&mut reader, series, count)?;
        let chunks = read_chunks(&mut reader, count, &times, &chunk_blocks)?;
        reader.finish()?;
        let in_order = |pair: &[ChunkEntry]| pair[0].stats.last_ms < pair[1].stats.first_ms;
        for range in starts.windows(2) {
            if !chunks[range[0] as usize..range[1] as usize].windows(2).all(in_order) {
                return Err(Malformed("chunks of a series overlap"));
            }
        }
        Ok(Self { chunk_blocks, time_blocks, times, chunks, starts })
    }
}

/// Collects the directory while items are packed, in their order.
#[derive(Debug, Default)]
pub(super) struct DirectoryWriter {
    times: u64,
    times_table: Vec<u8>,
    times_first_before: i64,
    chunks: u64,
    chunks_of_series: Vec<u8>,
    times_of_chunks: Vec<u8>,
    flags: Vec<u8>,
    item_lengths: Vec<u8>,
    statistics: Vec<u8>,
}

impl DirectoryWriter {
    /// Adds a time array, whose item has `bytes` bytes; returns its number.
    pub(super) fn push_times(&mut self, times: &[i64], bytes: usize) -> u32 {
        let (first, last) = (times[0], times[times.len() - 1]);
        put_varint(&mut self.times_table, times.len() as u64);
        put_signed(&mut self.times_table, first.wrapping_sub(self.times_first_before));
        put_varint(&mut self.times_table, last.abs_diff(first));
        put_varint(&mut self.times_table, bytes as u64);
        self.times_first_before = first;
        self.times += 1;
        (self.times - 1) as u32
    }

    /// Adds the next series, which has so many chunks.
    pub(super) fn push_series(&mut self, chunks: usize) {
        put_varint(&mut self.chunks_of_series, chunks as u64);
    }

    /// Adds a chunk of the last series.
    pub(super) fn push_chunk(
        &mut self,
        times: u32,
        encoding: Encoding,
        bytes: usize,
        values: &[f64],
    ) {
        self.chunks += 1;
        put_varint(&mut self.times_of_chunks, u64::from(times));
        put_varint(&mut self.item_lengths, bytes as u64);
        let (first, last) = (values[0], values[values.len() - 1]);
        let numbers = NumberStats::of(values);
        let flags =
            encoding as u8 | numbers.map_or(NAN, |numbers| derivable(&numbers, first, last));
        self.flags.push(flags);
        self.put_float(first);
        if encoding == Encoding::Constant {
            return;
        }
        self.put_float(last);
        let Some(numbers) = numbers else { return };
        for (bits, value) in [
            (MIN_IS_FIRST | MIN_IS_LAST, numbers.min),
            (MAX_IS_FIRST | MAX_IS_LAST, numbers.max),
            (0, numbers.sum),
            (INCREASE_IS_DIFFERENCE, numbers.increase),
        ] {
            if flags & bits == 0 {
                self.put_float(value);
            }
        }
    }

    pub(super) fn finish(self, chunk_blocks: &[Block], time_blocks: &[Block]) -> Vec<u8> {
        let mut out = Vec::new();
        put_blocks(&mut out, chunk_blocks);
        put_blocks(&mut out, time_blocks);
        put_varint(&mut out, self.times);
        out.extend_from_slice(&self.times_table);
        put_varint(&mut out, self.chunks);
        for column in [
            &self.chunks_of_series,
            &self.times_of_chunks,
            &self.flags,
            &self.item_lengths,
            &self.statistics,
        ] {
            out.extend_from_slice(column);
        }
        out
    }

    fn put_float(&mut self, value: f64) {
        self.statistics.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

/// Flags for statistics that need not be written.
fn derivable(numbers: &NumberStats, first: f64, last: f64) -> u8 {
    let equals = |left: f64, right: f64| left.to_bits() == right.to_bits();
    let mut flags = 0;
    for (flag, holds) in [
        (MIN_IS_FIRST, equals(numbers.min, first)),
        (MIN_IS_LAST, equals(numbers.min, last)),
        (MAX_IS_FIRST, equals(numbers.max, first)),
        (MAX_IS_LAST, equals(numbers.max, last)),
        (INCREASE_IS_DIFFERENCE, equals(numbers.increase, last - first)),
    ] {
        if holds {
            flags |= flag;
        }
    }
    flags
}

fn read_times(reader: &mut Reader<'_>, blocks: &[Block]) -> Result<Vec<TimesEntry>, Malformed> {
    let count = reader.count(4)?;
    let mut times = Vec::with_capacity(count);
    let mut places = ItemPlaces::new(blocks);
    let mut first_before = 0_i64;
    for _ in 0..count {
        let samples: u32 = reader.number()?;
        if samples == 0 || CHUNK_SAMPLES_MAX < samples as usize {
            return Err(Malformed("a chunk has too few or too many samples"));
        }
        let first_ms = first_before.wrapping_add(reader.signed()?);
        let last_ms = first_ms.checked_add_unsigned(reader.varint()?);
        let last_ms = last_ms.ok_or(Malformed("a time is out of range"))?;
        let item = places.next(reader.number()?)?;
        times.push(TimesEntry { samples, first_ms, last_ms, item });
        first_before = first_ms;
    }
    Ok(times)
}

fn read_starts(
    reader: &mut Reader<'_>,
    series: usize,
    chunks: usize,
) -> Result<Vec<u32>, Malformed> {
    let mut starts = Vec::with_capacity(series + 1);
    let mut start = 0_u32;
    starts.push(start);
    for _ in 0..series {
        let more = start.checked_add(reader.number()?).filter(|end| *end as usize <= chunks);
        start = more.ok_or(Malformed("series have more chunks than there are"))?;
        starts.push(start);
    }
    if start as usize != chunks {
        return Err(Malformed("series have fewer chunks than there are"));
    }
    Ok(starts)
}

fn read_chunks(
    reader: &mut Reader<'_>,
    count: usize,
    times: &[TimesEntry],
    blocks: &[Block],
) -> Result<Vec<ChunkEntry>, Malformed> {
    let mut times_of_chunks = Vec::with_capacity(count);
    for _ in 0..count {
        times_of_chunks.push(reader.number::<u32>()?);
    }
    let flags = reader.take(count)?;
    let mut places = ItemPlaces::new(blocks);
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(places.next(reader.number()?)?);
    }
    let mut chunks = Vec::with_capacity(count);
    for ((times_number, flags), item) in times_of_chunks.into_iter().zip(flags).zip(items) {
        let Some(entry) = times.get(times_number as usize) else {
            return Err(Malformed("a chunk has a time array that is not there"));
        };
        let stats = read_stats(reader, *flags, entry)?;
        let encoding = Encoding::of_bits(*flags);
        chunks.push(ChunkEntry { times: times_number, encoding, item, stats });
    }
    Ok(chunks)
}

fn read_stats(
    reader: &mut Reader<'_>,
    flags: u8,
    times: &TimesEntry,
) -> Result<ChunkStats, Malformed> {
    let mut float = |known: Option<f64>| match known {
        Some(value) => Ok(value),
        None => reader.fixed_u64().map(f64::from_bits),
    };
    let either = |bits: u8, value: f64| (flags & bits != 0).then_some(value);
    let constant = Encoding::of_bits(flags) == Encoding::Constant;
    let first = float(None)?;
    let last = float(constant.then_some(first))?;
    let numbers = if flags & NAN != 0 {
        None
    } else if constant {
        Some(NumberStats::of_constant(first, times.samples))
    } else {
        Some(NumberStats {
            min: float(either(MIN_IS_FIRST, first).or(either(MIN_IS_LAST, last)))?,
            max: float(either(MAX_IS_FIRST, first).or(either(MAX_IS_LAST, last)))?,
            sum: float(None)?,
            increase: float(either(INCREASE_IS_DIFFERENCE, last - first))?,
        })
    };
    let (samples, first_ms, last_ms) = (times.samples, times.first_ms, times.last_ms);
    Ok(ChunkStats { samples, first_ms, last_ms, first, last, numbers })
}
