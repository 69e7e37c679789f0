//! Patterns: the shapes of lines.
//!
//! A line's **pattern** is the line with each variable replaced by [`PLACEHOLDER`]; separators and
//! digit-free words stay. Where words change from line to line as well ([`super::frame`]), the
//! tokens in their place are replaced by [`TOKEN_PLACEHOLDER`]. The placeholders are bytes that no
//! UTF-8 text contains, so a pattern says exactly which of its bytes every line of it has.
//!
//! What always holds: equal numbers mean equal patterns within a segment; number 0 means "none",
//! and a row with it tells nothing about its line.
//!
//! Bounds: [`PATTERNS_MAX`], [`PATTERN_BYTES_MAX`], [`PATTERNS_BYTES_MAX`]; lines beyond them get
//! number 0.

use super::classes::Classes;
use super::frame::Frames;
use super::intern::{Interner, Place, Probe};
use super::pattern_table::Stretches;
use super::pieces::Pieces;
use super::widened::WidenedFrames;

/// Stands for a variable in a pattern.
pub(crate) const PLACEHOLDER: u8 = 0xff;

/// Stands for any token in a pattern, a word or a variable. Since format 3.
pub(crate) const TOKEN_PLACEHOLDER: u8 = 0xfe;

/// The number of "no pattern".
pub(crate) const NO_PATTERN: u32 = 0;

/// Patterns in one segment. Real logs have a few thousand; where a corpus has more, its lines are
/// mostly free text, and a larger table would only move the cost from reading lines to reading
/// patterns.
pub(crate) const PATTERNS_MAX: usize = 65_535;

/// Bytes of one pattern. Longer lines are dumps and blobs, whose shapes hardly ever repeat.
pub(crate) const PATTERN_BYTES_MAX: usize = 4_096;

/// Bytes of all patterns of a segment, which a query on lines has to hold. Merged segments have three
/// times the rows of fresh ones, and JSON bodies with stack traces in them the longest patterns.
pub(crate) const PATTERNS_BYTES_MAX: usize = 24 << 20;

/// Collects the patterns of a segment being built.
#[derive(Debug, Default)]
pub(crate) struct PatternInterner {
    patterns: Interner,
    frames: Frames,
    classes: Classes,
    scratch: Pieces,
}

/// A line's pattern number, and whether this line is the first of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interned {
    pub(crate) pattern: u32,
    pub(crate) first: bool,
}

/// What a line gets whose pattern did not fit.
const NONE: Interned = Interned { pattern: NO_PATTERN, first: false };

impl PatternInterner {
    /// The first `free` patterns keep all their words but those that frames already `known` leave
    /// out.
    pub(crate) fn new(free: usize, known: &WidenedFrames) -> Self {
        Self { frames: Frames::new(free, known), ..Self::default() }
    }

    /// Tells `others` which frames were widened here.
    pub(crate) fn hand_on(&self, others: &WidenedFrames) {
        others.keep(self.frames.widened());
    }

    /// Makes room for the patterns that so many lines to come are likely to have.
    pub(crate) fn reserve(&mut self, lines: usize) {
        const LINES_PER_PATTERN: usize = 16;
        const PATTERN_BYTES: usize = 128;
        let patterns = (lines / LINES_PER_PATTERN).min(PATTERNS_MAX);
        self.patterns.reserve(patterns, patterns * PATTERN_BYTES);
    }

    /// Cuts `line`: `put` gets what its pattern leaves out, in order, as the first so many bytes of
    /// what is left of the line.
    pub(crate) fn intern<'a>(
        &mut self,
        line: &'a [u8],
        put: &mut impl FnMut(&'a [u8], usize),
    ) -> Interned {
        self.scratch.truncate(0);
        self.classes.read(line);
        if self.frames.any_widened() {
            return self.intern_framed(line, put);
        }
        self.cut(line, put);
        match self.patterns.probe(self.scratch.as_bytes()) {
            Probe::Known(id) => self.known(id),
            Probe::Absent(_) if self.full() => NONE,
            Probe::Absent(place) => {
                let frame = self.frames.of(line, &self.classes);
                self.add(place, frame)
            }
        }
    }

    /// Interns a line where some frames are widened.
    fn intern_framed<'a>(
        &mut self,
        line: &'a [u8],
        put: &mut impl FnMut(&'a [u8], usize),
    ) -> Interned {
        let frame = self.frames.of(line, &self.classes);
        self.frames.cut(frame, line, &mut self.scratch, put);
        let mut unframed = None;
        let last = match frame {
            Some(frame) => self.frames.last(frame),
            None => &mut unframed,
        };
        if let Some(id) = *last
            && self.patterns.get(id) == self.scratch.as_bytes()
        {
            return self.known(id);
        }
        match self.patterns.probe(self.scratch.as_bytes()) {
            Probe::Known(id) => {
                *last = Some(id);
                self.known(id)
            }
            Probe::Absent(_) if self.full() => NONE,
            Probe::Absent(place) => self.add(place, frame),
        }
    }

