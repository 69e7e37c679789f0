//! What every queue must do, as a suite that each implementation runs in its tests.
//!
//! Every function makes topics of its own below the name it is given, so that one queue or one
//! broker serves the whole suite. They panic with what they saw when a promise is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use runtime::clock::{Clock, SystemClock};

use crate::{
    Consumer, ConsumerEvent, Message, Offset, Partition, Queue, QueueError, Topic, TopicPartition,
};

/// How long anything may take before the suite gives up. Generous: a group on a busy broker
/// settles in seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long nothing must come before the suite believes that nothing comes.
const SILENCE: Duration = Duration::from_millis(700);

/// Runs the whole suite. `name` must be new to the queue; letters, digits and dashes.
pub async fn all(queue: &Queue, name: &str) {
    messages_come_back_as_they_were_sent(queue, &format!("{name}.same")).await;
    order_is_the_order_of_submission(queue, &format!("{name}.order")).await;
    senders_keep_their_own_order(queue, &format!("{name}.senders")).await;
    partitions_are_silent_until_seek(queue, &format!("{name}.silent")).await;
    seek_goes_anywhere_in_range(queue, &format!("{name}.seek")).await;
    out_of_range_names_the_range(queue, &format!("{name}.range")).await;
    paused_partitions_keep_their_place(queue, &format!("{name}.pause")).await;
    a_waiting_consumer_wakes_at_once(queue, &format!("{name}.wake")).await;
    every_group_reads_everything(queue, &format!("{name}.groups")).await;
    a_group_shares_its_partitions(queue, &format!("{name}.share")).await;
    anyone_may_look(queue, &format!("{name}.look")).await;
    watermarks_and_reports(queue, &format!("{name}.marks")).await;
    impossible_messages_are_refused_at_once(queue, &format!("{name}.refuse")).await;
    topics_grow_and_never_shrink(queue, &format!("{name}.grow")).await;
}

/// Key, headers (in order, repeated names too) and payload survive, present or empty.
pub async fn messages_come_back_as_they_were_sent(queue: &Queue, name: &str) {
    let (topic, at) = topic_of_one(queue, name).await;
    let header = |name: &str, value: &'static [u8]| (name.to_owned(), Bytes::from_static(value));
    let sent = vec![
        message("plain"),
        Message::default(),
        Message {
            key: Some(Bytes::from_static(b"k\x00\xff")),
            headers: vec![header("a", b"1"), header("b", b""), header("a", b"\x00\xff")],
            payload: Bytes::from_static(b"\x00\xff\x00"),
            time_ms: None,
        },
        Message {
            key: Some(Bytes::new()),
            headers: Vec::new(),
            payload: Bytes::from(vec![b'x'; 300_000]),
            time_ms: None,
        },
    ];
    append_all(queue, &topic, 0, &sent).await;
    let mut reader = read_from(queue, "same", &at, Offset(0)).await;
    let got = take(&mut *reader, &at, sent.len()).await;
    for ((_, got), sent) in got.iter().zip(&sent) {
        assert_eq!(got.headers, sent.headers);
        assert_eq!(got.payload, sent.payload);
        assert!(got.time_ms.is_some_and(|time| 0 < time), "a queue tells when it got a message");
        // A broker need not tell an empty key from none.
        assert_eq!(got.key.clone().unwrap_or_default(), sent.key.clone().unwrap_or_default());
    }
    close(reader).await;
}

/// Many messages in flight at once are acknowledged and stored in the order of `submit`.
pub async fn order_is_the_order_of_submission(queue: &Queue, name: &str) {
    let (topic, at) = topic_of_one(queue, name).await;
    let producer = queue.producer().expect("a producer");
    let mut acks = Vec::new();
    for number in 0..500 {
        let ack = producer.submit(&topic, Partition(0), message(&number.to_string()));
        acks.push(ack.await.expect("submit"));
    }
    let offsets = try_join_all(acks).await.expect("acknowledgements");
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    producer.flush(PATIENCE).await.expect("nothing is left to flush");

    let mut reader = read_from(queue, "order", &at, Offset(0)).await;
    let got = take(&mut *reader, &at, 500).await;
    let texts: Vec<String> = got.iter().map(|(_, message)| text(message)).collect();
    let wanted: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(texts, wanted);
    let read_at: Vec<Offset> = got.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(read_at, offsets, "acknowledged offsets are where messages lie");
    close(reader).await;
}

