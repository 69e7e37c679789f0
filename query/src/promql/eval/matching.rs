//! Operators between two vectors: which series belong together, and what the result is called.
//!
//! One side is the *one* side: at every step at most one of its series may have a given matching
//! key. Without a group modifier the other side must be unique too. Keys are computed once;
//! uniqueness is checked at every step, since a label set that changes over time is two series
//! that do not overlap.

use std::collections::HashMap;

use record::Labels;

use super::Evaluator;
use super::binary::{arithmetic, compare};
use super::value::{NAME, Series, Steps, describes, merge_same};
use crate::promql::ast::{Matching, Side};
use crate::promql::error::QueryError;
use crate::promql::plan::{Binary, Grid};

/// The key by which series find each other.
pub(super) fn match_key(labels: &Labels, matching: &Matching) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|label| label == name);
    Labels::from_pairs(labels.iter().filter(|(name, _)| {
        if matching.on { listed(name) } else { !listed(name) && *name != NAME }
    }))
}

/// Numbers for keys, the same on both sides.
#[derive(Default)]
pub(super) struct Keys(HashMap<Labels, usize>);

impl Keys {
    pub(super) fn of(&mut self, series: &[Series], matching: &Matching) -> Vec<usize> {
        let number = |series: &Series| {
            let next = self.0.len();
            *self.0.entry(match_key(&series.labels, matching)).or_insert(next)
        };
        series.iter().map(number).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Both sides of an operator, with the side that may repeat first.
struct Sides {
    many: Vec<Series>,
    many_keys: Vec<usize>,
    one: Vec<Series>,
    one_keys: Vec<usize>,
    keys: usize,
    /// The many side is the right one.
    swapped: bool,
}

/// The results so far, by the series they came from.
struct Results {
    /// Result of a many-side series and a one-side series; either may be filled in.
    known: HashMap<(Option<usize>, Option<usize>), usize>,
    series: Vec<Series>,
}

impl Evaluator<'_> {
    pub(super) fn matched(
        &self,
        binary: &Binary,
        left: Vec<Series>,
        right: Vec<Series>,
        grid: Grid,
    ) -> Result<Vec<Series>, QueryError> {
        if binary.op.is_trim() {
            self.note_floats(binary);
            return Ok(Vec::new());
        }
        let matching = &binary.matching;
        let swapped = matching.group.as_ref().is_some_and(|group| group.many == Side::Right);
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let mut keys = Keys::default();
        let many_keys = keys.of(&many, matching);
        let one_keys = keys.of(&one, matching);
        let sides = Sides { many, many_keys, one, one_keys, keys: keys.len(), swapped };
        let mut results = Results { known: HashMap::new(), series: Vec::new() };
        let mut one_at = vec![None; sides.keys];
        for step in 0..grid.steps {
            if step % 64 == 0 {
                self.watch.check(super::PHASE)?;
            }
            one_at.fill(None);
            sides.index_one(step, &mut one_at, matching)?;
            self.match_step(binary, &sides, &one_at, step, grid, &mut results)?;
        }
        merge_same(results.series).map_err(|error| {
            if binary.matching.group.is_none() {
                return error;
            }
            QueryError::Execution(
                "multiple matches for labels: grouping labels must ensure unique matches"
                    .to_owned(),
            )
        })
    }

    fn match_step(
        &self,
        binary: &Binary,
        sides: &Sides,
        one_at: &[Option<usize>],
        step: usize,
        grid: Grid,
        results: &mut Results,
    ) -> Result<(), QueryError> {
        let matching = &binary.matching;
        let grouped = matching.group.is_some();
        // In the reference `fill_left` is the many side's, also where that is the right one.
        let fill_many = matching.fill_left.map(|number| number.value);
        let fill_one = matching.fill_right.map(|number| number.value);
        let mut key_used =
            vec![false; if fill_many.is_some() || !grouped { sides.keys } else { 0 }];
        let mut key_seen = vec![false; if fill_many.is_some() { sides.keys } else { 0 }];
        for (at, series) in sides.many.iter().enumerate() {
            let Some(value) = series.steps.get(step) else { continue };
            let key = sides.many_keys[at];
            if let Some(seen) = key_seen.get_mut(key) {
                *seen = true;
            }
            let one = one_at[key];
            let other = match one {
                Some(one) => sides.one[one].steps.get(step),
                None => fill_one,
            };
            let Some(other) = other else { continue };
            let Some(value) = sides.value(binary, value, other) else { continue };
            if !grouped && std::mem::replace(&mut key_used[key], true) {
                return Err(QueryError::Execution(
                    "multiple matches for labels: many-to-one matching must be explicit \
                     (group_left/group_right)"
                        .to_owned(),
                ));
            }
            self.put(binary, sides, (Some(at), one), (step, value), grid, results)?;
        }
        let Some(fill) = fill_many else { return Ok(()) };
        for (key, one) in one_at.iter().enumerate() {
            let Some(one) = *one else { continue };
            if key_seen[key] {
                continue;
            }
            let Some(other) = sides.one[one].steps.get(step) else { continue };
            if let Some(value) = sides.value(binary, fill, other) {
                self.put(binary, sides, (None, Some(one)), (step, value), grid, results)?;
            }
        }
        Ok(())
    }

    fn put(
        &self,
        binary: &Binary,
        sides: &Sides,
        pair: (Option<usize>, Option<usize>),
        (step, value): (usize, f64),
        grid: Grid,
        results: &mut Results,
    ) -> Result<(), QueryError> {
        let at = match results.known.get(&pair) {
            Some(at) => *at,
            None => {
                self.hold(grid.steps)?;
                let mut series = Series {
                    labels: sides.result_labels(binary, pair),
                    drop_name: pair.0.is_some_and(|many| sides.many[many].drop_name)
                        && !binary.op.changes_meaning(),
                    steps: Steps::absent(grid.steps),
                };
                if binary.returns_bool {
                    self.drop_name(&mut series);
                }
                let at = results.series.len();
                results.series.push(series);
                results.known.insert(pair, at);
                at
            }
        };
        results.series[at].steps.set(step, value);
        Ok(())
    }
}

impl Sides {
    /// Where each key's series is on the one side at this step.
    fn index_one(
        &self,
        step: usize,
        one_at: &mut [Option<usize>],
        matching: &Matching,
    ) -> Result<(), QueryError> {
        for (at, series) in self.one.iter().enumerate() {
            if series.steps.get(step).is_none() {
                continue;
            }
            let key = self.one_keys[at];
            if let Some(first) = one_at[key].replace(at) {
                let side = if self.swapped { "left" } else { "right" };
                return Err(QueryError::Execution(format!(
                    "found duplicate series for the match group {} on the {side} hand-side of the \
                     operation: [{}, {}];many-to-many matching not allowed: matching labels must \
                     be unique on one side",
                    match_key(&series.labels, matching),
                    series.labels,
                    self.one[first].labels,
                )));
            }
        }
        Ok(())
    }

