//! Spreads the samples of a cut over segments and builds one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use queue::TopicPartition;
use record::{MetricMetadata, TenantId};
use segment::samples::{Head, SamplePlan, SampleSegmentBuilder, SeriesData};

use super::{BuildError, Built, Job, Windows, own_windows, ranges_of};
use crate::cost::Shares;
use crate::cut::window_start;
use crate::kind::{SAMPLE_BYTES, Samples, read};
use crate::open::CutPart;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// A partition's samples of one tenant.
type Part = (TopicPartition, Arc<RwLock<Head>>);

/// Returns one job per segment, tenants and windows in order.
pub(crate) fn jobs(parts: &[CutPart<Samples>], windows: Windows) -> Vec<Job> {
    let mut heads: BTreeMap<TenantId, Vec<Part>> = BTreeMap::new();
    for part in parts {
        for (tenant, head) in part.rows.heads() {
            heads.entry(tenant).or_default().push((part.at.clone(), head));
        }
    }
    let mut jobs = Vec::new();
    for (tenant, parts_of_tenant) in heads {
        let at: BTreeSet<TopicPartition> =
            parts_of_tenant.iter().map(|(at, _)| at.clone()).collect();
        let heads: Vec<_> = parts_of_tenant.into_iter().map(|(_, head)| head).collect();
        let rows_by_window = count_windows(&tenant, &heads, windows.length);
        let own = own_windows(&rows_by_window, windows.windows_max);
        let stragglers: BTreeSet<i64> =
            rows_by_window.keys().copied().filter(|window| !own.contains(window)).collect();
        let mut segments: Vec<BTreeSet<i64>> = Vec::new();
        if !stragglers.is_empty() {
            segments.push(stragglers);
        }
        segments.extend(own.into_iter().map(|window| BTreeSet::from([window])));
        for inside in segments {
            let (owner, heads) = (tenant.clone(), heads.clone());
            let ranges = ranges_of(parts, &at);
            jobs.push(Job::new(tenant.clone(), ranges, move || {
                build(&owner, &heads, &inside, windows.length)
            }));
        }
    }
    jobs
}

fn window_of(time_ms: i64, length: Duration) -> i64 {
    window_start(time_ms.saturating_mul(NANOS_PER_MILLI), length)
}

fn everything(tenant: &TenantId) -> SamplePlan {
    SamplePlan {
        tenant: tenant.clone(),
        start_ms: i64::MIN,
        end_ms: i64::MAX,
        matchers: Vec::new(),
    }
}

fn count_windows(
    tenant: &TenantId,
    heads: &[Arc<RwLock<Head>>],
    length: Duration,
) -> BTreeMap<i64, u64> {
    let mut rows_by_window = BTreeMap::new();
    for head in heads {
        for series in read(head).scan(&everything(tenant)) {
            for time in series.times {
                *rows_by_window.entry(window_of(time, length)).or_default() += 1;
            }
        }
    }
    rows_by_window
}

fn build(
    tenant: &TenantId,
    heads: &[Arc<RwLock<Head>>],
    inside: &BTreeSet<i64>,
    length: Duration,
) -> Result<Built, BuildError> {
    let mut builder = SampleSegmentBuilder::new();
    let mut shares = Shares::default();
    let mut metadata: Vec<MetricMetadata> = Vec::new();
    for head in heads {
        let head = read(head);
        metadata.extend(head.metadata());
        for series in head.scan(&everything(tenant)) {
            let kept = keep(series, inside, length);
            if !kept.times.is_empty() {
                let samples = kept.times.len() as u64;
                shares.add(&kept.labels, samples.saturating_mul(SAMPLE_BYTES));
                builder.push(kept);
            }
        }
    }
    builder.push_metadata(&metadata);
    let segment = builder.finish().map_err(|error| BuildError::new(tenant, error))?;
    Ok(Built { segment, shares })
}

/// Returns `series` without the samples outside the windows `inside`.
fn keep(mut series: SeriesData, inside: &BTreeSet<i64>, length: Duration) -> SeriesData {
    let mask: Vec<bool> =
        series.times.iter().map(|time| inside.contains(&window_of(*time, length))).collect();
    let mut flags = mask.iter();
    series.times.retain(|_| *flags.next().unwrap_or(&false));
    let mut flags = mask.iter();
    series.values.retain(|_| *flags.next().unwrap_or(&false));
    series
}
