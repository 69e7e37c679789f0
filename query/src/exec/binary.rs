//! Binary operators between numbers and vectors, and between two vectors.

use std::collections::BTreeMap;

use record::Labels;

use super::number::{arithmetic, compares};
use super::series::{Point, Series, Value, tidy};
use crate::error::QueryError;
use crate::logql::ast::{Binary, BinaryOp, Group, VectorMatching};

/// Evaluates `left op right`.
pub(super) fn binary(
    binary: &Binary,
    left: Value,
    right: Value,
    steps: u32,
) -> Result<Value, QueryError> {
    match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            Ok(Value::Scalar(arithmetic(binary.op, left, right)))
        }
        (Value::Vector(vector), Value::Scalar(number)) => {
            let each = |value| combined(binary, value, number, value);
            Ok(Value::Vector(map_points(vector, each)))
        }
        (Value::Scalar(number), Value::Vector(vector)) => {
            // A comparison keeps the vector's value, whichever side it stands on.
            let each = |value| combined(binary, number, value, value);
            Ok(Value::Vector(map_points(vector, each)))
        }
        (Value::Vector(left), Value::Vector(right)) => {
            let matched = if binary.op.is_set() {
                set_operation(binary, left, &right, steps)
            } else {
                matched(binary, left, right, steps)?
            };
            Ok(Value::Vector(tidy(matched)))
        }
    }
}

/// The value of one pair, or `None` where a comparison filters it out. `kept` is what a comparison
/// that holds yields.
fn combined(binary: &Binary, left: f64, right: f64, kept: f64) -> Option<f64> {
    if !binary.op.is_comparison() || binary.returns_bool {
        return Some(arithmetic(binary.op, left, right));
    }
    compares(binary.op, left, right).then_some(kept)
}

fn map_points(vector: Vec<Series>, each: impl Fn(f64) -> Option<f64>) -> Vec<Series> {
    let mapped = vector.into_iter().map(|series| {
        let points = series.points.into_iter();
        let points = points.filter_map(|p| Some(Point { step: p.step, value: each(p.value)? }));
        Series { labels: series.labels, points: points.collect() }
    });
    tidy(mapped.collect())
}

/// The labels by which two sides are matched.
fn signature(matching: Option<&VectorMatching>, labels: &Labels) -> Labels {
    let Some(matching) = matching else {
        return labels.clone();
    };
    let named = |name: &str| matching.names.iter().any(|wanted| wanted == name);
    Labels::from_pairs(labels.iter().filter(|(name, _)| named(name) == matching.on))
}

type BySignature = BTreeMap<Labels, Vec<Series>>;

fn by_signature(matching: Option<&VectorMatching>, vector: Vec<Series>) -> BySignature {
    let mut groups = BySignature::new();
    for series in vector {
        groups.entry(signature(matching, &series.labels)).or_default().push(series);
    }
    groups
}

/// `and`, `or`, `unless`.
fn set_operation(binary: &Binary, left: Vec<Series>, right: &[Series], steps: u32) -> Vec<Series> {
    let matching = binary.matching.as_ref();
    let right_has = presence(matching, right, steps);
    let is_in = |has: &BTreeMap<Labels, Vec<bool>>, labels: &Labels, step: u32| {
        has.get(labels).is_some_and(|steps| steps[step as usize])
    };
    if binary.op == BinaryOp::Or {
        let left_has = presence(matching, &left, steps);
        let mut merged: BTreeMap<Labels, Vec<Point>> =
            left.into_iter().map(|series| (series.labels, series.points)).collect();
        for series in right {
            let signature = signature(matching, &series.labels);
            let alone = series.points.iter().filter(|p| !is_in(&left_has, &signature, p.step));
            let points = merged.entry(series.labels.clone()).or_default();
            points.extend(alone);
            points.sort_by_key(|point| point.step);
        }
        return merged.into_iter().map(|(labels, points)| Series { labels, points }).collect();
    }
    let wanted = binary.op == BinaryOp::And;
    let kept = left.into_iter().map(|mut series| {
        let signature = signature(matching, &series.labels);
        series.points.retain(|point| is_in(&right_has, &signature, point.step) == wanted);
        series
    });
    kept.collect()
}

