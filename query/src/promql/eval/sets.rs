//! `and`, `or` and `unless`: which series are there, by matching key; values are never combined.

use super::Evaluator;
use super::matching::Keys;
use super::value::Series;
use crate::promql::ast::BinaryOp;
use crate::promql::error::QueryError;
use crate::promql::plan::{Binary, Grid};

impl Evaluator<'_> {
    pub(super) fn set_operator(
        &self,
        binary: &Binary,
        mut left: Vec<Series>,
        mut right: Vec<Series>,
        grid: Grid,
    ) -> Result<Vec<Series>, QueryError> {
        let mut keys = Keys::default();
        let left_keys = keys.of(&left, &binary.matching);
        let right_keys = keys.of(&right, &binary.matching);
        let (judged, judged_keys, judges, judge_keys) = match binary.op {
            BinaryOp::Or => (&mut right, &right_keys, &left, &left_keys),
            _ => (&mut left, &left_keys, &right, &right_keys),
        };
        // One bit per key and step.
        self.hold(keys.len().saturating_mul(grid.steps) / 64)?;
        let words = grid.steps.div_ceil(64);
        let mut there = vec![0_u64; keys.len().saturating_mul(words)];
        for (series, key) in judges.iter().zip(judge_keys) {
            for (step, _) in series.steps.present() {
                there[key * words + step / 64] |= 1 << (step % 64);
            }
        }
        let wanted = binary.op == BinaryOp::And;
        for (series, key) in judged.iter_mut().zip(judged_keys) {
            series.steps.replace(|step, value| {
                let found = there[key * words + step / 64] >> (step % 64) & 1 == 1;
                (found == wanted).then_some(value)
            });
        }
        if binary.op == BinaryOp::Or {
            left.append(&mut right);
        }
        self.settled(left)
    }
}
