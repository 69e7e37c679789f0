//! Putting lines together again.
//!
//! Opening a granule decompresses its streams and finds out where each slot's values begin; a line
//! is then put together from any row, into a buffer that is used again. Slots whose values differ
//! in length get their ends when the first line of their pattern is wanted.
//!
//! What always holds: every place is checked before it is read; what does not fit is
//! [`Malformed`].

use std::ops::Range;

use super::{CHOICES_MAX, STREAM_BYTES_MAX, digits, slot};
use crate::logs::pattern::{NO_PATTERN, PatternTable};
use crate::logs::pieces::Pieces;
use crate::wire::{Malformed, Reader};

pub(super) const CUT_SHORT: Malformed = Malformed("its variables are fewer than its rows need");
const NO_SUCH_PATTERN: Malformed = Malformed("a row names a pattern that is not there");

/// The lines of a granule, each put together when it is asked for.
#[derive(Debug)]
pub(crate) struct Variables<'a> {
    pub(super) table: &'a PatternTable,
    pub(super) patterns: &'a [u32],
    /// Which row of its pattern each row is.
    pub(super) ranks: Vec<u32>,
    /// By pattern, its place in `shapes`.
    pub(super) shape_of: Vec<u32>,
    pub(super) shapes: Vec<Shape>,
    pub(super) slots: Vec<Slot>,
    pub(super) masks: Vec<Mask>,
    pub(super) bytes: Bytes,
    line: Pieces,
}

/// Everything values are made of.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    pub(super) masks: Vec<u8>,
    pub(super) choices: Vec<u8>,
    /// Random digits, then repetitive ones.
    pub(super) digits: Vec<u8>,
    pub(super) text: Vec<u8>,
    /// As text, two characters a byte.
    pub(super) half_bytes: Vec<u8>,
}

/// A pattern that rows of the granule have.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) pattern: u32,
    pub(super) rows: usize,
    pub(super) slots: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) kind: Kind,
    /// Of values of many lengths: where each begins in its bytes, and where the last ends.
    pub(super) starts: Vec<u32>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// In [`Bytes::text`], at the slot's starts.
    Text,
    /// In [`Bytes::half_bytes`] from `start`; a value takes `stride` bytes, of which it has `length`.
    HalfBytes { start: usize, stride: usize, length: usize },
    /// One mask without letters: digits from `start`.
    Digits { start: usize, length: usize },
    /// One mask: digits from `start`.
    Masked { start: usize, mask: u32 },
    /// A mask a value: `choices` from here pick from `masks`, digits are at the slot's starts,
    /// unless no mask has any.
    Choices { choices: usize, masks: Vec<u32> },
}

/// A value with its digits made zeros.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    pub(super) range: Range<usize>,
    pub(super) digits: usize,
}

/// How far each stream has been handed out to slots.
#[derive(Debug, Default)]
struct Cursor {
    choices: usize,
    random: usize,
    repetitive: usize,
    text: usize,
    half_bytes: usize,
}

impl<'a> Variables<'a> {
    /// Opens what [`super::VariablesWriter::encode`] wrote for rows of these patterns.
    pub(crate) fn open(
        encoded: &[u8],
        table: &'a PatternTable,
        patterns: &'a [u32],
    ) -> Result<Self, Malformed> {
        let mut opened = Self {
            table,
            patterns,
            ranks: Vec::with_capacity(patterns.len()),
            shape_of: Vec::new(),
            shapes: Vec::new(),
            slots: Vec::new(),
            masks: Vec::new(),
            bytes: Bytes::default(),
            line: Pieces::default(),
        };
        opened.rank_rows()?;
        let mut reader = Reader::new(encoded);
        let masks = stream(&mut reader)?;
        let slots = stream(&mut reader)?;
        opened.bytes.choices = stream(&mut reader)?;
        let mut repetitive = stream(&mut reader)?;
        let lengths = stream(&mut reader)?;
        opened.bytes.text = stream(&mut reader)?;
        opened.bytes.half_bytes = half_bytes(&stream(&mut reader)?);
        let count: usize = reader.number()?;
        opened.bytes.digits = digits::unpack(reader.into_rest(), count)?;
        opened.read_masks(&masks)?;
        opened.read_slots(&slots, &lengths, &mut repetitive, count)?;
        if !repetitive.iter().all(u8::is_ascii_digit) {
            return Err(Malformed("it has digits above nine"));
        }
        opened.bytes.digits.extend_from_slice(&repetitive);
        Ok(opened)
    }

