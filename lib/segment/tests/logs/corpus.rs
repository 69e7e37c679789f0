//! Random rows and random questions about them.
//!
//! Questions are mostly cut from the rows themselves, from anywhere in them, so that they hit,
//! nearly hit and miss in equal measure.

use proptest::prelude::*;
use record::{Labels, MatchOp, Matcher, TenantId};
use segment::logs::{AttributeColumns, Direction, LineFilter, LineFilterOp, LogPlan};

use crate::naive::{Row, level};

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,3}",
        "[0-9a-f]{8}",
        "[0-9a-f]{32}",
        "[0-9a-f]{8}-[0-9a-f]{4}",
        "[a-c][0-9]",
        Just("4bf92f35".to_owned()),
        "10\\.0\\.[0-2]\\.[0-9]{1,2}",
    ]
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "error",
            "Error",
            "ERROR",
            "warn",
            "connection",
            "reset",
            "conn",
            "user",
            "größe",
            "日本語",
            "ſ",
            "K",
            "\u{212a}elvin",
            "x",
            "timeout",
            "a",
            "",
        ])
        .prop_map(str::to_owned),
        "[a-c]{1,3}",
    ]
}

fn separator() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        " ", "=", ": ", "/", "-", "_", "\"", "", ".", "\t", "\u{0}", "  ", "\n",
    ])
    .prop_map(str::to_owned)
}

pub(crate) fn line() -> impl Strategy<Value = String> {
    let shaped = prop::collection::vec((prop_oneof![2 => word(), 1 => id()], separator()), 0..8)
        .prop_map(|parts| parts.into_iter().flat_map(|(text, sep)| [text, sep]).collect());
    prop_oneof![
        8 => shaped,
        1 => Just(String::new()),
        1 => "[A-Za-z0-9+/]{20,70}={0,2}",
        1 => any::<String>(),
        1 => "[a-z]{1,2}[0-9][a-z]{250,300}",
        1 => "(word ){900}",
    ]
}

pub(crate) fn stream() -> impl Strategy<Value = Labels> {
    (0_u32..5, prop::sample::select(vec!["prod", "dev"])).prop_map(|(app, namespace)| {
        let app = format!("app{app}");
        Labels::from_pairs([("app", app.as_str()), ("namespace", namespace)])
    })
}

fn attributes() -> impl Strategy<Value = Vec<(String, String)>> {
    let attribute = prop_oneof![
        prop::sample::select(vec!["info", "error", "warn", ""]).prop_map(level),
        "[0-9a-f]{8}".prop_map(|id| ("trace_id".to_owned(), id)),
        Just(("trace_id".to_owned(), "4bf92f35".to_owned())),
        ("[k-m]", "[a-b]{0,2}"),
    ];
    prop::collection::vec(attribute, 0..4)
}

pub(crate) fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    let row = (stream(), 0_i64..400, line(), attributes()).prop_map(
        |(stream, seconds, line, attributes)| Row {
            stream,
            time: seconds * 1_000_000_000,
            line,
            attributes,
        },
    );
    prop::collection::vec(row, 1..most)
}

/// The longest token of a random line, as identifiers are.
fn longest_token(lines: Vec<String>) -> impl Strategy<Value = String> {
    prop::sample::select(lines).prop_map(|line| {
        let tokens = line.split(|c: char| !c.is_ascii_alphanumeric());
        tokens.max_by_key(|token| token.len()).unwrap_or_default().to_owned()
    })
}

/// A stretch of a random line, perhaps with its case changed or a character replaced.
fn needle(rows: &[Row]) -> impl Strategy<Value = String> + use<> {
    let lines: Vec<String> = rows.iter().map(|row| row.line.clone()).collect();
    let token = longest_token(lines.clone());
    let stretch = (prop::sample::select(lines), any::<prop::sample::Index>(), 0_usize..24);
    let cut = stretch.prop_map(|(line, start, length)| {
        let chars: Vec<char> = line.chars().collect();
        let start = start.index(chars.len() + 1);
        chars[start..].iter().take(length).collect::<String>()
    });
    (prop_oneof![3 => cut, 1 => token], 0_u32..8).prop_map(|(text, change)| match change {
        0 => text.to_uppercase(),
        1 => text.replacen(|c: char| c.is_ascii_digit(), "7", 1),
        2 => text.replacen(' ', "", 1),
        _ => text,
    })
}

