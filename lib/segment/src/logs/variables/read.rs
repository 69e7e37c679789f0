//! Putting lines together again.
//!
//! Opening a granule to read decompresses its streams and finds out where the values of each slot
//! begin that the rows asked for have; a line is then put together from any of these rows, into a buffer that
//! is used again.
//!
//! What always holds: every place is checked before it is read; what does not fit is
//! [`Malformed`].

use std::borrow::Cow;
use std::ops::Range;

use super::opened::Opened;
use super::shapes::{NO_SUCH_PATTERN, Shapes};
use super::slot::StoredSlot;
use super::values::Values;
use super::{CHOICES_MAX, STREAM_BYTES_MAX};
use crate::logs::pattern::NO_PATTERN;
use crate::logs::pattern_table::PatternTable;
use crate::logs::pieces::Pieces;
use crate::wire::{Malformed, Reader};

pub(crate) const UNREAD: Malformed =
    Malformed("a line was not asked for when its granule was opened");

pub(super) const CUT_SHORT: Malformed = Malformed("its variables are fewer than its rows need");

/// The lines of a granule, each put together when it is asked for.
#[derive(Debug)]
pub(crate) struct Variables<'a> {
    table: &'a PatternTable,
    patterns: &'a [u32],
    shapes: Cow<'a, Shapes>,
    /// Where each row is, were they sorted by pattern.
    places: Vec<u32>,
    slots: Vec<Slot>,
    masks: Vec<Mask>,
    bytes: Bytes<'a>,
    line: Pieces,
}

/// Everything values are made of.
#[derive(Debug)]
struct Bytes<'a> {
    /// As they are stored: each has its length before it.
    masks: Cow<'a, [u8]>,
    choices: Cow<'a, [u8]>,
    text: Cow<'a, [u8]>,
    values: Values<'a>,
}

#[derive(Debug)]
struct Slot {
    kind: Kind,
    /// Of values of many lengths: where each begins in its bytes, and where the last ends.
    starts: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Of a pattern that no row asked for has.
    Unread,
    /// In [`Bytes::text`], at the slot's starts.
    Text,
    /// In [`Values::half_bytes`] from `start`; a value takes `stride` bytes, of which it has `length`.
    HalfBytes { start: usize, stride: usize, length: usize },
    /// One mask without letters: digits from `start`.
    Digits { start: usize, length: usize },
    /// One mask: digits from `start`.
    Masked { start: usize, mask: usize },
    /// A mask a value: `choices` from here pick from `masks`, digits are at the slot's starts,
    /// unless no mask has any.
    Choices { choices: usize, masks: Vec<usize> },
}

/// A value with its digits made zeros.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    pub(super) range: Range<usize>,
    pub(super) digits: usize,
}

/// How far each stream has been handed out to slots.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    pub(super) choices: usize,
    pub(super) random: usize,
    pub(super) repetitive: usize,
    pub(super) text: usize,
    pub(super) half_bytes: usize,
}

impl<'a> Variables<'a> {
    /// Goes on to read, as far as the lines of `rows` take.
    pub(crate) fn open(
        opened: Opened<'a>,
        rows: impl Iterator<Item = usize>,
    ) -> Result<Self, Malformed> {
        let Opened { table, patterns, shapes, masks, mask_bytes, streams } = opened;
        let wanted = shapes.of_rows(patterns, rows);
        let asked = shapes.shapes.iter().zip(&wanted).filter(|(_, wanted)| **wanted);
        let rows_asked: usize = asked.map(|(shape, _)| shape.rows.len()).sum();
        let whole = patterns.len() <= 2 * rows_asked;
        let (slots, lengths) = (streams.slots.into_plain()?, streams.lengths.into_plain()?);
        let (repetitive, packed) =
            (streams.repetitive.into_plain()?, streams.half_bytes.into_plain()?);
        let mut variables = Self {
            table,
            patterns,
            places: shapes.places(patterns),
            shapes,
            slots: Vec::new(),
            masks,
            bytes: Bytes {
                masks: mask_bytes,
                choices: streams.choices.into_plain()?,
                text: streams.text.into_plain()?,
                values: Values::open(streams.random, repetitive, packed, whole)?,
            },
            line: Pieces::default(),
        };
        variables.read_slots(&slots, &lengths, &wanted)?;
        Ok(variables)
    }

