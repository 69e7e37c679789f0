//! The script language: blocks of lines, each block ended by an empty line or a comment.

use query::promql::number;

use crate::series::{self, Line};

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a test script has few steps")]
pub enum Step {
    Clear,
    Load { step_ms: i64, series: Vec<Line> },
    Eval(Eval),
}

/// A query and what it should give.
#[derive(Debug, Default)]
pub struct Eval {
    /// Where it stands in the file, from 1.
    pub line: usize,
    pub when: When,
    pub query: String,
    pub expected: Expected,
    pub series: Vec<Line>,
    pub scalar: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
pub enum When {
    Instant { time_ms: i64 },
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

impl Default for When {
    fn default() -> Self {
        Self::Instant { time_ms: 0 }
    }
}

/// What the lines beginning with `expect` say.
#[derive(Debug, Default)]
pub struct Expected {
    pub fail: Option<Text>,
    pub warn: Option<Text>,
    pub info: Option<Text>,
    pub no_warn: bool,
    pub no_info: bool,
    pub ordered: bool,
    pub text: Option<String>,
    /// The result is a range vector with samples at these times.
    pub range_vector: Option<(i64, i64)>,
}

#[derive(Clone, Debug)]
pub enum Text {
    Any,
    Exactly(String),
    Matching(regex::Regex),
}

impl Text {
    pub fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(expected) => expected == text,
            Self::Matching(regex) => regex.is_match(text),
        }
    }
}

/// Reads a script, or says which line is wrong and why.
pub fn parse(text: &str) -> Result<Vec<Step>, String> {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| if line.trim_start().starts_with('#') { "" } else { line.trim() })
        .collect();
    let mut steps = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        let wrong = |message: String| format!("line {}: {message}", first + 1);
        let head = lines[at];
        at += 1;
        let mut block = || {
            let start = at;
            while at < lines.len() && !lines[at].is_empty() {
                at += 1;
            }
            &lines[start..at]
        };
        if head.is_empty() {
            continue;
        } else if head == "clear" {
            steps.push(Step::Clear);
        } else if let Some(step) = head.strip_prefix("load ") {
            let step_ms = duration(step).ok_or_else(|| wrong(format!("bad step {step}")))?;
            let series = block().iter().map(|line| series::parse(line)).collect::<Result<_, _>>();
            steps.push(Step::Load { step_ms, series: series.map_err(wrong)? });
        } else if head.starts_with("eval") {
            let mut eval = eval_head(head).map_err(wrong)?;
            eval.line = first + 1;
            for line in block() {
                eval_line(line, &mut eval).map_err(wrong)?;
            }
            steps.push(Step::Eval(eval));
        } else {
            return Err(wrong(format!("unknown command {head}")));
        }
    }
    Ok(steps)
}

fn eval_head(head: &str) -> Result<Eval, String> {
    let mut eval = Eval::default();
    let (command, rest) = head.split_once(' ').ok_or("eval of nothing")?;
    match command {
        "eval" => {}
        "eval_fail" => eval.expected.fail = Some(Text::Any),
        "eval_warn" => eval.expected.warn = Some(Text::Any),
        "eval_info" => eval.expected.info = Some(Text::Any),
        "eval_ordered" => eval.expected.ordered = true,
        other => return Err(format!("unknown command {other}")),
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    let time = |text: &str| duration(text).ok_or_else(|| format!("bad time {text:?}"));
    let taken = match words[..] {
        ["instant", "at", at, ..] => {
            eval.when = When::Instant { time_ms: time(at)? };
            3
        }
        ["range", "from", start, "to", end, "step", step, ..] => {
            let (start_ms, end_ms, step_ms) = (time(start)?, time(end)?, time(step)?);
            eval.when = When::Range { start_ms, end_ms, step_ms };
            7
        }
        _ => return Err(format!("expected instant or range: {rest}")),
    };
    eval.query = after_words(rest, taken).to_owned();
    Ok(eval)
}

/// The text after so many words.
fn after_words(text: &str, words: usize) -> &str {
    let mut rest = text;
    for _ in 0..words {
        rest = rest.trim_start();
        rest = rest.find(char::is_whitespace).map_or("", |at| &rest[at..]);
    }
    rest.trim()
}

fn eval_line(line: &str, eval: &mut Eval) -> Result<(), String> {
    if let Some(expectation) = line.strip_prefix("expect ") {
        return expect(expectation.trim(), &mut eval.expected);
    }
    if let Some(value) = number::float(line) {
        eval.scalar = Some(value);
        return Ok(());
    }
    eval.series.push(series::parse(line)?);
    Ok(())
}

fn expect(text: &str, expected: &mut Expected) -> Result<(), String> {
    let (what, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match what {
        "fail" => expected.fail = Some(message(rest)?),
        "warn" => expected.warn = Some(message(rest)?),
        "info" => expected.info = Some(message(rest)?),
        "no_warn" => expected.no_warn = true,
        "no_info" => expected.no_info = true,
        "ordered" => expected.ordered = true,
        "string" => expected.text = Some(rest.trim().trim_matches(['"', '`']).to_owned()),
        "range" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let ["vector", "from", start, "to", _, "step", step] = words[..] else {
                return Err(format!("bad range vector expectation {rest:?}"));
            };
            let time = |text: &str| duration(text).ok_or_else(|| format!("bad time {text:?}"));
            expected.range_vector = Some((time(start)?, time(step)?));
        }
        other => return Err(format!("unknown expectation {other:?}")),
    }
    Ok(())
}

fn message(text: &str) -> Result<Text, String> {
    let text = text.trim();
    if let Some(exact) = text.strip_prefix("msg:") {
        return Ok(Text::Exactly(exact.trim().to_owned()));
    }
    match text.strip_prefix("regex:") {
        Some(pattern) => {
            regex::Regex::new(pattern.trim()).map(Text::Matching).map_err(|e| e.to_string())
        }
        None => Ok(Text::Any),
    }
}

/// A duration, or a number of seconds, in milliseconds.
fn duration(text: &str) -> Option<i64> {
    if let Some(ms) = number::parse_duration(text) {
        return i64::try_from(ms).ok();
    }
    number::float(text).map(|seconds| (seconds * 1000.0) as i64)
}
