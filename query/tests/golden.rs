//! LogQL, checked by scripts: `testdata/logql/*.test`.
//!
//! A script is a list of blocks. A block starts at the beginning of a line; what belongs to it is
//! indented. `#` starts a comment. Every case runs three times: with all rows in segments, all
//! recent, and split between the two.
//!
//! ```text
//! load                                    rows to have from here on
//!   {app="a"}                             a stream
//!     10s | line                          its rows: seconds, line
//!     20s k="v", trace="1" | line         with structured metadata
//! logs 0s..60s forward limit=10: QUERY    entries, written as above
//! instant 60s: QUERY                      one line per series: {labels} value
//! range 0s..60s step 30s: QUERY           {labels} 30:3 60:1
//! ```
//!
//! Under a query stand the lines of its answer, or `error TEXT`: the start of the error's text.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod world;

use std::fmt::Write;

use serde_json::Value;
use world::{Row, SECOND, World, encoded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/logql");
    let mut cases = 0;
    let mut wrong = Vec::new();
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let script = std::fs::read_to_string(&path).unwrap();
        for placement in [Placement::Published, Placement::Recent, Placement::Both] {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            cases += run(&name, &script, placement, &mut wrong).await;
        }
    }
    assert!(wrong.is_empty(), "{} of {cases} cases\n\n{}", wrong.len(), wrong.join("\n"));
    assert!(0 < cases);
}

#[derive(Clone, Copy, Debug)]
enum Placement {
    Published,
    Recent,
    Both,
}

/// A line that starts a block, and the indented lines below it.
struct Block<'a> {
    line: usize,
    head: &'a str,
    body: Vec<&'a str>,
}

fn blocks(script: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for (number, text) in script.lines().enumerate() {
        let bare = text.trim();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        if text.starts_with(' ') {
            blocks.last_mut().unwrap().body.push(bare);
        } else {
            blocks.push(Block { line: number + 1, head: bare, body: Vec::new() });
        }
    }
    blocks
}

async fn run(path: &str, script: &str, placement: Placement, wrong: &mut Vec<String>) -> usize {
    let mut world = World::new().await;
    let mut cases = 0;
    for block in blocks(script) {
        if block.head == "load" {
            world = World::new().await;
            place(&mut world, &rows_of(&block.body), placement).await;
            continue;
        }
        let answer = ask(&world, block.head).await;
        let expected = block.body.join("\n");
        let matches = match expected.strip_prefix("error ") {
            Some(start) => answer.starts_with(&format!("error {start}")),
            None => answer == expected,
        };
        let place = format!("{path}:{} ({placement:?})", block.line);
        if !matches {
            let head = block.head;
            wrong.push(format!("{place}\n{head}\nexpected:\n{expected}\ngot:\n{answer}\n"));
        }
        cases += 1;
    }
    cases
}

async fn place(world: &mut World, rows: &[Row], placement: Placement) {
    let middle = rows.len() / 2;
    let (published, recent) = match placement {
        Placement::Published => (rows, &[][..]),
        Placement::Recent => (&[][..], rows),
        Placement::Both => rows.split_at(middle),
    };
    // Two segments, so that merging has something to do.
    let (first, second) = published.split_at(published.len() / 2);
    for part in [first, second] {
        if !part.is_empty() {
            world.publish(part).await;
        }
    }
    if !recent.is_empty() {
        world.hold(recent);
    }
}

fn rows_of(body: &[&str]) -> Vec<Row> {
    let mut stream = "{}";
    let mut rows = Vec::new();
    for text in body {
        if text.starts_with('{') {
            stream = text;
            continue;
        }
        let (head, line) = text.split_once("| ").unwrap_or((text.trim_end_matches('|'), ""));
        let (seconds, attributes) = head.trim().split_once(' ').unwrap_or((head.trim(), ""));
        let attributes = record::Labels::parse(&format!("{{{attributes}}}")).unwrap();
        let attributes: Vec<(&str, &str)> = attributes.iter().collect();
        let seconds = seconds.trim_end_matches('s').parse().unwrap();
        rows.push(Row::new(seconds, stream, line, &attributes));
    }
    rows
}

