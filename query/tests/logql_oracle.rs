//! LogQL against a naive reading of its definition, over random rows in random places.
//!
//! Rows lie in segments, in the indexer, or both. The oracle looks at every row for every step and
//! knows nothing of scans, folds or limits.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod world;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use record::Labels;
use regex::Regex;
use tokio::runtime::Runtime;
use world::{Row, SECOND, World, encoded};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

const STREAMS: [&str; 4] =
    [r#"{app="a", pod="1"}"#, r#"{app="a", pod="2"}"#, r#"{app="b", pod="1"}"#, r#"{app="c"}"#];
const WORDS: [&str; 8] = ["GET", "error", "id7f3a", "10.0.0.1", "x=1", "", "ERR or", "é"];
const NEEDLES: [&str; 7] = ["e", "id7", "0.0", "GET error", "", "x=1", "zzz"];
const PATTERNS: [&str; 4] = ["id[0-9a-f]+", "^GET", "(?i)err$", "."];
const SELECTORS: [&str; 4] =
    [r#"app="a""#, r#"app=~"a|b""#, r#"app=~".+", pod!="1""#, r#"app=~".+", pod="""#];

/// A test of a row, as text and as code.
#[derive(Clone, Debug)]
enum Test {
    Contains(bool, Vec<&'static str>),
    Matches(bool, &'static str),
    Level(&'static str, &'static str),
    Number(&'static str, u32),
    PodOrLevel(&'static str, &'static str),
}

impl Test {
    fn text(&self) -> String {
        match self {
            Self::Contains(positive, needles) => {
                let quoted: Vec<String> = needles.iter().map(|n| format!("{n:?}")).collect();
                format!("{} {}", if *positive { "|=" } else { "!=" }, quoted.join(" or "))
            }
            Self::Matches(positive, pattern) => {
                format!("{} `{pattern}`", if *positive { "|~" } else { "!~" })
            }
            Self::Level(op, value) => format!("| lvl {op} {value:?}"),
            Self::Number(op, value) => format!(r#"| n {op} {value} | __error__="""#),
            Self::PodOrLevel(pod, level) => format!("| pod={pod:?} or lvl={level:?}"),
        }
    }

    fn keeps(&self, row: &Row) -> bool {
        let label = |name: &str| {
            let attribute = row.attributes.iter().find(|(known, _)| known == name);
            attribute.map(|(_, v)| v.as_str()).or_else(|| row.stream.get(name)).unwrap_or("")
        };
        match self {
            Self::Contains(positive, needles) => {
                needles.iter().any(|needle| row.line.contains(needle)) == *positive
            }
            Self::Matches(positive, pattern) => {
                Regex::new(pattern).unwrap().is_match(&row.line) == *positive
            }
            Self::Level("=", value) => label("lvl") == *value,
            Self::Level(_, value) => label("lvl") != *value,
            Self::Number(op, value) => label("n").parse::<u32>().is_ok_and(|n| match *op {
                ">" => n > *value,
                _ => n <= *value,
            }),
            Self::PodOrLevel(pod, level) => label("pod") == *pod || label("lvl") == *level,
        }
    }
}

fn test() -> impl Strategy<Value = Test> {
    let needle = prop::sample::select(&NEEDLES[..]);
    let level = || prop::sample::select(&["info", "error", ""][..]);
    prop_oneof![
        (any::<bool>(), prop::collection::vec(needle, 1..3))
            .prop_map(|(positive, needles)| Test::Contains(positive, needles)),
        (any::<bool>(), prop::sample::select(&PATTERNS[..]))
            .prop_map(|(positive, pattern)| Test::Matches(positive, pattern)),
        (prop::sample::select(&["=", "!="][..]), level()).prop_map(|(op, v)| Test::Level(op, v)),
        (prop::sample::select(&[">", "<="][..]), 0u32..5).prop_map(|(op, v)| Test::Number(op, v)),
        (prop::sample::select(&["1", "2"][..]), level()).prop_map(|(p, l)| Test::PodOrLevel(p, l)),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let words = prop::collection::vec(prop::sample::select(&WORDS[..]), 0..4);
    let level = prop::option::of(prop::sample::select(&["info", "error"][..]));
    let number = prop::option::of(prop::sample::select(&["1", "2", "3", "odd"][..]));
    (0i64..100, prop::sample::select(&STREAMS[..]), words, level, number).prop_map(
        |(seconds, stream, words, level, number)| {
            let mut attributes = Vec::new();
            attributes.extend(level.map(|level| ("lvl", level)));
            attributes.extend(number.map(|number| ("n", number)));
            Row::new(seconds, stream, &words.join(" "), &attributes)
        },
    )
}

/// Rows, and after how many of them a new segment and the recent rows begin.
fn rows() -> impl Strategy<Value = (Vec<Row>, usize, usize)> {
    prop::collection::vec(row(), 0..40).prop_flat_map(|rows| {
        let count = rows.len();
        (Just(rows), 0..=count, 0..=count)
    })
}

async fn world_of(rows: &[Row], cut: usize, recent: usize) -> World {
    let mut world = World::new().await;
    let (published, held) = rows.split_at(recent);
    let (first, second) = published.split_at(cut.min(recent));
    for part in [first, second] {
        if !part.is_empty() {
            world.publish(part).await;
        }
    }
    let (first, second) = held.split_at(held.len() / 2);
    for part in [first, second] {
        if !part.is_empty() {
            world.hold(part);
        }
    }
    world
}

fn selects(selector: &str, row: &Row) -> bool {
    let pod = row.stream.get("pod").unwrap_or("");
    match SELECTORS.iter().position(|known| *known == selector).unwrap() {
        0 => row.stream.get("app") == Some("a"),
        1 => matches!(row.stream.get("app"), Some("a" | "b")),
        2 => pod != "1",
        _ => pod.is_empty(),
    }
}

fn merged_labels(row: &Row) -> Labels {
    let attributes = row.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Labels::from_pairs(row.stream.iter().chain(attributes))
}

#[derive(Clone, Copy, Debug)]
struct LogsAsked {
    forward: bool,
    limit: Option<usize>,
    interval: i64,
    start: i64,
    length: i64,
}

type Entries = BTreeMap<String, Vec<(String, String)>>;

fn expected_entries(rows: &[Row], selector: &str, tests: &[Test], asked: LogsAsked) -> Entries {
    let (start, end) = (asked.start * SECOND, (asked.start + asked.length) * SECOND);
    let mut kept: Vec<(usize, &Row)> = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| start <= row.time_ns && row.time_ns < end && selects(selector, row))
        .filter(|(_, row)| tests.iter().all(|test| test.keeps(row)))
        .collect();
    kept.sort_by_key(|(at, row)| (row.time_ns, row.stream.to_string(), *at));
    if !asked.forward {
        kept.reverse();
    }
    let mut entries = Entries::new();
    let (mut last, mut count) = (None::<i64>, 0);
    for (_, row) in kept {
        let near = last.is_some_and(|last| (row.time_ns - last).abs() < asked.interval * SECOND);
        if near || asked.limit.is_some_and(|limit| limit <= count) {
            continue;
        }
        (last, count) = (Some(row.time_ns), count + 1);
        let stream = entries.entry(merged_labels(row).to_string()).or_default();
        stream.push((row.time_ns.to_string(), row.line.clone()));
    }
    entries
}

async fn asked_entries(world: &World, query: &str, asked: LogsAsked) -> Entries {
    let direction = if asked.forward { "forward" } else { "backward" };
    let path = format!(
        "/loki/api/v1/query_range?query={}&start={:019}&end={:019}&direction={direction}\
         &limit={}&interval={}",
        encoded(query),
        asked.start * SECOND,
        (asked.start + asked.length) * SECOND,
        asked.limit.unwrap_or(1000),
        asked.interval,
    );
    let answer = world.get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.warnings(), "");
    let mut entries = Entries::new();
    for stream in answer.json()["data"]["result"].as_array().unwrap() {
        let labels = Labels::from_json(&stream["stream"].to_string()).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let values = stream["values"].as_array().unwrap().iter();
        entries.insert(labels.to_string(), values.map(|v| (text(&v[0]), text(&v[1]))).collect());
    }
    entries
}

#[derive(Clone, Copy, Debug)]
struct MetricAsked {
    op: &'static str,
    around: Around,
    range: i64,
    offset: i64,
    step: i64,
    start: i64,
    length: i64,
}

#[derive(Clone, Copy, Debug)]
enum Around {
    Nothing,
    Sum,
    SumByApp,
    MaxByApp,
    AvgWithoutPod,
    Count,
    Top2,
}

type Points = BTreeMap<String, BTreeMap<i64, f64>>;

fn group(around: Around, labels: &Labels) -> Labels {
    match around {
        Around::Nothing | Around::Top2 => labels.clone(),
        Around::Sum | Around::Count => Labels::default(),
        Around::SumByApp | Around::MaxByApp => {
            Labels::from_pairs(labels.iter().filter(|(name, _)| *name == "app"))
        }
        Around::AvgWithoutPod => labels.without("pod"),
    }
}

fn expected_points(rows: &[&Row], asked: MetricAsked) -> Points {
    let mut points = Points::new();
    let first = asked.start.div_euclid(asked.step);
    let last = (asked.start + asked.length + asked.step - 1).div_euclid(asked.step);
    for time in (first..=last).map(|step| step * asked.step) {
        let end = (time - asked.offset) * SECOND;
        let mut series: BTreeMap<Labels, f64> = BTreeMap::new();
        for row in rows {
            if end - asked.range * SECOND < row.time_ns && row.time_ns <= end {
                let amount =
                    if asked.op.starts_with("bytes") { row.line.len() as f64 } else { 1.0 };
                *series.entry(merged_labels(row)).or_default() += amount;
            }
        }
        if asked.op.ends_with("rate") {
            series.values_mut().for_each(|value| *value /= asked.range as f64);
        }
        if matches!(asked.around, Around::Top2) {
            let mut ranked: Vec<_> = series.into_iter().collect();
            ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            series = ranked.into_iter().take(2).collect();
        }
        let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
        for (labels, value) in series {
            groups.entry(group(asked.around, &labels)).or_default().push(value);
        }
        for (labels, values) in groups {
            let sum: f64 = values.iter().sum();
            let value = match asked.around {
                Around::MaxByApp => values.iter().copied().fold(f64::MIN, f64::max),
                Around::AvgWithoutPod => sum / values.len() as f64,
                Around::Count => values.len() as f64,
                _ => sum,
            };
            points.entry(labels.to_string()).or_default().insert(time, value);
        }
    }
    points
}

fn metric_query(selector: &str, tests: &str, asked: MetricAsked) -> String {
    let inner =
        format!("{}({{{selector}}} {tests} [{}s] offset {}s)", asked.op, asked.range, asked.offset);
    match asked.around {
        Around::Nothing => inner,
        Around::Sum => format!("sum({inner})"),
        Around::SumByApp => format!("sum by (app) ({inner})"),
        Around::MaxByApp => format!("max by (app) ({inner})"),
        Around::AvgWithoutPod => format!("avg without (pod) ({inner})"),
        Around::Count => format!("count({inner})"),
        Around::Top2 => format!("topk(2, {inner})"),
    }
}

async fn asked_points(world: &World, query: &str, asked: MetricAsked) -> Points {
    let path = format!(
        "/loki/api/v1/query_range?query={}&start={:019}&end={:019}&step={}",
        encoded(query),
        asked.start * SECOND,
        (asked.start + asked.length) * SECOND,
        asked.step,
    );
    let answer = world.get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut points = Points::new();
    for series in answer.json()["data"]["result"].as_array().unwrap() {
        let labels = Labels::from_json(&series["metric"].to_string()).unwrap();
        let values = series["values"].as_array().unwrap().iter();
        let values = values.map(|point| {
            (point[0].as_i64().unwrap(), point[1].as_str().unwrap().parse::<f64>().unwrap())
        });
        points.insert(labels.to_string(), values.collect());
    }
    points
}

fn close(left: &Points, right: &Points) -> bool {
    let near = |a: &f64, b: &f64| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
    left.len() == right.len()
        && left.iter().zip(right).all(|((name, a), (other, b))| {
            let same = |((t, a), (u, b)): ((&i64, &f64), (&i64, &f64))| t == u && near(a, b);
            name == other && a.len() == b.len() && a.iter().zip(b).all(same)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn log_queries_return_what_a_naive_scan_returns(
        (mut rows, cut, recent) in rows(),
        selector in prop::sample::select(&SELECTORS[..]),
        tests in prop::collection::vec(test(), 0..3),
        forward in any::<bool>(),
        limit in prop::option::of(1usize..8),
        interval in prop_oneof![Just(0i64), 1i64..30],
        start in 0i64..60,
        length in 1i64..60,
    ) {
        if limit.is_some() {
            // Which of several rows of one time are beyond the limit is not promised.
            rows.iter_mut().zip(0..).for_each(|(row, number)| row.time_ns += number);
        }
        let asked = LogsAsked { forward, limit, interval, start, length };
        let texts: Vec<String> = tests.iter().map(Test::text).collect();
        let query = format!("{{{selector}}} {}", texts.join(" "));
        let expected = expected_entries(&rows, selector, &tests, asked);
        let got = RUNTIME.block_on(async {
            asked_entries(&world_of(&rows, cut, recent).await, &query, asked).await
        });
        prop_assert_eq!(got, expected, "{}", query);
    }

    #[test]
    fn metric_queries_return_what_a_naive_scan_returns(
        (rows, cut, recent) in rows(),
        selector in prop::sample::select(&SELECTORS[..]),
        tests in prop::collection::vec(test(), 0..3),
        op in prop::sample::select(&["count_over_time", "rate", "bytes_over_time", "bytes_rate"][..]),
        around in prop::sample::select(&[
            Around::Nothing, Around::Sum, Around::SumByApp, Around::MaxByApp,
            Around::AvgWithoutPod, Around::Count, Around::Top2,
        ][..]),
        range in 1i64..40,
        offset in -20i64..20,
        step in 1i64..25,
        start in 0i64..60,
        length in 0i64..60,
    ) {
        let asked = MetricAsked { op, around, range, offset, step, start, length };
        let texts: Vec<String> = tests.iter().map(Test::text).collect();
        let query = metric_query(selector, &texts.join(" "), asked);
        let kept: Vec<&Row> = rows
            .iter()
            .filter(|row| selects(selector, row) && tests.iter().all(|test| test.keeps(row)))
            .collect();
        let expected = expected_points(&kept, asked);
        let got = RUNTIME.block_on(async {
            asked_points(&world_of(&rows, cut, recent).await, &query, asked).await
        });
        prop_assert!(close(&got, &expected), "{query}\n{got:?}\n{expected:?}");
    }
}
