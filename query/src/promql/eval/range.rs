//! Range vectors: for every step, the samples of a window that ends there.

use std::borrow::Cow;

use record::Labels;

use super::select::without_stale;
use super::value::{Series, Steps, Value, is_stale};
use super::{Evaluator, PHASE, RawSeries};
use crate::promql::ast::Extension;
use crate::promql::error::QueryError;
use crate::promql::plan::{Grid, Node, Range, Shift, Subquery, subquery_grid};
use crate::promql::storage::SeriesSamples;

/// Samples gone through between two looks at the deadline.
const CHECK_EVERY_SAMPLES: usize = 1 << 16;

/// The samples of one series in one window, and the window's bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'w> {
    pub(crate) times: &'w [i64],
    pub(crate) values: &'w [f64],
    /// Exclusive.
    pub(crate) start_ms: i64,
    /// Inclusive.
    pub(crate) end_ms: i64,
    /// The step's own time, which `@` and `offset` do not move.
    pub(crate) now_ms: i64,
    pub(crate) extension: Option<Extension>,
}

/// A body over a window.
pub(crate) type WindowFunction = fn(&Window<'_>) -> Option<f64>;

impl Window<'_> {
    pub(crate) fn range_secs(&self) -> f64 {
        self.end_ms.saturating_sub(self.start_ms) as f64 / 1000.0
    }
}

/// Series to cut windows from.
struct Ranges<'d> {
    series: Vec<RangeSeries<'d>>,
    shift: Shift,
    range_ms: i64,
    extension: Option<Extension>,
    before_ms: i64,
    after_ms: i64,
}

struct RangeSeries<'d> {
    labels: Labels,
    drop_name: bool,
    times: Cow<'d, [i64]>,
    values: Cow<'d, [f64]>,
}

impl<'d> Evaluator<'d> {
    /// Applies `value_of` to the window of every series at every step that has samples.
    pub(super) fn windows(
        &self,
        node: &Node,
        grid: Grid,
        value_of: &mut dyn FnMut(usize, &Window<'_>) -> Option<f64>,
    ) -> Result<Vec<Series>, QueryError> {
        let ranges = self.ranges(node, grid)?;
        let mut found = Vec::new();
        let mut unchecked = 0;
        for series in &ranges.series {
            self.hold(grid.steps)?;
            let mut steps = Steps::absent(grid.steps);
            let (mut low, mut high) = (0, 0);
            for step in 0..grid.steps {
                let now_ms = grid.time(step);
                let end_ms = ranges.shift.apply(now_ms);
                let start_ms = end_ms.saturating_sub(ranges.range_ms);
                let first = start_ms.saturating_sub(ranges.before_ms);
                let last = end_ms.saturating_add(ranges.after_ms);
                // Both edges only move forward from step to step.
                low += series.times[low..].partition_point(|time| *time <= first);
                high = high.max(low);
                high += series.times[high..].partition_point(|time| *time <= last);
                if low == high {
                    continue;
                }
                let window = Window {
                    times: &series.times[low..high],
                    values: &series.values[low..high],
                    start_ms,
                    end_ms,
                    now_ms,
                    extension: ranges.extension,
                };
                if let Some(value) = value_of(step, &window) {
                    steps.set(step, value);
                }
                self.looked_at(high - low);
                unchecked += high - low;
                if CHECK_EVERY_SAMPLES < unchecked {
                    unchecked = 0;
                    self.watch.check(PHASE)?;
                }
            }
            if !steps.is_absent() {
                let (labels, drop_name) = (series.labels.clone(), series.drop_name);
                found.push(Series { labels, drop_name, steps });
            }
        }
        Ok(found)
    }

    /// The samples of a range vector at one step: the answer to a bare range selector.
    pub(super) fn raw(&self, node: &Node, grid: Grid) -> Result<Vec<RawSeries>, QueryError> {
        let ranges = self.ranges(node, grid)?;
        let end_ms = ranges.shift.apply(grid.start_ms);
        let start_ms = end_ms.saturating_sub(ranges.range_ms);
        let mut found = Vec::new();
        for series in ranges.series {
            let low = series.times.partition_point(|time| *time <= start_ms);
            let high = series.times.partition_point(|time| *time <= end_ms);
            if low >= high {
                continue;
            }
            self.hold(high - low)?;
            self.looked_at(high - low);
            let (times, values) =
                (series.times[low..high].to_vec(), series.values[low..high].to_vec());
            let (labels, drop_name) = (series.labels, series.drop_name);
            found.push(RawSeries { series: SeriesSamples { labels, times, values }, drop_name });
        }
        Ok(found)
    }

    fn ranges(&self, node: &Node, grid: Grid) -> Result<Ranges<'d>, QueryError> {
        match node {
            Node::Range(range) => Ok(self.selected(range)),
            Node::Subquery(subquery) => self.subquery(subquery, grid),
            _ => Err(QueryError::Internal("expected a range vector".to_owned())),
        }
    }

    fn selected(&self, range: &Range) -> Ranges<'d> {
        let data: &'d [SeriesSamples] = &self.data[range.fetch];
        let series = data
            .iter()
            .map(|series| {
                let (times, values) = if series.values.iter().any(|value| is_stale(*value)) {
                    let (times, values) = without_stale(series);
                    (Cow::Owned(times), Cow::Owned(values))
                } else {
                    (Cow::Borrowed(&series.times[..]), Cow::Borrowed(&series.values[..]))
                };
                RangeSeries { labels: series.labels.clone(), drop_name: false, times, values }
            })
            .collect();
        let lookback = self.rules.lookback_ms;
        let (before_ms, after_ms) = match range.extension {
            None => (0, 0),
            Some(Extension::Anchored) => (lookback, 0),
            Some(Extension::Smoothed) => (lookback, lookback),
        };
        Ranges {
            series,
            shift: range.shift,
            range_ms: range.range_ms,
            extension: range.extension,
            before_ms,
            after_ms,
        }
    }

    fn subquery(&self, subquery: &Subquery, grid: Grid) -> Result<Ranges<'d>, QueryError> {
        let Subquery { inner, shift, range_ms, step_ms } = subquery;
        let inner_grid = subquery_grid(grid.bounds(), *shift, *range_ms, *step_ms);
        // Refuses a grid too long for even one series before anything is made for it.
        let before = self.held.get();
        self.hold(inner_grid.steps)?;
        self.held.set(before);
        let series = match self.eval(inner, inner_grid)? {
            Value::Vector(series) => series,
            _ => return Err(QueryError::Internal("expected an instant vector".to_owned())),
        };
        let series = series
            .into_iter()
            .map(|series| {
                let samples = series.steps.present();
                let (times, values): (Vec<_>, Vec<_>) =
                    samples.map(|(step, value)| (inner_grid.time(step), value)).unzip();
                RangeSeries {
                    labels: series.labels,
                    drop_name: series.drop_name,
                    times: Cow::Owned(times),
                    values: Cow::Owned(values),
                }
            })
            .collect();
        Ok(Ranges {
            series,
            shift: *shift,
            range_ms: *range_ms,
            extension: None,
            before_ms: 0,
            after_ms: 0,
        })
    }
}
