//! What a granule being written holds: the words of its patterns, and the variables of its lines
//! with their fragments and lengths.
//!
//! Every distinct thing is worked on once per granule; what repeats costs a look at a stamp or a
//! hash set. No allocation per row.
//!
//! Bounds: the constants here and in the files of each kind. A granule over one of them is marked
//! incomplete in that respect, says nothing there, and is always a candidate.

mod fragments;
mod tokens;
mod words;

use fragments::Fragments;
use tokens::Tokens;
use words::Words;

use super::grams::{Grams, GramsBuilder};
use super::granule::{Complete, GRANULE_ROWS, LengthSet};
use super::index::GranuleDocument;
use super::pattern::{Interned, NO_PATTERN};
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
        if tokens_max < self.tokens.hashes().len() {
            self.tokens.distinct();
            self.complete_mut().tokens = self.tokens.hashes().len() < tokens_max;
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
        if TOKENS_MAX < filter.len() + self.tokens.hashes().len() {
            complete.tokens = false;
        }
        if complete.tokens {
            filter.add(self.granule, self.tokens.hashes().iter().copied());
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

fn text(term: &[u8]) -> &str {
    std::str::from_utf8(term).expect("tokens of UTF-8 text are cut between characters")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::super::index::TERM_BYTES_MAX;
    use super::super::variables::GranuleVariables;
    use super::*;

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
        let hashes = tally.tokens.hashes().to_vec();
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
