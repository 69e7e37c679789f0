//! Searching the rows held in memory. CPU work, run on the answer pool.
//!
//! Always holds: rows are judged by the same [`CompiledPlan`] that judges rows in segments, and
//! only rows at or beyond the pinned offsets are looked at. Rows come back in the order they
//! arrived. Bounded by what is held; an answer is encoded piece by piece as it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use record::{
    DETECTED_LEVEL, Labels, LogBatch, LogBatchBuilder, MetricMetadata, SampleBatch,
    SampleBatchBuilder, TenantId, TimestampMillis, TimestampNanos,
};
use segment::logs::VolumeRow;
use segment::logs::plan::{AttributeColumns, CompiledPlan, Direction};
use segment::recent::{ScanStats, StreamPlan};
use segment::samples::{SamplePlan, SeriesData};

use crate::kind::{HeldBatch, Logs, SAMPLE_BYTES, Samples, read};
use crate::open::Pinned;

/// Raw size of one frame. Larger ones share dictionaries better and hold more memory while one is
/// encoded.
const FRAME_BYTES: usize = 1 << 20;

/// Length of the minutes that volume is counted by.
const MINUTE_NS: i64 = 60_000_000_000;

/// Rows that satisfy a plan: batches with the rows of them that do.
#[derive(Debug)]
pub(crate) struct LogAnswer {
    pub(crate) hits: Vec<(Arc<HeldBatch>, Vec<bool>)>,
    pub(crate) stats: ScanStats,
}

/// Finds the log rows that satisfy `plan`.
pub(crate) fn scan_logs(pinned: Pinned<Logs>, plan: &CompiledPlan) -> LogAnswer {
    let wanted = plan.plan();
    let mut stats = ScanStats { catching_up: pinned.catching_up, ..ScanStats::default() };
    let mut hits = Vec::new();
    let range = (wanted.start_ns, wanted.end_ns);
    for held in batches(&pinned.sets, &wanted.tenant, range) {
        stats.rows_scanned += held.batch.len() as u64;
        stats.bytes_scanned += held.batch.raw_bytes();
        let mask = plan.select(&held.batch);
        if mask.contains(&true) {
            hits.push((held, mask));
        }
    }
    if let Some(limit) = wanted.limit {
        keep_best(&mut hits, wanted.direction, limit);
    }
    stats.rows_returned = hits.iter().map(|(_, mask)| count(mask)).sum();
    LogAnswer { hits, stats }
}

fn count(mask: &[bool]) -> u64 {
    mask.iter().filter(|kept| **kept).count() as u64
}

/// The batches of a tenant that may hold a row from `range.0` (inclusive) to `range.1` (exclusive).
fn batches(
    sets: &[(crate::kind::LogRows, i64)],
    tenant: &TenantId,
    range: (i64, i64),
) -> Vec<Arc<HeldBatch>> {
    let all = sets.iter().flat_map(|(rows, offset)| rows.since(*offset));
    all.filter(|held| {
        held.tenant == *tenant && held.time_min_ns < range.1 && range.0 <= held.time_max_ns
    })
    .collect()
}

/// Clears all but the `limit` oldest or newest rows; of rows with one time, forward keeps those
/// that came first, backward those that came last.
fn keep_best(hits: &mut Vec<(Arc<HeldBatch>, Vec<bool>)>, direction: Direction, limit: usize) {
    let mut ranked: Vec<(i64, usize, usize)> = Vec::new();
    for (number, (held, mask)) in hits.iter().enumerate() {
        let rows = mask.iter().zip(held.batch.times()).enumerate();
        ranked.extend(
            rows.filter(|(_, (kept, _))| **kept).map(|(row, (_, time))| (*time, number, row)),
        );
    }
    if ranked.len() <= limit {
        return;
    }
    let losers = match direction {
        Direction::Forward => {
            ranked.select_nth_unstable(limit);
            ranked.split_off(limit)
        }
        Direction::Backward => {
            let surplus = ranked.len() - limit;
            // With a limit of none, all are surplus and there is no row to divide at.
            if surplus < ranked.len() {
                ranked.select_nth_unstable(surplus);
            }
            ranked.truncate(surplus);
            ranked
        }
    };
    for (_, number, row) in losers {
        hits[number].1[row] = false;
    }
    hits.retain(|(_, mask)| mask.contains(&true));
}

