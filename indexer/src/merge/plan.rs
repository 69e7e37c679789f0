//! What to merge next: from the segments of a catalog state to disjoint sets of inputs.
//!
//! Pure: no I/O, no clock.
//!
//! # What always holds
//!
//! - The inputs of one plan have one tenant, kind, retention class and window of the grid.
//! - No segment is in two plans.
//! - **Order.** Queries tell rows of one stream and time apart by the order in which their segments
//!   came in ([`rank`]), and a merged segment takes the place of its newest input. So inputs are
//!   only taken together where no other segment that came in between them has rows among theirs.
//! - Carrying plans out one after another ends: a merge at level 0 leaves fewer segments, one above
//!   leaves smaller windows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use record::TenantId;
use segment::{SegmentId, SegmentKind, SegmentMeta};

use super::policy::{GridWindow, MergePolicy};

/// One merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergePlan {
    pub window: GridWindow,
    /// In the order in which their rows came in; at least one.
    pub inputs: Vec<Arc<SegmentMeta>>,
    /// Times at which the outputs after the first begin; none for one output.
    pub cuts: Vec<i64>,
}

/// Segments that may be merged with each other at all.
type Family<'a> = (&'a TenantId, SegmentKind, &'a str);

/// The order in which segments came in.
pub fn rank(segment: &SegmentMeta) -> (i64, SegmentId) {
    (segment.created_ms, segment.id)
}

/// Returns every merge that is worth it now, at most one for each window and stretch of order.
/// Segments `set_aside` are in none.
pub fn plan<'a>(
    segments: impl Iterator<Item = &'a Arc<SegmentMeta>>,
    set_aside: &BTreeSet<SegmentId>,
    policy: &MergePolicy,
    now_ms: i64,
) -> Vec<MergePlan> {
    let mut families: BTreeMap<Family<'_>, Vec<&Arc<SegmentMeta>>> = BTreeMap::new();
    for segment in segments {
        let family = (&segment.tenant, segment.kind, segment.class.as_str());
        families.entry(family).or_default().push(segment);
    }
    let mut plans = Vec::new();
    for mut segments in families.into_values() {
        segments.sort_by_key(|segment| rank(segment));
        plan_family(&segments, set_aside, policy, now_ms, &mut plans);
    }
    plans
}

/// `segments` are in order.
fn plan_family(
    segments: &[&Arc<SegmentMeta>],
    set_aside: &BTreeSet<SegmentId>,
    policy: &MergePolicy,
    now_ms: i64,
    plans: &mut Vec<MergePlan>,
) {
    let mut windows: BTreeMap<GridWindow, Vec<&Arc<SegmentMeta>>> = BTreeMap::new();
    for segment in segments {
        windows.entry(policy.home(segment)).or_default().push(segment);
    }
    // Few: rows outside their window are the exception.
    let wide: Vec<_> =
        segments.iter().copied().filter(|segment| 0 < policy.home(segment).level).collect();
    for (window, members) in &windows {
        if window.level == 0 && members.len() < 2 {
            continue;
        }
        let among = if window.level == 0 { &wide[..] } else { segments };
        let runs = runs(members, among, *window, set_aside, policy);
        let newest_ms = members.iter().map(|member| member.created_ms).max().unwrap_or(now_ms);
        for run in runs {
            let Some(inputs) = choose(&run, window.level, newest_ms, policy, now_ms) else {
                continue;
            };
            let length = policy.window(inputs[0].kind);
            plans.push(MergePlan { window: *window, inputs, cuts: window.cuts(length) });
        }
    }
}

/// Cuts the members of a window, which are in order, into stretches in which nothing else came in
/// between that has rows among theirs.
fn runs<'a>(
    members: &[&'a Arc<SegmentMeta>],
    among: &[&Arc<SegmentMeta>],
    window: GridWindow,
    set_aside: &BTreeSet<SegmentId>,
    policy: &MergePolicy,
) -> Vec<Vec<&'a Arc<SegmentMeta>>> {
    let usable =
        |segment: &SegmentMeta| !set_aside.contains(&segment.id) && policy.home(segment) == window;
    let mut others: Vec<&Arc<SegmentMeta>> =
        among.iter().copied().filter(|segment| !usable(segment)).collect();
    others.extend(members.iter().copied().filter(|member| !usable(member) && window.level == 0));
    others.sort_by_key(|segment| rank(segment));
    let mut runs = Vec::new();
    let mut run: Vec<&'a Arc<SegmentMeta>> = Vec::new();
    let mut hull = (i64::MAX, i64::MIN);
    for member in members.iter().copied().filter(|member| usable(member)) {
        let wider = (hull.0.min(member.time_min_ns), hull.1.max(member.time_max_ns));
        let between = match run.first() {
            None => &[][..],
            Some(first) => {
                let from = others.partition_point(|other| rank(other) < rank(first));
                let to = others.partition_point(|other| rank(other) < rank(member));
                &others[from..to]
            }
        };
        let meets = |other: &&Arc<SegmentMeta>| {
            other.time_min_ns <= wider.1 && wider.0 <= other.time_max_ns
        };
        if between.iter().any(meets) {
            runs.push(std::mem::take(&mut run));
            hull = (member.time_min_ns, member.time_max_ns);
        } else {
            hull = wider;
        }
        run.push(member);
    }
    runs.push(run);
    runs
}

/// Picks the part of a run that is worth merging: the most segments, of equally many the smallest.
fn choose(
    run: &[&Arc<SegmentMeta>],
    level: u32,
    newest_ms: i64,
    policy: &MergePolicy,
    now_ms: i64,
) -> Option<Vec<Arc<SegmentMeta>>> {
    let mut best: Option<(usize, std::cmp::Reverse<u64>, usize)> = None;
    for from in 0..run.len() {
        let mut inputs: Vec<&SegmentMeta> = Vec::new();
        for segment in &run[from..] {
            inputs.push(segment);
            if !policy.fits(level, &inputs) {
                break;
            }
            let bytes = inputs.iter().map(|input| input.bytes).sum();
            let candidate = (inputs.len(), std::cmp::Reverse(bytes), from);
            if best.is_none_or(|best| (best.0, best.1) < (candidate.0, candidate.1))
                && policy.worth(level, &inputs, newest_ms, now_ms)
            {
                best = Some(candidate);
            }
        }
    }
    let (count, _, from) = best?;
    Some(run[from..from + count].iter().map(|segment| Arc::clone(segment)).collect())
}
