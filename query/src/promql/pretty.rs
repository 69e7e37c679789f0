//! Text over several lines: what does not fit a line is split at its outermost level.

use super::ast::{Aggregate, Binary, Call, Expr, Kind};

/// Columns before a line is split, as in the reference.
const COLUMNS_MAX: usize = 100;
const INDENT: &str = "  ";

/// Returns the expression with lines of at most 100 columns where that is possible.
#[must_use]
pub fn pretty(expr: &Expr) -> String {
    let mut out = String::new();
    write(expr, 0, &mut out);
    out
}

fn write(expr: &Expr, level: usize, out: &mut String) {
    let line = expr.to_string();
    let indent = INDENT.repeat(level);
    if indent.len() + line.len() <= COLUMNS_MAX {
        out.push_str(&indent);
        out.push_str(&line);
        return;
    }
    match &expr.kind {
        Kind::Paren(inner) => bracketed(out, &indent, "(", level, &[inner], ")"),
        Kind::Call(Call { function, args }) if !args.is_empty() => {
            let args: Vec<&Expr> = args.iter().collect();
            bracketed(out, &indent, &format!("{}(", function.name), level, &args, ")");
        }
        Kind::Aggregate(aggregate) => {
            let args: Vec<&Expr> =
                aggregate.param.as_deref().into_iter().chain([aggregate.expr.as_ref()]).collect();
            bracketed(out, &indent, &format!("{}(", head(aggregate)), level, &args, ")");
        }
        Kind::Binary(binary) => {
            write(&binary.left, level + 1, out);
            out.push_str(&format!("\n{indent}{}\n", operator(binary)));
            write(&binary.right, level + 1, out);
        }
        Kind::Unary(unary) => {
            out.push_str(&indent);
            out.push(if unary.negative { '-' } else { '+' });
            push_after(&unary.expr, level, out);
        }
        Kind::Subquery(subquery) => {
            write(&subquery.expr, level, out);
            let inner = subquery.expr.to_string().len();
            out.push_str(line.get(inner..).unwrap_or(""));
        }
        _ => {
            out.push_str(&indent);
            out.push_str(&line);
        }
    }
}

/// Writes `expr` right behind what is there: its first line is not indented again.
fn push_after(expr: &Expr, level: usize, out: &mut String) {
    let mut text = String::new();
    write(expr, level, &mut text);
    out.push_str(text.trim_start());
}

fn bracketed(
    out: &mut String,
    indent: &str,
    open: &str,
    level: usize,
    parts: &[&Expr],
    close: &str,
) {
    out.push_str(&format!("{indent}{open}\n"));
    for (at, part) in parts.iter().enumerate() {
        write(part, level + 1, out);
        out.push_str(if at + 1 == parts.len() { "\n" } else { ",\n" });
    }
    out.push_str(&format!("{indent}{close}"));
}

fn head(aggregate: &Aggregate) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    aggregate.head(&mut text).map_or_else(|_| String::new(), |()| text)
}

fn operator(binary: &Binary) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    binary.operator(&mut text).map_or_else(|_| String::new(), |()| text)
}