/// Several senders to one partition interleave, each in its own order.
pub async fn senders_keep_their_own_order(queue: &Queue, name: &str) {
    let (topic, at) = topic_of_one(queue, name).await;
    let producer = queue.producer().expect("a producer");
    let send = |sender: usize| {
        let (producer, topic) = (&producer, &topic);
        async move {
            for number in 0..50 {
                let message = message(&format!("{sender} {number}"));
                let done = producer.append(topic, Partition(0), message).await;
                done.expect("append");
            }
        }
    };
    join_all((0..4).map(send)).await;
    let mut reader = read_from(queue, "senders", &at, Offset(0)).await;
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for (_, message) in take(&mut *reader, &at, 200).await {
        let text = text(&message);
        let (sender, number) = text.split_once(' ').expect("two words");
        let wanted = next.entry(sender.to_owned()).or_default();
        assert_eq!(number, wanted.to_string(), "sender {sender}");
        *wanted += 1;
    }
    close(reader).await;
}

/// Nothing is delivered before `seek`.
pub async fn partitions_are_silent_until_seek(queue: &Queue, name: &str) {
    let (topic, at) = topic_of_one(queue, name).await;
    append_all(queue, &topic, 0, &[message("early")]).await;
    let mut reader = queue.consumer("silent", &[topic]).expect("a consumer");
    assigned(&mut *reader, 1).await;
    let early = reader.next(SILENCE).await.expect("next");
    assert_eq!(early, None, "nothing before seek");
    reader.seek(&at, Offset(0)).await.expect("seek");
    assert_eq!(text(&take(&mut *reader, &at, 1).await[0].1), "early");
    close(reader).await;
}

/// A partition is read again from any offset it holds, and from its end.
pub async fn seek_goes_anywhere_in_range(queue: &Queue, name: &str) {
    let (topic, at) = topic_of_one(queue, name).await;
    let sent: Vec<Message> = (0..100).map(|number| message(&number.to_string())).collect();
    let offsets = append_all(queue, &topic, 0, &sent).await;
    let mut reader = read_from(queue, "seek", &at, Offset(0)).await;
    take(&mut *reader, &at, 100).await;
    for start in [0, 57, 99, 3] {
        reader.seek(&at, offsets[start]).await.expect("seek");
        let got = take(&mut *reader, &at, 100 - start).await;
        assert_eq!(got[0].0, offsets[start]);
        assert_eq!(text(&got[0].1), start.to_string());
    }
    reader.seek(&at, offsets[99].next()).await.expect("seek");
    assert_eq!(reader.next(SILENCE).await.expect("next"), None);
    append_all(queue, &topic, 0, &[message("late")]).await;
    assert_eq!(text(&take(&mut *reader, &at, 1).await[0].1), "late");
    close(reader).await;
}

/// An offset that was never written is reported with what is there, and reading can go on.
pub async fn out_of_range_names_the_range(queue: &Queue, name: &str) {
    let (topic, at) = topic_of_one(queue, name).await;
    let offsets = append_all(queue, &topic, 0, &[message("a"), message("b")]).await;
    let high = offsets[1].next();
    let wanted = Offset(high.0 + 1_000);
    let mut reader = queue.consumer("range", &[topic]).expect("a consumer");
    assigned(&mut *reader, 1).await;
    reader.seek(&at, wanted).await.expect("seek");
    let told = event(&mut *reader).await;
    let expected = ConsumerEvent::OutOfRange { at: at.clone(), wanted, low: offsets[0], high };
    assert_eq!(told, expected);
    assert_eq!(reader.next(SILENCE).await.expect("next"), None, "told once");
    reader.seek(&at, offsets[1]).await.expect("seek");
    assert_eq!(text(&take(&mut *reader, &at, 1).await[0].1), "b");
    close(reader).await;
}

/// What was removed below `low` is reported with what is left. The caller has removed it.
pub async fn removed_offsets_name_the_range(queue: &Queue, at: &TopicPartition, low: Offset) {
    let mut reader =
        queue.consumer("removed", std::slice::from_ref(&at.topic)).expect("a consumer");
    assigned(&mut *reader, 1).await;
    let marks = reader.watermarks(at).await.expect("watermarks");
    assert_eq!(marks.0, low);
    reader.seek(at, Offset(0)).await.expect("seek");
    let told = event(&mut *reader).await;
    let expected =
        ConsumerEvent::OutOfRange { at: at.clone(), wanted: Offset(0), low, high: marks.1 };
    assert_eq!(told, expected);
    reader.seek(at, low).await.expect("seek");
    let left = usize::try_from(marks.1.0 - low.0).expect("messages are left");
    assert_eq!(take(&mut *reader, at, left).await[0].0, low);
    close(reader).await;
}

