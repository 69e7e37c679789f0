//! What cannot be decoded is set aside with its coordinates, and nothing else is held up by it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use indexer::dead_letter::{self, DeadLetters, Fate, Replay};
use queue::{Message, Offset, Partition, Queue, Topic, TopicPartition};
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
        builder.finish().encode().unwrap()
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

/// A topic whose first batch was poison for this build, though its source went on.
#[tokio::test]
async fn what_was_set_aside_can_be_sent_again_and_is_taken_once() {
    let rig = Rig::new(1);
    let early = message(&[row(0, 1, "early", Some((7, 10)))]);
    let mut poison = early.clone();
    poison.headers[0].1 = Bytes::from_static(b"999");
    let offset = rig.send(&logs(0), poison).await;
    rig.send(&logs(0), message(&[row(0, 2, "late", Some((7, 20)))])).await;
    rig.start("a").await.stop().await.unwrap();
    // A crash wrote it twice; somebody else wrote to the topic too.
    let (_, letter) = rig.memory.messages(&letters()).remove(0);
    let mut mended = letter.clone();
    mended.headers[0].1 = early.headers[0].1.clone();
    rig.send(&letters(), mended).await;
    rig.send(&letters(), Message { payload: Bytes::from_static(b"?"), ..Message::default() }).await;

    let queue = Queue::from(rig.memory.clone());
    let mut listed = DeadLetters::open(&queue, &Topic::logs(), Offset(0)).await.unwrap();
    let mut seen = Vec::new();
    while let Some(letter) = listed.next().await.unwrap() {
        seen.push((letter.offset, letter.from, letter.from_offset, letter.reason));
    }
    let expected = |at: i64| (Offset(at), logs(0), offset, "version".to_owned());
    assert_eq!(seen, [expected(0), expected(1)]);
    assert_eq!(listed.strangers(), 1);

    // As after the release that reads it: what is sent again is sound.
    let mut replay = Replay::open(&queue, &Topic::logs(), Offset(1)).await.unwrap();
    while replay.step().await.unwrap().is_some() {}
    let done = replay.done();
    assert_eq!((done.sent, done.repeated, done.cut), (1, 0, 0));
    assert_eq!(done.next.get(&Partition(0)), Some(&Offset(2)));
    let (_, again) = rig.memory.messages(&logs(0)).pop().unwrap();
    let (mark, rest) = again.headers.split_last().unwrap();
    assert_eq!((mark.0.as_str(), mark.1.as_ref()), (dead_letter::REPLAYED, b"0/1".as_slice()));
    assert_eq!(rest, early.headers);
    assert_eq!(again.payload, early.payload);

    rig.start("a").await.stop().await.unwrap();
    let state = rig.state().await;
    let mut lines: Vec<String> =
        rig.published(&state).await.into_iter().map(|row| row.line).collect();
    lines.sort();
    assert_eq!(lines, ["early", "late"], "its source went on, and yet it is no replay");
}

#[tokio::test]
async fn of_letters_written_twice_one_is_sent_and_a_cut_one_is_not() {
    let rig = Rig::new(1);
    rig.send(&logs(0), poisons().remove(0).0).await;
    rig.start("a").await.stop().await.unwrap();
    let (_, letter) = rig.memory.messages(&letters()).remove(0);
    rig.send(&letters(), letter.clone()).await;
    let mut cut = letter;
    cut.headers.push((dead_letter::PAYLOAD_BYTES.to_owned(), Bytes::from_static(b"9000000")));
    rig.send(&letters(), cut).await;
    let queue = Queue::from(rig.memory.clone());
    let mut replay = Replay::open(&queue, &Topic::logs(), Offset(0)).await.unwrap();
    let mut fates = Vec::new();
    while let Some((_, fate)) = replay.step().await.unwrap() {
        fates.push(fate);
    }
    assert_eq!(fates, [Fate::Sent, Fate::Repeated, Fate::Cut]);
    assert_eq!(rig.memory.messages(&logs(0)).len(), 2);
    let missing = DeadLetters::open(&queue, &Topic::samples(), Offset(0)).await;
    assert!(matches!(missing, Err(queue::QueueError::UnknownTopic { .. })));
}
