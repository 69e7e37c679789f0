//! The variables of a granule's lines, row by row as they are cut.

use crate::logs::pieces::Pieces;
use crate::logs::short::{Runs, SHORT_BYTES, Short};

/// Variables are copied while the line is at hand: they are gone through again in another order,
/// when the lines would have to be fetched from memory once more.
#[derive(Debug, Default)]
pub(crate) struct GranuleVariables {
    bytes: Pieces,
    /// Where each variable ends in `bytes`.
    ends: Vec<u32>,
    /// How many variables there are up to the end of each row.
    rows: Vec<u32>,
}

/// A row's variables.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowVariables<'a> {
    /// End to end.
    pub(super) bytes: &'a [u8],
    /// Where each ends, counted from where `bytes` begins among all of the granule.
    pub(super) ends: &'a [u32],
    pub(super) start: u32,
}

/// A variable, or a word in the place of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    /// Its bytes, and at least a block of others.
    pub(super) text: &'a [u8],
    pub(super) length: usize,
}

/// Which bytes of a value are digits: a bit each, the first in the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DigitsWithin {
    digits: u64,
    /// The bits of all bytes.
    all: u64,
}

/// Bytes that are short, after the text that they and what follows them stand in.
pub(super) type Part<'a> = (&'a [u8], Short);

impl GranuleVariables {
    /// Adds the first `length` bytes of `from` to the row at hand.
    #[inline]
    pub(crate) fn push(&mut self, from: &[u8], length: usize) {
        self.bytes.put(from, length);
        self.ends.push(self.bytes.len() as u32);
    }

    /// Ends the row at hand.
    pub(crate) fn end_row(&mut self) {
        self.rows.push(self.ends.len() as u32);
    }

    /// Ends the row at hand, which has no pattern, so that its line takes the place of its variables.
    pub(crate) fn end_row_without_pattern(&mut self, line: &[u8]) {
        let row = self.rows.len();
        self.ends.truncate(self.first(row));
        self.bytes.truncate(self.end(self.first(row)));
        self.push(line, line.len());
        self.end_row();
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(0);
        self.ends.clear();
        self.rows.clear();
    }

    /// The variables of the row at hand.
    pub(crate) fn at_hand(&self) -> impl Iterator<Item = Value<'_>> {
        (self.first(self.rows.len())..self.ends.len()).map(|number| {
            let (start, end) = (self.end(number), self.end(number + 1));
            Value { text: self.bytes.from(start), length: end - start }
        })
    }

    /// The variables of a row that ended.
    #[inline]
    pub(super) fn row(&self, row: usize) -> RowVariables<'_> {
        let (first, next) = (self.first(row), self.first(row + 1));
        let (start, end) = (self.end(first), self.end(next));
        let bytes = &self.bytes.as_bytes()[start..end];
        RowVariables { bytes, ends: &self.ends[first..next], start: start as u32 }
    }

    /// Bytes and number of the variables of all rows.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.bytes.len(), self.ends.len())
    }

    /// The number of a row's first variable.
    #[inline]
    fn first(&self, row: usize) -> usize {
        row.checked_sub(1).map_or(0, |before| self.rows[before] as usize)
    }

    /// Where the variables before this one end.
    #[inline]
    fn end(&self, number: usize) -> usize {
        number.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }
}

impl<'a> Value<'a> {
    #[inline]
    pub(crate) fn bytes(self) -> &'a [u8] {
        &self.text[..self.length]
    }

    /// Which of its bytes are digits; `None` where they are too many to say.
    #[inline]
    pub(crate) fn digits(self) -> Option<DigitsWithin> {
        let whole = u64::BITS.checked_sub(self.length as u32)?;
        let parts = (0..).step_by(SHORT_BYTES).zip(self.parts());
        let digits = parts.fold(0, |digits, (at, (_, part))| digits | part.digits().bits() << at);
        Some(DigitsWithin { digits, all: u64::MAX.checked_shr(whole).unwrap_or(0) })
    }

    /// The value, where it is short.
    #[inline]
    pub(crate) fn short(self) -> Option<Short> {
        (self.length <= SHORT_BYTES).then(|| self.part(0).1)
    }

    /// The value part by part, however long it is.
    #[inline]
    pub(super) fn parts(self) -> impl Iterator<Item = Part<'a>> {
        (0..self.length).step_by(SHORT_BYTES).map(move |start| self.part(start))
    }

    #[inline]
    fn part(self, start: usize) -> Part<'a> {
        let text = &self.text[start..];
        let block = text.first_chunk().expect("a block follows whatever was collected");
        (text, Short::of(block, SHORT_BYTES.min(self.length - start)))
    }
}

impl DigitsWithin {
    #[inline]
    pub(crate) fn are_none(self) -> bool {
        self.digits == 0
    }

    #[inline]
    pub(crate) fn are_all(self) -> bool {
        self.digits == self.all
    }

    /// Start and length of each run of other bytes.
    #[inline]
    pub(crate) fn between(self) -> Runs {
        Runs::of(self.all & !self.digits)
    }
}
