//! Fail requests, send rows again, crash, take partitions away: each row is published exactly once, in
//! order.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use indexer::Drain;
use proptest::prelude::*;
use queue::Topic;
use segment::store::faulty::{Fault, Operation};
use support::{Rig, Row, Running, assert_all_published, logs, message, row, send_some, until};

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

/// A partition that stays where it is goes on being filled: it is not even taken over anew.
#[tokio::test]
async fn a_join_takes_over_only_what_moves() {
    let mut rig = Rig::new(4);
    rig.drain = Drain::Held;
    rig.section.logs.cut_raw_bytes_max = 1 << 20;
    let first = rig.start("a").await;
    for stream in 0..4 {
        let rows = [row(stream, 1, &format!("line of {stream}"), Some((stream, 1)))];
        rig.send(&logs(i32::from(stream)), message(&rows)).await;
    }
    until("all taken", async || {
        let (rows, _) = first.recent(&*rig.state().await).await.ok()?;
        (rows.len() == 4).then_some(())
    })
    .await;
    let owners = async || {
        let state = rig.state().await;
        let of = |partition| state.partition(Topic::LOGS, partition).cloned().unwrap();
        [0, 1, 2, 3].map(of).map(|known| (known.owner, known.epoch))
    };
    assert_eq!(owners().await, [(); 4].map(|()| ("http://a".to_owned(), 1)));

    let second = rig.start("b").await;
    let shared = until("two have moved", async || {
        let shared = owners().await;
        let moved = shared.iter().filter(|(owner, _)| owner == "http://b").count();
        (moved == 2).then_some(shared)
    })
    .await;
    for (owner, epoch) in shared {
        assert_eq!(epoch, if owner == "http://b" { 2 } else { 1 }, "{owner}");
    }
    // What the first held of the partitions it kept is still there, unpublished and searchable.
    assert!(rig.state().await.segments.is_empty());
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    rig.drain = Drain::ToHighWatermark;
    rig.start("last").await.stop().await.unwrap();
    assert_all_published(&rig).await;
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
