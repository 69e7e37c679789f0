//! Reading dead letters back.
//!
//! Always holds: what is shown and sent again is what was set aside, header for header and byte for
//! byte. Reading leaves no trace on the queue. Bounded: one answer of the queue at a time.

use std::collections::VecDeque;

use bytes::Bytes;
use queue::{Message, Offset, Partition, Queue, QueueError, Topic, TopicPartition};

use super::{
    ERROR, LETTER_HEADERS, OFFSET, PARTITION, PAYLOAD_BYTES, REASON, REPLAYED, TIME, TOPIC,
};

/// A message that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where the letter stands.
    pub partition: Partition,
    pub offset: Offset,
    /// Where the message stood.
    pub from: TopicPartition,
    pub from_offset: Offset,
    /// A word for the kind of fault, and the fault in full.
    pub reason: String,
    pub error: String,
    /// How large the payload was, when the letter holds only its beginning.
    pub cut_from_bytes: Option<u64>,
    message: Message,
}

impl DeadLetter {
    /// Reads a letter that stands at `offset` of `at`; `None` when it is no dead letter.
    pub fn of(at: &TopicPartition, offset: Offset, message: Message) -> Option<Self> {
        let text = |name: &str| {
            // The last one: the message may have been a dead letter before.
            let found = message.headers.iter().rev().find(|(found, _)| found == name);
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        let topic = Topic::new(&text(TOPIC)?).ok()?;
        let partition = Partition(text(PARTITION)?.parse().ok()?);
        Some(Self {
            partition: at.partition,
            offset,
            from: TopicPartition::new(&topic, partition),
            from_offset: Offset(text(OFFSET)?.parse().ok()?),
            reason: text(REASON).unwrap_or_default(),
            error: text(ERROR).unwrap_or_default(),
            cut_from_bytes: text(PAYLOAD_BYTES).and_then(|bytes| bytes.parse().ok()),
            message,
        })
    }

    /// Returns how many bytes of payload the letter holds.
    pub fn payload_bytes(&self) -> usize {
        self.message.payload.len()
    }

    /// Returns the message as it was, marked as sent again from here.
    ///
    /// The mark tells an indexer that the rows were never taken, although their source may have
    /// gone on since.
    pub fn original(&self) -> Message {
        let ours = |name: &str| LETTER_HEADERS.contains(&name) || name == REPLAYED;
        let mut headers: Vec<(String, Bytes)> =
            self.message.headers.iter().filter(|(name, _)| !ours(name)).cloned().collect();
        let mark = format!("{}/{}", self.partition, self.offset);
        headers.push((REPLAYED.to_owned(), Bytes::from(mark)));
        let time = self.message.header(TIME).and_then(|text| std::str::from_utf8(text).ok());
        Message {
            key: self.message.key.clone(),
            headers,
            payload: self.message.payload.clone(),
            time_ms: time.and_then(|text| text.parse().ok()),
        }
    }
}

/// The dead letters of one topic, partition by partition, oldest first.
#[derive(Debug)]
pub struct DeadLetters {
    queue: Queue,
    /// Where reading goes on, the partition being read first.
    places: VecDeque<(TopicPartition, Offset)>,
    read: VecDeque<DeadLetter>,
    /// Messages passed over because they are no dead letters.
    strangers: u64,
}

impl DeadLetters {
    /// Looks into the dead letters of `topic`, from offset `from` of each of their partitions on.
    ///
    /// # Errors
    /// As the queue; [`QueueError::UnknownTopic`] when nothing was ever set aside.
    pub async fn open(queue: &Queue, topic: &Topic, from: Offset) -> Result<Self, QueueError> {
        let letters = topic.dead_letters()?;
        let partitions = queue.producer()?.partitions(&letters).await?;
        let partitions = (0..i32::try_from(partitions).unwrap_or(i32::MAX)).map(Partition);
        let places = partitions.map(|number| (TopicPartition::new(&letters, number), from));
        let places = places.collect();
        Ok(Self { queue: queue.clone(), places, read: VecDeque::new(), strangers: 0 })
    }

    /// Returns the next letter; `None` after the last.
    ///
    /// # Errors
    /// As the queue.
    pub async fn next(&mut self) -> Result<Option<DeadLetter>, QueueError> {
        loop {
            if let Some(letter) = self.read.pop_front() {
                return Ok(Some(letter));
            }
            let Some((at, next)) = self.places.front_mut() else { return Ok(None) };
            let found = self.queue.read(at, *next).await?;
            let Some((last, _)) = found.last() else {
                self.places.pop_front();
                continue;
            };
            *next = last.next();
            for (offset, message) in found {
                match DeadLetter::of(at, offset, message) {
                    Some(letter) => self.read.push_back(letter),
                    None => self.strangers += 1,
                }
            }
        }
    }

    /// Returns how many messages were passed over so far because they are no dead letters.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }
}
