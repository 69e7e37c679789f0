//! Grammar of selectors and pipeline stages.

use nom::Parser;
use nom::branch::alt;
use nom::combinator::{map, opt};
use nom::sequence::{delimited, preceded};
use record::{MatchOp, Matcher};

use super::ast::{
    Comparison, Extraction, LabelFilter, LabelFormat, LabelPick, LineFilter, LineOp, LogQuery,
    Needle, Stage, TypedValue,
};
use super::lex::Token;
use super::tokens::{
    Parsed, Tokens, bytes, comma_list, duration, flag, identifier, number, one_of, parenthesised,
    refused, repeated, symbol, text,
};

const MATCH_OPS: &[(&str, MatchOp)] =
    &[("=", MatchOp::Eq), ("!=", MatchOp::Ne), ("=~", MatchOp::Re), ("!~", MatchOp::Nre)];

const LINE_OPS: &[(&str, LineOp)] = &[
    ("|=", LineOp::Contains),
    ("!=", LineOp::NotContains),
    ("|~", LineOp::Regex),
    ("!~", LineOp::NotRegex),
    ("|>", LineOp::Pattern),
    ("!>", LineOp::NotPattern),
];

const COMPARISONS: &[(&str, Comparison)] = &[
    ("=", Comparison::Eq),
    ("==", Comparison::Eq),
    ("!=", Comparison::Ne),
    (">", Comparison::Gt),
    (">=", Comparison::Ge),
    ("<", Comparison::Lt),
    ("<=", Comparison::Le),
];

