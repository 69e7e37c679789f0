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
use crate::ship::{Sender, Stopping, shipper};

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
    let stopping = Stopping { drain: drain.clone(), ..Stopping::default() };
    let (response, ()) = futures::join!(asked, task.run(stopping));
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

/// The messages as other people's clients make them.
mod logproto {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct PushRequest {
        #[prost(message, repeated, tag = "1")]
        pub(super) streams: Vec<Stream>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Stream {
        #[prost(string, tag = "1")]
        pub(super) labels: String,
        #[prost(message, repeated, tag = "2")]
        pub(super) entries: Vec<Entry>,
        /// Not ours to read.
        #[prost(uint64, tag = "3")]
        pub(super) hash: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Entry {
        #[prost(message, optional, tag = "1")]
        pub(super) timestamp: Option<Timestamp>,
        #[prost(string, tag = "2")]
        pub(super) line: String,
        #[prost(message, repeated, tag = "3")]
        pub(super) structured_metadata: Vec<Pair>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Timestamp {
        #[prost(int64, tag = "1")]
        pub(super) seconds: i64,
        #[prost(int32, tag = "2")]
        pub(super) nanos: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Pair {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) value: String,
    }
}

fn snappy(labels: &str, line: &str, time_ns: i64) -> Vec<u8> {
    let timestamp = logproto::Timestamp {
        seconds: time_ns.div_euclid(1_000_000_000),
        nanos: i32::try_from(time_ns.rem_euclid(1_000_000_000)).unwrap(),
    };
    let pair = logproto::Pair { name: "trace".to_owned(), value: "t1".to_owned() };
    let entry = logproto::Entry {
        timestamp: Some(timestamp),
        line: line.to_owned(),
        structured_metadata: vec![pair],
    };
    let stream =
        logproto::Stream { labels: labels.to_owned(), entries: vec![entry], hash: u64::MAX };
    let request = logproto::PushRequest { streams: vec![stream] };
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
async fn a_stream_may_come_after_its_values() {
    let body = format!(
        r#"{{"streams":[{{"more":[[[]]],"values":[["{0}","one",{{"a":"b"}}],["{0}","two"]],"stream":{{"app":"a"}}}}]}}"#,
        now()
    );
    let outcome = push("application/json", "", body).await;
    assert_eq!(outcome.status, 204, "{}", outcome.text);
    let lines: Vec<&str> = outcome.rows.iter().map(|(_, line, _)| line.as_str()).collect();
    assert_eq!((outcome.rows[0].0.as_str(), lines), (STREAM, vec!["one", "two"]));
}

#[tokio::test]
async fn labels_that_cannot_be_read_are_shown() {
    let outcome = push("application/x-protobuf", "", snappy("{app=", "x", now())).await;
    assert_eq!(outcome.status, 400);
    assert_eq!(
        outcome.text,
        "push request is no protobuf in stream 0: labels `{app=`: label set is malformed at byte \
         5: expected `\"`; send a logproto.PushRequest as one snappy block"
    );
}

mod properties {
    use proptest::prelude::*;

    use super::super::intake::Intake;
    use super::super::{PushSection, json, proto};
    use super::logproto;
    use prost::Message as _;

    proptest! {
        #[test]
        fn no_bytes_break_a_decoder(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let section = PushSection::default();
            drop(json::decode(&body, &mut Intake::new(&section, 0)));
            drop(proto::decode(&body, &mut Intake::new(&section, 0)));
        }

        /// A request cut anywhere is read as far as it goes or refused, and every line of a whole
        /// one is taken.
        #[test]
        fn protobuf_is_read_as_its_library_writes_it(
            lines in proptest::collection::vec((any::<String>(), 0..2_000_000_000_i64), 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let entries = lines.iter().map(|(line, seconds)| logproto::Entry {
                timestamp: Some(logproto::Timestamp { seconds: *seconds, nanos: 7 }),
                line: line.clone(),
                structured_metadata: vec![],
            });
            let labels = r#"{a="b"}"#.to_owned();
            let stream = logproto::Stream { labels, entries: entries.collect(), hash: 1 };
            let body = logproto::PushRequest { streams: vec![stream] }.encode_to_vec();
            let section = PushSection { age_secs_max: u64::MAX, ..PushSection::default() };
            let mut intake = Intake::new(&section, 2_000_000_000 * 1_000_000_000);
            prop_assert!(proto::decode(&body, &mut intake).is_ok());
            let taken = intake.finish().batch;
            let found: Vec<(String, i64)> = (0..taken.len())
                .map(|row| (taken.line(row).to_owned(), taken.times()[row]))
                .collect();
            let expected: Vec<(String, i64)> =
                lines.iter().map(|(l, s)| (l.clone(), s * 1_000_000_000 + 7)).collect();
            prop_assert_eq!(found, expected);
            let cut = cut.index(body.len());
            let mut intake = Intake::new(&section, 0);
            let part = proto::decode(body.get(..cut).unwrap_or(&body), &mut intake);
            prop_assert_eq!(part.is_err(), 0 < cut);
        }
    }
}
