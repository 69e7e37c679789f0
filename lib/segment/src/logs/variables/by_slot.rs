//! The variables of a granule by slot: what stands in one place of one pattern, one after the
//! other.
//!
//! Lines bring variables row by row. What is done with them is done slot by slot, since one value
//! of a slot is like the one before, for the processor as for who compresses them. Rows are brought
//! together by pattern first: in their own order, each would be fetched from far away, once for
//! every slot.

use super::collected::{GranuleVariables, Value};
use crate::logs::dealt::Dealt;
use crate::logs::pattern::NO_PATTERN;
use crate::logs::pieces::BLOCK;

/// A granule's variables; what it allocates is used again.
#[derive(Debug, Default)]
pub(crate) struct BySlot {
    by_pattern: Dealt,
    shapes: Vec<Shape>,
    /// All variables, end to end: row after row of one pattern, pattern after pattern; behind them a
    /// block of room.
    bytes: Vec<u8>,
    /// Where each begins, and where the last ends.
    starts: Vec<u32>,
}

/// The rows of one pattern.
#[derive(Clone, Copy, Debug)]
struct Shape {
    pattern: u32,
    rows: usize,
    slots: usize,
    /// The number of their first variable.
    first: usize,
}

/// The slots of one pattern.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots<'a> {
    of: &'a BySlot,
    shape: Shape,
}

/// The values of one slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    of: &'a BySlot,
    shape: Shape,
    slot: usize,
}

impl BySlot {
    /// Arranges the variables of a granule whose rows have these patterns.
    pub(crate) fn arrange(&mut self, patterns: &[u32], variables: &GranuleVariables) {
        self.by_pattern.deal(patterns.iter().copied());
        self.shapes.clear();
        let (bytes, count) = variables.size();
        // Never shorter, so that room is cleared only when there is more of it.
        self.bytes.resize(self.bytes.len().max(bytes + BLOCK), 0);
        self.starts.clear();
        self.starts.reserve(count + 1);
        self.starts.push(0);
        let mut end = 0;
        let same = |a: &u32, b: &u32| patterns[*a as usize] == patterns[*b as usize];
        for rows in self.by_pattern.rows().chunk_by(same) {
            let first = self.starts.len() - 1;
            for row in rows {
                let row = variables.row(*row as usize);
                self.starts.extend(row.ends.iter().map(|at| at - row.start + end as u32));
                self.bytes[end..end + row.bytes.len()].copy_from_slice(row.bytes);
                end += row.bytes.len();
            }
            let slots = (self.starts.len() - 1 - first) / rows.len();
            let pattern = patterns[rows[0] as usize];
            self.shapes.push(Shape { pattern, rows: rows.len(), slots, first });
        }
    }

    /// Patterns in the order of their numbers.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = Slots<'_>> {
        self.shapes.iter().map(|shape| Slots { of: self, shape: *shape })
    }

    #[inline]
    fn value(&self, number: usize) -> Value<'_> {
        let (start, end) = (self.starts[number] as usize, self.starts[number + 1] as usize);
        Value { text: &self.bytes[start..], length: end - start }
    }
}

impl<'a> Slots<'a> {
    /// Whether the rows have no pattern, and their lines are the values of the only slot.
    pub(crate) fn are_lines(self) -> bool {
        self.shape.pattern == NO_PATTERN
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Values<'a>> {
        (0..self.shape.slots).map(move |slot| Values { of: self.of, shape: self.shape, slot })
    }
}

impl<'a> Values<'a> {
    #[inline]
    pub(crate) fn iter(self) -> impl Iterator<Item = Value<'a>> {
        let Shape { rows, slots, first, .. } = self.shape;
        (0..rows).map(move |row| self.of.value(first + row * slots + self.slot))
    }
}
