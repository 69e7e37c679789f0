//! Writing a samples segment.

use std::collections::HashMap;

use record::MetricMetadata;
use xxhash_rust::xxh3::xxh3_64;

use super::blocks::BlocksWriter;
use super::directory::DirectoryWriter;
use super::{CHUNK_SAMPLES_MAX, FORMAT, Head, SeriesData, index, series, times, values};
use crate::bundle::{BundleBuilder, BundleKind};
use crate::id::SegmentKind;
use crate::meta::BuiltSegment;
use crate::wire;

/// Names of the sections besides the index.
pub(super) const CHUNKS: &str = "chunks";
pub(super) const TIMES: &str = "times";
pub(super) const SERIES: &str = "series";
pub(super) const DIRECTORY: &str = "directory";
pub(super) const METADATA: &str = "metadata";

/// Label tables and directories are read with every opening: small is worth more time here.
const TABLE_ZSTD_LEVEL: i32 = 6;

/// What a sample weighs before encoding: its time and its value.
const RAW_BYTES_PER_SAMPLE: u64 = 16;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// Why a segment could not be built. Building again from the same samples fails again.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("there are no samples to build a segment from")]
    Empty,
    #[error("no encoding gives the values of series `{0}` back unchanged; this is a bug")]
    Unfaithful(String),
    #[error("compress samples")]
    Compression(#[from] std::io::Error),
    #[error("build the series index")]
    Index(#[from] tantivy::TantivyError),
    #[error("encode metric metadata")]
    Metadata(#[from] serde_json::Error),
}

/// Collects samples of one tenant and writes them as a segment.
#[derive(Debug, Default)]
pub struct SampleSegmentBuilder {
    head: Head,
}

impl SampleSegmentBuilder {
    /// Starts with nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts with what a head held.
    pub fn of(head: Head) -> Self {
        Self { head }
    }

    /// Adds samples of a series; of two for one time the first pushed stays.
    pub fn push(&mut self, data: SeriesData) {
        self.head.insert(&data);
    }

    /// Adds descriptions of metric families; of one family the last pushed stays.
    pub fn push_metadata(&mut self, metadata: &[MetricMetadata]) {
        self.head.insert_metadata(metadata);
    }

    /// Number of samples so far.
    pub fn rows(&self) -> usize {
        self.head.len()
    }

    /// Writes the segment. CPU work: about 100 ns a sample.
    ///
    /// # Errors
    /// When there are no samples, or see [`BuildError`].
    pub fn finish(self) -> Result<BuiltSegment, BuildError> {
        if self.head.is_empty() {
            return Err(BuildError::Empty);
        }
        let rows = self.head.len() as u64;
        let metadata = serde_json::to_vec(&self.head.metadata())?;
        let sorted = self.head.into_sorted();
        let (mut first_ms, mut last_ms) = (i64::MAX, i64::MIN);
        let mut writer = ChunkWriter::default();
        for data in &sorted {
            writer.push(data)?;
            first_ms = first_ms.min(data.times[0]);
            last_ms = last_ms.max(data.times[data.times.len() - 1]);
        }
        let mut bundle = BundleBuilder::new(BundleKind::Samples, FORMAT);
        let directory = writer.finish(&mut bundle)?;
        bundle.opening_from_here();
        let labels = sorted.iter().map(|data| &data.labels);
        let table = series::encode(labels.clone());
        bundle.add(SERIES, &wire::compress(&table, TABLE_ZSTD_LEVEL)?);
        bundle.add(DIRECTORY, &wire::compress(&directory, TABLE_ZSTD_LEVEL)?);
        bundle.add(METADATA, &metadata);
        index::build(labels, &mut bundle)?;
        let built = bundle.finish();
        Ok(BuiltSegment {
            kind: SegmentKind::Samples,
            bytes: built.bytes,
            rows,
            raw_bytes: rows * RAW_BYTES_PER_SAMPLE,
            time_min_ns: first_ms.saturating_mul(NANOS_PER_MILLI),
            time_max_ns: last_ms.saturating_mul(NANOS_PER_MILLI),
            footer_bytes: built.footer_bytes,
        })
    }
}

/// Cuts series into chunks and packs them.
#[derive(Default)]
struct ChunkWriter<'a> {
    chunks: BlocksWriter,
    times: BlocksWriter,
    directory: DirectoryWriter,
    /// Numbers of the time arrays there are, by hash.
    known_times: HashMap<u64, Vec<(&'a [i64], u32)>>,
}

impl<'a> ChunkWriter<'a> {
    fn push(&mut self, data: &'a SeriesData) -> Result<(), BuildError> {
        self.directory.push_series(data.times.len().div_ceil(CHUNK_SAMPLES_MAX));
        let times = data.times.chunks(CHUNK_SAMPLES_MAX);
        for (times, samples) in times.zip(data.values.chunks(CHUNK_SAMPLES_MAX)) {
            let times_number = self.times_number(times)?;
            let Some((encoding, item)) = values::encode(samples) else {
                return Err(BuildError::Unfaithful(data.labels.to_string()));
            };
            self.chunks.push(&item)?;
            self.directory.push_chunk(times_number, encoding, item.len(), samples);
        }
        Ok(())
    }

    /// The number of a time array, storing it when it is new.
    fn times_number(&mut self, times: &'a [i64]) -> Result<u32, BuildError> {
        let item = times::encode(times);
        let mut key = item.clone();
        key.extend_from_slice(&times[0].to_le_bytes());
        let same_hash = self.known_times.entry(xxh3_64(&key)).or_default();
        if let Some((_, number)) = same_hash.iter().find(|(known, _)| *known == times) {
            return Ok(*number);
        }
        self.times.push(&item)?;
        let number = self.directory.push_times(times, item.len());
        same_hash.push((times, number));
        Ok(number)
    }

    /// Adds the block sections and returns the directory.
    fn finish(self, bundle: &mut BundleBuilder) -> Result<Vec<u8>, BuildError> {
        let (chunks, chunk_blocks) = self.chunks.finish()?;
        let (times, time_blocks) = self.times.finish()?;
        bundle.add(CHUNKS, &chunks);
        bundle.add(TIMES, &times);
        Ok(self.directory.finish(&chunk_blocks, &time_blocks))
    }
}
