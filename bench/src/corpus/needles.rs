//! What the named queries search a corpus for.

use serde::Serialize;

use super::CorpusKind;

/// Texts whose place in the corpus is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Needles {
    /// A digit-free word of many lines.
    pub common: &'static str,
    /// A digit-free word of no line.
    pub absent_word: &'static str,
    /// Digit-free letters that are part of no word of any line.
    pub absent_part: &'static str,
    /// A regular expression that looks at digits, so that lines must be read.
    pub regex: &'static str,
    /// An id on one line or one burst of lines, from about three fifths of the corpus; empty
    /// before.
    pub unique: String,
}

/// Ids shorter than this are too likely to come again by chance.
const UNIQUE_BYTES_MIN: usize = 16;

impl Needles {
    pub(super) fn of(kind: CorpusKind) -> Self {
        let (common, regex) = match kind {
            CorpusKind::K8s => ("customer", "took=[0-9]{2}ms|in [0-9]{3} ms"),
            CorpusKind::Access => ("static", "\" 50[0-9] [0-9]{3} "),
            CorpusKind::Wide => ("changed", "changed by 1[0-9]{4}7"),
            CorpusKind::Real => ("error", "port [0-9]{3}7|time: [0-9]\\.[0-9]*77"),
        };
        Self { common, absent_word: "quixotry", absent_part: "zqvxj", regex, unique: String::new() }
    }

    /// Takes the longest id of the line, if it is long enough.
    pub(super) fn look_for_unique(&mut self, line: &str) {
        let tokens = line.split(|c: char| !c.is_ascii_alphanumeric());
        let ids = tokens.filter(|token| token.bytes().any(|b| b.is_ascii_digit()));
        if let Some(longest) = ids.max_by_key(|token| token.len())
            && UNIQUE_BYTES_MIN <= longest.len()
        {
            longest.clone_into(&mut self.unique);
        }
    }

    /// Three characters with a digit in them from inside the unique id: in so many ids that only
    /// lines can tell where.
    pub fn part(&self) -> String {
        let characters: Vec<char> = self.unique.chars().collect();
        let windows = characters.windows(3).skip(1);
        let mut inner = windows.take(characters.len().saturating_sub(4));
        let found = inner.find(|window| window.iter().any(char::is_ascii_digit));
        found.map(|window| window.iter().collect()).unwrap_or_default()
    }
}
