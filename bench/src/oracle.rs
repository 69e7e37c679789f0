//! The naive answer: every line that was written, filtered by looking at each.

mod filter;
mod question;
mod table;

use std::collections::BTreeMap;

use fastrand::Rng;

pub use filter::{Filter, quote};
pub use question::{Aggregate, Answer, AskFor, LogQuestion, Series};
pub use table::{Found, Table};

use crate::podlog::Output;

/// Lines that random filters are cut from.
pub trait SomeLines {
    /// A line picked at random.
    fn any_line(&self, rng: &mut Rng) -> &str;
}

/// Which stream a line belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    /// Label `namespace`.
    pub namespace: String,
    /// Label `pod`.
    pub pod: String,
    /// Label `stream`.
    pub output: Output,
}

impl StreamKey {
    /// A selector that only this stream matches.
    pub fn selector(&self) -> String {
        let Self { namespace, pod, output } = self;
        format!(r#"{{namespace="{namespace}", pod="{pod}", stream="{}"}}"#, output.name())
    }
}

/// A line as it was written: its time in ns and its text.
pub type Entry = (i64, String);

/// Everything that was written, by stream, in order.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Entries in order of time, which is the order of writing.
    pub streams: BTreeMap<StreamKey, Vec<Entry>>,
}

impl Written {
    /// Number of lines.
    pub fn len(&self) -> usize {
        self.streams.values().map(Vec::len).sum()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all lines, without line ends.
    pub fn raw_bytes(&self) -> u64 {
        self.streams.values().flatten().map(|(_, line)| line.len() as u64).sum()
    }
}

impl SomeLines for Written {
    fn any_line(&self, rng: &mut Rng) -> &str {
        loop {
            let at = rng.usize(..self.streams.len());
            let entries = self.streams.values().nth(at).expect("in range");
            if !entries.is_empty() {
                return &entries[rng.usize(..entries.len())].1;
            }
        }
    }
}
