//! From the rows of a cut to segments: one per tenant and time window.
//!
//! Late rows are bounded: the windows with the most rows of a tenant get a segment of their own,
//! the rows of all others share one *stragglers* segment, so a replay of last year costs one
//! segment a cut, not one a window.
//!
//! Always holds: each row of a cut is in exactly one segment; rows with equal time in one stream
//! keep the order they came in. Building is pure CPU work and runs on the build pool, one job per
//! segment; a job holds one segment in memory.

pub(crate) mod logs;
pub(crate) mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use queue::TopicPartition;
use record::TenantId;
use segment::OffsetRange;
use segment::meta::BuiltSegment;

use crate::cost::Shares;
use crate::kind::Kind;
use crate::open::CutPart;

/// How rows are spread over segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub(crate) length: Duration,
    /// Windows of a tenant that get a segment of their own.
    pub(crate) windows_max: usize,
}

/// One segment to be built.
pub(crate) struct Job {
    pub(crate) tenant: TenantId,
    /// Partitions whose rows are inside.
    pub(crate) ranges: Vec<OffsetRange>,
    build: Box<dyn FnOnce() -> Result<Built, BuildError> + Send>,
}

/// A segment, and whose bytes are in it.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) segment: BuiltSegment,
    pub(crate) shares: Shares,
}

/// A segment could not be built: a bug in the format, or rows it cannot express. The rows stay in
/// the queue; the process stops so that someone looks.
#[derive(Debug, thiserror::Error)]
#[error("build segment of tenant `{tenant}`: {reason}")]
pub struct BuildError {
    tenant: TenantId,
    reason: String,
}

impl BuildError {
    pub(crate) fn new(tenant: &TenantId, reason: impl fmt::Display) -> Self {
        Self { tenant: tenant.clone(), reason: reason.to_string() }
    }
}

impl Job {
    pub(crate) fn new(
        tenant: TenantId,
        ranges: Vec<OffsetRange>,
        build: impl FnOnce() -> Result<Built, BuildError> + Send + 'static,
    ) -> Self {
        Self { tenant, ranges, build: Box::new(build) }
    }

    pub(crate) fn run(self) -> Result<Built, BuildError> {
        (self.build)()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, ranges, .. } = self;
        formatter.debug_struct("Job").field("tenant", tenant).field("ranges", ranges).finish()
    }
}

/// Returns the windows that get a segment of their own: those with the most rows, of equal ones the
/// later. When one window would be left over it is no straggler: it gets its own too.
fn own_windows(rows_by_window: &BTreeMap<i64, u64>, windows_max: usize) -> BTreeSet<i64> {
    let mut windows: Vec<(u64, i64)> =
        rows_by_window.iter().map(|(window, rows)| (*rows, *window)).collect();
    windows.sort_unstable_by(|a, b| b.cmp(a));
    let own = if windows.len() == windows_max + 1 { windows.len() } else { windows_max };
    windows.into_iter().take(own).map(|(_, window)| window).collect()
}

/// Returns the ranges of the parts named, without what the queue had lost.
fn ranges_of<K: Kind>(parts: &[CutPart<K>], named: &BTreeSet<TopicPartition>) -> Vec<OffsetRange> {
    let parts = parts.iter().filter(|part| named.contains(&part.at));
    parts
        .flat_map(|part| {
            let range = |(from, to)| OffsetRange {
                topic: part.at.topic.as_str().to_owned(),
                partition: part.at.partition.0,
                from,
                to,
            };
            around(part.from, part.to, &part.lost).into_iter().map(range)
        })
        .collect()
}

/// What is left of `from..to` without `holes`, which are in order.
fn around(from: i64, to: i64, holes: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut left = Vec::new();
    let mut next = from;
    for &(hole_from, hole_to) in holes {
        if next < hole_from {
            left.push((next, hole_from));
        }
        next = next.max(hole_to);
    }
    if next < to {
        left.push((next, to));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_windows_stand_alone() {
        let rows = BTreeMap::from([(10, 5), (20, 900), (30, 1), (40, 1), (50, 70)]);
        assert_eq!(own_windows(&rows, 2), BTreeSet::from([20, 50]));
        assert_eq!(own_windows(&rows, 3), BTreeSet::from([10, 20, 50]));
        assert_eq!(own_windows(&rows, 4), BTreeSet::from([10, 20, 30, 40, 50]));
        assert_eq!(own_windows(&BTreeMap::from([(1, 3), (2, 3), (3, 3)]), 1), BTreeSet::from([3]));
    }

    #[test]
    fn what_the_queue_lost_is_not_covered() {
        assert_eq!(around(0, 10, &[]), [(0, 10)]);
        assert_eq!(around(0, 10, &[(0, 3), (6, 8)]), [(3, 6), (8, 10)]);
        assert_eq!(around(0, 10, &[(4, 10)]), [(0, 4)]);
        assert_eq!(around(2, 5, &[(2, 4), (4, 5)]), []);
    }
}
