//! What becomes of a batch: its parts by partition, and the message on the queue.

use std::collections::HashMap;

use bytes::Bytes;
use queue::Message;
use record::{
    BatchError, BatchHeaders, BatchKind, LogBatch, LogBatchBuilder, SampleBatch, SourceId,
    SourceRange, TenantId, TimestampNanos, partition_for,
};

use super::{Sender, log_bytes};

/// Attribute of a row whose line was cut.
pub(crate) const TRUNCATED: &str = "truncated";

/// Attribute with the length of such a line before it was cut.
pub(crate) const ORIGINAL_BYTES: &str = "original_bytes";

/// A line is not cut below this to fit a message: the queue's limit must be absurd then.
const SHORTEST_LINE_BYTES: usize = 256;

/// What a message carries.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Logs(LogBatch),
    Samples(SampleBatch),
}

impl Payload {
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Logs(batch) => batch.len(),
            Self::Samples(batch) => batch.len(),
        }
    }

    /// Returns the bytes of the lines, or of the values.
    pub(crate) fn raw_bytes(&self) -> u64 {
        match self {
            Self::Logs(batch) => batch.raw_bytes(),
            Self::Samples(batch) => batch.len() as u64 * 16,
        }
    }

    /// Returns about what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Logs(batch) => log_bytes(batch),
            Self::Samples(batch) => batch.len() * 24,
        }
    }

    fn kind(&self) -> BatchKind {
        match self {
            Self::Logs(_) => BatchKind::Logs,
            Self::Samples(_) => BatchKind::Samples,
        }
    }

    /// Encodes the message.
    ///
    /// # Errors
    /// When the batch cannot be encoded, which no retry will change.
    pub(crate) fn message(
        &self,
        tenant: &TenantId,
        sender: &Sender,
    ) -> Result<Message, BatchError> {
        let (payload, ranges) = match self {
            Self::Logs(batch) => (batch.encode()?, ranges(batch)),
            Self::Samples(batch) => (batch.encode()?, Vec::new()),
        };
        let headers = BatchHeaders {
            kind: self.kind(),
            tenant: tenant.clone(),
            collector: sender.collector.clone(),
            boot_epoch: sender.boot_epoch,
            ranges,
        };
        let headers = headers.to_pairs().into_iter();
        Ok(Message {
            key: None,
            headers: headers.map(|(name, value)| (name, Bytes::from(value))).collect(),
            payload,
            time_ms: None,
        })
    }

    /// Cuts the line of an only row to half; `None` when that would leave next to nothing.
    pub(crate) fn shorten(&self) -> Option<Self> {
        let Self::Logs(batch) = self else { return None };
        if batch.is_empty() {
            return None;
        }
        let line = batch.line(0);
        let half = line.get(..line.floor_char_boundary(line.len() / 2))?;
        if half.len() < SHORTEST_LINE_BYTES {
            return None;
        }
        let length = line.len().to_string();
        let mut attributes: Vec<(&str, &str)> = batch.attributes(0).collect();
        if !attributes.iter().any(|(name, _)| *name == ORIGINAL_BYTES) {
            attributes.extend([(TRUNCATED, "true"), (ORIGINAL_BYTES, &length)]);
        }
        let mut builder = LogBatchBuilder::new();
        let time = TimestampNanos(batch.times().first().copied().unwrap_or_default());
        builder.push(time, batch.stream(0), half, &attributes, batch.source(0));
        Some(Self::Logs(builder.finish()))
    }

    /// Halves what is too large for one message; `None` when one row cannot be halved.
    pub(crate) fn halve(&self) -> Option<(Self, Self)> {
        let rows = self.rows();
        if rows < 2 {
            return None;
        }
        match self {
            Self::Logs(batch) => {
                let first: Vec<bool> = (0..rows).map(|row| row < rows / 2).collect();
                let second: Vec<bool> = first.iter().map(|first| !first).collect();
                Some((Self::Logs(batch.filter(&first)), Self::Logs(batch.filter(&second))))
            }
            Self::Samples(batch) => {
                let (first, second) = halve_samples(batch);
                Some((Self::Samples(first), Self::Samples(second)))
            }
        }
    }
}

