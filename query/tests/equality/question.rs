//! Questions: what is asked, as LogQL and as data for the naive side.

use fastrand::Rng;

use crate::corpus::{SPAN_SECONDS, pick};
use crate::world::{Row, SECOND, encoded};

#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Of the stream; all must hold.
    pub(crate) matchers: Vec<Matching>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) metric: Option<Metric>,
    /// Seconds.
    pub(crate) start: i64,
    pub(crate) length: i64,
    pub(crate) limit: Option<usize>,
    pub(crate) forward: bool,
}

/// `name op "value"`
#[derive(Clone, Debug)]
pub(crate) struct Matching {
    pub(crate) name: &'static str,
    pub(crate) op: &'static str,
    pub(crate) value: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// A line filter: `|=`, `!=`, `|~`, `!~` and its alternatives.
    Line(&'static str, Vec<String>),
    /// Label filters joined by `and` or `or`.
    Labels(bool, Vec<Matching>),
    /// `n > 2`, with rows dropped of which `n` is no number.
    Number(&'static str, u32),
    Drop(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Metric {
    pub(crate) op: &'static str,
    /// The aggregation around it.
    pub(crate) around: &'static str,
    /// `by (..)` or `without (..)`
    pub(crate) without: bool,
    pub(crate) names: Vec<&'static str>,
    /// Seconds.
    pub(crate) range: i64,
    pub(crate) offset: i64,
    pub(crate) step: i64,
}

const OPS: [&str; 4] = ["=", "!=", "=~", "!~"];

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

impl Matching {
    fn text(&self) -> String {
        format!("{}{}{}", self.name, self.op, quoted(&self.value))
    }
}

impl Stage {
    fn text(&self) -> String {
        match self {
            Self::Line(op, needles) => {
                let needles: Vec<String> = needles.iter().map(|needle| quoted(needle)).collect();
                format!("{op} {}", needles.join(" or "))
            }
            Self::Labels(all, matchings) => {
                let texts: Vec<String> = matchings.iter().map(Matching::text).collect();
                format!("| {}", texts.join(if *all { " and " } else { " or " }))
            }
            Self::Number(op, value) => format!(r#"| n {op} {value} | __error__="""#),
            Self::Drop(name) => format!("| drop {name} | drop absent=\"x\""),
        }
    }
}

impl Question {
    pub(crate) fn logql(&self) -> String {
        let matchers: Vec<String> = self.matchers.iter().map(Matching::text).collect();
        let stages: Vec<String> = self.stages.iter().map(Stage::text).collect();
        let log = format!("{{{}}} {}", matchers.join(", "), stages.join(" "));
        let Some(metric) = &self.metric else { return log };
        let Metric { op, around, without, names, range, offset, .. } = metric;
        let inner = format!("{op}({log} [{range}s] offset {offset}s)");
        let grouping =
            format!("{} ({})", if *without { "without" } else { "by" }, names.join(", "));
        match *around {
            "" => inner,
            "topk" => format!("topk {grouping} (2, {inner})"),
            around => format!("{around} {grouping} ({inner})"),
        }
    }

    pub(crate) fn path(&self) -> String {
        let query = encoded(&self.logql());
        let (start, end) = (self.start * SECOND, (self.start + self.length) * SECOND);
        let range = format!("start={start:019}&end={end:019}");
        match &self.metric {
            Some(metric) => {
                let step = metric.step;
                format!("/loki/api/v1/query_range?query={query}&{range}&step={step}")
            }
            None => {
                let direction = if self.forward { "forward" } else { "backward" };
                let limit = self.limit.unwrap_or(1_000);
                format!(
                    "/loki/api/v1/query_range?query={query}&{range}&direction={direction}&limit={limit}"
                )
            }
        }
    }
}

/// A stretch of a random line, now and then with its case or a character changed.
fn needle(rows: &[Row], rng: &mut Rng) -> String {
    let line: Vec<char> = rows[rng.usize(..rows.len())].line.chars().collect();
    let start = rng.usize(0..=line.len());
    let text: String = line[start..].iter().take(rng.usize(0..24)).collect();
    match rng.u32(..8) {
        0 => text.to_uppercase(),
        1 => text.replacen(|c: char| c.is_ascii_digit(), "7", 1),
        2 => text.replacen(' ', "", 1),
        _ => text,
    }
}

fn expression(rows: &[Row], rng: &mut Rng) -> String {
    let (a, b) = (regex::escape(&needle(rows, rng)), regex::escape(&needle(rows, rng)));
    match rng.u32(..12) {
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
    }
}

fn label_matching(rng: &mut Rng) -> Matching {
    let name =
        ["detected_level", "detected_level", "trace", "pod", "lvl", "app", "k", "n", "absent"]
            [rng.usize(..9)];
    let values = ["info", "error", "warn", "", "4bf92f35", "1", "2", "x", "a", "a|b", "er.*", ".+"];
    Matching { name, op: OPS[rng.usize(..4)], value: pick(&values, rng).to_owned() }
}

fn stage(rows: &[Row], rng: &mut Rng) -> Stage {
    match rng.u32(..12) {
        0..4 => {
            let needles = (0..rng.usize(1..3)).map(|_| needle(rows, rng)).collect();
            Stage::Line(["|=", "!="][rng.usize(..2)], needles)
        }
        4..7 => {
            let needles = (0..rng.usize(1..3)).map(|_| expression(rows, rng)).collect();
            Stage::Line(["|~", "!~"][rng.usize(..2)], needles)
        }
        7..10 => {
            let matchings = (0..rng.usize(1..3)).map(|_| label_matching(rng)).collect();
            Stage::Labels(rng.bool(), matchings)
        }
        10 => Stage::Number(["<", ">="][rng.usize(..2)], rng.u32(..5)),
        _ => Stage::Drop(["pod", "trace", "lvl", "detected_level"][rng.usize(..4)]),
    }
}

fn metric(rng: &mut Rng) -> Metric {
    let minutes = rng.bool();
    let mut seconds = |least: i64, most: i64| {
        if minutes {
            60 * rng.i64(least..=most.div_euclid(60).max(1))
        } else {
            rng.i64(least..most)
        }
    };
    let (range, step) = (seconds(1, 200), seconds(1, 180));
    let offset = seconds(-1, 60);
    let all = ["app", "pod", "detected_level", "trace", "absent"];
    let names = all.into_iter().filter(|_| rng.u32(..4) == 0).collect();
    Metric {
        op: ["count_over_time", "count_over_time", "rate", "bytes_over_time", "bytes_rate"]
            [rng.usize(..5)],
        around: ["", "sum", "sum", "sum", "max", "min", "avg", "count", "topk"][rng.usize(..9)],
        without: rng.u32(..4) == 0,
        names,
        range,
        offset,
        step,
    }
}

pub(crate) fn generate(rows: &[Row], rng: &mut Rng) -> Question {
    let selecting =
        [("=", "a"), ("=", "b"), ("=~", "a|b"), ("=~", ".+"), ("=~", ".+"), ("=~", "größ.")];
    let (op, value) = selecting[rng.usize(..selecting.len())];
    let mut matchers = vec![Matching { name: "app", op, value: value.to_owned() }];
    if rng.u32(..4) == 0 {
        let value = pick(&["1", "2", "", ".*"], rng).to_owned();
        matchers.push(Matching { name: "pod", op: OPS[rng.usize(..4)], value });
    }
    let stages = (0..rng.usize(0..4)).map(|_| stage(rows, rng)).collect();
    let unique = rows.windows(2).all(|pair| pair[0].time_ns % SECOND != pair[1].time_ns % SECOND);
    let whole = rng.bool();
    Question {
        matchers,
        stages,
        metric: rng.bool().then(|| metric(rng)),
        start: if whole { 0 } else { rng.i64(0..SPAN_SECONDS) },
        length: if whole { SPAN_SECONDS + 60 } else { rng.i64(1..SPAN_SECONDS) },
        limit: (unique && rng.bool()).then(|| rng.usize(1..12)),
        forward: rng.bool(),
    }
}
