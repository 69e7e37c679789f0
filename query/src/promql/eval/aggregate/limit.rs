//! Aggregations whose output is some of their input: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use record::Labels;
use xxhash_rust::xxh64::xxh64;

use super::super::value::Series;
use super::Group;
use crate::promql::ast::AggregateOp;
use crate::promql::error::QueryError;
use crate::promql::functions::sort::{ascending, descending};
use crate::promql::number;

/// A count must be a number, and fit the reference's integers.
pub(super) fn check_count(counts: &[f64]) -> Result<(), QueryError> {
    let fail = |message: String| Err(QueryError::Execution(message));
    for count in counts {
        if count.is_nan() {
            return fail("Parameter value is NaN".to_owned());
        }
        if i64::MAX as f64 <= *count {
            return fail(format!("Scalar value {} overflows int64", number::general(*count)));
        }
        if *count <= i64::MIN as f64 {
            return fail(format!("Scalar value {} underflows int64", number::general(*count)));
        }
    }
    Ok(())
}

/// The series of `group` with the values that are selected, best first by the first step.
pub(super) fn select(op: AggregateOp, group: Group, param: &[f64]) -> Vec<Series> {
    let mut members = group.members;
    if op == AggregateOp::LimitRatio {
        return by_ratio(members, param);
    }
    let mut order: Vec<(usize, f64)> = Vec::with_capacity(members.len());
    let mut first_order = Vec::new();
    for (step, count) in param.iter().enumerate() {
        order.clear();
        let value = |member: &Series| member.steps.get(step);
        order.extend(
            members.iter().enumerate().filter_map(|(at, member)| Some((at, value(member)?))),
        );
        match op {
            AggregateOp::Topk => order.sort_by(|a, b| descending(a.1, b.1)),
            AggregateOp::Bottomk => order.sort_by(|a, b| ascending(a.1, b.1)),
            _ => {}
        }
        let kept = if *count < 1.0 { 0 } else { (*count as usize).min(order.len()) };
        for (at, _) in order.drain(kept..) {
            members[at].steps.clear(step);
        }
        if step == 0 {
            first_order = order.iter().map(|(at, _)| *at).collect();
        }
    }
    in_order(members, &first_order)
}

/// `members` with those listed in front, in the order listed.
fn in_order(members: Vec<Series>, listed: &[usize]) -> Vec<Series> {
    let mut ranks = vec![usize::MAX; members.len()];
    for (rank, at) in listed.iter().enumerate() {
        ranks[*at] = rank;
    }
    let mut ranked: Vec<(usize, Series)> = ranks.into_iter().zip(members).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, member)| member).collect()
}

/// Keeps each series by where its hash falls, so that `r` and `-(1 - r)` are complements.
fn by_ratio(mut members: Vec<Series>, ratios: &[f64]) -> Vec<Series> {
    for member in &mut members {
        let position = hash(&member.labels) as f64 / u64::MAX as f64;
        member.steps.replace(|step, value| {
            let ratio = ratios[step];
            let kept = if ratio < 0.0 { 1.0 + ratio <= position } else { position < ratio };
            kept.then_some(value)
        });
    }
    members
}

/// The reference's hash of a label set, so that it selects the same series as we do: names and
/// values one after the other, each after its length in one byte, or in four from 255 on.
fn hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(length) if length != u8::MAX => bytes.push(length),
            _ => {
                let [a, b, c, _] = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
                bytes.extend([u8::MAX, a, b, c]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes, 0)
}
