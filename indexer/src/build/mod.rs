//! From the rows of a cut to segments: one per tenant and time window.
//!
//! Late and early rows are bounded: the windows with the most rows of a tenant get a segment of
//! their own, the rows of all others share a few *stragglers* segments, so a replay of last year
//! costs a few segments a cut, not one a window. Stragglers are kept apart by the coarsest need: by
//! the finest level of the grid of windows ([`crate::merge::policy`]) that has few enough of them,
//! so one row of 1970 does not stretch what is a day late. Merges bring them to their windows.
//!
//! Rows kept by different rules of retention are in different segments.
//!
//! Always holds: each row of a cut is in exactly one segment; rows with equal time in one stream
//! keep the order they came in. Building is pure CPU work and runs on the build pool, one job per
//! segment; a job holds one segment in memory.

pub(crate) mod logs;
pub(crate) mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use queue::TopicPartition;
use record::TenantId;
use segment::OffsetRange;
use segment::logs::WidenedFrames;
use segment::meta::BuiltSegment;

use crate::cost::Shares;
use crate::cut::window_start;
use crate::kind::Kind;
use crate::merge::policy::{FAN_OUT, LEVEL_MAX};
use crate::open::CutPart;
use crate::retention::Rules;

/// How rows are spread over segments, and what is known of them before.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    pub(crate) length: Duration,
    /// Windows of a tenant that get a segment of their own.
    pub(crate) windows_max: usize,
    /// Segments that the rows of all other windows share.
    pub(crate) stragglers_max: usize,
    /// Whose rows are kept how long.
    pub(crate) rules: Arc<Rules>,
    /// What changes from line to line.
    pub(crate) frames: WidenedFrames,
}

/// Which segment a time belongs to, by the start of its window.
#[derive(Debug)]
pub(crate) struct Places {
    length: Duration,
    own: BTreeSet<i64>,
    /// Level of the grid by which stragglers are kept apart.
    level: u32,
}

/// A segment of one cut, tenant and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Window of the grid, at the stragglers' level.
    Stragglers(i64),
    /// Start of its window.
    Window(i64),
}

/// One segment to be built.
pub(crate) struct Job {
    pub(crate) tenant: TenantId,
    /// Partitions whose rows are inside.
    pub(crate) ranges: Vec<OffsetRange>,
    /// The retention class of all its rows.
    pub(crate) class: String,
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
        class: String,
        build: impl FnOnce() -> Result<Built, BuildError> + Send + 'static,
    ) -> Self {
        Self { tenant, ranges, class, build: Box::new(build) }
    }

    pub(crate) fn run(self) -> Result<Built, BuildError> {
        (self.build)()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, ranges, class, .. } = self;
        let mut shown = formatter.debug_struct("Job");
        shown.field("tenant", tenant).field("ranges", ranges).field("class", class).finish()
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

impl Places {
    /// Decides from the number of rows in each window, by its start.
    fn new(rows_by_window: &BTreeMap<i64, u64>, windows: &Windows) -> Self {
        let length = windows.length;
        let own = own_windows(rows_by_window, windows.windows_max);
        let rest: Vec<i64> =
            rows_by_window.keys().copied().filter(|window| !own.contains(window)).collect();
        let count = |level| {
            let apart: BTreeSet<i64> =
                rest.iter().map(|window| grid_number(*window, level, length)).collect();
            apart.len()
        };
        let level = (0..LEVEL_MAX).find(|level| count(*level) <= windows.stragglers_max.max(1));
        Self { length, own, level: level.unwrap_or(LEVEL_MAX) }
    }

    fn of(&self, time_ns: i64) -> Place {
        let window = window_start(time_ns, self.length);
        if self.own.contains(&window) {
            return Place::Window(window);
        }
        Place::Stragglers(grid_number(window, self.level, self.length))
    }
}

fn grid_number(window_start: i64, level: u32, length: Duration) -> i64 {
    let length = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX).max(1);
    match level {
        LEVEL_MAX => 0,
        level => window_start.div_euclid(length).div_euclid(FAN_OUT.pow(level)),
    }
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
    fn stragglers_far_from_each_other_are_kept_apart() {
        const HOUR: i64 = 3_600_000_000_000;
        let windows = Windows {
            length: Duration::from_secs(3_600),
            windows_max: 1,
            stragglers_max: 4,
            rules: Arc::default(),
            frames: WidenedFrames::default(),
        };
        // 1970, a week's hours, today, and a year ahead.
        let mut rows: BTreeMap<i64, u64> =
            (0..168).map(|hour| ((480_000 + hour) * HOUR, 2)).collect();
        rows.extend([(0, 1), (480_200 * HOUR, 900), (489_000 * HOUR, 1)]);
        let places = Places::new(&rows, &windows);
        let of = |hour: i64| places.of(hour * HOUR);
        assert_eq!(of(480_200), Place::Window(480_200 * HOUR));
        let stragglers: BTreeSet<Place> =
            rows.keys().map(|window| places.of(*window)).filter(|p| *p != of(480_200)).collect();
        assert!((3..=4).contains(&stragglers.len()), "{stragglers:?}");
        let apart = BTreeSet::from([of(0), of(480_000), of(489_000)]);
        assert_eq!(apart.len(), 3);
    }

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
