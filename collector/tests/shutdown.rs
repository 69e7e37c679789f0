//! Stopping in order: what was read is acknowledged, what is unfinished is read again (C-1401).
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod rig;

use std::sync::Arc;
use std::time::Duration;

use collector::scrape::TargetSection;
use queue::{MemoryQueue, MemorySection, Topic};
use rig::Rig;
use runtime::clock::{Clock, SystemClock};

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

/// A target nobody listens at: each scrape fails at once, and its `up` is 0.
fn unreachable_target() -> TargetSection {
    TargetSection {
        url: "http://127.0.0.1:1/metrics".to_owned(),
        job: "gone".to_owned(),
        labels: Default::default(),
    }
}

fn push_body(line: &str) -> String {
    let now = SystemClock::new().unix_nanos();
    format!(r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[["{now}","{line}"]]}}]}}"#)
}

#[tokio::test]
async fn c_1401_a_queue_that_never_answered_does_not_hold_up_the_stop() {
    let mut rig = Rig::new();
    // Without topics it cannot say how many partitions there are, like a Kafka that is away.
    rig.queue = MemoryQueue::new(MemorySection::default(), Arc::clone(&rig.clock));
    rig.section.scrape.targets.push(unreachable_target());
    let mut pod = rig.pod("web");
    let written = pod.lines(0..500);
    let running = rig.start().await;
    let waiting = running.push("application/json", "", push_body("early"));
    let stopping = async {
        rig.clock.sleep(Duration::from_millis(200)).await;
        running.stop.cancel();
    };
    let stopped = rig.clock.elapsed();
    let (answer, ()) = futures::join!(waiting, stopping);
    assert_eq!(answer, (503, "the collector is stopping".to_owned()));
    running.stop().await;
    let took = rig.clock.elapsed() - stopped;
    assert!(took < Duration::from_secs(rig.section.shutdown_grace_secs), "took {took:?}");
    rig.queue.ensure_topic(&Topic::logs(), rig::PARTITIONS);
    rig.queue.ensure_topic(&Topic::samples(), 1);
    let running = rig.start().await;
    rig.expect("pod", "web", &written).await;
    running.stop().await;
}

#[tokio::test]
async fn c_1401_with_the_queue_away_every_input_ends_within_the_grace_period() {
    let mut rig = Rig::new();
    rig.section.shutdown_grace_secs = 1;
    rig.section.scrape.targets.push(unreachable_target());
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    let mut written = pod.lines(0..100);
    rig.expect("pod", "web", &written).await;
    rig.wait_committed(&pod.live).await;
    let committed = rig.checkpoint();
    rig.queue.drop_connection();
    written.extend(pod.lines(100..5_000));
    rig.wait_until("lines read in the checkpoint", || rig.checkpoint() != committed).await;
    let waiting = running.push("application/json", "", push_body("late"));
    let stopping = async {
        rig.clock.sleep(Duration::from_millis(100)).await;
        running.stop.cancel();
    };
    let stopped = rig.clock.elapsed();
    let (answer, ()) = futures::join!(waiting, stopping);
    assert_eq!(answer, (503, "the collector is stopping".to_owned()));
    running.stop().await;
    let took = rig.clock.elapsed() - stopped;
    assert!(took < Duration::from_secs(10), "took {took:?}");
    rig.queue.restore_connection();
    let running = rig.start().await;
    rig.expect("pod", "web", &written).await;
    running.stop().await;
}
