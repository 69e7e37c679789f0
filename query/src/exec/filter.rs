//! Label filters: tests of a row's labels.
//!
//! A value that cannot be read as the type it is compared with keeps the row and marks it with
//! `__error__`, so that nothing disappears silently.

use record::Matcher;

use super::labels::RowLabels;
use crate::logql::ast::{Comparison, LabelFilter, TypedValue};
use crate::logql::{parse_bytes, parse_go_duration};

const LABEL_FILTER_ERROR: &str = "LabelFilterErr";

/// A label filter ready to run.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    All(Vec<Self>),
    Any(Vec<Self>),
    Text(Matcher),
    Typed { name: String, op: Comparison, value: TypedValue },
}

impl Filter {
    /// # Errors
    /// The name of what is not supported yet.
    pub(super) fn compile(filter: &LabelFilter) -> Result<Self, String> {
        let all = |operands: &[LabelFilter]| {
            operands.iter().map(Self::compile).collect::<Result<Vec<_>, _>>()
        };
        Ok(match filter {
            LabelFilter::And(operands) => Self::All(all(operands)?),
            LabelFilter::Or(operands) => Self::Any(all(operands)?),
            LabelFilter::Text(matcher) => Self::Text(matcher.clone()),
            LabelFilter::Typed { name, op, value } => {
                Self::Typed { name: name.clone(), op: *op, value: *value }
            }
            LabelFilter::Ip { .. } => return Err("label filter 'ip()'".to_owned()),
        })
    }

    /// Whether the row stays. May mark it with an error.
    pub(super) fn keeps(&self, row: &mut RowLabels<'_>) -> bool {
        match self {
            Self::All(operands) => {
                // Every operand is evaluated, since each may mark the row.
                let mut kept = true;
                for operand in operands {
                    kept &= operand.keeps(row);
                }
                kept
            }
            Self::Any(operands) => operands.iter().any(|operand| operand.keeps(row)),
            Self::Text(matcher) => matcher.matches(row.get(matcher.name()).unwrap_or("")),
            Self::Typed { name, op, value } => keeps_typed(row, name, *op, *value),
        }
    }

    /// Adds the names of the labels that are looked at.
    pub(super) fn names<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Self::All(operands) | Self::Any(operands) => {
                operands.iter().for_each(|operand| operand.names(names));
            }
            Self::Text(matcher) => names.push(matcher.name()),
            Self::Typed { name, .. } => names.push(name),
        }
    }
}

fn keeps_typed(row: &mut RowLabels<'_>, name: &str, op: Comparison, value: TypedValue) -> bool {
    if row.has_error() {
        return true;
    }
    let Some(found) = row.get(name) else {
        return false;
    };
    let compared = match value {
        TypedValue::Number(wanted) => parse_float(found).map(|found| compare(op, &found, &wanted)),
        TypedValue::DurationNanos(wanted) => {
            parse_go_duration(found).map(|found| compare(op, &found, &wanted))
        }
        TypedValue::Bytes(wanted) => parse_bytes(found).map(|found| compare(op, &found, &wanted)),
    };
    match compared {
        Ok(kept) => kept,
        Err(details) => {
            row.set_error(LABEL_FILTER_ERROR, details);
            true
        }
    }
}

fn parse_float(text: &str) -> Result<f64, String> {
    // Rust reads "infinity" and "nan" like Go; both refuse surrounding space.
    text.parse::<f64>()
        .map_err(|_not_a_float| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
}

fn compare<T: PartialOrd>(op: Comparison, found: &T, wanted: &T) -> bool {
    match op {
        Comparison::Eq => found == wanted,
        Comparison::Ne => found != wanted,
        Comparison::Gt => found > wanted,
        Comparison::Ge => found >= wanted,
        Comparison::Lt => found < wanted,
        Comparison::Le => found <= wanted,
    }
}
