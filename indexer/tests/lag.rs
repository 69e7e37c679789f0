//! How far behind an indexer is, by stage, and whose bytes it stores.
//!
//! Alone in its file: the exporter is one per process.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use queue::Topic;
use runtime::telemetry;
use support::{Rig, logs, message, row, until};

/// Advances the clock in small steps until `probe` gives something.
async fn until_later<T>(
    clock: &runtime::clock::ManualClock,
    what: &str,
    mut probe: impl FnMut() -> Option<T>,
) -> T {
    until(what, async || {
        clock.advance(Duration::from_millis(500));
        probe()
    })
    .await
}

fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text
        .lines()
        .find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn lag_and_cost_are_told_by_stage_and_owner() {
    let metrics = telemetry::install(&[indexer::telemetry::METRICS]);
    let (mut rig, clock) = Rig::manual(1);
    rig.section.logs.cut_raw_bytes_max = 1 << 20;
    rig.section.logs.cut_age_secs_max = 300;
    rig.send(&logs(0), message(&[row(0, 1, "a line of twenty-eight bytes", None)])).await;
    let running = rig.start("a").await;
    let stage = |name: &str, stage: &str| {
        let stage = format!("stage=\"{stage}\"");
        value(&metrics.render(), name, &[Topic::LOGS, &stage])
    };
    let messages = "millrace_indexer_lag_messages";
    until_later(&clock, "one is searchable and not published", || {
        let found = (stage(messages, "searchable"), stage(messages, "published"));
        let behind = stage("millrace_indexer_lag_seconds", "published");
        (found == (Some(0.0), Some(1.0)) && behind.is_some_and(|behind| 30.0 < behind))
            .then_some(())
    })
    .await;
    assert_eq!(stage(messages, "received"), Some(0.0));
    assert_eq!(stage("millrace_indexer_lag_seconds", "searchable"), Some(0.0));

    until_later(&clock, "published", || {
        let behind = stage("millrace_indexer_lag_seconds", "published");
        (stage(messages, "published") == Some(0.0) && behind == Some(0.0)).then_some(())
    })
    .await;
    let cost = |name: &str| {
        value(&metrics.render(), name, &["tenant=\"fake\"", "namespace=\"(none)\""]).unwrap()
    };
    assert_eq!(cost("millrace_indexer_cost_raw_bytes_total"), 28.0);
    assert_eq!(cost("millrace_indexer_cost_published_raw_bytes_total"), 28.0);
    let state = rig.state().await;
    let stored: u64 = state.segments.values().map(|segment| segment.bytes).sum();
    assert_eq!(cost("millrace_indexer_cost_stored_bytes_total"), stored as f64);
    running.stop().await.unwrap();
}
