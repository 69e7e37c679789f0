//! Frames: what lines with changing words have in common.
//!
//! A line's **frame** is the line with each token replaced, so that separators alone are left.
//! Lines of one frame with words of their own (names, values, prose) would make a pattern each,
//! and a table of patterns that occur once is a table of lines. So when [`WIDEN_AT`] new patterns
//! of a frame have few rows, its places in which the token changed most are **widened**: from then
//! on, lines of the frame have a placeholder for any token there. Patterns made before stay, and
//! so do the first [`PATTERNS_FREE`] of a segment.
//!
//! What always holds: a line's pattern with its tokens put back is the line, widened or not. Each
//! widening takes at least one more place, so a frame of `n` tokens makes at most `n` times
//! [`WIDEN_AT`] patterns, and one more, that do not pay.
//!
//! Bounds: [`FRAMES_MAX`], [`FRAMES_BYTES_MAX`]; lines of frames beyond them are not widened.

use std::collections::HashSet;

use super::intern::{Interner, Probe};
use super::pattern::{PLACEHOLDERS, Slots, TOKEN_PLACEHOLDERS};
use super::pieces::Pieces;
use super::token::{self, Piece, walk};

/// New patterns of a frame after which it is looked at.
const WIDEN_AT: usize = 8;

/// Patterns of a segment below which no frame is: so many cost little, and what stands in a
/// pattern is found without reading lines.
pub(crate) const PATTERNS_FREE: usize = 2_048;

/// Rows for each of its patterns that make a frame's patterns worth keeping.
const ROWS_PER_PATTERN: usize = 4;

/// A place is widened when this share of the patterns has a token of its own there, one in so many.
const CHANGED_SHARE: usize = 4;

/// Frames of a segment.
const FRAMES_MAX: usize = 16_384;

/// Bytes of all frames of a segment.
const FRAMES_BYTES_MAX: usize = 4 << 20;

/// The frames of a segment being built.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    names: Interner,
    frames: Vec<Frame>,
    name: Pieces,
    tokens: Vec<Place>,
    /// Rows by pattern.
    rows: Vec<u32>,
    /// Patterns before any frame is looked at.
    free: usize,
}

/// Where a token of the line at hand is.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    end: u32,
    variable: bool,
}

#[derive(Debug, Default)]
struct Frame {
    /// Numbers of its patterns since it was last looked at.
    patterns: Vec<u32>,
    /// By token: whether its place is widened. Empty before the first time.
    wide: Vec<bool>,
}

impl Frames {
    pub(crate) fn new(free: usize) -> Self {
        Self { free, ..Self::default() }
    }

    /// The number of a line's frame; `None` when there are too many.
    pub(crate) fn of(&mut self, line: &[u8]) -> Option<u32> {
        let (name, tokens) = (&mut self.name, &mut self.tokens);
        name.truncate(0);
        tokens.clear();
        let mut rest = 0;
        token::tokens(line, |range, variable| {
            name.put(&line[rest..], range.start - rest);
            name.put(&TOKEN_PLACEHOLDERS, 1);
            rest = range.end;
            let (start, end) = (range.start as u32, range.end as u32);
            tokens.push(Place { start, end, variable });
        });
        name.put(&line[rest..], line.len() - rest);
        match self.names.probe(name.as_bytes()) {
            Probe::Known(id) => Some(id),
            Probe::Absent(place) => {
                let bytes = self.names.bytes() + name.len();
                if self.names.len() == FRAMES_MAX || FRAMES_BYTES_MAX < bytes {
                    return None;
                }
                self.frames.push(Frame::default());
                Some(self.names.insert(place, name.as_bytes()))
            }
        }
    }

    pub(crate) fn widened(&self, frame: u32) -> bool {
        !self.frames[frame as usize].wide.is_empty()
    }

