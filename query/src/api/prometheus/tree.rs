//! An expression as the JSON tree that the Prometheus UI draws.

use serde_json::{Value, json};

use crate::promql::ast::{
    Aggregate, At, Binary, Call, Duration, Expr, Kind, Matching, Selector, Side, Subquery, When,
};
use crate::promql::functions::Variadic;
use crate::promql::number;

pub(super) fn node(expr: &Expr) -> Value {
    match &expr.kind {
        Kind::Number(literal) => {
            json!({"type": "numberLiteral", "val": number::sample(literal.value)})
        }
        Kind::Text(text) => json!({"type": "stringLiteral", "val": text}),
        Kind::Paren(inner) => json!({"type": "parenExpr", "expr": node(inner)}),
        Kind::Unary(unary) => {
            let op = if unary.negative { "-" } else { "+" };
            json!({"type": "unaryExpr", "op": op, "expr": node(&unary.expr)})
        }
        Kind::Selector(selector) => selector_node("vectorSelector", selector),
        Kind::Range(range) => {
            let mut tree = selector_node("matrixSelector", &range.selector);
            tree["range"] = milliseconds(&range.range);
            tree
        }
        Kind::Subquery(subquery) => subquery_node(subquery),
        Kind::Call(call) => call_node(call),
        Kind::Aggregate(aggregate) => aggregate_node(aggregate),
        Kind::Binary(binary) => binary_node(binary),
    }
}

fn selector_node(kind: &str, selector: &Selector) -> Value {
    let matchers: Vec<Value> = selector
        .all_matchers()
        .iter()
        .map(|m| json!({"name": m.name(), "type": m.op().to_string(), "value": m.value()}))
        .collect();
    let mut tree = json!({
        "type": kind,
        "name": selector.name.as_deref().unwrap_or(""),
        "matchers": matchers,
    });
    add_when(&mut tree, &selector.when);
    tree
}

fn subquery_node(subquery: &Subquery) -> Value {
    let mut tree = json!({
        "type": "subquery",
        "expr": node(&subquery.expr),
        "range": milliseconds(&subquery.range),
        "step": subquery.step.as_ref().map_or(json!(0), milliseconds),
    });
    add_when(&mut tree, &subquery.when);
    tree
}

fn add_when(tree: &mut Value, when: &When) {
    tree["offset"] = when.offset.as_ref().map_or(json!(0), milliseconds);
    let (timestamp, start_or_end) = match when.at {
        None => (Value::Null, Value::Null),
        Some(At::Time(ms)) => (json!(ms), Value::Null),
        Some(At::Start) => (Value::Null, json!("start")),
        Some(At::End) => (Value::Null, json!("end")),
    };
    tree["timestamp"] = timestamp;
    tree["startOrEnd"] = start_or_end;
}

/// Milliseconds, or the expression where they depend on the query.
fn milliseconds(duration: &Duration) -> Value {
    match duration.constant() {
        Ok(Some(seconds)) => json!((seconds * 1000.0).round() as i64),
        _ => json!({"type": "durationExpr", "text": duration.to_string()}),
    }
}

fn call_node(call: &Call) -> Value {
    let function = call.function;
    let variadic = match function.variadic {
        Variadic::No => 0,
        Variadic::UpTo(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Variadic::Any => -1,
    };
    let arg_types: Vec<&str> = function.args.iter().map(|arg| arg.api()).collect();
    json!({
        "type": "call",
        "func": {
            "name": function.name,
            "argTypes": arg_types,
            "variadic": variadic,
            "returnType": function.returns.api(),
        },
        "args": call.args.iter().map(node).collect::<Vec<_>>(),
    })
}

fn aggregate_node(aggregate: &Aggregate) -> Value {
    json!({
        "type": "aggregation",
        "op": aggregate.op.name(),
        "expr": node(&aggregate.expr),
        "param": aggregate.param.as_deref().map(node),
        "grouping": aggregate.grouping.labels,
        "without": aggregate.grouping.without,
    })
}

fn binary_node(binary: &Binary) -> Value {
    let vectors = [&binary.left, &binary.right]
        .iter()
        .all(|side| side.value_type() == crate::promql::ast::ValueType::Vector);
    let matching = vectors.then(|| matching_node(binary, &binary.matching));
    json!({
        "type": "binaryExpr",
        "op": binary.op.text(),
        "lhs": node(&binary.left),
        "rhs": node(&binary.right),
        "matching": matching,
        "bool": binary.returns_bool,
    })
}

fn matching_node(binary: &Binary, matching: &Matching) -> Value {
    let card = match &matching.group {
        _ if binary.op.is_set() => "many-to-many",
        None => "one-to-one",
        Some(group) if group.many == Side::Left => "many-to-one",
        Some(_) => "one-to-many",
    };
    let include = matching.group.as_ref().map_or(&[][..], |group| &group.include);
    json!({"card": card, "labels": matching.labels, "on": matching.on, "include": include})
}
