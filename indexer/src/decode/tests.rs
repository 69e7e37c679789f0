//! No bytes stop a decoder, and no record is lost in one.

#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use queue::Message;
use record::{DETECTED_LEVEL, Limits, LogBatch};
use serde_json::{Value, json};

use super::otlp::proto as wire;
use super::*;
use crate::kind::Logs;

const NOW_NS: i64 = 1_700_000_000_000_000_000;
const MESSAGE_MS: i64 = 1_650_000_000_123;
const MESSAGE_NS: i64 = MESSAGE_MS * 1_000_000;

fn topic(format: LogFormat) -> LogTopic {
    LogTopic::foreign("theirs", format)
}

fn message(payload: impl Into<Bytes>) -> Message {
    Message { payload: payload.into(), time_ms: Some(MESSAGE_MS), ..Message::default() }
}

fn read(topic: &LogTopic, message: &Message) -> Result<Decoded<LogBatch>, Poison> {
    let format = Format::Foreign(Foreign::new(topic));
    decode::<Logs>(&format, message, &Limits::default(), NOW_NS)
}

fn rows(format: LogFormat, payload: impl Into<Bytes>) -> LogBatch {
    read(&topic(format), &message(payload)).unwrap().batch
}

fn json(payload: &Value) -> LogBatch {
    rows(LogFormat::Json, payload.to_string())
}

fn attribute(batch: &LogBatch, row: usize, name: &str) -> Option<String> {
    let mut found = batch.attributes(row).filter(|(known, _)| *known == name);
    let value = found.next().map(|(_, value)| value.to_owned());
    assert!(found.next().is_none(), "{name} twice");
    value
}

fn any_value(kind: wire::Kind) -> Option<wire::AnyValue> {
    Some(wire::AnyValue { value: Some(kind) })
}

fn string(text: &str) -> Option<wire::AnyValue> {
    any_value(wire::Kind::String(text.into()))
}

fn pair(key: &str, value: Option<wire::AnyValue>) -> wire::KeyValue {
    wire::KeyValue { key: key.into(), value }
}

fn request(resource: Vec<wire::KeyValue>, records: Vec<wire::LogRecord>) -> Vec<u8> {
    let scope = wire::Scope { name: b"lib".to_vec(), ..wire::Scope::default() };
    let scope_logs = vec![wire::ScopeLogs { scope: Some(scope), log_records: records }];
    let resource = Some(wire::Resource { attributes: resource });
    wire::Request { resource_logs: vec![wire::ResourceLogs { resource, scope_logs }] }
        .encode_to_vec()
}

