//! Corpus rows as the batches a collector would send, without a collector.
//!
//! What always holds: rows carry the level, the source and the offset that a collector would give
//! them, one stream stays in one partition, and a batch is cut at the collector's usual size. So
//! an indexer cannot tell the difference.

use bytes::Bytes;
use queue::Message;
use record::{
    BatchError, BatchHeaders, BatchKind, DETECTED_LEVEL, LogBatch, LogBatchBuilder, SourceId,
    SourceRange, TenantId, TimestampNanos, level, partition_for,
};

use crate::corpus::{CorpusPlan, Rows, Summary};

/// The collector's default `batch_bytes`.
pub const BATCH_BYTES: usize = 512 << 10;

/// Bytes a line takes in a pod log beside itself: time, stream, tag, line feed.
const CRI_BYTES: u64 = 41;

/// Makes batches of a corpus.
#[derive(Debug)]
pub struct Batches {
    rows: Rows,
    streams: Vec<Stream>,
    partitions: Vec<LogBatchBuilder>,
    batch_bytes: usize,
    rest: usize,
}

#[derive(Debug)]
struct Stream {
    labels: record::Labels,
    partition: u32,
    source: SourceId,
    offset: u64,
}

impl Batches {
    /// Batches of about `batch_bytes` for a topic of `partitions` partitions.
    ///
    /// # Errors
    /// When the corpus cannot be made.
    pub fn new(plan: CorpusPlan, partitions: u32, batch_bytes: usize) -> anyhow::Result<Self> {
        let rows = Rows::new(plan)?;
        let seed = plan.seed.to_le_bytes();
        let streams = rows.streams().iter().map(|labels| Stream {
            labels: labels.clone(),
            partition: partition_for(labels.hash64(), partitions),
            source: SourceId::of(&[b"bench", &seed, labels.to_json().as_bytes()]),
            offset: 0,
        });
        let streams = streams.collect();
        let builders = (0..partitions.max(1)).map(|_| LogBatchBuilder::new()).collect();
        Ok(Self { rows, streams, partitions: builders, batch_bytes, rest: 0 })
    }

    /// The corpus behind the batches.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// What was generated so far.
    pub fn summary(&self) -> Summary {
        self.rows.summary()
    }

    /// The next full batch and its partition; at the end what is left in each.
    pub fn next_batch(&mut self) -> Option<(u32, LogBatch)> {
        while let Some(row) = self.rows.next_row() {
            let stream = &mut self.streams[row.stream];
            stream.offset += row.line.len() as u64 + CRI_BYTES;
            let builder = &mut self.partitions[stream.partition as usize];
            let found = level::detect::<&str, &str>(&stream.labels, &[], row.line);
            let attributes = [(DETECTED_LEVEL, found.as_ref())];
            let source = Some((stream.source, stream.offset));
            let time = TimestampNanos(row.time_ns);
            builder.push(time, &stream.labels, row.line, &attributes, source);
            if self.batch_bytes <= builder.bytes() {
                return Some((stream.partition, builder.finish()));
            }
        }
        while let Some(builder) = self.partitions.get_mut(self.rest) {
            self.rest += 1;
            if !builder.is_empty() {
                return Some((self.rest as u32 - 1, builder.finish()));
            }
        }
        None
    }
}

/// The queue message of a batch.
///
/// # Errors
/// When the batch cannot be encoded.
pub fn message(batch: &LogBatch) -> Result<Message, BatchError> {
    let headers = BatchHeaders {
        kind: BatchKind::Logs,
        tenant: TenantId::default(),
        collector: "bench".to_owned(),
        boot_epoch: 1,
        ranges: ranges(batch),
    };
    let headers = headers.to_pairs().into_iter();
    Ok(Message {
        key: None,
        headers: headers.map(|(name, value)| (name, Bytes::from(value))).collect(),
        payload: batch.encode()?,
        ..Message::default()
    })
}

fn ranges(batch: &LogBatch) -> Vec<SourceRange> {
    let mut found: Vec<SourceRange> = Vec::new();
    for (source, offset) in (0..batch.len()).filter_map(|row| batch.source(row)) {
        match found.iter_mut().find(|range| range.source == source) {
            Some(range) => range.last = offset,
            None => found.push(SourceRange { source, first: offset, last: offset }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;

    use super::*;
    use crate::corpus::CorpusKind;

    #[test]
    fn batches_hold_every_row_once_with_growing_offsets_in_one_partition_a_stream() {
        let plan = CorpusPlan::new(CorpusKind::K8s, 1_000_000, 1);
        let mut batches = Batches::new(plan, 4, 64 << 10).unwrap();
        let mut places: BTreeMap<SourceId, (u32, u64)> = BTreeMap::new();
        let (mut rows, mut bytes, mut levels) = (0, 0, 0);
        while let Some((partition, batch)) = batches.next_batch() {
            let sent = message(&batch).unwrap();
            let read = LogBatch::decode(&sent.payload, &record::Limits::default()).unwrap();
            assert_eq!(read.len(), batch.len());
            rows += batch.len() as u64;
            bytes += batch.raw_bytes();
            for row in 0..batch.len() {
                let (source, offset) = batch.source(row).unwrap();
                let last = places.entry(source).or_insert((partition, 0));
                assert!(last.0 == partition && last.1 < offset);
                last.1 = offset;
                levels += batch.attributes(row).filter(|(_, level)| *level != "unknown").count();
            }
        }
        let summary = batches.summary();
        assert_eq!((rows, bytes), (summary.rows, summary.raw_bytes));
        assert!(summary.rows / 2 < levels as u64, "{levels} of {rows} rows have a level");
    }
}