    /// The line of `row`.
    pub(crate) fn line(&mut self, row: usize) -> Result<&str, Malformed> {
        let pattern = *self.patterns.get(row).ok_or(CUT_SHORT)?;
        let rank = self.ranks[row] as usize;
        let shape = &self.shapes[self.shape_of[pattern as usize] as usize];
        self.line.truncate(0);
        let slots = self.slots.get(shape.slots.clone()).ok_or(CUT_SHORT)?;
        if pattern == NO_PATTERN {
            // The whole line is the one value.
            slots[0].put(rank, &self.bytes, &self.masks, &mut self.line)?;
        } else {
            let text = self.table.bytes();
            let mut start = self.table.start(pattern);
            let (placeholders, end) = self.table.placeholders(pattern);
            for (at, slot) in placeholders.iter().zip(slots) {
                put(&mut self.line, text, start, *at as usize - start)?;
                slot.put(rank, &self.bytes, &self.masks, &mut self.line)?;
                start = *at as usize + 1;
            }
            put(&mut self.line, text, start, end - start)?;
        }
        std::str::from_utf8(self.line.as_bytes()).map_err(|_| Malformed("a line is not UTF-8"))
    }

    /// Counts the rows of each pattern, and lays the patterns' slots out in their order.
    fn rank_rows(&mut self) -> Result<(), Malformed> {
        let mut counts = vec![0_u32; self.table.len() + 1];
        for pattern in self.patterns {
            let count = counts.get_mut(*pattern as usize).ok_or(NO_SUCH_PATTERN)?;
            self.ranks.push(*count);
            *count += 1;
        }
        self.shape_of = vec![u32::MAX; counts.len()];
        let mut slots = 0;
        for (pattern, count) in counts.iter().enumerate().filter(|(_, count)| 0 < **count) {
            self.shape_of[pattern] = self.shapes.len() as u32;
            let slots_here = match pattern as u32 {
                NO_PATTERN => 1,
                pattern => self.table.placeholders(pattern).0.len(),
            };
            let pattern = pattern as u32;
            let here = slots..slots + slots_here;
            self.shapes.push(Shape { pattern, rows: *count as usize, slots: here });
            slots += slots_here;
        }
        Ok(())
    }

    fn read_masks(&mut self, stream: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(stream);
        for _ in 0..reader.count(1)? {
            let mask = reader.bytes()?;
            let start = self.bytes.masks.len();
            self.bytes.masks.extend_from_slice(mask);
            let digits = mask.iter().filter(|byte| byte.is_ascii_digit()).count();
            self.masks.push(Mask { range: start..start + mask.len(), digits });
        }
        reader.finish()
    }