/// An expression around one or two stretches of lines.
fn expression(rows: &[Row]) -> impl Strategy<Value = String> + use<> {
    let quoted = || needle(rows).prop_map(|text| regex::escape(&text));
    (quoted(), quoted(), 0_u32..12).prop_map(|(a, b, form)| match form {
        0 => format!("^{a}"),
        1 => format!("{a}$"),
        2 => format!("{a}|{b}"),
        3 => format!("(?i){a}"),
        4 => format!("{a}.*{b}"),
        5 => format!("({a})?{b}"),
        6 => format!("({a}|{b})+"),
        7 => format!(r"\b{a}\b"),
        8 => format!("{a}[0-9a-f]{{2,}}"),
        9 => format!("(?i:{a})[^ ]{b}"),
        10 => format!(r"[a-z]+{a}\d*"),
        _ => a,
    })
}

fn filter(rows: &[Row]) -> impl Strategy<Value = LineFilter> + use<> {
    let contains = prop::sample::select(vec![LineFilterOp::Contains, LineFilterOp::NotContains]);
    let regex = prop::sample::select(vec![LineFilterOp::Regex, LineFilterOp::NotRegex]);
    prop_oneof![
        (contains, prop::collection::vec(needle(rows), 1..3)),
        (regex, prop::collection::vec(expression(rows), 1..3)),
    ]
    .prop_map(|(op, needles)| LineFilter { op, needles })
}

fn matcher(names: &'static [&'static str]) -> impl Strategy<Value = Matcher> {
    let op = prop::sample::select(vec![MatchOp::Eq, MatchOp::Ne, MatchOp::Re, MatchOp::Nre]);
    let value = prop::sample::select(vec![
        "app0", "app1", "prod", "dev", "", "app.", "info", "error", "4bf92f35", "a", "ab?",
    ]);
    (prop::sample::select(names.to_vec()), op, value)
        .prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
}

pub(crate) fn plan(rows: &[Row]) -> impl Strategy<Value = LogPlan> + use<> {
    let attributes = prop_oneof![
        Just(AttributeColumns::None),
        Just(AttributeColumns::All),
        prop::sample::subsequence(vec!["detected_level", "trace_id", "k", "absent"], 0..4)
            .prop_map(|names| AttributeColumns::Named(
                names.into_iter().map(str::to_owned).collect()
            )),
    ];
    let range = prop_oneof![
        Just((i64::MIN, i64::MAX)),
        (0_i64..400, 0_i64..400).prop_map(|(a, b)| (a * 1_000_000_000, b * 1_000_000_000)),
    ];
    (
        range,
        prop::collection::vec(matcher(&["app", "namespace", "absent"]), 0..2),
        prop::collection::vec(filter(rows), 0..3),
        (
            prop::option::weighted(0.2, matcher(&["detected_level", "trace_id", "k", "absent"])),
            prop::option::weighted(0.3, matcher(&["detected_level", "trace_id", "k", "app"])),
        ),
        attributes,
        any::<bool>(),
        any::<bool>(),
        prop::option::weighted(0.3, 0_usize..20),
    )
        .prop_map(|(range, matchers, filters, asked, attributes, lines, forward, limit)| {
            LogPlan {
                filters,
                attribute_matchers: asked.0.into_iter().collect(),
                label_matchers: asked.1.into_iter().collect(),
                attributes,
                lines,
                direction: if forward { Direction::Forward } else { Direction::Backward },
                limit,
                ..LogPlan::all(TenantId::default(), range.0, range.1, matchers)
            }
        })
}
