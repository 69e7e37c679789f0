//! What metric expressions evaluate to.

use record::Labels;

/// A value at one step of the grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub step: u32,
    pub value: f64,
}

/// One series: points by ascending step; steps without a value have no point.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub labels: Labels,
    pub points: Vec<Point>,
}

/// The value of an expression over the grid.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// The same number at every step.
    Scalar(f64),
    Vector(Vec<Series>),
}

/// Keeps series that have at least one point, sorted by labels.
pub(super) fn tidy(mut series: Vec<Series>) -> Vec<Series> {
    series.retain(|series| !series.points.is_empty());
    series.sort_by(|left, right| left.labels.cmp(&right.labels));
    series
}
