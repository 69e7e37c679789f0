//! Reading a samples segment.
//!
//! Opening is one read. What a plan needs is chosen from the label table, the index and the
//! directory alone ([`SampleSegment::select`]), so its cost is known before anything is decoded.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use record::{Labels, Matcher, MetricMetadata};
use tantivy::SegmentReader;

use super::blocks::Block;
use super::build::{CHUNKS, DIRECTORY, METADATA, SERIES, TIMES};
use super::directory::Directory;
use super::series::SeriesTable;
use super::stats::ChunkStats;
use super::{FORMAT, SamplePlan, SeriesData, all_match, index, times, values};
use crate::bundle::{Bundle, BundleError, BundleKind};
use crate::index_files;
use crate::inspect::Inspection;
use crate::meta::SegmentMeta;
use crate::wire::{self, Malformed};

/// Largest label table and directory after decompression: some ten million series or chunks.
/// Both are held in memory while the segment is open.
const TABLE_BYTES_MAX: usize = 1 << 30;

/// Compressed bytes of blocks fetched at once while reading; decompressed they are perhaps three
/// times as large. More makes fewer requests for large answers.
const FETCH_BYTES_MAX: u64 = 4 << 20;

/// An opened samples segment.
#[derive(Clone)]
pub struct SampleSegment {
    bundle: Bundle,
    series: SeriesTable,
    directory: Directory,
    metadata: Vec<MetricMetadata>,
    index: Arc<SegmentReader>,
}

/// The chunks a plan needs.
#[derive(Clone, Debug)]
pub struct Selection {
    start_ms: i64,
    end_ms: i64,
    /// Series by ordinal with numbers of their chunks, both ascending.
    series: Vec<(u32, Labels, std::ops::Range<usize>)>,
    samples: u64,
    bytes: u64,
}

impl Selection {
    /// Samples that reading decodes; at least as many as it returns.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Bytes that reading fetches from the store.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Label sets of the series, in order of ordinals.
    pub fn labels(&self) -> impl Iterator<Item = &Labels> {
        self.series.iter().map(|(_, labels, _)| labels)
    }

    /// Whether nothing in the segment can answer the plan.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

impl std::fmt::Debug for SampleSegment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SampleSegment")
            .field("bundle", &self.bundle)
            .field("series", &self.series.len())
            .finish_non_exhaustive()
    }
}

