//! What a granule being written holds: the words of its patterns, and the variables of its lines
//! with their fragments and lengths.
//!
//! Every distinct thing is worked on once per granule; what repeats costs a look at a stamp or a
//! hash set. No allocation per row.
//!
//! Bounds: the constants below. A granule over one of them is marked incomplete in that respect,
//! says nothing there, and is always a candidate.

use super::classes::{Classes, Edges};
use super::grams::{Grams, GramsBuilder};
use super::granule::{Complete, GRANULE_ROWS, LengthSet};
use super::index::{GranuleDocument, TERM_BYTES_MAX};
use super::intern::{Interner, Probe};
use super::pattern::{Interned, NO_PATTERN, PLACEHOLDER, TOKEN_PLACEHOLDER};
use super::runs::Runs;
use super::token::fragments;
use super::token_filter::{self, TokenFilterBuilder, selective, token_hash};
use super::variables::{BySlot, Value, VariablesWriter};

/// Distinct tokens that a granule puts into the filter for every row it may have. A granule with
/// more is full of blobs; its share of the filter would cost more than reading it.
const TOKENS_PER_ROW_MAX: usize = 16;

/// Tokens of all granules of a segment together, 16 bytes each while it is built, and twice that at
/// its end.
pub(crate) const TOKENS_MAX: usize = 4 << 20;

/// Distinct fragments of a granule for every row it may have; a few hundred a granule are usual,
/// identifiers in hexadecimal make thousands, and base64 bodies far more.
const FRAGMENTS_PER_ROW_MAX: usize = 1;

/// Bytes of all distinct fragments of a segment.
const FRAGMENTS_BYTES_MAX: usize = 4 << 20;

/// Bytes of all distinct words of a segment that are not in patterns, beside those that are.
const WORDS_BYTES_MAX: usize = 16 << 20;

/// Stands in a pattern's list of words for one that is too long to be a term.
const LONG_WORD: u32 = u32::MAX;

/// The tally of the current granule, and what it remembers of the segment.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Rows by which a granule's caps are set.
    rows: usize,
    /// Numbers granules from 1, so that a stamp of 0 is "never".
    granule: u32,
    complete: Option<Complete>,
    lengths: LengthSet,
    runs: Runs,
    grams: GramsBuilder,
    tokens: Tokens,
    words: Words,
    fragments: Fragments,
}

impl Tally {
    /// For granules of so many rows. Small ones have the caps of those of [`GRANULE_ROWS`].
    pub(crate) fn new(granule_rows: usize) -> Self {
        Self {
            rows: granule_rows.max(GRANULE_ROWS),
            granule: 0,
            complete: None,
            lengths: LengthSet::default(),
            runs: Runs::default(),
            grams: GramsBuilder::new(granule_rows),
            tokens: Tokens::default(),
            words: Words::default(),
            fragments: Fragments::default(),
        }
    }

    /// Counts a line's pattern; `pattern` are its bytes when it is new to the segment.
    #[inline]
    pub(crate) fn pattern(&mut self, interned: Interned, pattern: &[u8]) {
        if interned.pattern == NO_PATTERN {
            self.complete_mut().words = false;
            return;
        }
        if interned.first {
            self.words.learn(pattern);
        }
        if !self.words.meet(interned.pattern, self.granule + 1) {
            self.complete_mut().words = false;
        }
    }

    /// Counts what stands in the slots of a granule's patterns, which have just been `encoded`.
    ///
    /// Nearly all values share their mask with others, and where the filter does not hold them, it says
    /// all there is to count.
    pub(crate) fn slots(&mut self, granule: &BySlot, encoded: &VariablesWriter) {
        let masks = encoded.masks().filter(|mask| !token_filter::holds(mask));
        masks.for_each(|mask| self.token_of_any_length(mask));
        let mut by_mask = encoded.by_mask().iter();
        for slots in granule.shapes() {
            for values in slots.iter() {
                let by_mask = by_mask.next().is_some_and(|by_mask| *by_mask);
                // A line without a pattern was counted when it came.
                if !by_mask && !slots.are_lines() {
                    values.iter().for_each(|value| self.value(value));
                }
            }
        }
    }