async fn ask(world: &World, head: &str) -> String {
    let (what, query) = head.split_once(": ").unwrap();
    let mut words = what.split(' ');
    let query = encoded(query);
    let path = match words.next().unwrap() {
        "instant" => {
            let time = nanos(words.next().unwrap());
            format!("/loki/api/v1/query?query={query}&time={time}")
        }
        "range" => {
            let (start, end) = span(words.next().unwrap());
            let step = words.nth(1).unwrap();
            format!("/loki/api/v1/query_range?query={query}&start={start}&end={end}&step={step}")
        }
        "logs" => {
            let (start, end) = span(words.next().unwrap());
            let direction = words.next().unwrap();
            let more: Vec<&str> = words.collect();
            let more = more.join("&");
            format!(
                "/loki/api/v1/query_range?query={query}&start={start}&end={end}\
                 &direction={direction}&{more}"
            )
        }
        other => panic!("unknown block {other}"),
    };
    let flags = [("x-loki-response-encoding-flags", "categorize-labels")];
    let answer = world.get_with(&path, &flags).await;
    if answer.status != 200 {
        return format!("error {}", answer.text().trim_end());
    }
    assert_eq!(answer.warnings(), "");
    shown(&answer.json()["data"])
}

/// 19 digits, so that it is read as nanoseconds.
fn nanos(seconds: &str) -> String {
    let seconds: f64 = seconds.trim_end_matches('s').parse().unwrap();
    format!("{:019}", (seconds * SECOND as f64) as i64)
}

fn span(text: &str) -> (String, String) {
    let (start, end) = text.split_once("..").unwrap();
    (nanos(start), nanos(end))
}

fn shown(data: &Value) -> String {
    let result = &data["result"];
    let mut text = String::new();
    match data["resultType"].as_str().unwrap() {
        "streams" => {
            for stream in result.as_array().unwrap() {
                writeln!(text, "{}", labels(&stream["stream"])).unwrap();
                for row in stream["values"].as_array().unwrap() {
                    let seconds = row[0].as_str().unwrap().parse::<i64>().unwrap() as f64 / 1e9;
                    let more: Vec<String> = ["structuredMetadata", "parsed"]
                        .into_iter()
                        .map(|kind| labels(&row[2][kind]))
                        .map(|labels| labels.trim_matches(['{', '}']).to_owned())
                        .collect();
                    let more = match (more[0].as_str(), more[1].as_str()) {
                        ("", "") => String::new(),
                        (metadata, "") => format!(" {metadata}"),
                        (metadata, parsed) => format!(" {metadata} / {parsed}").replace("  ", " "),
                    };
                    let line = row[1].as_str().unwrap();
                    writeln!(text, "{}", format!("{seconds}s{more} | {line}").trim_end()).unwrap();
                }
            }
        }
        "matrix" => {
            for series in result.as_array().unwrap() {
                let points = series["values"].as_array().unwrap().iter();
                let points: Vec<String> =
                    points.map(|p| format!("{}:{}", p[0], p[1].as_str().unwrap())).collect();
                writeln!(text, "{} {}", labels(&series["metric"]), points.join(" ")).unwrap();
            }
        }
        "vector" => {
            for sample in result.as_array().unwrap() {
                let value = sample["value"][1].as_str().unwrap();
                writeln!(text, "{} {value}", labels(&sample["metric"])).unwrap();
            }
        }
        "scalar" => writeln!(text, "scalar {}", result[1].as_str().unwrap()).unwrap(),
        other => panic!("unknown result type {other}"),
    }
    text.trim_end().to_owned()
}

fn labels(value: &Value) -> String {
    let pairs = value.as_object().into_iter().flatten();
    record::Labels::from_pairs(pairs.map(|(name, value)| (name, value.as_str().unwrap())))
        .to_string()
}
