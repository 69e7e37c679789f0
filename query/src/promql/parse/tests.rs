//! What parses, what does not and why, and that printing and parsing are inverse.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use proptest::prelude::*;
use record::{MatchOp, Matcher};

use crate::promql::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Duration, Expr, Group, Grouping, Kind,
    Matching, Number, RangeSelector, Selector, Side, Span, Subquery, Unary, When,
};
use crate::promql::config::Features;
use crate::promql::functions::Function;
use crate::promql::{parse, parse_selector, pretty};

const ALL: Features = Features {
    experimental_functions: true,
    extended_range_selectors: true,
    binop_fill_modifiers: true,
};

/// Queries of every shape, as they are printed.
const ACCEPTED: &[&str] = &[
    "1",
    "1.5",
    "0.000001",
    "1e-07",
    "+Inf",
    "-Inf",
    "NaN",
    "5m",
    "-1h30m",
    "\"a\\n\\\"b\\\\\"",
    "foo",
    "foo{a=\"b\",c!=\"d\",e=~\"f.*\",g!~\"h|i\"}",
    "{\"metric.name\",\"label.name\"=\"v\"}",
    "{__name__=~\"a.+\"}",
    "job:foo:rate5m",
    "sum",
    "offset",
    "and",
    "foo[5m]",
    "foo[5m] @ 1609746000.000 offset 5m",
    "foo @ start()",
    "foo @ end() offset -5m",
    "foo[1h + 5m * 2]",
    "foo[min_of(step(), 1h)] offset (range() / 2)",
    "rate(foo[5m])[30m:1m]",
    "foo[30m:] @ -1.500",
    "rate(foo[5m] anchored)",
    "foo smoothed",
    "-foo",
    "+foo",
    "-(1 + 2)",
    "2 ^ 3 ^ 2",
    "-foo ^ 2",
    "a + b * c",
    "a == bool b",
    "a * on (x, y) group_left (z) b",
    "a * ignoring (x) group_right () b",
    "a + on () b",
    "a and on (x) b",
    "a or b unless c",
    "a atan2 b",
    "a </ 5",
    "a + fill (0) b",
    "a + on (x) fill_left (1) fill_right (-2) b",
    "sum by (a, b) (foo)",
    "sum without (\"x.y\") (foo)",
    "sum(foo)",
    "count_values(\"v\", foo)",
    "topk(3, foo)",
    "quantile by (job) (0.9, foo)",
    "limitk(2, foo)",
    "rate(foo[5m])",
    "label_replace(foo, \"a\", \"$1\", \"b\", \"(.*)\")",
    "label_join(foo, \"a\", \"-\")",
    "histogram_quantile(0.9, sum by (le) (rate(foo_bucket[5m])))",
    "time()",
    "round(foo)",
    "round(foo, 0.1)",
    "minute()",
    "info(foo, {a=~\".*\"})",
    "clamp(foo, 0, 1)",
];

#[test]
fn what_is_printed_parses_to_the_same() {
    for query in ACCEPTED {
        let expr = parse(query, &ALL).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(expr.to_string(), *query);
        assert_eq!(parse(&pretty(&expr), &ALL).unwrap(), expr, "{query}");
    }
}