/// Makes one payload of several of one kind; `None` when there is none.
///
/// Batches of logs always join: they have one schema.
pub(crate) fn join(mut payloads: Vec<Payload>) -> Option<Payload> {
    if payloads.len() < 2 {
        return payloads.pop();
    }
    let logs = payloads.into_iter().filter_map(|payload| match payload {
        Payload::Logs(batch) => Some(batch),
        Payload::Samples(_) => None,
    });
    let logs: Vec<LogBatch> = logs.collect();
    Some(Payload::Logs(LogBatch::concat(&logs).expect("batches of one schema join")))
}

fn halve_samples(batch: &SampleBatch) -> (SampleBatch, SampleBatch) {
    let mut halves = (record::SampleBatchBuilder::new(), record::SampleBatchBuilder::new());
    let rows = batch.series_index().iter().zip(batch.times()).zip(batch.values()).enumerate();
    for (row, ((series, time), value)) in rows {
        let half = if row < batch.len() / 2 { &mut halves.0 } else { &mut halves.1 };
        if let Some(series) = batch.series().get(*series as usize) {
            half.push(record::TimestampMillis(*time), series, *value);
        }
    }
    for metadata in batch.metadata() {
        halves.0.push_metadata(metadata.clone());
    }
    (halves.0.finish(), halves.1.finish())
}

/// Splits a batch by partition, and what is then still over `batch_bytes` into runs of rows.
pub(crate) fn split(
    batch: LogBatch,
    partitions: usize,
    batch_bytes: usize,
) -> Vec<(u32, LogBatch)> {
    if batch.is_empty() {
        return Vec::new();
    }
    let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
    let of_stream: Vec<u32> =
        batch.streams().iter().map(|stream| partition_for(stream.hash64(), partitions)).collect();
    let of_row = |stream: &u32| of_stream.get(*stream as usize).copied().unwrap_or_default();
    let mut wanted: Vec<u32> = batch.stream_index().iter().map(of_row).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if let [only] = wanted[..] {
        return runs(batch, batch_bytes).into_iter().map(|run| (only, run)).collect();
    }
    let mut parts = Vec::new();
    for partition in wanted {
        let mask: Vec<bool> =
            batch.stream_index().iter().map(|stream| of_row(stream) == partition).collect();
        let part = runs(batch.filter(&mask), batch_bytes);
        parts.extend(part.into_iter().map(|run| (partition, run)));
    }
    parts
}

fn runs(batch: LogBatch, batch_bytes: usize) -> Vec<LogBatch> {
    if log_bytes(&batch) <= batch_bytes || batch.len() < 2 {
        return vec![batch];
    }
    let mut runs = Vec::new();
    let mut first = 0;
    let mut bytes = 0;
    for row in 0..batch.len() {
        bytes += batch.line(row).len() + super::ROW_BYTES;
        let last = row + 1 == batch.len();
        if batch_bytes <= bytes || last {
            let mask: Vec<bool> = (0..batch.len()).map(|at| (first..=row).contains(&at)).collect();
            runs.push(batch.filter(&mask));
            (first, bytes) = (row + 1, 0);
        }
    }
    runs
}

/// Returns the offsets of every source in a batch.
fn ranges(batch: &LogBatch) -> Vec<SourceRange> {
    let mut found: Vec<SourceRange> = Vec::new();
    let mut places: HashMap<SourceId, usize> = HashMap::new();
    for (source, offset) in (0..batch.len()).filter_map(|row| batch.source(row)) {
        let place = *places.entry(source).or_insert(found.len());
        match found.get_mut(place) {
            Some(range) => range.last = offset,
            None => found.push(SourceRange { source, first: offset, last: offset }),
        }
    }
    found
}