    /// Counts a variable of a line, or a word that is not in its pattern.
    #[inline]
    pub(crate) fn value(&mut self, value: Value<'_>) {
        let bytes = value.bytes();
        let Some(digits) = value.digits() else { return self.token_of_any_length(bytes) };
        if digits.are_none() {
            return self.word(bytes);
        }
        let run = |(start, length): (usize, usize)| &bytes[start..start + length];
        self.variable(bytes, digits.are_all(), digits.between().map(run));
    }

    fn token_of_any_length(&mut self, bytes: &[u8]) {
        match bytes.iter().any(u8::is_ascii_digit) {
            true => self.variable(bytes, bytes.iter().all(u8::is_ascii_digit), fragments(bytes)),
            false => self.word(bytes),
        }
    }

    #[inline]
    fn variable<'v>(
        &mut self,
        bytes: &[u8],
        plain: bool,
        mut fragments: impl Iterator<Item = &'v [u8]>,
    ) {
        self.lengths.insert(bytes.len());
        let known = selective(bytes, plain) && !self.token(token_hash(bytes));
        if !known {
            self.runs.insert(bytes);
            self.grams.insert(bytes);
        }
        if !known && !plain && self.complete().fragments {
            let most = FRAGMENTS_PER_ROW_MAX * self.rows;
            // A single blob may have too many: what goes beyond would use up the segment's room.
            let met = fragments.all(|fragment| {
                self.fragments.meet(fragment, self.granule + 1) && self.fragments.len() <= most
            });
            self.complete_mut().fragments = met;
        }
    }

    #[inline]
    fn word(&mut self, word: &[u8]) {
        if self.complete().words && !self.words.meet_alone(word, self.granule + 1) {
            self.complete_mut().words = false;
        }
    }

    /// Counts a token by its hash; false when it is known to have been counted in this granule.
    #[inline]
    pub(crate) fn token(&mut self, hash: u64) -> bool {
        if !self.complete().tokens {
            return true;
        }
        let fresh = self.tokens.insert(hash);
        let tokens_max = TOKENS_PER_ROW_MAX * self.rows;
        if tokens_max < self.tokens.hashes.len() {
            self.tokens.distinct();
            self.complete_mut().tokens = self.tokens.hashes.len() < tokens_max;
        }
        fresh
    }

    /// Ends the granule: its tokens go to `filter`, its words and fragments to `document`.
    pub(crate) fn end_granule(
        &mut self,
        filter: &mut TokenFilterBuilder,
        document: &mut GranuleDocument,
    ) -> (LengthSet, Runs, Grams, Complete) {
        let mut complete = self.complete();
        if TOKENS_MAX < filter.len() + self.tokens.hashes.len() {
            complete.tokens = false;
        }
        if complete.tokens {
            filter.add(self.granule, self.tokens.hashes.iter().copied());
        }
        if complete.words {
            self.words.for_each_met(self.granule + 1, |word| document.word(word));
        }
        if complete.fragments {
            self.fragments.for_each_met(|fragment| document.fragment(fragment));
        }
        self.tokens.clear();
        self.fragments.clear();
        self.granule += 1;
        self.complete = None;
        let (lengths, runs) = (std::mem::take(&mut self.lengths), std::mem::take(&mut self.runs));
        (lengths, runs, self.grams.end_granule(), complete)
    }

    fn complete(&self) -> Complete {
        self.complete.unwrap_or(Complete::ALL)
    }

    fn complete_mut(&mut self) -> &mut Complete {
        self.complete.get_or_insert(Complete::ALL)
    }
}

/// Hashes that a granule has met lately, by their upper bits.
const RECENT_BITS: u32 = 12;

/// The hashes of a granule's tokens.
#[derive(Debug)]
struct Tokens {
    /// In the order they came. What repeats soon is in here once.
    hashes: Vec<u64>,
    recent: Vec<u64>,
}

impl Default for Tokens {
    fn default() -> Self {
        let mut tokens = Self { hashes: Vec::new(), recent: vec![0; 1 << RECENT_BITS] };
        tokens.clear();
        tokens
    }
}

impl Tokens {
    /// False when the hash is known to be in already.
    #[inline]
    fn insert(&mut self, hash: u64) -> bool {
        let recent = &mut self.recent[(hash >> (u64::BITS - RECENT_BITS)) as usize];
        if *recent == hash {
            return false;
        }
        *recent = hash;
        self.hashes.push(hash);
        true
    }

