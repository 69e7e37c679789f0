//! Which segments are worth merging.
//!
//! **Windows.** Time is divided into windows, and these into a grid: eight windows of one level
//! make one of the next. A segment belongs to the smallest window of the grid that holds it. At
//! level 0 segments of one window are merged into one; above, late or early rows stretched them,
//! and they are spread over the up to eight windows below. Each step goes down, so it ends.
//!
//! **Sizes.** At level 0 several segments are merged when the largest of them is no larger than the
//! others together: a byte is written again only when what it is in at least doubles. Once a window
//! has settled, two are enough, and the largest may be four times the others.
//!
//! Always holds: deciding reads no clock and has no side effect.

use std::ops::RangeInclusive;
use std::time::Duration;

use segment::{SegmentKind, SegmentMeta};

/// Windows of one level in one of the next: the outputs of a merge that spreads, at most.
pub const FAN_OUT: i64 = 8;

/// The level at which one window holds all time there is: 2^63 ns are less than 8^10 minutes.
pub const LEVEL_MAX: u32 = 10;

/// How much larger than the others together the largest input of a settled window may be.
const SETTLED_RATIO: u64 = 4;

/// What decides about merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergePolicy {
    pub logs_window: Duration,
    pub samples_window: Duration,
    /// Segments that must be there before a window that still grows is merged.
    pub inputs_min: usize,
    pub inputs_max: usize,
    /// Stored bytes of all inputs of one merge at level 0.
    pub bytes_max: u64,
    /// Raw bytes of all inputs of a merge that holds all rows in memory, unless it is one segment.
    pub raw_bytes_max: u64,
    /// Time without a new segment after which a window has settled.
    pub settle: Duration,
}

/// A window of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GridWindow {
    pub level: u32,
    pub number: i64,
}

impl MergePolicy {
    pub(crate) fn window(&self, kind: SegmentKind) -> Duration {
        match kind {
            SegmentKind::Logs => self.logs_window,
            SegmentKind::Samples => self.samples_window,
        }
    }

    /// Returns the smallest window of the grid that holds the segment.
    pub fn home(&self, segment: &SegmentMeta) -> GridWindow {
        GridWindow::holding(segment.time_min_ns..=segment.time_max_ns, self.window(segment.kind))
    }

    /// Tells whether these segments, all of one window of this level, are worth a merge.
    /// `newest_ms` says when a segment last came to the window.
    pub(crate) fn worth(
        &self,
        level: u32,
        inputs: &[&SegmentMeta],
        newest_ms: i64,
        now_ms: i64,
    ) -> bool {
        let settle_ms = i64::try_from(self.settle.as_millis()).unwrap_or(i64::MAX);
        let settled = settle_ms <= now_ms.saturating_sub(newest_ms);
        if 0 < level {
            let oldest_ms = inputs.iter().map(|input| input.created_ms).min().unwrap_or(now_ms);
            let waited = settle_ms <= now_ms.saturating_sub(oldest_ms);
            return !inputs.is_empty() && (waited || self.inputs_min <= inputs.len());
        }
        let total: u64 = inputs.iter().map(|input| input.bytes).sum();
        let largest = inputs.iter().map(|input| input.bytes).max().unwrap_or(0);
        let (inputs_min, ratio) = if settled { (2, SETTLED_RATIO) } else { (self.inputs_min, 1) };
        inputs_min <= inputs.len() && largest <= (total - largest).saturating_mul(ratio)
    }

    /// Tells whether these segments may be the inputs of one merge.
    pub(crate) fn fits(&self, level: u32, inputs: &[&SegmentMeta]) -> bool {
        let bytes: u64 = inputs.iter().map(|input| input.bytes).sum();
        let raw_bytes: u64 = inputs.iter().map(|input| input.raw_bytes).sum();
        let in_memory = 0 < level || inputs.iter().any(|input| input.kind == SegmentKind::Samples);
        inputs.len() <= self.inputs_max
            && (0 < level || bytes <= self.bytes_max)
            && (!in_memory || raw_bytes <= self.raw_bytes_max || inputs.len() == 1)
    }
}

impl GridWindow {
    /// Returns the smallest window that holds both ends of `times`.
    pub fn holding(times: RangeInclusive<i64>, length: Duration) -> Self {
        let length = length_ns(length);
        let (first, last) = (times.start().div_euclid(length), times.end().div_euclid(length));
        for level in 0..LEVEL_MAX {
            let windows = FAN_OUT.pow(level);
            if first.div_euclid(windows) == last.div_euclid(windows) {
                return Self { level, number: first.div_euclid(windows) };
            }
        }
        Self { level: LEVEL_MAX, number: 0 }
    }

    /// Returns the times at which the windows below this one begin, without the first.
    pub(crate) fn cuts(self, length: Duration) -> Vec<i64> {
        if self.level == 0 {
            return Vec::new();
        }
        let below = i128::from(FAN_OUT.pow(self.level - 1)) * i128::from(length_ns(length));
        let first = match self.level {
            // Time begins before 1970.
            LEVEL_MAX => -i128::from(FAN_OUT) / 2,
            _ => i128::from(self.number) * i128::from(FAN_OUT),
        };
        let starts = (1..i128::from(FAN_OUT)).map(|number| (first + number) * below);
        starts.filter_map(|start| i64::try_from(start).ok()).collect()
    }
}

fn length_ns(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    fn home(first: i64, last: i64) -> GridWindow {
        GridWindow::holding(first..=last, Duration::from_secs(3_600))
    }

    #[test]
    fn a_segment_lives_in_the_smallest_window_that_holds_it() {
        assert_eq!(home(5, HOUR - 1), GridWindow { level: 0, number: 0 });
        assert_eq!(home(HOUR, HOUR), GridWindow { level: 0, number: 1 });
        assert_eq!(home(5, HOUR), GridWindow { level: 1, number: 0 });
        assert_eq!(home(7 * HOUR, 8 * HOUR), GridWindow { level: 2, number: 0 });
        assert_eq!(home(-1, 0), GridWindow { level: LEVEL_MAX, number: 0 });
        assert_eq!(home(i64::MIN, i64::MAX), GridWindow { level: LEVEL_MAX, number: 0 });
    }

    proptest! {
        /// Spreading always goes down, at most eight ways.
        #[test]
        fn the_windows_below_are_smaller_and_few(
            times in prop::collection::vec(
                prop_oneof![any::<i64>(), -1_000 * HOUR..1_000 * HOUR],
                1..30,
            ),
            secs in 60_u64..100_000,
        ) {
            let length = Duration::from_secs(secs);
            let first = times.iter().copied().min().unwrap_or(0);
            let last = times.iter().copied().max().unwrap_or(0);
            let home = GridWindow::holding(first..=last, length);
            let cuts = home.cuts(length);
            prop_assert!(cuts.is_sorted() && cuts.len() < FAN_OUT as usize);
            let mut outputs = vec![Vec::new(); cuts.len() + 1];
            for time in times {
                outputs[cuts.partition_point(|cut| *cut <= time)].push(time);
            }
            for output in outputs.iter().filter(|output| !output.is_empty()) {
                let first = output.iter().copied().min().unwrap_or(0);
                let last = output.iter().copied().max().unwrap_or(0);
                let below = GridWindow::holding(first..=last, length);
                prop_assert!(below.level < home.level.max(1), "{below:?} of {home:?}");
            }
        }
    }
}
