//! Frames: what lines with changing words have in common.
//!
//! A line's **frame** is the line with each token replaced, so that separators alone are left.
//! Lines of one frame with words of their own (names, values, prose) would make a pattern each,
//! and a table of patterns that occur once is a table of lines. So when [`WIDEN_AT`] new patterns
//! of a frame have few rows, its places in which the token changed most are **widened**: from then
//! on, every line of the frame has a placeholder for any token there. Patterns made before stay in
//! the table, and so do those of frames that are never widened.
//!
//! Frames are known by a hash of their separators alone. Two frames of one hash would be widened
//! as one, and a frame then has places beyond its tokens, or tokens beyond its places: neither
//! makes a pattern wrong.
//!
//! What always holds: a line's pattern with its tokens put back is the line, widened or not. Each
//! widening takes at least one more place, so a frame of `n` tokens makes at most `n` times
//! [`WIDEN_AT`] patterns, and one more, that do not pay.
//!
//! Bounds: [`FRAMES_MAX`]; lines of frames beyond it are not widened. Nothing is widened in the
//! first [`PATTERNS_FREE`] patterns of a segment but what segments before have widened
//! ([`super::widened`]).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::classes::{Classes, Edges};
use super::intern::Interner;
use super::pattern::{PLACEHOLDER, TOKEN_PLACEHOLDER};
use super::pieces::Pieces;
use super::widened::WidenedFrames;

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

/// The frames of a segment being built.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Frames by the hash of their separators.
    numbers: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    frames: Vec<Frame>,
    tokens: Tokens,
    widened: bool,
    /// Rows by pattern.
    rows: Vec<u32>,
    /// Patterns before any frame is looked at.
    free: usize,
}

/// The tokens of the line at hand.
#[derive(Debug, Default)]
struct Tokens {
    edges: Edges,
    /// Which of them are variables, a bit each.
    variables: Vec<u64>,
}

#[derive(Debug, Default)]
struct Frame {
    /// Numbers of its patterns since it was last looked at.
    patterns: Vec<u32>,
    /// By token: whether its place is widened, a bit each. Empty before the first time.
    wide: Vec<u64>,
    /// Whether places of it were widened in this segment.
    widened_here: bool,
    /// The pattern of its last line.
    last: Option<u32>,
}

impl Frames {
    /// Frames some of which are `known` to change.
    pub(crate) fn new(free: usize, known: &WidenedFrames) -> Self {
        let mut frames = Self { free, ..Self::default() };
        for (hash, wide) in known.all() {
            frames.numbers.insert(hash, frames.frames.len() as u32);
            frames.frames.push(Frame { wide, ..Frame::default() });
        }
        frames.widened = !frames.frames.is_empty();
        frames
    }

    /// The frames widened in this segment, by the hash of their separators, with their places.
    pub(crate) fn widened(&self) -> impl Iterator<Item = (u64, &[u64])> {
        let all = self.numbers.iter().map(|(hash, number)| (hash, &self.frames[*number as usize]));
        all.filter(|(_, frame)| frame.widened_here).map(|(hash, frame)| (*hash, &frame.wide[..]))
    }

    /// Whether any frame is widened.
    #[inline]
    pub(crate) fn any_widened(&self) -> bool {
        self.widened
    }

    /// The number of a line's frame; `None` when there are too many.
    pub(crate) fn of(&mut self, line: &[u8], classes: &Classes) -> Option<u32> {
        let hash = self.tokens.read(line, classes);
        if let Some(number) = self.numbers.get(&hash) {
            return Some(*number);
        }
        if self.frames.len() == FRAMES_MAX {
            return None;
        }
        let number = self.frames.len() as u32;
        self.frames.push(Frame::default());
        self.numbers.insert(hash, number);
        Some(number)
    }

    /// Cuts the line that [`Frames::of`] was asked about last: its pattern goes to `pattern`, the
    /// rest to `put`.
    pub(crate) fn cut<'a>(
        &self,
        frame: Option<u32>,
        line: &'a [u8],
        pattern: &mut Pieces,
        put: &mut impl FnMut(&'a [u8], usize),
    ) {
        let wide = frame.map_or(&[][..], |frame| &self.frames[frame as usize].wide);
        let places = self.tokens.edges.tokens();
        let mut rest = 0;
        for (at, variables) in self.tokens.variables.iter().enumerate() {
            let wide = wide.get(at).copied().unwrap_or(0);
            let mut left_out = variables | wide;
            while left_out != 0 {
                let bit = left_out.trailing_zeros();
                left_out &= left_out - 1;
                let Some([start, end]) = places.get(at * 64 + bit as usize) else { break };
                let (start, end) = (*start as usize, *end as usize);
                pattern.put(&line[rest..], start - rest);
                let widened = wide >> bit & 1 == 1;
                pattern.put_byte(if widened { TOKEN_PLACEHOLDER } else { PLACEHOLDER });
                rest = end;
                put(&line[start..], end - start);
            }
        }
        pattern.put(&line[rest..], line.len() - rest);
    }