    /// Leaves each hash in once.
    fn distinct(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
    }

    fn clear(&mut self) {
        self.hashes.clear();
        // Hashes that belong elsewhere stand for "none".
        self.recent.fill(0);
        self.recent[0] = u64::MAX;
    }
}

/// The words of the segment's patterns.
#[derive(Debug, Default)]
struct Words {
    words: Interner,
    classes: Classes,
    edges: Edges,
    /// Words of pattern `n + 1`: up to `ends[n]` in `of_patterns`.
    ends: Vec<usize>,
    of_patterns: Vec<u32>,
    /// The last granule that met the pattern or word.
    pattern_stamps: Vec<u32>,
    word_stamps: Vec<u32>,
}

impl Words {
    fn learn(&mut self, pattern: &[u8]) {
        self.classes.read(pattern);
        self.classes.edges(&mut self.edges);
        for [start, end] in self.edges.tokens() {
            // Between its separators a placeholder reads as a token of its own.
            let token = &pattern[*start as usize..*end as usize];
            if matches!(token, [PLACEHOLDER | TOKEN_PLACEHOLDER]) {
                continue;
            }
            let long = TERM_BYTES_MAX < token.len();
            self.of_patterns.push(if long { LONG_WORD } else { self.words.intern(token) });
        }
        self.ends.push(self.of_patterns.len());
        self.pattern_stamps.push(0);
        self.word_stamps.resize(self.words.len(), 0);
    }

    /// False when the pattern has a word that is too long to be a term.
    fn meet(&mut self, pattern: u32, granule: u32) -> bool {
        let at = pattern as usize - 1;
        if self.pattern_stamps[at] == granule {
            return true;
        }
        self.pattern_stamps[at] = granule;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        let mut whole = true;
        for word in &self.of_patterns[start..self.ends[at]] {
            if *word == LONG_WORD {
                whole = false;
                continue;
            }
            self.word_stamps[*word as usize] = granule;
        }
        whole
    }

    /// False when the word cannot be a term, or there are too many.
    fn meet_alone(&mut self, word: &[u8], granule: u32) -> bool {
        let id = match self.words.probe(word) {
            Probe::Known(id) => id,
            Probe::Absent(place) => {
                let bytes = self.words.bytes() + word.len();
                if TERM_BYTES_MAX < word.len() || WORDS_BYTES_MAX < bytes {
                    return false;
                }
                self.word_stamps.push(0);
                self.words.insert(place, word)
            }
        };
        self.word_stamps[id as usize] = granule;
        true
    }

    /// In the order of their numbers, in which they lie in memory, here and in the index.
    fn for_each_met(&self, granule: u32, mut each: impl FnMut(&str)) {
        for (id, stamp) in (0..).zip(&self.word_stamps) {
            if *stamp == granule {
                each(text(self.words.get(id)));
            }
        }
    }
}

/// Letters of a short fragment are base-53 digits, 0 being "none".
const SHORT_BASE: usize = 53;
const SHORT_LETTERS: usize = 3;
const SHORT_BITS: usize = SHORT_BASE * SHORT_BASE * SHORT_BASE;

/// The fragments of a granule. Most are one to three ASCII letters (hexadecimal ids) and live in a
/// bit map; the rest is interned.
#[derive(Debug)]
struct Fragments {
    short: Vec<u64>,
    short_count: usize,
    long: Interner,
    stamps: Vec<u32>,
    met: Vec<u32>,
}

impl Default for Fragments {
    fn default() -> Self {
        Self {
            short: vec![0; SHORT_BITS.div_ceil(64)],
            short_count: 0,
            long: Interner::default(),
            stamps: Vec::new(),
            met: Vec::new(),
        }
    }
}

impl Fragments {
    /// How many the granule has.
    #[inline]
    fn len(&self) -> usize {
        self.short_count + self.met.len()
    }

    /// False when it cannot be a term, or the segment has too many.
    #[inline]
    fn meet(&mut self, fragment: &[u8], granule: u32) -> bool {
        match short_code(fragment) {
            Some(code) => {
                let bit = 1 << (code % 64);
                self.short_count += usize::from(self.short[code / 64] & bit == 0);
                self.short[code / 64] |= bit;
            }
            None => return self.meet_long(fragment, granule),
        }
        true
    }

