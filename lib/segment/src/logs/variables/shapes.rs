//! Which patterns a granule's rows have: their values lie pattern by pattern.

use std::ops::Range;

use crate::logs::pattern::{NO_PATTERN, PatternTable};
use crate::wire::Malformed;

const NO_SUCH_PATTERN: Malformed = Malformed("a row names a pattern that is not there");

/// The rows of a granule by their patterns.
#[derive(Debug)]
pub(super) struct Shapes {
    /// Which row of its pattern each row is.
    pub(super) ranks: Vec<u32>,
    /// By pattern, its place in `shapes`; of patterns that no row has, any.
    shape_of: Vec<u32>,
    pub(super) shapes: Vec<Shape>,
}

/// A pattern that rows of the granule have.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) pattern: u32,
    /// Which of the granule's rows these are, were they sorted by pattern.
    pub(super) rows: Range<usize>,
    /// Which of the granule's slots are its.
    pub(super) slots: Range<usize>,
}

impl Shapes {
    /// Counts the rows of each pattern, and lays the patterns' slots out in their order.
    pub(super) fn of(table: &PatternTable, patterns: &[u32]) -> Result<Self, Malformed> {
        // A granule has few of a segment's patterns: they are numbered as they are met, from 1, so
        // that what is counted stays small, and sorted at the end.
        let mut shape_of = vec![0_u32; table.len() + 1];
        let mut met: Vec<(u32, u32)> = Vec::new();
        let mut ranks = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let number = shape_of.get_mut(*pattern as usize).ok_or(NO_SUCH_PATTERN)?;
            if *number == 0 {
                met.push((*pattern, 0));
                *number = met.len() as u32;
            }
            let (_, count) = &mut met[*number as usize - 1];
            ranks.push(*count);
            *count += 1;
        }
        met.sort_unstable();
        let mut shapes = Vec::with_capacity(met.len());
        let (mut row, mut slot) = (0, 0);
        for (pattern, count) in met {
            shape_of[pattern as usize] = shapes.len() as u32;
            let slots_here = match pattern {
                NO_PATTERN => 1,
                pattern => table.placeholders(pattern).0.len(),
            };
            let (rows, slots) = (row..row + count as usize, slot..slot + slots_here);
            (row, slot) = (rows.end, slots.end);
            shapes.push(Shape { pattern, rows, slots });
        }
        Ok(Self { ranks, shape_of, shapes })
    }

    /// Which shapes any of `rows` has. `patterns` are those of all rows.
    pub(super) fn of_rows(&self, patterns: &[u32], rows: impl Iterator<Item = usize>) -> Vec<bool> {
        let mut wanted = vec![false; self.shapes.len()];
        rows.for_each(|row| wanted[self.place(patterns[row])] = true);
        wanted
    }

    /// The place in `shapes` of a pattern that rows have.
    #[inline]
    pub(super) fn place(&self, pattern: u32) -> usize {
        self.shape_of[pattern as usize] as usize
    }
}
