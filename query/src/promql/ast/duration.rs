//! Durations as written, and what they amount to.

use super::{BinaryOp, Number};

/// A duration, which may be computed from the query's own step and range.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    Literal(Number),
    Step,
    Range,
    Min(Box<Self>, Box<Self>),
    Max(Box<Self>, Box<Self>),
    Negative(Box<Self>),
    Positive(Box<Self>),
    Binary(BinaryOp, Box<Self>, Box<Self>),
    Paren(Box<Self>),
}

impl Duration {
    /// Its seconds if they do not depend on the query's step or range.
    ///
    /// # Errors
    /// When it divides by zero.
    pub fn constant(&self) -> Result<Option<f64>, DurationError> {
        if self.depends_on_query() { Ok(None) } else { self.seconds(0.0, 0.0).map(Some) }
    }

    /// Its seconds in a query with this step and range.
    ///
    /// # Errors
    /// When it divides by zero.
    pub fn seconds(&self, step: f64, range: f64) -> Result<f64, DurationError> {
        let value = |inner: &Self| inner.seconds(step, range);
        Ok(match self {
            Self::Literal(number) => number.value,
            Self::Step => step,
            Self::Range => range,
            Self::Min(a, b) => value(a)?.min(value(b)?),
            Self::Max(a, b) => value(a)?.max(value(b)?),
            Self::Negative(inner) => -value(inner)?,
            Self::Positive(inner) | Self::Paren(inner) => value(inner)?,
            Self::Binary(op, a, b) => calculate(*op, value(a)?, value(b)?)?,
        })
    }

    fn depends_on_query(&self) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Step | Self::Range => true,
            Self::Negative(inner) | Self::Positive(inner) | Self::Paren(inner) => {
                inner.depends_on_query()
            }
            Self::Min(a, b) | Self::Max(a, b) | Self::Binary(_, a, b) => {
                a.depends_on_query() || b.depends_on_query()
            }
        }
    }
}

/// A duration that cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("division by zero")]
    Division,
    #[error("modulo by zero")]
    Modulo,
}

fn calculate(op: BinaryOp, a: f64, b: f64) -> Result<f64, DurationError> {
    Ok(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div if b == 0.0 => return Err(DurationError::Division),
        BinaryOp::Div => a / b,
        BinaryOp::Mod if b == 0.0 => return Err(DurationError::Modulo),
        BinaryOp::Mod => a % b,
        // The parser builds no other operator into a duration.
        _ => a.powf(b),
    })
}
