//! What a scan hands to whoever evaluates it.

use record::LogBatch;

use crate::error::QueryError;

/// Rows of one source, in their order of ingest within each stream.
#[derive(Clone, Debug)]
pub struct LogChunk {
    /// Position of the source (a segment, or recent rows) in the order of ingest: rows of one
    /// stream and time in a lower source came first.
    pub source: u64,
    /// Rows of the source that were in chunks before this one.
    pub first_row: u64,
    pub batch: LogBatch,
}

/// Takes in chunks, in any order of sources, and makes something of them.
pub trait LogFold: Send + 'static {
    /// # Errors
    /// A limit, or rows that make the query fail; the scan stops.
    fn fold(&mut self, chunk: &LogChunk) -> Result<(), QueryError>;

    /// Whether rows at `next_ns` or farther on in the plan's direction change nothing any more.
    fn is_complete(&mut self, next_ns: i64) -> bool {
        let _ = next_ns;
        false
    }
}
