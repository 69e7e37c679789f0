//! Streams and volume: what the tables of segments and indexers tell without reading rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, stream};
use record::{Labels, Matcher};
use segment::catalog::CatalogState;
use segment::logs::{LogSegment, SegmentError, VolumeRow};
use segment::recent::{LOGS_STREAMS, LOGS_VOLUME, StreamPlan};
use segment::{SegmentKind, SegmentMeta};
use serde::de::DeserializeOwned;

use super::Scanner;
use crate::admission::{QueryContext, Stats};
use crate::error::QueryError;
use crate::telemetry;

/// Streams by selector and time.
#[derive(Clone, Debug)]
pub struct StreamRange {
    pub matchers: Vec<Matcher>,
    /// Unix nanoseconds, inclusive.
    pub start_ns: i64,
    /// Exclusive.
    pub end_ns: i64,
}

impl Scanner {
    /// Label sets of streams with rows in the range, sorted, each once. Exact to the minute.
    ///
    /// # Errors
    /// The deadline, a budget, or a store that cannot be read.
    pub async fn streams(
        &self,
        range: &StreamRange,
        context: &QueryContext,
    ) -> Result<Vec<Labels>, QueryError> {
        let (state, recent) = self.recent_table(LOGS_STREAMS, range, context).await?;
        let mut found: BTreeSet<Labels> = recent.into_iter().flatten().collect();
        for table in self.each_segment(&state, range, context, Reading::Streams).await? {
            found.extend(table.streams);
        }
        Ok(found.into_iter().collect())
    }

    /// Lines and bytes by stream, level and minute, and how many segments they are from. Minutes
    /// are whole, also at the ends of the range.
    ///
    /// # Errors
    /// As [`Scanner::streams`].
    pub async fn volume(
        &self,
        range: &StreamRange,
        context: &QueryContext,
    ) -> Result<(Vec<VolumeRow>, u64), QueryError> {
        let (state, recent) = self.recent_table(LOGS_VOLUME, range, context).await?;
        let mut sums: BTreeMap<(Labels, String, i64), (u64, u64)> = BTreeMap::new();
        let mut add = |row: VolumeRow| {
            let sum = sums.entry((row.stream, row.level, row.minute_ns)).or_default();
            sum.0 += row.lines;
            sum.1 += row.bytes;
        };
        recent.into_iter().flatten().for_each(&mut add);
        let tables = self.each_segment(&state, range, context, Reading::Volume).await?;
        let segments = tables.len() as u64;
        tables.into_iter().flat_map(|table| table.volume).for_each(&mut add);
        let row = |((stream, level, minute_ns), (lines, bytes))| VolumeRow {
            stream,
            level,
            minute_ns,
            lines,
            bytes,
        };
        Ok((sums.into_iter().map(row).collect(), segments))
    }

    /// What the owners' tables say, and the state that goes with it.
    async fn recent_table<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        range: &StreamRange,
        context: &QueryContext,
    ) -> Result<(Arc<CatalogState>, Vec<Vec<T>>), QueryError> {
        let plan = StreamPlan {
            tenant: context.tenant().clone(),
            matchers: range.matchers.clone(),
            start_ns: range.start_ns,
            end_ns: range.end_ns,
        };
        let topics = &self.shared.section.topics.logs;
        let (state, answers) = self.ask_until_stable(path, topics, &plan, context).await?;
        let mut tables = Vec::new();
        for answer in answers {
            tables.extend(self.table(answer, context).await?);
        }
        Ok((state, tables))
    }

    /// What the tables of every segment in range say. Damaged and missing ones are set aside.
    async fn each_segment(
        &self,
        state: &CatalogState,
        range: &StreamRange,
        context: &QueryContext,
        reading: Reading,
    ) -> Result<Vec<Table>, QueryError> {
        let (tenant, kind) = (context.tenant(), SegmentKind::Logs);
        let chosen = state.segments_between(tenant, kind, range.start_ns, range.end_ns);
        let chosen: Vec<Arc<SegmentMeta>> = chosen.cloned().collect();
        let tables = stream::iter(chosen)
            .map(|meta| self.segment_table(meta, range, context, reading))
            .buffer_unordered(self.shared.section.segments_concurrent)
            .collect::<Vec<_>>();
        context.within(tables).await?.into_iter().filter_map(Result::transpose).collect()
    }

    async fn segment_table(
        &self,
        meta: Arc<SegmentMeta>,
        range: &StreamRange,
        context: &QueryContext,
        reading: Reading,
    ) -> Result<Option<Table>, QueryError> {
        context.check()?;
        Stats::add(&context.stats().segments, 1);
        metrics::counter!(telemetry::SEGMENTS_SCANNED, "kind" => "logs").increment(1);
        let opened = self.log_segment(&meta, context).await;
        let table = match opened {
            Ok(segment) => read(&segment, range, reading).await,
            Err(error) => Err(error),
        };
        match table {
            Ok(table) => Ok(Some(table)),
            Err(error) => {
                self.set_log_segment_aside(&meta, error, context)?;
                Ok(None)
            }
        }
    }
}

/// What is read of a segment.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Streams,
    Volume,
}

/// What was read; the other stays empty.
#[derive(Debug, Default)]
struct Table {
    streams: Vec<Labels>,
    volume: Vec<VolumeRow>,
}

async fn read(
    segment: &LogSegment,
    range: &StreamRange,
    reading: Reading,
) -> Result<Table, SegmentError> {
    let (matchers, start_ns, end_ns) = (&range.matchers, range.start_ns, range.end_ns);
    let mut table = Table::default();
    match reading {
        Reading::Streams => table.streams = segment.streams(matchers, start_ns, end_ns).await?,
        Reading::Volume => table.volume = segment.volume(matchers, start_ns, end_ns).await?,
    }
    Ok(table)
}
