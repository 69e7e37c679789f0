//! What the named queries search a corpus for.

use serde::Serialize;

use super::{CorpusKind, CorpusPlan};

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
    /// Ids on one line or one burst of lines each, from about one, two, three and four fifths of
    /// the corpus: what one of them costs depends on what others it is mistaken for. Fewer before.
    pub unique: Vec<String>,
}

/// Parts of a corpus; the lines with [`Needles::unique`] are where all but the last of them end.
const PLACES: u64 = 5;

/// Ids shorter than this are too likely to come again. In *real*, so are those of 16 characters: keys
/// of libraries, on many lines.
const fn unique_bytes_min(kind: CorpusKind) -> usize {
    match kind {
        CorpusKind::Real => 17,
        CorpusKind::K8s | CorpusKind::Access | CorpusKind::Wide => 16,
    }
}

impl Needles {
    pub(super) fn of(kind: CorpusKind) -> Self {
        let (common, regex) = match kind {
            CorpusKind::K8s => ("customer", "took=[0-9]{2}ms|in [0-9]{3} ms"),
            CorpusKind::Access => ("static", "\" 50[0-9] [0-9]{3} "),
            CorpusKind::Wide => ("changed", "changed by 1[0-9]{4}7"),
            CorpusKind::Real => ("error", "port [0-9]{3}7|time: [0-9]\\.[0-9]*77"),
        };
        Self { common, absent_word: "quixotry", absent_part: "zqvxj", regex, unique: Vec::new() }
    }

    /// Takes the longest id of the line, if it is long enough and the next one's place is reached
    /// with `made` bytes.
    pub(super) fn look_for_unique(&mut self, line: &str, plan: &CorpusPlan, made: u64) {
        let place = self.unique.len() as u64 + 1;
        if place == PLACES || made <= plan.bytes / PLACES * place {
            return;
        }
        let tokens = line.split(|c: char| !c.is_ascii_alphanumeric());
        let ids = tokens.filter(|token| token.bytes().any(|b| b.is_ascii_digit()));
        if let Some(longest) = ids.max_by_key(|token| token.len())
            && unique_bytes_min(plan.kind) <= longest.len()
        {
            self.unique.push(longest.to_owned());
        }
    }

    /// The unique id from so many fifths of the corpus; empty when there is none.
    pub fn unique(&self, fifths: usize) -> &str {
        fifths.checked_sub(1).and_then(|at| self.unique.get(at)).map_or("", String::as_str)
    }

    /// Three characters with a digit in them from inside a unique id: in so many ids that only
    /// lines can tell where.
    pub fn part(&self) -> String {
        let characters: Vec<char> = self.unique(3).chars().collect();
        let windows = characters.windows(3).skip(1);
        let mut inner = windows.take(characters.len().saturating_sub(4));
        let found = inner.find(|window| window.iter().any(char::is_ascii_digit));
        found.map(|window| window.iter().collect()).unwrap_or_default()
    }
}
