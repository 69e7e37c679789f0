//! Types of an expression: what each operator and function accepts.
//!
//! Reports the first error in the order of the text. The messages are the reference's.

use super::ast::{Aggregate, AggregateOp, Binary, Call, Expr, Kind, Span, Subquery, ValueType};
use super::functions::{Id, Variadic};

type Checked = Result<(), (Span, String)>;

/// Checks an expression and everything in it.
pub(super) fn check(expr: &Expr) -> Checked {
    match &expr.kind {
        Kind::Number(_) | Kind::Text(_) | Kind::Selector(_) | Kind::Range(_) => Ok(()),
        Kind::Paren(inner) => check(inner),
        Kind::Subquery(subquery) => check_subquery(expr.span, subquery),
        Kind::Call(call) => check_call(expr.span, call),
        Kind::Aggregate(aggregate) => check_aggregate(expr.span, aggregate),
        Kind::Binary(binary) => check_binary(expr.span, binary),
        Kind::Unary(unary) => {
            check(&unary.expr)?;
            let got = unary.expr.value_type();
            if matches!(got, ValueType::Scalar | ValueType::Vector) {
                return Ok(());
            }
            let message = format!(
                "unary expression only allowed on expressions of type scalar or instant vector, \
                 got {:?}",
                got.documented()
            );
            Err((expr.span, message))
        }
    }
}

fn check_subquery(span: Span, subquery: &Subquery) -> Checked {
    check(&subquery.expr)?;
    let got = subquery.expr.value_type();
    if got == ValueType::Vector {
        return Ok(());
    }
    let message = format!("subquery is only allowed on instant vector, got {} instead", got.api());
    Err((span, message))
}

fn check_call(span: Span, call: &Call) -> Checked {
    let function = call.function;
    let given = call.args.len();
    let declared = function.args.len();
    let wrong_count = |bound: &str, count: usize| {
        let message = format!(
            "expected {bound}{count} argument(s) in call to {:?}, got {given}",
            function.name
        );
        Err((span, message))
    };
    let needed = declared.saturating_sub(1);
    match function.variadic {
        Variadic::No if given != declared => return wrong_count("", declared),
        Variadic::No => {}
        _ if given < needed => return wrong_count("at least ", needed),
        Variadic::UpTo(more) if needed + more < given => {
            return wrong_count("at most ", needed + more);
        }
        Variadic::UpTo(_) | Variadic::Any => {}
    }
    for (index, arg) in call.args.iter().enumerate() {
        check(arg)?;
        if let Some(expected) = function.arg(index) {
            expect(arg, expected, &format!("call to function {:?}", function.name))?;
        }
    }
    if function.id == Id::HistogramQuantiles && given < 3 {
        return wrong_count("at least ", 3);
    }
    Ok(())
}

fn check_aggregate(span: Span, aggregate: &Aggregate) -> Checked {
    if let Some(param) = &aggregate.param {
        check(param)?;
        let expected = match aggregate.op {
            AggregateOp::CountValues => ValueType::Text,
            _ => ValueType::Scalar,
        };
        expect(param, expected, "aggregation parameter")?;
    }
    check(&aggregate.expr)?;
    expect(&aggregate.expr, ValueType::Vector, "aggregation expression")
        .map_err(|(_, message)| (span, message))
}

fn check_binary(span: Span, binary: &Binary) -> Checked {
    check(&binary.left)?;
    check(&binary.right)?;
    let fail = |message: String| Err((span, message));
    let (left, right) = (binary.left.value_type(), binary.right.value_type());
    for (side, got) in [(&binary.left, left), (&binary.right, right)] {
        if !matches!(got, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err((side.span, message.to_owned()));
        }
    }
    let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
    if scalars && binary.op.is_comparison() && !binary.returns_bool {
        return fail("comparisons between scalars must use BOOL modifier".to_owned());
    }
    if scalars && binary.op.is_trim() {
        return fail(format!(
            "operator {:?} not allowed in binary scalar expression",
            binary.op.text()
        ));
    }
    let vectors = left == ValueType::Vector && right == ValueType::Vector;
    if !vectors && binary.op.is_set() {
        return fail(format!(
            "set operator {:?} not allowed in binary scalar expression",
            binary.op.text()
        ));
    }
    let matching = &binary.matching;
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    let matches = matching.on || !matching.labels.is_empty() || matching.group.is_some();
    if !vectors && (fills || matches) {
        return fail("vector matching only allowed between instant vectors".to_owned());
    }
    let Some(group) = matching.group.as_ref().filter(|_| matching.on) else { return Ok(()) };
    match group.include.iter().find(|label| matching.labels.contains(label)) {
        Some(label) => {
            fail(format!("label {label:?} must not occur in ON and GROUP clause at once"))
        }
        None => Ok(()),
    }
}

fn expect(expr: &Expr, expected: ValueType, context: &str) -> Checked {
    let got = expr.value_type();
    if got == expected {
        return Ok(());
    }
    let message =
        format!("expected type {} in {context}, got {}", expected.documented(), got.documented());
    Err((expr.span, message))
}