    fn meet_long(&mut self, fragment: &[u8], granule: u32) -> bool {
        let id = match self.long.probe(fragment) {
            Probe::Known(id) => id,
            Probe::Absent(place) => {
                let bytes = self.long.bytes() + fragment.len();
                if TERM_BYTES_MAX < fragment.len() || FRAGMENTS_BYTES_MAX < bytes {
                    return false;
                }
                self.stamps.push(0);
                self.long.insert(place, fragment)
            }
        };
        let stamp = &mut self.stamps[id as usize];
        if *stamp != granule {
            *stamp = granule;
            self.met.push(id);
        }
        true
    }

    fn for_each_met(&self, mut each: impl FnMut(&str)) {
        for (at, word) in self.short.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let (letters, length) = short_text(at * 64 + rest.trailing_zeros() as usize);
                each(text(&letters[..length]));
                rest &= rest - 1;
            }
        }
        for id in &self.met {
            each(text(self.long.get(*id)));
        }
    }

    fn clear(&mut self) {
        self.short.fill(0);
        self.short_count = 0;
        self.met.clear();
    }
}

fn short_code(fragment: &[u8]) -> Option<usize> {
    if SHORT_LETTERS < fragment.len() {
        return None;
    }
    let mut code = 0;
    for letter in fragment {
        let digit = match letter {
            b'a'..=b'z' => letter - b'a' + 1,
            b'A'..=b'Z' => letter - b'A' + 27,
            _ => return None,
        };
        code = code * SHORT_BASE + usize::from(digit);
    }
    Some(code)
}

fn short_text(mut code: usize) -> ([u8; SHORT_LETTERS], usize) {
    let mut reversed = [0; SHORT_LETTERS];
    let mut length = 0;
    while 0 < code {
        let digit = (code % SHORT_BASE) as u8;
        reversed[length] = if digit < 27 { b'a' + digit - 1 } else { b'A' + digit - 27 };
        code /= SHORT_BASE;
        length += 1;
    }
    reversed[..length].reverse();
    (reversed, length)
}

