//! A stop publishes everything the queue has, and says so when it cannot.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use indexer::{Drain, IndexerError};
use queue::Topic;
use segment::store::faulty::{Fault, Operation};
use support::{Rig, assert_all_published, logs, message, row};

#[tokio::test]
async fn a_stop_reads_to_the_end_of_the_queue_and_publishes_everything() {
    let mut rig = Rig::new(2);
    rig.section.logs.cut_raw_bytes_max = 1 << 20;
    for number in 0_u8..100 {
        let line = format!("line {number}");
        let rows =
            [row(number % 2, i64::from(number), &line, Some((number % 2, u64::from(number))))];
        rig.send(&logs(i32::from(number % 2)), message(&rows)).await;
    }
    // Stopped before it was given a single partition.
    rig.start("a").await.stop().await.unwrap();
    assert_all_published(&rig).await;
}

#[tokio::test]
async fn an_idle_indexer_stops_at_once_and_commits_nothing_more() {
    let rig = Rig::new(1);
    rig.send(&logs(0), message(&[row(0, 1, "one", None)])).await;
    rig.start("a").await.stop().await.unwrap();
    let version = rig.state().await.version;
    let mut section = rig.section.clone();
    section.topics.samples.clear();
    rig.start_with("a", section).await.stop().await.unwrap();
    // One commit to acquire the partition again, none to publish nothing.
    assert_eq!(rig.state().await.version, version + 1);
    assert_all_published(&rig).await;
}

#[tokio::test]
async fn a_stop_that_cannot_publish_says_how_much_is_left_and_loses_nothing() {
    let (rig, clock) = Rig::manual(1);
    let running = rig.start("a").await;
    rig.send(&logs(0), message(&[row(0, 1, "one", None), row(0, 2, "two", None)])).await;
    rig.faults.choose(|operation, path| {
        let upload = operation == Operation::Put && path.as_ref().starts_with("segments");
        upload.then_some(Fault::Refuse)
    });
    support::until("taken", async || {
        let (rows, _) = running.recent(&*rig.state().await).await.ok()?;
        (rows.len() == 2).then_some(())
    })
    .await;
    running.stop.cancel();
    let stopped = running.stop();
    let ticking = async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            clock.advance(Duration::from_millis(100));
        }
    };
    let ended = tokio::select! { ended = stopped => ended, () = ticking => unreachable!() };
    let IndexerError::Unpublished { rows, .. } = ended.unwrap_err() else { panic!("other error") };
    assert_eq!(rows, 2);

    rig.faults.clear();
    let again = rig.start("a").await.stop();
    let ticking = async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            clock.advance(Duration::from_millis(1));
        }
    };
    tokio::select! { ended = again => ended.unwrap(), () = ticking => unreachable!() };
    assert_all_published(&rig).await;
}

/// An acquisition under way holds up the commits of its process, so it must go on while a stopping
/// source waits for its last publish. It once did not, and the two waited for each other.
#[tokio::test]
async fn a_stop_during_an_acquisition_still_publishes() {
    let mut rig = Rig::new(1);
    rig.drain = Drain::Held;
    rig.section.logs.cut_raw_bytes_max = 1 << 20;
    let running = rig.start("a").await;
    rig.send(&logs(0), message(&[row(0, 1, "one", None)])).await;
    support::until("taken", async || {
        let (rows, _) = running.recent(&*rig.state().await).await.ok()?;
        (rows.len() == 1).then_some(())
    })
    .await;

    let commits = rig.faults.requests(Operation::Put, "commits/");
    rig.faults.once(Operation::Put, "commits/", Fault::Delay(Duration::from_millis(200)));
    rig.memory.ensure_topic(&Topic::logs(), 2);
    support::until("a second partition being acquired", async || {
        (commits < rig.faults.requests(Operation::Put, "commits/")).then_some(())
    })
    .await;
    running.stop().await.unwrap();
    let state = rig.state().await;
    assert_eq!(state.partition(Topic::LOGS, 0).unwrap().published, 1);
}
