//! Log queries: the first entries in query order, out of chunks that come in any order.
//!
//! Holds at most twice `limit` entries: when full, the surplus is cut away and the worst that is
//! left becomes the bar that later rows have to pass. Order is (time, stream, order of ingest),
//! reversed when going backward.

use std::cmp::Ordering;
use std::sync::Arc;

use record::LogBatch;
use segment::logs::plan::Direction;

use super::labels::{Categories, RowLabels};
use super::pipeline::Pipeline;
use crate::error::QueryError;
use crate::scan::{ChunkRows, LogChunk, LogFold};

/// A log line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Unix nanoseconds.
    pub time_ns: i64,
    pub line: String,
    pub labels: Categories,
}

/// Keeps the best entries seen so far.
#[derive(Debug)]
pub(super) struct TopEntries {
    pipeline: Arc<Pipeline>,
    direction: Direction,
    limit: usize,
    kept: Vec<Ranked>,
    /// Rank of the worst entry that still counts, once `limit` are held.
    bar: Option<Rank>,
}

#[derive(Debug)]
struct Ranked {
    rank: Rank,
    entry: Entry,
}

/// Where a row stands in the order of the answer, before direction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    time_ns: i64,
    stream: Arc<str>,
    /// Position of the chunk's source in the order of ingest.
    source: u64,
    row: u64,
}

impl TopEntries {
    pub(super) fn new(pipeline: Arc<Pipeline>, direction: Direction, limit: usize) -> Self {
        Self { pipeline, direction, limit, kept: Vec::new(), bar: None }
    }

    /// The entries in query order.
    pub(super) fn into_entries(mut self) -> Vec<Entry> {
        self.cut();
        self.kept.into_iter().map(|ranked| ranked.entry).collect()
    }

    fn fold_batch(&mut self, source: u64, first_row: u64, batch: &LogBatch) {
        let mut names: Vec<Option<Arc<str>>> = vec![None; batch.streams().len()];
        let mut labels = RowLabels::default();
        let pipeline = Arc::clone(&self.pipeline);
        for (row, &time_ns) in batch.times().iter().enumerate() {
            if self.is_beyond_bar(time_ns) {
                continue;
            }
            let stream = batch.stream_index()[row] as usize;
            let name =
                names[stream].get_or_insert_with(|| batch.streams()[stream].to_string().into());
            let stream = Arc::clone(name);
            let rank = Rank { time_ns, stream, source, row: first_row + row as u64 };
            if self.bar.as_ref().is_some_and(|bar| self.order(&rank, bar) == Ordering::Greater) {
                continue;
            }
            if !pipeline.keeps(batch, row, &mut labels) {
                continue;
            }
            let line = batch.line(row).to_owned();
            let entry = Entry { time_ns, line, labels: labels.categories() };
            self.kept.push(Ranked { rank, entry });
            if self.limit.saturating_mul(2) <= self.kept.len() {
                self.cut();
            }
        }
    }

    /// Whether a row of this time cannot count any more, told without its stream.
    fn is_beyond_bar(&self, time_ns: i64) -> bool {
        self.bar.as_ref().is_some_and(|bar| match self.direction {
            Direction::Forward => bar.time_ns < time_ns,
            Direction::Backward => time_ns < bar.time_ns,
        })
    }

    fn order(&self, left: &Rank, right: &Rank) -> Ordering {
        match self.direction {
            Direction::Forward => left.cmp(right),
            Direction::Backward => right.cmp(left),
        }
    }

    /// Sorts what is held and cuts it to the limit.
    fn cut(&mut self) {
        let mut kept = std::mem::take(&mut self.kept);
        kept.sort_unstable_by(|left, right| self.order(&left.rank, &right.rank));
        kept.truncate(self.limit);
        if kept.len() == self.limit {
            self.bar = kept.last().map(|worst| worst.rank.clone());
        }
        self.kept = kept;
    }
}

impl LogFold for TopEntries {
    const COUNTS: bool = false;

    fn fold(&mut self, chunk: &LogChunk) -> Result<(), QueryError> {
        if let ChunkRows::Batch(batch) = &chunk.rows {
            self.fold_batch(chunk.source, chunk.first_row, batch);
        }
        Ok(())
    }

    fn is_complete(&mut self, next_ns: i64) -> bool {
        if self.bar.is_none() && self.limit <= self.kept.len() {
            self.cut();
        }
        self.is_beyond_bar(next_ns)
    }
}

/// Keeps an entry only if it is at least `interval_ns` away from the last kept one.
pub(super) fn thin_out(entries: Vec<Entry>, interval_ns: i64) -> Vec<Entry> {
    if interval_ns <= 0 {
        return entries;
    }
    let mut last: Option<i64> = None;
    let mut thinned = Vec::new();
    for entry in entries {
        let far = last.is_none_or(|last| interval_ns <= (entry.time_ns - last).abs());
        if far {
            last = Some(entry.time_ns);
            thinned.push(entry);
        }
    }
    thinned
}