fn text(term: &[u8]) -> &str {
    std::str::from_utf8(term).expect("tokens of UTF-8 text are cut between characters")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::super::variables::GranuleVariables;
    use super::*;

    #[test]
    fn short_fragments_survive_their_code() {
        for fragment in ["a", "z", "A", "Z", "ab", "zZ", "aaa", "ZZZ", "fAb"] {
            let (letters, length) = short_text(short_code(fragment.as_bytes()).unwrap());
            assert_eq!(text(&letters[..length]), fragment);
            assert!(short_code(fragment.as_bytes()).unwrap() < SHORT_BITS);
        }
        assert_eq!(short_code("é".as_bytes()), None);
        assert_eq!(short_code(b"abcd"), None);
    }

    fn variable(tally: &mut Tally, text: &str) {
        tally.variable(text.as_bytes(), false, fragments(text.as_bytes()));
    }

    /// For a granule of [`GRANULE_ROWS`].
    fn one_fragment_too_many(tally: &mut Tally) {
        for i in 0..(FRAGMENTS_PER_ROW_MAX * GRANULE_ROWS) as u32 + 1 {
            let name: String =
                (0..4).map(|n| char::from(b'a' + (i >> (4 * n) & 15) as u8)).collect();
            variable(tally, &format!("{name}1"));
        }
    }

    #[test]
    fn more_rows_may_have_more_fragments() {
        let mut tally = Tally::new(2 * GRANULE_ROWS);
        one_fragment_too_many(&mut tally);
        let index = super::super::index::IndexBuilder::new().unwrap();
        let filter = &mut TokenFilterBuilder::default();
        let (_, _, _, complete) = tally.end_granule(filter, &mut index.document());
        assert_eq!(complete, Complete::ALL);
    }

    #[test]
    fn a_blob_leaves_the_segment_room_for_other_fragments() {
        let word = |i: u32| -> String {
            (0..6).map(|n| char::from(b'a' + (i >> (4 * n) & 15) as u8)).collect()
        };
        let blob: String = (0..100_000).map(|i| word(i) + "1").collect();
        let mut tally = Tally::new(1);
        variable(&mut tally, &blob);
        assert!(!tally.complete().fragments);
        assert!(tally.fragments.long.len() <= FRAGMENTS_PER_ROW_MAX * GRANULE_ROWS + 1);
    }

    #[test]
    fn a_granule_over_a_cap_says_so_and_the_next_starts_afresh() {
        let mut tally = Tally::new(1);
        let mut filter = TokenFilterBuilder::default();
        let index = super::super::index::IndexBuilder::new().unwrap();
        one_fragment_too_many(&mut tally);
        let (lengths, _, _, complete) = tally.end_granule(&mut filter, &mut index.document());
        assert_eq!(complete, Complete { words: true, fragments: false, tokens: true });
        assert!(lengths.has_at_least(5) && !lengths.has_longer(5));
        variable(&mut tally, "x1");
        let (lengths, _, _, complete) = tally.end_granule(&mut filter, &mut index.document());
        assert_eq!(complete, Complete::ALL);
        assert!(!lengths.has_longer(2));
        variable(&mut tally, &format!("{}1", "x".repeat(TERM_BYTES_MAX + 1)));
        let (_, _, _, complete) = tally.end_granule(&mut filter, &mut index.document());
        assert!(!complete.fragments);
    }

    #[test]
    fn a_line_without_pattern_makes_the_words_incomplete() {
        let mut tally = Tally::new(1);
        tally.pattern(Interned { pattern: NO_PATTERN, first: false }, b"");
        let index = super::super::index::IndexBuilder::new().unwrap();
        let filter = &mut TokenFilterBuilder::default();
        let (_, _, _, complete) = tally.end_granule(filter, &mut index.document());
        assert_eq!(complete, Complete { words: false, fragments: true, tokens: true });
    }

    /// Everything a granule's tally holds.
    fn held(tally: &mut Tally) -> impl PartialEq + std::fmt::Debug {
        let (mut words, mut fragments) = (Vec::new(), Vec::new());
        let granule = tally.granule + 1;
        tally.words.for_each_met(granule, |word| words.push(word.to_owned()));
        tally.fragments.for_each_met(|fragment| fragments.push(fragment.to_owned()));
        words.sort();
        fragments.sort();
        tally.tokens.distinct();
        let hashes = tally.tokens.hashes.clone();
        (words, fragments, hashes, tally.lengths, tally.runs, tally.grams.end_granule())
    }

    fn token() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-c]{1,3}",
            "[a-zé]{10,40}",
            "[0-9]{1,30}",
            "[0-9a-f]{8,40}",
            "[0-9a-c]{60,70}",
            "[a-zA-Zü0-9]{1,30}",
        ]
    }

    proptest! {
        #[test]
        fn slots_are_counted_as_their_tokens_one_by_one_are(
            rows in prop::collection::vec((0_u32..3, [token(), token()]), 1..60),
        ) {
            let (mut one_by_one, mut by_slot) = (Tally::new(1), Tally::new(1));
            let mut variables = GranuleVariables::default();
            for (pattern, tokens) in &rows {
                for token in tokens.iter().map(String::as_bytes) {
                    variables.push(token, token.len());
                    match token.iter().any(u8::is_ascii_digit) {
                        true => {
                            let plain = token.iter().all(u8::is_ascii_digit);
                            one_by_one.variable(token, plain, fragments(token));
                        }
                        false => one_by_one.word(token),
                    }
                }
                match *pattern {
                    NO_PATTERN => {
                        variables.at_hand().for_each(|value| by_slot.value(value));
                        variables.end_row_without_pattern(b"some line");
                    }
                    _ => variables.end_row(),
                }
            }
            let patterns: Vec<u32> = rows.iter().map(|(pattern, _)| *pattern).collect();
            let mut arranged = BySlot::default();
            arranged.arrange(&patterns, &variables);
            let mut writer = VariablesWriter::new(1).unwrap();
            writer.encode(&arranged).unwrap();
            by_slot.slots(&arranged, &writer);
            prop_assert_eq!(held(&mut by_slot), held(&mut one_by_one));
        }
    }
}