impl SampleSegment {
    /// Opens a published segment.
    ///
    /// # Errors
    /// When the object cannot be read, is damaged or too new.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        meta: &SegmentMeta,
    ) -> Result<Self, BundleError> {
        let kind = BundleKind::Samples;
        let (bytes, footer_bytes) = (meta.bytes, meta.footer_bytes);
        let bundle =
            Bundle::open(store, meta.location(), bytes, footer_bytes, kind, FORMAT).await?;
        let sections = bundle.read_all(&[SERIES, DIRECTORY, METADATA]).await?;
        let (series, directory) = read_tables(&sections[0], &sections[1])
            .map_err(|malformed| bundle.damaged(format!("its tables: {malformed}")))?;
        let metadata = serde_json::from_slice(&sections[2])
            .map_err(|error| bundle.damaged(format!("its metadata: {error}")))?;
        let (_index, reader) = index_files::open(&bundle).await?;
        if reader.max_doc() as usize != series.len() {
            return Err(bundle.damaged("its index has another number of series"));
        }
        Ok(Self { bundle, series, directory, metadata, index: reader })
    }

    /// What a plan needs from here. The tenant is not looked at: a segment belongs to one.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn select(&self, plan: &SamplePlan) -> Result<Selection, BundleError> {
        let mut selection = Selection {
            start_ms: plan.start_ms,
            end_ms: plan.end_ms,
            series: self.matching(&plan.matchers, plan.start_ms, plan.end_ms)?,
            samples: 0,
            bytes: 0,
        };
        let directory = &self.directory;
        let mut times: Vec<u32> = Vec::new();
        let mut chunk_blocks: Vec<u32> = Vec::new();
        for chunk in selection.series.iter().flat_map(|(_, _, range)| range.clone()) {
            let chunk = &directory.chunks[chunk];
            selection.samples += u64::from(chunk.stats.samples);
            times.push(chunk.times);
            if !chunk.item.is_empty() {
                chunk_blocks.push(chunk.item.block);
            }
        }
        let mut time_blocks: Vec<u32> = times
            .into_iter()
            .map(|number| directory.times[number as usize].item)
            .filter(|item| !item.is_empty())
            .map(|item| item.block)
            .collect();
        for (needed, blocks) in [
            (&mut chunk_blocks, &directory.chunk_blocks),
            (&mut time_blocks, &directory.time_blocks),
        ] {
            needed.sort_unstable();
            needed.dedup();
            let lengths = needed.iter().map(|block| packed_bytes(&blocks[*block as usize]));
            selection.bytes += lengths.sum::<u64>();
        }
        Ok(selection)
    }

    /// The samples of a selection made on this segment; series without one are left out.
    ///
    /// # Errors
    /// When the store fails or the segment is damaged.
    pub async fn read(&self, selection: &Selection) -> Result<Vec<SeriesData>, BundleError> {
        let mut found = Vec::with_capacity(selection.series.len());
        let mut times = DecodedTimes::default();
        let mut rest = &selection.series[..];
        while !rest.is_empty() {
            let (group, after) = rest.split_at(self.group_len(rest));
            rest = after;
            let chunks: Vec<usize> = group.iter().flat_map(|(_, _, range)| range.clone()).collect();
            times.fetch(self, &chunks).await?;
            let blocks = self.chunk_blocks(&chunks).await?;
            for (_, labels, range) in group {
                let data = self
                    .decode(selection, labels, range.clone(), &times, &blocks)
                    .map_err(|malformed| self.malformed(malformed))?;
                if !data.times.is_empty() {
                    found.push(data);
                }
            }
        }
        Ok(found)
    }

    /// [`Self::select`] and [`Self::read`] in one.
    ///
    /// # Errors
    /// When the store fails or the segment is damaged.
    pub async fn scan(&self, plan: &SamplePlan) -> Result<Vec<SeriesData>, BundleError> {
        self.read(&self.select(plan)?).await
    }

    /// Series with a chunk that touches `start_ms` to `end_ms`, both inclusive, and that satisfy
    /// all matchers, in order of ordinals. Reads no chunks.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn series(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Labels>, BundleError> {
        let matching = self.matching(matchers, start_ms, end_ms)?;
        Ok(matching.into_iter().map(|(_, labels, _)| labels).collect())
    }

    /// Statistics of a selection's chunks, by series. Reads no chunks.
    pub fn chunk_stats<'a>(
        &'a self,
        selection: &'a Selection,
    ) -> impl Iterator<Item = (&'a Labels, impl Iterator<Item = &'a ChunkStats>)> {
        selection.series.iter().map(|(_, labels, range)| {
            (labels, self.directory.chunks[range.clone()].iter().map(|chunk| &chunk.stats))
        })
    }

    /// Reads every byte and compares every checksum.
    ///
    /// # Errors
    /// When the store fails or the segment is damaged.
    pub(crate) async fn verify(&self) -> Result<(), BundleError> {
        for section in self.bundle.names() {
            self.bundle.read(section).await?;
        }
        Ok(())
    }

    /// What the segment is made of, for people.
    pub(crate) fn inspect(&self) -> Result<Inspection, BundleError> {
        let mut sections: BTreeMap<String, u64> = BTreeMap::new();
        for name in self.bundle.names() {
            let range = &self.bundle.section(name)?.range;
            let shown = if name.starts_with(index_files::FOLDER) { "index" } else { name };
            *sections.entry(shown.to_owned()).or_default() += range.end - range.start;
        }
        let chunks = &self.directory.chunks;
        Ok(Inspection {
            format: self.bundle.format(),
            counts: vec![
                ("samples", chunks.iter().map(|chunk| u64::from(chunk.stats.samples)).sum()),
                ("series", self.series.len() as u64),
                ("chunks", chunks.len() as u64),
                ("time_arrays", self.directory.times.len() as u64),
            ],
            sections: sections.into_iter().collect(),
            columns: Vec::new(),
        })
    }

    /// Descriptions of metric families, sorted by family.
    pub fn metadata(&self) -> &[MetricMetadata] {
        &self.metadata
    }

    fn matching(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<(u32, Labels, std::ops::Range<usize>)>, BundleError> {
        let candidates = index::candidates(&self.index, matchers)
            .map_err(|error| self.bundle.damaged(format!("its index: {error}")))?;
        let mut matching = Vec::new();
        for ordinal in candidates {
            let chunks = self.directory.chunks_between(ordinal, start_ms, end_ms);
            if chunks.is_empty() {
                continue;
            }
            let labels = self.series.labels(ordinal);
            if all_match(matchers, &labels) {
                matching.push((ordinal, labels, chunks));
            }
        }
        Ok(matching)
    }

    /// How many of these series to fetch together: at least one, up to about
    /// [`FETCH_BYTES_MAX`].
    fn group_len(&self, series: &[(u32, Labels, std::ops::Range<usize>)]) -> usize {
        let (mut bytes, mut last_block) = (0, None);
        for (at, (_, _, range)) in series.iter().enumerate() {
            for chunk in range.clone() {
                let block = self.directory.chunks[chunk].item.block;
                if last_block != Some(block) {
                    last_block = Some(block);
                    bytes += packed_bytes(&self.directory.chunk_blocks[block as usize]);
                }
            }
            if FETCH_BYTES_MAX <= bytes {
                return at + 1;
            }
        }
        series.len()
    }

    /// The unpacked blocks that hold these chunks' values.
    async fn chunk_blocks(&self, chunks: &[usize]) -> Result<BTreeMap<u32, Vec<u8>>, BundleError> {
        let items = chunks.iter().map(|chunk| self.directory.chunks[*chunk].item);
        let needed = items.filter(|item| !item.is_empty()).map(|item| item.block).collect();
        self.unpacked(CHUNKS, &self.directory.chunk_blocks, needed).await
    }

    async fn unpacked(
        &self,
        section: &str,
        blocks: &[Block],
        mut needed: Vec<u32>,
    ) -> Result<BTreeMap<u32, Vec<u8>>, BundleError> {
        needed.sort_unstable();
        needed.dedup();
        let ranges: Vec<_> =
            needed.iter().map(|block| blocks[*block as usize].packed.clone()).collect();
        let packed: Vec<Bytes> = self.bundle.read_parts(section, &ranges).await?;
        let mut unpacked = BTreeMap::new();
        for (number, packed) in needed.into_iter().zip(packed) {
            let plain = blocks[number as usize]
                .unpack(&packed)
                .map_err(|malformed| self.malformed(malformed))?;
            unpacked.insert(number, plain);
        }
        Ok(unpacked)
    }

    /// One series' samples in the selection's range.
    fn decode(
        &self,
        selection: &Selection,
        labels: &Labels,
        chunks: std::ops::Range<usize>,
        times: &DecodedTimes,
        blocks: &BTreeMap<u32, Vec<u8>>,
    ) -> Result<SeriesData, Malformed> {
        let mut data = SeriesData { labels: labels.clone(), times: Vec::new(), values: Vec::new() };
        for chunk in &self.directory.chunks[chunks] {
            let times = times.get(chunk.times)?;
            let item = match blocks.get(&chunk.item.block) {
                Some(plain) => chunk.item.of(plain)?,
                None => &[],
            };
            let values = values::decode(chunk.encoding, item, chunk.stats.first, times.len())?;
            let from = times.partition_point(|time| *time < selection.start_ms);
            let to = times.partition_point(|time| *time <= selection.end_ms);
            if from < to {
                data.times.extend_from_slice(&times[from..to]);
                data.values.extend_from_slice(&values[from..to]);
            }
        }
        Ok(data)
    }

    fn malformed(&self, malformed: Malformed) -> BundleError {
        self.bundle.damaged(malformed.to_string())
    }
}

