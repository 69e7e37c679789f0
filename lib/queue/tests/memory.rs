//! The queue in memory: the suite, and the faults tests order from it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use queue::conformance::{self, append_all, assigned, event, message, read_from, take, text};
use queue::{
    ConsumerEvent, MemoryQueue, MemorySection, Offset, Partition, Queue, QueueError, Topic,
    TopicPartition,
};
use runtime::clock::{ManualClock, SystemClock};

fn new() -> (MemoryQueue, Queue) {
    let memory = MemoryQueue::new(MemorySection::default(), SystemClock::shared());
    memory.ensure_topic(&Topic::logs(), 1);
    (memory.clone(), Queue::from(memory))
}

fn at() -> TopicPartition {
    TopicPartition::new(&Topic::logs(), Partition(0))
}

#[tokio::test]
async fn passes_the_suite() {
    conformance::all(&new().1, "t").await;
}

#[tokio::test]
async fn removed_messages_are_out_of_range() {
    let (memory, queue) = new();
    append_all(&queue, &Topic::logs(), 0, &["a", "b", "c"].map(message)).await;
    memory.trim(&at(), Offset(2));
    conformance::removed_offsets_name_the_range(&queue, &at(), Offset(2)).await;
}

#[tokio::test]
async fn a_failed_append_takes_those_behind_it_along_and_repeating_keeps_order() {
    let (memory, queue) = new();
    let producer = queue.producer().unwrap();
    let submit = |text: &'static str| {
        let producer = Arc::clone(&producer);
        async move {
            let topic = Topic::logs();
            producer.submit(&topic, Partition(0), message(text)).await
        }
    };
    memory.hold_appends();
    memory.fail_appends(1);
    let first = submit("1").await.unwrap();
    let second = submit("2").await.unwrap();
    memory.release_appends();

    // The sender has not looked yet and goes on: this must not overtake message 1.
    let third = submit("3").await;
    assert!(matches!(third, Err(QueueError::Interrupted { .. })));
    assert!(matches!(first.await, Err(QueueError::Unavailable { .. })));
    assert!(matches!(second.await, Err(QueueError::Interrupted { .. })));

    for text in ["1", "2", "3"] {
        submit(text).await.unwrap().await.unwrap();
    }
    let stored: Vec<String> = memory.messages(&at()).iter().map(|(_, m)| text(m)).collect();
    assert_eq!(stored, ["1", "2", "3"]);
}

#[tokio::test]
async fn delayed_appends_are_seen_only_when_acknowledged() {
    let clock = ManualClock::new(0);
    let shared: runtime::clock::SharedClock = Arc::<ManualClock>::clone(&clock);
    let memory = MemoryQueue::new(MemorySection::default(), shared);
    memory.ensure_topic(&Topic::logs(), 1);
    let queue = Queue::from(memory.clone());
    memory.delay_appends(Duration::from_secs(5));
    let producer = queue.producer().unwrap();
    let mut ack = producer.submit(&Topic::logs(), Partition(0), message("slow")).await.unwrap();
    clock.advance(Duration::from_secs(4));
    assert!(futures::poll!(&mut ack).is_pending());
    assert!(memory.messages(&at()).is_empty());
    clock.advance(Duration::from_secs(1));
    assert_eq!(ack.await.unwrap(), Offset(0));
    assert_eq!(memory.messages(&at()).len(), 1);
}

#[tokio::test]
async fn an_outage_delays_acknowledgements_and_reassigns() {
    let (memory, queue) = new();
    let mut reader = read_from(&queue, "g", &at(), Offset(0)).await;
    memory.drop_connection();
    let lost = reader.next(Duration::from_secs(1)).await;
    assert!(lost.unwrap_err().retryable());
    let producer = queue.producer().unwrap();
    let mut ack = producer.submit(&Topic::logs(), Partition(0), message("kept")).await.unwrap();
    assert!(futures::poll!(&mut ack).is_pending());
    let waited = producer.flush(Duration::from_millis(10)).await;
    assert!(matches!(waited, Err(QueueError::Deadline { .. })));

    memory.restore_connection();
    ack.await.unwrap();
    assert_eq!(event(&mut *reader).await, ConsumerEvent::Revoked(vec![at()]));
    assigned(&mut *reader, 1).await;
    reader.seek(&at(), Offset(0)).await.unwrap();
    assert_eq!(text(&take(&mut *reader, &at(), 1).await[0].1), "kept");
}

#[tokio::test]
async fn lost_messages_are_named_and_reading_goes_on() {
    let (memory, queue) = new();
    append_all(&queue, &Topic::logs(), 0, &["a", "b", "c", "d"].map(message)).await;
    memory.lose(&at(), Offset(1), Offset(2));
    let mut reader = read_from(&queue, "g", &at(), Offset(0)).await;
    assert_eq!(text(&take(&mut *reader, &at(), 1).await[0].1), "a");
    let told = event(&mut *reader).await;
    assert!(matches!(told, ConsumerEvent::Lost { first: Offset(1), last: Offset(2), .. }));
    assert_eq!(text(&take(&mut *reader, &at(), 1).await[0].1), "d");
}

#[tokio::test]
async fn a_full_buffer_makes_submit_wait() {
    let section = MemorySection { buffer_messages_max: 2, ..MemorySection::default() };
    let memory = MemoryQueue::new(section, SystemClock::shared());
    memory.ensure_topic(&Topic::logs(), 1);
    let producer = Queue::from(memory.clone()).producer().unwrap();
    memory.hold_appends();
    let topic = Topic::logs();
    for text in ["1", "2"] {
        drop(producer.submit(&topic, Partition(0), message(text)).await);
    }
    let mut third = producer.submit(&topic, Partition(0), message("3"));
    assert!(futures::poll!(&mut third).is_pending());
    memory.release_appends();
    third.await.unwrap().await.unwrap();
    assert_eq!(memory.messages(&at()).len(), 3);
}

#[tokio::test]
async fn a_full_partition_forgets_what_every_group_is_done_with() {
    let section = MemorySection {
        message_bytes_max: 2_000,
        partition_bytes_max: 3_000,
        ..MemorySection::default()
    };
    let memory = MemoryQueue::new(section, SystemClock::shared());
    memory.ensure_topic(&Topic::logs(), 1);
    let queue = Queue::from(memory.clone());
    let payload = "x".repeat(1_200);
    append_all(&queue, &Topic::logs(), 0, &[message(&payload), message(&payload)]).await;
    let producer = queue.producer().unwrap();
    let topic = Topic::logs();
    let third = producer.submit(&topic, Partition(0), message(&payload));
    let mut third = third.await.unwrap();
    assert!(futures::poll!(&mut third).is_pending());
    let mut reader = read_from(&queue, "g", &at(), Offset(0)).await;
    reader.commit_advisory(&at(), Offset(1)).await.unwrap();
    assert_eq!(third.await.unwrap(), Offset(2));
    assert_eq!(memory.messages(&at())[0].0, Offset(1));
}
