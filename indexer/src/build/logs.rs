//! Spreads the log records of a cut over segments and builds one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use queue::TopicPartition;
use record::TenantId;
use segment::SegmentKind;
use segment::logs::{BuildOptions, LogSegmentBuilder, WidenedFrames};
use segment::meta::BuiltSegment;

use super::{BuildError, Built, Job, Place, Places, Windows, ranges_of};
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
        for (class, content) in spread(&tenant, &batches, &windows) {
            let ranges = ranges_of(parts, &content.from);
            let (owner, frames) = (tenant.clone(), windows.frames.clone());
            jobs.push(Job::new(tenant.clone(), ranges, class, move || {
                build(&owner, content.shares, &frames)
            }));
        }
    }
    jobs
}

/// Gives every row of one tenant its segment; returns them with their retention classes.
fn spread(
    tenant: &TenantId,
    batches: &[(&TopicPartition, Arc<HeldBatch>)],
    windows: &Windows,
) -> Vec<(String, Content)> {
    let places = Places::new(&count_windows(batches, windows.length), windows);
    let mut contents: BTreeMap<(String, Place), Content> = BTreeMap::new();
    let mut add = |class: &str, place: Place, at: &TopicPartition, share: Share| {
        let content = contents.entry((class.to_owned(), place)).or_default();
        content.shares.push(share);
        if !content.from.contains(at) {
            content.from.insert(at.clone());
        }
    };
    for (at, held) in batches {
        let streams = held.batch.streams();
        let classes: Vec<&str> =
            streams.iter().map(|labels| windows.rules.class(tenant, labels)).collect();
        let one_class = classes.windows(2).all(|two| two[0] == two[1]);
        if one_class && one_window(held, windows.length) {
            let class = classes.first().copied().unwrap_or_default();
            add(class, places.of(held.time_min_ns), at, (Arc::clone(held), None));
            continue;
        }
        let rows = held.batch.times().iter().zip(held.batch.stream_index());
        let of_rows: Vec<(&str, Place)> =
            rows.map(|(time, stream)| (classes[*stream as usize], places.of(*time))).collect();
        for (class, place) in of_rows.iter().collect::<BTreeSet<_>>() {
            let mask = of_rows.iter().map(|of_row| of_row == &(*class, *place)).collect();
            add(class, *place, at, (Arc::clone(held), Some(mask)));
        }
    }
    contents.into_iter().map(|((class, _), content)| (class, content)).collect()
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

fn build(
    tenant: &TenantId,
    parts: Vec<Share>,
    frames: &WidenedFrames,
) -> Result<Built, BuildError> {
    let failed = |error: segment::logs::BuildError| BuildError::new(tenant, error);
    let mut builder = LogSegmentBuilder::new(BuildOptions::default()).with_frames(frames);
    let rows = |(held, mask): &Share| match mask {
        Some(mask) => mask.iter().filter(|taken| **taken).count(),
        None => held.batch.len(),
    };
    builder.reserve(parts.iter().map(rows).sum());
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
            let windows = Windows {
                length: Duration::from_secs(3_600),
                windows_max,
                stragglers_max: 2,
                rules: Arc::default(),
                frames: WidenedFrames::default(),
            };
            let contents = spread(&TenantId::default(), &batches, &windows);
            prop_assert!(contents.len() <= windows_max + 2);
            for (_, held) in &batches {
                let mut seen = vec![0; held.batch.len()];
                for (share, mask) in contents.iter().flat_map(|(_, content)| &content.shares) {
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
