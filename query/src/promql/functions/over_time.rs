//! Aggregations over the samples of one series in a window.

use super::Id;
use crate::promql::eval::{Window, WindowFunction};
use crate::promql::kahan::{Mean, Sum};
use crate::promql::quantile;

/// The body of a function that needs nothing but the window. Windows are never empty.
pub(crate) fn function(id: Id) -> Option<WindowFunction> {
    Some(match id {
        Id::AvgOverTime => |w| Some(mean(w.values)),
        Id::SumOverTime => |w| Some(sum(w.values)),
        Id::CountOverTime => |w| Some(w.values.len() as f64),
        Id::MinOverTime => |w| extreme(w, |next, best| next < best).map(|(_, value)| value),
        Id::MaxOverTime => |w| extreme(w, |next, best| next > best).map(|(_, value)| value),
        Id::StdvarOverTime => |w| Some(variance(w.values)),
        Id::StddevOverTime => |w| Some(variance(w.values).sqrt()),
        Id::LastOverTime => |w| w.values.last().copied(),
        Id::FirstOverTime => |w| w.values.first().copied(),
        Id::PresentOverTime => |_| Some(1.0),
        Id::MadOverTime => |w| Some(median_deviation(w.values)),
        Id::TsOfFirstOverTime => |w| w.times.first().map(|time| seconds(*time)),
        Id::TsOfLastOverTime => |w| w.times.last().map(|time| seconds(*time)),
        // The last of equal values.
        Id::TsOfMinOverTime => |w| extreme(w, |next, best| next <= best).map(|(at, _)| at),
        Id::TsOfMaxOverTime => |w| extreme(w, |next, best| next >= best).map(|(at, _)| at),
        _ => return None,
    })
}

pub(crate) fn quantile(q: f64, window: &Window<'_>) -> Option<f64> {
    Some(quantile::quantile(q, &mut window.values.to_vec()))
}

fn sum(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    values.iter().for_each(|value| sum.add(*value));
    sum.value()
}

fn mean(values: &[f64]) -> f64 {
    let mut mean = Mean::default();
    values.iter().for_each(|value| mean.add(*value));
    mean.value()
}

/// The time in seconds and value that `better` prefers; any number is preferred to NaN.
fn extreme(window: &Window<'_>, better: fn(f64, f64) -> bool) -> Option<(f64, f64)> {
    let mut samples = window.times.iter().copied().zip(window.values.iter().copied());
    let mut best = samples.next()?;
    for next in samples {
        if best.1.is_nan() || better(next.1, best.1) {
            best = next;
        }
    }
    Some((seconds(best.0), best.1))
}

/// Population variance by Welford's method, both running values compensated.
fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares, mut count) = (Sum::default(), Sum::default(), 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean.value();
        mean.add(delta / count);
        squares.add(delta * (value - mean.value()));
    }
    squares.value() / count
}

fn median_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let median = quantile::quantile(0.5, &mut values.to_vec());
    let mut deviations: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    quantile::quantile(0.5, &mut deviations)
}

fn seconds(time_ms: i64) -> f64 {
    time_ms as f64 / 1000.0
}
