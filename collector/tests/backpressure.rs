//! A queue that is slow or away stops reading and nothing else (C-903, C-907).
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod rig;

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use collector::config::ShipSection;
use rig::Rig;

fn small(rig: &mut Rig) {
    rig.section.ship = ShipSection {
        batch_bytes: 64 << 10,
        linger_ms: 10,
        in_flight_bytes_max: 2 << 20,
        in_flight_batches_max: 4,
    };
}

#[tokio::test]
async fn c_903_while_the_queue_is_away_memory_is_bounded_and_afterwards_nothing_is_missing() {
    let mut rig = Rig::new();
    small(&mut rig);
    rig.queue.hold_appends();
    let running = rig.start().await;
    let mut file = File::create(rig.base().join("app.log")).unwrap();
    let filler = "x".repeat(100);
    let written: Vec<String> = (0..200_000).map(|number| format!("{number} {filler}")).collect();
    for line in &written {
        writeln!(file, "{line}").unwrap();
    }
    rig.clock.sleep(Duration::from_millis(500)).await;
    // Far less than the 21 MB that wait: the budget, one step and what the window holds.
    let peak = runtime::process::resident_bytes().unwrap_or(0);
    rig.clock.sleep(Duration::from_millis(500)).await;
    let later = runtime::process::resident_bytes().unwrap_or(0);
    assert!(later < peak + (8 << 20), "memory grew from {peak} to {later}");
    assert!(rig.rows().is_empty());
    rig.queue.release_appends();
    rig.expect("service_name", "app", &written).await;
    running.stop().await;
}

#[tokio::test]
async fn c_907_discovery_goes_on_while_the_queue_is_away() {
    let mut rig = Rig::new();
    small(&mut rig);
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    let mut written = pod.lines(0..10);
    rig.expect("pod", "web", &written).await;
    rig.wait_committed(&pod.live).await;
    rig.queue.hold_appends();
    written.extend(pod.lines(10..60_000));
    // These come and go while nothing can be read; only an open descriptor saves them.
    let mut gone = rig.pod("short");
    let short = gone.lines(0..100);
    let path = gone.live.to_str().unwrap().to_owned();
    rig.wait_until("the new pod in the checkpoint", || rig.checkpoint().contains(&path)).await;
    std::fs::remove_dir_all(gone.live.parent().unwrap()).unwrap();
    rig.queue.release_appends();
    rig.expect("pod", "short", &short).await;
    rig.expect("pod", "web", &written).await;
    running.stop().await;
}

#[tokio::test]
async fn batches_the_queue_fails_to_store_come_once_and_in_order() {
    let mut rig = Rig::new();
    rig.section.ship.batch_bytes = 1_024;
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    let mut written = Vec::new();
    for round in 0..20 {
        rig.queue.fail_appends(round % 4);
        let from = written.len();
        written.extend(pod.lines(from..from + 300));
        rig.clock.sleep(Duration::from_millis(5)).await;
    }
    rig.queue.fail_appends(0);
    rig.expect("pod", "web", &written).await;
    running.stop().await;
}
