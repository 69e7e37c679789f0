//! A published logs segment, opened.
//!
//! Opening reads the end of the object, once: the bundle's directory, the granule table, the token
//! directory and Parquet's metadata. Everything else (patterns, streams, levels, volume, index) is read when
//! a query first needs it and kept as long as the segment is.
//!
//! What always holds: a part is checked against its checksum before it is interpreted, and what
//! does not check out is an error that names segment and section.
//!
//! Bounds: memory is the sections kept, about as large as they are in the object times three;
//! whoever caches segments decides how many.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::try_join;
use object_store::ObjectStore;
use object_store::path::Path;
use record::{Labels, Matcher};
use serde::{Deserialize, Serialize};

use super::column_reader::{ColumnReader, Extent, GranuleBatch};
use super::error::SegmentError;
use super::granule::GranuleTable;
use super::index::GranuleIndex;
use super::minutes::MinuteCounts;
use super::pattern_table::PatternTable;
use super::sections::{
    COLUMNS, COLUMNS_META, FORMAT_VERSION, GRANULES, INDEX, LEVELS, PATTERNS, SECTION_BYTES_MAX,
    STREAMS, TOKEN_DIRECTORY, TOKENS, VOLUME,
};
use super::sizes::SegmentSizes;
use super::streams::{
    FIRSTS_SINCE, MINUTE_NS, Stream, Volume, VolumeEntry, decode_levels, decode_streams,
    matching_streams,
};
use super::token_filter::FilterDirectory;
use crate::bundle::{Bundle, BundleKind};
use crate::wire::{self, Malformed};
use crate::{SegmentMeta, index_files};

/// An opened logs segment. Cloning is cheap; clones share what has been read.
#[derive(Clone, Debug)]
pub struct LogSegment {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: String,
    bundle: Bundle,
    granules: GranuleTable,
    columns: ColumnReader,
    token_directory: FilterDirectory,
    patterns: OnceLock<PatternTable>,
    streams: OnceLock<Vec<Stream>>,
    levels: OnceLock<Vec<Option<String>>>,
    volume: OnceLock<Volume>,
    index: OnceLock<GranuleIndex>,
    /// Worked out, not read.
    minutes: OnceLock<Arc<MinuteCounts>>,
    /// Worked out of the volume table.
    minute_runs: OnceLock<Vec<MinuteRun>>,
}

/// Consecutive rows of one stream and minute, which begins after its first instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MinuteRun {
    pub(crate) stream: u32,
    pub(crate) minute_ns: i64,
    /// How many rows of the segment there are up to the last of these.
    pub(crate) end: u64,
}

/// A part of a segment that is read when it is first needed, and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Patterns,
    Streams,
    Levels,
    /// Read against streams and levels, which must be there.
    Volume,
    Index,
}

/// What a scan wants to be fetched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// Parts, whole.
    pub(crate) parts: Vec<Part>,
    /// Ranges of the token filter.
    pub(crate) tokens: Vec<Range<u64>>,
    /// Ranges of the columns.
    pub(crate) columns: Vec<Range<u64>>,
}

/// The bytes of an [`Ask`], in its order; the files of an index come one after another.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) parts: Vec<Vec<Bytes>>,
    pub(crate) tokens: Vec<Bytes>,
    pub(crate) columns: Vec<Bytes>,
}

/// Lines and bytes of one stream, level and minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRow {
    pub stream: Labels,
    /// Empty for rows without a level.
    pub level: String,
    /// Start of the minute, ns.
    pub minute_ns: i64,
    pub lines: u64,
    /// Bytes of the lines.
    pub bytes: u64,
}