/// `pause` stops one partition only, and `resume` goes on where it stopped.
pub async fn paused_partitions_keep_their_place(queue: &Queue, name: &str) {
    let topic = topic_of(queue, name, 2).await;
    let [first, second] = [0, 1].map(|number| TopicPartition::new(&topic, Partition(number)));
    append_all(queue, &topic, 0, &[message("a")]).await;
    let mut reader = queue.consumer("pause", std::slice::from_ref(&topic)).expect("a consumer");
    assigned(&mut *reader, 2).await;
    reader.seek(&first, Offset(0)).await.expect("seek");
    reader.seek(&second, Offset(0)).await.expect("seek");
    take(&mut *reader, &first, 1).await;
    reader.pause(&first).await.expect("pause");
    append_all(queue, &topic, 0, &[message("b")]).await;
    append_all(queue, &topic, 1, &[message("c")]).await;
    assert_eq!(text(&take(&mut *reader, &second, 1).await[0].1), "c");
    assert_eq!(reader.next(SILENCE).await.expect("next"), None, "paused");
    reader.resume(&first).await.expect("resume");
    assert_eq!(text(&take(&mut *reader, &first, 1).await[0].1), "b");
    close(reader).await;
}

/// A consumer that waits sees a message well within a second of its acknowledgement.
pub async fn a_waiting_consumer_wakes_at_once(queue: &Queue, name: &str) {
    let (topic, at) = topic_of_one(queue, name).await;
    let producer = queue.producer().expect("a producer");
    let mut reader = read_from(queue, "wake", &at, Offset(0)).await;
    assert_eq!(reader.next(SILENCE).await.expect("next"), None);
    let clock = SystemClock::new();
    let append = async {
        clock.sleep(Duration::from_millis(300)).await;
        let done = producer.append(&topic, Partition(0), message("now")).await;
        done.expect("append");
        clock.elapsed()
    };
    let read = async {
        take(&mut *reader, &at, 1).await;
        clock.elapsed()
    };
    let (appended, read) = futures::join!(append, read);
    let delay = read.saturating_sub(appended);
    assert!(delay < Duration::from_millis(500), "took {delay:?}");
    close(reader).await;
}

/// Groups do not share: each reads all.
pub async fn every_group_reads_everything(queue: &Queue, name: &str) {
    let (topic, at) = topic_of_one(queue, name).await;
    append_all(queue, &topic, 0, &[message("a"), message("b")]).await;
    let mut one = read_from(queue, "groups-one", &at, Offset(0)).await;
    let mut two = read_from(queue, "groups-two", &at, Offset(0)).await;
    assert_eq!(take(&mut *one, &at, 2).await.len(), 2);
    assert_eq!(take(&mut *two, &at, 2).await.len(), 2);
    close(one).await;
    close(two).await;
}

/// Partitions move to a consumer that joins and back when it leaves, each with one owner.
pub async fn a_group_shares_its_partitions(queue: &Queue, name: &str) {
    let topic = topic_of(queue, name, 4).await;
    for number in 0..4 {
        append_all(queue, &topic, number, &[message(&format!("first {number}"))]).await;
    }
    let topics = std::slice::from_ref(&topic);
    let mut first = Member::new(queue.consumer("share", topics).expect("a consumer"));
    settle(&mut [&mut first], 4).await;
    assert_eq!(first.owned.len(), 4);

    let mut second = Member::new(queue.consumer("share", topics).expect("a consumer"));
    settle(&mut [&mut first, &mut second], 4).await;
    assert_eq!((first.owned.len(), second.owned.len()), (2, 2));
    assert!(first.owned.is_disjoint(&second.owned));
    for at in second.owned.clone() {
        let message = take(&mut *second.consumer, &at, 1).await;
        assert_eq!(text(&message[0].1), format!("first {}", at.partition));
        let refused = first.consumer.seek(&at, Offset(0)).await;
        assert!(matches!(refused, Err(QueueError::NotAssigned { .. })));
    }

    close(second.consumer).await;
    settle(&mut [&mut first], 4).await;
    assert_eq!(first.owned.len(), 4);
    close(first.consumer).await;
}

/// Watermarks tell what a partition holds; reports are taken.
pub async fn watermarks_and_reports(queue: &Queue, name: &str) {
    let (topic, at) = topic_of_one(queue, name).await;
    let mut reader = read_from(queue, "marks", &at, Offset(0)).await;
    let empty = reader.watermarks(&at).await.expect("watermarks");
    assert_eq!(empty, (Offset(0), Offset(0)));
    let offsets = append_all(queue, &topic, 0, &[message("a"), message("b")]).await;
    let marks = reader.watermarks(&at).await.expect("watermarks");
    assert_eq!(marks, (offsets[0], offsets[1].next()));
    take(&mut *reader, &at, 2).await;
    let reported = reader.commit_advisory(&at, offsets[1].next()).await;
    reported.expect("report");
    let missing = TopicPartition::new(&topic, Partition(9));
    assert!(reader.watermarks(&missing).await.is_err());
    close(reader).await;
}