    /// Finds every slot's values. `random` digits come before the repetitive ones, of which those of
    /// slots with one mask are put in order here.
    fn read_slots(
        &mut self,
        stream: &[u8],
        lengths: &[u8],
        repetitive: &mut [u8],
        random: usize,
    ) -> Result<(), Malformed> {
        let mut reader = Reader::new(stream);
        let mut lengths = Reader::new(lengths);
        let mut cursor = Cursor { repetitive: random, ..Cursor::default() };
        let mut scratch = Vec::new();
        for shape in &self.shapes {
            for _ in shape.slots.clone() {
                let rows = shape.rows;
                let code = reader.varint()?;
                let slot = match code {
                    slot::TEXT => self.texts(rows, &mut lengths, &mut cursor)?,
                    slot::HALF_BYTES => {
                        let length: usize = reader.number()?;
                        let stride = length.div_ceil(2).saturating_mul(2);
                        let start = cursor.half_bytes;
                        cursor.half_bytes = add(start, rows, stride)?;
                        Slot::new(Kind::HalfBytes { start, stride, length })
                    }
                    slot::CHOICES | 3 => {
                        let count = reader.count(1)?;
                        let masks: Vec<u32> =
                            (0..count).map(|_| reader.number()).collect::<Result<_, _>>()?;
                        self.choices(rows, masks, code != slot::CHOICES, &mut cursor)?
                    }
                    _ => {
                        let number = (code - slot::MASK) / 2;
                        let repeats = code % 2 == 1;
                        let mask = usize::try_from(number).ok().and_then(|n| self.masks.get(n));
                        let mask = mask.ok_or(NO_SUCH_MASK)?;
                        let next =
                            if repeats { &mut cursor.repetitive } else { &mut cursor.random };
                        let start = *next;
                        *next = add(start, rows, mask.digits)?;
                        if repeats {
                            let place = start - random..*next - random;
                            let columns = repetitive.get_mut(place).ok_or(CUT_SHORT)?;
                            to_rows(columns, mask.digits, &mut scratch);
                        }
                        let length = mask.range.len();
                        Slot::new(if mask.digits == length {
                            Kind::Digits { start, length }
                        } else {
                            Kind::Masked { start, mask: number as u32 }
                        })
                    }
                };
                self.slots.push(slot);
            }
        }
        reader.finish()?;
        lengths.finish()?;
        let whole = cursor.choices == self.bytes.choices.len()
            && cursor.random == random
            && cursor.repetitive == random + repetitive.len()
            && cursor.text == self.bytes.text.len()
            && cursor.half_bytes == self.bytes.half_bytes.len();
        if whole { Ok(()) } else { Err(CUT_SHORT) }
    }

    fn texts(
        &self,
        rows: usize,
        lengths: &mut Reader<'_>,
        cursor: &mut Cursor,
    ) -> Result<Slot, Malformed> {
        let mut starts = Vec::with_capacity(rows + 1);
        starts.push(cursor.text as u32);
        for _ in 0..rows {
            let length: usize = lengths.number()?;
            cursor.text = add(cursor.text, 1, length)?;
            starts.push(cursor.text as u32);
        }
        Ok(Slot { kind: Kind::Text, starts })
    }

    fn choices(
        &self,
        rows: usize,
        masks: Vec<u32>,
        repeats: bool,
        cursor: &mut Cursor,
    ) -> Result<Slot, Malformed> {
        let known = |mask: &u32| self.masks.get(*mask as usize).map(|mask| mask.digits);
        let digits: Vec<usize> =
            masks.iter().map(known).collect::<Option<_>>().ok_or(NO_SUCH_MASK)?;
        if CHOICES_MAX < masks.len() {
            return Err(NO_SUCH_MASK);
        }
        let first = cursor.choices;
        cursor.choices = add(first, rows, 1)?;
        let picked = self.bytes.choices.get(first..cursor.choices).ok_or(CUT_SHORT)?;
        if picked.iter().any(|choice| digits.len() <= usize::from(*choice)) {
            return Err(NO_SUCH_MASK);
        }
        let mut starts = Vec::new();
        // Words have no digits to look for.
        if digits.iter().any(|digits| 0 < *digits) {
            let next = if repeats { &mut cursor.repetitive } else { &mut cursor.random };
            starts.reserve(rows + 1);
            starts.push(*next as u32);
            for choice in picked {
                *next = add(*next, 1, digits[usize::from(*choice)])?;
                starts.push(*next as u32);
            }
        }
        Ok(Slot { kind: Kind::Choices { choices: first, masks }, starts })
    }
}

pub(super) const NO_SUCH_MASK: Malformed = Malformed("a slot names a mask that is not there");

/// `start + count * each`, as long as it stays within what a granule may hold.
fn add(start: usize, count: usize, each: usize) -> Result<usize, Malformed> {
    let end = count.checked_mul(each).and_then(|length| start.checked_add(length));
    end.filter(|end| *end <= 2 * STREAM_BYTES_MAX).ok_or(CUT_SHORT)
}

