//! Kill it anywhere, send rows again, take partitions away: each row is published exactly once, in
//! order.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indexer::Drain;
use proptest::prelude::*;
use segment::store::faulty::{Fault, Operation};
use support::{Rig, Row, Running, assert_all_published, logs, message, row, until};

/// Where an indexer is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    BeforeAcquire,
    AfterAcquire,
    BeforeUpload,
    AfterUpload,
    BeforeCommit,
    AfterCommit,
}

const POINTS: [Point; 6] = [
    Point::BeforeAcquire,
    Point::AfterAcquire,
    Point::BeforeUpload,
    Point::AfterUpload,
    Point::BeforeCommit,
    Point::AfterCommit,
];

/// Makes the store stop an indexer dead at `point`; the counter says when it got there.
fn stop_at(rig: &Rig, point: Point) -> Arc<AtomicUsize> {
    let arrived = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&arrived);
    let mut uploaded = false;
    let mut stopped = false;
    rig.faults.choose(move |operation, path| {
        let put = operation == Operation::Put;
        let upload = put && path.as_ref().starts_with("segments/");
        let commit = put && path.as_ref().contains("commits/");
        if stopped {
            // A dead process asks nothing more.
            counter.fetch_add(1, Ordering::SeqCst);
            return Some(Fault::Hang);
        }
        let here = match point {
            Point::BeforeAcquire | Point::AfterAcquire => commit && !uploaded,
            Point::BeforeUpload | Point::AfterUpload => upload,
            Point::BeforeCommit | Point::AfterCommit => commit && uploaded,
        };
        uploaded |= upload;
        if !here {
            return None;
        }
        stopped = true;
        match point {
            Point::BeforeAcquire | Point::BeforeUpload | Point::BeforeCommit => {
                counter.fetch_add(1, Ordering::SeqCst);
                Some(Fault::Hang)
            }
            // It is done, and the next request finds that the process does not answer any more.
            Point::AfterAcquire | Point::AfterUpload | Point::AfterCommit => {
                Some(Fault::LoseAnswer)
            }
        }
    });
    arrived
}

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    /// A step of splitmix64.
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

async fn send_some(rig: &Rig, round: u8) {
    for number in 0_u8..6 {
        let partition = number % 2;
        let offset = u64::from(round) * 100 + u64::from(number);
        let rows: Vec<Row> = (0..3)
            .map(|part| {
                let line = format!("round {round} line {number}.{part}");
                row(partition, i64::from(number), &line, Some((partition, offset * 10 + part)))
            })
            .collect();
        rig.send(&logs(i32::from(partition)), message(&rows)).await;
        rig.send(&logs(i32::from(partition)), message(&rows)).await;
    }
}

#[tokio::test]
async fn killed_before_and_after_every_durable_step() {
    for point in POINTS {
        let rig = Rig::new(2);
        send_some(&rig, 0).await;
        let arrived = stop_at(&rig, point);
        let running = rig.start("a").await;
        until(&format!("{point:?}"), async || (0 < arrived.load(Ordering::SeqCst)).then_some(()))
            .await;
        running.crash().await;
        rig.faults.clear();
        send_some(&rig, 1).await;
        rig.start("a").await.stop().await.unwrap();
        assert_all_published(&rig).await;
    }
}

