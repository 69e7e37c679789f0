//! Binary operators: numbers with numbers, numbers with vectors; vectors with vectors are matched
//! in `matching` and `sets`.

use super::Evaluator;
use super::value::{Series, Value};
use crate::promql::ast::BinaryOp;
use crate::promql::error::QueryError;
use crate::promql::plan::{Binary, Grid};

impl Evaluator<'_> {
    pub(super) fn binary(&self, binary: &Binary, grid: Grid) -> Result<Value, QueryError> {
        let left = self.eval(&binary.left, grid)?;
        let right = self.eval(&binary.right, grid)?;
        Ok(match (left, right) {
            (Value::Scalar(left), Value::Scalar(right)) => {
                let values = left.into_iter().zip(right);
                Value::Scalar(values.map(|(a, b)| of_scalars(binary.op, a, b)).collect())
            }
            (Value::Vector(series), Value::Scalar(number)) => {
                Value::Vector(self.with_number(binary, series, |step, v| (v, number[step]))?)
            }
            (Value::Scalar(number), Value::Vector(series)) => {
                Value::Vector(self.with_number(binary, series, |step, v| (number[step], v))?)
            }
            (Value::Vector(left), Value::Vector(right)) => {
                let vector = if binary.op.is_set() {
                    self.set_operator(binary, left, right, grid)?
                } else {
                    self.matched(binary, left, right, grid)?
                };
                Value::Vector(vector)
            }
            _ => return Err(QueryError::Internal("operands of unexpected types".to_owned())),
        })
    }

    /// A vector with a number on the side that `operands` puts it.
    fn with_number(
        &self,
        binary: &Binary,
        mut series: Vec<Series>,
        operands: impl Fn(usize, f64) -> (f64, f64),
    ) -> Result<Vec<Series>, QueryError> {
        if binary.op.is_trim() {
            self.note_floats(binary);
            return Ok(Vec::new());
        }
        for series in &mut series {
            series.steps.replace(|step, value| {
                let (left, right) = operands(step, value);
                let holds = compare(binary.op, left, right);
                match holds {
                    None => Some(arithmetic(binary.op, left, right)),
                    Some(holds) if binary.returns_bool => Some(f64::from(u8::from(holds))),
                    // A filter keeps the vector's value, whichever side it is on.
                    Some(holds) => holds.then_some(value),
                }
            });
            if binary.op.changes_meaning() || binary.returns_bool {
                self.drop_name(series);
            }
        }
        self.settled(series)
    }

    /// Trims cut native histograms only.
    pub(super) fn note_floats(&self, binary: &Binary) {
        let op = binary.op.text();
        self.annotate(|notes| {
            notes.info(
                format!(
                    "incompatible sample types encountered for binary operator {op:?}: float {op} \
                     float"
                ),
                binary.span,
            );
        });
    }
}

fn of_scalars(op: BinaryOp, left: f64, right: f64) -> f64 {
    match compare(op, left, right) {
        Some(holds) => f64::from(u8::from(holds)),
        None => arithmetic(op, left, right),
    }
}

/// Whether a comparison holds; `None` for operators that do not compare.
pub(super) fn compare(op: BinaryOp, left: f64, right: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Eq => left == right,
        BinaryOp::Ne => left != right,
        BinaryOp::Lt => left < right,
        BinaryOp::Le => left <= right,
        BinaryOp::Gt => left > right,
        BinaryOp::Ge => left >= right,
        _ => return None,
    })
}

pub(super) fn arithmetic(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        // Truncated division's remainder, with the sign of the left: C's fmod.
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        // Comparisons, set operators and trims never come here.
        _ => f64::NAN,
    }
}
