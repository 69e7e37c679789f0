//! Instant selectors: for every step, the newest sample that is not too old.

use super::Evaluator;
use super::value::{Series, Steps, is_stale};
use crate::promql::error::QueryError;
use crate::promql::plan::{Grid, Instant};
use crate::promql::storage::SeriesSamples;

impl Evaluator<'_> {
    pub(super) fn instant(
        &self,
        selector: &Instant,
        grid: Grid,
    ) -> Result<Vec<Series>, QueryError> {
        if selector.smoothed {
            return self.smoothed(selector, grid);
        }
        self.newest(selector, grid, |_, value| value)
    }

    /// The times of the samples an instant selector finds, in seconds.
    pub(super) fn sample_times(
        &self,
        selector: &Instant,
        grid: Grid,
    ) -> Result<Vec<Series>, QueryError> {
        self.newest(selector, grid, |time, _| time as f64 / 1000.0)
    }

    fn newest(
        &self,
        selector: &Instant,
        grid: Grid,
        value_of: impl Fn(i64, f64) -> f64,
    ) -> Result<Vec<Series>, QueryError> {
        let mut found = Vec::new();
        for series in &self.data[selector.fetch] {
            self.hold(grid.steps)?;
            let mut steps = Steps::absent(grid.steps);
            let mut count = 0;
            let mut next = 0;
            for step in 0..grid.steps {
                let time = selector.shift.apply(grid.time(step));
                next += series.times[next..].partition_point(|sample| *sample <= time);
                let Some((at, value)) = sample_before(series, next) else { continue };
                // The range is open on the left: a sample exactly as old as the lookback is out.
                if time.saturating_sub(self.rules.lookback_ms) < at && !is_stale(value) {
                    steps.set(step, value_of(at, value));
                    count += 1;
                }
            }
            if count != 0 {
                self.looked_at(count);
                found.push(Series { labels: series.labels.clone(), drop_name: false, steps });
            }
        }
        Ok(found)
    }

    /// Values on the line between the samples around each step.
    fn smoothed(&self, selector: &Instant, grid: Grid) -> Result<Vec<Series>, QueryError> {
        let mut found = Vec::new();
        for series in &self.data[selector.fetch] {
            self.hold(grid.steps)?;
            let (times, values) = without_stale(series);
            let mut steps = Steps::absent(grid.steps);
            for step in 0..grid.steps {
                let time = selector.shift.apply(grid.time(step));
                let next = times.partition_point(|sample| *sample <= time);
                let Some(before) = next.checked_sub(1) else { continue };
                let (t0, v0) = (times[before], values[before]);
                if t0 <= time.saturating_sub(self.rules.lookback_ms) {
                    continue;
                }
                let reach = time.saturating_add(self.rules.lookback_ms);
                let value = match times.get(next).zip(values.get(next)) {
                    Some((&t1, &v1)) if t0 != time && t1 <= reach => {
                        v0 + (v1 - v0) * ((time - t0) as f64 / (t1 - t0) as f64)
                    }
                    _ => v0,
                };
                steps.set(step, value);
                self.looked_at(1);
            }
            if !steps.is_absent() {
                found.push(Series { labels: series.labels.clone(), drop_name: false, steps });
            }
        }
        Ok(found)
    }
}

fn sample_before(series: &SeriesSamples, next: usize) -> Option<(i64, f64)> {
    let at = next.checked_sub(1)?;
    Some((*series.times.get(at)?, *series.values.get(at)?))
}

/// The samples of a series that are values.
pub(super) fn without_stale(series: &SeriesSamples) -> (Vec<i64>, Vec<f64>) {
    let samples = series.times.iter().copied().zip(series.values.iter().copied());
    samples.filter(|(_, value)| !is_stale(*value)).unzip()
}
