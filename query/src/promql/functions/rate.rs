//! How fast values change: `rate` and its family, `changes`, `resets`.
//!
//! The window rarely begins and ends at a sample, so the plain forms extrapolate to its edges, by
//! at most half the average distance of samples; a counter is not extrapolated below zero. The
//! anchored and smoothed forms take or interpolate samples at the edges instead.

use super::Id;
use crate::promql::ast::Extension;
use crate::promql::eval::Window;

/// Samples are this much further apart than on average before a gap at an edge counts as absence.
const GAP_FACTOR: f64 = 1.1;

/// A function over how values change.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rate {
    /// `rate`, `increase`, `delta`.
    Overall {
        counter: bool,
        per_second: bool,
    },
    /// `irate`, `idelta`: the last two samples.
    Last {
        counter: bool,
    },
    Changes,
    Resets,
}

pub(crate) fn function(id: Id) -> Option<Rate> {
    Some(match id {
        Id::Rate => Rate::Overall { counter: true, per_second: true },
        Id::Increase => Rate::Overall { counter: true, per_second: false },
        Id::Delta => Rate::Overall { counter: false, per_second: false },
        Id::Irate => Rate::Last { counter: true },
        Id::Idelta => Rate::Last { counter: false },
        Id::Changes => Rate::Changes,
        Id::Resets => Rate::Resets,
        _ => return None,
    })
}

impl Rate {
    pub(crate) fn value(self, window: &Window<'_>) -> Option<f64> {
        match self {
            Self::Overall { counter, per_second } => {
                let divisor = if per_second { window.range_secs() } else { 1.0 };
                match window.extension {
                    None => {
                        let (change, factor) = extrapolated(window, counter)?;
                        // In this order: another one gives another last digit.
                        Some(change * (factor / divisor))
                    }
                    Some(extension) => Some(between_edges(window, counter, extension)? / divisor),
                }
            }
            Self::Last { counter } => last_two(window, counter),
            Self::Changes => count_pairs(window, |before, after| {
                before != after && !(before.is_nan() && after.is_nan())
            }),
            Self::Resets => count_pairs(window, |before, after| after < before),
        }
    }
}

/// By how much the samples change, and the factor that extends it to the window's edges.
fn extrapolated(window: &Window<'_>, counter: bool) -> Option<(f64, f64)> {
    let (first, last) = (*window.values.first()?, *window.values.last()?);
    let (first_ms, last_ms) = (*window.times.first()?, *window.times.last()?);
    let pairs = window.values.len().checked_sub(1).filter(|pairs| *pairs != 0)?;
    let mut change = last - first;
    if counter {
        change += reset_sum(window.values);
    }
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let sampled = seconds(last_ms - first_ms);
    let average = sampled / pairs as f64;
    let to_edge = |distance: f64| {
        if average * GAP_FACTOR <= distance { average / 2.0 } else { distance }
    };
    let mut to_start = to_edge(seconds(first_ms - window.start_ms));
    if counter && 0.0 < change && 0.0 <= first {
        to_start = to_start.min(sampled * (first / change));
    }
    let to_end = to_edge(seconds(window.end_ms - last_ms));
    Some((change, (sampled + to_start + to_end) / sampled))
}

/// What a counter had reached each time it began again.
fn reset_sum(values: &[f64]) -> f64 {
    values.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]).sum()
}

fn between_edges(window: &Window<'_>, counter: bool, extension: Extension) -> Option<f64> {
    let Window { times, values, start_ms, end_ms, .. } = *window;
    let smoothed = extension == Extension::Smoothed;
    // The last sample at or before each edge, if any, and whether one lies between the edges.
    let before_start = times.partition_point(|time| *time <= start_ms).checked_sub(1);
    let before_end = times.partition_point(|time| *time <= end_ms).checked_sub(1);
    let on_line = |before: usize, edge_ms: i64| {
        let next = (times.get(before + 1)?, values.get(before + 1)?);
        Some(interpolate((times[before], values[before]), (*next.0, *next.1), edge_ms, counter))
    };
    let last = before_end?;
    let nothing_after_start = times.last().is_none_or(|time| *time <= start_ms);
    if nothing_after_start || (!smoothed && before_end == before_start) {
        return None;
    }
    let left = match before_start {
        Some(at) if smoothed && times[at] != start_ms => on_line(at, start_ms)?,
        Some(at) => values[at],
        None => *values.first()?,
    };
    let interpolated = if smoothed && times[last] != end_ms { on_line(last, end_ms) } else { None };
    let right = interpolated.unwrap_or(values[last]);
    let mut change = right - left;
    if counter {
        let inner_start = before_start.map_or(0, |at| at + 1);
        let inner = values.get(inner_start..=last).unwrap_or_default();
        let line: Vec<f64> =
            [left].into_iter().chain(inner.iter().copied()).chain(interpolated).collect();
        change += reset_sum(&line);
    }
    Some(change)
}

/// The value at `edge_ms` on the line between two samples. A counter that begins again in between
/// is taken to have begun at the first of them, from zero.
fn interpolate(from: (i64, f64), to: (i64, f64), edge_ms: i64, counter: bool) -> f64 {
    let start = if counter && to.1 < from.1 { 0.0 } else { from.1 };
    start + (to.1 - start) * ((edge_ms - from.0) as f64 / (to.0 - from.0) as f64)
}

fn last_two(window: &Window<'_>, counter: bool) -> Option<f64> {
    let [.., before, last] = *window.values else { return None };
    let [.., before_ms, last_ms] = *window.times else { return None };
    if !counter {
        return Some(last - before);
    }
    let change = if last < before { last } else { last - before };
    (last_ms != before_ms).then(|| change / ((last_ms - before_ms) as f64 / 1000.0))
}

fn count_pairs(window: &Window<'_>, counts: fn(f64, f64) -> bool) -> Option<f64> {
    let mut values = window.values;
    if window.extension.is_some() {
        // Of the samples before the window only the last one stands for its start.
        let inside = window.times.partition_point(|time| *time <= window.start_ms);
        if inside == values.len() {
            return None;
        }
        values = values.get(inside.saturating_sub(1)..)?;
    }
    Some(values.windows(2).filter(|pair| counts(pair[0], pair[1])).count() as f64)
}