/// A message that can never be stored fails in `submit`, and those after it are stored.
pub async fn impossible_messages_are_refused_at_once(queue: &Queue, name: &str) {
    let (topic, at) = topic_of_one(queue, name).await;
    let producer = queue.producer().expect("a producer");
    let huge = Message { payload: Bytes::from(vec![0; 300 << 20]), ..Message::default() };
    let refused = producer.submit(&topic, Partition(0), huge).await;
    assert!(matches!(refused, Err(QueueError::TooLarge { .. })), "{refused:?}");
    let refused = producer.submit(&topic, Partition(7), message("x")).await;
    assert!(matches!(refused, Err(QueueError::UnknownPartition { .. })), "{refused:?}");
    append_all(queue, &topic, 0, &[message("fine")]).await;
    let mut reader = read_from(queue, "refuse", &at, Offset(0)).await;
    assert_eq!(text(&take(&mut *reader, &at, 1).await[0].1), "fine");
    close(reader).await;
}

/// `read`, `watermarks` and `check` need no group and leave no trace in one.
pub async fn anyone_may_look(queue: &Queue, name: &str) {
    let (topic, at) = topic_of_one(queue, name).await;
    queue.check().await.expect("a queue in use answers");
    let nothing = queue.read(&at, Offset(0)).await.expect("read");
    assert_eq!(nothing, Vec::new());
    let sent: Vec<Message> = (0..20).map(|number| message(&number.to_string())).collect();
    append_all(queue, &topic, 0, &sent).await;
    let (low, high) = queue.watermarks(&at).await.expect("watermarks");
    assert_eq!((low, high), (Offset(0), Offset(20)));
    let (mut found, mut next) = (Vec::new(), Offset(5));
    loop {
        let more = queue.read(&at, next).await.expect("read");
        let Some((last, _)) = more.last() else { break };
        next = last.next();
        found.extend(more);
    }
    let wanted: Vec<(Offset, Message)> =
        (5..20).map(Offset).zip(sent.iter().skip(5).cloned()).collect();
    assert_eq!(found, wanted);
    let beyond = queue.read(&at, Offset(20)).await.expect("read at the end");
    assert_eq!(beyond, Vec::new());
    let missing = TopicPartition::new(&topic, Partition(9));
    assert!(queue.read(&missing, Offset(0)).await.is_err(), "there is no such partition");
    let mut reader = read_from(queue, "look", &at, Offset(0)).await;
    assert_eq!(take(&mut *reader, &at, 20).await.len(), 20, "a group still gets everything");
    close(reader).await;
}

/// `ensure_topic` is idempotent, adds partitions, and readers find out.
pub async fn topics_grow_and_never_shrink(queue: &Queue, name: &str) {
    let topic = topic_of(queue, name, 1).await;
    let producer = queue.producer().expect("a producer");
    let unknown = Topic::new(&format!("{name}.none")).expect("a name");
    let unknown = producer.partitions(&unknown).await;
    assert!(matches!(unknown, Err(QueueError::UnknownTopic { .. })), "{unknown:?}");
    queue.ensure_topic(&topic, 3).await.expect("grow");
    queue.ensure_topic(&topic, 2).await.expect("no shrinking");
    let clock = SystemClock::new();
    while producer.partitions(&topic).await.expect("partitions") != 3 {
        assert!(clock.elapsed() < PATIENCE, "the producer never sees 3");
        clock.sleep(Duration::from_millis(100)).await;
    }
    let mut reader = queue.consumer("grow", &[topic]).expect("a consumer");
    assigned(&mut *reader, 3).await;
    close(reader).await;
}

/// Returns a message with `text` as payload.
pub fn message(text: &str) -> Message {
    Message { payload: Bytes::copy_from_slice(text.as_bytes()), ..Message::default() }
}

/// Returns the payload as text.
pub fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}

async fn topic_of(queue: &Queue, name: &str, partitions: u32) -> Topic {
    let topic = Topic::new(name).expect("a topic name");
    let made = queue.ensure_topic(&topic, partitions).await;
    made.expect("the topic");
    topic
}

async fn topic_of_one(queue: &Queue, name: &str) -> (Topic, TopicPartition) {
    let topic = topic_of(queue, name, 1).await;
    let at = TopicPartition::new(&topic, Partition(0));
    (topic, at)
}

