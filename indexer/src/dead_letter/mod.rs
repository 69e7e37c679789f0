//! Setting poison aside: `<topic>.dlq` gets the message as it was, with where it stood and why.
//! [`read`] has the way back.
//!
//! Always holds: the offset of a poison message advances only after the queue has acknowledged the
//! dead letter. A crash between the two writes it twice, which its coordinates show.
//! Bounded: one dead letter at a time; while the queue refuses it, reading waits.

mod read;
mod replay;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use queue::{Message, Offset, Partition, Producer, Queue, QueueError, Topic, TopicPartition};

use crate::decode::Poison;
pub use read::{DeadLetter, DeadLetters};
pub use replay::{Fate, Replay, ReplayError, Replayed};

/// Header of a dead letter: the topic it was read from.
pub const TOPIC: &str = "millrace-dlq-topic";
/// Header of a dead letter: the partition, decimal.
pub const PARTITION: &str = "millrace-dlq-partition";
/// Header of a dead letter: the offset, decimal.
pub const OFFSET: &str = "millrace-dlq-offset";
/// Header of a dead letter: a word for the kind of fault, the metric's `reason`.
pub const REASON: &str = "millrace-dlq-reason";
/// Header of a dead letter: the fault in full.
pub const ERROR: &str = "millrace-dlq-error";

/// Header of a dead letter: the message's own time, ms since 1970, where it had one. The letter's is
/// when it was written, or the queue's retention might remove it at once.
pub const TIME: &str = "millrace-dlq-time-ms";
/// Header of a dead letter that does not hold all of the payload: how many bytes it had.
pub const PAYLOAD_BYTES: &str = "millrace-dlq-payload-bytes";
/// Header of a message that was sent again from the dead letters: `partition/offset` it had there.
pub const REPLAYED: &str = "millrace-replayed";

/// Every header above, which a message sent again must not keep.
const LETTER_HEADERS: [&str; 7] = [TOPIC, PARTITION, OFFSET, REASON, ERROR, TIME, PAYLOAD_BYTES];

/// Longest error text in a header; some quote what they found.
const ERROR_BYTES_MAX: usize = 1_024;

/// Payload kept when the queue finds the dead letter too large, which its added headers can cause.
const PAYLOAD_KEPT_BYTES: usize = 64 << 10;

/// Writes dead letters.
#[derive(Debug)]
pub(crate) struct SetAside {
    queue: Queue,
    producer: Arc<dyn Producer>,
    known: HashSet<Topic>,
}

impl SetAside {
    pub(crate) fn new(queue: Queue) -> Result<Self, QueueError> {
        let producer = queue.producer()?;
        Ok(Self { queue, producer, known: HashSet::new() })
    }

    /// Sets `message` aside and returns once that is durable.
    pub(crate) async fn write(
        &mut self,
        from: &TopicPartition,
        offset: Offset,
        message: &Message,
        poison: &Poison,
    ) -> Result<(), QueueError> {
        let topic = from.topic.dead_letters()?;
        if !self.known.contains(&topic) {
            self.queue.ensure_topic(&topic, 1).await?;
            self.known.insert(topic.clone());
        }
        let partitions = i32::try_from(self.producer.partitions(&topic).await?.max(1));
        let partition = Partition(from.partition.0.rem_euclid(partitions.unwrap_or(i32::MAX)));
        let letter = letter(from, offset, message, poison);
        match self.producer.append(&topic, partition, letter.clone()).await {
            Err(QueueError::TooLarge { .. }) => {
                let kept = letter.payload.slice(..letter.payload.len().min(PAYLOAD_KEPT_BYTES));
                let mut short = Message { payload: kept, key: None, ..letter };
                let bytes = message.payload.len().to_string();
                short.headers.push((PAYLOAD_BYTES.to_owned(), Bytes::from(bytes)));
                self.producer.append(&topic, partition, short).await?;
            }
            outcome => {
                outcome?;
            }
        }
        Ok(())
    }
}

fn letter(from: &TopicPartition, offset: Offset, message: &Message, poison: &Poison) -> Message {
    let mut error = poison.to_string();
    error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
    let mut headers = message.headers.clone();
    for (name, value) in [
        (TOPIC, from.topic.as_str().to_owned()),
        (PARTITION, from.partition.to_string()),
        (OFFSET, offset.to_string()),
        (REASON, poison.reason().to_owned()),
        (ERROR, error),
    ] {
        headers.push((name.to_owned(), Bytes::from(value)));
    }
    if let Some(time_ms) = message.time_ms {
        headers.push((TIME.to_owned(), Bytes::from(time_ms.to_string())));
    }
    Message { key: message.key.clone(), headers, payload: message.payload.clone(), time_ms: None }
}