fn presence(
    matching: Option<&VectorMatching>,
    vector: &[Series],
    steps: u32,
) -> BTreeMap<Labels, Vec<bool>> {
    let mut has: BTreeMap<Labels, Vec<bool>> = BTreeMap::new();
    for series in vector {
        let signature = signature(matching, &series.labels);
        let at = has.entry(signature).or_insert_with(|| vec![false; steps as usize]);
        for point in &series.points {
            at[point.step as usize] = true;
        }
    }
    has
}

/// Arithmetic and comparisons between vectors, one-to-one or with a many side.
fn matched(
    binary: &Binary,
    left: Vec<Series>,
    right: Vec<Series>,
    steps: u32,
) -> Result<Vec<Series>, QueryError> {
    let matching = binary.matching.as_ref();
    let group = matching.and_then(|matching| matching.group.as_ref());
    let many_is_right = group.is_some_and(|group| !group.left);
    let (many, one) = if many_is_right { (right, left) } else { (left, right) };
    let many = by_signature(matching, many);
    let mut one = by_signature(matching, one);
    let mut results: BTreeMap<Labels, Vec<Option<f64>>> = BTreeMap::new();
    for (signature, members) in many {
        let Some(partners) = one.remove(&signature) else { continue };
        let partner = only_one_per_step(&partners, steps)?;
        for series in members {
            for point in &series.points {
                let Some((partner_value, partner_at)) = partner[point.step as usize] else {
                    continue;
                };
                let (a, b) = if many_is_right {
                    (partner_value, point.value)
                } else {
                    (point.value, partner_value)
                };
                let Some(value) = combined(binary, a, b, a) else { continue };
                let partner_labels = &partners[partner_at].labels;
                let labels = result_labels(matching, &series.labels, partner_labels);
                let at = results.entry(labels).or_insert_with(|| vec![None; steps as usize]);
                if at[point.step as usize].replace(value).is_some() {
                    return Err(duplicate(group));
                }
            }
        }
    }
    let dense = |points: Vec<Option<f64>>| {
        let points = points.into_iter().zip(0..);
        points.filter_map(|(value, step)| Some(Point { step, value: value? })).collect()
    };
    Ok(results.into_iter().map(|(labels, p)| Series { labels, points: dense(p) }).collect())
}

/// For each step the value of the "one" side and which series it is from.
fn only_one_per_step(
    partners: &[Series],
    steps: u32,
) -> Result<Vec<Option<(f64, usize)>>, QueryError> {
    let mut at_step = vec![None; steps as usize];
    for (number, series) in partners.iter().enumerate() {
        for point in &series.points {
            if at_step[point.step as usize].replace((point.value, number)).is_some() {
                return Err(QueryError::Invalid(
                    "found duplicate series on the right hand-side;many-to-many matching not \
                     allowed: matching labels must be unique on one side"
                        .to_owned(),
                ));
            }
        }
    }
    Ok(at_step)
}

fn duplicate(group: Option<&Group>) -> QueryError {
    let text = if group.is_some() {
        "multiple matches for labels: grouping labels must ensure unique matches"
    } else {
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    };
    QueryError::Invalid(text.to_owned())
}

fn result_labels(matching: Option<&VectorMatching>, many: &Labels, one: &Labels) -> Labels {
    let Some(matching) = matching else {
        return many.clone();
    };
    let Some(group) = &matching.group else {
        return signature(Some(matching), many);
    };
    let mut labels = many.clone();
    for name in &group.include {
        labels = labels.with(name, one.get(name).unwrap_or(""));
    }
    labels
}
