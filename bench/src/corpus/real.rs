//! The *real* corpus: the files of loghub with their digits varied, a stream each.
//!
//! From the second round on, numbers of eight digits or more count as ids and get all digits
//! anew; of shorter ones, such as times, ports and parts of addresses, the last two change. That
//! is 26 random digits in a line of 143 bytes. Varying every digit would be no log any more: dates
//! and address prefixes would be noise, and no way of storing it could be much better than any
//! other.

use fastrand::Rng;
use record::Labels;

use super::{Burst, Corpus, Marks, Recipe};

#[derive(Debug)]
pub(crate) struct Real {
    sources: Vec<Source>,
    streams: Vec<Labels>,
    origin: String,
}

#[derive(Debug)]
struct Source {
    lines: Vec<Line>,
    next: usize,
    /// Whether every line was written as it is.
    varied: bool,
}

/// A line cut at its digits, so that varying them is a walk over pieces.
#[derive(Debug)]
struct Line {
    text: String,
    /// Each piece of text that stays, and how many digits are drawn after it.
    pieces: Vec<(String, usize)>,
}

impl Real {
    /// # Errors
    /// When the folder of log files cannot be read.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let corpus = Corpus::load()?;
        let streams = corpus.sources.iter().map(|source| {
            Labels::from_pairs([
                ("namespace", source.name.as_str()),
                ("pod", &format!("{}-0", source.name)),
                ("container", "app"),
                ("service_name", "app"),
                ("stream", "stdout"),
            ])
        });
        let sources = corpus.sources.iter().map(|source| Source {
            lines: source.lines.iter().map(|line| Line::new(line)).collect(),
            next: 0,
            varied: false,
        });
        Ok(Self {
            streams: streams.collect(),
            sources: sources.collect(),
            origin: corpus.origin.clone(),
        })
    }
}

/// Numbers of at least this many digits are ids.
const ID_DIGITS_MIN: usize = 8;

impl Line {
    fn new(text: &str) -> Self {
        let digit = |c: char| c.is_ascii_digit();
        let mut pieces = Vec::new();
        let mut kept = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(digit) {
            let (before, after) = rest.split_at(at);
            let (number, after) = after.split_at(after.find(|c| !digit(c)).unwrap_or(after.len()));
            let drawn =
                if ID_DIGITS_MIN <= number.len() { number.len() } else { number.len().min(2) };
            kept.push_str(before);
            kept.push_str(number.split_at(number.len() - drawn).0);
            pieces.push((std::mem::take(&mut kept), drawn));
            rest = after;
        }
        pieces.push((rest.to_owned(), 0));
        Self { text: text.to_owned(), pieces }
    }

    fn vary(&self, rng: &mut Rng, out: &mut String) {
        for (text, digits) in &self.pieces {
            out.push_str(text);
            for _ in 0..*digits {
                out.push(rng.digit(10));
            }
        }
    }
}

impl Recipe for Real {
    fn streams(&self) -> &[Labels] {
        &self.streams
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    fn burst(&mut self, rng: &mut Rng, out: &mut Burst) {
        let stream = rng.usize(..self.sources.len());
        let source = &mut self.sources[stream];
        for _ in 0..rng.usize(1..=8) {
            let line = &source.lines[source.next];
            out.open(rng);
            if source.varied {
                line.vary(rng, out.text());
            } else {
                out.text().push_str(&line.text);
            }
            out.close(stream, Marks::default());
            source.next += 1;
            if source.next == source.lines.len() {
                (source.next, source.varied) = (0, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_change_whole_and_short_numbers_at_their_end() {
        let line = Line::new("081109 from 10.250.19.102 block 1608999687 é7");
        let form = regex::Regex::new(r"^0811\d\d from \d\d\.2\d\d\.\d\d\.1\d\d block \d{10} é\d$");
        let (form, mut rng) = (form.unwrap(), Rng::with_seed(1));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut out = String::new();
            line.vary(&mut rng, &mut out);
            assert!(form.is_match(&out), "{out}");
            seen.insert(out);
        }
        assert_eq!(seen.len(), 100);
    }
}