    /// The pattern that a frame's last line had.
    #[inline]
    pub(crate) fn last(&mut self, frame: u32) -> &mut Option<u32> {
        &mut self.frames[frame as usize].last
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
                self.widened = true;
            }
            frame.patterns.clear();
        }
    }
}

impl Tokens {
    /// Finds the tokens of `line`; returns a hash of what is between them.
    fn read(&mut self, line: &[u8], classes: &Classes) -> u64 {
        classes.edges(&mut self.edges);
        self.variables.clear();
        let (mut hash, mut rest) = (0, 0);
        let tokens = self.edges.tokens();
        for (at, tokens) in tokens.chunks(64).enumerate() {
            let mut variables = 0;
            for (bit, [start, end]) in tokens.iter().enumerate() {
                hash ^= hash_of(at * 64 + bit, line, rest, *start as usize);
                rest = *end as usize;
                variables |= self.edges.variable_ends_at(rest) << bit;
            }
            self.variables.push(variables);
        }
        hash ^ hash_of(tokens.len(), line, rest, line.len())
    }
}

/// A hash of the separators from `start` to `end`, which come before the token numbered `at`. None
/// of a line's hashes waits for the one before.
#[inline]
fn hash_of(at: usize, line: &[u8], start: usize, end: usize) -> u64 {
    // Odd, and as many ones as zeros.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let hash = (at as u64 + 1).wrapping_mul(FACTOR);
    // Up to seven bytes of `word`, and how many.
    let fold = |hash: u64, word: u64, length: usize| {
        let word = (word << (8 * (7 - length)) << 8) + length as u64;
        let product = u128::from(hash ^ word) * u128::from(FACTOR);
        product as u64 ^ (product >> 64) as u64
    };
    let (length, rest) = (end - start, line.get(start..).unwrap_or_default());
    if length < 8
        && let Some(word) = rest.first_chunk::<8>()
    {
        return fold(hash, u64::from_le_bytes(*word), length);
    }
    if length == 0 {
        return fold(hash, 0, 0);
    }
    rest[..length].chunks(7).fold(hash, |hash, chunk| {
        let word = chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        fold(hash, word, chunk.len())
    })
}

