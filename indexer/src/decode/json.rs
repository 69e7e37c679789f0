//! JSON: a message is an object, an array of objects, or objects one after the other.
//!
//! The shapes that Filebeat, Fluent Bit and Vector write are told by their fields, which do not
//! overlap: `kubernetes.pod.name` is Filebeat's, `kubernetes.namespace_name` Fluent Bit's,
//! `kubernetes.pod_namespace` Vector's. So there is one list of fields per label, time and line, and
//! no guessing of the shipper; an object that is none of theirs is read by the same lists.
//!
//! What always holds: one row per object, and one for anything else, whose text is kept as it
//! came. A record without a field for its line is its own line. No depth of nesting overflows the
//! stack: the parser stops at 128, and the text is kept raw.

mod fields;
mod time;

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Poison;
use super::foreign::{Attributes, Entry, Repair, Rows};
use super::raw::keep;

/// Fields that become labels, most telling first where several give one label.
pub(super) const LABELS_FROM: [(&str, &str); 22] = [
    ("kubernetes.namespace", "namespace"),
    ("kubernetes.namespace_name", "namespace"),
    ("kubernetes.pod_namespace", "namespace"),
    ("kubernetes.pod.name", "pod"),
    ("kubernetes.pod_name", "pod"),
    ("kubernetes.container.name", "container"),
    ("kubernetes.container_name", "container"),
    ("kubernetes.node.name", "node"),
    ("kubernetes.host", "node"),
    ("kubernetes.pod_node_name", "node"),
    ("kubernetes.labels.app.kubernetes.io/name", "app"),
    ("kubernetes.labels.app_kubernetes_io/name", "app"),
    ("kubernetes.pod_labels.app.kubernetes.io/name", "app"),
    ("kubernetes.labels.app", "app"),
    ("kubernetes.pod_labels.app", "app"),
    ("service.name", "service_name"),
    ("orchestrator.cluster.name", "cluster"),
    ("stream", "stream"),
    ("host.name", "node"),
    ("host", "node"),
    ("log.file.path", FILENAME),
    ("file", FILENAME),
];

/// Label of rows that come from a file and not from a pod, whose files are too many for labels.
const FILENAME: &str = "filename";

/// Fields that hold the line, if they are strings.
const LINES: [&str; 5] = ["message", "log", "msg", "MESSAGE", "body"];

/// Fields that hold the time.
const TIMES: [&str; 5] = ["@timestamp", "timestamp", "time", "date", "ts"];

/// What Filebeat tells the next hop, not the reader.
const HOP_METADATA: &str = "@metadata";

pub(super) fn decode(payload: &[u8], rows: &mut Rows<'_>) -> Result<(), Poison> {
    let text = String::from_utf8_lossy(payload);
    if let Cow::Owned(_) = text {
        rows.repaired(Repair::Utf8);
    }
    let Some(values) = values(&text) else {
        rows.repaired(Repair::KeptRaw);
        return keep(&text, rows);
    };
    for value in values {
        record(value, rows)?;
    }
    Ok(())
}

/// Takes a text apart into its values, an array into its elements; `None` when it is not JSON from
/// end to end, or says nothing.
fn values(text: &str) -> Option<Vec<&str>> {
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let value = value.ok()?.get();
        if value.starts_with('[') {
            let elements: Vec<&RawValue> = serde_json::from_str(value).ok()?;
            values.extend(elements.into_iter().map(RawValue::get));
        } else {
            values.push(value);
        }
    }
    (!values.is_empty()).then_some(values)
}

fn record(text: &str, rows: &mut Rows<'_>) -> Result<(), Poison> {
    let Ok(mut object) = serde_json::from_str::<Map<String, Value>>(text) else {
        rows.repaired(Repair::KeptRaw);
        return keep(text, rows);
    };
    object.remove(HOP_METADATA);
    let time_ns = time_of(&mut object, rows);
    let line = LINES.iter().find_map(|name| match object.get(*name) {
        Some(Value::String(_)) => object.remove(*name),
        _ => None,
    });
    let (labels, filename) = labels_of(&mut object, rows.labels_from());
    let stream = rows.stream(labels);
    let Some(Value::String(line)) = line else {
        // Every field is in the line already.
        let attributes = Attributes::default();
        return rows.push(&stream, Entry { time_ns, line: text.into(), attributes });
    };
    let mut attributes = Attributes::default();
    if let Some(filename) = filename {
        attributes.add(FILENAME, filename);
    }
    fields::flatten(object, &mut attributes);
    let line = line.strip_suffix('\n').unwrap_or(&line);
    rows.push(&stream, Entry { time_ns, line: line.into(), attributes })
}

/// Takes the first time that can be read; one that cannot stays a field.
fn time_of(object: &mut Map<String, Value>, rows: &mut Rows<'_>) -> Option<i64> {
    let mut unreadable = false;
    for name in TIMES {
        let Some(value) = object.get(name) else { continue };
        match time::read(value) {
            Some(time_ns) => {
                object.remove(name);
                return Some(time_ns);
            }
            None => unreadable = true,
        }
    }
    if unreadable {
        rows.repaired(Repair::Time);
    }
    None
}

/// Takes the fields that are labels, and a file name that is none because there is a pod.
fn labels_of(
    object: &mut Map<String, Value>,
    labels_from: &[(String, String)],
) -> (Vec<(String, String)>, Option<String>) {
    let mut labels: Vec<(String, String)> = Vec::new();
    for (path, label) in labels_from {
        if labels.iter().any(|(known, _)| known == label) {
            continue;
        }
        if let Some(value) = fields::take_text(object, path) {
            labels.push((label.clone(), value));
        }
    }
    let filename = labels.iter().position(|(label, _)| label == FILENAME);
    let in_pod = labels.iter().any(|(label, _)| label == "pod");
    match filename {
        Some(at) if in_pod => {
            let (_, filename) = labels.remove(at);
            (labels, Some(filename))
        }
        _ => (labels, None),
    }
}
