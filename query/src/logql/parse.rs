//! Grammar of whole queries and of metric expressions.

use nom::branch::alt;
use nom::combinator::{map, opt};
use nom::sequence::preceded;
use nom::{Err, Parser};
use record::{MatchOp, Matcher};

use super::ast::{
    Binary, BinaryOp, Conversion, Group, Grouping, LabelFilter, LabelReplace, LogQuery, Metric,
    Query, RangeAggregation, RangeOp, Stage, Unwrap, VectorAggregation, VectorMatching, VectorOp,
};
use super::error::ParseError;
use super::lex::{Token, tokens};
use super::stages::{label_filter, log_query, selector, stage};
use super::tokens::{
    Fault, Parsed, Progress, Tokens, comma_list, duration, end, identifier, number, number_text,
    one_of, parenthesised, range, refused, repeated, symbol, text,
};
use crate::exec::arithmetic;

/// Query text at or above this is refused unread.
const QUERY_BYTES_MAX: usize = 131_072;

/// Parses a log or metric query and checks what can be checked without data.
///
/// # Errors
/// [`ParseError`] with the position where the text went wrong.
pub fn parse(query: &str) -> Result<Query, ParseError> {
    let parsed = parse_whole(query, expression)?;
    match &parsed {
        Query::Log(log) => check_selector(&log.matchers)?,
        Query::Metric(metric) => check_selectors(metric)?,
    }
    Ok(parsed)
}

/// Parses a plain `{..}`. Whether it must select something is the caller's matter: see
/// [`check_selector`].
///
/// # Errors
/// `only label matchers are supported` when more than a selector is given.
pub fn parse_matchers(query: &str) -> Result<Vec<Matcher>, ParseError> {
    if let Ok(matchers) = parse_whole(query, selector) {
        return Ok(matchers);
    }
    match parse_whole(query, expression)? {
        Query::Log(log) if log.stages.is_empty() => Ok(log.matchers),
        _ => Err(ParseError::new("only label matchers are supported")),
    }
}

/// Refuses selectors that would select every stream.
pub(crate) fn check_selector(matchers: &[Matcher]) -> Result<(), ParseError> {
    let selects = |matcher: &Matcher| {
        matches!(matcher.op(), MatchOp::Eq | MatchOp::Re) && !matcher.matches_empty()
    };
    if matchers.iter().any(selects) {
        return Ok(());
    }
    Err(ParseError::new(
        "queries require at least one regexp or equality matcher that does not have an \
         empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but \
         app=~\".+\" will",
    ))
}

fn check_selectors(metric: &Metric) -> Result<(), ParseError> {
    match metric {
        Metric::Range(range) => check_selector(&range.log.matchers),
        Metric::Vector(vector) => check_selectors(&vector.inner),
        Metric::LabelReplace(replace) => check_selectors(&replace.inner),
        Metric::Binary(binary) => {
            check_selectors(&binary.left)?;
            check_selectors(&binary.right)
        }
        Metric::Constant(_) | Metric::Literal(_) => Ok(()),
    }
}

