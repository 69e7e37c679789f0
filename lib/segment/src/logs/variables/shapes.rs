//! Which patterns a granule's rows have: their values lie pattern by pattern.

use std::ops::Range;

use crate::logs::pattern::NO_PATTERN;
use crate::logs::pattern_table::PatternTable;
use crate::wire::Malformed;

pub(super) const NO_SUCH_PATTERN: Malformed = Malformed("a row names a pattern that is not there");

/// The rows of a granule by their patterns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shapes {
    /// By pattern, its place in `shapes`; of patterns that no row has, any.
    shape_of: Vec<u32>,
    /// In the order of their patterns.
    pub(super) shapes: Vec<Shape>,
}

/// A pattern that rows of the granule have.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) pattern: u32,
    /// Which of the granule's rows these are, were they sorted by pattern.
    pub(crate) rows: Range<usize>,
    /// Which of the granule's slots are its.
    pub(super) slots: Range<usize>,
}

impl Shapes {
    /// Counts the rows of each pattern, and lays the patterns' slots out in their order.
    pub(crate) fn of(table: &PatternTable, patterns: &[u32]) -> Result<Self, Malformed> {
        // A granule has few of a segment's patterns: they are numbered as they are met, from 1, so
        // that what is counted stays small, and sorted at the end.
        let mut shape_of = vec![0_u32; table.len() + 1];
        let mut met: Vec<(u32, u32)> = Vec::new();
        for pattern in patterns {
            let number = shape_of.get_mut(*pattern as usize).ok_or(NO_SUCH_PATTERN)?;
            if *number == 0 {
                met.push((*pattern, 0));
                *number = met.len() as u32;
            }
            met[*number as usize - 1].1 += 1;
        }
        met.sort_unstable();
        let mut shapes = Vec::with_capacity(met.len());
        let (mut row, mut slot) = (0, 0);
        for (pattern, count) in met {
            shape_of[pattern as usize] = shapes.len() as u32;
            let slots_here = match pattern {
                NO_PATTERN => 1,
                pattern => table.placeholders(pattern),
            };
            let (rows, slots) = (row..row + count as usize, slot..slot + slots_here);
            (row, slot) = (rows.end, slots.end);
            shapes.push(Shape { pattern, rows, slots });
        }
        Ok(Self { shape_of, shapes })
    }

    /// Where each row is, were they sorted by pattern.
    pub(super) fn places(&self, patterns: &[u32]) -> Vec<u32> {
        let mut next: Vec<u32> = self.shapes.iter().map(|shape| shape.rows.start as u32).collect();
        let place = |pattern: &u32| {
            let next = &mut next[self.place(*pattern)];
            let place = *next;
            *next += 1;
            place
        };
        patterns.iter().map(place).collect()
    }

    /// The patterns that rows have, in their order, each with its rows.
    pub(crate) fn all(&self) -> &[Shape] {
        &self.shapes
    }

    /// Which shapes any of `rows` has. `patterns` are those of all rows.
    pub(super) fn of_rows(&self, patterns: &[u32], rows: impl Iterator<Item = usize>) -> Vec<bool> {
        let mut wanted = vec![false; self.shapes.len()];
        rows.for_each(|row| wanted[self.place(patterns[row])] = true);
        wanted
    }

    /// The place in `shapes` of a pattern that rows have.
    #[inline]
    pub(crate) fn place(&self, pattern: u32) -> usize {
        self.shape_of[pattern as usize] as usize
    }
}