/// Time arrays decoded so far: series of one target share them.
#[derive(Default)]
struct DecodedTimes {
    arrays: HashMap<u32, Vec<i64>>,
}

impl DecodedTimes {
    /// Decodes the arrays of these chunks that are not here yet.
    async fn fetch(
        &mut self,
        segment: &SampleSegment,
        chunks: &[usize],
    ) -> Result<(), BundleError> {
        let directory = &segment.directory;
        let numbers = chunks.iter().map(|chunk| directory.chunks[*chunk].times);
        let mut missing: Vec<u32> =
            numbers.filter(|number| !self.arrays.contains_key(number)).collect();
        missing.sort_unstable();
        missing.dedup();
        let entry = |number: &u32| &directory.times[*number as usize];
        let items = missing.iter().map(|number| entry(number).item);
        let needed = items.filter(|item| !item.is_empty()).map(|item| item.block).collect();
        let blocks = segment.unpacked(TIMES, &directory.time_blocks, needed).await?;
        for number in missing {
            let entry = entry(&number);
            let decoded = match blocks.get(&entry.item.block) {
                Some(plain) => entry.item.of(plain),
                None => Ok(&[][..]),
            };
            let (first, last) = (entry.first_ms, entry.last_ms);
            let array = decoded
                .and_then(|item| times::decode(item, first, last, entry.samples as usize))
                .map_err(|malformed| segment.malformed(malformed))?;
            self.arrays.insert(number, array);
        }
        Ok(())
    }

    fn get(&self, number: u32) -> Result<&[i64], Malformed> {
        self.arrays.get(&number).map(Vec::as_slice).ok_or(Malformed("a time array is missing"))
    }
}

fn read_tables(series: &[u8], directory: &[u8]) -> Result<(SeriesTable, Directory), Malformed> {
    let series = SeriesTable::decode(&wire::decompress(series, TABLE_BYTES_MAX)?)?;
    let plain = wire::decompress(directory, TABLE_BYTES_MAX)?;
    let directory = Directory::decode(&plain, series.len())?;
    if directory.series() != series.len() {
        return Err(Malformed("the directory has another number of series"));
    }
    Ok((series, directory))
}

fn packed_bytes(block: &Block) -> u64 {
    block.packed.end - block.packed.start
}