/// Takes hits off the front of `hits` and makes them one batch of about [`FRAME_BYTES`], with the
/// columns `plan` wants.
pub(crate) fn next_frame(
    hits: &mut std::vec::IntoIter<(Arc<HeldBatch>, Vec<bool>)>,
    plan: &CompiledPlan,
) -> Option<LogBatch> {
    let wanted = plan.plan();
    let mut builder = LogBatchBuilder::new();
    while builder.bytes() < FRAME_BYTES {
        let Some((held, mask)) = hits.next() else { break };
        let batch = &held.batch;
        for row in (0..batch.len()).filter(|row| mask[*row]) {
            let line = if wanted.lines { batch.line(row) } else { "" };
            let attributes = attributes(batch, row, &wanted.attributes);
            let time = TimestampNanos(batch.times()[row]);
            builder.push(time, batch.stream(row), line, &attributes, batch.source(row));
        }
    }
    if builder.is_empty() { None } else { Some(builder.finish()) }
}

fn attributes<'a>(
    batch: &'a LogBatch,
    row: usize,
    wanted: &AttributeColumns,
) -> Vec<(&'a str, &'a str)> {
    match wanted {
        AttributeColumns::None => Vec::new(),
        _ => batch.attributes(row).filter(|(name, _)| wanted.wants(name)).collect(),
    }
}

/// Finds the rows of streams that satisfy `plan`, as (batch, row, stream).
fn rows_of_streams(
    pinned: &Pinned<Logs>,
    plan: &StreamPlan,
    mut each: impl FnMut(&LogBatch, usize),
) -> ScanStats {
    let mut stats = ScanStats { catching_up: pinned.catching_up.clone(), ..ScanStats::default() };
    for held in batches(&pinned.sets, &plan.tenant, (plan.start_ns, plan.end_ns)) {
        let batch = &held.batch;
        stats.rows_scanned += batch.len() as u64;
        stats.bytes_scanned += batch.raw_bytes();
        let matches = |stream: &Labels| plan.matchers.iter().all(|m| m.matches_labels(stream));
        let streams: Vec<bool> = batch.streams().iter().map(matches).collect();
        for (row, (time, stream)) in batch.times().iter().zip(batch.stream_index()).enumerate() {
            let inside = plan.start_ns <= *time && *time < plan.end_ns;
            if inside && streams[*stream as usize] {
                each(batch, row);
            }
        }
    }
    stats
}

/// Counts lines and bytes per stream, level and minute.
pub(crate) fn volume(pinned: &Pinned<Logs>, plan: &StreamPlan) -> (Vec<VolumeRow>, ScanStats) {
    let mut counts: BTreeMap<(Labels, String, i64), (u64, u64)> = BTreeMap::new();
    let mut stats = rows_of_streams(pinned, plan, |batch, row| {
        let level = batch.attributes(row).find(|(name, _)| *name == DETECTED_LEVEL);
        let level = level.map_or(String::new(), |(_, level)| level.to_owned());
        let minute = batch.times()[row].div_euclid(MINUTE_NS).saturating_mul(MINUTE_NS);
        let count = counts.entry((batch.stream(row).clone(), level, minute)).or_default();
        count.0 += 1;
        count.1 += batch.line(row).len() as u64;
    });
    let rows: Vec<VolumeRow> = counts
        .into_iter()
        .map(|((stream, level, minute_ns), (lines, bytes))| VolumeRow {
            stream,
            level,
            minute_ns,
            lines,
            bytes,
        })
        .collect();
    stats.rows_returned = rows.len() as u64;
    (rows, stats)
}

