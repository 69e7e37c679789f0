//! Range aggregations that count lines or their bytes, folded chunk by chunk.
//!
//! A row adds to a run of steps, so it touches two cells: where the run begins and where it ends.
//! What a step holds is the running sum. Memory is series times steps, never rows; the limit
//! `cells_max` bounds it, over all segments that are folded at once. Series are told apart by their labels, or by the labels of the `sum` that
//! stands around the aggregation, which then needs no step of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use record::{DETECTED_LEVEL, Labels, LogBatch};
use segment::logs::{MinuteTally, RowTally};

use super::grid::Windows;
use super::labels::{ERROR, RowLabels};
use super::pipeline::Pipeline;
use super::series::{Point, Series, tidy};
use crate::error::{LimitHit, QueryError};
use crate::logql::ast::{Grouping, RangeOp};
use crate::scan::{ChunkRows, LogChunk, LogFold};

const NANOS_PER_SECOND: f64 = 1e9;

/// What tells series apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SeriesKey {
    /// All labels that are left after the pipeline.
    All,
    /// The labels of a grouping.
    Group(Grouping),
}

/// Counts rows, and where asked their bytes, per series and step.
#[derive(Debug)]
pub(super) struct RangeFold {
    pipeline: Arc<Pipeline>,
    windows: Windows,
    key: SeriesKey,
    with_bytes: bool,
    cells: CellBudget,
    /// Series by their labels in the form of [`encode_key`].
    ids: HashMap<Box<[u8]>, usize>,
    series: Vec<Cells>,
    key_buffer: Vec<u8>,
}

/// The changes between steps of one series.
#[derive(Debug)]
struct Cells {
    labels: Labels,
    lines: Vec<i64>,
    bytes: Vec<i64>,
}

impl RangeFold {
    pub(super) fn new(
        pipeline: Arc<Pipeline>,
        windows: Windows,
        key: SeriesKey,
        op: RangeOp,
        cells: CellBudget,
    ) -> Self {
        let with_bytes = matches!(op, RangeOp::BytesOverTime | RangeOp::BytesRate);
        Self {
            pipeline,
            windows,
            key,
            with_bytes,
            cells,
            ids: HashMap::new(),
            series: Vec::new(),
            key_buffer: Vec::new(),
        }
    }

    /// The series of `op` over what was folded.
    pub(super) fn into_series(self, op: RangeOp) -> Vec<Series> {
        let seconds = self.windows.range_ns as f64 / NANOS_PER_SECOND;
        let steps = self.windows.grid.count;
        let series = self.series.into_iter().map(|cells| {
            let (mut lines, mut bytes) = (0, 0);
            let mut points = Vec::new();
            for step in 0..steps {
                lines += cells.lines[step as usize];
                bytes += cells.bytes.get(step as usize).copied().unwrap_or(0);
                if lines == 0 {
                    continue;
                }
                let value = match op {
                    RangeOp::Rate => lines as f64 / seconds,
                    RangeOp::BytesOverTime => bytes as f64,
                    RangeOp::BytesRate => bytes as f64 / seconds,
                    _ => lines as f64,
                };
                points.push(Point { step, value });
            }
            Series { labels: cells.labels, points }
        });
        tidy(series.collect())
    }

    fn fold_batch(&mut self, batch: &LogBatch) -> Result<(), QueryError> {
        let pipeline = Arc::clone(&self.pipeline);
        // Rows that have only their stream's labels share one lookup per stream and batch.
        let mut plain: Vec<Option<usize>> = vec![None; batch.streams().len()];
        let mut labels = RowLabels::default();
        for (row, time_ns) in batch.times().iter().enumerate() {
            let (from, to) = self.windows.steps_of(*time_ns);
            if to <= from || !pipeline.keeps(batch, row, &mut labels) {
                continue;
            }
            let stream = batch.stream_index()[row] as usize;
            let id = match plain[stream] {
                Some(id) if labels.is_plain() => id,
                _ => self.series_of(&labels)?,
            };
            if labels.is_plain() {
                plain[stream] = Some(id);
            }
            let cells = &mut self.series[id];
            cells.lines[from as usize] += 1;
            cells.lines[to as usize] -= 1;
            if self.with_bytes {
                let bytes = i64::try_from(batch.line(row).len()).unwrap_or(i64::MAX);
                cells.bytes[from as usize] += bytes;
                cells.bytes[to as usize] -= bytes;
            }
        }
        Ok(())
    }