#[test]
fn spellings_that_mean_the_same() {
    let cases = [
        ("SUM BY (a) (foo)", "sum(foo) by (a)"),
        ("foo{a='b',}", "foo{a=\"b\"}"),
        ("foo { a = `b` } # comment\n + 1", "foo{a=\"b\"}+1"),
        ("foo offset 5m @ 1", "foo @ 1 offset 5m"),
        ("{\"foo\"}", "foo"),
        ("foo{\"a\"=\"b\"}", "foo{a=\"b\"}"),
        ("0x1F", "31"),
        ("inf", "+Inf"),
        ("a AND b", "a and b"),
        ("sum by (on, bool) (x)", "sum by (\"on\", \"bool\") (x)"),
        ("\"\\x61\\u00e9\\101\"", "'a\u{e9}A'"),
    ];
    for (one, other) in cases {
        assert_eq!(parse(one, &ALL).unwrap(), parse(other, &ALL).unwrap(), "{one}");
    }
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("", "1:1: parse error: no expression found in input"),
        ("  # nothing", "1:12: parse error: no expression found in input"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("foo\n  bar", "2:3: parse error: unexpected identifier \"bar\""),
        ("(foo", "1:5: parse error: unclosed left parenthesis"),
        ("foo)", "1:4: parse error: unexpected \")\""),
        ("1.5h", "1:1: parse error: bad number or duration syntax: \"1.5h\""),
        ("0x1m", "1:1: parse error: bad number or duration syntax: \"0x1m\""),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        (
            "{a=~\".*\"}",
            "1:1: parse error: vector selector must contain at least one non-empty matcher",
        ),
        (
            "foo{__name__=\"bar\"}",
            "1:5: parse error: metric name must not be set twice: \"foo\" or \"bar\"",
        ),
        (
            "foo{a==\"b\"}",
            "1:6: parse error: unexpected <op:==> in label matching, expected label matching operator",
        ),
        (
            "foo{a=\"b\"",
            "1:10: parse error: unexpected end of input in label matching, expected \",\" or \"}\"",
        ),
        ("\"abc", "1:1: parse error: unterminated quoted string"),
        ("nope(foo)", "1:1: parse error: unknown function with name \"nope\""),
        (
            "rate(foo)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        (
            "sum(foo[5m])",
            "1:1: parse error: expected type instant vector in aggregation expression, got range vector",
        ),
        (
            "topk(foo)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        ("clamp(foo, 1)", "1:1: parse error: expected 3 argument(s) in call to \"clamp\", got 2"),
        (
            "round(foo, 1, 2)",
            "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3",
        ),
        (
            "label_join(foo, \"a\")",
            "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2",
        ),
        ("1 == 1", "1:1: parse error: comparisons between scalars must use BOOL modifier"),
        (
            "1 and 1",
            "1:1: parse error: set operator \"and\" not allowed in binary scalar expression",
        ),
        (
            "foo + on (a) 1",
            "1:1: parse error: vector matching only allowed between instant vectors",
        ),
        (
            "a and on (x) group_left b",
            "1:14: parse error: no grouping allowed for \"and\" operation",
        ),
        ("a + bool b", "1:5: parse error: bool modifier can only be used on comparison operators"),
        (
            "a * on (x) group_left (x) b",
            "1:1: parse error: label \"x\" must not occur in ON and GROUP clause at once",
        ),
        (
            "foo[5m] + 1",
            "1:1: parse error: binary expression must contain only scalar and instant vector types",
        ),
        ("sum(foo)[5m]", "1:9: parse error: ranges only allowed for vector selectors"),
        ("foo offset 1m[5m]", "1:14: parse error: no offset modifiers allowed before range"),
        ("foo offset 1m offset 1m", "1:15: parse error: offset may not be set multiple times"),
        ("foo[0s]", "1:5: parse error: duration must be greater than 0"),
        (
            "foo[5m][1h:1m]",
            "1:1: parse error: subquery is only allowed on instant vector, got matrix instead",
        ),
        (
            "-\"a\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        ("bool", "1:1: parse error: unexpected <bool>"),
        ("$", "1:1: parse error: unexpected character: '$'"),
    ];
    for (query, expected) in cases {
        let error = parse(query, &ALL).map_or_else(|error| error.to_string(), |e| format!("{e}"));
        assert_eq!(error, expected, "{query}");
    }
}

#[test]
fn features_that_are_off_are_refused_by_name() {
    let cases = [
        ("limitk(1, foo)", "limitk() is experimental"),
        ("sort_by_label(foo, \"a\")", "function \"sort_by_label\" is not enabled"),
        ("rate(foo[5m] anchored)", "anchored modifier is experimental and not enabled"),
        ("foo smoothed", "smoothed modifier is experimental and not enabled"),
        ("a + fill(0) b", "binop fill modifiers are experimental and not enabled"),
    ];
    for (query, expected) in cases {
        let error = parse(query, &Features::default()).unwrap_err();
        assert!(error.message.starts_with(expected), "{query}: {error}");
    }
}

#[test]
fn size_and_nesting_are_bounded() {
    let refused = [
        "(".repeat(20_000),
        format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000)),
        "-".repeat(50_000),
        vec!["1"; 5_000].join("+"),
        format!("foo[{}1s{}]", "(".repeat(5_000), ")".repeat(5_000)),
        "x".repeat(super::QUERY_BYTES_MAX + 1),
    ];
    for query in refused {
        assert!(parse(&query, &ALL).is_err());
    }
    // The longest chain that is accepted must be printed and dropped without running out of stack.
    let chain = vec!["1"; super::PARTS_MAX / 2].join(" + ");
    assert_eq!(parse(&chain, &ALL).unwrap().to_string(), chain);
}