/// Appends all messages, several in flight, and returns their offsets.
pub async fn append_all(
    queue: &Queue,
    topic: &Topic,
    partition: i32,
    messages: &[Message],
) -> Vec<Offset> {
    let producer = queue.producer().expect("a producer");
    let mut acks = Vec::new();
    for message in messages {
        let ack = producer.submit(topic, Partition(partition), message.clone());
        acks.push(ack.await.expect("submit"));
    }
    try_join_all(acks).await.expect("acknowledgements")
}

/// Joins `group`, waits for the one partition `at` and seeks to `next`.
pub async fn read_from(
    queue: &Queue,
    group: &str,
    at: &TopicPartition,
    next: Offset,
) -> Box<dyn Consumer> {
    let topics = std::slice::from_ref(&at.topic);
    // Topics are new, groups are not: members of other topics would cost a rebalance each.
    let group = format!("{group}-{}", at.topic);
    let mut reader = queue.consumer(&group, topics).expect("a consumer");
    assigned(&mut *reader, 1).await;
    reader.seek(at, next).await.expect("seek");
    reader
}

/// Returns the next event, passing over trouble that passes by itself.
pub async fn event(reader: &mut dyn Consumer) -> ConsumerEvent {
    let clock = SystemClock::new();
    loop {
        let left = PATIENCE.saturating_sub(clock.elapsed());
        assert!(!left.is_zero(), "no event within {PATIENCE:?}");
        match reader.next(left).await {
            Ok(Some(event)) => return event,
            Ok(None) => {}
            Err(error) if error.retryable() => clock.sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("next: {error}"),
        }
    }
}

/// Waits until `count` partitions are assigned.
pub async fn assigned(reader: &mut dyn Consumer, count: usize) {
    let mut owned = BTreeSet::new();
    while owned.len() < count {
        match event(reader).await {
            ConsumerEvent::Assigned(all) => owned.extend(all),
            ConsumerEvent::Revoked(all) => owned.retain(|at| !all.contains(at)),
            other => panic!("waiting for an assignment, got {other:?}"),
        }
    }
}

/// Reads exactly `count` messages of `at`, checking that offsets grow.
pub async fn take(
    reader: &mut dyn Consumer,
    at: &TopicPartition,
    count: usize,
) -> Vec<(Offset, Message)> {
    let mut got: Vec<(Offset, Message)> = Vec::new();
    while got.len() < count {
        match event(reader).await {
            ConsumerEvent::Messages(from, messages) => {
                assert_eq!(&from, at, "messages of another partition");
                got.extend(messages);
            }
            other => panic!("waiting for message {} of {count}, got {other:?}", got.len()),
        }
    }
    assert_eq!(got.len(), count, "more messages than were sent");
    assert!(got.is_sorted_by(|a, b| a.0 < b.0));
    got
}

async fn close(reader: Box<dyn Consumer>) {
    reader.close().await.expect("close");
}

/// A consumer and what it owns.
struct Member {
    consumer: Box<dyn Consumer>,
    owned: BTreeSet<TopicPartition>,
}

impl Member {
    fn new(consumer: Box<dyn Consumer>) -> Self {
        Self { consumer, owned: BTreeSet::new() }
    }

    async fn step(&mut self) -> bool {
        match self.consumer.next(Duration::from_millis(200)).await {
            Ok(Some(ConsumerEvent::Assigned(all))) => self.owned.extend(all),
            Ok(Some(ConsumerEvent::Revoked(all))) => self.owned.retain(|at| !all.contains(at)),
            // Of partitions that were kept: their reading is not what is looked at.
            Ok(Some(ConsumerEvent::Messages(..))) => {}
            Ok(Some(other)) => panic!("unexpected {other:?}"),
            Ok(None) => return false,
            Err(error) => assert!(error.retryable(), "{error}"),
        }
        true
    }
}

/// Lets members ask until they own `partitions` together, evenly; then each seeks to the start.
async fn settle(members: &mut [&mut Member], partitions: usize) {
    let clock = SystemClock::new();
    let share = partitions / members.len();
    loop {
        assert!(clock.elapsed() < PATIENCE, "the group does not settle");
        let mut quiet = true;
        for member in members.iter_mut() {
            quiet &= !member.step().await;
        }
        if quiet && members.iter().all(|member| member.owned.len() == share) {
            break;
        }
    }
    for member in members.iter_mut() {
        if member.owned.len() < partitions {
            for at in &member.owned {
                member.consumer.seek(at, Offset(0)).await.expect("seek");
            }
        }
    }
}