/// Hashes of what is hashed already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("numbers are all that is hashed")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Frame {
    fn widen(&mut self, patterns: &Interner) {
        let mut tokens: Vec<Vec<&[u8]>> = Vec::new();
        let (mut classes, mut edges) = (Classes::default(), Edges::default());
        for pattern in &self.patterns {
            let pattern = patterns.get(*pattern);
            // A placeholder reads as a token of its own.
            classes.read(pattern);
            classes.edges(&mut edges);
            for (place, [start, end]) in edges.tokens().iter().enumerate() {
                if tokens.len() == place {
                    tokens.push(Vec::with_capacity(self.patterns.len()));
                }
                tokens[place].push(&pattern[*start as usize..*end as usize]);
            }
        }
        let distinct = tokens.iter_mut().map(|tokens| {
            tokens.sort_unstable();
            tokens.dedup();
            tokens.len()
        });
        let distinct: Vec<usize> = distinct.collect();
        let most = distinct.iter().copied().max().unwrap_or(0);
        let enough = most.min(self.patterns.len().div_ceil(CHANGED_SHARE));
        self.widened_here = true;
        let words = distinct.len().div_ceil(64).max(self.wide.len());
        self.wide.resize(words, 0);
        for (place, distinct) in distinct.iter().enumerate() {
            self.wide[place / 64] |= u64::from(enough <= *distinct) << (place % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::logs::pattern::{PatternInterner, interned};
    use crate::logs::pattern_table::PatternTable;
    use crate::logs::sections::FORMAT_VERSION;

    const FREE: usize = 100;

    /// With so many patterns that frames are looked at.
    fn interner() -> PatternInterner {
        interner_knowing(&WidenedFrames::default())
    }

    fn interner_knowing(frames: &WidenedFrames) -> PatternInterner {
        let mut interner = PatternInterner::new(FREE, frames);
        for n in 0..FREE {
            let line: String =
                (0..12).map(|bit| if n >> bit & 1 == 0 { "w," } else { "w;" }).collect();
            interned(&mut interner, line.as_bytes());
        }
        interner
    }

    #[test]
    fn words_that_change_become_slots_and_others_stay() {
        let mut interner = interner();
        let word = |n: usize| char::from(b'a' + (n % 26) as u8).to_string().repeat(1 + n / 26);
        for n in 0..WIDEN_AT {
            let line = format!("user {} logged in, took {n}", word(n));
            let (interned, _) = interned(&mut interner, line.as_bytes());
            assert!(interned.first, "{line}");
        }
        for n in 0..500 {
            let name = word(WIDEN_AT + n);
            let line = format!("user {name} logged in, took {n}");
            let (interned, slots) = interned(&mut interner, line.as_bytes());
            assert_eq!(interned.pattern as usize, FREE + WIDEN_AT + 1);
            assert_eq!(interner.last(), b"user \xfe logged in, took \xff");
            assert_eq!(slots, [name.as_bytes(), n.to_string().as_bytes()]);
        }
        // An identifier that happens to have a digit is a token as well.
        let (digit, slots) = interned(&mut interner, b"user x1 logged in, took 5");
        assert_eq!(digit.pattern as usize, FREE + WIDEN_AT + 1);
        assert_eq!(slots, [&b"x1"[..], b"5"]);
        let (known, _) = interned(&mut interner, b"user a logged in, took 7");
        assert_eq!(known.pattern as usize, FREE + WIDEN_AT + 1, "also where it had one of its own");
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
            interned(&mut interner, line.as_bytes());
        }
        let made = interner.len() - FREE;
        assert!(made <= 6 * WIDEN_AT + 1, "{made}");
    }

    #[test]
    fn what_one_segment_has_widened_the_next_one_knows() {
        let frames = WidenedFrames::default();
        let line = |n: usize| {
            let name: String =
                (0..10).map(|bit| if n >> bit & 1 == 0 { 'a' } else { 'b' }).collect();
            format!("user {name} logged in, took {n}")
        };
        let mut first = interner_knowing(&frames);
        (0..100).for_each(|n| drop(interned(&mut first, line(n).as_bytes())));
        assert_eq!(first.len(), FREE + WIDEN_AT + 1);
        first.hand_on(&frames);
        let mut second = PatternInterner::new(FREE, &frames);
        for n in 0..100 {
            let line = line(n);
            let (interned, slots) = interned(&mut second, line.as_bytes());
            assert_eq!((interned.pattern, interned.first), (1, n == 0));
            assert_eq!(second.last(), b"user \xfe logged in, took \xff");
            assert_eq!(slots.len(), 2);
        }
        interned(&mut second, b"user alone");
        assert_eq!(second.last(), b"user alone", "no frame that was widened");
    }

    /// Lines of few frames whose words change, so that frames are widened again and again.
    fn changing_lines() -> impl Strategy<Value = Vec<String>> {
        let line = prop_oneof![
            3 => "[a-h]{1,2} [a-c0-2]{1,3}=[a-h]{1,2}",
            3 => "([a-c]{1,2}[, ]){1,4}[a-d0-9]{0,20}",
            1 => "(k[a-h]=[a-d1]{1,2} ){60,70}",
            1 => any::<String>(),
        ];
        prop::collection::vec(line, 1..300)
    }

    proptest! {
        #[test]
        fn places_of_another_frame_make_a_pattern_as_well(
            line in any::<String>(),
            wide in prop::collection::vec(any::<u64>(), 0..3),
        ) {
            let mut classes = Classes::default();
            classes.read(line.as_bytes());
            let mut frames = Frames::default();
            let frame = frames.of(line.as_bytes(), &classes).unwrap();
            frames.frames[frame as usize].wide = wide;
            let (mut pattern, mut slots) = (Pieces::default(), Vec::new());
            let mut put = |from: &'_ [u8], length: usize| slots.push(from[..length].to_vec());
            frames.cut(Some(frame), line.as_bytes(), &mut pattern, &mut put);
            let mut next = slots.into_iter();
            let mut rebuilt = Vec::new();
            for byte in pattern.as_bytes() {
                match *byte {
                    PLACEHOLDER | TOKEN_PLACEHOLDER => rebuilt.extend(next.next().unwrap()),
                    byte => rebuilt.push(byte),
                }
            }
            prop_assert_eq!(rebuilt, line.as_bytes());
        }

        #[test]
        fn lines_are_their_patterns_with_tokens_put_back(
            before in changing_lines(),
            lines in changing_lines(),
            free in 0_usize..20,
        ) {
            let frames = WidenedFrames::default();
            let mut interner = PatternInterner::new(free, &frames);
            before.iter().for_each(|line| drop(interned(&mut interner, line.as_bytes())));
            interner.hand_on(&frames);
            let mut interner = PatternInterner::new(free, &frames);
            let mut cut = Vec::new();
            for line in &lines {
                let (interned, slots) = interned(&mut interner, line.as_bytes());
                cut.push((interned, interner.last().to_vec(), slots));
            }
            let table = PatternTable::decode(&interner.encode(), FORMAT_VERSION).unwrap();
            let mut most = 0;
            for (line, (interned, pattern, slots)) in lines.iter().zip(cut) {
                prop_assert_eq!(table.get(interned.pattern).unwrap(), &pattern[..]);
                prop_assert_eq!(interned.first, most < interned.pattern);
                most = most.max(interned.pattern);
                let mut next = slots.into_iter();
                let mut rebuilt = Vec::new();
                for byte in pattern {
                    match byte {
                        PLACEHOLDER | TOKEN_PLACEHOLDER => {
                            let token = next.next().unwrap();
                            let digit = token.iter().any(u8::is_ascii_digit);
                            prop_assert!(digit || byte == TOKEN_PLACEHOLDER);
                            rebuilt.extend_from_slice(token);
                        }
                        byte => rebuilt.push(byte),
                    }
                }
                prop_assert_eq!(rebuilt, line.as_bytes());
                prop_assert_eq!(next.next(), None);
            }
        }
    }
}
