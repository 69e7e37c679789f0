//! OTLP: a message is an `ExportLogsServiceRequest` in protobuf, as an OpenTelemetry collector's
//! Kafka exporter writes it.
//!
//! Resource attributes of a list become labels; every other attribute, severity, trace and span
//! become structured metadata. A body that is no string is printed as JSON. Always holds: one row
//! per log record.

pub(super) mod proto;

use std::borrow::Cow;
use std::fmt::Write;

use prost::Message;
use record::Labels;
use serde_json::{Map, Number, Value};

use super::Poison;
use super::foreign::{Attributes, Entry, Repair, Rows};
use proto::{AnyValue, KeyValue, Kind, LogRecord, Request, ResourceLogs, Scope};

/// Resource attributes that become labels, most telling first where several give one label.
pub(super) const LABELS_FROM: [(&str, &str); 18] = [
    ("service.name", "service_name"),
    ("service.namespace", "service_namespace"),
    ("deployment.environment.name", "deployment_environment"),
    ("deployment.environment", "deployment_environment"),
    ("cloud.region", "cloud_region"),
    ("cloud.availability_zone", "cloud_availability_zone"),
    ("k8s.cluster.name", "cluster"),
    ("k8s.namespace.name", "namespace"),
    ("k8s.pod.name", "pod"),
    ("k8s.container.name", "container"),
    ("container.name", "container"),
    ("k8s.node.name", "node"),
    ("k8s.deployment.name", "k8s_deployment_name"),
    ("k8s.statefulset.name", "k8s_statefulset_name"),
    ("k8s.daemonset.name", "k8s_daemonset_name"),
    ("k8s.cronjob.name", "k8s_cronjob_name"),
    ("k8s.job.name", "k8s_job_name"),
    ("host.name", "node"),
];

pub(super) fn decode(payload: &[u8], rows: &mut Rows<'_>) -> Result<(), Poison> {
    let request = Request::decode(payload).map_err(|error| Poison::Foreign {
        format: "OTLP request in protobuf",
        problem: error.to_string(),
    })?;
    for resource in request.resource_logs {
        resource_logs(resource, rows)?;
    }
    Ok(())
}

fn resource_logs(logs: ResourceLogs, rows: &mut Rows<'_>) -> Result<(), Poison> {
    let mut attributes = logs.resource.unwrap_or_default().attributes;
    let mut labels: Vec<(String, String)> = Vec::new();
    for (from, label) in rows.labels_from() {
        if labels.iter().any(|(known, _)| known == label) {
            continue;
        }
        let Some(at) = attributes.iter().position(|pair| pair.key == from.as_bytes()) else {
            continue;
        };
        let value = text_of(attributes.remove(at).value);
        if !value.is_empty() {
            labels.push((label.clone(), value));
        }
    }
    let stream = rows.stream(labels);
    for scope in logs.scope_logs {
        for record in scope.log_records {
            push(record, &stream, &attributes, scope.scope.as_ref(), rows)?;
        }
    }
    Ok(())
}

fn push(
    record: LogRecord,
    stream: &Labels,
    resource: &[KeyValue],
    scope: Option<&Scope>,
    rows: &mut Rows<'_>,
) -> Result<(), Poison> {
    let mut attributes = Attributes::default();
    facts(&record, &mut attributes);
    for pair in record.attributes {
        add(pair, &mut attributes);
    }
    if let Some(scope) = scope {
        attributes.add("scope_name", lossy(&scope.name));
        attributes.add("scope_version", lossy(&scope.version));
        for pair in &scope.attributes {
            add(pair.clone(), &mut attributes);
        }
    }
    for pair in resource {
        add(pair.clone(), &mut attributes);
    }
    let line = match record.body.and_then(|body| body.value) {
        Some(Kind::String(bytes)) => {
            if std::str::from_utf8(&bytes).is_err() {
                rows.repaired(Repair::Utf8);
            }
            lossy(&bytes)
        }
        body => text_of(Some(AnyValue { value: body })),
    };
    let time = [record.time_unix_nano, record.observed_time_unix_nano];
    let time = time.into_iter().find(|nanos| *nanos != 0);
    let time_ns = time.and_then(|nanos| i64::try_from(nanos).ok());
    if time.is_some() && time_ns.is_none() {
        rows.repaired(Repair::Time);
    }
    rows.push(stream, Entry { time_ns, line: Cow::Owned(line), attributes })
}

/// What a record says of itself beside body and attributes.
fn facts(record: &LogRecord, attributes: &mut Attributes) {
    let number = |number: u64| if number == 0 { String::new() } else { number.to_string() };
    attributes.add("severity_text", lossy(&record.severity_text));
    let severity = u64::try_from(record.severity_number).unwrap_or(0);
    attributes.add("severity_number", number(severity));
    attributes.add("trace_id", hex(&record.trace_id));
    attributes.add("span_id", hex(&record.span_id));
    attributes.add("flags", number(record.flags.into()));
    attributes.add("event_name", lossy(&record.event_name));
    attributes.add("observed_timestamp", number(record.observed_time_unix_nano));
    attributes.add("dropped_attributes_count", number(record.dropped_attributes_count.into()));
}

/// Adds an attribute; a map's entries one by one.
fn add(pair: KeyValue, attributes: &mut Attributes) {
    let name = lossy(&pair.key);
    match pair.value.and_then(|value| value.value) {
        Some(Kind::Map(map)) => {
            for inner in map.values {
                let key = format!("{name}_{}", lossy(&inner.key));
                add(KeyValue { key: key.into_bytes(), value: inner.value }, attributes);
            }
        }
        value => attributes.add(&name, text_of(Some(AnyValue { value }))),
    }
}

/// A string as it is, anything else as JSON.
fn text_of(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        None => String::new(),
        Some(Kind::String(bytes)) => lossy(&bytes),
        other => match json_of(Some(AnyValue { value: other })) {
            Value::String(text) => text,
            other => other.to_string(),
        },
    }
}

fn json_of(value: Option<AnyValue>) -> Value {
    match value.and_then(|value| value.value) {
        None => Value::Null,
        Some(Kind::String(bytes)) => Value::String(lossy(&bytes)),
        Some(Kind::Bool(flag)) => Value::Bool(flag),
        Some(Kind::Int(number)) => Value::Number(number.into()),
        // JSON has no word for infinity; a string keeps it.
        Some(Kind::Double(number)) => Number::from_f64(number)
            .map_or_else(|| Value::String(number.to_string()), Value::Number),
        Some(Kind::Array(array)) => {
            Value::Array(array.values.into_iter().map(|value| json_of(Some(value))).collect())
        }
        Some(Kind::Map(map)) => {
            let pairs = map.values.into_iter();
            let pairs = pairs.map(|pair| (lossy(&pair.key), json_of(pair.value)));
            Value::Object(pairs.collect::<Map<String, Value>>())
        }
        Some(Kind::Bytes(bytes)) => Value::String(hex(&bytes)),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
