//! Lines through samples: `deriv`, `predict_linear`, and exponential smoothing.

use super::super::kahan::Sum;
use crate::promql::eval::Window;

/// Slope per second, and value at `origin_ms`, of the least-squares line.
fn line(window: &Window<'_>, origin_ms: i64) -> Option<(f64, f64)> {
    let first = *window.values.first()?;
    if window.values.len() < 2 {
        return None;
    }
    if window.values.iter().all(|value| *value == first) {
        // A constant has slope 0 exactly; an infinite one has none.
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let [mut x, mut y, mut xy, mut xx] = [Sum::default(); 4];
    for (time, value) in window.times.iter().zip(window.values) {
        let secs = time.saturating_sub(origin_ms) as f64 / 1000.0;
        x.add(secs);
        y.add(*value);
        xy.add(secs * value);
        xx.add(secs * secs);
    }
    let count = window.values.len() as f64;
    let [x, y, xy, xx] = [x, y, xy, xx].map(Sum::value);
    let slope = (xy - x * y / count) / (xx - x * x / count);
    Some((slope, y / count - slope * x / count))
}

/// `deriv`: times count from the first sample, for precision.
pub(crate) fn derivative(window: &Window<'_>) -> Option<f64> {
    line(window, *window.times.first()?).map(|(slope, _)| slope)
}

/// `predict_linear`: the line's value `ahead_secs` after the step.
pub(crate) fn predict(window: &Window<'_>, ahead_secs: f64) -> Option<f64> {
    line(window, window.now_ms).map(|(slope, now)| slope * ahead_secs + now)
}

/// Holt's linear smoothing, from the first two samples on.
pub(crate) fn double_exponential(window: &Window<'_>, level: f64, trend: f64) -> Option<f64> {
    let [first, second, ..] = *window.values else { return None };
    let mut slope = second - first;
    let (mut before, mut smooth) = (0.0, first);
    for (index, value) in window.values.iter().enumerate().skip(1) {
        if index != 1 {
            slope = trend * (smooth - before) + (1.0 - trend) * slope;
        }
        let next = level * value + (1.0 - level) * (smooth + slope);
        (before, smooth) = (smooth, next);
    }
    Some(smooth)
}
