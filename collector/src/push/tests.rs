#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::io::Write;

use axum::body::to_bytes;
use axum::http::Request;
use prost::Message as _;
use queue::{MemoryQueue, MemorySection, Partition, Topic, TopicPartition};
use record::{Limits, LogBatch};
use runtime::clock::{Clock, SystemClock};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::config::ShipSection;
use crate::ship::{Sender, shipper};

/// What a push led to: the answer, and the rows on the queue as (labels, line, level).
struct Outcome {
    status: StatusCode,
    text: String,
    rows: Vec<(String, String, String)>,
}

async fn push(content_type: &str, encoding: &str, body: impl Into<Body>) -> Outcome {
    push_with(&PushSection::default(), content_type, encoding, body).await
}

#[allow(clippy::disallowed_methods, reason = "the test reads its own small answer")]
async fn push_with(
    section: &PushSection,
    content_type: &str,
    encoding: &str,
    body: impl Into<Body>,
) -> Outcome {
    let clock = SystemClock::shared();
    let queue = MemoryQueue::new(MemorySection::default(), Arc::clone(&clock));
    queue.ensure_topic(&Topic::logs(), 1);
    queue.ensure_topic(&Topic::samples(), 1);
    let sender = Sender { collector: "node".to_owned(), boot_epoch: 1 };
    let ship = ShipSection { linger_ms: 1, ..ShipSection::default() };
    let (shipper, task) = shipper(&ship, queue.producer(), sender, Arc::clone(&clock));
    let drain = CancellationToken::new();
    let mut request = Request::post("/loki/api/v1/push").header("content-type", content_type);
    if !encoding.is_empty() {
        request = request.header("content-encoding", encoding);
    }
    let request = request.body(body.into()).unwrap();
    let router = router(section, shipper, clock);
    let asked = async {
        let response = router.oneshot(request).await.unwrap();
        drain.cancel();
        response
    };
    let (response, ()) = futures::join!(asked, task.run(drain.clone(), CancellationToken::new()));
    let status = response.status();
    let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Outcome { status, text: String::from_utf8(text.to_vec()).unwrap(), rows: rows(&queue) }
}

fn rows(queue: &MemoryQueue) -> Vec<(String, String, String)> {
    let at = TopicPartition::new(&Topic::logs(), Partition(0));
    let mut rows = Vec::new();
    for (_, message) in queue.messages(&at) {
        let batch = LogBatch::decode(&message.payload, &Limits::default()).unwrap();
        for row in 0..batch.len() {
            let level = batch.attributes(row).find(|(n, _)| *n == "detected_level");
            let level = level.map_or("", |(_, v)| v).to_owned();
            rows.push((batch.stream(row).to_string(), batch.line(row).to_owned(), level));
        }
    }
    rows
}

fn now() -> i64 {
    SystemClock::new().unix_nanos()
}

fn json(lines: &[&str]) -> String {
    let values: Vec<String> = lines.iter().map(|l| format!(r#"["{}","{l}"]"#, now())).collect();
    format!(r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[{}]}}]}}"#, values.join(","))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn snappy(labels: &str, line: &str, time_ns: i64) -> Vec<u8> {
    let timestamp = proto::Timestamp {
        seconds: time_ns / 1_000_000_000,
        nanos: i32::try_from(time_ns % 1_000_000_000).unwrap(),
    };
    let entry = proto::Entry {
        timestamp: Some(timestamp),
        line: line.to_owned(),
        structured_metadata: vec![],
    };
    let stream = proto::Stream { labels: labels.to_owned(), entries: vec![entry] };
    let request = proto::PushRequest { streams: vec![stream] };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

const STREAM: &str = r#"{app="a", service_name="a"}"#;

