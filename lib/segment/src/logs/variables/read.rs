//! Putting lines together again.
//!
//! Opening a granule to read ([`super::asked`]) finds the values of each slot that the rows asked
//! for have; a line is then put together from any of these rows, into a buffer that is used again.
//!
//! What always holds: every place is checked before it is read; what does not fit is
//! [`Malformed`].

use std::borrow::Cow;
use std::ops::Range;

use super::asked::{Asked, asked};
use super::opened::Opened;
use super::shapes::{NO_SUCH_PATTERN, Shapes};
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
    asked: Asked<'a>,
    masks: Vec<Mask>,
    /// As they are stored: each has its length before it.
    mask_bytes: Cow<'a, [u8]>,
    line: Pieces,
}

/// What values of a group are made of, beside masks.
#[derive(Debug)]
pub(super) struct Bytes<'a> {
    pub(super) choices: Cow<'a, [u8]>,
    pub(super) text: Cow<'a, [u8]>,
    pub(super) values: Values<'a>,
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
        let Opened { table, patterns, shapes, places, masks, mask_bytes, ids, groups } = opened;
        let wanted = shapes.of_rows(patterns, rows);
        Ok(Self {
            table,
            patterns,
            places: places.unwrap_or_else(|| shapes.places(patterns)),
            asked: asked(&shapes, &wanted, &masks, ids, groups)?,
            shapes,
            masks,
            mask_bytes,
            line: Pieces::default(),
        })
    }

    /// The line of `row`.
    pub(crate) fn line(&mut self, row: usize) -> Result<&str, Malformed> {
        let pattern = *self.patterns.get(row).ok_or(CUT_SHORT)?;
        let shape = self.shapes.place(pattern);
        let (slots, bytes) = self.asked.of_shape(shape).ok_or(UNREAD)?;
        let masks = (&self.masks[..], &self.mask_bytes[..]);
        let shape = &self.shapes.shapes[shape];
        let rank = self.places[row] as usize - shape.rows.start;
        self.line.truncate(0);
        let slots = slots.get(..shape.slots.len()).ok_or(CUT_SHORT)?;
        if pattern == NO_PATTERN {
            // The whole line is the one value.
            slots[0].put(rank, bytes, masks, &mut self.line)?;
        } else {
            let text = self.table.bytes();
            let Some((last, before)) = self.table.stretches(pattern).split_last() else {
                return Err(NO_SUCH_PATTERN);
            };
            for (stretch, slot) in before.iter().zip(slots) {
                let stretch = self.table.stretch(*stretch);
                // Without its placeholder.
                put(&mut self.line, text, stretch.start, stretch.len() - 1)?;
                slot.put(rank, bytes, masks, &mut self.line)?;
            }
            let last = self.table.stretch(*last);
            put(&mut self.line, text, last.start, last.len())?;
        }
        std::str::from_utf8(self.line.as_bytes()).map_err(|_| Malformed("a line is not UTF-8"))
    }
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

/// The masks, and the stream that they are in.
type Masks<'m> = (&'m [Mask], &'m [u8]);

impl Slot {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, starts: Vec::new() }
    }

    /// Appends the value of the row that is number `rank` of its pattern.
    #[inline]
    fn put(
        &self,
        rank: usize,
        bytes: &Bytes<'_>,
        (masks, mask_bytes): Masks<'_>,
        line: &mut Pieces,
    ) -> Result<(), Malformed> {
        let digits = &bytes.values.digits;
        match &self.kind {
            Kind::Digits { start, length } => put(line, digits, start + rank * length, *length),
            Kind::Masked { start, mask } => {
                let mask = &masks[*mask];
                put_masked(line, mask_bytes, digits, mask, start + rank * mask.digits())
            }
            Kind::Choices { choices, masks: of_slot } => {
                let choice = *bytes.choices.get(choices + rank).ok_or(CUT_SHORT)?;
                let mask = &masks[*of_slot.get(choice as usize).ok_or(NO_SUCH_MASK)?];
                if mask.digits() == 0 {
                    return put(line, mask_bytes, mask.range().start, mask.range().len());
                }
                let start = *self.starts.get(rank).ok_or(CUT_SHORT)? as usize;
                if mask.digits == mask.length {
                    put(line, digits, start, mask.digits())
                } else {
                    put_masked(line, mask_bytes, digits, mask, start)
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
    mask_bytes: &[u8],
    digits: &[u8],
    mask: &Mask,
    start: usize,
) -> Result<(), Malformed> {
    let digits = digits.get(start..start + mask.digits()).ok_or(CUT_SHORT)?;
    let from = line.len();
    put(line, mask_bytes, mask.range().start, mask.range().len())?;
    let places = line.since(from).iter_mut().filter(|byte| **byte == b'0');
    places.zip(digits).for_each(|(place, digit)| *place = *digit);
    Ok(())
}
