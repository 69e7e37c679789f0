//! From sorted rows to the bytes of a segment: one pass, granule by granule.

use record::{Labels, LogBatch};
use roaring::RoaringBitmap;

use super::build::{BuildOptions, BuildStats, BuiltSegment, Row, SortedRows};
use super::columns::{ColumnWriter, EncodedColumns, GranuleColumns};
use super::error::BuildError;
use super::granule::{Complete, Granule, GranuleTable};
use super::index::IndexBuilder;
use super::intern::Interner;
use super::pattern::{NO_PATTERN, PatternInterner};
use super::sections::{
    COLUMNS, COLUMNS_META, FORMAT_VERSION, GRANULES, INDEX, LEVELS, PATTERNS, SECTION_BYTES_MAX,
    STREAMS, TOKEN_DIRECTORY, TOKENS, VOLUME,
};
use super::shelf::{SHELF_ROWS, Shelf, Shelved};
use super::streams::{Stream, VolumeBuilder, encode_levels, encode_streams, is_first};
use super::tally::{TOKENS_MAX, Tally};
use super::token_filter::{TokenFilterBuilder, attribute_hash};
use super::variables::{BySlot, GranuleVariables, VariablesWriter};
use super::widened::WidenedFrames;
use crate::bundle::{BundleBuilder, BundleKind};
use crate::wire;

/// Everything that grows while the rows go by.
pub(crate) struct Assembler {
    /// In the order of their numbers; those that no row has reached yet may be missing.
    labels: Vec<Labels>,
    promoted: Vec<String>,
    frames: WidenedFrames,
    patterns: PatternInterner,
    levels: Interner,
    tally: Tally,
    tokens: TokenFilterBuilder,
    volume: VolumeBuilder,
    /// Of the rows at the very first instant of a minute.
    firsts: VolumeBuilder,
    index: IndexBuilder,
    columns: ColumnWriter,
    variables: GranuleVariables,
    by_slot: BySlot,
    variables_writer: VariablesWriter,
    options: BuildOptions,
    raw_bytes: u64,
    granules: Vec<Granule>,
    streams: Vec<Stream>,
    rows_without_pattern: u64,
    scratch: Vec<u8>,
    label_scratch: String,
}

/// Writes the segment of `sorted`, which has at least one row.
pub(crate) fn assemble(sorted: SortedRows) -> Result<BuiltSegment, BuildError> {
    let mut assembler = Assembler::new(sorted.promoted, sorted.options, sorted.frames)?;
    assembler.labels = sorted.streams;
    assembler.granules(&sorted.batches, &sorted.rows)?;
    assembler.finish()
}