impl LogSegment {
    /// Opens the segment the catalog describes: one ranged read.
    ///
    /// # Errors
    /// When the store does not deliver, or what it delivers is not a logs segment.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        meta: &SegmentMeta,
    ) -> Result<Self, SegmentError> {
        let location = Path::from(meta.path.as_str());
        let (bytes, footer_bytes) = (meta.bytes, meta.footer_bytes);
        let kind = BundleKind::Logs;
        let bundle =
            Bundle::open(store, location, bytes, footer_bytes, kind, FORMAT_VERSION).await?;
        // All of these are part of what opening has read.
        let opening = bundle.read_all(&[GRANULES, COLUMNS_META, TOKEN_DIRECTORY]).await?;
        let damaged = |section| move |cause| SegmentError::damaged(&meta.path, section, cause);
        let length = |section: &str| bundle.section(section).map(|s| s.range.end - s.range.start);
        let (pages, meta_bytes) = (length(COLUMNS)?, length(COLUMNS_META)?);
        let granules = wire::decompress(&opening[0], SECTION_BYTES_MAX)
            .and_then(|plain| GranuleTable::decode(&plain, pages, bundle.format()))
            .map_err(damaged(GRANULES))?;
        let columns =
            ColumnReader::open(&opening[1], pages + meta_bytes).map_err(damaged(COLUMNS_META))?;
        if granules.pages.len() != columns.leaves() {
            return Err(damaged(GRANULES)(Malformed("it has pages of other columns")));
        }
        let token_directory =
            FilterDirectory::decode(&opening[2], length(TOKENS)?, bundle.format())
                .map_err(damaged(TOKEN_DIRECTORY))?;
        Ok(Self {
            shared: Arc::new(Shared {
                path: meta.path.clone(),
                bundle,
                granules,
                columns,
                token_directory,
                patterns: OnceLock::new(),
                streams: OnceLock::new(),
                levels: OnceLock::new(),
                volume: OnceLock::new(),
                index: OnceLock::new(),
                minutes: OnceLock::new(),
                minute_runs: OnceLock::new(),
            }),
        })
    }

    /// Rows in the segment.
    pub fn rows(&self) -> u64 {
        self.shared.granules.rows()
    }

    /// Bytes of all lines.
    pub fn raw_bytes(&self) -> u64 {
        self.shared.granules.raw_bytes
    }

    /// Where the segment's object is: its name in errors.
    pub fn path(&self) -> &str {
        &self.shared.path
    }

    /// The streams that satisfy every matcher and may have a row in `start_ns..end_ns`.
    ///
    /// Exact to the minute: a stream is named when it has a row in a minute that overlaps the
    /// range and its rows span part of the range.
    ///
    /// # Errors
    /// When a section cannot be read.
    pub async fn streams(
        &self,
        matchers: &[Matcher],
        start_ns: i64,
        end_ns: i64,
    ) -> Result<Vec<Labels>, SegmentError> {
        self.load(&[Part::Streams, Part::Levels, Part::Volume]).await?;
        let streams = self.stream_table()?;
        let wanted = matching_streams(streams, matchers);
        let mut present = vec![false; streams.len()];
        for entry in &self.volume_table()?.entries {
            present[entry.stream as usize] |= overlaps(entry, start_ns, end_ns);
        }
        let named = streams.iter().enumerate().filter(|(number, stream)| {
            let spans = stream.time_min < end_ns && start_ns <= stream.time_max;
            wanted[*number] && present[*number] && spans
        });
        Ok(named.map(|(_, stream)| stream.labels.clone()).collect())
    }

    /// Lines and bytes of the streams that satisfy every matcher, by stream, level and minute, for
    /// every minute that overlaps `start_ns..end_ns`.
    ///
    /// Minutes are whole: those at the ends of the range also count rows outside of it.
    ///
    /// # Errors
    /// When a section cannot be read.
    pub async fn volume(
        &self,
        matchers: &[Matcher],
        start_ns: i64,
        end_ns: i64,
    ) -> Result<Vec<VolumeRow>, SegmentError> {
        self.load(&[Part::Streams, Part::Levels, Part::Volume]).await?;
        let (streams, levels) = (self.stream_table()?, self.level_table()?);
        let wanted = matching_streams(streams, matchers);
        let rows = self
            .volume_table()?
            .entries
            .iter()
            .filter(|entry| wanted[entry.stream as usize] && overlaps(entry, start_ns, end_ns))
            .map(|entry| VolumeRow {
                stream: streams[entry.stream as usize].labels.clone(),
                level: levels[entry.level as usize].clone().unwrap_or_default(),
                minute_ns: entry.minute_ns,
                lines: entry.lines,
                bytes: entry.bytes,
            });
        Ok(rows.collect())
    }

    /// Bytes of memory that the segment takes, about: grows as its tables are needed.
    pub fn held_bytes(&self) -> u64 {
        let shared = &*self.shared;
        let stored = |names: &[&str]| -> u64 {
            let sections = names.iter().filter_map(|name| shared.bundle.section(name).ok());
            sections.map(|section| section.range.end - section.range.start).sum()
        };
        let of_loaded = |part| if self.loaded(part) { stored(&self.sections(part)) } else { 0 };
        let patterns = shared.patterns.get().map_or(0, PatternTable::held_bytes);
        let volume = shared.volume.get().map_or(0, Volume::held_bytes);
        let minutes = shared.minutes.get().and_then(|counts| counts.as_ref().as_ref());
        let minutes = minutes.map_or(0, |counts| counts.len() * size_of::<VolumeEntry>());
        let runs = shared.minute_runs.get().map_or(0, Vec::len);
        // Tables decoded take a few times what is stored; the index is held as it is, with its terms
        // beside it once they are searched.
        4 * (stored(&[GRANULES, COLUMNS_META, TOKEN_DIRECTORY]) + of_loaded(Part::Streams))
            + 3 * of_loaded(Part::Index)
            + patterns
            + volume
            + minutes as u64
            + (runs * size_of::<MinuteRun>()) as u64
    }

    /// Stored bytes by section and by column. Reads nothing: opening has fetched it.
    pub fn sizes(&self) -> SegmentSizes {
        SegmentSizes::of(&self.shared.bundle, &self.shared.granules, &self.shared.columns)
    }

    /// Reads every byte, compares every checksum and decodes every table.
    ///
    /// # Errors
    /// When a part is damaged or does not fit the others.
    pub async fn verify(&self) -> Result<(), SegmentError> {
        for section in self.shared.bundle.names() {
            self.shared.bundle.read(section).await?;
        }
        let all = [Part::Patterns, Part::Streams, Part::Levels, Part::Volume, Part::Index];
        self.load(&all).await
    }

    /// Reads the parts that are not in memory yet, all at once.
    pub(crate) async fn load(&self, parts: &[Part]) -> Result<(), SegmentError> {
        let missing: Vec<Part> = parts.iter().copied().filter(|part| !self.loaded(*part)).collect();
        let fetched = self.fetch(&Ask { parts: missing.clone(), ..Ask::default() }).await?;
        let mut kept = missing.iter().zip(&fetched.parts);
        kept.try_for_each(|(part, sections)| self.keep(*part, sections))
    }

    /// Fetches what is asked for. Whole sections have been compared with their checksums, ranges
    /// have not.
    pub(crate) async fn fetch(&self, ask: &Ask) -> Result<Fetched, SegmentError> {
        let bundle = &self.shared.bundle;
        let of_parts: Vec<Vec<&str>> = ask.parts.iter().map(|part| self.sections(*part)).collect();
        let names = of_parts.concat();
        let (whole, tokens, columns) = try_join!(
            bundle.read_all(&names),
            bundle.read_parts(TOKENS, &ask.tokens),
            bundle.read_parts(COLUMNS, &ask.columns),
        )?;
        let mut whole = whole.into_iter();
        let parts = of_parts.iter().map(|names| whole.by_ref().take(names.len()).collect());
        Ok(Fetched { parts: parts.collect(), tokens, columns })
    }

    /// How many bytes [`LogSegment::fetch`] would read.
    pub(crate) fn ask_bytes(&self, ask: &Ask) -> u64 {
        let length = |range: &Range<u64>| range.end - range.start;
        let sections = ask.parts.iter().flat_map(|part| self.sections(*part));
        let whole = sections.filter_map(|name| self.shared.bundle.section(name).ok());
        whole.map(|section| length(&section.range)).sum::<u64>()
            + ask.tokens.iter().chain(&ask.columns).map(length).sum::<u64>()
    }

    fn sections(&self, part: Part) -> Vec<&str> {
        match part {
            Part::Patterns => vec![PATTERNS],
            Part::Streams => vec![STREAMS],
            Part::Levels => vec![LEVELS],
            Part::Volume => vec![VOLUME],
            Part::Index => self.index_files().collect(),
        }
    }

    fn index_files(&self) -> impl Iterator<Item = &str> {
        self.shared.bundle.names().filter(|name| name.starts_with(index_files::FOLDER))
    }

    /// Whether a part is in memory.
    pub(crate) fn loaded(&self, part: Part) -> bool {
        let shared = &self.shared;
        match part {
            Part::Patterns => shared.patterns.get().is_some(),
            Part::Streams => shared.streams.get().is_some(),
            Part::Levels => shared.levels.get().is_some(),
            Part::Volume => shared.volume.get().is_some(),
            Part::Index => shared.index.get().is_some(),
        }
    }

    /// Decodes a part from its sections, and keeps it.
    pub(crate) fn keep(&self, part: Part, sections: &[Bytes]) -> Result<(), SegmentError> {
        let shared = &*self.shared;
        let plain = |section: &'static str| {
            let bytes = sections.first().ok_or_else(|| self.damaged(section, NOT_READ))?;
            wire::decompress(bytes, SECTION_BYTES_MAX).map_err(|cause| self.damaged(section, cause))
        };
        let damaged = |section| move |cause| self.damaged(section, cause);
        // Where another query was faster, its equal value stays.
        match part {
            Part::Patterns => {
                let table = PatternTable::decode(&plain(PATTERNS)?, shared.bundle.format())
                    .map_err(damaged(PATTERNS))?;
                drop(shared.patterns.set(table));
            }
            Part::Streams => {
                let table = self.decode_streams(&plain(STREAMS)?).map_err(damaged(STREAMS))?;
                drop(shared.streams.set(table));
            }
            Part::Levels => {
                let table = decode_levels(&plain(LEVELS)?).map_err(damaged(LEVELS))?;
                drop(shared.levels.set(table));
            }
            Part::Volume => {
                let (streams, levels) = (self.stream_table()?.len(), self.level_table()?.len());
                let format = shared.bundle.format();
                let table = Volume::decode(&plain(VOLUME)?, streams, levels, format);
                drop(shared.volume.set(table.map_err(damaged(VOLUME))?));
            }
            Part::Index => {
                let names =
                    self.index_files().map(|name| name.trim_start_matches(index_files::FOLDER));
                let files = names.zip(sections.iter().cloned());
                let index = GranuleIndex::open(files, &shared.granules.granules);
                drop(shared.index.set(index.map_err(damaged(INDEX))?));
            }
        }
        Ok(())
    }

    fn decode_streams(&self, plain: &[u8]) -> Result<Vec<Stream>, Malformed> {
        let streams = decode_streams(plain)?;
        let last = self.shared.granules.granules.last().map(|granule| *granule.streams.end());
        if last.is_none_or(|last| last as usize + 1 != streams.len()) {
            return Err(Malformed("it has other streams than the granules"));
        }
        Ok(streams)
    }

    pub(crate) fn damaged(&self, section: &str, cause: Malformed) -> SegmentError {
        SegmentError::damaged(&self.shared.path, section, cause)
    }

    pub(crate) fn bundle(&self) -> &Bundle {
        &self.shared.bundle
    }

    /// Decodes leaf columns of a granule from their checked pages.
    pub(crate) fn decode(
        &self,
        granule: u32,
        leaves: &[usize],
        pages: Vec<Bytes>,
        extent: Extent,
    ) -> Result<GranuleBatch, Malformed> {
        let table = self.granules();
        let offset = |leaf: &usize| table.pages[*leaf][granule as usize].offset;
        let pages = leaves.iter().map(offset).zip(pages).collect();
        let start = granule as usize * table.granule_rows;
        let rows = start..start + table.granules[granule as usize].rows as usize;
        self.columns().decode(rows, leaves, pages, extent)
    }

    pub(crate) fn granules(&self) -> &GranuleTable {
        &self.shared.granules
    }

    pub(crate) fn columns(&self) -> &ColumnReader {
        &self.shared.columns
    }

    pub(crate) fn token_directory(&self) -> &FilterDirectory {
        &self.shared.token_directory
    }

    pub(crate) fn stream_table(&self) -> Result<&[Stream], SegmentError> {
        let streams = self.shared.streams.get().map(Vec::as_slice);
        streams.ok_or_else(|| self.damaged(STREAMS, NOT_READ))
    }

    pub(crate) fn level_table(&self) -> Result<&[Option<String>], SegmentError> {
        let levels = self.shared.levels.get().map(Vec::as_slice);
        levels.ok_or_else(|| self.damaged(LEVELS, NOT_READ))
    }

    /// Counts by minute, once they were worked out.
    pub(crate) fn minutes(&self) -> Option<Arc<MinuteCounts>> {
        self.shared.minutes.get().map(Arc::clone)
    }

    /// Keeps counts by minute; where another query was faster, its equal ones stay.
    pub(crate) fn keep_minutes(&self, counts: MinuteCounts) -> Arc<MinuteCounts> {
        Arc::clone(self.shared.minutes.get_or_init(|| Arc::new(counts)))
    }

    pub(crate) fn volume_table(&self) -> Result<&Volume, SegmentError> {
        self.shared.volume.get().ok_or_else(|| self.damaged(VOLUME, NOT_READ))
    }

    /// All rows by stream and minute, in their order; the volume table must be there.
    pub(crate) fn minute_runs(&self) -> Result<&[MinuteRun], SegmentError> {
        if let Some(runs) = self.shared.minute_runs.get() {
            return Ok(runs);
        }
        let entries = self.volume_table()?.by_end().unwrap_or_default();
        let mut runs: Vec<MinuteRun> = Vec::new();
        let mut end = 0_u64;
        for VolumeEntry { stream, minute_ns, lines, .. } in entries {
            end = end.saturating_add(lines);
            match runs.last_mut() {
                Some(run) if (run.stream, run.minute_ns) == (stream, minute_ns) => run.end = end,
                _ => runs.push(MinuteRun { stream, minute_ns, end }),
            }
        }
        if end != self.rows() {
            return Err(self.damaged(VOLUME, Malformed("it counts other rows than there are")));
        }
        Ok(self.shared.minute_runs.get_or_init(|| runs))
    }

    /// Whether lines are kept as patterns and variables.
    pub(crate) fn has_variables(&self) -> bool {
        2 <= self.shared.bundle.format()
    }

    /// Whether the volume table tells rows at the first instant of a minute apart.
    pub(crate) fn volume_has_firsts(&self) -> bool {
        FIRSTS_SINCE <= self.shared.bundle.format()
    }

    pub(crate) fn pattern_table(&self) -> Result<&PatternTable, SegmentError> {
        self.shared.patterns.get().ok_or_else(|| self.damaged(PATTERNS, NOT_READ))
    }

    pub(crate) fn index(&self) -> Result<&GranuleIndex, SegmentError> {
        self.shared.index.get().ok_or_else(|| self.damaged(INDEX, NOT_READ))
    }
}

const NOT_READ: Malformed = Malformed("it was not read before it was needed");

fn overlaps(entry: &VolumeEntry, start_ns: i64, end_ns: i64) -> bool {
    start_ns < end_ns
        && entry.minute_ns < end_ns
        && start_ns < entry.minute_ns.saturating_add(MINUTE_NS)
}

/// Compares bytes with their checksum.
pub(crate) fn checked(crc: u32, bytes: &[u8]) -> Result<(), Malformed> {
    if crc32c::crc32c(bytes) == crc {
        Ok(())
    } else {
        Err(Malformed("its checksum does not match"))
    }
}
