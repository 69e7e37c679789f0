//! The times a query is evaluated at.

/// The times of the whole query, Unix milliseconds. An instant query has one step of length 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueryTimes {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: i64,
}

impl QueryTimes {
    pub(crate) fn instant(time_ms: i64) -> Self {
        Self { start_ms: time_ms, end_ms: time_ms, step_ms: 0 }
    }

    pub(crate) fn is_instant(self) -> bool {
        self.step_ms == 0
    }

    pub(crate) fn grid(self) -> Grid {
        Grid::over(Bounds { start_ms: self.start_ms, end_ms: self.end_ms }, self.step_ms)
    }
}

/// First and last time that something is evaluated at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

/// Evenly spaced times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) steps: usize,
}

impl Grid {
    /// The times from `bounds.start_ms` by `step_ms` up to `bounds.end_ms`.
    pub(crate) fn over(bounds: Bounds, step_ms: i64) -> Self {
        let step_ms = step_ms.max(1);
        let span = bounds.end_ms.saturating_sub(bounds.start_ms);
        let steps = if span < 0 { 0 } else { span / step_ms + 1 };
        Self { start_ms: bounds.start_ms, step_ms, steps: usize::try_from(steps).unwrap_or(0) }
    }

    pub(crate) fn time(self, step: usize) -> i64 {
        let steps = i64::try_from(step).unwrap_or(i64::MAX);
        self.start_ms.saturating_add(self.step_ms.saturating_mul(steps))
    }

    pub(crate) fn first(self) -> Self {
        Self { steps: self.steps.min(1), ..self }
    }

    pub(crate) fn bounds(self) -> Bounds {
        Bounds { start_ms: self.start_ms, end_ms: self.time(self.steps.saturating_sub(1)) }
    }
}

/// How `@` and `offset` move a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) at_ms: Option<i64>,
    pub(crate) offset_ms: i64,
}

impl Shift {
    pub(crate) fn apply(self, time_ms: i64) -> i64 {
        self.at_ms.unwrap_or(time_ms).saturating_sub(self.offset_ms)
    }

    pub(crate) fn bounds(self, bounds: Bounds) -> Bounds {
        Bounds { start_ms: self.apply(bounds.start_ms), end_ms: self.apply(bounds.end_ms) }
    }

    /// This shift, then `inner`.
    pub(crate) fn then(self, inner: Self) -> Self {
        if inner.at_ms.is_some() {
            return inner;
        }
        Self { offset_ms: self.offset_ms.saturating_add(inner.offset_ms), ..self }
    }
}

/// The grid a subquery evaluates its inner expression on, for outer times within `outer`.
///
/// Its times are multiples of the step since 1970, so that moving the query by a step moves no
/// point; the range is open on the left.
pub(crate) fn subquery_grid(outer: Bounds, shift: Shift, range_ms: i64, step_ms: i64) -> Grid {
    let step_ms = step_ms.max(1);
    let shifted = shift.bounds(outer);
    let open_start = shifted.start_ms.saturating_sub(range_ms);
    let start_ms = open_start.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
    Grid::over(Bounds { start_ms, end_ms: shifted.end_ms }, step_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subquery_times_are_multiples_of_the_step_and_open_on_the_left() {
        let at = |ms| Bounds { start_ms: ms, end_ms: ms };
        let grid = subquery_grid(at(120_000), Shift::default(), 60_000, 60_000);
        assert_eq!(grid, Grid { start_ms: 120_000, step_ms: 60_000, steps: 1 });
        let grid = subquery_grid(at(25_000), Shift::default(), 80_000, 10_000);
        assert_eq!(grid.bounds(), Bounds { start_ms: -50_000, end_ms: 20_000 });
        let offset = Shift { at_ms: Some(100_000), offset_ms: 20_000 };
        let grid = subquery_grid(at(0), offset, 100_000, 1_000);
        assert_eq!(grid.bounds(), Bounds { start_ms: -19_000, end_ms: 80_000 });
    }

    #[test]
    fn shifts_compose_from_the_outside_in() {
        let outer = Shift { at_ms: Some(180), offset_ms: 0 };
        let inner = Shift { at_ms: None, offset_ms: 60 };
        assert_eq!(outer.then(inner).apply(999), 120);
        let pinned = Shift { at_ms: Some(10), offset_ms: 0 };
        assert_eq!(outer.then(pinned).apply(999), 10);
    }
}
