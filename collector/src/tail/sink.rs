//! Open batches, one per partition, that rows of all files go into.
//!
//! What always holds: rows leave a partition's batch in the order they came, so a source's
//! offsets grow within its partition. A batch is closed when it is full or has lingered; what is
//! closed waits in [`Sink::take`] and is bounded by how much a step reads.

use std::time::Duration;

use record::{Labels, LogBatch, LogBatchBuilder, SourceId, TimestampNanos};

use crate::parse::partial::FileSerial;

/// Names a batch until it is acknowledged.
pub type BatchId = u64;

/// One row for the queue.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub time: i64,
    pub labels: &'a Labels,
    pub partition: u32,
    pub line: &'a str,
    pub attributes: &'a [(&'a str, &'a str)],
    pub source: SourceId,
    /// Offset just after the record's last byte in its file.
    pub end: u64,
}

/// A closed batch.
#[derive(Clone, Debug)]
pub struct Batch {
    pub id: BatchId,
    pub partition: u32,
    pub rows: LogBatch,
    /// Files whose ledgers wait for it.
    pub files: Vec<FileSerial>,
}

/// The open batches.
#[derive(Debug)]
pub struct Sink {
    open: Vec<OpenBatch>,
    closed: Vec<Batch>,
    next_id: BatchId,
    batch_bytes: usize,
    linger: Duration,
}

#[derive(Debug, Default)]
struct OpenBatch {
    id: BatchId,
    rows: LogBatchBuilder,
    files: Vec<FileSerial>,
    opened: Duration,
}

impl Sink {
    pub fn new(partitions: u32, batch_bytes: usize, linger: Duration) -> Self {
        let open = (0..partitions.max(1)).map(|_| OpenBatch::default()).collect();
        Self { open, closed: Vec::new(), next_id: 1, batch_bytes, linger }
    }

    pub fn partitions(&self) -> u32 {
        u32::try_from(self.open.len()).unwrap_or(u32::MAX)
    }

    /// Adds a row whose pieces lie in `files`; returns the batch it is in.
    pub fn push(&mut self, row: &Row<'_>, files: &[FileSerial], now: Duration) -> BatchId {
        let partition = row.partition as usize % self.open.len();
        let open = &self.open[partition];
        if !open.rows.is_empty() && self.batch_bytes < open.rows.bytes() + row.line.len() {
            self.close(partition);
        }
        let open = &mut self.open[partition];
        if open.rows.is_empty() {
            (open.id, open.opened) = (self.next_id, now);
            self.next_id += 1;
        }
        for file in files {
            // Rows of one file come in runs, so this finds it at the end.
            if !open.files.iter().rev().any(|known| known == file) {
                open.files.push(*file);
            }
        }
        let time = TimestampNanos(row.time);
        open.rows.push(time, row.labels, row.line, row.attributes, Some((row.source, row.end)));
        let id = open.id;
        if self.batch_bytes <= open.rows.bytes() {
            self.close(partition);
        }
        id
    }

    /// Closes the batches that have lingered long enough.
    pub fn close_due(&mut self, now: Duration) {
        for partition in 0..self.open.len() {
            let open = &self.open[partition];
            if !open.rows.is_empty() && open.opened + self.linger <= now {
                self.close(partition);
            }
        }
    }

    /// Closes every batch.
    pub fn close_all(&mut self) {
        for partition in 0..self.open.len() {
            self.close(partition);
        }
    }

    /// Returns when the next open batch has lingered long enough.
    pub fn next_due(&self) -> Option<Duration> {
        let open = self.open.iter().filter(|open| !open.rows.is_empty());
        open.map(|open| open.opened + self.linger).min()
    }

    /// Takes the closed batches, in order.
    pub fn take(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.closed)
    }

    fn close(&mut self, partition: usize) {
        let open = &mut self.open[partition];
        if open.rows.is_empty() {
            return;
        }
        self.closed.push(Batch {
            id: open.id,
            partition: u32::try_from(partition).unwrap_or(u32::MAX),
            rows: open.rows.finish(),
            files: std::mem::take(&mut open.files),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_closes_when_full_or_when_it_has_lingered() {
        let mut sink = Sink::new(2, 1_000, Duration::from_millis(100));
        let labels = Labels::default();
        let line = "x".repeat(400);
        let row = |partition| Row {
            time: 1,
            labels: &labels,
            partition,
            line: &line,
            attributes: &[],
            source: SourceId([0; 16]),
            end: 1,
        };
        let start = Duration::from_secs(1);
        let first = sink.push(&row(0), &[7], start);
        assert_eq!(sink.push(&row(0), &[7, 8], start), first);
        assert_ne!(sink.push(&row(0), &[9], start), first);
        let other = sink.push(&row(1), &[9], start + Duration::from_millis(50));
        let closed = sink.take();
        assert_eq!((closed.len(), closed[0].id, closed[0].rows.len()), (1, first, 2));
        assert_eq!(closed[0].files, [7, 8]);
        assert_eq!(sink.next_due(), Some(start + Duration::from_millis(100)));
        sink.close_due(start + Duration::from_millis(120));
        assert_eq!(sink.take().len(), 1);
        sink.close_all();
        let closed = sink.take();
        assert_eq!((closed[0].id, closed[0].partition), (other, 1));
        assert_eq!(sink.next_due(), None);
    }
}