#[test]
fn selectors_for_match_parameters() {
    assert_eq!(parse_selector("foo{a=\"b\"}").unwrap().len(), 2);
    assert!(parse_selector("{}").unwrap().is_empty());
    for text in ["foo[5m]", "sum(foo)", "foo offset 1m", "1", "foo bar"] {
        assert!(parse_selector(text).is_err(), "{text}");
    }
}

/// What the partner crate takes differently, on purpose on our side or by its age.
#[test]
fn agrees_with_another_parser_about_stable_syntax() {
    let stable = ACCEPTED.iter().filter(|query| parse(query, &Features::default()).is_ok());
    let newer = ["min_of(", " * 2]", "label.name", "x.y", "</", "5m", "-1h30m", "and", "[30m:]"];
    for query in stable.filter(|query| !newer.iter().any(|part| query.contains(part))) {
        let partner = promql_parser::parser::parse(query);
        assert!(partner.is_ok(), "{query}: {partner:?}");
    }
    let refused = [
        "1 +",
        "foo{",
        "foo{a}",
        "rate(foo)",
        "sum()",
        "1 == 1",
        "foo bar",
        "foo[",
        "{}",
        "nope(x)",
        "foo offset",
        "a and on(x) group_left b",
        "sum by (a foo)",
        "\"abc",
        "foo[5m",
    ];
    for query in refused {
        assert!(promql_parser::parser::parse(query).is_err(), "{query}");
        assert!(parse(query, &ALL).is_err(), "{query}");
    }
}

fn at(kind: Kind) -> Expr {
    Expr { kind, span: Span::default() }
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_][a-z0-9_]{0,4}", "[a-z.\u{e9} ]{1,4}", Just("on".to_owned())]
}

fn number() -> impl Strategy<Value = Number> {
    let plain = prop_oneof![any::<f64>(), (-100_i32..100).prop_map(f64::from)];
    let duration = (1..100_000_000_u32).prop_map(|ms| f64::from(ms) / 1000.0);
    prop_oneof![
        plain.prop_map(|value| Number { value, written_as_duration: false }),
        duration.prop_map(|value| Number { value, written_as_duration: true }),
    ]
}

fn positive() -> impl Strategy<Value = Duration> {
    let literal = (1..100_000_000_u32).prop_map(|ms| {
        Duration::Literal(Number { value: f64::from(ms) / 1000.0, written_as_duration: true })
    });
    let leaf = prop_oneof![literal, Just(Duration::Step), Just(Duration::Range)];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let inner = inner.prop_map(|d| Box::new(Duration::Paren(Box::new(d))));
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Duration::Max(a, b)),
            (inner.clone(), inner).prop_map(|(a, b)| Duration::Binary(BinaryOp::Add, a, b)),
        ]
    })
}

fn when() -> impl Strategy<Value = When> {
    let offset = prop_oneof![
        positive().prop_map(|d| Duration::Paren(Box::new(d))),
        positive().prop_map(|d| Duration::Negative(Box::new(Duration::Paren(Box::new(d))))),
    ];
    let at = prop_oneof![
        (-10_000_000_i64..10_000_000_000).prop_map(At::Time),
        Just(At::Start),
        Just(At::End)
    ];
    (prop::option::of(offset), prop::option::of(at)).prop_map(|(offset, at)| When { offset, at })
}

fn selector() -> impl Strategy<Value = Selector> {
    let op = prop_oneof![Just(MatchOp::Eq), Just(MatchOp::Ne), Just(MatchOp::Re)];
    let matcher = (label(), op, "[a-z\"\\\\\n\u{e9}]{0,4}").prop_map(|(name, op, value)| {
        Matcher::new(name.as_str(), op, value.as_str())
            .unwrap_or_else(|_| Matcher::new(name, MatchOp::Eq, value).unwrap())
    });
    let name = prop_oneof!["[a-z:][a-z0-9:_]{0,6}", label()];
    (name, prop::collection::vec(matcher, 0..3), when()).prop_map(|(name, matchers, when)| {
        Selector { name: Some(name), matchers, when, extension: None }
    })
}

