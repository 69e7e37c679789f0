//! What cannot be decoded is set aside with its coordinates, and nothing else is held up by it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use indexer::dead_letter;
use queue::{Message, Partition, Topic, TopicPartition};
use record::Limits;
use support::{Rig, assert_all_published, logs, message, row, until};

fn letters() -> TopicPartition {
    TopicPartition::new(&Topic::logs().dead_letters().unwrap(), Partition(0))
}

fn text(message: &Message, name: &str) -> String {
    String::from_utf8(message.header(name).unwrap().to_vec()).unwrap()
}

fn with_header(name: &str, value: &[u8]) -> Message {
    let mut message = message(&[row(0, 1, "poison", None)]);
    for (found, old) in &mut message.headers {
        if found == name {
            *old = Bytes::copy_from_slice(value);
        }
    }
    message
}

/// Each kind of poison with the reason it must be given.
fn poisons() -> Vec<(Message, &'static str)> {
    let sound = message(&[row(0, 1, "poison", None)]);
    let torn = sound.payload.slice(..sound.payload.len() / 2);
    let long = "x".repeat(Limits::default().label_value_bytes_max + 1);
    let oversized = {
        let mut builder = record::LogBatchBuilder::new();
        let stream = record::Labels::from_pairs([("a", long)]);
        let time = record::TimestampNanos(0);
        builder.push::<&str, &str>(time, &stream, "poison", &[], None);
        Bytes::from(builder.finish().encode().unwrap())
    };
    vec![
        (Message { headers: Vec::new(), ..sound.clone() }, "headers"),
        (with_header("millrace-tenant", b"../../etc"), "headers"),
        (with_header("millrace-version", b"999"), "version"),
        (with_header("millrace-kind", b"traces"), "kind"),
        (with_header("millrace-kind", b"samples"), "kind"),
        (Message { payload: oversized, ..sound.clone() }, "limits"),
        (Message { payload: torn, ..sound.clone() }, "payload"),
        (
            Message { payload: Bytes::from_static(b"\xff\xff\xff\xff hello"), ..sound.clone() },
            "payload",
        ),
        (Message { payload: Bytes::new(), ..sound }, "payload"),
    ]
}

#[tokio::test]
async fn poison_of_every_kind_is_set_aside_between_sound_messages() {
    let rig = Rig::new(1);
    let poisons = poisons();
    let mut expected = Vec::new();
    for (number, (poison, reason)) in poisons.iter().enumerate() {
        let line = format!("sound {number}");
        rig.send(&logs(0), message(&[row(0, number as i64, &line, None)])).await;
        let offset = rig.send(&logs(0), poison.clone()).await;
        expected.push((offset, *reason));
    }
    rig.start("a").await.stop().await.unwrap();

    let found = rig.memory.messages(&letters());
    assert_eq!(found.len(), poisons.len());
    for (((_, letter), (poison, _)), (offset, reason)) in found.iter().zip(&poisons).zip(&expected)
    {
        assert_eq!(letter.payload, poison.payload);
        assert!(letter.headers.starts_with(&poison.headers));
        assert_eq!(text(letter, dead_letter::TOPIC), Topic::LOGS);
        assert_eq!(text(letter, dead_letter::PARTITION), "0");
        assert_eq!(text(letter, dead_letter::OFFSET), offset.to_string());
        assert_eq!(text(letter, dead_letter::REASON), *reason);
        assert!(!text(letter, dead_letter::ERROR).is_empty());
    }
    let state = rig.state().await;
    let sound: Vec<String> = rig.published(&state).await.into_iter().map(|row| row.line).collect();
    assert_eq!(sound, (0..poisons.len()).map(|n| format!("sound {n}")).collect::<Vec<_>>());
    let published = state.partition(Topic::LOGS, 0).unwrap().published;
    assert_eq!(published, 2 * poisons.len() as i64);
}

#[tokio::test]
async fn an_offset_waits_for_its_dead_letter() {
    let (rig, clock) = Rig::manual(1);
    rig.send(&logs(0), poisons().remove(0).0).await;
    rig.send(&logs(0), message(&[row(0, 1, "behind the poison", None)])).await;
    // The queue takes nothing for now.
    rig.memory.hold_appends();
    let running = rig.start("a").await;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        clock.advance(Duration::from_secs(60));
    }
    assert!(rig.memory.messages(&letters()).is_empty());
    let state = rig.state().await;
    assert_eq!(
        state.partition(Topic::LOGS, 0).unwrap().published,
        0,
        "far beyond the age of a cut"
    );

    rig.memory.release_appends();
    running.stop().await.unwrap();
    assert_eq!(rig.memory.messages(&letters()).len(), 1);
    assert_all_published(&rig).await;
}

#[tokio::test]
async fn a_crash_may_write_a_dead_letter_twice_but_never_drops_it() {
    let mut rig = Rig::new(1);
    rig.section.logs.cut_raw_bytes_max = 1 << 20;
    let offset = rig.send(&logs(0), poisons().remove(0).0).await;
    let running = rig.start("a").await;
    until("set aside", async || (!rig.memory.messages(&letters()).is_empty()).then_some(())).await;
    running.crash().await;
    rig.start("a").await.stop().await.unwrap();
    let found = rig.memory.messages(&letters());
    assert_eq!(found.len(), 2);
    for (_, letter) in found {
        assert_eq!(text(&letter, dead_letter::OFFSET), offset.to_string());
    }
    assert_all_published(&rig).await;
}
