//! One file per format version: what past versions wrote must stay readable for ever.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::path::Path;

use bytes::Bytes;
use record::{
    Labels, Limits, LogBatch, LogBatchBuilder, MetricMetadata, SampleBatch, SampleBatchBuilder,
    SourceId, TimestampMillis, TimestampNanos,
};

fn logs() -> LogBatch {
    let web = Labels::from_pairs([("app", "web"), ("pod", "web-1")]);
    let db = Labels::from_pairs([("app", "db")]);
    let source = SourceId([7; 16]);
    let level = [("detected_level", "info")];
    let mut builder = LogBatchBuilder::new();
    builder.push(
        TimestampNanos(1_700_000_000_000_000_001),
        &web,
        "GET / 200",
        &level,
        Some((source, 10)),
    );
    builder.push(
        TimestampNanos(1_700_000_000_000_000_002),
        &db,
        "née \"x\"",
        &[] as &[(&str, &str)],
        None,
    );
    builder.push(TimestampNanos(-5), &web, "", &level, Some((source, 20)));
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
    let expected = logs();
    let bytes = golden("logs-v1.arrow", &expected.encode().unwrap());
    let read = LogBatch::decode(&bytes, &Limits::default()).unwrap();
    assert_eq!(read.times(), expected.times());
    assert_eq!(read.streams(), expected.streams());
    assert_eq!(read.stream_index(), expected.stream_index());
    for row in 0..expected.len() {
        assert_eq!(read.line(row), expected.line(row));
        assert_eq!(read.source(row), expected.source(row));
        assert!(read.attributes(row).eq(expected.attributes(row)));
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
