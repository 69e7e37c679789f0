//! Parsing as tables, and printing as a property.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use proptest::prelude::*;
use record::{MatchOp, Matcher};

use super::ast::*;
use super::{parse, parse_matchers};

fn error_of(query: &str) -> String {
    match parse(query) {
        Ok(tree) => format!("accepted as {tree}"),
        Err(error) => error.to_string(),
    }
}

fn normal_form(query: &str) -> String {
    match parse(query) {
        Ok(tree) => tree.to_string(),
        Err(error) => error.to_string(),
    }
}

const EMPTY_SELECTOR: &str = "parse error : queries require at least one regexp or equality \
    matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet \
    this requirement, but app=~\".+\" will";

#[test]
fn a_name_to_drop_does_not_take_the_next_filter_as_its_value() {
    let matcher = Matcher::new("app", MatchOp::Eq, "a").expect("a valid matcher");
    let filter =
        LineFilter { op: LineOp::NotContains, alternatives: vec![Needle::Text(String::new())] };
    let stages = vec![
        Stage::Drop(vec![LabelPick::Name("la".to_owned())]),
        Stage::Keep(vec![LabelPick::Name("lb".to_owned())]),
        Stage::LineFilter(filter),
    ];
    let query = Query::Log(LogQuery { matchers: vec![matcher], stages });
    assert_eq!(query.to_string(), r#"{app="a"} != "" | drop la | keep lb"#);
    assert_eq!(normal_form(&query.to_string()), query.to_string());
    let by_address = r#"{app="a"} | drop la != ip("10.0.0.0/8")"#;
    assert_eq!(normal_form(by_address), by_address);
}

#[test]
fn errors_name_the_place_and_the_cause() {
    let cases = [
        (
            r#"{app="a""#,
            "parse error at line 1, col 9: syntax error: unexpected $end, expecting } or ,",
        ),
        (
            r#"{app="a",}"#,
            "parse error at line 1, col 10: syntax error: unexpected }, expecting IDENTIFIER",
        ),
        (r#"{app="a"} |= "abc"#, "parse error at line 1, col 14: literal not terminated"),
        (
            r#"count_over_time({app="a"}[5minutes])"#,
            "parse error at line 0, col 26: unknown unit \"minutes\" in duration \"5minutes\"",
        ),
        (
            r#"count_over_time({app="a"}[5m)"#,
            "parse error at line 0, col 26: missing closing ']' in duration",
        ),
        ("", "parse error at line 1, col 1: syntax error: unexpected $end"),
        ("foo", "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER"),
        ("{app='a'}", "parse error at line 1, col 6: syntax error: unexpected '"),
        ("{app=\"a\"}\n  | json |", "parse error at line 2, col 11: syntax error: unexpected $end"),
        (
            r#"{app="a"} | unwrap x"#,
            "parse error at line 1, col 13: syntax error: unexpected unwrap",
        ),
        (
            r#"{app="a"} |= 5"#,
            "parse error at line 1, col 14: syntax error: unexpected NUMBER, expecting STRING or ip",
        ),
        (r#"sum({app="a"})"#, "parse error at line 1, col 14: syntax error: unexpected )"),
        (
            r#"count_over_time({app="a"}[5m]) offset 5m"#,
            "parse error at line 1, col 32: syntax error: unexpected offset",
        ),
        (
            r#"sum by (a) (count_over_time({app="a"}[5m])) by (b)"#,
            "parse error at line 1, col 45: syntax error: unexpected by",
        ),
        (
            r#"variants(count_over_time({app="a"}[5m])) of ({app="a"}[5m])"#,
            "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER",
        ),
        ("{}", EMPTY_SELECTOR),
        (r#"{app=""}"#, EMPTY_SELECTOR),
        (r#"{app!="x"}"#, EMPTY_SELECTOR),
        (r#"{app=~"a|"}"#, EMPTY_SELECTOR),
        (r#"count_over_time({app=~".*"}[1m])"#, EMPTY_SELECTOR),
        (
            r#"sum_over_time({app="a"}[1m])"#,
            "parse error : invalid aggregation sum_over_time without unwrap",
        ),
        (
            r#"count_over_time({app="a"} | unwrap x [1m])"#,
            "parse error : invalid aggregation count_over_time with unwrap",
        ),
        (
            r#"rate({app="a"}[1m]) by (x)"#,
            "parse error : grouping not allowed for rate aggregation",
        ),
        (
            r#"quantile_over_time({app="a"} | unwrap x [1m])"#,
            "parse error : parameter required for operation quantile_over_time",
        ),
        (
            r#"sum_over_time(50, {app="a"} | unwrap x [1m])"#,
            "parse error : parameter 50 not supported for operation sum_over_time",
        ),
        (r#"topk(rate({app="a"}[1m]))"#, "parse error : parameter required for operation topk"),
        (r#"bottomk(1.2, rate({app="a"}[1m]))"#, "parse error : invalid parameter bottomk(1.2,"),
        (
            r#"sum(3, rate({app="a"}[1m]))"#,
            "parse error : unsupported parameter for operation sum(3,",
        ),
        (
            r#"1 and rate({app="a"}[1m])"#,
            "parse error : unexpected literal for left leg of logical/set binary operation (and): 1.000000",
        ),
        (
            r#"{app="a"} + 1"#,
            "parse error : unexpected type for left leg of binary operation (+): log query",
        ),
        (
            r#"{app="a"} |~ ip("1.2.3.4")"#,
            "parse error : ip() can be used only with the line filters |= and !=",
        ),
    ];
    for (query, expected) in cases {
        assert_eq!(error_of(query), expected, "{query}");
    }
}

#[test]
fn accepts_what_clients_send() {
    let cases = [
        (
            r#"{app="a",b=~"x.*"}|="e"!="f"|~`g\d`!~"h""#,
            r#"{app="a", b=~"x.*"} |= "e" != "f" |~ "g\\d" !~ "h""#,
        ),
        (r#"{a="b"} |= "x" or "y" or ip("1.2.3.4")"#, r#"{a="b"} |= "x" or "y" or ip("1.2.3.4")"#),
        (r#"{a="b"} |> "<_> foo" !> "bar <_>""#, r#"{a="b"} |> "<_> foo" !> "bar <_>""#),
        (
            r#"sum by (level, detected_level) (count_over_time({a="b"} | drop __error__[1m]))"#,
            r#"sum by (level, detected_level) (count_over_time({a="b"} | drop __error__[1m]))"#,
        ),
        (r#"SUM(rate({a="b"}[5m])) BY (x)"#, r#"sum by (x) (rate({a="b"}[5m]))"#),
        ("vector(1)+vector(1)", "vector(1) + vector(1)"),
        ("2^3^2", "512"),
        ("1+2*3 > bool 6", "1"),
        (r#"rate({a="b"}[5m]) / 2 + 1"#, r#"(rate({a="b"}[5m]) / 2) + 1"#),
        (r#"-1 * rate({a="b"}[1h30m] offset -5m)"#, r#"-1 * rate({a="b"}[1h30m] offset -5m)"#),
        (r#"{rate="a", sum="b", ip="c"}"#, r#"{rate="a", sum="b", ip="c"}"#),
        (r#"{a="b"} | x="1", y="2" or z="3""#, r#"{a="b"} | x="1" and (y="2" or z="3")"#),
        (r#"{a="b"} | x="1" or y="2", z="3""#, r#"{a="b"} | x="1" or (y="2" and z="3")"#),
        (r#"{a="b"} | x="1" or y="2" and z="3""#, r#"{a="b"} | x="1" or (y="2" and z="3")"#),
        (r#"{a="b"} | (x="1" or y="2") z="3""#, r#"{a="b"} | (x="1" or y="2") and z="3""#),
        (
            r#"{a="b"} | x > 5 | y >= 1.5h | z < 2KB | w == -3"#,
            r#"{a="b"} | x>5 | y>=1h30m | z<2000B | w==-3"#,
        ),
        (r#"{a="b"} | ip = ip("10.0.0.0/8")"#, r#"{a="b"} | ip=ip("10.0.0.0/8")"#),
        (
            r#"{a="b"} | json | json x="a.b[0]", y | logfmt --strict z"#,
            r#"{a="b"} | json | json x="a.b[0]", y="y" | logfmt --strict z="z""#,
        ),
        (
            r#"{a="b"} | label_format x=y, z="{{.q}}" | line_format "{{.z}}" | keep x, y="1" | decolorize | unpack"#,
            r#"{a="b"} | label_format x=y, z="{{.q}}" | line_format "{{.z}}" | keep x, y="1" | decolorize | unpack"#,
        ),
        (
            r#"sum_over_time(({a="b"} | unwrap bytes(x) | __error__="")[1m])"#,
            r#"sum_over_time({a="b"} | unwrap bytes(x) | __error__=""[1m])"#,
        ),
        (
            r#"count_over_time({a="b"}[1m] offset 1m | json)"#,
            r#"count_over_time({a="b"} | json[1m] offset 1m)"#,
        ),
        (r#"rate(({a="b"} |= "x" [1m]))"#, r#"rate({a="b"} |= "x"[1m])"#),
        (
            r#"quantile_over_time(0.99, {a="b"} | unwrap x [1m]) by (h)"#,
            r#"quantile_over_time(0.99, {a="b"} | unwrap x[1m]) by (h)"#,
        ),
        (
            r#"topk(5, sum by (a) (rate({a="b"}[1m]))) and on (a) vector(1)"#,
            r#"topk(5, sum by (a) (rate({a="b"}[1m]))) and on (a) vector(1)"#,
        ),
        (
            r#"rate({a="b"}[1m]) * on(a) group_left(b) rate({a="b"}[1m])"#,
            r#"rate({a="b"}[1m]) * on (a) group_left (b) rate({a="b"}[1m])"#,
        ),
        (
            r#"label_replace(rate({a="b"}[1m]), "x", "$1", "a", "(.*)")"#,
            r#"label_replace(rate({a="b"}[1m]), "x", "$1", "a", "(.*)")"#,
        ),
        ("# comment\n{a=\"b\"} # another", r#"{a="b"}"#),
        (r#"({a="b"} |= "x")"#, r#"{a="b"} |= "x""#),
    ];
    for (query, expected) in cases {
        assert_eq!(normal_form(query), expected, "{query}");
        assert_eq!(normal_form(expected), expected, "{query}");
    }
}

#[test]
fn selectors_alone_may_be_empty_but_have_no_stages() {
    assert_eq!(parse_matchers("{}"), Ok(Vec::new()));
    assert_eq!(parse_matchers(r#"{a="b"}"#).unwrap().len(), 1);
    let refused = parse_matchers(r#"{a="b"} |= "x""#).unwrap_err().to_string();
    assert!(refused.contains("only label matchers are supported"), "{refused}");
}

#[test]
fn hostile_texts_are_refused_without_deep_recursion() {
    let nested = format!("{}1{}", "(".repeat(60_000), ")".repeat(60_000));
    assert!(error_of(&nested).contains("nested parentheses"));
    let chain = format!("vector(1){}", "+vector(1)".repeat(10_000));
    assert!(error_of(&chain).contains("operators"));
    let filters = format!("{{a=\"b\"}} | x=1{}", " or y=2, z=3".repeat(10_000));
    assert!(error_of(&filters).contains("operators"));
    let signs = "-".repeat(100_000);
    assert!(error_of(&signs).contains("unexpected -"));
    let long = format!("{{a=\"{}\"}}", "x".repeat(131_072));
    assert!(error_of(&long).contains("input size too long (131078 > 131072)"));
}

fn name() -> impl Strategy<Value = String> {
    "[a-z_][a-z0-9_]{0,5}".prop_map(|name| format!("l{name}"))
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9 ]{0,6}", any::<String>()]
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop_oneof![Just(MatchOp::Eq), Just(MatchOp::Ne)];
    let plain = (name(), op, any_text()).prop_map(|(n, op, v)| Matcher::new(n, op, v).unwrap());
    let op = prop_oneof![Just(MatchOp::Re), Just(MatchOp::Nre)];
    let regex = (name(), op, "[a-z.*+|]{0,4}[a-z]")
        .prop_filter_map("valid expression", |(n, op, v)| Matcher::new(n, op, v).ok());
    prop_oneof![plain, regex]
}

fn typed() -> impl Strategy<Value = LabelFilter> {
    let op = prop_oneof![
        Just(Comparison::Eq),
        Just(Comparison::Ne),
        Just(Comparison::Gt),
        Just(Comparison::Ge),
        Just(Comparison::Lt),
        Just(Comparison::Le)
    ];
    let value = prop_oneof![
        (-1_000_000i64..1_000_000).prop_map(|n| TypedValue::Number(n as f64 / 64.0)),
        (-1_000_000_000_000i64..1_000_000_000_000).prop_map(TypedValue::DurationNanos),
        (0u64..1 << 50).prop_map(TypedValue::Bytes),
    ];
    (name(), op, value).prop_map(|(name, op, value)| LabelFilter::Typed { name, op, value })
}

fn label_filter() -> impl Strategy<Value = LabelFilter> {
    let ip = (name(), any::<bool>(), any_text())
        .prop_map(|(name, negated, pattern)| LabelFilter::Ip { name, negated, pattern });
    let leaf = prop_oneof![matcher().prop_map(LabelFilter::Text), typed(), ip];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let operands = prop::collection::vec(inner, 2..4);
        (operands, any::<bool>()).prop_map(|(operands, all)| {
            let mut flat = Vec::new();
            for operand in operands {
                match (operand, all) {
                    (LabelFilter::And(inner), true) | (LabelFilter::Or(inner), false) => {
                        flat.extend(inner);
                    }
                    (other, _) => flat.push(other),
                }
            }
            if all { LabelFilter::And(flat) } else { LabelFilter::Or(flat) }
        })
    })
}

fn stage() -> impl Strategy<Value = Stage> {
    let op = prop_oneof![
        Just(LineOp::Contains),
        Just(LineOp::NotContains),
        Just(LineOp::Regex),
        Just(LineOp::NotRegex),
        Just(LineOp::Pattern),
        Just(LineOp::NotPattern)
    ];
    let texts = prop::collection::vec(any_text().prop_map(Needle::Text), 1..3);
    let line = (op, texts).prop_map(|(op, alternatives)| LineFilter { op, alternatives });
    let fields = || {
        let field =
            (name(), any_text()).prop_map(|(name, expression)| Extraction { name, expression });
        prop::collection::vec(field, 0..3)
    };
    let picks = || {
        let pick =
            prop_oneof![name().prop_map(LabelPick::Name), matcher().prop_map(LabelPick::Matching)];
        prop::collection::vec(pick, 1..3)
    };
    let format = prop_oneof![
        (name(), name()).prop_map(|(to, from)| LabelFormat::Rename { to, from }),
        (name(), any_text()).prop_map(|(to, template)| LabelFormat::Template { to, template }),
    ];
    prop_oneof![
        line.prop_map(Stage::LineFilter),
        label_filter().prop_map(Stage::LabelFilter),
        fields().prop_map(Stage::Json),
        (any::<bool>(), any::<bool>(), fields())
            .prop_map(|(strict, keep_empty, fields)| Stage::Logfmt { strict, keep_empty, fields }),
        any_text().prop_map(Stage::Regexp),
        any_text().prop_map(Stage::Pattern),
        Just(Stage::Unpack),
        any_text().prop_map(Stage::LineFormat),
        prop::collection::vec(format, 1..3).prop_map(Stage::LabelFormat),
        picks().prop_map(Stage::Drop),
        picks().prop_map(Stage::Keep),
        Just(Stage::Decolorize),
    ]
}

fn log_query() -> impl Strategy<Value = LogQuery> {
    let matchers = prop::collection::vec(matcher(), 0..3).prop_map(|mut matchers| {
        matchers.push(Matcher::new("app", MatchOp::Eq, "a").unwrap());
        matchers
    });
    (matchers, prop::collection::vec(stage(), 0..4))
        .prop_map(|(matchers, stages)| LogQuery { matchers, stages })
}

fn grouping() -> impl Strategy<Value = Option<Grouping>> {
    let grouping = (any::<bool>(), prop::collection::vec(name(), 0..3))
        .prop_map(|(without, names)| Grouping { without, names });
    prop::option::of(grouping)
}

fn range_aggregation() -> impl Strategy<Value = RangeAggregation> {
    let conversion = prop_oneof![
        Just(Conversion::Bytes),
        Just(Conversion::Duration),
        Just(Conversion::DurationSeconds)
    ];
    let filters = prop::collection::vec(label_filter(), 0..2);
    let unwrap = (name(), prop::option::of(conversion), filters)
        .prop_map(|(name, conversion, filters)| Unwrap { name, conversion, filters });
    let op = prop_oneof![
        Just(RangeOp::Rate),
        Just(RangeOp::CountOverTime),
        Just(RangeOp::BytesRate),
        Just(RangeOp::AvgOverTime),
        Just(RangeOp::QuantileOverTime),
        Just(RangeOp::AbsentOverTime)
    ];
    (op, log_query(), unwrap, 1i64..100_000, -100_000i64..100_000, grouping()).prop_map(
        |(op, log, unwrap, range_ms, offset_ms, grouping)| RangeAggregation {
            op,
            parameter: (op == RangeOp::QuantileOverTime).then_some(0.75),
            log: sayable(log),
            unwrap: (!op.counts_lines()).then_some(unwrap),
            range_nanos: range_ms * 1_000_000,
            offset_nanos: offset_ms * 1_000_000,
            grouping: grouping.filter(|_| op.takes_grouping()),
        },
    )
}

fn metric() -> impl Strategy<Value = Metric> {
    let leaf = prop_oneof![
        range_aggregation().prop_map(|range| Metric::Range(Box::new(range))),
        (-1000i32..1000).prop_map(|n| Metric::Constant(f64::from(n) / 8.0)),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        let vector_op = prop_oneof![
            Just(VectorOp::Sum),
            Just(VectorOp::Count),
            Just(VectorOp::Stddev),
            Just(VectorOp::Topk),
            Just(VectorOp::Sort)
        ];
        let vector =
            (vector_op, 1u32..9, grouping(), inner.clone()).prop_map(|(op, k, grouping, inner)| {
                let parameter = op.takes_parameter().then_some(k);
                let grouping = grouping.filter(|_| op != VectorOp::Sort);
                Metric::Vector(Box::new(VectorAggregation { op, parameter, grouping, inner }))
            });
        let binary_op = prop_oneof![
            Just(BinaryOp::Or),
            Just(BinaryOp::Unless),
            Just(BinaryOp::Ge),
            Just(BinaryOp::Sub),
            Just(BinaryOp::Mod),
            Just(BinaryOp::Pow)
        ];
        let group = (any::<bool>(), prop::collection::vec(name(), 0..2))
            .prop_map(|(left, include)| Group { left, include });
        let matching =
            (any::<bool>(), prop::collection::vec(name(), 0..2), prop::option::of(group))
                .prop_map(|(on, names, group)| VectorMatching { on, names, group });
        let matching = prop::option::of(matching);
        let binary = (binary_op, any::<bool>(), matching, inner.clone(), inner.clone()).prop_map(
            |(op, returns_bool, matching, left, right)| {
                Metric::Binary(Box::new(Binary { op, returns_bool, matching, left, right }))
            },
        );
        let replace = (inner, any_text(), any_text(), any_text(), "[a-z.*]{0,4}[a-z]")
            .prop_filter("valid", |(.., pattern)| record::re2::anchored(pattern).is_ok())
            .prop_map(|(inner, destination, replacement, source, pattern)| {
                let replace = LabelReplace { inner, destination, replacement, source, pattern };
                Metric::LabelReplace(Box::new(replace))
            });
        prop_oneof![vector, binary, replace]
    })
}

/// A line filter that a bare name before it would take as its value goes before that name's stage,
/// one place at a time: no text gives it behind.
fn sayable(mut log: LogQuery) -> LogQuery {
    let swaps = |before: &Stage, stage: &Stage| {
        let bare = match before {
            Stage::Drop(picks) | Stage::Keep(picks) => {
                matches!(picks.last(), Some(LabelPick::Name(_)))
            }
            _ => false,
        };
        let text = stage.to_string();
        bare && (text.starts_with("!= \"") || text.starts_with("!~ \""))
    };
    while let Some(at) = log.stages.windows(2).position(|pair| swaps(&pair[0], &pair[1])) {
        log.stages.swap(at, at + 1);
    }
    log
}

proptest! {
    #[test]
    fn log_queries_survive_printing(log in log_query()) {
        let query = Query::Log(sayable(log));
        prop_assert_eq!(parse(&query.to_string()), Ok(query.clone()), "{}", query);
    }

    #[test]
    fn queries_that_cannot_be_said_are_printed_as_one_that_can(log in log_query()) {
        let text = Query::Log(log.clone()).to_string();
        prop_assert_eq!(parse(&text), Ok(Query::Log(sayable(log))), "{}", text);
    }

    #[test]
    fn metric_queries_survive_printing(metric in metric()) {
        let query = Query::Metric(metric);
        prop_assert_eq!(parse(&query.to_string()), Ok(query.clone()), "{}", query);
    }

    #[test]
    fn no_text_panics(text in any::<String>(), tail in r#"[{}()=|!~"`a-z0-9\[\], .\-]{0,40}"#) {
        let texts = [text.clone(), format!("{{a=\"b\"}} {tail}"), format!("{tail}{text}")];
        for text in texts {
            prop_assert!(parse(&text).is_ok() || !error_of(&text).is_empty());
        }
    }
}
