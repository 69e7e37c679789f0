//! Prometheus' text exposition format, version 0.0.4.
//!
//! A byte scan, line by line; the first line that fits no rule fails the scrape with its number,
//! as a half-read target would show wrong sums.

use std::collections::BTreeMap;

use record::{Labels, METRIC_NAME, MetricMetadata};

/// What a target exposed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// Labels with `__name__`, value, and the time in ms where the target gave one.
    pub samples: Vec<(Labels, f64, Option<i64>)>,
    /// Type and help of families.
    pub metadata: Vec<MetricMetadata>,
}

/// Where and why the text is not in the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}")]
pub struct ExpositionError {
    line: usize,
    expected: &'static str,
}

/// Reads a whole answer.
///
/// # Errors
/// When a line is malformed; the error says which.
pub fn parse(text: &str) -> Result<Exposition, ExpositionError> {
    let mut samples = Vec::new();
    let mut families: BTreeMap<String, MetricMetadata> = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if let Some(comment) = line.strip_prefix('#') {
            read_comment(comment.trim_start(), &mut families);
        } else if !line.is_empty() {
            let sample = Line { rest: line }.sample();
            samples.push(sample.map_err(|expected| ExpositionError { line: at + 1, expected })?);
        }
    }
    Ok(Exposition { samples, metadata: families.into_values().collect() })
}

fn read_comment(comment: &str, families: &mut BTreeMap<String, MetricMetadata>) {
    let mut words = comment.splitn(3, [' ', '\t']);
    let (kind, name, rest) = (words.next(), words.next(), words.next().unwrap_or(""));
    let (Some(kind @ ("HELP" | "TYPE")), Some(name)) = (kind, name) else { return };
    let family = families.entry(name.to_owned()).or_insert_with(|| MetricMetadata {
        family: name.to_owned(),
        kind: "unknown".to_owned(),
        help: String::new(),
        unit: String::new(),
    });
    match kind {
        "HELP" => family.help = rest.replace("\\n", "\n").replace("\\\\", "\\"),
        // The old word for unknown.
        _ if rest.trim() == "untyped" => {}
        _ => rest.trim().clone_into(&mut family.kind),
    }
}

struct Line<'a> {
    rest: &'a str,
}

impl<'a> Line<'a> {
    /// `name{label="value",…} value [time]`
    fn sample(mut self) -> Result<(Labels, f64, Option<i64>), &'static str> {
        let name = self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
        if name.is_empty() {
            return Err("a metric name");
        }
        let mut pairs = vec![(METRIC_NAME.to_owned(), name.to_owned())];
        self.skip_spaces();
        if self.eat('{') {
            self.labels(&mut pairs)?;
        }
        let mut words = self.rest.split_ascii_whitespace();
        let value = words.next().and_then(float).ok_or("a value")?;
        let time = match words.next() {
            Some(word) => Some(word.parse().map_err(|_| "a timestamp in milliseconds")?),
            None => None,
        };
        if words.next().is_some() {
            return Err("the end of the line");
        }
        Ok((Labels::from_pairs(pairs), value, time))
    }

    fn labels(&mut self, pairs: &mut Vec<(String, String)>) -> Result<(), &'static str> {
        loop {
            self.skip_spaces();
            if self.eat('}') {
                return Ok(());
            }
            let name = self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_');
            if name.is_empty() {
                return Err("a label name or `}`");
            }
            self.skip_spaces();
            if !self.eat('=') {
                return Err("`=`");
            }
            self.skip_spaces();
            let value = self.quoted()?;
            let value = if matches!(name, "le" | "quantile") { as_float(value) } else { value };
            pairs.push((name.to_owned(), value));
            self.skip_spaces();
            if !self.eat(',') && !self.rest.starts_with('}') {
                return Err("`,` or `}`");
            }
        }
    }

    /// A double-quoted value with the escapes `\\`, `\"` and `\n`.
    fn quoted(&mut self) -> Result<String, &'static str> {
        if !self.eat('"') {
            return Err("`\"`");
        }
        let mut value = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next().ok_or("a closing `\"`")? {
                '"' => break,
                '\\' => match chars.next().ok_or("an escape")? {
                    'n' => value.push('\n'),
                    c @ ('"' | '\\') => value.push(c),
                    c => value.extend(['\\', c]),
                },
                c => value.push(c),
            }
        }
        self.rest = chars.as_str();
        Ok(value)
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let length = self.rest.bytes().take_while(|b| wanted(*b)).count();
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn eat(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }
}

/// As Go reads it: `NaN`, `+Inf`, `-Inf` in any case, else a decimal number.
fn float(word: &str) -> Option<f64> {
    // Rust's parser takes the same words; an ordinary NaN gets Prometheus' canonical bits.
    let value: f64 = word.parse().ok()?;
    Some(if value.is_nan() { f64::from_bits(0x7ff8_0000_0000_0001) } else { value })
}

/// Prometheus 3 writes `le` and `quantile` as floats, `1` as `1.0`, so that series of targets
/// old and new are the same (`specs/prometheus-api.md` 5.6).
fn as_float(value: String) -> String {
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() && number.abs() < 1e15 => format!("{number:?}"),
        Ok(number) if number == f64::INFINITY => "+Inf".to_owned(),
        _ => value,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_names_labels_values_times_and_metadata() {
        let text = concat!(
            "# HELP http_requests_total Requests\\nby code.\n",
            "# TYPE http_requests_total counter\n",
            "http_requests_total{code=\"200\",path=\"a\\\"b\\\\c\\nd\",} 1.5e3 1700000000123\n",
            "# a comment\n",
            "\n",
            "up 1\r\n",
            "h_bucket{le=\"1\"} 3\n",
            "h_bucket { le = \"+Inf\" } +Inf\n",
            "weird NaN\n",
            "# TYPE other untyped\n",
        );
        let read = parse(text).unwrap();
        let shown: Vec<String> =
            read.samples.iter().map(|(l, v, t)| format!("{l} {v} {t:?}")).collect();
        assert_eq!(
            shown,
            [
                r#"{__name__="http_requests_total", code="200", path="a\"b\\c\nd"} 1500 Some(1700000000123)"#,
                r#"{__name__="up"} 1 None"#,
                r#"{__name__="h_bucket", le="1.0"} 3 None"#,
                r#"{__name__="h_bucket", le="+Inf"} inf None"#,
                r#"{__name__="weird"} NaN None"#,
            ]
        );
        assert_eq!(read.metadata.len(), 2);
        assert_eq!(read.metadata[0].help, "Requests\nby code.");
        assert_eq!(read.metadata[0].kind, "counter");
        assert_eq!(read.metadata[1].kind, "unknown");
    }

    #[test]
    fn a_malformed_line_is_named() {
        let cases = [
            ("ok 1\n{a=\"b\"} 1", "line 2: expected a metric name"),
            ("a", "line 1: expected a value"),
            ("a x", "line 1: expected a value"),
            ("a{b} 1", "line 1: expected `=`"),
            ("a{b=\"c} 1", "line 1: expected a closing `\"`"),
            ("a{b=\"c\" d=\"e\"} 1", "line 1: expected `,` or `}`"),
            ("a 1 x", "line 1: expected a timestamp in milliseconds"),
            ("a 1 2 3", "line 1: expected the end of the line"),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            drop(parse(&text));
        }
    }
}
