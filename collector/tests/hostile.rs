//! Hostile input: a clear refusal or a counted fallback, bounded memory, and the next push and the
//! next line are taken as if nothing had happened.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod rig;

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;

use collector::push::PushSection;
use rig::{Rig, Running};
use runtime::clock::{Clock, SystemClock};
use runtime::process::resident_bytes_peak;
use runtime::telemetry::{self, MetricsHandle};
use tokio::sync::Mutex;

/// Memory and counters are the process's: they tell something about one test at a time only.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// What the process may grow by: one request as sent and decompressed, its rows, and this test's
/// own copies.
const GROWTH_BYTES_MAX: u64 = 200 << 20;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// What every refusal of malformed JSON ends with.
const JSON_FORM: &str = r#"send {"streams":[{"stream":{…},"values":[["<ns>","<line>"]]}]}"#;

/// What every refusal of malformed protobuf ends with.
const PROTOBUF_FORM: &str = "send a logproto.PushRequest as one snappy block";

/// A body and the whole answer to it.
struct Case {
    name: &'static str,
    content_type: &'static str,
    encoding: &'static str,
    body: Vec<u8>,
    status: u16,
    text: String,
}

fn case(
    name: &'static str,
    (content_type, encoding): (&'static str, &'static str),
    body: impl Into<Vec<u8>>,
    status: u16,
    text: impl Into<String>,
) -> Case {
    Case { name, content_type, encoding, body: body.into(), status, text: text.into() }
}

const PLAIN: (&str, &str) = (JSON, "");
const GZIP: (&str, &str) = (JSON, "gzip");
const SNAPPY: (&str, &str) = (PROTOBUF, "");

async fn check(cases: Vec<Case>) {
    let mut rig = Rig::new();
    rig.section.push = PushSection {
        body_bytes_max: 28 << 20,
        decoded_bytes_max: 28 << 20,
        ..PushSection::default()
    };
    let running = rig.start().await;
    good(&running, "before").await;
    let before = resident_bytes_peak().unwrap_or_default();
    for case in cases {
        let answer = running.push(case.content_type, case.encoding, case.body).await;
        assert_eq!(answer, (case.status, case.text), "{}", case.name);
        good(&running, case.name).await;
        assert_eq!(rig.pushed().last().map(String::as_str), Some(case.name));
    }
    let grown = resident_bytes_peak().unwrap_or_default().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "memory grew by {grown}");
    running.stop().await;
}

/// Pushes a harmless line, which must be stored whatever came before.
async fn good(running: &Running, line: &str) {
    let answer = running.push(JSON, "", one(line)).await;
    assert_eq!(answer, (204, String::new()), "after {line}");
}

fn now() -> i64 {
    SystemClock::new().unix_nanos()
}

/// A request with one stream of one line.
fn one(line: &str) -> String {
    format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[["{}","{line}"]]}}]}}"#, now())
}