/// Finds the streams with a row in the range.
pub(crate) fn streams(pinned: &Pinned<Logs>, plan: &StreamPlan) -> (Vec<Labels>, ScanStats) {
    let mut found = BTreeSet::new();
    let mut stats = rows_of_streams(pinned, plan, |batch, row| {
        let stream = batch.stream(row);
        if !found.contains(stream) {
            found.insert(stream.clone());
        }
    });
    stats.rows_returned = found.len() as u64;
    (found.into_iter().collect(), stats)
}

/// Finds the samples that satisfy `plan`, by row set.
pub(crate) fn scan_samples(
    pinned: Pinned<Samples>,
    plan: &SamplePlan,
) -> (Vec<SeriesData>, ScanStats) {
    let mut stats = ScanStats { catching_up: pinned.catching_up, ..ScanStats::default() };
    let mut found = Vec::new();
    for (rows, _) in &pinned.sets {
        let Some(head) = rows.head(&plan.tenant) else { continue };
        let series = read(&head).scan(plan);
        found.extend(series.into_iter().filter(|series| !series.times.is_empty()));
    }
    stats.rows_returned = found.iter().map(|series| series.times.len() as u64).sum();
    stats.rows_scanned = stats.rows_returned;
    stats.bytes_scanned = stats.rows_returned.saturating_mul(SAMPLE_BYTES);
    (found, stats)
}

/// Takes series off the front of `series` and makes them one batch of about [`FRAME_BYTES`].
pub(crate) fn next_sample_frame(
    series: &mut std::vec::IntoIter<SeriesData>,
) -> Option<SampleBatch> {
    let mut builder = SampleBatchBuilder::new();
    while builder.bytes() < FRAME_BYTES {
        let Some(next) = series.next() else { break };
        for (time, value) in next.times.iter().zip(&next.values) {
            builder.push(TimestampMillis(*time), &next.labels, *value);
        }
    }
    if builder.is_empty() { None } else { Some(builder.finish()) }
}

/// Finds the series with a sample in the range.
pub(crate) fn series(pinned: Pinned<Samples>, plan: &SamplePlan) -> (Vec<Labels>, ScanStats) {
    let (found, mut stats) = scan_samples(pinned, plan);
    let labels: BTreeSet<Labels> = found.into_iter().map(|series| series.labels).collect();
    stats.rows_returned = labels.len() as u64;
    (labels.into_iter().collect(), stats)
}