#[test]
fn otlp_records_become_rows() {
    let nested = wire::KeyValues { values: vec![pair("id", any_value(wire::Kind::Int(7)))] };
    let array = wire::Array { values: vec![string("a").unwrap(), string("b").unwrap()] };
    let record = wire::LogRecord {
        time_unix_nano: 1_600_000_000_000_000_001,
        severity_number: 17,
        body: string("payment refused"),
        trace_id: vec![0xab; 16],
        span_id: vec![0x01; 8],
        attributes: vec![
            pair("user", any_value(wire::Kind::Map(nested))),
            pair("tags", any_value(wire::Kind::Array(array))),
            pair("ok", any_value(wire::Kind::Bool(false))),
        ],
        ..wire::LogRecord::default()
    };
    let map = wire::KeyValues { values: vec![pair("k", any_value(wire::Kind::Double(1.5)))] };
    let structured = wire::LogRecord {
        observed_time_unix_nano: 5,
        body: any_value(wire::Kind::Map(map)),
        ..wire::LogRecord::default()
    };
    let resource = vec![
        pair("service.name", string("shop")),
        pair("k8s.namespace.name", string("prod")),
        pair("k8s.pod.name", string("shop-1")),
        pair("container.name", string("second choice")),
        pair("k8s.container.name", string("web")),
        pair("os.type", string("linux")),
    ];
    let records = vec![record, structured, wire::LogRecord::default()];
    let batch = rows(LogFormat::OtlpProto, request(resource, records));
    let labels = r#"{container="web", namespace="prod", pod="shop-1", service_name="shop"}"#;
    assert_eq!(batch.stream(0).to_string(), labels);
    assert_eq!(batch.streams().len(), 1);
    assert_eq!(batch.times(), [1_600_000_000_000_000_001, 5, MESSAGE_NS]);
    let lines: Vec<&str> = (0..3).map(|row| batch.line(row)).collect();
    assert_eq!(lines, ["payment refused", r#"{"k":1.5}"#, ""]);
    for (name, value) in [
        (DETECTED_LEVEL, "error"),
        ("trace_id", &"ab".repeat(16)),
        ("span_id", "0101010101010101"),
        ("severity_number", "17"),
        ("user_id", "7"),
        ("tags", r#"["a","b"]"#),
        ("ok", "false"),
        ("os_type", "linux"),
        ("container_name", "second choice"),
        ("scope_name", "lib"),
    ] {
        assert_eq!(attribute(&batch, 0, name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn one_bad_byte_costs_neither_the_row_nor_its_message() {
    let bad = wire::LogRecord {
        body: any_value(wire::Kind::String(b"caf\xe9".to_vec())),
        ..wire::LogRecord::default()
    };
    let good = wire::LogRecord { body: string("fine"), ..wire::LogRecord::default() };
    let batch = rows(LogFormat::OtlpProto, request(Vec::new(), vec![bad, good]));
    assert_eq!((batch.line(0), batch.line(1)), ("caf\u{fffd}", "fine"));
    assert_eq!(rows(LogFormat::Raw, &b"caf\xe9\r\n"[..]).line(0), "caf\u{fffd}");
}

#[test]
fn what_is_no_json_is_kept_as_it_came() {
    for text in ["plain text", "{\"half\": ", "", "{} trailing", &"[".repeat(5_000)] {
        let batch = rows(LogFormat::Json, text.to_owned());
        assert_eq!((batch.len(), batch.line(0)), (1, text), "{text}");
        assert_eq!(batch.times(), [MESSAGE_NS]);
    }
    for (text, lines) in [
        (r#"["a", 1, {"message":"m"}]"#, vec![r#""a""#, "1", "m"]),
        ("{\"message\":\"a\"}\n{\"log\":\"b\\n\"}\n", vec!["a", "b"]),
        ("7", vec!["7"]),
        ("[]", vec!["[]"]),
        (r#" {"x": [1,  2]} "#, vec![r#"{"x": [1,  2]}"#]),
    ] {
        let batch = rows(LogFormat::Json, text);
        let found: Vec<&str> = (0..batch.len()).map(|row| batch.line(row)).collect();
        assert_eq!(found, lines, "{text}");
    }
}

#[test]
fn too_much_is_cut_and_the_row_stays() {
    let many: serde_json::Map<String, Value> =
        (0..500).map(|n| (format!("field {n}"), json!("x".repeat(100_000 / (n + 1))))).collect();
    let batch = json(&json!({"message": "m", "more": many, "stream": "s".repeat(5_000)}));
    assert_eq!(batch.len(), 1);
    assert_eq!(batch.stream(0).get("stream").unwrap().len(), 2_048);
    assert_eq!(batch.attributes(0).count(), 129, "128 and the level");
    assert!(batch.attributes(0).all(|(_, value)| value.len() <= 64 << 10));
    // What was made can be sent to a query, whose limits are these.
    LogBatch::decode(&batch.encode().unwrap(), &Limits::default()).unwrap();
}

#[test]
fn a_line_over_the_limit_is_poison_rather_than_cut() {
    let limits = Limits { line_bytes_max: 4, ..Limits::default() };
    let format = Format::Foreign(Foreign::new(&topic(LogFormat::Raw)));
    let poison = decode::<Logs>(&format, &message("12345"), &limits, NOW_NS).unwrap_err();
    assert_eq!(poison.reason(), "limits");
}

#[test]
fn the_tenant_is_the_headers_or_the_topics() {
    let mut topic = topic(LogFormat::Raw);
    topic.tenant = TenantId::new("shop").unwrap();
    topic.tenant_header = Some("tenant".to_owned());
    let with = |value: &'static [u8]| Message {
        headers: vec![("tenant".to_owned(), Bytes::from_static(value))],
        ..message("x")
    };
    assert_eq!(read(&topic, &message("x")).unwrap().tenant.as_str(), "shop");
    assert_eq!(read(&topic, &with(b"team-b")).unwrap().tenant.as_str(), "team-b");
    assert_eq!(read(&topic, &with(b"../etc")).unwrap_err().reason(), "headers");
}

#[test]
fn labels_are_the_configurations_the_messages_or_the_topic() {
    let mut raw = topic(LogFormat::Raw);
    raw.labels.insert("service_name".to_owned(), "nginx".to_owned());
    let batch = read(&raw, &message("x")).unwrap().batch;
    assert_eq!(batch.stream(0).to_string(), r#"{service_name="nginx", topic="theirs"}"#);
    let batch = json(&json!({"message": "no label at all"}));
    assert_eq!(batch.stream(0).get("topic"), Some("theirs"));
    let mut chosen = topic(LogFormat::Json);
    chosen.labels_from = Some([("a.b".to_owned(), "ab".to_owned())].into());
    let text = r#"{"message":"m","a":{"b":"x"},"stream":"stdout"}"#;
    let batch = read(&chosen, &message(text)).unwrap().batch;
    assert_eq!(batch.stream(0).get("ab"), Some("x"));
    assert_eq!(batch.stream(0).get("stream"), None);
    assert_eq!(attribute(&batch, 0, "stream").as_deref(), Some("stdout"));
}

#[test]
fn levels_are_detected_as_everywhere() {
    for (object, level) in [
        (json!({"message": "x", "log": {"level": "WARN"}}), "warn"),
        (json!({"message": "x", "level": "Information"}), "info"),
        (json!({"message": "level=debug x"}), "debug"),
        (json!({"message": "x", "detected_level": "mine"}), "mine"),
        (json!({"message": "x"}), "unknown"),
    ] {
        let found = attribute(&json(&object), 0, DETECTED_LEVEL);
        assert_eq!(found.as_deref(), Some(level), "{object}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "message",
        "log",
        "@timestamp",
        "date",
        "kubernetes",
        "pod",
        "name",
        "file",
        "x.y",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..5).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_stop_a_decoder(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [LogFormat::Json, LogFormat::Raw] {
            let read = read(&topic(format), &message(payload.clone()));
            prop_assert!(!read.unwrap().batch.is_empty(), "{:?}", format);
        }
        if let Err(poison) = read(&topic(LogFormat::OtlpProto), &message(payload)) {
            prop_assert_eq!(poison.reason(), "payload");
        }
    }

    #[test]
    fn a_damaged_request_is_rows_or_poison(
        bodies in prop::collection::vec(".{0,20}", 1..5),
        at in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let records = bodies.iter().map(|body| wire::LogRecord {
            body: string(body),
            ..wire::LogRecord::default()
        });
        let mut payload = request(vec![pair("service.name", string("s"))], records.collect());
        let sound = rows(LogFormat::OtlpProto, payload.clone());
        prop_assert_eq!((0..sound.len()).map(|r| sound.line(r)).collect::<Vec<_>>(), bodies);
        let at = at.index(payload.len());
        payload[at] ^= change;
        if let Err(poison) = read(&topic(LogFormat::OtlpProto), &message(payload)) {
            prop_assert_eq!(poison.reason(), "payload");
        }
    }

    #[test]
    fn every_object_is_a_row_that_a_query_can_be_sent(
        objects in prop::collection::vec(any_json(), 1..5),
    ) {
        let batch = json(&Value::Array(objects.clone()));
        prop_assert_eq!(batch.len(), objects.len());
        // Rows of one stream are together, so they are in another order.
        let mut left: Vec<usize> = (0..batch.len()).collect();
        for object in &objects {
            let text = object.to_string();
            let is_of_object = |row: &usize| {
                let line = batch.line(*row);
                line == text || object.as_object().is_some_and(|fields| {
                    let named = ["message", "log"].iter();
                    let mut said = named.filter_map(|name| fields.get(*name)?.as_str());
                    said.any(|text| text.strip_suffix('\n').unwrap_or(text) == line)
                })
            };
            let row = left.iter().position(is_of_object);
            prop_assert!(row.is_some(), "no row for {}", text);
            let row = left.remove(row.unwrap_or_default());
            prop_assert!(!batch.stream(row).is_empty());
        }
        prop_assert!(LogBatch::decode(&batch.encode().unwrap(), &Limits::default()).is_ok());
    }
}
