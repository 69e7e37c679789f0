//! Stopping in order: what was read is acknowledged, what is unfinished is read again (C-1401).
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod rig;

use std::time::Duration;

use rig::Rig;

#[tokio::test]
async fn c_1401_what_was_read_is_sent_and_committed_before_the_end() {
    let mut rig = Rig::new();
    rig.section.ship.linger_ms = 60_000;
    rig.section.checkpoint.interval_ms = 60_000;
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    let written = pod.lines(0..500);
    // The rows wait in an open batch now: nothing but the stop will send them.
    rig.clock.sleep(Duration::from_millis(300)).await;
    running.stop().await;
    assert_eq!(rig.lines("pod", "web"), written);
    rig.wait_committed(&pod.live).await;
}

#[tokio::test]
async fn c_1401_an_open_record_is_not_sent_but_read_again() {
    let rig = Rig::new();
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    pod.line("first");
    pod.piece("stdout", "P", "half ");
    rig.expect("pod", "web", &["first".to_owned()]).await;
    running.stop().await;
    assert_eq!(rig.lines("pod", "web"), ["first"]);
    pod.piece("stdout", "F", "whole");
    let running = rig.start().await;
    rig.expect("pod", "web", &["first", "half whole"].map(str::to_owned)).await;
    running.stop().await;
}

#[tokio::test]
async fn c_1401_the_grace_period_ends_the_wait_for_a_queue_that_is_away() {
    let mut rig = Rig::new();
    rig.section.shutdown_grace_secs = 1;
    rig.queue.hold_appends();
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    let written = pod.lines(0..500);
    rig.clock.sleep(Duration::from_millis(200)).await;
    let stopped = rig.clock.elapsed();
    running.stop().await;
    assert!(rig.clock.elapsed() - stopped < Duration::from_secs(10));
    rig.queue.release_appends();
    let running = rig.start().await;
    rig.expect("pod", "web", &written).await;
    running.stop().await;
}
