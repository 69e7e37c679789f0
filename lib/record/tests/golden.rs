//! One file per format version: what past versions wrote must stay readable for ever.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::path::Path;

use bytes::Bytes;
use record::{
    Labels, Limits, LogBatch, LogBatchBuilder, MetricMetadata, SampleBatch, SampleBatchBuilder,
    SourceId, TimestampMillis, TimestampNanos,
};

/// A row of logs: time, stream, line, attributes, source.
type Row = (i64, Labels, String, Vec<(String, String)>, Option<(SourceId, u64)>);

/// In the order of the file, which is that in which they were read.
fn rows() -> [Row; 3] {
    let web = Labels::from_pairs([("app", "web"), ("pod", "web-1")]);
    let db = Labels::from_pairs([("app", "db")]);
    let source = SourceId([7; 16]);
    let level = vec![("detected_level".to_owned(), "info".to_owned())];
    let at = 1_700_000_000_000_000_000;
    [
        (at + 1, web.clone(), "GET / 200".to_owned(), level.clone(), Some((source, 10))),
        (at + 2, db, "née \"x\"".to_owned(), Vec::new(), None),
        (-5, web, String::new(), level, Some((source, 20))),
    ]
}

fn logs() -> LogBatch {
    let mut builder = LogBatchBuilder::new();
    for (time, stream, line, attributes, source) in rows() {
        builder.push(TimestampNanos(time), &stream, &line, &attributes, source);
    }
    builder.finish()
}

fn samples() -> SampleBatch {
    let up = Labels::from_pairs([("__name__", "up"), ("job", "node")]);
    let mut builder = SampleBatchBuilder::new();
    builder.push(TimestampMillis(1_700_000_000_000), &up, 1.0);
    builder.push(TimestampMillis(1_700_000_015_000), &up, f64::from_bits(0x7ff0_0000_0000_0002));
    builder.push_metadata(MetricMetadata {
        family: "up".to_owned(),
        kind: "gauge".to_owned(),
        help: "Whether the last scrape worked.".to_owned(),
        unit: String::new(),
    });
    builder.finish()
}

/// Reads a golden file; with `UPDATE_GOLDEN=1` writes it first where it is missing.
fn golden(name: &str, newest: &[u8]) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.is_file() {
        std::fs::write(&path, newest).unwrap();
    }
    std::fs::read(&path).unwrap().into()
}

#[test]
fn logs_version_1_is_read_as_it_was_written() {
    let bytes = golden("logs-v1.arrow", &logs().encode().unwrap());
    let read = LogBatch::decode(&bytes, &Limits::default()).unwrap();
    assert_eq!(read.len(), rows().len());
    for (row, (time, stream, line, attributes, source)) in rows().into_iter().enumerate() {
        assert_eq!(read.times()[row], time);
        assert_eq!(*read.stream(row), stream);
        assert_eq!(read.line(row), line);
        assert_eq!(read.source(row), source);
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        assert_eq!(read.attributes(row).map(owned).collect::<Vec<_>>(), attributes);
    }
}

#[test]
fn samples_version_1_is_read_as_it_was_written() {
    let expected = samples();
    let bytes = golden("samples-v1.arrow", &expected.encode().unwrap());
    let read = SampleBatch::decode(&bytes, &Limits::default()).unwrap();
    assert_eq!(read.series(), expected.series());
    assert_eq!(read.times(), expected.times());
    assert_eq!(read.values()[1].to_bits(), 0x7ff0_0000_0000_0002);
    assert_eq!(read.metadata(), expected.metadata());
}
