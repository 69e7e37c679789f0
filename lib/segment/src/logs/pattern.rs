//! Patterns: the shapes of lines.
//!
//! A line's **pattern** is the line with each variable replaced by [`PLACEHOLDER`]; separators and
//! digit-free words stay. The placeholder is a byte that no UTF-8 text contains, so a pattern says
//! exactly which of its bytes every line of it has.
//!
//! What always holds: equal numbers mean equal patterns within a segment; number 0 means "none",
//! and a row with it tells nothing about its line.
//!
//! Bounds: [`PATTERNS_MAX`], [`PATTERN_BYTES_MAX`], [`PATTERNS_BYTES_MAX`]; lines beyond them get
//! number 0.

use super::intern::{Interner, Probe};
use super::pieces::Pieces;
use super::token::{Variable, variables};
use crate::wire::{self, Malformed, Reader};

/// Stands for a variable in a pattern.
pub(crate) const PLACEHOLDER: u8 = 0xff;

/// As many as [`Pieces`] copies at once.
const PLACEHOLDER_COPIES: usize = 16;

/// The number of "no pattern".
pub(crate) const NO_PATTERN: u32 = 0;

/// Patterns in one segment. Real logs have a few thousand; where a corpus has more, its lines are
/// mostly free text, and a larger table would only move the cost from reading lines to reading
/// patterns.
pub(crate) const PATTERNS_MAX: usize = 65_535;

/// Bytes of one pattern. Longer lines are dumps and blobs, whose shapes hardly ever repeat.
pub(crate) const PATTERN_BYTES_MAX: usize = 4_096;

/// Bytes of all patterns of a segment: what a query on lines may have to read and hold.
pub(crate) const PATTERNS_BYTES_MAX: usize = 8 << 20;

/// Collects the patterns of a segment being built.
#[derive(Debug, Default)]
pub(crate) struct PatternInterner {
    patterns: Interner,
    scratch: Pieces,
}

/// A line's pattern number, and whether this line is the first of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interned {
    pub(crate) pattern: u32,
    pub(crate) first: bool,
}

impl PatternInterner {
    /// Cuts `line` in one pass: `variable` gets its variables in order, the result is its pattern.
    pub(crate) fn intern<'a>(
        &mut self,
        line: &'a [u8],
        mut variable: impl FnMut(Variable<'a>),
    ) -> Interned {
        let scratch = &mut self.scratch;
        scratch.truncate(0);
        let last = variables(line, |from, before, found| {
            scratch.put(from, before);
            scratch.put(&[PLACEHOLDER; PLACEHOLDER_COPIES], 1);
            variable(found);
        });
        scratch.put(last, last.len());
        match self.patterns.probe(self.scratch.as_bytes()) {
            Probe::Known(id) => Interned { pattern: id + 1, first: false },
            Probe::Absent(_) if self.full() => Interned { pattern: NO_PATTERN, first: false },
            Probe::Absent(place) => Interned {
                pattern: self.patterns.insert(place, self.scratch.as_bytes()) + 1,
                first: true,
            },
        }
    }

    /// How many there are, "none" not counted.
    pub(crate) fn len(&self) -> usize {
        self.patterns.len()
    }

    /// The pattern of the line interned last.
    pub(crate) fn last(&self) -> &[u8] {
        self.scratch.as_bytes()
    }

    fn full(&self) -> bool {
        PATTERN_BYTES_MAX < self.scratch.len()
            || self.patterns.len() == PATTERNS_MAX
            || PATTERNS_BYTES_MAX < self.patterns.bytes() + self.scratch.len()
    }

    /// The section: how many, then each.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.patterns.bytes() + 2 * self.patterns.len() + 8);
        wire::put_varint(&mut out, self.patterns.len() as u64);
        for pattern in self.patterns.iter() {
            wire::put_bytes(&mut out, pattern);
        }
        out
    }
}