/// Collects what is known about metric families; of one family the latest description.
pub(crate) fn metadata(
    pinned: Pinned<Samples>,
    tenant: &TenantId,
) -> (Vec<MetricMetadata>, ScanStats) {
    let mut stats = ScanStats { catching_up: pinned.catching_up, ..ScanStats::default() };
    let mut families: BTreeMap<String, MetricMetadata> = BTreeMap::new();
    for (rows, _) in &pinned.sets {
        let Some(head) = rows.head(tenant) else { continue };
        for metadata in read(&head).metadata() {
            families.insert(metadata.family.clone(), metadata);
        }
    }
    stats.rows_returned = families.len() as u64;
    (families.into_values().collect(), stats)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use segment::logs::plan::LogPlan;

    use super::*;
    use crate::kind::{Kind, LogRows};

    fn rows(times: &[i64]) -> LogRows {
        let rows = LogRows::default();
        for (offset, chunk) in times.chunks(3).enumerate() {
            let mut builder = LogBatchBuilder::new();
            for (row, time) in chunk.iter().enumerate() {
                let line = format!("{offset}.{row}");
                let attributes = [("n", "1"), (DETECTED_LEVEL, "info")];
                builder.push(TimestampNanos(*time), &Labels::default(), &line, &attributes, None);
            }
            Logs::append(&rows, offset as i64, &TenantId::default(), builder.finish());
        }
        rows
    }

    fn pinned(rows: &LogRows, offset: i64) -> Pinned<Logs> {
        Pinned { sets: vec![(rows.clone(), offset)], catching_up: Vec::new() }
    }

    fn found(answer: LogAnswer, plan: &CompiledPlan) -> Vec<(i64, String)> {
        let mut hits = answer.hits.into_iter();
        let mut found = Vec::new();
        while let Some(batch) = next_frame(&mut hits, plan) {
            found.extend((0..batch.len()).map(|r| (batch.times()[r], batch.line(r).to_owned())));
        }
        found
    }

    proptest! {
        #[test]
        fn a_limit_keeps_the_best_rows(
            times in prop::collection::vec(0_i64..12, 0..20),
            limit in 0_usize..20,
            forward in any::<bool>(),
            offset in 0_i64..4,
        ) {
            let rows = rows(&times);
            let mut plan = LogPlan::all(TenantId::default(), 2, 10, Vec::new());
            let all = CompiledPlan::new(&plan).unwrap();
            let mut expected = found(scan_logs(pinned(&rows, offset), &all), &all);
            let naive = times.iter().enumerate().skip(offset as usize * 3);
            prop_assert_eq!(
                expected.len(),
                naive.filter(|(_, time)| (2..10).contains(*time)).count()
            );

            plan.limit = Some(limit);
            plan.direction = if forward { Direction::Forward } else { Direction::Backward };
            let limited = CompiledPlan::new(&plan).unwrap();
            let answer = scan_logs(pinned(&rows, offset), &limited);
            prop_assert_eq!(answer.stats.rows_returned as usize, limit.min(expected.len()));
            let mut kept = found(answer, &limited);
            kept.sort();
            expected.sort();
            let surplus = expected.len().saturating_sub(limit);
            let best = if forward { &expected[..expected.len() - surplus] } else { &expected[surplus..] };
            let times = |rows: &[(i64, String)]| rows.iter().map(|row| row.0).collect::<Vec<_>>();
            prop_assert_eq!(times(&kept), times(best));
        }
    }

    #[test]
    fn the_answer_has_the_columns_that_were_asked_for() {
        let rows = rows(&[5]);
        let mut plan = LogPlan::all(TenantId::default(), 0, 10, Vec::new());
        plan.lines = false;
        plan.attributes = AttributeColumns::Named(vec!["n".to_owned()]);
        let plan = CompiledPlan::new(&plan).unwrap();
        let mut hits = scan_logs(pinned(&rows, 0), &plan).hits.into_iter();
        let batch = next_frame(&mut hits, &plan).unwrap();
        assert_eq!(batch.line(0), "");
        assert_eq!(batch.attributes(0).collect::<Vec<_>>(), [("n", "1")]);
    }

    #[test]
    fn volume_counts_by_level_and_minute_and_other_tenants_see_nothing() {
        let rows = rows(&[0, 1, MINUTE_NS, -1]);
        let mut plan = StreamPlan {
            tenant: TenantId::default(),
            matchers: Vec::new(),
            start_ns: -10,
            end_ns: 2 * MINUTE_NS,
        };
        let (counted, _) = volume(&pinned(&rows, 0), &plan);
        let counts: Vec<_> =
            counted.iter().map(|row| (row.minute_ns, row.lines, row.bytes)).collect();
        assert_eq!(counts, [(-MINUTE_NS, 1, 3), (0, 2, 6), (MINUTE_NS, 1, 3)]);
        assert!(counted.iter().all(|row| row.level == "info"));
        assert_eq!(streams(&pinned(&rows, 0), &plan).0, [Labels::default()]);
        plan.tenant = TenantId::new("other").unwrap();
        assert!(volume(&pinned(&rows, 0), &plan).0.is_empty());
        assert!(streams(&pinned(&rows, 0), &plan).0.is_empty());
    }
}
