//! Putting lines together again.
//!
//! Opening a granule to read decompresses its streams and finds out where the values of each slot
//! begin that the rows asked for have; a line is then put together from any of these rows, into a
//! buffer that is used again.
//!
//! What always holds: every place is checked before it is read; what does not fit is
//! [`Malformed`].

use std::borrow::Cow;
use std::ops::Range;

use super::opened::Opened;
use super::shapes::{NO_SUCH_PATTERN, Shapes};
use super::slot::StoredSlot;
use super::steps::{Steps, width_of};
use super::values::Values;
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
    /// Those of the shapes that the rows asked for have.
    slots: Vec<Slot>,
    /// By shape, where in `slots` its first one is; [`NOT_ASKED`] of others.
    first_slots: Vec<u32>,
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

/// Of a shape that no row asked for has.
const NOT_ASKED: u32 = u32::MAX;

/// A value with its digits made zeros: where it is in the stream of masks. There are many, and
/// stepping over slots asks for one after the other, so they are small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask {
    start: u32,
    length: u32,
    digits: u32,
}

impl<'a> Variables<'a> {
    /// Goes on to read, as far as the lines of `rows` take.
    pub(crate) fn open(
        opened: Opened<'a>,
        rows: impl Iterator<Item = usize>,
    ) -> Result<Self, Malformed> {
        let Opened { table, patterns, shapes, places, masks, mask_bytes, streams } = opened;
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
            places: places.unwrap_or_else(|| shapes.places(patterns)),
            shapes,
            slots: Vec::new(),
            first_slots: Vec::new(),
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
        let shape = self.shapes.place(pattern);
        let first = self.first_slots[shape];
        if first == NOT_ASKED {
            return Err(UNREAD);
        }
        let shape = &self.shapes.shapes[shape];
        let rank = self.places[row] as usize - shape.rows.start;
        self.line.truncate(0);
        let slots = self.slots.get(first as usize..).ok_or(CUT_SHORT)?;
        let slots = slots.get(..shape.slots.len()).ok_or(CUT_SHORT)?;
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
        let mut steps = Steps::new(stream, lengths);
        let shapes = std::mem::replace(&mut self.shapes, Cow::Owned(Shapes::default()));
        let asked = shapes.shapes.iter().zip(wanted).filter(|(_, wanted)| **wanted);
        let slots: usize = asked.map(|(shape, _)| shape.slots.len()).sum();
        // Of a damaged granule, there may be as many slots as its patterns have places.
        self.slots.reserve(slots.min(stream.len()));
        self.first_slots.reserve(shapes.shapes.len());
        for (shape, wanted) in shapes.shapes.iter().zip(wanted) {
            if !wanted {
                steps.over(shape, &self.masks, &self.bytes.choices)?;
                self.first_slots.push(NOT_ASKED);
                continue;
            }
            self.first_slots.push(self.slots.len() as u32);
            let rows = shape.rows.len();
            for _ in shape.slots.clone() {
                let slot = match StoredSlot::read(&mut steps.slots, &mut steps.masks)? {
                    StoredSlot::Text => texts(rows, &mut steps)?,
                    StoredSlot::HalfBytes { length } => {
                        self.half_bytes(rows, length, &mut steps)?
                    }
                    StoredSlot::Choices { repeats } => self.choices(rows, repeats, &mut steps)?,
                    StoredSlot::Mask { mask, repeats } => {
                        self.masked(rows, mask, repeats, &mut steps)?
                    }
                };
                self.slots.push(slot);
            }
        }
        self.shapes = shapes;
        let Steps { slots, lengths, choices, random, repetitive, text, half_bytes, .. } = steps;
        slots.finish()?;
        lengths.finish()?;
        let whole = choices == self.bytes.choices.len()
            && (random, repetitive, half_bytes) == self.bytes.values.totals()
            && text == self.bytes.text.len();
        if whole { Ok(()) } else { Err(CUT_SHORT) }
    }

    fn half_bytes(
        &mut self,
        rows: usize,
        length: usize,
        steps: &mut Steps<'_>,
    ) -> Result<Slot, Malformed> {
        let stride = length.div_ceil(2).saturating_mul(2);
        let start = self.bytes.values.half_bytes(steps.half_bytes(rows, length)?)?;
        Ok(Slot::new(Kind::HalfBytes { start, stride, length }))
    }