/// The patterns of a published segment.
#[derive(Debug)]
pub(crate) struct PatternTable {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl PatternTable {
    pub(crate) fn decode(section: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(section);
        let count = reader.count(1)?;
        let mut table =
            Self { bytes: Vec::with_capacity(section.len()), ends: Vec::with_capacity(count) };
        for _ in 0..count {
            table.bytes.extend_from_slice(reader.bytes()?);
            table.ends.push(table.bytes.len());
        }
        reader.finish()?;
        Ok(table)
    }

    /// How many there are, "none" not counted.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The pattern with this number; `None` for [`NO_PATTERN`] and numbers never given.
    pub(crate) fn get(&self, pattern: u32) -> Option<&[u8]> {
        let at = (pattern as usize).checked_sub(1)?;
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        Some(&self.bytes[start..end])
    }
}

impl PatternTable {
    /// The bytes of all patterns, and where those of one begin: 0 for one that is not there.
    pub(crate) fn place(&self, pattern: u32) -> (&[u8], usize) {
        let before = (pattern as usize).checked_sub(2).and_then(|at| self.ends.get(at));
        (&self.bytes, before.copied().unwrap_or(0))
    }
}

#[cfg(test)]
pub(crate) fn pattern_of(line: &str) -> Vec<u8> {
    let mut interner = PatternInterner::default();
    interner.intern(line.as_bytes(), |_| {});
    interner.last().to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_one_shape_share_a_pattern() {
        let mut interner = PatternInterner::default();
        let mut variables = Vec::new();
        let one = interner.intern(b"GET /a/17 took 3ms", |v| variables.push(v.bytes()));
        let two = interner.intern(b"GET /a/x9 took 41s", |v| variables.push(v.bytes()));
        assert_eq!(variables, [&b"17"[..], b"3ms", b"x9", b"41s"]);
        assert_eq!((one.pattern, one.first), (1, true));
        assert_eq!((two.pattern, two.first), (1, false));
        assert_eq!(interner.last(), b"GET /a/\xff took \xff");
        assert_eq!(interner.intern(b"", |_| {}).pattern, 2, "an empty line has a pattern too");
    }

    #[test]
    fn a_long_pattern_is_none() {
        let mut interner = PatternInterner::default();
        let long = "word ".repeat(1_000);
        assert_eq!(interner.intern(long.as_bytes(), |_| {}).pattern, NO_PATTERN);
        assert_eq!(interner.intern(b"short", |_| {}).pattern, 1);
    }

    #[test]
    fn the_table_is_capped_by_count() {
        let mut interner = PatternInterner::default();
        let name = |mut i: usize| {
            let mut word = String::from("w");
            while 0 < i {
                word.push(char::from(b'a' + (i % 26) as u8));
                i /= 26;
            }
            word
        };
        for i in 0..PATTERNS_MAX {
            assert_ne!(interner.intern(name(i).as_bytes(), |_| {}).pattern, NO_PATTERN);
        }
        assert_eq!(interner.intern(b"one more", |_| {}).pattern, NO_PATTERN);
        assert_eq!(interner.intern(name(7).as_bytes(), |_| {}).pattern, 8, "known ones stay known");
    }

    proptest! {
        #[test]
        fn a_line_is_its_pattern_with_variables_put_back(line in any::<String>()) {
            let mut interner = PatternInterner::default();
            let mut variables = Vec::new();
            interner.intern(line.as_bytes(), |v| variables.push(v.bytes()));
            let mut rebuilt = Vec::new();
            let mut next = variables.into_iter();
            for byte in interner.last() {
                match *byte {
                    PLACEHOLDER => rebuilt.extend_from_slice(next.next().unwrap()),
                    byte => rebuilt.push(byte),
                }
            }
            prop_assert_eq!(rebuilt, line.as_bytes());
            let table = PatternTable::decode(&interner.encode()).unwrap();
            prop_assert_eq!(table.get(1).unwrap(), interner.last());
            prop_assert_eq!(table.get(0), None);
            prop_assert_eq!(table.get(2), None);
        }
    }
}
