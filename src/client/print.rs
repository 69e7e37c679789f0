//! Putting answers on a terminal or into a pipe.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Write};

use serde_json::{Value, json};

use super::Entry;
use super::entries::pairs;
use super::time::rfc3339_millis;
use crate::cli::Output;

const DIM: &str = "\x1b[2m";
const BLUE: &str = "\x1b[34m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// Writes to standard output in one form.
#[derive(Debug)]
pub(super) struct Printer {
    output: Output,
    colour: bool,
    out: RefCell<BufWriter<io::Stdout>>,
}

impl Printer {
    /// Returns a printer that colours the default form on a terminal, unless `NO_COLOR` is set.
    pub(super) fn new(output: Output) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            output,
            colour: output == Output::Default && wanted && io::stdout().is_terminal(),
            out: RefCell::new(BufWriter::new(io::stdout())),
        }
    }

    /// Writes one line as it is.
    pub(super) fn line(&self, text: &str) -> anyhow::Result<()> {
        let mut out = self.out.borrow_mut();
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }

    /// Says something beside the answer, so that pipes stay clean.
    #[allow(clippy::print_stderr, reason = "beside the answer")]
    pub(super) fn note(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Writes entries in the order given. With `factor_out`, labels that all entries share are said
    /// once, beside the answer.
    pub(super) fn entries(&self, entries: &[Entry], factor_out: bool) -> anyhow::Result<()> {
        let mut common = BTreeMap::new();
        if factor_out && self.output == Output::Default {
            common = common_labels(entries);
            if !common.is_empty() {
                self.note(&format!("common labels: {}", selector(&common)));
            }
            if entries.is_empty() {
                self.note("no log lines found; try a longer --since");
            }
        }
        let mut out = self.out.borrow_mut();
        for entry in entries {
            let text = match self.output {
                Output::Default => self.entry_text(entry, &common),
                Output::Raw => entry.line.clone(),
                Output::Json => entry_json(entry),
            };
            writeln!(out, "{text}")?;
        }
        Ok(out.flush()?)
    }

    /// Writes the result of a metric query, one line for each value.
    pub(super) fn values(&self, data: &Value) -> anyhow::Result<()> {
        let mut out = self.out.borrow_mut();
        if data["resultType"] == "scalar" {
            self.value(&mut *out, &BTreeMap::new(), &data["result"])?;
            return Ok(out.flush()?);
        }
        let series = data["result"].as_array().map(Vec::as_slice).unwrap_or_default();
        if series.is_empty() && self.output == Output::Default {
            self.note("no values found; try a longer --since");
        }
        for one in series {
            let labels = pairs(&one["metric"]);
            let points = one["values"].as_array().map(Vec::as_slice).unwrap_or_default();
            for point in points {
                self.value(&mut *out, &labels, point)?;
            }
            if !one["value"].is_null() {
                self.value(&mut *out, &labels, &one["value"])?;
            }
        }
        Ok(out.flush()?)
    }

    fn value(
        &self,
        out: &mut impl Write,
        labels: &BTreeMap<String, String>,
        point: &Value,
    ) -> io::Result<()> {
        let seconds = point[0].as_f64().unwrap_or(0.0);
        let time = rfc3339_millis((seconds * 1e3).round() as i64 * 1_000_000);
        let value = point[1].as_str().unwrap_or("");
        match self.output {
            Output::Default => writeln!(
                out,
                "{} {} {value}",
                self.paint(DIM, &time),
                self.paint(BLUE, &selector(labels))
            ),
            Output::Raw => writeln!(out, "{value}"),
            Output::Json => {
                let object = json!({"timestamp": time, "labels": labels, "value": value});
                writeln!(out, "{object}")
            }
        }
    }

    fn entry_text(&self, entry: &Entry, common: &BTreeMap<String, String>) -> String {
        let mut labels = entry.labels.clone();
        labels.retain(|name, _| !common.contains_key(name));
        let time = self.paint(DIM, &rfc3339_millis(entry.unix_nanos));
        let line = self.paint(level_colour(entry), &entry.line);
        if labels.is_empty() {
            return format!("{time} {line}");
        }
        format!("{time} {} {line}", self.paint(BLUE, &selector(&labels)))
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if !self.colour || colour.is_empty() {
            return text.to_owned();
        }
        format!("{colour}{text}{RESET}")
    }
}

fn level_colour(entry: &Entry) -> &'static str {
    let level = entry.metadata.get("detected_level").or_else(|| entry.labels.get("level"));
    match level.map(String::as_str) {
        Some("error" | "critical" | "fatal") => RED,
        Some("warn" | "warning") => YELLOW,
        Some("debug" | "trace") => DIM,
        _ => "",
    }
}

/// Returns the labels that every entry has with the same value; none for fewer than two entries.
fn common_labels(entries: &[Entry]) -> BTreeMap<String, String> {
    let Some((first, rest)) = entries.split_first() else {
        return BTreeMap::new();
    };
    let mut common = first.labels.clone();
    for entry in rest {
        common.retain(|name, value| entry.labels.get(name) == Some(value));
    }
    common
}

/// Renders labels as they are written in a query.
fn selector(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={}", Value::from(value.as_str())))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

fn entry_json(entry: &Entry) -> String {
    let mut object = json!({
        "timestamp": rfc3339_millis(entry.unix_nanos),
        "unix_nanos": entry.unix_nanos.to_string(),
        "labels": entry.labels,
        "line": entry.line,
    });
    if !entry.metadata.is_empty() {
        object["metadata"] = json!(entry.metadata);
    }
    object.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(labels: &[(&str, &str)], level: &str) -> Entry {
        let texts = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        Entry {
            unix_nanos: 1_000_000,
            labels: texts(labels),
            metadata: texts(&[("detected_level", level)]),
            line: "disk full".to_owned(),
        }
    }

    #[test]
    fn shared_labels_are_said_once() {
        let entries = [
            entry(&[("app", "a"), ("pod", "1")], "info"),
            entry(&[("app", "a"), ("pod", "2")], "info"),
        ];
        let common = common_labels(&entries);
        assert_eq!(selector(&common), "{app=\"a\"}");
        let printer = Printer { colour: false, ..Printer::new(Output::Default) };
        assert_eq!(
            printer.entry_text(&entries[0], &common),
            "1970-01-01T00:00:00.001Z {pod=\"1\"} disk full"
        );
        let painted = Printer { colour: true, ..Printer::new(Output::Default) };
        let text = painted.entry_text(&entry(&[], "error"), &BTreeMap::new());
        assert_eq!(text, "\x1b[2m1970-01-01T00:00:00.001Z\x1b[0m \x1b[31mdisk full\x1b[0m");
    }

    #[test]
    fn json_keeps_the_exact_time() {
        let text = entry_json(&entry(&[("app", "a")], "warn"));
        let object: Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!(object["unix_nanos"], "1000000");
        assert_eq!(object["metadata"]["detected_level"], "warn");
        assert_eq!(object["labels"]["app"], "a");
    }
}