    /// Counts rows of which only time, stream and level are known.
    ///
    /// Rows of a stream ascend in time, so they come in stretches that count towards the same
    /// steps; within one only the levels are told apart.
    fn fold_tally(&mut self, tally: &RowTally) -> Result<(), QueryError> {
        let (times, levels) = (tally.times(), tally.level_numbers());
        let mut counts = vec![0_i64; tally.levels().len().max(1)];
        for run in tally.streams() {
            // Series by level; the outer `None` is not looked up yet, the inner one refused.
            let mut series: Vec<Option<Option<usize>>> = vec![None; counts.len()];
            let mut at = run.rows.start;
            while at < run.rows.end {
                let steps = self.windows.steps_from(times[at]);
                let stretch = times[at..run.rows.end].partition_point(|t| *t <= steps.until_ns);
                let end = at + stretch.max(1);
                let skipped = steps.to <= steps.from;
                let start = std::mem::replace(&mut at, end);
                if skipped {
                    continue;
                }
                match levels.get(start..end) {
                    Some(levels) => levels.iter().for_each(|level| counts[*level as usize] += 1),
                    None => counts[0] = (end - start) as i64,
                }
                for (level, count) in counts.iter_mut().enumerate() {
                    let rows = std::mem::take(count);
                    if rows == 0 {
                        continue;
                    }
                    let name =
                        if levels.is_empty() { None } else { tally.levels()[level].as_deref() };
                    let id = match series[level] {
                        Some(known) => known,
                        None => *series[level].insert(self.series_of_level(run.stream, name)?),
                    };
                    let Some(id) = id else { continue };
                    let cells = &mut self.series[id];
                    cells.lines[steps.from as usize] += rows;
                    cells.lines[steps.to as usize] -= rows;
                }
            }
        }
        Ok(())
    }

    /// Counts rows of whole minutes, each of which lies between the same steps.
    fn fold_minutes(&mut self, minutes: &MinuteTally) -> Result<(), QueryError> {
        let mut stream: Option<&Labels> = None;
        let mut series: HashMap<u32, Option<usize>> = HashMap::new();
        for count in minutes.counts() {
            let (from, to) = self.windows.steps_of(count.minute_ns.saturating_add(1));
            if to <= from {
                continue;
            }
            if stream.is_none_or(|known| !std::ptr::eq(known, count.stream)) {
                stream = Some(count.stream);
                series.clear();
            }
            let id = match series.get(&count.level_number) {
                Some(known) => *known,
                None => {
                    let id = self.series_of_level(count.stream, count.level)?;
                    series.insert(count.level_number, id);
                    id
                }
            };
            let Some(id) = id else { continue };
            let rows = i64::try_from(count.rows).unwrap_or(i64::MAX);
            let cells = &mut self.series[id];
            cells.lines[from as usize] += rows;
            cells.lines[to as usize] -= rows;
        }
        Ok(())
    }

    /// The series of a stream's rows of one level; `None` when the pipeline drops them.
    fn series_of_level(
        &mut self,
        stream: &Labels,
        level: Option<&str>,
    ) -> Result<Option<usize>, QueryError> {
        let pipeline = Arc::clone(&self.pipeline);
        let mut labels = RowLabels::default();
        let level = level.map(|level| (DETECTED_LEVEL, level));
        if !pipeline.keeps_labels(stream, level.into_iter(), &mut labels) {
            return Ok(None);
        }
        self.series_of(&labels).map(Some)
    }

    /// The series a row belongs to, made if it is new.
    fn series_of(&mut self, labels: &RowLabels<'_>) -> Result<usize, QueryError> {
        let mut pairs = Vec::new();
        match &self.key {
            SeriesKey::All => labels.merged_into(&mut pairs),
            SeriesKey::Group(Grouping { without: true, names }) => {
                labels.merged_into(&mut pairs);
                pairs.retain(|(name, _)| !names.iter().any(|gone| gone == name));
            }
            SeriesKey::Group(Grouping { without: false, names }) => {
                let found =
                    names.iter().filter_map(|name| Some((name.as_str(), labels.get(name)?)));
                pairs.extend(found);
                pairs.sort_unstable();
            }
        }
        if labels.has_error() && !self.asks_for_error() {
            return Err(pipeline_error(labels));
        }
        let mut key = std::mem::take(&mut self.key_buffer);
        encode_key(&pairs, &mut key);
        let id = match self.ids.get(key.as_slice()) {
            Some(id) => *id,
            None => self.add_series(&key, Labels::from_pairs(pairs))?,
        };
        self.key_buffer = key;
        Ok(id)
    }