#[tokio::test]
async fn every_encoding_is_stored_and_enriched() {
    let plain = json(&["an ERROR", "fine"]);
    let expected = vec![
        (STREAM.to_owned(), "an ERROR".to_owned(), "error".to_owned()),
        (STREAM.to_owned(), "fine".to_owned(), "unknown".to_owned()),
    ];
    for (encoding, body) in [("", plain.clone().into_bytes()), ("gzip", gzip(plain.as_bytes()))] {
        let outcome = push("application/json; charset=utf-8", encoding, body).await;
        assert_eq!((outcome.status.as_u16(), outcome.text.as_str()), (204, ""));
        assert_eq!(outcome.rows, expected, "{encoding}");
    }
    let body = snappy(r#"{app="a"}"#, "an ERROR", now());
    let outcome = push("application/x-protobuf", "", body).await;
    assert_eq!(outcome.status, 204, "{}", outcome.text);
    assert_eq!(outcome.rows, expected[..1]);
}

#[tokio::test]
async fn metadata_is_kept_and_a_given_level_is_not_replaced() {
    let body = format!(
        r#"{{"streams":[{{"stream":{{"service_name":"s"}},"values":[["{}","ERROR",{{"detected_level":"info"}}]]}}]}}"#,
        now()
    );
    let outcome = push("application/json", "", body).await;
    assert_eq!(outcome.rows[0].2, "info");
}

#[tokio::test]
async fn bad_entries_are_named_and_the_others_stored() {
    let body = format!(
        r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[["1000","old"],["{}","good"]]}},{{"stream":{{}},"values":[["{}","none"]]}}]}}"#,
        now(),
        now()
    );
    let outcome = push("application/json", "", body).await;
    assert_eq!(outcome.status, 400);
    assert!(outcome.text.starts_with("2 entries were rejected:\nentry for stream '{app=\"a\"}' has timestamp too old: 1000, oldest acceptable timestamp is: "), "{}", outcome.text);
    assert!(outcome.text.contains("at least one label pair is required per stream"));
    let lines: Vec<&str> = outcome.rows.iter().map(|(_, line, _)| line.as_str()).collect();
    assert_eq!(lines, ["good"]);
}

#[tokio::test]
async fn hostile_bodies_are_refused_and_cost_no_more_than_the_caps() {
    let small = PushSection {
        body_bytes_max: 1 << 20,
        decoded_bytes_max: 2 << 20,
        ..PushSection::default()
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let labels: Vec<String> = (0..50_000).map(|n| format!(r#""l{n}":"v""#)).collect();
    let wide = format!(
        r#"{{"streams":[{{"stream":{{{}}},"values":[["{}","x"]]}}]}}"#,
        labels.join(","),
        now()
    );
    // A block that declares 4 GiB - 1 in its first bytes.
    let declared = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let cases: [(&str, &str, Vec<u8>, u16, &str); 9] = [
        ("application/json", "gzip", gzip(&vec![b' '; 64 << 20]), 413, "decoded_bytes_max"),
        ("application/json", "", vec![b' '; 2 << 20], 413, "body_bytes_max"),
        ("application/json", "", deep.into_bytes(), 400, "push request is not as expected"),
        ("application/json", "", wide.into_bytes(), 400, "labels_max"),
        ("application/json", "gzip", vec![1, 2, 3], 400, "gzip"),
        ("application/json", "br", vec![], 400, "Content-Encoding \"br\" not supported"),
        ("application/x-protobuf", "", declared, 413, "decoded_bytes_max"),
        ("application/x-protobuf", "", vec![0xff; 100], 400, "snappy"),
        ("nonsense", "", vec![], 400, "Content-Type `nonsense` is no media type"),
    ];
    for (content_type, encoding, body, status, text) in cases {
        let outcome = push_with(&small, content_type, encoding, body).await;
        assert_eq!(outcome.status.as_u16(), status, "{text}: {}", outcome.text);
        assert!(outcome.text.contains(text), "{text}: {}", outcome.text);
        assert!(outcome.rows.is_empty(), "{text}");
    }
    let bad = snappy("{app=", "x", now());
    let outcome = push("application/x-protobuf", "", bad).await;
    assert!(outcome.text.contains("labels `{app=`"), "{}", outcome.text);
}