    /// The line of `row`.
    pub(crate) fn line(&mut self, row: usize) -> Result<&str, Malformed> {
        let pattern = *self.patterns.get(row).ok_or(CUT_SHORT)?;
        let shape = &self.shapes.shapes[self.shapes.place(pattern)];
        let rank = self.places[row] as usize - shape.rows.start;
        self.line.truncate(0);
        let slots = self.slots.get(shape.slots.clone()).ok_or(CUT_SHORT)?;
        if pattern == NO_PATTERN {
            // The whole line is the one value.
            slots[0].put(rank, &self.bytes, &self.masks, &mut self.line)?;
        } else {
            let text = self.table.bytes();
            let Some((last, before)) = self.table.stretches(pattern).split_last() else {
                return Err(NO_SUCH_PATTERN);
            };
            for (stretch, slot) in before.iter().zip(slots) {
                let stretch = self.table.stretch(*stretch);
                // Without its placeholder.
                put(&mut self.line, text, stretch.start, stretch.len() - 1)?;
                slot.put(rank, &self.bytes, &self.masks, &mut self.line)?;
            }
            let last = self.table.stretch(*last);
            put(&mut self.line, text, last.start, last.len())?;
        }
        std::str::from_utf8(self.line.as_bytes()).map_err(|_| Malformed("a line is not UTF-8"))
    }

    /// Finds the values of the slots of the shapes that are `wanted`, and steps over the others.
    fn read_slots(
        &mut self,
        stream: &[u8],
        lengths: &[u8],
        wanted: &[bool],
    ) -> Result<(), Malformed> {
        let mut reader = Reader::new(stream);
        let mut lengths = Reader::new(lengths);
        let mut cursor = Cursor::default();
        let mut masks = Vec::new();
        let shapes = std::mem::replace(&mut self.shapes, Cow::Owned(Shapes::default()));
        // Of a damaged granule, there may be as many slots as its patterns have places.
        self.slots
            .reserve(shapes.shapes.last().map_or(0, |shape| shape.slots.end.min(stream.len())));
        for (shape, wanted) in shapes.shapes.iter().zip(wanted) {
            let rows = shape.rows.len();
            for _ in shape.slots.clone() {
                let slot = match StoredSlot::read(&mut reader, &mut masks)? {
                    StoredSlot::Text => texts(rows, *wanted, &mut lengths, &mut cursor)?,
                    StoredSlot::HalfBytes { length } => {
                        self.half_bytes(rows, *wanted, length, &mut cursor)?
                    }
                    StoredSlot::Choices { repeats } => {
                        self.choices(rows, *wanted, &masks, repeats, &mut cursor)?
                    }
                    StoredSlot::Mask { mask, repeats } => {
                        self.masked(rows, *wanted, mask, repeats, &mut cursor)?
                    }
                };
                self.slots.push(slot);
            }
        }
        self.shapes = shapes;
        reader.finish()?;
        lengths.finish()?;
        let whole = cursor.choices == self.bytes.choices.len()
            && (cursor.random, cursor.repetitive, cursor.half_bytes) == self.bytes.values.totals()
            && cursor.text == self.bytes.text.len();
        if whole { Ok(()) } else { Err(CUT_SHORT) }
    }

    fn half_bytes(
        &mut self,
        rows: usize,
        wanted: bool,
        length: usize,
        cursor: &mut Cursor,
    ) -> Result<Slot, Malformed> {
        let stride = length.div_ceil(2).saturating_mul(2);
        let start = cursor.half_bytes;
        cursor.half_bytes = add(start, rows, stride)?;
        if !wanted {
            return Ok(Slot::UNREAD);
        }
        let start = self.bytes.values.half_bytes(start..cursor.half_bytes)?;
        Ok(Slot::new(Kind::HalfBytes { start, stride, length }))
    }

    fn masked(
        &mut self,
        rows: usize,
        wanted: bool,
        number: usize,
        repeats: bool,
        cursor: &mut Cursor,
    ) -> Result<Slot, Malformed> {
        let mask = self.masks.get(number).ok_or(NO_SUCH_MASK)?;
        let next = if repeats { &mut cursor.repetitive } else { &mut cursor.random };
        let start = *next;
        *next = add(start, rows, mask.digits)?;
        if !wanted {
            return Ok(Slot::UNREAD);
        }
        let values = &mut self.bytes.values;
        let start = match repeats {
            true => values.columns(start..*next, mask.digits)?,
            false => values.digits(start..*next, false)?,
        };
        let length = mask.range.len();
        Ok(Slot::new(if mask.digits == length {
            Kind::Digits { start, length }
        } else {
            Kind::Masked { start, mask: number }
        }))
    }

    fn choices(
        &mut self,
        rows: usize,
        wanted: bool,
        masks: &[usize],
        repeats: bool,
        cursor: &mut Cursor,
    ) -> Result<Slot, Malformed> {
        if CHOICES_MAX < masks.len() {
            return Err(NO_SUCH_MASK);
        }
        let mut widths = [0; CHOICES_MAX];
        for (width, mask) in widths.iter_mut().zip(masks) {
            *width = self.masks.get(*mask).ok_or(NO_SUCH_MASK)?.digits;
        }
        let first = cursor.choices;
        cursor.choices = add(first, rows, 1)?;
        let picked = self.bytes.choices.get(first..cursor.choices).ok_or(CUT_SHORT)?;
        if wanted && picked.iter().any(|choice| masks.len() <= usize::from(*choice)) {
            return Err(NO_SUCH_MASK);
        }
        let mut starts = Vec::new();
        // Words have no digits to look for.
        if widths.iter().any(|width| 0 < *width) {
            let width = width_of(picked, &widths, masks.len());
            let next = if repeats { &mut cursor.repetitive } else { &mut cursor.random };
            let start = *next;
            *next = add(start, 1, width)?;
            if wanted {
                let mut start = self.bytes.values.digits(start..*next, repeats)?;
                starts.reserve(rows);
                for choice in picked {
                    starts.push(start as u32);
                    start += widths[usize::from(*choice)];
                }
            }
        }
        if !wanted {
            return Ok(Slot::UNREAD);
        }
        Ok(Slot { kind: Kind::Choices { choices: first, masks: masks.to_vec() }, starts })
    }
}

