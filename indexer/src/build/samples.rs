//! Spreads the samples of a cut over segments and builds one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use queue::TopicPartition;
use record::{MetricMetadata, TenantId};
use segment::samples::{Head, SamplePlan, SampleSegmentBuilder, SeriesData};

use super::{BuildError, Built, Job, Place, Places, Windows, ranges_of};
use crate::cost::Shares;
use crate::cut::window_start;
use crate::kind::{SAMPLE_BYTES, Samples, read};
use crate::open::CutPart;
use crate::retention::Rules;

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
        let (rows_by_window, classes) = survey(&tenant, &heads, &windows);
        let places = Arc::new(Places::new(&rows_by_window, &windows));
        let mut segments: BTreeSet<(String, Place)> = BTreeSet::new();
        for (class, window) in classes {
            segments.insert((class, places.of(window)));
        }
        for (class, place) in segments {
            let inside = Inside {
                tenant: tenant.clone(),
                class: class.clone(),
                place,
                places: Arc::clone(&places),
                rules: Arc::clone(&windows.rules),
            };
            let (heads, ranges) = (heads.clone(), ranges_of(parts, &at));
            jobs.push(Job::new(tenant.clone(), ranges, class, move || build(&heads, &inside)));
        }
    }
    jobs
}

/// Which samples belong to one segment.
struct Inside {
    tenant: TenantId,
    class: String,
    place: Place,
    places: Arc<Places>,
    rules: Arc<Rules>,
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

/// Counts the samples in each window, and says which classes have any in which.
fn survey(
    tenant: &TenantId,
    heads: &[Arc<RwLock<Head>>],
    windows: &Windows,
) -> (BTreeMap<i64, u64>, BTreeSet<(String, i64)>) {
    let mut rows_by_window: BTreeMap<i64, u64> = BTreeMap::new();
    let mut classes = BTreeSet::new();
    for head in heads {
        for series in read(head).scan(&everything(tenant)) {
            let class = windows.rules.class(tenant, &series.labels);
            let mut last = None;
            for time in series.times {
                let window = window_of(time, windows.length);
                *rows_by_window.entry(window).or_default() += 1;
                if last != Some(window) {
                    last = Some(window);
                    classes.insert((class.to_owned(), window));
                }
            }
        }
    }
    (rows_by_window, classes)
}

fn build(heads: &[Arc<RwLock<Head>>], inside: &Inside) -> Result<Built, BuildError> {
    let mut builder = SampleSegmentBuilder::new();
    let mut shares = Shares::default();
    let mut metadata: Vec<MetricMetadata> = Vec::new();
    for head in heads {
        let head = read(head);
        metadata.extend(head.metadata());
        for series in head.scan(&everything(&inside.tenant)) {
            if inside.rules.class(&inside.tenant, &series.labels) != inside.class {
                continue;
            }
            let kept = keep(series, inside);
            if !kept.times.is_empty() {
                let samples = kept.times.len() as u64;
                shares.add(&kept.labels, samples.saturating_mul(SAMPLE_BYTES));
                builder.push(kept);
            }
        }
    }
    builder.push_metadata(&metadata);
    let segment = builder.finish().map_err(|error| BuildError::new(&inside.tenant, error))?;
    Ok(Built { segment, shares })
}

/// Returns `series` without the samples of other segments.
fn keep(mut series: SeriesData, inside: &Inside) -> SeriesData {
    let of = |time: &i64| inside.places.of(time.saturating_mul(NANOS_PER_MILLI));
    let mask: Vec<bool> = series.times.iter().map(|time| of(time) == inside.place).collect();
    let mut flags = mask.iter();
    series.times.retain(|_| *flags.next().unwrap_or(&false));
    let mut flags = mask.iter();
    series.values.retain(|_| *flags.next().unwrap_or(&false));
    series
}
