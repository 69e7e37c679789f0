//! The rows of a corpus in memory, to be looked at one by one.

use std::collections::BTreeMap;

use fastrand::Rng;
use record::Labels;

use super::SomeLines;
use super::question::{Aggregate, Answer, AskFor, LogQuestion, Series};
use crate::corpus::{CorpusPlan, Rows};

/// Rows in order of time; no two have the same.
#[derive(Clone, Debug, Default)]
pub struct Table {
    streams: Vec<Labels>,
    rows: Vec<TableRow>,
}

#[derive(Clone, Debug)]
struct TableRow {
    stream: usize,
    time_ns: i64,
    line: String,
}

/// A row of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Labels of its stream.
    pub labels: Labels,
    /// Unix ns.
    pub time_ns: i64,
    /// As it was written.
    pub line: String,
}

impl Table {
    /// All rows of a corpus.
    ///
    /// # Errors
    /// When the corpus cannot be made.
    pub fn of(plan: CorpusPlan) -> anyhow::Result<Self> {
        let mut rows = Rows::new(plan)?;
        let mut table = Self { streams: rows.streams().to_vec(), rows: Vec::new() };
        while let Some(row) = rows.next_row() {
            let (stream, time_ns) = (row.stream, row.time_ns);
            table.rows.push(TableRow { stream, time_ns, line: row.line.to_owned() });
        }
        Ok(table)
    }

    /// Rows given one by one, in order of time.
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = (&'a Labels, i64, &'a str)>) -> Self {
        let mut table = Self::default();
        for (labels, time_ns, line) in rows {
            let known = table.streams.iter().position(|stream| stream == labels);
            let stream = known.unwrap_or_else(|| {
                table.streams.push(labels.clone());
                table.streams.len() - 1
            });
            table.rows.push(TableRow { stream, time_ns, line: line.to_owned() });
        }
        table
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The label sets.
    pub fn streams(&self) -> &[Labels] {
        &self.streams
    }

    /// Time of the row at `share` of the table, 0 to 1.
    pub fn time_at(&self, share: f64) -> i64 {
        let at = (self.rows.len() as f64 * share) as usize;
        self.rows.get(at.min(self.rows.len().saturating_sub(1))).map_or(0, |row| row.time_ns)
    }

    /// Answers by looking at every row.
    pub fn answer(&self, question: &LogQuestion) -> Answer {
        let wanted: Vec<bool> = self.streams.iter().map(|s| question.selects(s)).collect();
        let passing = self.rows.iter().filter(|row| {
            wanted[row.stream] && question.filters.iter().all(|f| f.passes(&row.line))
        });
        match &question.ask {
            AskFor::Lines { limit, forward } => {
                let in_range = |row: &&TableRow| {
                    question.start_ns <= row.time_ns && row.time_ns < question.end_ns
                };
                let mut found: Vec<Found> =
                    passing.filter(in_range).map(|r| self.found(r)).collect();
                if !forward {
                    found.reverse();
                }
                found.truncate(*limit);
                Answer::Lines(found)
            }
            AskFor::Values { aggregate, window_secs, step_secs, by } => {
                let rows: Vec<&TableRow> = passing.collect();
                let points = question.points(*step_secs);
                let window_ns = window_secs * 1_000_000_000;
                let mut series: Series = BTreeMap::new();
                for at in points {
                    let time_ns = at * 1_000_000_000;
                    // The start of a window is outside, its end inside.
                    let inside = |row: &&&TableRow| {
                        time_ns - window_ns < row.time_ns && row.time_ns <= time_ns
                    };
                    for row in rows.iter().filter(inside) {
                        let all = &self.streams[row.stream];
                        let pairs = by.iter().filter_map(|name| Some((name, all.get(name)?)));
                        let values = series.entry(Labels::from_pairs(pairs)).or_default();
                        *values.entry(at).or_default() += match aggregate {
                            Aggregate::Count => 1,
                            Aggregate::Bytes => row.line.len() as u64,
                        };
                    }
                }
                Answer::Values(series)
            }
        }
    }

    fn found(&self, row: &TableRow) -> Found {
        let labels = self.streams[row.stream].clone();
        Found { labels, time_ns: row.time_ns, line: row.line.clone() }
    }
}

impl SomeLines for Table {
    fn any_line(&self, rng: &mut Rng) -> &str {
        &self.rows[rng.usize(..self.rows.len())].line
    }
}
