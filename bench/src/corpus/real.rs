//! The *real* corpus: the files of loghub with their digits varied, a stream each.

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
    /// Each piece of other text, and how many digits follow it.
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
        let mut pieces: Vec<(String, usize)> = vec![(String::new(), 0)];
        for c in text.chars() {
            match (c.is_ascii_digit(), pieces.last_mut()) {
                (true, Some((_, digits))) => *digits += 1,
                (false, Some((text, 0))) => text.push(c),
                _ => pieces.push((c.to_string(), 0)),
            }
        }
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
