//! A segment that is being read.

use std::sync::Arc;

use record::LogBatch;
use segment::SegmentMeta;
use segment::logs::plan::CompiledPlan;
use segment::logs::{Found, LogScan, LogSegment, SegmentError};

use super::Scanner;
use super::chunks::{ChunkRows, LogChunk, LogFold};
use super::footers::InUse;
use crate::admission::{QueryContext, Stats};
use crate::telemetry;

/// Reads one segment chunk by chunk.
pub(super) struct Cursor {
    pub(super) meta: Arc<SegmentMeta>,
    source: u64,
    line_bytes_mean: u64,
    /// Whether rows may come as counts of minutes.
    by_minute: bool,
    scan: Option<LogScan>,
    /// What the scan goes over.
    segment: Option<InUse<LogSegment>>,
}

pub(super) type Read = (Cursor, Result<Option<LogChunk>, SegmentError>);

impl Cursor {
    pub(super) fn new(meta: Arc<SegmentMeta>, source: u64) -> Self {
        Self { meta, source, line_bytes_mean: 0, by_minute: false, scan: None, segment: None }
    }

    /// Lets rows come as counts of minutes.
    pub(super) fn by_minute(mut self, by_minute: bool) -> Self {
        self.by_minute = by_minute;
        self
    }

    /// The next chunk, opening the segment first where needed.
    pub(super) async fn next<F: LogFold>(
        mut self,
        scanner: &Scanner,
        plan: &Arc<CompiledPlan>,
        context: &QueryContext,
    ) -> Read {
        let read = self.read::<F>(scanner, plan, context).await;
        (self, read)
    }

    /// All rows of the segment as counts of minutes, where it can give them.
    pub(super) async fn minutes(
        &self,
        scanner: &Scanner,
        plan: &Arc<CompiledPlan>,
        context: &QueryContext,
    ) -> Result<Option<LogChunk>, SegmentError> {
        let segment = scanner.log_segment(&self.meta, context).await?;
        let cpu = Arc::clone(&scanner.shared.cpu);
        let counted = segment.count_minutes(plan, context.budget(), Some(cpu)).await?;
        let Some(minutes) = counted else { return Ok(None) };
        Stats::add(&context.stats().segments, 1);
        metrics::counter!(telemetry::SEGMENTS_SCANNED, "kind" => "logs").increment(1);
        context.explain(|explain| explain.segments_counted_by_tables += 1);
        let rows = ChunkRows::Minutes(minutes);
        Ok(Some(LogChunk { source: self.source, first_row: 0, rows }))
    }

    pub(super) async fn read<F: LogFold>(
        &mut self,
        scanner: &Scanner,
        plan: &Arc<CompiledPlan>,
        context: &QueryContext,
    ) -> Result<Option<LogChunk>, SegmentError> {
        let scan = match &mut self.scan {
            Some(scan) => scan,
            None => {
                let segment = scanner.log_segment(&self.meta, context).await?;
                Stats::add(&context.stats().segments, 1);
                metrics::counter!(telemetry::SEGMENTS_SCANNED, "kind" => "logs").increment(1);
                let cpu = Arc::clone(&scanner.shared.cpu);
                self.line_bytes_mean = segment.raw_bytes() / segment.rows().max(1);
                let scan = match (F::COUNTS, self.by_minute) {
                    (true, true) => LogSegment::scan_counting_minutes,
                    (true, false) => LogSegment::scan_counting,
                    (false, _) => LogSegment::scan,
                };
                let segment = self.segment.insert(segment);
                self.scan.insert(scan(segment, plan, context.budget(), Some(cpu)))
            }
        };
        let Some(found) = scan.next().await? else {
            // What was looked at, by the segment's mean: the scan reads few of the lines it decides.
            let bytes = scan.stats().rows_considered.saturating_mul(self.line_bytes_mean);
            Stats::add(&context.stats().line_bytes, bytes);
            let stats = *scan.stats();
            context.explain(|explain| explain.scan.add(&stats));
            return Ok(None);
        };
        Ok(Some(self.chunk(found)))
    }

    /// What was found along with the last that was read.
    pub(super) fn take_ready(&mut self) -> Option<LogChunk> {
        let found = self.scan.as_mut()?.take_ready()?;
        Some(self.chunk(found))
    }

    fn chunk(&self, found: Found) -> LogChunk {
        let (first_row, rows) = match found {
            Found::Rows { first_row, rows } => (first_row, ChunkRows::Batch(rows)),
            Found::Tally(tally) => (0, ChunkRows::Tally(tally)),
            Found::Minutes(minutes) => (0, ChunkRows::Minutes(minutes)),
        };
        LogChunk { source: self.source, first_row, rows }
    }
}

/// A batch of recent rows as a chunk.
pub(super) fn recent_chunk(source: u64, first_row: u64, batch: LogBatch) -> LogChunk {
    LogChunk { source, first_row, rows: ChunkRows::Batch(batch) }
}
