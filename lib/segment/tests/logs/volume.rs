//! Streams and volumes are answered without touching rows, and agree with them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use record::{MatchOp, Matcher};
use segment::logs::{BuildOptions, MINUTE_NS};

use crate::corpus;
use crate::naive::{Row, build, open};

fn level_of(row: &Row) -> String {
    let level = row.attributes.iter().find(|(name, _)| name == "detected_level");
    level.map(|(_, value)| value.clone()).unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn volumes_and_streams_agree_with_the_rows(
        rows in corpus::rows(80),
        from in 0_i64..400,
        length in 0_i64..400,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let matchers = vec![Matcher::new("namespace", MatchOp::Eq, "prod").unwrap()];
        let (start, end) = (from * 1_000_000_000, (from + length) * 1_000_000_000);
        let (volume, streams) = runtime.block_on(async {
            let segment = open(&build(&rows, BuildOptions { granule_rows: 8, ..BuildOptions::default() })).await;
            let volume = segment.volume(&matchers, start, end).await.unwrap();
            (volume, segment.streams(&matchers, start, end).await.unwrap())
        });
        let mut expected = BTreeMap::new();
        for row in rows.iter().filter(|row| matchers[0].matches_labels(&row.stream)) {
            let minute = row.time.div_euclid(MINUTE_NS) * MINUTE_NS;
            if start < end && minute < end && start < minute + MINUTE_NS {
                let key = (row.stream.clone(), level_of(row), minute);
                let sum: &mut (u64, u64) = expected.entry(key).or_default();
                *sum = (sum.0 + 1, sum.1 + row.line.len() as u64);
            }
        }
        let mut found = BTreeMap::new();
        for row in volume {
            let key = (row.stream, row.level, row.minute_ns);
            let sum: &mut (u64, u64) = found.entry(key).or_default();
            *sum = (sum.0 + row.lines, sum.1 + row.bytes);
        }
        prop_assert_eq!(&found, &expected);
        for row in rows.iter().filter(|row| matchers[0].matches_labels(&row.stream)) {
            if start <= row.time && row.time < end {
                prop_assert!(streams.contains(&row.stream), "a stream with a row is named");
            }
        }
        for stream in &streams {
            prop_assert!(expected.keys().any(|(known, _, _)| known == stream));
        }
    }
}
