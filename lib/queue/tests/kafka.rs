//! The queue on a real Apache Kafka broker.
#![allow(clippy::unwrap_used, reason = "tests")]

mod broker;

use std::path::Path;
use std::time::Duration;

use broker::{fresh, open, section};
use bytes::Bytes;
use queue::conformance::{self, append_all, assigned, event, message, read_from, take, text};
use queue::{
    Ack, ConsumerEvent, KafkaSection, Message, Offset, Partition, Producer, Queue, QueueError,
    QueueSection, SaslMechanism, SecurityProtocol, SecuritySection, Topic, TopicPartition,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use record::{Labels, LogBatchBuilder, TimestampNanos};
use runtime::clock::{Clock, SystemClock};
use runtime::config::Secret;

fn shared() -> Queue {
    open(section(broker::shared()))
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", broker::shared()).create().unwrap()
}

async fn new_topic(queue: &Queue, name: &str) -> (Topic, TopicPartition) {
    let topic = Topic::new(&fresh(name)).unwrap();
    queue.ensure_topic(&topic, 1).await.unwrap();
    let at = TopicPartition::new(&topic, Partition(0));
    (topic, at)
}

fn numbers(range: std::ops::Range<usize>) -> Vec<Message> {
    range.map(|number| message(&number.to_string())).collect()
}

/// Bytes that do not compress.
fn noise(length: usize) -> Message {
    let payload: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect();
    Message { payload: Bytes::from(payload), ..Message::default() }
}

async fn submit(producer: &dyn Producer, topic: &Topic, number: usize) -> Ack {
    let message = message(&number.to_string());
    producer.submit(topic, Partition(0), message).await.unwrap()
}

/// Removes what lies below `low`.
async fn delete_below(at: &TopicPartition, low: i64) {
    let mut list = TopicPartitionList::new();
    let offset = KafkaOffset::Offset(low);
    list.add_partition_offset(at.topic.as_str(), at.partition.0, offset).unwrap();
    admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_suite() {
    conformance::all(&shared(), &fresh("suite")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_messages_are_out_of_range() {
    let queue = shared();
    let (topic, at) = new_topic(&queue, "removed").await;
    append_all(&queue, &topic, 0, &numbers(0..10)).await;
    delete_below(&at, 5).await;
    conformance::removed_offsets_name_the_range(&queue, &at, Offset(5)).await;
}

/// The range check of `seek` passes; the client finds the hole only when it fetches.
#[tokio::test(flavor = "multi_thread")]
async fn messages_removed_under_a_reader_are_out_of_range_and_reading_can_go_on() {
    let queue = shared();
    let (topic, at) = new_topic(&queue, "hole").await;
    append_all(&queue, &topic, 0, &numbers(0..10)).await;
    let mut reader = read_from(&queue, "hole", &at, Offset(0)).await;
    reader.pause(&at).await.unwrap();
    delete_below(&at, 5).await;
    reader.resume(&at).await.unwrap();
    // Paused before anything was taken, so nothing was delivered before it was removed.
    let told = event(&mut *reader).await;
    let wanted = ConsumerEvent::OutOfRange {
        at: at.clone(),
        wanted: Offset(0),
        low: Offset(5),
        high: Offset(10),
    };
    assert_eq!(told, wanted);
    reader.seek(&at, Offset(5)).await.unwrap();
    let got = take(&mut *reader, &at, 5).await;
    assert_eq!(got[0].0, Offset(5));
    append_all(&queue, &topic, 0, &numbers(10..12)).await;
    take(&mut *reader, &at, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_for_30_s_delays_and_loses_nothing() {
    let own = broker::Own::start();
    let queue = open(section(&own.servers));
    let (topic, at) = new_topic(&queue, "outage").await;
    let producer = queue.producer().unwrap();
    let mut acks = Vec::new();
    for number in 0..50 {
        acks.push(submit(&*producer, &topic, number).await);
    }
    producer.flush(Duration::from_secs(30)).await.unwrap();
    let mut reader = read_from(&queue, "outage", &at, Offset(0)).await;
    let mut got = take(&mut *reader, &at, 50).await;

    own.stop();
    for number in 50..100 {
        acks.push(submit(&*producer, &topic, number).await);
    }
    let waited = producer.flush(Duration::from_secs(1)).await;
    assert!(matches!(waited, Err(QueueError::Deadline { .. })), "{waited:?}");
    SystemClock::new().sleep(Duration::from_secs(30)).await;
    own.start_again();
    for number in 100..150 {
        acks.push(submit(&*producer, &topic, number).await);
    }
    let offsets = futures::future::try_join_all(acks).await.unwrap();
    assert!(offsets.is_sorted());

    // The group may or may not have lost its partition over it.
    while got.len() < 150 {
        match event(&mut *reader).await {
            ConsumerEvent::Messages(_, messages) => got.extend(messages),
            ConsumerEvent::Revoked(_) => {}
            ConsumerEvent::Assigned(_) => {
                let next = got.last().map_or(Offset(0), |(offset, _)| offset.next());
                reader.seek(&at, next).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    let texts: Vec<String> = got.iter().map(|(_, message)| text(message)).collect();
    let wanted: Vec<String> = (0..150).map(|number| number.to_string()).collect();
    assert_eq!(texts, wanted, "none lost, none doubled, in order");
}

/// The topic's limit is lowered behind the producer's back, so that only the broker can refuse.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_the_broker_refuses_is_not_overtaken() {
    let queue = shared();
    let (topic, at) = new_topic(&queue, "refused").await;
    let producer = queue.producer().unwrap();
    producer.append(&topic, Partition(0), message("0")).await.unwrap();
    let limit =
        AlterConfig::new(ResourceSpecifier::Topic(topic.as_str())).set("max.message.bytes", "2000");
    let altered = admin().alter_configs([&limit], &AdminOptions::new()).await;
    altered.unwrap()[0].as_ref().unwrap();

    let big = producer.submit(&topic, Partition(0), noise(20_000)).await.unwrap();
    // Not in the same request, so that it is the order of requests that is looked at.
    SystemClock::new().sleep(Duration::from_millis(30)).await;
    let behind = producer.submit(&topic, Partition(0), message("behind")).await;
    let refused = big.await;
    assert!(matches!(refused, Err(QueueError::TooLarge { .. })), "{refused:?}");
    match behind {
        Ok(behind) => {
            let told = behind.await;
            assert!(matches!(told, Err(QueueError::Interrupted { .. })), "{told:?}");
        }
        Err(error) => assert!(matches!(error, QueueError::Interrupted { .. }), "{error}"),
    }
    for text in ["1", "2"] {
        producer.append(&topic, Partition(0), message(text)).await.unwrap();
    }
    let mut reader = read_from(&queue, "refused", &at, Offset(0)).await;
    let got = take(&mut *reader, &at, 3).await;
    let texts: Vec<String> = got.iter().map(|(_, message)| text(message)).collect();
    assert_eq!(texts, ["0", "1", "2"]);
}

/// A limit the topic has from the start is learnt and refused before anything is sent.
#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_a_topic_is_learnt() {
    let queue = shared();
    let (topic, _) = new_topic(&queue, "limit").await;
    let limit =
        AlterConfig::new(ResourceSpecifier::Topic(topic.as_str())).set("max.message.bytes", "2000");
    admin().alter_configs([&limit], &AdminOptions::new()).await.unwrap();
    let producer = shared().producer().unwrap();
    let refused = producer.submit(&topic, Partition(0), noise(5_000)).await;
    assert!(matches!(refused, Err(QueueError::TooLarge { max: 2_000, .. })), "{refused:?}");
}

/// Brokers take 1 MiB by default, and the longest record that collectors keep is a little larger as
/// a batch, however badly it compresses.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_the_longest_allowed_line_is_sent_with_default_settings() {
    let queue = shared();
    let (topic, at) = new_topic(&queue, "longest").await;
    let letters = std::iter::repeat_with(fastrand::alphanumeric);
    let line: String = letters.take(1 << 20).collect();
    let mut builder = LogBatchBuilder::new();
    let labels = Labels::from_pairs([("pod", "shop-0")]);
    let attributes = [("detected_level", "info")];
    builder.push(TimestampNanos(1), &labels, &line, &attributes, None);
    let payload = builder.finish().encode().unwrap();
    let sent = Message { payload, ..Message::default() };
    append_all(&queue, &topic, 0, std::slice::from_ref(&sent)).await;
    let mut reader = read_from(&queue, "longest", &at, Offset(0)).await;
    let got = take(&mut *reader, &at, 1).await;
    assert!(got[0].1 == sent, "what was sent is read");
    // And a message near the limit, which counts framing too, of bytes that do not compress at all.
    let most = noise(KafkaSection::default().message_bytes_max - 1_024);
    append_all(&queue, &topic, 0, &[most]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_buffer_slows_senders_down_and_nothing_else() {
    let queue = open(KafkaSection {
        message_bytes_max: 100_000,
        buffer_bytes_max: 200_000,
        consumer_buffer_bytes_max: 65_536,
        prefetch_bytes_max: 1 << 20,
        ..section(broker::shared())
    });
    let (topic, at) = new_topic(&queue, "pressure").await;
    let sent: Vec<Message> = (0..200).map(|_| noise(50_000)).collect();
    let offsets = append_all(&queue, &topic, 0, &sent).await;
    assert_eq!(offsets.len(), 200);

    // The reader lets its buffer fill and its partition pause, twice.
    let mut reader = read_from(&queue, "pressure", &at, Offset(0)).await;
    let clock = SystemClock::new();
    let mut got = Vec::new();
    for pause in [1_500, 1_500, 0] {
        clock.sleep(Duration::from_millis(pause)).await;
        let upto = (got.len() + 60).min(200);
        let upto = if pause == 0 { 200 } else { upto };
        while got.len() < upto {
            match event(&mut *reader).await {
                ConsumerEvent::Messages(_, messages) => got.extend(messages),
                other => panic!("{other:?}"),
            }
        }
    }
    for ((offset, message), (number, sent)) in got.iter().zip(sent.iter().enumerate()) {
        assert_eq!((offset.0, message), (number as i64, sent));
    }
    assert_eq!(got.len(), 200);
}

/// With a name of its own a member that comes back gets its partitions back at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_member_that_restarts_moves_nothing() {
    let named = |name: &str| {
        open(KafkaSection { group_instance_id: Some(name.to_owned()), ..section(broker::shared()) })
    };
    let queue = named("one");
    let topic = Topic::new(&fresh("named")).unwrap();
    queue.ensure_topic(&topic, 2).await.unwrap();
    let group = fresh("named");
    let topics = std::slice::from_ref(&topic);
    let mut one = queue.consumer(&group, topics).unwrap();
    assigned(&mut *one, 2).await;
    let other = named("two");
    let mut two = other.consumer(&group, topics).unwrap();
    let mut owned = 2;
    let clock = SystemClock::new();
    while owned != 1 {
        if let Ok(Some(ConsumerEvent::Revoked(all))) = one.next(Duration::from_millis(200)).await {
            owned -= all.len();
        }
        assert!(clock.elapsed() < Duration::from_secs(60));
    }
    // Releases what was revoked.
    drop(one.next(Duration::from_millis(200)).await);
    assigned(&mut *two, 1).await;
    one.close().await.unwrap();

    let started = clock.elapsed();
    let mut again = named("one").consumer(&group, topics).unwrap();
    assigned(&mut *again, 1).await;
    let took = clock.elapsed() - started;
    assert!(took < Duration::from_secs(15), "took {took:?}");
    let moved = two.next(Duration::from_millis(500)).await.unwrap();
    assert_eq!(moved, None, "the other member kept what it had");
}

/// The build can encrypt and log in; whether a cluster lets us in is the cluster's affair.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_login_is_built_in() {
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512]
    {
        let section = KafkaSection {
            bootstrap_servers: "127.0.0.1:1".to_owned(),
            security: SecuritySection {
                protocol: SecurityProtocol::SaslSsl,
                sasl_mechanism: mechanism,
                sasl_username: "me".to_owned(),
                sasl_password: Secret::new("hunter2"),
                ..SecuritySection::default()
            },
            ..KafkaSection::default()
        };
        let section = QueueSection::Kafka(Box::new(section));
        let queue = Queue::open(&section, Path::new("."), SystemClock::shared()).unwrap();
        assert!(!format!("{queue:?}").contains("hunter2"));
        queue.producer().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_cluster_is_trouble_that_may_pass() {
    let queue = open(KafkaSection { request_timeout_ms: 1_000, ..section("127.0.0.1:1") });
    let told = queue.ensure_topic(&Topic::logs(), 1).await.unwrap_err();
    assert!(told.retryable(), "{told}");
    let mut reader = queue.consumer("nobody", &[Topic::logs()]).unwrap();
    assert_eq!(reader.next(Duration::from_millis(500)).await.unwrap(), None);
    reader.close().await.unwrap();
}

/// A seek that came while the client still looked for its first position used to be undone half a
/// second later, which skipped everything up to the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_seek_right_after_the_assignment_holds() {
    let queue = shared();
    let topic = Topic::new(&fresh("hold")).unwrap();
    queue.ensure_topic(&topic, 8).await.unwrap();
    for partition in 0..8 {
        append_all(&queue, &topic, partition, &numbers(0..3)).await;
    }
    for _ in 0..4 {
        let topics = std::slice::from_ref(&topic);
        let mut reader = queue.consumer(&fresh("hold"), topics).unwrap();
        let mut owned = Vec::new();
        while owned.len() < 8 {
            if let ConsumerEvent::Assigned(all) = event(&mut *reader).await {
                for at in &all {
                    reader.seek(at, Offset(0)).await.unwrap();
                }
                owned.extend(all);
            }
        }
        let mut got = 0;
        while got < 8 * 3 {
            match event(&mut *reader).await {
                ConsumerEvent::Messages(_, messages) => got += messages.len(),
                other => panic!("{other:?}"),
            }
        }
        reader.close().await.unwrap();
    }
}