#[tokio::test]
async fn answers_lost_and_late_puts_publish_nothing_twice() {
    for seed in 0_u64..10 {
        let rig = Rig::new(2);
        let mut dice = Dice(seed);
        rig.faults.choose(move |operation, path| {
            let put = operation == Operation::Put;
            match dice.roll() % 8 {
                0 => Some(Fault::Refuse),
                1 => Some(Fault::LoseAnswer),
                2 if put => Some(Fault::ArriveLate { requests: 1 + (dice.roll() % 4) as u32 }),
                3 if put && path.as_ref().starts_with("segments/") => {
                    Some(Fault::TornPut { bytes: 10 })
                }
                _ => None,
            }
        });
        let running = rig.start("a").await;
        for round in 0..4 {
            send_some(&rig, round).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        rig.faults.clear();
        running.stop().await.unwrap();
        assert_all_published(&rig).await;
    }
}

/// What happens to two indexers that share two partitions.
#[derive(Clone, Debug)]
enum Action {
    /// New rows of a stream: how many, from a source or pushed.
    Send {
        stream: u8,
        rows: u8,
        pushed: bool,
    },
    /// A collector repeats its last rows of a stream and goes on.
    Replay {
        stream: u8,
        back: u8,
        rows: u8,
    },
    Start {
        indexer: usize,
    },
    Stop {
        indexer: usize,
    },
    Crash {
        indexer: usize,
    },
    /// The group loses its broker for a moment: every partition is taken away.
    Rebalance,
    Wait {
        ms: u8,
    },
    /// The store fails this often in a hundred requests.
    Faults {
        percent: u8,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let indexer = 0_usize..2;
    prop_oneof![
        6 => (0_u8..4, 1_u8..5, prop::bool::weighted(0.2))
            .prop_map(|(stream, rows, pushed)| Action::Send { stream, rows, pushed }),
        3 => (0_u8..4, 1_u8..6, 0_u8..3)
            .prop_map(|(stream, back, rows)| Action::Replay { stream, back, rows }),
        3 => indexer.clone().prop_map(|indexer| Action::Start { indexer }),
        1 => indexer.clone().prop_map(|indexer| Action::Stop { indexer }),
        2 => indexer.prop_map(|indexer| Action::Crash { indexer }),
        1 => Just(Action::Rebalance),
        3 => (0_u8..8).prop_map(|ms| Action::Wait { ms }),
        1 => (0_u8..40).prop_map(|percent| Action::Faults { percent }),
    ]
}

/// The collectors' side: streams 0 and 2 are in partition 0, 1 and 3 in partition 1.
#[derive(Debug, Default)]
struct Streams {
    sent: [Vec<Row>; 4],
    lines: usize,
}

impl Streams {
    fn new_rows(&mut self, stream: u8, count: u8, pushed: bool) -> Vec<Row> {
        let mut rows = Vec::new();
        for _ in 0..count {
            self.lines += 1;
            let offset = self.sent[usize::from(stream)].len() as u64 * 7 + 3;
            let source = (!pushed).then_some((stream, offset));
            // Times repeat, and go back now and then.
            let time = (self.lines as i64 / 3) - i64::from(self.lines.is_multiple_of(11)) * 3;
            let row = row(stream, time, &format!("line {}", self.lines), source);
            if !pushed {
                self.sent[usize::from(stream)].push(row.clone());
            }
            rows.push(row);
        }
        rows
    }

    fn last_rows(&self, stream: u8, count: u8) -> Vec<Row> {
        let sent = &self.sent[usize::from(stream)];
        sent[sent.len().saturating_sub(usize::from(count))..].to_vec()
    }
}

async fn play(actions: Vec<Action>) {
    let mut rig = Rig::new(2);
    rig.drain = Drain::Held;
    let mut streams = Streams::default();
    let mut indexers: [Option<Running>; 2] = [None, None];
    for action in actions {
        match action {
            Action::Send { stream, rows, pushed } => {
                let rows = streams.new_rows(stream, rows, pushed);
                rig.send(&logs(i32::from(stream % 2)), message(&rows)).await;
            }
            Action::Replay { stream, back, rows } => {
                let mut again = streams.last_rows(stream, back);
                again.extend(streams.new_rows(stream, rows, false));
                if !again.is_empty() {
                    rig.send(&logs(i32::from(stream % 2)), message(&again)).await;
                }
            }
            Action::Start { indexer } => {
                if indexers[indexer].is_none() {
                    let name = if indexer == 0 { "a" } else { "b" };
                    indexers[indexer] = Some(rig.start(name).await);
                }
            }
            Action::Stop { indexer } => {
                if let Some(running) = indexers[indexer].take() {
                    rig.faults.clear();
                    running.stop().await.unwrap();
                }
            }
            Action::Crash { indexer } => {
                if let Some(running) = indexers[indexer].take() {
                    running.crash().await;
                }
            }
            Action::Rebalance => {
                rig.memory.drop_connection();
                tokio::time::sleep(Duration::from_millis(1)).await;
                rig.memory.restore_connection();
            }
            Action::Wait { ms } => tokio::time::sleep(Duration::from_millis(ms.into())).await,
            Action::Faults { percent } => fail_often(&rig, percent),
        }
    }
    rig.faults.clear();
    for running in indexers.into_iter().flatten() {
        running.stop().await.unwrap();
    }
    rig.drain = Drain::ToHighWatermark;
    rig.start("last").await.stop().await.unwrap();
    assert_all_published(&rig).await;
}

fn fail_often(rig: &Rig, percent: u8) {
    let mut dice = Dice(u64::from(percent));
    rig.faults.choose(move |_, _| {
        if u64::from(percent) <= dice.roll() % 100 {
            return None;
        }
        Some(if dice.roll().is_multiple_of(2) { Fault::Refuse } else { Fault::LoseAnswer })
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn whatever_happens_each_row_is_published_once_and_in_order(
        actions in prop::collection::vec(action(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(play(actions));
    }
}