    fn value(&self, binary: &Binary, many: f64, one: f64) -> Option<f64> {
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        match compare(binary.op, left, right) {
            None => Some(arithmetic(binary.op, left, right)),
            Some(holds) if binary.returns_bool => Some(f64::from(u8::from(holds))),
            Some(holds) => holds.then_some(left),
        }
    }

    fn result_labels(
        &self,
        binary: &Binary,
        (many, one): (Option<usize>, Option<usize>),
    ) -> Labels {
        let matching = &binary.matching;
        let key_of = |series: &Series| match_key(&series.labels, matching);
        // A side that is filled in has the labels of the key.
        let one_labels = match (one, many) {
            (Some(one), _) => self.one[one].labels.clone(),
            (None, Some(many)) => key_of(&self.many[many]),
            (None, None) => Labels::default(),
        };
        let many_labels = match (many, one) {
            (Some(many), _) => self.many[many].labels.clone(),
            (None, Some(one)) => key_of(&self.one[one]),
            (None, None) => Labels::default(),
        };
        let listed = |name: &str| matching.labels.iter().any(|label| label == name);
        let kept = many_labels.iter().filter(|(name, _)| {
            if binary.op.changes_meaning() && describes(name) {
                return false;
            }
            matching.group.is_some() || listed(name) == matching.on
        });
        let mut labels = Labels::from_pairs(kept);
        // A filled one side has no labels to give: its owner's stay unknown.
        for name in matching.group.iter().flat_map(|group| &group.include) {
            labels = labels.with(name, one_labels.get(name).unwrap_or(""));
        }
        labels
    }
}
