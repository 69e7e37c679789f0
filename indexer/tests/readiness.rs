//! Readiness follows the queue.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use runtime::clock::Clock;
use support::{Rig, until};

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

#[tokio::test]
async fn an_indexer_without_its_queue_is_not_ready_and_says_why() {
    let (mut rig, clock) = Rig::manual(1);
    rig.section.queue_silence_secs_max = 20;
    rig.memory.drop_connection();
    let running = rig.start("a").await;
    let missing = || {
        let parts = running.readiness.missing();
        parts.into_iter().find(|(part, _)| *part == "indexer-queue").map(|(_, reason)| reason)
    };
    let reason = until_later(&clock, "asked", || {
        missing().filter(|reason| reason.contains("connection is down"))
    })
    .await;
    assert!(reason.starts_with("queue silent for"), "{reason}");

    rig.memory.restore_connection();
    until_later(&clock, "ready", || running.readiness.missing().is_empty().then_some(())).await;

    rig.memory.drop_connection();
    let silent_since = clock.elapsed();
    until_later(&clock, "not ready", missing).await;
    let took = clock.elapsed() - silent_since;
    assert!(Duration::from_secs(10) < took, "a moment's silence changes nothing: {took:?}");
    rig.memory.restore_connection();
    until_later(&clock, "ready again", || running.readiness.missing().is_empty().then_some(()))
        .await;
    running.stop().await.unwrap();
}
