//! Spreads the log records of a cut over segments and builds one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use queue::TopicPartition;
use record::TenantId;
use segment::SegmentKind;
use segment::logs::{BuildOptions, LogSegmentBuilder};
use segment::meta::BuiltSegment;

use super::{BuildError, Built, Job, Windows, own_windows, ranges_of};
use crate::cost::Shares;
use crate::cut::window_start;
use crate::kind::{HeldBatch, Logs};
use crate::open::CutPart;

/// A batch, with the rows of it that belong to a segment; `None` is all of them.
type Share = (Arc<HeldBatch>, Option<Vec<bool>>);

/// What goes into one segment.
#[derive(Debug, Default)]
struct Content {
    shares: Vec<Share>,
    from: BTreeSet<TopicPartition>,
}

/// Where the stragglers go; sorts before every window.
const STRAGGLERS: Option<i64> = None;

/// Returns one job per segment, tenants and windows in order.
pub(crate) fn jobs(parts: &[CutPart<Logs>], windows: Windows) -> Vec<Job> {
    let mut batches: BTreeMap<TenantId, Vec<(&TopicPartition, Arc<HeldBatch>)>> = BTreeMap::new();
    for part in parts {
        for held in part.rows.since(part.from) {
            batches.entry(held.tenant.clone()).or_default().push((&part.at, held));
        }
    }
    let mut jobs = Vec::new();
    for (tenant, batches) in batches {
        for content in spread(&batches, windows) {
            let ranges = ranges_of(parts, &content.from);
            let owner = tenant.clone();
            jobs.push(Job::new(tenant.clone(), ranges, move || build(&owner, content.shares)));
        }
    }
    jobs
}

/// Gives every row of one tenant its segment.
fn spread(batches: &[(&TopicPartition, Arc<HeldBatch>)], windows: Windows) -> Vec<Content> {
    let own = own_windows(&count_windows(batches, windows.length), windows.windows_max);
    let place = |time_ns: i64| {
        let window = window_start(time_ns, windows.length);
        if own.contains(&window) { Some(window) } else { STRAGGLERS }
    };
    let mut contents: BTreeMap<Option<i64>, Content> = BTreeMap::new();
    let mut add = |segment: Option<i64>, at: &TopicPartition, share: Share| {
        let content = contents.entry(segment).or_default();
        content.shares.push(share);
        if !content.from.contains(at) {
            content.from.insert(at.clone());
        }
    };
    for (at, held) in batches {
        if one_window(held, windows.length) {
            add(place(held.time_min_ns), at, (Arc::clone(held), None));
            continue;
        }
        let places: Vec<Option<i64>> = held.batch.times().iter().map(|time| place(*time)).collect();
        for segment in places.iter().collect::<BTreeSet<_>>() {
            let mask = places.iter().map(|place| place == segment).collect();
            add(*segment, at, (Arc::clone(held), Some(mask)));
        }
    }
    contents.into_values().collect()
}

fn one_window(held: &HeldBatch, length: Duration) -> bool {
    window_start(held.time_min_ns, length) == window_start(held.time_max_ns, length)
}

fn count_windows(
    batches: &[(&TopicPartition, Arc<HeldBatch>)],
    length: Duration,
) -> BTreeMap<i64, u64> {
    let mut rows_by_window = BTreeMap::new();
    for (_, held) in batches {
        if one_window(held, length) {
            let window = window_start(held.time_min_ns, length);
            *rows_by_window.entry(window).or_default() += held.batch.len() as u64;
            continue;
        }
        for time in held.batch.times() {
            *rows_by_window.entry(window_start(*time, length)).or_default() += 1;
        }
    }
    rows_by_window
}

fn build(tenant: &TenantId, parts: Vec<Share>) -> Result<Built, BuildError> {
    let failed = |error: segment::logs::BuildError| BuildError::new(tenant, error);
    let mut builder = LogSegmentBuilder::new(BuildOptions::default());
    let mut shares = Shares::default();
    for (held, mask) in parts {
        let bytes = held.batch.raw_bytes_by_stream(mask.as_deref());
        for (stream, bytes) in held.batch.streams().iter().zip(bytes) {
            shares.add(stream, bytes);
        }
        builder.push_batch(&held.batch, mask.as_deref()).map_err(failed)?;
    }
    let built = builder.finish().map_err(failed)?;
    let segment = BuiltSegment {
        kind: SegmentKind::Logs,
        bytes: built.bytes,
        rows: built.rows,
        raw_bytes: built.raw_bytes,
        time_min_ns: built.time_min,
        time_max_ns: built.time_max,
        footer_bytes: built.footer_bytes,
    };
    Ok(Built { segment, shares })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use queue::{Partition, Topic};
    use record::{Labels, LogBatchBuilder, TimestampNanos};

    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    fn held(times: &[i64]) -> Arc<HeldBatch> {
        let mut builder = LogBatchBuilder::new();
        for (row, time) in times.iter().enumerate() {
            let line = format!("{row}");
            builder.push::<&str, &str>(TimestampNanos(*time), &Labels::default(), &line, &[], None);
        }
        Arc::new(HeldBatch {
            offset: 0,
            tenant: TenantId::default(),
            batch: builder.finish(),
            time_min_ns: *times.iter().min().unwrap(),
            time_max_ns: *times.iter().max().unwrap(),
        })
    }

    proptest! {
        #[test]
        fn each_row_is_in_exactly_one_segment_and_few_segments_are_made(
            batches in prop::collection::vec(
                prop::collection::vec((-20_i64..20, 0..HOUR), 1..8),
                1..8,
            ),
            windows_max in 1_usize..5,
        ) {
            let at = TopicPartition::new(&Topic::logs(), Partition(0));
            let batches: Vec<_> = batches
                .iter()
                .map(|rows| rows.iter().map(|(hour, rest)| hour * HOUR + rest).collect::<Vec<_>>())
                .map(|times| (&at, held(&times)))
                .collect();
            let windows = Windows { length: Duration::from_secs(3_600), windows_max };
            let contents = spread(&batches, windows);
            prop_assert!(contents.len() <= windows_max + 1);
            for (_, held) in &batches {
                let mut seen = vec![0; held.batch.len()];
                for (share, mask) in contents.iter().flat_map(|content| &content.shares) {
                    if !Arc::ptr_eq(share, held) {
                        continue;
                    }
                    for (row, count) in seen.iter_mut().enumerate() {
                        *count += i32::from(mask.as_ref().is_none_or(|mask| mask[row]));
                    }
                }
                prop_assert!(seen.iter().all(|count| *count == 1), "{:?}", seen);
            }
        }
    }
}