fn request(streams: &str) -> String {
    format!(r#"{{"streams":[{streams}]}}"#)
}

/// `count` elements, separated by commas.
fn listed(count: usize, element: impl Fn(usize) -> String) -> String {
    let elements: Vec<String> = (0..count).map(element).collect();
    elements.join(",")
}

fn gzip_of(chunk: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..times).for_each(|_| encoder.write_all(chunk).unwrap());
    encoder.finish().unwrap()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

/// A field of bytes, as protobuf writes it.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut written = vec![tag << 3 | 2];
    let mut length = bytes.len();
    while 0x80 <= length {
        written.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    written.push(u8::try_from(length).unwrap());
    written.extend_from_slice(bytes);
    written
}

/// An entry of now.
fn entry(line: &[u8], more: &[u8]) -> Vec<u8> {
    let mut seconds = vec![1 << 3];
    let mut rest = now().div_euclid(1_000_000_000);
    while 0x80 <= rest {
        seconds.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    seconds.push(u8::try_from(rest).unwrap());
    [field(1, &seconds), field(2, line), more.to_vec()].concat()
}

fn stream(labels: &[u8], entry: &[u8]) -> Vec<u8> {
    field(1, &[field(1, labels), field(2, entry)].concat())
}

fn too_many(what: &str, max: usize, key: &str) -> String {
    format!(
        "request has more than {max} {what}, the limit `collector.push.{key}`; \
         send them in several requests"
    )
}

fn too_large(what: &str, key: &str) -> String {
    format!(
        "{what} too large, the limit `collector.push.{key}` is {}; send it in several requests",
        28 << 20
    )
}

#[tokio::test]
async fn a_push_that_is_too_much_is_refused_before_it_takes_memory() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let labels = "1 entries were rejected:\nstream has 1000000 label names; \
                  limit `collector.push.labels_max` is 15";
    let pairs = "1 entries were rejected:\nstream '{a=\"b\"}' has 1000000 pairs of structured \
                 metadata; limit `collector.push.metadata_pairs_max` is 128";
    let value = "1 entries were rejected:\nstream has a value of 20000000 bytes for label 'a'; \
                 limit `collector.push.label_value_bytes_max` is 2048";
    let million = 1_000_000;
    let wide = listed(million, |n| format!(r#""l{n}":"v""#));
    let wide = request(&format!(r#"{{"stream":{{{wide}}},"values":[["{}","x"]]}}"#, now()));
    let wide_text = format!("{{{}}}", listed(million, |n| format!(r#"l{n}="v""#)));
    let streams = request(&listed(million, |_| r#"{"stream":{},"values":[]}"#.to_owned()));
    let sets: Vec<u8> =
        (0..million).flat_map(|n| stream(format!("{{a=\"{n}\"}}").as_bytes(), b"")).collect();
    let entries = listed(million, |_| r#"["1",""]"#.to_owned());
    let late = request(&format!(r#"{{"values":[{entries}],"stream":{{"a":"b"}}}}"#));
    let entries = request(&format!(r#"{{"stream":{{"a":"b"}},"values":[{entries}]}}"#));
    let metadata = listed(million, |n| format!(r#""m{n}":"v""#));
    let metadata = request(&format!(
        r#"{{"stream":{{"a":"b"}},"values":[["{}","x",{{{metadata}}}]]}}"#,
        now()
    ));
    let long = request(&format!(
        r#"{{"stream":{{"a":"{}"}},"values":[["{}","x"]]}}"#,
        "v".repeat(20_000_000),
        now()
    ));
    let empty_pairs = entry(b"x", &field(3, b"").repeat(million));
    let streams_max = too_many("streams", 5_000, "streams_max");
    let entries_max = too_many("entries", 200_000, "entries_max");
    let decoded = too_large("decompressed request", "decoded_bytes_max");
    check(vec![
        case("gzip bomb", GZIP, gzip_of(&vec![b' '; 1 << 20], 100), 413, decoded.as_str()),
        case("snappy bomb", SNAPPY, snappy(&vec![0; 64 << 20]), 413, decoded.as_str()),
        case("declared size", SNAPPY, [0xff, 0xff, 0xff, 0xff, 0x0f, 0], 413, decoded),
        case(
            "body size",
            PLAIN,
            vec![b' '; 29 << 20],
            413,
            too_large("request body", "body_bytes_max"),
        ),
        case("labels", PLAIN, wide, 400, labels),
        case(
            "labels as text",
            SNAPPY,
            snappy(&stream(wide_text.as_bytes(), &entry(b"x", b""))),
            400,
            labels,
        ),
        case("label value", PLAIN, long, 400, value),
        case("streams", PLAIN, streams, 413, streams_max.as_str()),
        case(
            "empty streams",
            SNAPPY,
            snappy(&field(1, &field(1, b"{}")).repeat(million)),
            413,
            streams_max.as_str(),
        ),
        case("label sets", SNAPPY, snappy(&sets), 413, streams_max),
        case("entries", PLAIN, entries, 413, entries_max.as_str()),
        case("entries before labels", PLAIN, late, 413, entries_max.as_str()),
        case(
            "empty entries",
            SNAPPY,
            snappy(&field(1, &[field(1, b"{}"), field(2, b"").repeat(million)].concat())),
            413,
            entries_max,
        ),
        case("metadata", PLAIN, metadata, 400, pairs),
        case("empty metadata", SNAPPY, snappy(&stream(br#"{a="b"}"#, &empty_pairs)), 400, pairs),
    ])
    .await;
}

#[tokio::test]
async fn a_push_that_cannot_be_read_is_refused_and_says_where() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let deep = "[".repeat(1_000_000);
    let in_labels = b"{\"streams\":[{\"stream\":{\"a\":\"\xff\"},\"values\":[]}]}";
    let whole = stream(br#"{a="b"}"#, &entry(b"hello", b""));
    let cut = whole.get(..whole.len() - 3).unwrap();
    let cut_inside = field(1, cut.get(2..).unwrap());
    let json = |what: &str| format!("push request is not as expected: {what}; {JSON_FORM}");
    let protobuf = |place: &str, what: &str| {
        format!("push request is no protobuf in {place}: {what}; {PROTOBUF_FORM}")
    };
    check(vec![
        case(
            "deep JSON",
            PLAIN,
            deep.clone(),
            400,
            json("invalid type: sequence, expected an object with `streams` at line 1 column 0"),
        ),
        case(
            "deep JSON for a line",
            PLAIN,
            request(&format!(r#"{{"stream":{{"a":"b"}},"values":[["1",{deep}"#)),
            400,
            json("invalid type: sequence, expected a string at line 1 column 48"),
        ),
        case(
            "deep JSON in what is skipped",
            PLAIN,
            format!(r#"{{"x":{deep}"#),
            400,
            json("EOF while parsing a list at line 1 column 1000005"),
        ),
        case(
            "JSON that ends early",
            PLAIN,
            r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"#,
            400,
            json("EOF while parsing a string at line 1 column 49"),
        ),
        case(
            "UTF-8 in a label",
            PLAIN,
            in_labels.to_vec(),
            400,
            json("a label of the stream is not UTF-8 at line 1 column 31"),
        ),
        case(
            "timestamp",
            PLAIN,
            r#"{"streams":[{"stream":{"a":"b"},"values":[["soon","x"]]}]}"#,
            400,
            json("timestamp `soon` is not a number of nanoseconds at line 1 column 50"),
        ),
        case("no streams", PLAIN, "{}", 400, json("missing field `streams` at line 1 column 2")),
        case(
            "protobuf that ends early",
            SNAPPY,
            snappy(cut),
            400,
            protobuf("the request", "field 1 has 26 bytes, but 23 are left"),
        ),
        case(
            "a stream that ends early",
            SNAPPY,
            snappy(&cut_inside),
            400,
            protobuf("stream 0", "field 2 has 15 bytes, but 12 are left"),
        ),
        case(
            "UTF-8 in a label of protobuf",
            SNAPPY,
            snappy(&stream(b"{a=\"\xff\"}", b"")),
            400,
            protobuf("stream 0", "labels are not UTF-8 at byte 4"),
        ),
        case(
            "a snappy block that ends early",
            SNAPPY,
            snappy(&whole).split_last().unwrap().1.to_vec(),
            400,
            format!(
                "snappy block is damaged: snappy: corrupt input (expected literal read of length \
                 28; remaining src: 27; remaining dst: 28); {PROTOBUF_FORM}"
            ),
        ),
        case(
            "an encoding nobody knows",
            (JSON, "br"),
            "",
            400,
            "Content-Encoding \"br\" not supported",
        ),
        case(
            "no media type",
            ("nonsense", ""),
            "",
            400,
            "Content-Type `nonsense` is no media type, \
             send application/json or application/x-protobuf",
        ),
        case(
            "no gzip",
            GZIP,
            [1, 2, 3],
            400,
            "body is not valid gzip, as `Content-Encoding` says it is",
        ),
    ])
    .await;
}

/// Lines are the one thing that is never refused for its bytes.
#[tokio::test]
async fn a_pushed_line_that_is_not_utf_8_is_stored_with_marks_and_counted() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let rig = Rig::new();
    let running = rig.start().await;
    let replaced = altered("replaced");
    let body = one("bad ?").replace('?', "\u{1}").into_bytes();
    let body: Vec<u8> = body.into_iter().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
    assert_eq!(running.push(JSON, "", body).await, (204, String::new()));
    let body = snappy(&stream(br#"{a="b"}"#, &entry(b"bad \xff", b"")));
    assert_eq!(running.push(PROTOBUF, "", body).await, (204, String::new()));
    good(&running, "good").await;
    assert_eq!(rig.pushed(), ["bad \u{fffd}", "bad \u{fffd}", "good"]);
    assert_eq!(altered("replaced") - replaced, 2);
    running.stop().await;
}

#[tokio::test]
async fn c_205_a_100_mib_line_is_cut_to_the_cap_counted_and_the_next_line_is_intact() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut rig = Rig::new();
    rig.section.tail.record_bytes_max = 64 << 10;
    let truncated = altered("truncated");
    let running = rig.start().await;
    let before = resident_bytes_peak().unwrap_or_default();
    let mut file = File::create(rig.base().join("app.log")).unwrap();
    writeln!(file, "before").unwrap();
    let chunk = "é".repeat(1 << 19);
    for _ in 0..100 {
        file.write_all(chunk.as_bytes()).unwrap();
    }
    writeln!(file, "\nafter").unwrap();
    rig.wait_until("three lines", || rig.rows().len() == 3).await;
    let rows = rig.rows();
    assert_eq!((rows[0].line.as_str(), rows[2].line.as_str()), ("before", "after"));
    assert_eq!(rows[1].line.len(), 64 << 10);
    assert!(chunk.starts_with(&rows[1].line));
    assert_eq!(rows[1].attributes["truncated"], "true");
    assert_eq!(rows[1].attributes["original_bytes"], (100_u64 << 20).to_string());
    assert_eq!(altered("truncated") - truncated, 1);
    let grown = resident_bytes_peak().unwrap_or_default().saturating_sub(before);
    assert!(grown < 32 << 20, "memory grew by {grown}");
    running.stop().await;
}

#[tokio::test]
async fn a_line_in_a_file_that_is_not_utf_8_is_kept_with_marks_and_counted() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let rig = Rig::new();
    let replaced = altered("replaced");
    let running = rig.start().await;
    let mut file = File::create(rig.base().join("app.log")).unwrap();
    file.write_all(b"before\ncaf\xe9 \xf0\x9f\x98\nafter\n").unwrap();
    let expected = ["before", "caf\u{fffd} \u{fffd}", "after"].map(str::to_owned);
    rig.expect("service_name", "app", &expected).await;
    assert_eq!(altered("replaced") - replaced, 1);
    running.stop().await;
}

/// Records whose text is not what was written, by what was done to it.
fn altered(kind: &str) -> u64 {
    static METRICS: OnceLock<MetricsHandle> = OnceLock::new();
    let metrics = METRICS.get_or_init(|| telemetry::install(&[collector::telemetry::METRICS]));
    let series = format!("{}{{kind=\"{kind}\"}} ", collector::telemetry::RECORDS_ALTERED);
    let text = metrics.render();
    let value = text.lines().find_map(|line| line.strip_prefix(&series));
    value.map_or(0, |value| value.parse().unwrap())
}
