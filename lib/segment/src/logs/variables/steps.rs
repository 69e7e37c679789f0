//! Going through the slots of a group in their order, which tells what each has of the streams.
//!
//! Most slots are stepped over: a scan for a few lines wants the values of a few patterns, but a
//! slot's values begin where those of the slot before end.

use std::ops::Range;

use super::ids::{IdSlot, IdSteps, Ids};
use super::opened::Group;
use super::read::{CUT_SHORT, Mask, NO_SUCH_MASK};
use super::shapes::Shape;
use super::slot::StoredSlot;
use super::{CHOICES_MAX, STREAM_BYTES_MAX};
use crate::wire::{Malformed, Reader};

/// How many digits each mask of one slot has.
pub(super) type Widths = [u32; CHOICES_MAX];

/// Where the values of a slot of identifiers are.
#[derive(Debug)]
pub(super) enum Identifiers {
    Listed(IdSlot),
    /// Up to format 6: these characters of the half-bytes, and how many each value has.
    Characters(Range<usize>, usize),
}

/// How far each stream has been handed out to slots.
#[derive(Debug)]
pub(super) struct Steps<'a> {
    pub(super) slots: Reader<'a>,
    pub(super) lengths: Reader<'a>,
    pub(super) choices: usize,
    pub(super) random: usize,
    pub(super) repetitive: usize,
    pub(super) text: usize,
    /// Up to format 6.
    pub(super) half_bytes: usize,
    /// From `lists`; none up to format 6.
    ids: Option<IdSteps>,
    lists: &'a Ids<'a>,
    /// Of the slot with choices that was read last.
    pub(super) masks: Vec<usize>,
    /// Whether lengths are there to be read; otherwise texts are not followed.
    with_texts: bool,
    /// Whether digits are followed where that takes a look at every choice.
    with_digits: bool,
}

impl<'a> Steps<'a> {
    /// Before the first slot of a group whose streams of slots and lengths are loaded.
    pub(super) fn new(group: &'a Group<'_>, ids: &'a Ids<'a>) -> Self {
        let (slots, lengths) = (group.streams.slots.plain(), group.streams.lengths.plain());
        Self {
            slots: Reader::new(slots),
            lengths: Reader::new(lengths),
            choices: 0,
            random: 0,
            repetitive: 0,
            text: 0,
            half_bytes: 0,
            ids: group.ids.clone(),
            lists: ids,
            masks: Vec::new(),
            with_texts: true,
            with_digits: true,
        }
    }

    /// The same for a reader that wants no texts, or no digits: where these begin is not to be used.
    pub(super) fn following(self, with_texts: bool, with_digits: bool) -> Self {
        Self { with_texts, with_digits, ..self }
    }

    /// Steps over all slots of a shape.
    pub(super) fn over(
        &mut self,
        shape: &Shape,
        masks: &[Mask],
        choices: &[u8],
    ) -> Result<(), Malformed> {
        let rows = shape.rows.len();
        for _ in shape.slots.clone() {
            match StoredSlot::read(&mut self.slots, &mut self.masks)? {
                StoredSlot::Text if self.with_texts => {
                    self.text = add(self.text, 1, self.lengths.sum(rows)?)?;
                }
                StoredSlot::Text => {}
                StoredSlot::Identifiers { list } => {
                    self.identifiers(rows, list)?;
                }
                StoredSlot::Choices { repeats } => {
                    self.over_choices(rows, repeats, masks, choices)?;
                }
                StoredSlot::Mask { mask, repeats } => {
                    let mask = masks.get(mask).ok_or(NO_SUCH_MASK)?;
                    self.digits(rows, mask.digits(), repeats)?;
                }
            }
        }
        Ok(())
    }

    fn over_choices(
        &mut self,
        rows: usize,
        repeats: bool,
        masks: &[Mask],
        choices: &[u8],
    ) -> Result<(), Malformed> {
        let chosen = self.choices(rows)?;
        if !self.with_digits {
            return Ok(());
        }
        let picked = choices.get(chosen).ok_or(CUT_SHORT)?;
        let width = match self.one_width(masks)? {
            Some(width) => rows * width,
            None => width_of(picked, &self.widths(masks)?),
        };
        self.digits(1, width, repeats)?;
        Ok(())
    }

    /// The widths of the masks of the slot read last, which has choices; none for others.
    pub(super) fn widths(&self, masks: &[Mask]) -> Result<Widths, Malformed> {
        let mut widths = [0; CHOICES_MAX];
        if CHOICES_MAX < self.masks.len() {
            return Err(NO_SUCH_MASK);
        }
        for (width, mask) in widths.iter_mut().zip(&self.masks) {
            *width = masks.get(*mask).ok_or(NO_SUCH_MASK)?.digits() as u32;
        }
        Ok(widths)
    }

    /// How many digits these masks have, if all have as many; as those of words, which have none.
    fn one_width(&self, masks: &[Mask]) -> Result<Option<usize>, Malformed> {
        let mut widths = self.masks.iter().map(|mask| masks.get(*mask).map(|mask| mask.digits()));
        let Some(first) = widths.next() else { return Ok(Some(0)) };
        let first = first.ok_or(NO_SUCH_MASK)?;
        for width in widths {
            if width.ok_or(NO_SUCH_MASK)? != first {
                return Ok(None);
            }
        }
        Ok(Some(first))
    }

    /// The next choices, one for each of `rows`.
    pub(super) fn choices(&mut self, rows: usize) -> Result<Range<usize>, Malformed> {
        let start = self.choices;
        self.choices = add(start, rows, 1)?;
        Ok(start..self.choices)
    }

    /// The next digits: `rows` times `width`.
    #[inline]
    pub(super) fn digits(
        &mut self,
        rows: usize,
        width: usize,
        repeats: bool,
    ) -> Result<Range<usize>, Malformed> {
        let next = if repeats { &mut self.repetitive } else { &mut self.random };
        let start = *next;
        *next = add(start, rows, width)?;
        Ok(start..*next)
    }

    /// The next identifiers, of a list or, up to format 6, of a length.
    pub(super) fn identifiers(
        &mut self,
        rows: usize,
        list: usize,
    ) -> Result<Identifiers, Malformed> {
        if let Some(ids) = &mut self.ids {
            return ids.next(self.lists, list, rows).map(Identifiers::Listed);
        }
        let start = self.half_bytes;
        self.half_bytes = add(start, rows, stride(list))?;
        Ok(Identifiers::Characters(start..self.half_bytes, list))
    }

    /// Steps over the next value of a slot of texts.
    pub(super) fn next_text(&mut self) -> Result<(), Malformed> {
        self.text = add(self.text, 1, self.lengths.number()?)?;
        Ok(())
    }
}

/// Characters that half-bytes of so many take: an even number.
pub(super) fn stride(length: usize) -> usize {
    length.div_ceil(2).saturating_mul(2)
}

/// How many digits values take that picked from masks of these widths.
pub(super) fn width_of(picked: &[u8], widths: &Widths) -> usize {
    picked.iter().map(|choice| widths[usize::from(*choice)] as usize).sum()
}

/// `start + count * each`, as long as it stays within what a granule may hold.
#[inline]
fn add(start: usize, count: usize, each: usize) -> Result<usize, Malformed> {
    let end = count.checked_mul(each).and_then(|length| start.checked_add(length));
    end.filter(|end| *end <= 2 * STREAM_BYTES_MAX).ok_or(CUT_SHORT)
}
