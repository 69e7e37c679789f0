//! The *real* corpus: the files of loghub with their digits varied, a stream each.
//!
//! From the second round on every digit is drawn anew, dates and addresses too: harder than life,
//! so what is stored here is stored of most logs.

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

impl Line {
    fn new(text: &str) -> Self {
        let digit = |c: char| c.is_ascii_digit();
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(digit) {
            let (before, after) = rest.split_at(at);
            let drawn = after.find(|c| !digit(c)).unwrap_or(after.len());
            pieces.push((before.to_owned(), drawn));
            let (_, after) = after.split_at(drawn);
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
    fn every_digit_changes_and_nothing_else() {
        let line = Line::new("081109 from 10.250.19.102 block 1608999687 é7");
        let form = regex::Regex::new(r"^\d{6} from \d\d\.\d{3}\.\d\d\.\d{3} block \d{10} é\d$");
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