impl Assembler {
    /// Starts a segment in which the attributes `promoted` have columns of their own.
    pub(crate) fn new(
        promoted: Vec<String>,
        options: BuildOptions,
        frames: WidenedFrames,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            labels: Vec::new(),
            patterns: PatternInterner::new(options.patterns_free, &frames),
            frames,
            levels: Interner::default(),
            tally: Tally::new(options.granule_rows),
            tokens: TokenFilterBuilder::default(),
            volume: VolumeBuilder::default(),
            firsts: VolumeBuilder::default(),
            index: IndexBuilder::new()?,
            columns: ColumnWriter::new(&promoted, options)?,
            variables: GranuleVariables::default(),
            by_slot: BySlot::default(),
            variables_writer: VariablesWriter::new(options.zstd_level)
                .map_err(|cause| BuildError::encode(COLUMNS, cause))?,
            promoted,
            options,
            raw_bytes: 0,
            granules: Vec::new(),
            streams: Vec::new(),
            rows_without_pattern: 0,
            scratch: Vec::new(),
            label_scratch: String::new(),
        })
    }

    /// Adds the next stream, whose labels sort after those of all before, and returns its number.
    pub(crate) fn stream(&mut self, labels: Labels) -> u32 {
        self.labels.push(labels);
        (self.labels.len() - 1) as u32
    }

    /// Writes the next rows, sorted by stream and time; only the last granule may be short.
    pub(crate) fn granules(
        &mut self,
        batches: &[LogBatch],
        rows: &[Row],
    ) -> Result<(), BuildError> {
        let granule_rows = self.options.granule_rows;
        self.patterns.reserve(rows.len());
        self.tokens.reserve(rows.len().min(TOKENS_MAX));
        let mut shelf = Shelf::default();
        for rows in rows.chunks((SHELF_ROWS / granule_rows).max(1) * granule_rows) {
            shelf.fill(batches, rows, &mut self.levels);
            for (granule, rows) in rows.chunks(granule_rows).enumerate() {
                self.granule(&shelf, granule * granule_rows, rows)?;
            }
        }
        Ok(())
    }

    /// Writes the next granule, whose rows are on the shelf from `start` on.
    fn granule(&mut self, shelf: &Shelf<'_>, start: usize, rows: &[Row]) -> Result<(), BuildError> {
        let mut levels = RoaringBitmap::new();
        self.raw_bytes += shelf.line_bytes(start..start + rows.len()) as u64;
        let mut columns = GranuleColumns::new(rows.len(), self.promoted.len());
        self.variables.clear();
        let (mut fetched, mut last_level) = (0, None);
        for (at, row) in rows.iter().enumerate() {
            if at == fetched {
                fetched += shelf.fetch(start + at);
            }
            let shelved = shelf.row(start + at);
            if last_level != Some(shelved.level()) {
                last_level = Some(shelved.level());
                levels.insert(shelved.level());
            }
            self.row(shelved, row, &mut columns)?;
        }
        self.by_slot.arrange(&columns.patterns, &self.variables);
        let encoded = self.variables_writer.encode(&self.by_slot);
        (columns.variables, columns.groups_bytes) =
            encoded.map_err(|cause| BuildError::encode(COLUMNS, cause))?;
        self.tally.slots(&self.by_slot, &self.variables_writer);
        let (first, last) = (rows[0].stream, rows[rows.len() - 1].stream);
        let mut document = self.index.document();
        for stream in first..=last {
            for (name, value) in self.labels[stream as usize].iter() {
                self.label_scratch.clear();
                self.label_scratch.extend([name, "=", value]);
                document.label(&self.label_scratch);
            }
        }
        levels.iter().for_each(|level| document.level(level));
        let (lengths, runs, grams, complete) =
            self.tally.end_granule(&mut self.tokens, &mut document);
        let times = rows.iter().map(|row| row.time);
        let rest_empty = columns.rest_is_empty();
        self.columns.write(columns)?;
        let granule = Granule {
            rows: rows.len() as u32,
            time_min: times.clone().min().unwrap_or(0),
            time_max: times.max().unwrap_or(0),
            streams: first..=last,
            lengths,
            runs,
            grams,
            complete,
            rest_empty,
        };
        self.index.add(&granule, document)?;
        self.granules.push(granule);
        Ok(())
    }

    /// Takes one row into every column and table.
    fn row(
        &mut self,
        shelved: Shelved<'_>,
        row: &Row,
        columns: &mut GranuleColumns,
    ) -> Result<(), BuildError> {
        let (line, level) = (shelved.line(), shelved.level());
        let variables = &mut self.variables;
        let mut put = |from: &[u8], length| variables.push(from, length);
        let interned = self.patterns.intern(line, &mut put);
        match interned.pattern {
            NO_PATTERN => {
                variables.at_hand().for_each(|value| self.tally.value(value));
                variables.end_row_without_pattern(line);
            }
            _ => variables.end_row(),
        }
        self.tally.pattern(interned, self.patterns.last());
        self.rows_without_pattern += u64::from(interned.pattern == NO_PATTERN);
        columns.times.push(row.time);
        columns.streams.push(row.stream);
        columns.levels.push(level);
        columns.patterns.push(interned.pattern);
        self.attributes(shelved, columns)?;
        self.volume.add(row.stream, level, row.time, line.len());
        if is_first(row.time) {
            self.firsts.add(row.stream, level, row.time, line.len());
        }
        self.stream_time(row);
        Ok(())
    }

    /// Sorts a row's attributes into the columns of their own and the rest.
    fn attributes(
        &mut self,
        shelved: Shelved<'_>,
        columns: &mut GranuleColumns,
    ) -> Result<(), BuildError> {
        let mut promoted = [None; super::build::PROMOTED_MAX];
        for (name, value) in shelved.attributes() {
            self.tally.token(attribute_hash(name, value, &mut self.scratch));
            match self.promoted.iter().position(|promoted| promoted == name) {
                Some(column) if promoted[column].is_none() => promoted[column] = Some(value),
                _ => columns.attribute(name, value),
            }
        }
        columns.end_attributes(&promoted[..self.promoted.len()])
    }

    /// Rows come sorted, so a stream's first row has its earliest time and its last the latest.
    fn stream_time(&mut self, row: &Row) {
        if self.streams.len() == row.stream as usize {
            let labels = self.labels[row.stream as usize].clone();
            self.streams.push(Stream { labels, time_min: row.time, time_max: row.time });
        }
        self.streams[row.stream as usize].time_max = row.time;
    }

    /// Ends the segment, which has at least one granule.
    pub(crate) fn finish(self) -> Result<BuiltSegment, BuildError> {
        let mut container = Container::new(self.options.zstd_level);
        let granules =
            u32::try_from(self.granules.len()).expect("rows end far below 2^32 granules");
        let filter = self.tokens.encode(granules);
        let columns = self.columns.finish()?;
        let mut stats = BuildStats {
            granules: granules.into(),
            streams: self.streams.len() as u64,
            patterns: self.patterns.len() as u64,
            rows_without_pattern: self.rows_without_pattern,
            tokens: filter.tokens,
            granules_incomplete: 0,
            sections: Vec::new(),
            columns: column_bytes(&columns, &self.promoted),
        };
        let incomplete = self.granules.iter().filter(|granule| granule.complete != Complete::ALL);
        stats.granules_incomplete = incomplete.count() as u64;
        let time_min = self.granules.iter().map(|granule| granule.time_min).min().unwrap_or(0);
        let time_max = self.granules.iter().map(|granule| granule.time_max).max().unwrap_or(0);

        self.patterns.hand_on(&self.frames);
        container.packed(PATTERNS, &self.patterns.encode())?;
        container.packed(STREAMS, &encode_streams(&self.streams))?;
        container.packed(LEVELS, &encode_levels(self.levels.len(), self.levels.iter()))?;
        let mut volume = Vec::new();
        self.volume.encode(&mut volume);
        self.firsts.encode(&mut volume);
        container.packed(VOLUME, &volume)?;
        container.index(self.index)?;
        let table = GranuleTable {
            granule_rows: self.options.granule_rows,
            raw_bytes: self.raw_bytes,
            granules: self.granules,
            pages: columns.pages,
            heads: columns.heads,
        };
        let granules = container.pack(GRANULES, &table.encode())?;
        let (pages, meta) = columns.file.split_at(columns.meta.start);
        let rest = [&filter.blocks, pages, meta, &granules, &filter.directory];
        container.bundle.reserve(rest.iter().map(|section| section.len()).sum());
        container.plain(TOKENS, &filter.blocks);
        container.plain(COLUMNS, pages);
        container.bundle.opening_from_here();
        container.plain(COLUMNS_META, meta);
        container.plain(GRANULES, &granules);
        container.plain(TOKEN_DIRECTORY, &filter.directory);

        stats.sections = container.sections;
        let built = container.bundle.finish();
        Ok(BuiltSegment {
            rows: table.rows(),
            raw_bytes: table.raw_bytes,
            time_min,
            time_max,
            footer_bytes: built.footer_bytes,
            bytes: built.bytes,
            stats,
        })
    }
}

