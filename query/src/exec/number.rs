//! Arithmetic on two numbers, as LogQL defines it.

use crate::logql::ast::BinaryOp;

/// `left op right`. Comparisons give 1 or 0; dividing by zero gives NaN, unlike in PromQL. Set
/// operators have no meaning on numbers and give NaN; the parser refuses them.
pub fn arithmetic(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod if right == 0.0 => f64::NAN,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Unless => f64::NAN,
        comparison => f64::from(u8::from(compares(comparison, left, right))),
    }
}

/// Whether a comparison holds. False for operators that compare nothing.
#[allow(clippy::float_cmp, reason = "the language compares floats exactly")]
pub(super) fn compares(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Eq => left == right,
        BinaryOp::Ne => left != right,
        BinaryOp::Gt => left > right,
        BinaryOp::Ge => left >= right,
        BinaryOp::Lt => left < right,
        BinaryOp::Le => left <= right,
        _ => false,
    }
}
