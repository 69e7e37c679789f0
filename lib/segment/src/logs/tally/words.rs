//! The words of a granule: those of its patterns, and those that stand in the place of variables.

use super::text;
use crate::logs::classes::{Classes, Edges};
use crate::logs::index::TERM_BYTES_MAX;
use crate::logs::intern::{Interner, Probe};
use crate::logs::pattern::{PLACEHOLDER, TOKEN_PLACEHOLDER};

/// Bytes of all distinct words of a segment that are not in patterns, beside those that are.
const WORDS_BYTES_MAX: usize = 16 << 20;

/// Stands in a pattern's list of words for one that is too long to be a term.
const LONG_WORD: u32 = u32::MAX;

/// The words of a segment, and which of them the granule at hand has met.
#[derive(Debug, Default)]
pub(super) struct Words {
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
    pub(super) fn learn(&mut self, pattern: &[u8]) {
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
    pub(super) fn meet(&mut self, pattern: u32, granule: u32) -> bool {
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
    pub(super) fn meet_alone(&mut self, word: &[u8], granule: u32) -> bool {
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
    pub(super) fn for_each_met(&self, granule: u32, mut each: impl FnMut(&str)) {
        for (id, stamp) in (0..).zip(&self.word_stamps) {
            if *stamp == granule {
                each(text(self.words.get(id)));
            }
        }
    }
}