/// Expressions of type instant vector.
fn vector() -> impl Strategy<Value = Expr> {
    let range = (selector(), positive())
        .prop_map(|(selector, range)| at(Kind::Range(RangeSelector { selector, range })));
    let rate = range.prop_map(|range| {
        let function = Function::find("rate").unwrap();
        at(Kind::Call(Call { function, args: vec![range] }))
    });
    let leaf = prop_oneof![selector().prop_map(|selector| at(Kind::Selector(selector))), rate];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let paren = inner.prop_map(|expr| Box::new(at(Kind::Paren(Box::new(expr)))));
        let labels = || prop::collection::vec(label(), 0..3);
        let grouping =
            (any::<bool>(), labels()).prop_map(|(without, labels)| Grouping { without, labels });
        let aggregate =
            (prop::sample::select(AggregateOp::ALL[..8].to_vec()), grouping, paren.clone())
                .prop_map(|(op, grouping, expr)| {
                    at(Kind::Aggregate(Aggregate { op, grouping, param: None, expr }))
                });
        let group = (any::<bool>(), labels()).prop_map(|(left, include)| Group {
            many: if left { Side::Left } else { Side::Right },
            include: include.into_iter().map(|name| format!("{name}_g")).collect(),
        });
        let matching = (any::<bool>(), labels(), prop::option::of(group))
            .prop_map(|(on, labels, group)| Matching { on, labels, group, ..Matching::default() });
        let op =
            prop::sample::select(vec![BinaryOp::Add, BinaryOp::Pow, BinaryOp::Gt, BinaryOp::Atan2]);
        let binary = (paren.clone(), op, any::<bool>(), matching, paren.clone()).prop_map(
            |(left, op, returns_bool, matching, right)| {
                let returns_bool = returns_bool && op.is_comparison();
                at(Kind::Binary(Binary { op, left, right, returns_bool, matching }))
            },
        );
        let with_number = (paren.clone(), number()).prop_map(|(left, number)| {
            let right = Box::new(at(Kind::Number(number)));
            let matching = Matching::default();
            let op = BinaryOp::Mul;
            at(Kind::Binary(Binary { op, left, right, returns_bool: false, matching }))
        });
        let subquery = (paren.clone(), positive(), prop::option::of(positive()), when()).prop_map(
            |(expr, range, step, when)| {
                let function = Function::find("max_over_time").unwrap();
                let arg = at(Kind::Subquery(Subquery { expr, range, step, when }));
                at(Kind::Call(Call { function, args: vec![arg] }))
            },
        );
        let unary = (any::<bool>(), paren)
            .prop_map(|(negative, expr)| at(Kind::Unary(Unary { negative, expr })));
        prop_oneof![aggregate, binary, with_number, subquery, unary]
    })
}

proptest! {
    #[test]
    fn any_expression_survives_printing(expr in vector()) {
        let text = expr.to_string();
        let parsed = parse(&text, &ALL);
        prop_assert_eq!(parsed.as_ref(), Ok(&expr), "{}", text);
        let pretty = pretty(&expr);
        let parsed = parse(&pretty, &ALL);
        prop_assert_eq!(parsed.as_ref(), Ok(&expr), "{}", pretty);
    }

    #[test]
    fn any_text_gives_an_answer(text in "[a-z0-9_{}()\\[\\]\"'=~!<>+*/%^,:@ \n.-]{0,40}") {
        let parsed = parse(&text, &ALL);
        if let Ok(expr) = parsed {
            prop_assert_eq!(parse(&expr.to_string(), &ALL), Ok(expr));
        }
    }

    #[test]
    fn mutilated_queries_give_an_answer(
        query in prop::sample::select(ACCEPTED),
        at in any::<prop::sample::Index>(),
        insert in prop::sample::select(vec!["(", ")", "[", "]", "{", "\"", " 5m ", " by ", "@", "-", ","]),
    ) {
        let mut text = (*query).to_owned();
        let positions: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        text.insert_str(positions[at.index(positions.len())], insert);
        if let Ok(expr) = parse(&text, &ALL) {
            prop_assert_eq!(parse(&expr.to_string(), &ALL), Ok(expr), "{}", text);
        }
    }
}