    /// Cuts the line that [`Frames::of`] was asked about last, whose frame is widened: its pattern
    /// goes to `pattern`, the rest to `slots`.
    pub(crate) fn cut<'a>(
        &self,
        frame: u32,
        line: &'a [u8],
        pattern: &mut Pieces,
        slots: &mut impl Slots<'a>,
    ) {
        let wide = &self.frames[frame as usize].wide;
        slots.restart();
        let mut rest = 0;
        for (place, wide) in self.tokens.iter().zip(wide) {
            if !place.variable && !*wide {
                continue;
            }
            let (start, end) = (place.start as usize, place.end as usize);
            pattern.put(&line[rest..], start - rest);
            pattern.put(if *wide { &TOKEN_PLACEHOLDERS } else { &PLACEHOLDERS }, 1);
            rest = end;
            if place.variable {
                slots.variable_again(&line[start..], end - start);
            } else {
                slots.word(&line[start..], end - start);
            }
        }
        pattern.put(&line[rest..], line.len() - rest);
    }

    /// Counts a row of a pattern.
    #[inline]
    pub(crate) fn row(&mut self, pattern: u32) {
        self.rows[pattern as usize] += 1;
    }

    /// Takes note of a new pattern, which may be one too many for its frame.
    pub(crate) fn add(&mut self, frame: Option<u32>, pattern: u32, patterns: &Interner) {
        self.rows.push(1);
        let Some(frame) = frame else { return };
        let frame = &mut self.frames[frame as usize];
        frame.patterns.push(pattern);
        if WIDEN_AT <= frame.patterns.len() && self.free <= patterns.len() {
            let rows = frame.patterns.iter().map(|pattern| self.rows[*pattern as usize] as usize);
            if rows.sum::<usize>() < ROWS_PER_PATTERN * frame.patterns.len() {
                frame.widen(patterns);
            }
            frame.patterns.clear();
        }
    }
}

impl Frame {
    fn widen(&mut self, patterns: &Interner) {
        let mut tokens: Vec<HashSet<&[u8]>> = Vec::new();
        for pattern in &self.patterns {
            let mut place = 0;
            // A placeholder reads as a token of its own.
            walk(patterns.get(*pattern), |piece| {
                let Piece::Token(token) = piece else { return };
                if tokens.len() == place {
                    tokens.push(HashSet::new());
                }
                tokens[place].insert(token.bytes);
                place += 1;
            });
        }
        let most = tokens.iter().map(HashSet::len).max().unwrap_or(0);
        let enough = most.min(self.patterns.len().div_ceil(CHANGED_SHARE));
        self.wide.resize(tokens.len(), false);
        for (wide, tokens) in self.wide.iter_mut().zip(&tokens) {
            *wide |= enough <= tokens.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::pattern::{PatternInterner, SlotList};

    const FREE: usize = 100;

    /// With so many patterns that frames are looked at.
    fn interner() -> PatternInterner {
        let mut interner = PatternInterner::new(FREE);
        for n in 0..FREE {
            let line: String =
                (0..12).map(|bit| if n >> bit & 1 == 0 { "w," } else { "w;" }).collect();
            interner.intern(line.as_bytes(), &mut SlotList::default());
        }
        interner
    }

    #[test]
    fn words_that_change_become_slots_and_others_stay() {
        let mut interner = interner();
        let word = |n: usize| char::from(b'a' + (n % 26) as u8).to_string().repeat(1 + n / 26);
        for n in 0..WIDEN_AT {
            let line = format!("user {} logged in, took {n}", word(n));
            let interned = interner.intern(line.as_bytes(), &mut SlotList::default());
            assert!(interned.first, "{line}");
        }
        for n in 0..500 {
            let name = word(WIDEN_AT + n);
            let line = format!("user {name} logged in, took {n}");
            let mut slots = SlotList::default();
            let interned = interner.intern(line.as_bytes(), &mut slots);
            assert_eq!(interned.pattern as usize, FREE + WIDEN_AT + 1);
            assert_eq!(interner.last(), b"user \xfe logged in, took \xff");
            assert_eq!(slots.0, [name.as_bytes(), n.to_string().as_bytes()]);
        }
        // An identifier that happens to have a digit is a token as well.
        let mut slots = SlotList::default();
        let interned = interner.intern(b"user x1 logged in, took 5", &mut slots);
        assert_eq!(interned.pattern as usize, FREE + WIDEN_AT + 1);
        assert_eq!(slots.0, [&b"x1"[..], b"5"]);
        let known = interner.intern(b"user a logged in, took 7", &mut SlotList::default());
        assert_eq!(known.pattern as usize, FREE + 1, "patterns made before stay");
    }

    #[test]
    fn a_frame_makes_a_bounded_number_of_patterns() {
        let mut interner = interner();
        let mut random = 1_u64;
        for _ in 0..60_000 {
            let mut word = || {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                char::from(b'a' + (random >> 33) as u8 % 8)
            };
            let line: String = (0..6).flat_map(|_| [word(), ' ']).collect();
            interner.intern(line.as_bytes(), &mut SlotList::default());
        }
        let made = interner.len() - FREE;
        assert!(made <= 6 * WIDEN_AT + 1, "{made}");
    }
}
