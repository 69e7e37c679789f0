//! One segment of every past version, read by this build.
//!
//! `logs-v<n>.segment` was written by a build that wrote version `n` and never changes. A build that
//! reads old ones differently fails here.

use bytes::Bytes;
use record::{Labels, TenantId};
use segment::logs::{BuildOptions, LogPlan, LogSegment};

use crate::naive::{Row, build, check, level, meta, store_with};

const V1: &[u8] = include_bytes!("../golden/logs-v1.segment");
const V2: &[u8] = include_bytes!("../golden/logs-v2.segment");
const V3: &[u8] = include_bytes!("../golden/logs-v3.segment");
const V4: &[u8] = include_bytes!("../golden/logs-v4.segment");
const V5: &[u8] = include_bytes!("../golden/logs-v5.segment");
const V6: &[u8] = include_bytes!("../golden/logs-v6.segment");
const V7: &[u8] = include_bytes!("../golden/logs-v7.segment");

/// The rows of the golden segment of a format version.
fn rows(version: u32) -> Vec<Row> {
    let streams = [
        Labels::from_pairs([("app", "api"), ("namespace", "prod")]),
        Labels::from_pairs([("app", "wörker"), ("namespace", "dev")]),
    ];
    let line = |n: usize| match n % 5 {
        0 => format!("GET /item/{n} took {}ms", n * 7 % 90),
        1 => format!("level=info trace={:032x} größe={n}µs", n * 77_777),
        2 => String::new(),
        3 => "plain words only".to_owned(),
        _ => format!("{{\"id\":\"{n:08x}\",\"ok\":true}}"),
    };
    // Words that change from line to line: format 3 keeps them apart.
    let name = |n: usize| char::from(b'a' + (n % 26) as u8).to_string().repeat(1 + n / 26);
    let wordy = (0..60).map(|n| {
        let line = format!("user {} of {} logged in", name(n), name(n / 7));
        Row::new(&streams[n % 2], (n as i64 + 40) * 1_700_000_000, &line)
    });
    let mut rows: Vec<Row> = (0..100)
        .map(|n| {
            let mut row = Row::new(&streams[n / 50], (n as i64 - 20) * 1_500_000_000, &line(n));
            if n % 3 == 0 {
                row.attributes.push(level(["info", "error"][n % 2]));
                row.attributes.push(("trace_id".to_owned(), format!("{n:016x}")));
            }
            if n % 33 == 0 {
                row.attributes.push(("rare".to_owned(), "once".to_owned()));
            }
            row
        })
        .collect();
    if 3 <= version {
        rows.extend(wordy);
    }
    // Identifiers inside longer ones: format 4 tells which granules can have them.
    if 4 <= version {
        rows.extend((0..40).map(|n| {
            let digest = format!("{:048}", (n as u128 + 1) * 7_777_777_777_777_777_777_777_777);
            let line = format!("pulled image@{digest}");
            Row::new(&streams[n % 2], (n as i64 + 90) * 1_600_000_000, &line)
        }));
    }
    // Identifiers of several granules: format 5 keeps them apart from those of one.
    if 5 <= version {
        rows.extend((0..80).map(|n| {
            let line =
                format!("handled trace={:024x}", (n as u128 % 7 + 1) * 0xabcd_ef12_3456_789a);
            Row::new(&streams[n % 2], (n as i64 + 20) * 1_900_000_000, &line)
        }));
    }
    // One stack trace after several messages: format 6 keeps it once.
    if 6 <= version {
        let stack = "\n\tat com.example.Orders.place(Orders.java:17)".repeat(4);
        rows.extend((0..20).map(|n| {
            let line = format!("{} failed:{stack}", ["order", "refund", "payment"][n % 3]);
            Row::new(&streams[n % 2], (n as i64 + 50) * 1_700_000_000, &line)
        }));
    }
    // Identifiers in lines of several patterns, and so many digits that these are in several
    // groups: format 7 lists the former and reads the latter apart.
    if 7 <= version {
        rows.extend((0..40).map(|n| {
            let id = (n as u128 % 9 + 1) * 0xfedc_ba98_7654_3210_fedc_ba98;
            let digits = "31415926535897932384".repeat(1_000);
            let line = match n % 4 {
                0 => format!("began trace={id:032x} for {n}"),
                1 => format!("weighed {digits} in {n}"),
                2 => format!("measured {digits} by {n}"),
                _ => format!("ended trace={id:032x} after {n}ms"),
            };
            Row::new(&streams[n % 2], 200_000_000_000 + n as i64 * 1_000_000, &line)
        }));
    }
    if 3 <= version {
        // As they lie in the segment.
        rows.sort_by(|a, b| (&a.stream, a.time).cmp(&(&b.stream, b.time)));
    }
    rows
}

fn options() -> BuildOptions {
    BuildOptions { granule_rows: 32, patterns_free: 8, ..BuildOptions::default() }
}

#[tokio::test]
async fn every_version_reads_as_it_was_written() {
    for (version, golden) in [(1, V1), (2, V2), (3, V3), (4, V4), (5, V5), (6, V6), (7, V7)] {
        reads_as_it_was_written(version, golden).await;
    }
}

async fn reads_as_it_was_written(version: u32, golden: &'static [u8]) {
    let rows = rows(version);
    // Written with the same options, so everything but the bytes themselves is known.
    let mut expected = meta(&build(&rows, options()));
    expected.bytes = golden.len() as u64;
    expected.footer_bytes = golden.len() as u64;
    let store = store_with(Bytes::from_static(golden)).await;
    let segment = LogSegment::open(store, &expected).await.unwrap();
    segment.verify().await.unwrap();
    assert_eq!(segment.rows(), rows.len() as u64);
    let all = LogPlan::all(TenantId::default(), i64::MIN, i64::MAX, Vec::new());
    check(&segment, &rows, &all).await;
    for needle in [
        "item/17",
        "größe",
        "took 5",
        "ok\":true",
        "words",
        "absent",
        "rare",
        "user cc of",
        "logged",
        "777777777777777777777777",
        "555555555555555555555555",
        "00000001579bde2468acf134",
        "00000001579bde2468acf135",
        "refund failed",
        "Orders",
        "00000006f8091a2b3c4d5e76f8091a28",
        "fedcba9876543210",
        "a2b3c4",
        "measured 3141592",
        "for 36",
    ] {
        let filter = segment::logs::LineFilter {
            op: segment::logs::LineFilterOp::Contains,
            needles: vec![needle.to_owned()],
        };
        check(&segment, &rows, &LogPlan { filters: vec![filter], ..all.clone() }).await;
    }
}

/// Writes the golden file where there is none yet: run once for a new version, then commit it.
#[test]
fn a_new_golden_file_is_written_on_request() {
    let Some(path) = std::env::var_os("MILLRACE_WRITE_GOLDEN") else { return };
    std::fs::write(path, build(&rows(segment::logs::FORMAT_VERSION), options()).bytes).unwrap();
}
