//! Settings of the PromQL engine: the `promql` part of the query section.

use runtime::config::{Problem, Validate, at_least};
use serde::{Deserialize, Serialize};

/// Bounds and switches of PromQL evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromqlSection {
    /// How far back an instant selector looks for a sample.
    pub lookback_ms: i64,
    /// Samples one query may hold at once. Each takes 8 to 16 bytes, so the default bounds a query
    /// near 800 MB; the reference's default is the same.
    pub samples_max: usize,
    /// Series one selector may find.
    pub series_max: usize,
    /// Points of one series in a range query's answer.
    pub points_max: u64,
    /// Step of a subquery that names none.
    pub subquery_step_ms: i64,
    /// Keep metric names until the end of a query, so that `label_replace` can still read them.
    pub delayed_name_removal: bool,
    pub features: Features,
}

/// Syntax that the reference has behind feature flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, as in the reference"
)]
pub struct Features {
    /// `limitk`, `sort_by_label`, `info` and the other experimental functions and aggregations.
    pub experimental_functions: bool,
    /// `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left` and `fill_right`.
    pub binop_fill_modifiers: bool,
}

impl Default for PromqlSection {
    fn default() -> Self {
        Self {
            lookback_ms: 300_000,
            samples_max: 50_000_000,
            series_max: 500_000,
            points_max: 11_000,
            subquery_step_ms: 60_000,
            delayed_name_removal: false,
            features: Features::default(),
        }
    }
}

impl Validate for PromqlSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        at_least(&mut problems, prefix, "lookback_ms", self.lookback_ms, 1);
        at_least(&mut problems, prefix, "samples_max", self.samples_max, 1);
        at_least(&mut problems, prefix, "series_max", self.series_max, 1);
        at_least(&mut problems, prefix, "points_max", self.points_max, 1);
        at_least(&mut problems, prefix, "subquery_step_ms", self.subquery_step_ms, 1);
        problems
    }
}