fn texts(
    rows: usize,
    wanted: bool,
    lengths: &mut Reader<'_>,
    cursor: &mut Cursor,
) -> Result<Slot, Malformed> {
    if !wanted {
        cursor.text = add(cursor.text, 1, lengths.sum(rows)?)?;
        return Ok(Slot::UNREAD);
    }
    let mut starts = Vec::with_capacity(rows + 1);
    starts.push(cursor.text as u32);
    for _ in 0..rows {
        cursor.text = add(cursor.text, 1, lengths.number()?)?;
        starts.push(cursor.text as u32);
    }
    Ok(Slot { kind: Kind::Text, starts })
}

/// How many digits the values take that picked from `masks` masks, which have so many each.
pub(super) fn width_of(picked: &[u8], widths: &[usize; CHOICES_MAX], masks: usize) -> usize {
    let first = widths[0];
    if widths[..masks].iter().all(|width| *width == first) {
        return picked.len() * first;
    }
    picked.iter().map(|choice| widths[usize::from(*choice)]).sum()
}

pub(super) const NO_SUCH_MASK: Malformed = Malformed("a slot names a mask that is not there");

/// `start + count * each`, as long as it stays within what a granule may hold.
pub(super) fn add(start: usize, count: usize, each: usize) -> Result<usize, Malformed> {
    let end = count.checked_mul(each).and_then(|length| start.checked_add(length));
    end.filter(|end| *end <= 2 * STREAM_BYTES_MAX).ok_or(CUT_SHORT)
}

impl Mask {
    /// Of each mask in their stream, in order.
    pub(super) fn all(stream: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut reader = Reader::new(stream);
        let count = reader.count(1)?;
        let mut masks = Vec::with_capacity(count);
        for _ in 0..count {
            let mask = reader.bytes()?;
            let end = stream.len() - reader.remaining();
            let digits = mask.iter().filter(|byte| byte.is_ascii_digit()).count();
            masks.push(Self { range: end - mask.len()..end, digits });
        }
        reader.finish()?;
        Ok(masks)
    }
}

impl Slot {
    const UNREAD: Self = Self { kind: Kind::Unread, starts: Vec::new() };

    fn new(kind: Kind) -> Self {
        Self { kind, starts: Vec::new() }
    }

    /// Appends the value of the row that is number `rank` of its pattern.
    #[inline]
    fn put(
        &self,
        rank: usize,
        bytes: &Bytes<'_>,
        masks: &[Mask],
        line: &mut Pieces,
    ) -> Result<(), Malformed> {
        match &self.kind {
            Kind::Unread => Err(UNREAD),
            Kind::Digits { start, length } => {
                put(line, &bytes.values.digits, start + rank * length, *length)
            }
            Kind::Masked { start, mask } => {
                let mask = &masks[*mask];
                put_masked(line, bytes, mask, start + rank * mask.digits)
            }
            Kind::Choices { choices, masks: of_slot } => {
                let choice = *bytes.choices.get(choices + rank).ok_or(CUT_SHORT)?;
                let mask = &masks[*of_slot.get(choice as usize).ok_or(NO_SUCH_MASK)?];
                if mask.digits == 0 {
                    return put(line, &bytes.masks, mask.range.start, mask.range.len());
                }
                let start = *self.starts.get(rank).ok_or(CUT_SHORT)? as usize;
                if mask.digits == mask.range.len() {
                    put(line, &bytes.values.digits, start, mask.digits)
                } else {
                    put_masked(line, bytes, mask, start)
                }
            }
            Kind::HalfBytes { start, stride, length } => {
                put(line, &bytes.values.half_bytes, start + rank * stride, *length)
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
    bytes: &Bytes<'_>,
    mask: &Mask,
    start: usize,
) -> Result<(), Malformed> {
    let digits = bytes.values.digits.get(start..start + mask.digits).ok_or(CUT_SHORT)?;
    let from = line.len();
    put(line, &bytes.masks, mask.range.start, mask.range.len())?;
    let places = line.since(from).iter_mut().filter(|byte| **byte == b'0');
    places.zip(digits).for_each(|(place, digit)| *place = *digit);
    Ok(())
}
