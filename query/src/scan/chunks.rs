//! What a scan hands to whoever evaluates it.

use record::LogBatch;
use segment::logs::{MinuteTally, RowTally};

use crate::error::QueryError;

/// Rows of one source, in their order of ingest within each stream.
#[derive(Clone, Debug)]
pub struct LogChunk {
    /// Position of the source (a segment, or recent rows) in the order of ingest: rows of one
    /// stream and time in a lower source came first.
    pub source: u64,
    /// Position of the first row among the source's: rows of one stream and time in a chunk with a
    /// lower one came first.
    pub first_row: u64,
    pub rows: ChunkRows,
}

/// Rows, as far as they are needed.
#[derive(Clone, Debug)]
pub enum ChunkRows {
    Batch(LogBatch),
    /// Only for folds that [count](LogFold::COUNTS).
    Tally(RowTally),
    /// Only for folds that [take whole minutes](LogFold::takes_minutes).
    Minutes(MinuteTally),
}

impl LogChunk {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match &self.rows {
            ChunkRows::Batch(batch) => batch.len(),
            ChunkRows::Tally(tally) => tally.len(),
            ChunkRows::Minutes(minutes) => minutes.counts().map(|c| c.rows as usize).sum(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Takes in chunks, in any order of sources, and makes something of them.
pub trait LogFold: Send + Sized + 'static {
    /// Whether rows are only counted: then each segment is folded into a fold of its own, all at
    /// once, and what counting does not need of rows is not read.
    const COUNTS: bool;

    /// # Errors
    /// A limit, or rows that make the query fail; the scan stops.
    fn fold(&mut self, chunk: &LogChunk) -> Result<(), QueryError>;

    /// Whether rows at `next_ns` or farther on in the plan's direction change nothing any more.
    fn is_complete(&mut self, next_ns: i64) -> bool {
        let _ = next_ns;
        false
    }

    /// Whether rows may come as counts of whole minutes, which end with their last instant.
    fn takes_minutes(&self) -> bool {
        false
    }

    /// Takes in what another fold made of other rows. Asked only of folds that count.
    ///
    /// # Errors
    /// A limit.
    fn merge(&mut self, other: Self) -> Result<(), QueryError> {
        let _ = other;
        Err(QueryError::Internal("rows in order cannot be merged".to_owned()))
    }
}