fn parse_whole<T>(
    query: &str,
    grammar: impl Fn(Tokens<'_>) -> Parsed<'_, T>,
) -> Result<T, ParseError> {
    if QUERY_BYTES_MAX <= query.len() {
        return Err(ParseError::new(format!(
            "input size too long ({} > {QUERY_BYTES_MAX})",
            query.len()
        )));
    }
    let tokens = tokens(query);
    let progress = Progress::new();
    let parsed = grammar(Tokens::new(&tokens, &progress)).and_then(|(rest, value)| {
        let (_, ()) = end(rest)?;
        Ok(value)
    });
    match parsed {
        Ok(value) => Ok(value),
        Err(Err::Failure(Fault::Refused(error))) => Err(error),
        Err(_) => Err(progress.error(&tokens)),
    }
}

const BINARY_OPS: &[(&str, BinaryOp)] = &[
    ("or", BinaryOp::Or),
    ("and", BinaryOp::And),
    ("unless", BinaryOp::Unless),
    ("==", BinaryOp::Eq),
    ("!=", BinaryOp::Ne),
    (">", BinaryOp::Gt),
    (">=", BinaryOp::Ge),
    ("<", BinaryOp::Lt),
    ("<=", BinaryOp::Le),
    ("+", BinaryOp::Add),
    ("-", BinaryOp::Sub),
    ("*", BinaryOp::Mul),
    ("/", BinaryOp::Div),
    ("%", BinaryOp::Mod),
    ("^", BinaryOp::Pow),
];

fn expression(input: Tokens<'_>) -> Parsed<'_, Query> {
    binary(input, 1)
}

/// Operands joined by operators that bind at least as tightly as `precedence_min`.
fn binary(input: Tokens<'_>, precedence_min: u8) -> Parsed<'_, Query> {
    let (mut rest, mut left) = primary(input)?;
    while let Ok((after_op, op)) = one_of(BINARY_OPS).parse(rest) {
        if op.precedence() < precedence_min {
            break;
        }
        rest.count_operator()?;
        let (after_modifier, (returns_bool, matching)) = modifier(after_op)?;
        let tighter = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
        let (after, right) = binary(after_modifier, tighter)?;
        left = Query::Metric(combine(op, returns_bool, matching, left, right)?);
        rest = after;
    }
    Ok((rest, left))
}

/// Builds a binary expression, folding numbers.
fn combine(
    op: BinaryOp,
    returns_bool: bool,
    matching: Option<VectorMatching>,
    left: Query,
    right: Query,
) -> Result<Metric, Err<Fault>> {
    let side = |query: Query, leg: &str| match query {
        Query::Metric(metric) => Ok(metric),
        Query::Log(_) => {
            let name = op.symbol();
            Err(refused(format!(
                "unexpected type for {leg} leg of binary operation ({name}): log query"
            )))
        }
    };
    let (left, right) = (side(left, "left")?, side(right, "right")?);
    for (metric, leg) in [(&left, "left"), (&right, "right")] {
        if let (true, Metric::Literal(value)) = (op.is_set(), metric) {
            let name = op.symbol();
            return Err(refused(format!(
                "unexpected literal for {leg} leg of logical/set binary operation ({name}): {value:.6}"
            )));
        }
    }
    if let (Metric::Literal(left), Metric::Literal(right)) = (&left, &right) {
        return Ok(Metric::Literal(arithmetic(op, *left, *right)));
    }
    Ok(Metric::Binary(Box::new(Binary { op, returns_bool, matching, left, right })))
}

fn modifier(input: Tokens<'_>) -> Parsed<'_, (bool, Option<VectorMatching>)> {
    let (rest, returns_bool) = map(opt(symbol("bool")), |found| found.is_some()).parse(input)?;
    let (rest, on) = opt(one_of(&[("on", true), ("ignoring", false)])).parse(rest)?;
    let Some(on) = on else {
        return Ok((rest, (returns_bool, None)));
    };
    let (rest, names) = names(rest)?;
    let (rest, left) = opt(one_of(&[("group_left", true), ("group_right", false)])).parse(rest)?;
    let Some(left) = left else {
        return Ok((rest, (returns_bool, Some(VectorMatching { on, names, group: None }))));
    };
    let (rest, include) = if rest.is_at("(") && group_labels_follow(rest) {
        names_list(rest)?
    } else {
        (rest, Vec::new())
    };
    let group = Some(Group { left, include });
    Ok((rest, (returns_bool, Some(VectorMatching { on, names, group }))))
}

/// Whether the parenthesis after `group_left` holds labels, not the right operand.
fn group_labels_follow(input: Tokens<'_>) -> bool {
    matches!(input.peek_second(), Token::Identifier(_) | Token::Symbol(")"))
}

fn names_list(input: Tokens<'_>) -> Parsed<'_, Vec<String>> {
    names(input)
}

/// `(a, b)` or `()`.
fn names(input: Tokens<'_>) -> Parsed<'_, Vec<String>> {
    let list = |inner| map(opt(comma_list(identifier)), Option::unwrap_or_default).parse(inner);
    parenthesised(list)(input)
}

fn primary(input: Tokens<'_>) -> Parsed<'_, Query> {
    alt((map(log_query, Query::Log), map(metric, Query::Metric), parenthesised(expression)))
        .parse(input)
}

fn metric(input: Tokens<'_>) -> Parsed<'_, Metric> {
    alt((
        map(range_aggregation, |range| Metric::Range(Box::new(range))),
        map(vector_aggregation, |vector| Metric::Vector(Box::new(vector))),
        map(label_replace, |replace| Metric::LabelReplace(Box::new(replace))),
        map(preceded(symbol("vector"), parenthesised(number)), Metric::Constant),
        map(number, Metric::Literal),
    ))
    .parse(input)
}

/// An expression that must be a metric.
fn metric_expression(input: Tokens<'_>) -> Parsed<'_, Metric> {
    let (rest, query) = expression(input)?;
    match query {
        Query::Metric(metric) => Ok((rest, metric)),
        // A log query stands where only numbers can: the grammar's fault is at what follows it.
        Query::Log(_) => rest.fail(&["RANGE"]),
    }
}

const RANGE_OPS: &[(&str, RangeOp)] = &[
    ("rate", RangeOp::Rate),
    ("rate_counter", RangeOp::RateCounter),
    ("count_over_time", RangeOp::CountOverTime),
    ("bytes_rate", RangeOp::BytesRate),
    ("bytes_over_time", RangeOp::BytesOverTime),
    ("sum_over_time", RangeOp::SumOverTime),
    ("avg_over_time", RangeOp::AvgOverTime),
    ("max_over_time", RangeOp::MaxOverTime),
    ("min_over_time", RangeOp::MinOverTime),
    ("first_over_time", RangeOp::FirstOverTime),
    ("last_over_time", RangeOp::LastOverTime),
    ("stdvar_over_time", RangeOp::StdvarOverTime),
    ("stddev_over_time", RangeOp::StddevOverTime),
    ("quantile_over_time", RangeOp::QuantileOverTime),
    ("absent_over_time", RangeOp::AbsentOverTime),
];

/// The part between the parentheses of a range aggregation.
struct LogRange {
    log: LogQuery,
    unwrap: Option<Unwrap>,
    range_nanos: i64,
    offset_nanos: i64,
}

fn range_aggregation(input: Tokens<'_>) -> Parsed<'_, RangeAggregation> {
    let (rest, op) = one_of(RANGE_OPS).parse(input)?;
    let inner = |inner| {
        let (rest, parameter) = opt((number, symbol(","))).parse(inner)?;
        let (rest, log_range) = log_range(rest)?;
        Ok((rest, (parameter.map(|(number, ())| number), log_range)))
    };
    let (rest, (parameter, log_range)) = parenthesised(inner)(rest)?;
    let (rest, grouping) = opt(grouping).parse(rest)?;
    let LogRange { log, unwrap, range_nanos, offset_nanos } = log_range;
    let aggregation =
        RangeAggregation { op, parameter, log, unwrap, range_nanos, offset_nanos, grouping };
    check_range_aggregation(&aggregation).map_err(refused)?;
    Ok((rest, aggregation))
}

fn check_range_aggregation(aggregation: &RangeAggregation) -> Result<(), String> {
    let name = aggregation.op.name();
    match (aggregation.op, aggregation.parameter) {
        (RangeOp::QuantileOverTime, None) => {
            return Err(format!("parameter required for operation {name}"));
        }
        (RangeOp::QuantileOverTime, Some(_)) | (_, None) => {}
        (_, Some(parameter)) => {
            return Err(format!("parameter {parameter} not supported for operation {name}"));
        }
    }
    if aggregation.unwrap.is_none() && !aggregation.op.counts_lines() {
        return Err(format!("invalid aggregation {name} without unwrap"));
    }
    if aggregation.unwrap.is_some() && !aggregation.op.takes_unwrap() {
        return Err(format!("invalid aggregation {name} with unwrap"));
    }
    if aggregation.grouping.is_some() && !aggregation.op.takes_grouping() {
        return Err(format!("grouping not allowed for {name} aggregation"));
    }
    Ok(())
}

/// `{..} pipeline unwrap [5m] offset 1m`, with pipeline and unwrap also allowed behind the range,
/// and parentheses around the query or the whole.
fn log_range(input: Tokens<'_>) -> Parsed<'_, LogRange> {
    if input.is_at("(") {
        // Either the whole is in parentheses or only the query; the range tells which.
        return match parenthesised(log_range)(input) {
            Ok(whole) => Ok(whole),
            Err(Err::Error(_)) => {
                let (rest, query) = parenthesised(unwrapped)(input)?;
                ranged(rest, query)
            }
            Err(fatal) => Err(fatal),
        };
    }
    let (rest, query) = unwrapped(input)?;
    ranged(rest, query)
}

fn unwrapped(input: Tokens<'_>) -> Parsed<'_, (LogQuery, Option<Unwrap>)> {
    (log_query, opt(unwrap)).parse(input)
}

/// The range behind a query, and what may follow it.
fn ranged(
    input: Tokens<'_>,
    (mut log, mut unwrapping): (LogQuery, Option<Unwrap>),
) -> Parsed<'_, LogRange> {
    let (rest, range_nanos) = range(input)?;
    let (mut rest, offset) = opt(preceded(symbol("offset"), duration)).parse(rest)?;
    if log.stages.is_empty() && unwrapping.is_none() {
        (rest, log.stages) = repeated(stage)(rest)?;
    }
    if unwrapping.is_none() {
        (rest, unwrapping) = opt(unwrap).parse(rest)?;
    }
    let offset_nanos = offset.unwrap_or(0);
    Ok((rest, LogRange { log, unwrap: unwrapping, range_nanos, offset_nanos }))
}

fn unwrap(input: Tokens<'_>) -> Parsed<'_, Unwrap> {
    const CONVERSIONS: &[(&str, Conversion)] = &[
        ("bytes", Conversion::Bytes),
        ("duration", Conversion::Duration),
        ("duration_seconds", Conversion::DurationSeconds),
    ];
    let (rest, ((), ())) = (symbol("|"), symbol("unwrap")).parse(input)?;
    let (rest, (name, conversion)) = alt((
        map(identifier, |name| (name, None)),
        map((one_of(CONVERSIONS), parenthesised(identifier)), |(op, name)| (name, Some(op))),
    ))
    .parse(rest)?;
    let (rest, filters): (_, Vec<LabelFilter>) =
        repeated(|inner| preceded(symbol("|"), label_filter).parse(inner))(rest)?;
    Ok((rest, Unwrap { name, conversion, filters }))
}

const VECTOR_OPS: &[(&str, VectorOp)] = &[
    ("sum", VectorOp::Sum),
    ("avg", VectorOp::Avg),
    ("min", VectorOp::Min),
    ("max", VectorOp::Max),
    ("count", VectorOp::Count),
    ("stddev", VectorOp::Stddev),
    ("stdvar", VectorOp::Stdvar),
    ("topk", VectorOp::Topk),
    ("bottomk", VectorOp::Bottomk),
    ("approx_topk", VectorOp::ApproxTopk),
    ("sort", VectorOp::Sort),
    ("sort_desc", VectorOp::SortDesc),
];

fn vector_aggregation(input: Tokens<'_>) -> Parsed<'_, VectorAggregation> {
    let (rest, op) = one_of(VECTOR_OPS).parse(input)?;
    let (rest, before) = opt(grouping).parse(rest)?;
    let inner = |inner| {
        let (rest, parameter) = opt((number_text, symbol(","))).parse(inner)?;
        let (rest, metric) = metric_expression(rest)?;
        Ok((rest, (parameter.map(|(number, ())| number), metric)))
    };
    let (rest, (parameter, inner)) = parenthesised(inner)(rest)?;
    let (rest, after) = match before {
        Some(_) => (rest, None),
        None => opt(grouping).parse(rest)?,
    };
    let grouping = before.or(after);
    let parameter = vector_parameter(op, parameter.as_deref()).map_err(refused)?;
    let ungroupable = matches!(op, VectorOp::ApproxTopk | VectorOp::Sort | VectorOp::SortDesc);
    if ungroupable && grouping.is_some() {
        return Err(refused(format!("grouping not allowed for {} aggregation", op.name())));
    }
    Ok((rest, VectorAggregation { op, parameter, grouping, inner }))
}

fn vector_parameter(op: VectorOp, written: Option<&str>) -> Result<Option<u32>, String> {
    let name = op.name();
    match (op.takes_parameter(), written) {
        (true, None) => Err(format!("parameter required for operation {name}")),
        (false, Some(written)) => {
            Err(format!("unsupported parameter for operation {name}({written},"))
        }
        (false, None) => Ok(None),
        (true, Some(written)) => match written.parse::<u32>() {
            Ok(0) => Err(format!("invalid parameter (must be greater than 0) {name}(0")),
            Ok(count) => Ok(Some(count)),
            Err(_) => Err(format!("invalid parameter {name}({written},")),
        },
    }
}

fn grouping(input: Tokens<'_>) -> Parsed<'_, Grouping> {
    map((one_of(&[("by", false), ("without", true)]), names), |(without, names)| Grouping {
        without,
        names,
    })
    .parse(input)
}

fn label_replace(input: Tokens<'_>) -> Parsed<'_, LabelReplace> {
    let argument = |inner| preceded(symbol(","), text).parse(inner);
    let arguments = (metric_expression, argument, argument, argument, argument);
    let mut arguments = arguments;
    let (rest, ()) = symbol("label_replace").parse(input)?;
    let (rest, (inner, destination, replacement, source, pattern)) =
        parenthesised(|inside| Parser::parse(&mut arguments, inside))(rest)?;
    record::re2::anchored(&pattern).map_err(|error| refused(error.to_string()))?;
    Ok((rest, LabelReplace { inner, destination, replacement, source, pattern }))
}

/// What a stage is called in errors that refuse it.
pub(crate) fn stage_name(stage: &Stage) -> &'static str {
    match stage {
        Stage::LineFilter(_) => "line filter",
        Stage::LabelFilter(_) => "label filter",
        Stage::Json(_) => "json",
        Stage::Logfmt { .. } => "logfmt",
        Stage::Regexp(_) => "regexp",
        Stage::Pattern(_) => "pattern",
        Stage::Unpack => "unpack",
        Stage::LineFormat(_) => "line_format",
        Stage::LabelFormat(_) => "label_format",
        Stage::Drop(_) => "drop",
        Stage::Keep(_) => "keep",
        Stage::Decolorize => "decolorize",
    }
}
