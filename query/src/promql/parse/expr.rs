//! Operators: precedence climbing, vector matching, signs.

use nom::Parser;
use nom::combinator::opt;

use super::lex::{self, keyword, sees, symbol};
use super::{Failure, Grammar, Parsed};
use crate::promql::ast::{
    Binary, BinaryOp, Expr, Group, Kind, Matching, Number, Side, Span, Unary,
};

/// A sign binds tighter than `*` and looser than `^`: `-1^2` is -1.
const SIGN_FLOOR: u8 = 6;

struct Modifiers {
    returns_bool: bool,
    matching: Matching,
}

impl Grammar<'_> {
    /// Operands joined by operators that bind at least as tightly as `floor`.
    pub(super) fn expr<'a>(&self, i: &'a str, floor: u8) -> Parsed<'a, Expr> {
        self.deeper(i, |i| {
            let (mut rest, mut left) = self.signed(i)?;
            while let Some((after, op)) = lex::operator(rest) {
                if op.precedence() < floor {
                    break;
                }
                self.count(rest)?;
                let (after, modifiers) = self.modifiers(after, op)?;
                let right_floor =
                    if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
                let (after, right) = self.expr(after, right_floor)?;
                left = binary(op, modifiers, left, right);
                rest = after;
            }
            Ok((rest, left))
        })
    }

    fn signed<'a>(&self, i: &'a str) -> Parsed<'a, Expr> {
        let start = lex::blank(i);
        let negative = start.starts_with('-');
        if !negative && !start.starts_with('+') {
            return self.postfix(start);
        }
        self.count(start)?;
        let (rest, operand) = self.expr(start.get(1..).unwrap_or(""), SIGN_FLOOR)?;
        let span = self.span(start, rest);
        // A signed number is a number, as long as it was not a power: that is parsed above.
        let kind = match operand.kind {
            Kind::Number(number) => {
                let value = if negative { -number.value } else { number.value };
                Kind::Number(Number { value, ..number })
            }
            _ => Kind::Unary(Unary { negative, expr: Box::new(operand) }),
        };
        Ok((rest, Expr { kind, span }))
    }

    fn modifiers<'a>(&self, i: &'a str, op: BinaryOp) -> Parsed<'a, Modifiers> {
        let (mut rest, returns_bool) = opt(keyword("bool")).parse(i)?;
        if returns_bool.is_some() && !op.is_comparison() {
            let message = "bool modifier can only be used on comparison operators";
            return Err(Failure::at(lex::blank(i), message).fatal());
        }
        let mut matching = Matching::default();
        for (text, on) in [("on", true), ("ignoring", false)] {
            if let Ok((after, _)) = keyword(text)(rest)
                && sees(after, "(")
            {
                (rest, matching.labels) = self.label_list(after)?;
                matching.on = on;
                (rest, matching.group) = self.group(rest, op)?;
                break;
            }
        }
        let (rest, ()) = self.fills(rest, op, &mut matching)?;
        Ok((rest, Modifiers { returns_bool: returns_bool.is_some(), matching }))
    }

    fn group<'a>(&self, i: &'a str, op: BinaryOp) -> Parsed<'a, Option<Group>> {
        for (text, many) in [("group_left", Side::Left), ("group_right", Side::Right)] {
            let Ok((rest, _)) = keyword(text)(i) else { continue };
            if op.is_set() {
                let message = format!("no grouping allowed for {:?} operation", op.text());
                return Err(Failure::at(lex::blank(i), message).fatal());
            }
            let (rest, include) =
                if sees(rest, "(") { self.label_list(rest)? } else { (rest, Vec::new()) };
            return Ok((rest, Some(Group { many, include })));
        }
        Ok((i, None))
    }

    /// `fill(v)`, `fill_left(v)`, `fill_right(v)`, the last of the modifiers.
    fn fills<'a>(&self, i: &'a str, op: BinaryOp, matching: &mut Matching) -> Parsed<'a, ()> {
        let mut rest = i;
        while let Ok((after, name)) = lex::word(rest) {
            let name = name.to_ascii_lowercase();
            let (left, right) = match name.as_str() {
                "fill" => (true, true),
                "fill_left" => (true, false),
                "fill_right" => (false, true),
                _ => break,
            };
            if !sees(after, "(") {
                break;
            }
            if !self.features.binop_fill_modifiers {
                let message = "binop fill modifiers are experimental and not enabled";
                return Err(Failure::at(lex::blank(rest), message).fatal());
            }
            if op.is_set() {
                let message = "filling in missing series not allowed for set operators";
                return Err(Failure::at(lex::blank(rest), message).fatal());
            }
            let (after, value) = self.fill_value(after)?;
            if left {
                matching.fill_left = Some(value);
            }
            if right {
                matching.fill_right = Some(value);
            }
            rest = after;
        }
        Ok((rest, ()))
    }

    fn fill_value<'a>(&self, i: &'a str) -> Parsed<'a, Number> {
        let wrong =
            |rest: &str| Failure::unexpected(rest, " in fill modifier, expected a number").fatal();
        let (rest, _) = symbol("(")(i)?;
        let (rest, value) = signed_number(rest).map_err(|_| wrong(rest))?;
        let (rest, _) = symbol(")")(rest).map_err(|_| wrong(rest))?;
        Ok((rest, value))
    }

    /// `(a, "b", c)`; names may be quoted, a trailing comma is allowed.
    pub(super) fn label_list<'a>(&self, i: &'a str) -> Parsed<'a, Vec<String>> {
        let (mut rest, _) = symbol("(")(i)?;
        let mut labels = Vec::new();
        loop {
            if let Ok((after, _)) = symbol(")")(rest) {
                return Ok((after, labels));
            }
            let (after, name) = match lex::string(rest) {
                Ok((after, name)) if !name.is_empty() => (after, name),
                Ok(_) => {
                    return Err(Failure::at(rest, "invalid label name for grouping: \"\"").fatal());
                }
                Err(error @ nom::Err::Failure(_)) => return Err(error),
                Err(_) => match lex::label(rest) {
                    Ok((after, name)) => (after, name.to_owned()),
                    Err(_) => return Err(grouping(rest, "label")),
                },
            };
            labels.push(name);
            rest = match symbol(",")(after) {
                Ok((after, _)) => after,
                Err(_) if sees(after, ")") => after,
                Err(_) => return Err(grouping(after, "\",\" or \")\"")),
            };
        }
    }
}

fn grouping(rest: &str, expected: &str) -> nom::Err<Failure> {
    Failure::unexpected(rest, &format!(" in grouping opts, expected {expected}")).fatal()
}

fn binary(op: BinaryOp, modifiers: Modifiers, left: Expr, right: Expr) -> Expr {
    let span = Span { start: left.span.start, end: right.span.end };
    let kind = Kind::Binary(Binary {
        op,
        left: Box::new(left),
        right: Box::new(right),
        returns_bool: modifiers.returns_bool,
        matching: modifiers.matching,
    });
    Expr { kind, span }
}

/// A number with an optional sign.
pub(super) fn signed_number(i: &str) -> Parsed<'_, Number> {
    let start = lex::blank(i);
    let negative = start.starts_with('-');
    let digits = start.strip_prefix(['-', '+']).unwrap_or(start);
    let (rest, number) = lex::number(digits)?;
    let value = if negative { -number.value } else { number.value };
    Ok((rest, Number { value, ..number }))
}
