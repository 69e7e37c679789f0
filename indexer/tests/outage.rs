//! The store refuses, hangs, is slow or has a full disk for minutes: memory stays within its bound,
//! the queue is the buffer, recent rows go on answering, and everything is published afterwards
//! without a hand. On a clock that the test moves.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "says how much was held")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use queue::Topic;
use runtime::clock::{Clock, ManualClock};
use segment::store::faulty::{Fault, Operation};
use support::metrics::Seen;
use support::{FETCH_MESSAGES_MAX, Rig, Row, Running, assert_all_published, logs, message, row};

const HELD_BYTES: &str = "millrace_indexer_held_bytes{kind=logs}";
const PAUSES: &str = "millrace_indexer_pauses_total{kind=logs}";

/// Memory an indexer may hold here, about a tenth of what is sent.
const MEMORY_BYTES_MAX: u64 = 192 << 10;

/// Rows of a message, and bytes of a line: a message is about 4 KiB.
const ROWS: i64 = 16;
const LINE_BYTES: usize = 200;

/// What one delivery may add on top: messages as they weigh in memory, generously.
const DELIVERY_BYTES: u64 = FETCH_MESSAGES_MAX as u64 * (16 << 10);

/// How far the clock moves at once. Small against every timeout here.
const TICK: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_store_that_refuses_for_two_minutes() {
    outage(Duration::from_secs(120), |_| Some(Fault::Refuse)).await;
}

#[tokio::test]
async fn a_store_that_hangs_for_two_minutes() {
    outage(Duration::from_secs(120), |_| Some(Fault::Hang)).await;
}

#[tokio::test]
async fn a_full_disk_for_two_minutes() {
    let full = |operation: Operation| (operation == Operation::Put).then_some(Fault::DiskFull);
    outage(Duration::from_secs(120), full).await;
}

#[tokio::test]
async fn a_store_that_takes_a_second_a_request_for_five_minutes() {
    let slow = |_: Operation| Some(Fault::Delay(Duration::from_secs(1)));
    outage(Duration::from_secs(300), slow).await;
}

async fn outage(length: Duration, fault: fn(Operation) -> Option<Fault>) {
    let (mut rig, clock) = Rig::manual(2);
    rig.section.logs.memory_bytes_max = MEMORY_BYTES_MAX;
    rig.section.logs.cut_raw_bytes_max = 16 << 10;
    rig.section.logs.cut_age_secs_max = 5;
    rig.section.recent_grace_secs = 1;
    rig.section.publish_retry_ms_min = 100;
    rig.section.publish_retry_ms_max = 10_000;
    let seen = Seen::default();
    let watching = seen.watch();
    let running = rig.start("a").await;
    let mut sender = Sender { rig: &rig, sent: 0 };
    sender.send(10).await;
    until_published(&rig, &clock).await;

    rig.faults.choose(move |operation, _| fault(operation));
    let until = clock.elapsed() + length;
    let mut turns: u64 = 0;
    while clock.elapsed() < until {
        tick(&clock).await;
        turns += 1;
        // Two megabytes over the whole outage.
        if turns.is_multiple_of(10) && sender.sent < 500 {
            sender.send(4).await;
        }
    }
    let held_max = seen.max(HELD_BYTES);
    assert!(held_max <= (MEMORY_BYTES_MAX + DELIVERY_BYTES) as f64, "held {held_max}");
    assert_recent_rows_answer(&rig, &running).await;

    rig.faults.clear();
    sender.send(10).await;
    until_published(&rig, &clock).await;
    let held_max = seen.max(HELD_BYTES);
    assert!(held_max <= (MEMORY_BYTES_MAX + DELIVERY_BYTES) as f64, "held {held_max}");
    println!("held at most {held_max} bytes, paused {} times", seen.last(PAUSES));
    if matches!(fault(Operation::Put), Some(Fault::Refuse | Fault::Hang | Fault::DiskFull)) {
        assert!(1.0 <= seen.last(PAUSES), "more was sent than fits, so reading paused");
    }
    drop(watching);
    let stopping = running.stop();
    let stopped = tokio::select! {
        stopped = stopping => stopped,
        () = ticking(&clock) => unreachable!("it ticks for ever"),
    };
    stopped.unwrap();
    assert_all_published(&rig).await;
    rig.assert_sound_catalog().await;
}

/// Rows not published are found while the store is away.
async fn assert_recent_rows_answer(rig: &Rig, running: &Running) {
    let state = rig.state().await;
    let (rows, _) = running.recent(&state).await.unwrap();
    let queued: i64 = (0..2).map(|partition| high(rig, partition)).sum();
    let published: i64 =
        (0..2).map(|p| state.partition(Topic::LOGS, p).map_or(0, |known| known.published)).sum();
    assert!(published == queued || !rows.is_empty(), "{published} of {queued} are published");
}

/// Sends numbered rows, turn by turn to either partition.
struct Sender<'a> {
    rig: &'a Rig,
    sent: i64,
}

impl Sender<'_> {
    async fn send(&mut self, messages: i64) {
        for _ in 0..messages {
            let partition = (self.sent % 2) as u8;
            let rows: Vec<Row> = (0..ROWS)
                .map(|number| {
                    let number = self.sent * ROWS + number;
                    let line = format!("{number:0LINE_BYTES$}");
                    row(partition, number, &line, Some((partition, number as u64)))
                })
                .collect();
            self.rig.send(&logs(i32::from(partition)), message(&rows)).await;
            self.sent += 1;
        }
    }
}

fn high(rig: &Rig, partition: i32) -> i64 {
    rig.memory.messages(&logs(partition)).last().map_or(0, |(last, _)| last.next().0)
}

/// Lets time pass until everything the queue has is published.
async fn until_published(rig: &Rig, clock: &Arc<ManualClock>) {
    let catalog = rig.catalog().await;
    for _ in 0..20_000 {
        tick(clock).await;
        let state = catalog.refresh().await.unwrap();
        let done = (0..2).all(|partition| {
            let published = state.partition(Topic::LOGS, partition).map_or(0, |p| p.published);
            published == high(rig, partition)
        });
        if done {
            return;
        }
    }
    panic!("never published");
}

async fn tick(clock: &ManualClock) {
    // Real time too: decoding and building run on threads.
    tokio::time::sleep(Duration::from_millis(1)).await;
    clock.advance(TICK);
}

async fn ticking(clock: &ManualClock) {
    loop {
        tick(clock).await;
    }
}
