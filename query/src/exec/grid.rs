//! The times at which a metric query is evaluated, and the windows that end there.

use segment::logs::MINUTE_NS;

/// Evaluation times `first, first + step, ...`, `count` of them, in Unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub first_ns: i64,
    /// At least 1.
    pub step_ns: i64,
    /// At least 1.
    pub count: u32,
}

impl Grid {
    /// The one time of an instant query.
    pub fn instant(time_ns: i64) -> Self {
        Self { first_ns: time_ns, step_ns: 1, count: 1 }
    }

    /// The times of a range query: start rounded down and end rounded up to multiples of `step_ns`,
    /// so that the same panel asks for the same points whenever it is refreshed.
    pub fn aligned(start_ns: i64, end_ns: i64, step_ns: i64) -> Self {
        let step_ns = step_ns.max(1);
        let first = start_ns.div_euclid(step_ns);
        let last = end_ns.div_euclid(step_ns) + i64::from(end_ns.rem_euclid(step_ns) != 0);
        let count = u32::try_from(last - first + 1).unwrap_or(u32::MAX);
        Self { first_ns: first.saturating_mul(step_ns), step_ns, count: count.max(1) }
    }

    pub fn time_ns(&self, step: u32) -> i64 {
        self.first_ns.saturating_add(self.step_ns.saturating_mul(i64::from(step)))
    }

    pub fn last_ns(&self) -> i64 {
        self.time_ns(self.count - 1)
    }
}

/// The windows `(t - range - offset, t - offset]` of a grid: start exclusive, end inclusive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) grid: Grid,
    pub(super) range_ns: i64,
    pub(super) offset_ns: i64,
}

impl Windows {
    /// First time that is in any window.
    pub(super) fn start_ns(&self) -> i64 {
        let before = self.grid.first_ns.saturating_sub(self.offset_ns);
        before.saturating_sub(self.range_ns).saturating_add(1)
    }

    /// First time that is in no window any more.
    pub(super) fn end_ns(&self) -> i64 {
        self.grid.last_ns().saturating_sub(self.offset_ns).saturating_add(1)
    }

    /// The steps whose windows hold a row of this time: from the first up to, not including, the
    /// second. Empty when there are none.
    pub(super) fn steps_of(&self, time_ns: i64) -> (u32, u32) {
        let shifted = time_ns.saturating_add(self.offset_ns).saturating_sub(self.grid.first_ns);
        let from = ceil_div(shifted, self.grid.step_ns);
        let to = ceil_div(shifted.saturating_add(self.range_ns), self.grid.step_ns);
        let clamp = |step: i64| step.clamp(0, i64::from(self.grid.count)) as u32;
        (clamp(from), clamp(to))
    }
}

/// The steps of [`Windows::steps_of`], and the last time they hold for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) until_ns: i64,
}

impl Windows {
    /// As [`Windows::steps_of`], with how far on they stay the same.
    pub(super) fn steps_from(&self, time_ns: i64) -> Steps {
        let (from, to) = self.steps_of(time_ns);
        let shifted = time_ns.saturating_add(self.offset_ns).saturating_sub(self.grid.first_ns);
        // Both change just after a multiple of the step; the nearer one ends the stretch.
        let to_multiple = |at: i64| {
            let step = self.grid.step_ns;
            ceil_div(at, step).saturating_mul(step).saturating_sub(at)
        };
        let left = to_multiple(shifted).min(to_multiple(shifted.saturating_add(self.range_ns)));
        Steps { from, to, until_ns: time_ns.saturating_add(left) }
    }

    /// Whether all rows of a minute, its first instant not but its end included, lie between the
    /// same steps.
    pub(super) fn on_minutes(&self) -> bool {
        let whole = |ns: i64| ns % MINUTE_NS == 0;
        let steps = self.grid.count == 1 || whole(self.grid.step_ns);
        steps && whole(self.grid.first_ns.saturating_sub(self.offset_ns)) && whole(self.range_ns)
    }
}

fn ceil_div(value: i64, by: i64) -> i64 {
    value.div_euclid(by) + i64::from(value.rem_euclid(by) != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn range_queries_lie_on_multiples_of_the_step() {
        let grid = Grid::aligned(61, 119, 30);
        assert_eq!(grid, Grid { first_ns: 60, step_ns: 30, count: 3 });
        assert_eq!(grid.last_ns(), 120);
        assert_eq!(Grid::aligned(60, 60, 30).count, 1);
    }

    proptest! {
        #[test]
        fn whole_minutes_lie_between_the_same_steps(
            first in -5i64..5, step in 1i64..4, count in 1u32..6, range in 1i64..5,
            offset in -3i64..3, minute in -12i64..20,
        ) {
            let grid =
                Grid { first_ns: first * MINUTE_NS, step_ns: step * MINUTE_NS, count };
            let (range_ns, offset_ns) = (range * MINUTE_NS, offset * MINUTE_NS);
            let windows = Windows { grid, range_ns, offset_ns };
            prop_assert!(windows.on_minutes());
            let start = minute * MINUTE_NS;
            let steps = windows.steps_of(start + 1);
            for time in [start + 2, start + MINUTE_NS / 2, start + MINUTE_NS] {
                prop_assert_eq!(windows.steps_of(time), steps);
            }
            let odd = Windows { range_ns: range_ns + 1, ..windows };
            prop_assert!(!odd.on_minutes());
        }

        #[test]
        fn a_row_is_in_the_windows_the_definition_says(
            first in -50i64..50, step in 1i64..20, count in 1u32..12,
            range in 1i64..40, offset in -30i64..30, time in -200i64..300,
        ) {
            let grid = Grid { first_ns: first, step_ns: step, count };
            let windows = Windows { grid, range_ns: range, offset_ns: offset };
            let (from, to) = windows.steps_of(time);
            for index in 0..count {
                let end = grid.time_ns(index) - offset;
                let inside = end - range < time && time <= end;
                prop_assert_eq!(inside, from <= index && index < to);
                if inside {
                    prop_assert!(windows.start_ns() <= time && time < windows.end_ns());
                }
            }
            let steps = windows.steps_from(time);
            prop_assert_eq!((steps.from, steps.to), (from, to));
            prop_assert!(time <= steps.until_ns);
            for later in time..=steps.until_ns {
                prop_assert_eq!(windows.steps_of(later), (from, to));
            }
        }
    }
}