    fn masked(
        &mut self,
        rows: usize,
        number: usize,
        repeats: bool,
        steps: &mut Steps<'_>,
    ) -> Result<Slot, Malformed> {
        let mask = self.masks.get(number).ok_or(NO_SUCH_MASK)?;
        let (digits, length) = (mask.digits(), mask.range().len());
        let range = steps.digits(rows, digits, repeats)?;
        let start = match repeats {
            true => self.bytes.values.columns(range, digits)?,
            false => self.bytes.values.digits(range, false)?,
        };
        Ok(Slot::new(if digits == length {
            Kind::Digits { start, length }
        } else {
            Kind::Masked { start, mask: number }
        }))
    }

    fn choices(
        &mut self,
        rows: usize,
        repeats: bool,
        steps: &mut Steps<'_>,
    ) -> Result<Slot, Malformed> {
        let widths = steps.widths(&self.masks)?;
        let chosen = steps.choices(rows)?;
        let first = chosen.start;
        let picked = self.bytes.choices.get(chosen).ok_or(CUT_SHORT)?;
        let masks = steps.masks.clone();
        if picked.iter().any(|choice| masks.len() <= usize::from(*choice)) {
            return Err(NO_SUCH_MASK);
        }
        let mut starts = Vec::new();
        // Words have no digits to look for.
        if widths.iter().any(|width| 0 < *width) {
            let range = steps.digits(1, width_of(picked, &widths), repeats)?;
            let mut start = self.bytes.values.digits(range, repeats)? as u32;
            starts.reserve(rows);
            for choice in picked {
                starts.push(start);
                start += widths[usize::from(*choice)];
            }
        }
        Ok(Slot { kind: Kind::Choices { choices: first, masks }, starts })
    }
}

fn texts(rows: usize, steps: &mut Steps<'_>) -> Result<Slot, Malformed> {
    let mut starts = Vec::with_capacity(rows + 1);
    starts.push(steps.text as u32);
    for _ in 0..rows {
        steps.next_text()?;
        starts.push(steps.text as u32);
    }
    Ok(Slot { kind: Kind::Text, starts })
}

pub(super) const NO_SUCH_MASK: Malformed = Malformed("a slot names a mask that is not there");

impl Mask {
    /// Of each mask in their stream, in order.
    pub(super) fn all(stream: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut reader = Reader::new(stream);
        let count = reader.count(1)?;
        let mut masks = Vec::with_capacity(count);
        for _ in 0..count {
            let mask = reader.bytes()?;
            let end = stream.len() - reader.remaining();
            let digits = mask.iter().filter(|byte| byte.is_ascii_digit()).count() as u32;
            let (start, length) = ((end - mask.len()) as u32, mask.len() as u32);
            masks.push(Self { start, length, digits });
        }
        reader.finish()?;
        Ok(masks)
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..(self.start + self.length) as usize
    }

    pub(super) fn digits(self) -> usize {
        self.digits as usize
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
        bytes: &Bytes<'_>,
        masks: &[Mask],
        line: &mut Pieces,
    ) -> Result<(), Malformed> {
        match &self.kind {
            Kind::Digits { start, length } => {
                put(line, &bytes.values.digits, start + rank * length, *length)
            }
            Kind::Masked { start, mask } => {
                let mask = &masks[*mask];
                put_masked(line, bytes, mask, start + rank * mask.digits())
            }
            Kind::Choices { choices, masks: of_slot } => {
                let choice = *bytes.choices.get(choices + rank).ok_or(CUT_SHORT)?;
                let mask = &masks[*of_slot.get(choice as usize).ok_or(NO_SUCH_MASK)?];
                if mask.digits() == 0 {
                    return put(line, &bytes.masks, mask.range().start, mask.range().len());
                }
                let start = *self.starts.get(rank).ok_or(CUT_SHORT)? as usize;
                if mask.digits == mask.length {
                    put(line, &bytes.values.digits, start, mask.digits())
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
    let digits = bytes.values.digits.get(start..start + mask.digits()).ok_or(CUT_SHORT)?;
    let from = line.len();
    put(line, &bytes.masks, mask.range().start, mask.range().len())?;
    let places = line.since(from).iter_mut().filter(|byte| **byte == b'0');
    places.zip(digits).for_each(|(place, digit)| *place = *digit);
    Ok(())
}
