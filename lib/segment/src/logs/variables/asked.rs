//! Finding the values that rows asked for have.
//!
//! What always holds: of a group that is opened, all streams are used up by its slots, or it is
//! [`Malformed`].

use super::ids::Ids;
use super::opened::Group;
use super::read::{Bytes, CUT_SHORT, Kind, Mask, NO_SUCH_MASK, Slot};
use super::shapes::Shapes;
use super::slot::StoredSlot;
use super::steps::{Identifiers, Steps, stride, width_of};
use super::values::Values;
use crate::wire::Malformed;

/// The slots of the shapes that rows asked for have.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    slots: Vec<Slot>,
    /// By shape, where in `slots` its first one is, and where in `groups` what its values are made
    /// of; [`NOT_ASKED`] of others.
    shapes: Vec<(u32, u32)>,
    groups: Vec<Bytes<'a>>,
}

const NOT_READ: Malformed = Malformed("a line was asked for whose group was not read");

/// Of a shape that no row asked for has.
const NOT_ASKED: (u32, u32) = (u32::MAX, u32::MAX);

/// Finds the slots of the shapes that are `wanted`.
pub(super) fn asked<'a>(
    shapes: &Shapes,
    wanted: &[bool],
    masks: &[Mask],
    mut ids: Ids<'a>,
    groups: Vec<Group<'a>>,
) -> Result<Asked<'a>, Malformed> {
    ids.load()?;
    let mut asked =
        Asked { slots: Vec::new(), shapes: vec![NOT_ASKED; wanted.len()], groups: Vec::new() };
    for mut group in groups.into_iter().filter(|group| group.has(wanted)) {
        if !group.read {
            return Err(NOT_READ);
        }
        let rows = |shape: usize| shapes.shapes[shape].rows.len();
        let rows_asked: usize = group.shapes.clone().filter(|at| wanted[*at]).map(rows).sum();
        let all_rows: usize = group.shapes.clone().map(rows).sum();
        let bytes = group.take_bytes(all_rows <= 2 * rows_asked)?;
        let steps = Steps::new(&group, &ids);
        let mut finder = Finder { masks, ids: &ids, steps, bytes, asked: &mut asked };
        finder.find(shapes, wanted, &group)?;
        let bytes = finder.finish()?;
        asked.groups.push(bytes);
    }
    Ok(asked)
}

impl<'a> Asked<'a> {
    /// The slots from the first of a shape on, and what their values are made of; none of a shape
    /// that was not asked for.
    pub(super) fn of_shape(&self, shape: usize) -> Option<(&[Slot], &Bytes<'a>)> {
        let (slot, group) = self.shapes[shape];
        Some((self.slots.get(slot as usize..)?, self.groups.get(group as usize)?))
    }
}

impl<'a> Group<'a> {
    /// What values are made of, slots and lengths being loaded; all of it spelled out at once if
    /// `whole`.
    fn take_bytes(&mut self, whole: bool) -> Result<Bytes<'a>, Malformed> {
        let streams = &mut self.streams;
        streams.slots.load()?;
        streams.lengths.load()?;
        let repetitive = std::mem::take(&mut streams.repetitive).into_plain()?;
        let half_bytes = std::mem::take(&mut streams.half_bytes).into_plain()?;
        Ok(Bytes {
            choices: std::mem::take(&mut streams.choices).into_plain()?,
            text: std::mem::take(&mut streams.text).into_plain()?,
            values: Values::open(streams.random, repetitive, half_bytes, whole)?,
        })
    }
}

/// One pass over the slots of a group.
struct Finder<'f, 'a> {
    masks: &'f [Mask],
    ids: &'f Ids<'a>,
    steps: Steps<'f>,
    bytes: Bytes<'a>,
    asked: &'f mut Asked<'a>,
}

impl<'a> Finder<'_, 'a> {
    /// Finds the values of the slots of the shapes that are `wanted`, and steps over the others.
    fn find(
        &mut self,
        shapes: &Shapes,
        wanted: &[bool],
        group: &Group<'a>,
    ) -> Result<(), Malformed> {
        let number = self.asked.groups.len() as u32;
        for at in group.shapes.clone() {
            let shape = &shapes.shapes[at];
            if !wanted[at] {
                self.steps.over(shape, self.masks, &self.bytes.choices)?;
                continue;
            }
            self.asked.shapes[at] = (self.asked.slots.len() as u32, number);
            let rows = shape.rows.len();
            for _ in shape.slots.clone() {
                let slot = match StoredSlot::read(&mut self.steps.slots, &mut self.steps.masks)? {
                    StoredSlot::Text => self.texts(rows)?,
                    StoredSlot::Identifiers { list } => self.identifiers(rows, list)?,
                    StoredSlot::Choices { repeats } => self.choices(rows, repeats)?,
                    StoredSlot::Mask { mask, repeats } => self.masked(rows, mask, repeats)?,
                };
                self.asked.slots.push(slot);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Bytes<'a>, Malformed> {
        let Self { steps, bytes, .. } = self;
        let Steps { slots, lengths, choices, random, repetitive, text, half_bytes, .. } = steps;
        slots.finish()?;
        lengths.finish()?;
        let whole = choices == bytes.choices.len()
            && (random, repetitive, half_bytes) == bytes.values.totals()
            && text == bytes.text.len();
        if whole { Ok(bytes) } else { Err(CUT_SHORT) }
    }

    fn identifiers(&mut self, rows: usize, list: usize) -> Result<Slot, Malformed> {
        let values = &mut self.bytes.values;
        let kind = match self.steps.identifiers(rows, list)? {
            Identifiers::Listed(slot) => {
                let (length, stride) = self.ids.sizes(&slot);
                Kind::HalfBytes { start: values.identifiers(&slot, self.ids)?, stride, length }
            }
            Identifiers::Characters(range, length) => {
                Kind::HalfBytes { start: values.half_bytes(range)?, stride: stride(length), length }
            }
        };
        Ok(Slot::new(kind))
    }

    fn masked(&mut self, rows: usize, number: usize, repeats: bool) -> Result<Slot, Malformed> {
        let mask = self.masks.get(number).ok_or(NO_SUCH_MASK)?;
        let (digits, length) = (mask.digits(), mask.range().len());
        let range = self.steps.digits(rows, digits, repeats)?;
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

    fn choices(&mut self, rows: usize, repeats: bool) -> Result<Slot, Malformed> {
        let widths = self.steps.widths(self.masks)?;
        let chosen = self.steps.choices(rows)?;
        let first = chosen.start;
        let picked = self.bytes.choices.get(chosen).ok_or(CUT_SHORT)?;
        let masks = self.steps.masks.clone();
        if picked.iter().any(|choice| masks.len() <= usize::from(*choice)) {
            return Err(NO_SUCH_MASK);
        }
        let mut starts = Vec::new();
        // Words have no digits to look for.
        if widths.iter().any(|width| 0 < *width) {
            let range = self.steps.digits(1, width_of(picked, &widths), repeats)?;
            let mut start = self.bytes.values.digits(range, repeats)? as u32;
            starts.reserve(rows);
            for choice in picked {
                starts.push(start);
                start += widths[usize::from(*choice)];
            }
        }
        Ok(Slot { kind: Kind::Choices { choices: first, masks }, starts })
    }

    fn texts(&mut self, rows: usize) -> Result<Slot, Malformed> {
        let mut starts = Vec::with_capacity(rows + 1);
        starts.push(self.steps.text as u32);
        for _ in 0..rows {
            self.steps.next_text()?;
            starts.push(self.steps.text as u32);
        }
        Ok(Slot { kind: Kind::Text, starts })
    }
}