    /// Cuts a line at its variables.
    fn cut<'a>(&mut self, line: &'a [u8], put: &mut impl FnMut(&'a [u8], usize)) {
        let (classes, scratch) = (&self.classes, &mut self.scratch);
        let mut rest = 0;
        classes.variables(|start, end| {
            scratch.put(&line[rest..], start - rest);
            scratch.put_byte(PLACEHOLDER);
            rest = end;
            put(&line[start..], end - start);
        });
        scratch.put(&line[rest..], line.len() - rest);
    }

    fn add(&mut self, place: Place, frame: Option<u32>) -> Interned {
        let id = self.patterns.insert(place, self.scratch.as_bytes());
        self.frames.add(frame, id, &self.patterns);
        Interned { pattern: id + 1, first: true }
    }

    #[inline]
    fn known(&mut self, id: u32) -> Interned {
        self.frames.row(id);
        Interned { pattern: id + 1, first: false }
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

    /// The section of all of them, as [`super::pattern_table`] reads it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut stretches = Stretches::default();
        self.patterns.iter().for_each(|pattern| stretches.add(pattern));
        stretches.encode()
    }
}

/// Interns a line; with what fills the slots of its pattern.
#[cfg(test)]
pub(crate) fn interned<'a>(
    interner: &mut PatternInterner,
    line: &'a [u8],
) -> (Interned, Vec<&'a [u8]>) {
    let mut slots = Vec::new();
    let interned = interner.intern(line, &mut |from, length| slots.push(&from[..length]));
    (interned, slots)
}

#[cfg(test)]
pub(crate) fn pattern_of(line: &str) -> Vec<u8> {
    let mut interner = PatternInterner::default();
    interned(&mut interner, line.as_bytes());
    interner.last().to_vec()
}

/// A pattern that lines like this one may have: the places in `wide` are widened.
#[cfg(test)]
pub(crate) fn wide_pattern_of(line: &str, wide: u32) -> Vec<u8> {
    let mut pattern = Vec::new();
    let mut place = 0;
    super::token::walk(line.as_bytes(), |piece| match piece {
        super::token::Piece::Separators(text) => pattern.extend_from_slice(text),
        super::token::Piece::Token(token) => {
            match (wide >> (place % 32) & 1, token.variable) {
                (1, _) => pattern.push(TOKEN_PLACEHOLDER),
                (_, true) => pattern.push(PLACEHOLDER),
                _ => pattern.extend_from_slice(token.bytes),
            }
            place += 1;
        }
    });
    pattern
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::logs::pattern_table::PatternTable;
    use crate::logs::sections::FORMAT_VERSION;

    #[test]
    fn lines_of_one_shape_share_a_pattern() {
        let mut interner = PatternInterner::default();
        let (one, variables) = interned(&mut interner, b"GET /a/17 took 3ms");
        assert_eq!(variables, [&b"17"[..], b"3ms"]);
        let (two, variables) = interned(&mut interner, b"GET /a/x9 took 41s");
        assert_eq!(variables, [&b"x9"[..], b"41s"]);
        assert_eq!((one.pattern, one.first), (1, true));
        assert_eq!((two.pattern, two.first), (1, false));
        assert_eq!(interner.last(), b"GET /a/\xff took \xff");
        assert_eq!(interned(&mut interner, b"").0.pattern, 2, "an empty line has a pattern too");
    }

    #[test]
    fn a_long_pattern_is_none() {
        let mut interner = PatternInterner::default();
        let long = "word ".repeat(1_000);
        assert_eq!(interned(&mut interner, long.as_bytes()).0.pattern, NO_PATTERN);
        assert_eq!(interned(&mut interner, b"short").0.pattern, 1);
    }

    #[test]
    fn the_table_is_capped_by_count() {
        let mut interner = PatternInterner::default();
        // By separators: words alone would share a pattern before long.
        let name = |i: usize| -> String {
            (0..16).map(|bit| if i >> bit & 1 == 0 { "w," } else { "w;" }).collect()
        };
        for i in 0..PATTERNS_MAX {
            assert_ne!(interned(&mut interner, name(i).as_bytes()).0.pattern, NO_PATTERN);
        }
        assert_eq!(interned(&mut interner, b"one more").0.pattern, NO_PATTERN);
        assert_eq!(
            interned(&mut interner, name(7).as_bytes()).0.pattern,
            8,
            "known ones stay known"
        );
    }

    proptest! {
        #[test]
        fn a_line_is_its_pattern_with_variables_put_back(line in any::<String>()) {
            let mut interner = PatternInterner::default();
            let (_, variables) = interned(&mut interner, line.as_bytes());
            let mut rebuilt = Vec::new();
            let mut next = variables.into_iter();
            for byte in interner.last() {
                match *byte {
                    PLACEHOLDER => rebuilt.extend_from_slice(next.next().unwrap()),
                    byte => rebuilt.push(byte),
                }
            }
            prop_assert_eq!(rebuilt, line.as_bytes());
            let table = PatternTable::decode(&interner.encode(), FORMAT_VERSION).unwrap();
            prop_assert_eq!(table.get(1).unwrap(), interner.last());
            prop_assert_eq!(table.len(), 1);
        }
    }
}