fn stream(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let length: usize = reader.number()?;
    let stored = reader.bytes()?;
    if STREAM_BYTES_MAX < length {
        return Err(Malformed("it is larger than this version ever writes"));
    }
    if stored.len() == length {
        return Ok(stored.to_vec());
    }
    let plain = zstd::bulk::decompress(stored, length)
        .map_err(|_| Malformed("its variables do not decompress"))?;
    if plain.len() == length { Ok(plain) } else { Err(CUT_SHORT) }
}

/// The two characters of every byte.
const HALVES: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut halves = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        halves[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    halves
};

fn half_bytes(packed: &[u8]) -> Vec<u8> {
    let mut out = vec![0; packed.len() * 2];
    for (two, byte) in out.chunks_exact_mut(2).zip(packed) {
        two.copy_from_slice(&HALVES[usize::from(*byte)]);
    }
    out
}

/// From all first digits, all second ones and so on to value after value.
fn to_rows(columns: &mut [u8], width: usize, scratch: &mut Vec<u8>) {
    if width < 2 {
        return;
    }
    scratch.clear();
    scratch.extend_from_slice(columns);
    let rows = columns.len() / width;
    for (row, value) in columns.chunks_exact_mut(width).enumerate() {
        for (at, digit) in value.iter_mut().enumerate() {
            *digit = scratch[at * rows + row];
        }
    }
}

impl Slot {
    fn new(kind: Kind) -> Self {
        Self { kind, starts: Vec::new() }
    }

    /// Appends the value of the row that is number `rank` of its pattern.
    #[inline]
    fn put(
        &self,
        rank: usize,
        bytes: &Bytes,
        masks: &[Mask],
        line: &mut Pieces,
    ) -> Result<(), Malformed> {
        match &self.kind {
            Kind::Digits { start, length } => {
                put(line, &bytes.digits, start + rank * length, *length)
            }
            Kind::Masked { start, mask } => {
                let mask = &masks[*mask as usize];
                put_masked(line, bytes, mask, start + rank * mask.digits)
            }
            Kind::Choices { choices, masks: of_slot } => {
                let choice = *bytes.choices.get(choices + rank).ok_or(CUT_SHORT)?;
                let mask = &masks[*of_slot.get(choice as usize).ok_or(NO_SUCH_MASK)? as usize];
                if mask.digits == 0 {
                    return put(line, &bytes.masks, mask.range.start, mask.range.len());
                }
                let start = *self.starts.get(rank).ok_or(CUT_SHORT)? as usize;
                if mask.digits == mask.range.len() {
                    put(line, &bytes.digits, start, mask.digits)
                } else {
                    put_masked(line, bytes, mask, start)
                }
            }
            Kind::HalfBytes { start, stride, length } => {
                put(line, &bytes.half_bytes, start + rank * stride, *length)
            }
            Kind::Text => {
                let (Some(start), Some(end)) = (self.starts.get(rank), self.starts.get(rank + 1))
                else {
                    return Err(CUT_SHORT);
                };
                put(line, &bytes.text, *start as usize, (end - start) as usize)
            }
        }
    }
}

/// Appends `source[start..start + length]`.
#[inline]
fn put(line: &mut Pieces, source: &[u8], start: usize, length: usize) -> Result<(), Malformed> {
    let from = source.get(start..).ok_or(CUT_SHORT)?;
    if line.put(from, length) { Ok(()) } else { Err(CUT_SHORT) }
}

/// Appends a mask with its zeros replaced by digits from `start`.
fn put_masked(
    line: &mut Pieces,
    bytes: &Bytes,
    mask: &Mask,
    start: usize,
) -> Result<(), Malformed> {
    let digits = bytes.digits.get(start..start + mask.digits).ok_or(CUT_SHORT)?;
    let from = line.len();
    put(line, &bytes.masks, mask.range.start, mask.range.len())?;
    let places = line.since(from).iter_mut().filter(|byte| **byte == b'0');
    places.zip(digits).for_each(|(place, digit)| *place = *digit);
    Ok(())
}
