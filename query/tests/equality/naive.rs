//! Answers by looking at every row.

use std::collections::BTreeMap;

use record::Labels;
use serde_json::Value;

use crate::question::{Matching, Metric, Question, Stage};
use crate::world::{Row, SECOND};

/// Entries by labels: time and line, in the order of the answer.
pub(crate) type Entries = BTreeMap<String, Vec<(String, String)>>;

/// Values by labels and time in seconds.
pub(crate) type Points = BTreeMap<String, BTreeMap<i64, f64>>;

fn anchored(pattern: &str) -> regex::Regex {
    regex::Regex::new(&format!("^(?s:{pattern})$")).unwrap()
}

fn matches(matching: &Matching, value: &str) -> bool {
    match matching.op {
        "=" => value == matching.value,
        "!=" => value != matching.value,
        "=~" => anchored(&matching.value).is_match(value),
        _ => !anchored(&matching.value).is_match(value),
    }
}

/// A row's label: its first attribute that has a value, else its stream's.
fn label<'a>(row: &'a Row, name: &str) -> &'a str {
    let attribute = row.attributes.iter().find(|(known, value)| known == name && !value.is_empty());
    attribute.map(|(_, value)| value.as_str()).or_else(|| row.stream.get(name)).unwrap_or("")
}

fn hits(op: &str, needle: &str, line: &str) -> bool {
    match op {
        "|=" | "!=" => line.contains(needle),
        _ => record::re2::unanchored(needle).unwrap().is_match(line),
    }
}

/// The labels of a row after the stages, or `None` when one drops it.
fn after_stages(row: &Row, question: &Question) -> Option<Labels> {
    if !question.matchers.iter().all(|m| matches(m, row.stream.get(m.name).unwrap_or(""))) {
        return None;
    }
    let names = row.attributes.iter().map(|(name, _)| name.as_str());
    let names: Vec<&str> = names.chain(row.stream.iter().map(|(name, _)| name)).collect();
    let mut labels = Labels::from_pairs(names.iter().map(|name| (*name, label(row, name))));
    for stage in &question.stages {
        let of = |name: &str| labels.get(name).unwrap_or("").to_owned();
        let kept = match stage {
            Stage::Line(op, needles) => {
                needles.iter().any(|needle| hits(op, needle, &row.line)) == op.starts_with('|')
            }
            Stage::Labels(true, all) => all.iter().all(|m| matches(m, &of(m.name))),
            Stage::Labels(false, any) => any.iter().any(|m| matches(m, &of(m.name))),
            Stage::Number(op, value) => of("n").parse::<u32>().is_ok_and(|n| match *op {
                "<" => n < *value,
                _ => *value <= n,
            }),
            Stage::Drop(name) => {
                labels = labels.without(name);
                true
            }
        };
        if !kept {
            return None;
        }
    }
    Some(labels)
}

pub(crate) fn entries(rows: &[Row], question: &Question) -> Entries {
    let start = question.start * SECOND;
    let end = (question.start + question.length) * SECOND;
    let inside = |row: &Row| start <= row.time_ns && row.time_ns < end;
    let kept = rows.iter().enumerate().filter(|(_, row)| inside(row));
    let mut kept: Vec<(usize, &Row, Labels)> =
        kept.filter_map(|(at, row)| Some((at, row, after_stages(row, question)?))).collect();
    kept.sort_by_key(|(at, row, _)| (row.time_ns, row.stream.to_string(), *at));
    if !question.forward {
        kept.reverse();
    }
    let mut entries = Entries::new();
    for (_, row, labels) in kept.into_iter().take(question.limit.unwrap_or(usize::MAX)) {
        let stream = entries.entry(labels.to_string()).or_default();
        stream.push((row.time_ns.to_string(), row.line.clone()));
    }
    entries
}

pub(crate) fn entries_of(answer: &Value) -> Entries {
    let mut entries = Entries::new();
    for stream in answer["data"]["result"].as_array().unwrap() {
        let labels = Labels::from_json(&stream["stream"].to_string()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let values = stream["values"].as_array().unwrap().iter();
        let values = values.map(|entry| (text(&entry[0]), text(&entry[1])));
        entries.insert(labels.to_string(), values.collect());
    }
    entries
}

fn group(metric: &Metric, labels: &Labels) -> Labels {
    let named = |name: &str| metric.names.contains(&name);
    match metric.around {
        "" => labels.clone(),
        _ => Labels::from_pairs(labels.iter().filter(|(name, _)| named(name) != metric.without)),
    }
}

pub(crate) fn points(rows: &[Row], question: &Question, metric: &Metric) -> Points {
    let kept: Vec<(&Row, Labels)> =
        rows.iter().filter_map(|row| Some((row, after_stages(row, question)?))).collect();
    let mut points = Points::new();
    let first = question.start.div_euclid(metric.step);
    let end = question.start + question.length;
    let last = (end + metric.step - 1).div_euclid(metric.step);
    for time in (first..=last).map(|step| step * metric.step) {
        for (labels, value) in at_time(&kept, metric, (time - metric.offset) * SECOND) {
            points.entry(labels.to_string()).or_default().insert(time, value);
        }
    }
    points
}

fn at_time(rows: &[(&Row, Labels)], metric: &Metric, end: i64) -> Vec<(Labels, f64)> {
    let mut series: BTreeMap<Labels, f64> = BTreeMap::new();
    for (row, labels) in rows {
        if end - metric.range * SECOND < row.time_ns && row.time_ns <= end {
            let bytes = metric.op.starts_with("bytes");
            let amount = if bytes { row.line.len() as f64 } else { 1.0 };
            *series.entry(labels.clone()).or_default() += amount;
        }
    }
    if metric.op.ends_with("rate") {
        series.values_mut().for_each(|value| *value /= metric.range as f64);
    }
    if metric.around.is_empty() {
        return series.into_iter().collect();
    }
    let mut groups: BTreeMap<Labels, Vec<(Labels, f64)>> = BTreeMap::new();
    for (labels, value) in series {
        groups.entry(group(metric, &labels)).or_default().push((labels, value));
    }
    let mut out = Vec::new();
    for (labels, mut members) in groups {
        if metric.around == "topk" {
            members.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            out.extend(members.into_iter().take(2));
            continue;
        }
        let values = || members.iter().map(|(_, value)| *value);
        let sum: f64 = values().sum();
        let value = match metric.around {
            "max" => values().fold(f64::MIN, f64::max),
            "min" => values().fold(f64::MAX, f64::min),
            "avg" => sum / members.len() as f64,
            "count" => members.len() as f64,
            _ => sum,
        };
        out.push((labels, value));
    }
    out
}

pub(crate) fn points_of(answer: &Value) -> Points {
    let mut points = Points::new();
    for series in answer["data"]["result"].as_array().unwrap() {
        let labels = Labels::from_json(&series["metric"].to_string()).unwrap();
        let values = series["values"].as_array().unwrap().iter();
        let values = values.map(|point| {
            (point[0].as_i64().unwrap(), point[1].as_str().unwrap().parse::<f64>().unwrap())
        });
        points.insert(labels.to_string(), values.collect());
    }
    points
}

/// Sums of fractions may differ in their last bits by the order in which they were added.
pub(crate) fn close(left: &Points, right: &Points) -> bool {
    let near = |a: &f64, b: &f64| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
    left.len() == right.len()
        && left.iter().zip(right).all(|((name, a), (other, b))| {
            let same = |((t, a), (u, b)): ((&i64, &f64), (&i64, &f64))| t == u && near(a, b);
            name == other && a.len() == b.len() && a.iter().zip(b).all(same)
        })
}