fn column_bytes(columns: &EncodedColumns, promoted: &[String]) -> Vec<(String, u64)> {
    const NAMES: [&str; super::columns::PROMOTED] =
        ["time", "stream", "level", "pattern", "variables", "attribute names", "attribute values"];
    let names = NAMES.iter().map(|name| (*name).to_owned()).chain(promoted.iter().cloned());
    let bytes = columns.pages.iter().map(|pages| pages.iter().map(|p| u64::from(p.bytes)).sum());
    names.zip(bytes).collect()
}

/// The object being put together, counting what goes into it.
#[derive(Debug)]
struct Container {
    zstd_level: i32,
    bundle: BundleBuilder,
    sections: Vec<(&'static str, u64)>,
}

impl Container {
    fn new(zstd_level: i32) -> Self {
        let bundle = BundleBuilder::new(BundleKind::Logs, FORMAT_VERSION);
        Self { zstd_level, bundle, sections: Vec::new() }
    }

    fn packed(&mut self, section: &'static str, plain: &[u8]) -> Result<(), BuildError> {
        let packed = self.pack(section, plain)?;
        self.plain(section, &packed);
        Ok(())
    }

    fn pack(&self, section: &'static str, plain: &[u8]) -> Result<Vec<u8>, BuildError> {
        if SECTION_BYTES_MAX < plain.len() {
            return Err(BuildError::encode(section, "it is larger than a reader accepts"));
        }
        wire::compress(plain, self.zstd_level).map_err(|cause| BuildError::encode(section, cause))
    }

    fn plain(&mut self, section: &'static str, bytes: &[u8]) {
        self.bundle.add(section, bytes);
        self.sections.push((section, bytes.len() as u64));
    }

    fn index(&mut self, index: IndexBuilder) -> Result<(), BuildError> {
        let before = self.bundle.len();
        index.finish(&mut self.bundle)?;
        self.sections.push((INDEX, (self.bundle.len() - before) as u64));
        Ok(())
    }
}
