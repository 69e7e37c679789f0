//! Rows of few streams whose lines share words, ids and shapes, so that questions hit, nearly hit
//! and miss in equal measure.

use fastrand::Rng;
use record::Labels;

use crate::world::{Row, SECOND};

const STREAMS: [&str; 6] = [
    r#"{app="a", pod="1"}"#,
    r#"{app="a", pod="2"}"#,
    r#"{app="b", pod="1", lvl="info"}"#,
    r#"{app="b", detected_level="warn"}"#,
    r#"{app="c"}"#,
    r#"{app="größe", pod="3", trace="4bf92f35"}"#,
];

const WORDS: [&str; 16] = [
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
    "",
];

const SEPARATORS: [&str; 12] = [" ", " ", "=", ": ", "/", "-", "_", "\"", "", ".", "\t", "\\"];

/// Seconds that rows span: some minutes, so that whole minutes are counted too.
pub(crate) const SPAN_SECONDS: i64 = 600;

pub(crate) fn pick<'a>(list: &[&'a str], rng: &mut Rng) -> &'a str {
    list[rng.usize(..list.len())]
}

fn hex(digits: usize, rng: &mut Rng) -> String {
    (0..digits)
        .map(|_| if rng.bool() { rng.char('0'..='9') } else { rng.char('a'..='f') })
        .collect()
}

fn id(rng: &mut Rng) -> String {
    match rng.u32(..7) {
        0 => rng.u32(..1_000).to_string(),
        1 => hex(8, rng),
        2 => hex(32, rng),
        3 => format!("{}-{}", hex(8, rng), hex(4, rng)),
        4 => format!("{}{}", pick(&["a", "b", "c"], rng), rng.u32(..10)),
        5 => format!("10.0.{}.{}", rng.u32(..3), rng.u32(..30)),
        _ => "4bf92f35".to_owned(),
    }
}

fn line(rng: &mut Rng) -> String {
    match rng.u32(..24) {
        0 => return String::new(),
        1 => return hex(rng.usize(20..80), rng),
        2 => return format!("a1{}", "b".repeat(rng.usize(250..300))),
        3 => return "word ".repeat(900),
        _ => {}
    }
    let mut line = String::new();
    for _ in 0..rng.usize(0..8) {
        if rng.u32(..3) == 0 {
            line.push_str(&id(rng));
        } else {
            line.push_str(pick(&WORDS, rng));
        }
        line.push_str(pick(&SEPARATORS, rng));
    }
    line
}

fn attributes(rng: &mut Rng) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    let mut add = |name: &str, value: &str| attributes.push((name.to_owned(), value.to_owned()));
    if rng.u32(..4) != 0 {
        add("detected_level", pick(&["info", "error", "warn", ""], rng));
    }
    if rng.u32(..3) == 0 {
        let trace = if rng.bool() { "4bf92f35".to_owned() } else { hex(8, rng) };
        add("trace", &trace);
    }
    if rng.u32(..4) == 0 {
        add("n", pick(&["1", "2", "3", "17", "odd"], rng));
    }
    // Names that stand twice, empty values, names of stream labels.
    if rng.u32(..8) == 0 {
        add(pick(&["trace", "detected_level", "pod", "app", "k"], rng), pick(&["", "x", "1"], rng));
    }
    attributes
}

pub(crate) fn rows(rng: &mut Rng) -> Vec<Row> {
    let count = rng.usize(1..160);
    let plain = rng.u32(..3) == 0;
    let mut rows: Vec<Row> = (0..count)
        .map(|_| {
            let seconds = if rng.u32(..6) == 0 {
                60 * rng.i64(0..=SPAN_SECONDS / 60)
            } else {
                rng.i64(0..SPAN_SECONDS)
            };
            let attributes = if plain {
                vec![("detected_level".to_owned(), pick(&["info", "error"], rng).to_owned())]
            } else {
                attributes(rng)
            };
            Row {
                time_ns: seconds * SECOND,
                stream: Labels::parse(pick(&STREAMS, rng)).unwrap(),
                line: line(rng),
                attributes,
            }
        })
        .collect();
    if rng.bool() {
        // A time for each row, so that a limit says which rows it keeps.
        rows.iter_mut().zip(0..).for_each(|(row, number)| row.time_ns += number);
    }
    rows
}