    fn asks_for_error(&self) -> bool {
        matches!(&self.key, SeriesKey::Group(grouping)
            if !grouping.without && grouping.names.iter().any(|name| name == ERROR))
    }

    fn cells_of_series(&self) -> u64 {
        let columns = if self.with_bytes { 2 } else { 1 };
        (u64::from(self.windows.grid.count) + 1) * columns
    }

    fn add_series(&mut self, key: &[u8], labels: Labels) -> Result<usize, QueryError> {
        let cells = self.windows.grid.count as usize + 1;
        self.cells.take(self.cells_of_series())?;
        let id = self.series.len();
        let bytes = if self.with_bytes { vec![0; cells] } else { Vec::new() };
        self.series.push(Cells { labels, lines: vec![0; cells], bytes });
        self.ids.insert(key.into(), id);
        Ok(id)
    }
}

impl LogFold for RangeFold {
    const COUNTS: bool = true;

    fn fold(&mut self, chunk: &LogChunk) -> Result<(), QueryError> {
        match &chunk.rows {
            ChunkRows::Batch(batch) => self.fold_batch(batch),
            ChunkRows::Tally(tally) => self.fold_tally(tally),
            ChunkRows::Minutes(minutes) => self.fold_minutes(minutes),
        }
    }

    fn takes_minutes(&self) -> bool {
        !self.with_bytes && self.windows.on_minutes()
    }

    fn merge(&mut self, mut other: Self) -> Result<(), QueryError> {
        for (key, id) in std::mem::take(&mut other.ids) {
            let Some(part) = other.series.get_mut(id) else { continue };
            match self.ids.get(&key) {
                Some(known) => {
                    let whole = &mut self.series[*known];
                    whole.lines.iter_mut().zip(&part.lines).for_each(|(sum, by)| *sum += by);
                    whole.bytes.iter_mut().zip(&part.bytes).for_each(|(sum, by)| *sum += by);
                    self.cells.give_back(self.cells_of_series());
                }
                None => {
                    // Its cells were taken by the other fold, and go on being held.
                    let moved = std::mem::replace(part, Cells::none());
                    self.ids.insert(key, self.series.len());
                    self.series.push(moved);
                }
            }
        }
        Ok(())
    }
}

impl Cells {
    fn none() -> Self {
        Self { labels: Labels::default(), lines: Vec::new(), bytes: Vec::new() }
    }
}

/// How many cells the folds of one range aggregation hold together.
#[derive(Clone, Debug)]
pub(super) struct CellBudget {
    held: Arc<AtomicU64>,
    max: u64,
}

impl CellBudget {
    pub(super) fn new(max: u64) -> Self {
        Self { held: Arc::new(AtomicU64::new(0)), max }
    }

    fn take(&self, cells: u64) -> Result<(), QueryError> {
        let before = self.held.fetch_add(cells, Ordering::Relaxed);
        if self.max < before.saturating_add(cells) {
            return Err(LimitHit::Cells { max: self.max }.into());
        }
        Ok(())
    }

    fn give_back(&self, cells: u64) {
        self.held.fetch_sub(cells, Ordering::Relaxed);
    }
}

/// Pairs as bytes: 0xff is in no UTF-8 text, so no two sets of pairs look the same.
fn encode_key(pairs: &[(&str, &str)], key: &mut Vec<u8>) {
    key.clear();
    for (name, value) in pairs {
        key.extend_from_slice(name.as_bytes());
        key.push(0xff);
        key.extend_from_slice(value.as_bytes());
        key.push(0xff);
    }
}

/// What a metric query says when a row carries an error: a number that leaves rows out silently
/// would be wrong.
fn pipeline_error(labels: &RowLabels<'_>) -> QueryError {
    let error = labels.get(ERROR).unwrap_or_default();
    let series = labels.categories().merged();
    QueryError::Invalid(format!(
        "pipeline error: '{error}' for series: '{series}'.\n\
         Use a label filter to intentionally skip this error. (e.g | __error__!=\"{error}\").\n\
         To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
         The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n"
    ))
}