/// `{..} | stage | stage`
pub(super) fn log_query(input: Tokens<'_>) -> Parsed<'_, LogQuery> {
    let (rest, matchers) = selector(input)?;
    let (rest, stages) = repeated(stage)(rest)?;
    Ok((rest, LogQuery { matchers, stages }))
}

/// `{name="value", ...}`, possibly empty.
pub(super) fn selector(input: Tokens<'_>) -> Parsed<'_, Vec<Matcher>> {
    let matchers = map(opt(comma_list(matcher)), Option::unwrap_or_default);
    delimited(symbol("{"), matchers, symbol("}")).parse(input)
}

fn matcher(input: Tokens<'_>) -> Parsed<'_, Matcher> {
    let (rest, (name, op, value)) = (identifier, one_of(MATCH_OPS), text).parse(input)?;
    let matcher = Matcher::new(name, op, value).map_err(|error| refused(error.to_string()))?;
    Ok((rest, matcher))
}

pub(super) fn stage(input: Tokens<'_>) -> Parsed<'_, Stage> {
    alt((map(line_filter, Stage::LineFilter), preceded(symbol("|"), piped))).parse(input)
}

fn piped(input: Tokens<'_>) -> Parsed<'_, Stage> {
    alt((
        map(preceded(symbol("json"), extractions), Stage::Json),
        logfmt,
        map(preceded(symbol("regexp"), text), Stage::Regexp),
        map(preceded(symbol("pattern"), text), Stage::Pattern),
        map(symbol("unpack"), |()| Stage::Unpack),
        map(preceded(symbol("line_format"), text), Stage::LineFormat),
        map(preceded(symbol("label_format"), comma_list(label_format)), Stage::LabelFormat),
        map(preceded(symbol("drop"), comma_list(label_pick)), Stage::Drop),
        map(preceded(symbol("keep"), comma_list(label_pick)), Stage::Keep),
        map(symbol("decolorize"), |()| Stage::Decolorize),
        map(label_filter, Stage::LabelFilter),
    ))
    .parse(input)
}

fn line_filter(input: Tokens<'_>) -> Parsed<'_, LineFilter> {
    let (mut rest, op) = one_of(LINE_OPS).parse(input)?;
    let mut alternatives = Vec::new();
    loop {
        let (after, needle) = needle(rest)?;
        if matches!(needle, Needle::Ip(_)) && !matches!(op, LineOp::Contains | LineOp::NotContains)
        {
            return Err(refused("ip() can be used only with the line filters |= and !="));
        }
        alternatives.push(needle);
        match symbol("or").parse(after) {
            Ok((after_or, ())) => rest = after_or,
            Err(_) => return Ok((after, LineFilter { op, alternatives })),
        }
    }
}

fn needle(input: Tokens<'_>) -> Parsed<'_, Needle> {
    alt((map(text, Needle::Text), map(ip, Needle::Ip))).parse(input)
}

fn ip(input: Tokens<'_>) -> Parsed<'_, String> {
    preceded(symbol("ip"), delimited(symbol("("), text, symbol(")"))).parse(input)
}

fn extractions(input: Tokens<'_>) -> Parsed<'_, Vec<Extraction>> {
    map(opt(comma_list(extraction)), Option::unwrap_or_default).parse(input)
}

fn extraction(input: Tokens<'_>) -> Parsed<'_, Extraction> {
    let (rest, (name, expression)) = (identifier, opt(preceded(symbol("="), text))).parse(input)?;
    let expression = expression.unwrap_or_else(|| name.clone());
    Ok((rest, Extraction { name, expression }))
}

fn logfmt(input: Tokens<'_>) -> Parsed<'_, Stage> {
    let (rest, flags) = preceded(symbol("logfmt"), repeated(flag)).parse(input)?;
    let (rest, fields) = extractions(rest)?;
    let strict = flags.contains(&"--strict");
    let keep_empty = flags.contains(&"--keep-empty");
    Ok((rest, Stage::Logfmt { strict, keep_empty, fields }))
}

fn label_format(input: Tokens<'_>) -> Parsed<'_, LabelFormat> {
    let (rest, (to, ())) = (identifier, symbol("=")).parse(input)?;
    if to == "__error__" {
        return Err(refused(format!("{to} cannot be formatted")));
    }
    if let Ok((rest, from)) = identifier(rest) {
        return Ok((rest, LabelFormat::Rename { to, from }));
    }
    let (rest, template) = text(rest)?;
    Ok((rest, LabelFormat::Template { to, template }))
}

fn label_pick(input: Tokens<'_>) -> Parsed<'_, LabelPick> {
    alt((map(matcher, LabelPick::Matching), map(identifier, LabelPick::Name))).parse(input)
}

/// How two operands of a label filter are joined.
#[derive(Clone, Copy, PartialEq)]
enum Joint {
    And,
    Or,
    /// A comma, or nothing at all: binds to everything on its right.
    Comma,
}

/// Operands joined by `and`, `or`, `,` or nothing.
///
/// `and` binds tighter than `or`; a comma takes all that follows as its right side. So
/// `a, b or c` is `a and (b or c)`, and `a or b, c` is `a or (b and c)`.
pub(super) fn label_filter(input: Tokens<'_>) -> Parsed<'_, LabelFilter> {
    let (mut rest, first) = operand(input)?;
    let mut operands = vec![first];
    let mut joints = Vec::new();
    loop {
        let (after_joint, joint) = joint(rest)?;
        let Some(joint) = joint else {
            return Ok((rest, joined(operands, &joints)));
        };
        rest.count_operator()?;
        let (after, next) = operand(after_joint)?;
        operands.push(next);
        joints.push(joint);
        rest = after;
    }
}

fn joint(input: Tokens<'_>) -> Parsed<'_, Option<Joint>> {
    if matches!(input.peek(), Token::Identifier(_)) || input.is_at("(") {
        return Ok((input, Some(Joint::Comma)));
    }
    opt(one_of(&[("and", Joint::And), ("or", Joint::Or), (",", Joint::Comma)])).parse(input)
}

/// Builds the tree from the right: each comma's operand swallows everything after it.
fn joined(mut operands: Vec<LabelFilter>, joints: &[Joint]) -> LabelFilter {
    let mut joints = joints.to_vec();
    while let Some(at) = joints.iter().rposition(|joint| *joint == Joint::Comma) {
        let right = by_precedence(operands.split_off(at + 1), &joints.split_off(at + 1));
        joints.truncate(at);
        let left = operands.pop().expect("a comma has a left side");
        operands.push(all_of(vec![left, right]));
    }
    by_precedence(operands, &joints)
}

fn by_precedence(operands: Vec<LabelFilter>, joints: &[Joint]) -> LabelFilter {
    let mut alternatives = Vec::new();
    let mut conjunction = Vec::new();
    for (i, operand) in operands.into_iter().enumerate() {
        if 0 < i && joints.get(i - 1) == Some(&Joint::Or) {
            alternatives.push(all_of(std::mem::take(&mut conjunction)));
        }
        conjunction.push(operand);
    }
    alternatives.push(all_of(conjunction));
    any_of(alternatives)
}

/// `And` of the operands, flat, or the only one.
pub(super) fn all_of(operands: Vec<LabelFilter>) -> LabelFilter {
    let mut flat = Vec::new();
    for operand in operands {
        match operand {
            LabelFilter::And(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    match flat.len() {
        1 => flat.remove(0),
        _ => LabelFilter::And(flat),
    }
}

fn any_of(operands: Vec<LabelFilter>) -> LabelFilter {
    let mut flat = Vec::new();
    for operand in operands {
        match operand {
            LabelFilter::Or(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    match flat.len() {
        1 => flat.remove(0),
        _ => LabelFilter::Or(flat),
    }
}

fn operand(input: Tokens<'_>) -> Parsed<'_, LabelFilter> {
    alt((parenthesised(label_filter), map(matcher, LabelFilter::Text), ip_filter, typed_filter))
        .parse(input)
}

fn ip_filter(input: Tokens<'_>) -> Parsed<'_, LabelFilter> {
    let negation = one_of(&[("=", false), ("!=", true)]);
    map((identifier, negation, ip), |(name, negated, pattern)| LabelFilter::Ip {
        name,
        negated,
        pattern,
    })
    .parse(input)
}

fn typed_filter(input: Tokens<'_>) -> Parsed<'_, LabelFilter> {
    let value = alt((
        map(duration, TypedValue::DurationNanos),
        map(bytes, TypedValue::Bytes),
        map(number, TypedValue::Number),
    ));
    map((identifier, one_of(COMPARISONS), value), |(name, op, value)| LabelFilter::Typed {
        name,
        op,
        value,
    })
    .parse(input)
}
