//! Vector aggregations: series into groups, step by step.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use record::Labels;

use super::series::{Point, Series, tidy};
use crate::logql::ast::{Grouping, VectorAggregation, VectorOp};

/// Evaluates an aggregation over its inner vector.
pub(super) fn aggregate(
    aggregation: &VectorAggregation,
    inner: Vec<Series>,
    steps: u32,
) -> Vec<Series> {
    let grouping = aggregation.grouping.as_ref();
    let mut groups: BTreeMap<Labels, Vec<Series>> = BTreeMap::new();
    for series in inner {
        groups.entry(group_of(grouping, &series.labels)).or_default().push(series);
    }
    let k = aggregation.parameter.unwrap_or(1) as usize;
    let results = groups.into_iter().flat_map(|(labels, members)| match aggregation.op {
        VectorOp::Topk | VectorOp::ApproxTopk => ranked(members, k, steps, descending),
        VectorOp::Bottomk => ranked(members, k, steps, ascending),
        VectorOp::Sort | VectorOp::SortDesc => members,
        op => vec![Series { labels, points: folded(op, &members, steps) }],
    });
    tidy(results.collect())
}

/// The labels of the group a series falls into. Labels it lacks are left out.
pub(super) fn group_of(grouping: Option<&Grouping>, labels: &Labels) -> Labels {
    let Some(grouping) = grouping else {
        return Labels::default();
    };
    let named = |name: &str| grouping.names.iter().any(|wanted| wanted == name);
    Labels::from_pairs(labels.iter().filter(|(name, _)| named(name) != grouping.without))
}

/// Running figures of one group at one step.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    count: u64,
    /// Sum, minimum or maximum.
    value: f64,
    mean: f64,
    /// Sum of squared distances from the mean (Welford).
    squares: f64,
}

impl Figures {
    fn add(&mut self, op: VectorOp, value: f64) {
        self.count += 1;
        let first = self.count == 1;
        match op {
            VectorOp::Min if first || value < self.value || self.value.is_nan() => {
                self.value = value;
            }
            VectorOp::Max if first || value > self.value || self.value.is_nan() => {
                self.value = value;
            }
            VectorOp::Min | VectorOp::Max => {}
            _ => self.value += value,
        }
        let distance = value - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (value - self.mean);
    }

    fn result(&self, op: VectorOp) -> f64 {
        let count = self.count as f64;
        match op {
            VectorOp::Count => count,
            VectorOp::Avg => self.value / count,
            VectorOp::Stdvar => self.squares / count,
            VectorOp::Stddev => (self.squares / count).sqrt(),
            _ => self.value,
        }
    }
}

fn folded(op: VectorOp, members: &[Series], steps: u32) -> Vec<Point> {
    let mut figures = vec![Figures::default(); steps as usize];
    for point in members.iter().flat_map(|series| &series.points) {
        figures[point.step as usize].add(op, point.value);
    }
    let with_values = figures.iter().zip(0..).filter(|(figures, _)| 0 < figures.count);
    with_values.map(|(figures, step)| Point { step, value: figures.result(op) }).collect()
}

/// Keeps, at each step, the points of the `k` series that come first; they keep their labels.
fn ranked(
    mut members: Vec<Series>,
    k: usize,
    steps: u32,
    order: impl Fn(f64, f64) -> Ordering,
) -> Vec<Series> {
    members.sort_by(|left, right| left.labels.cmp(&right.labels));
    let mut at_step: Vec<Vec<(usize, f64)>> = vec![Vec::new(); steps as usize];
    for (member, series) in members.iter().enumerate() {
        for point in &series.points {
            at_step[point.step as usize].push((member, point.value));
        }
    }
    let mut kept: Vec<Vec<Point>> = vec![Vec::new(); members.len()];
    for (candidates, step) in at_step.iter_mut().zip(0..) {
        // Stable: of equal values the series that sorts first by labels wins.
        candidates.sort_by(|left, right| order(left.1, right.1));
        for (member, value) in candidates.iter().take(k) {
            kept[*member].push(Point { step, value: *value });
        }
    }
    let pairs = members.into_iter().zip(kept);
    pairs.map(|(series, points)| Series { labels: series.labels, points }).collect()
}

/// Largest first, NaN last.
pub(super) fn descending(left: f64, right: f64) -> Ordering {
    nan_last(left, right).unwrap_or_else(|| right.total_cmp(&left))
}

/// Smallest first, NaN last.
pub(super) fn ascending(left: f64, right: f64) -> Ordering {
    nan_last(left, right).unwrap_or_else(|| left.total_cmp(&right))
}

fn nan_last(left: f64, right: f64) -> Option<Ordering> {
    (left.is_nan() || right.is_nan()).then(|| left.is_nan().cmp(&right.is_nan()))
}
