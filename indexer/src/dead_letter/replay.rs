//! Sending dead letters to where they came from, after what was wrong has been mended.
//!
//! Always holds: letters are sent in their order, one at a time, each acknowledged before the next;
//! of letters with the same coordinates, which a crash of an indexer makes, one is sent. A letter
//! that does not hold the whole message is passed over. Dead letters are never removed here: who
//! replays them twice gets their rows twice, and [`Replayed::next`] says where to go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use queue::{Offset, Partition, Producer, Queue, QueueError, Topic, TopicPartition};

use super::{DeadLetter, DeadLetters};

/// A replay under way.
#[derive(Debug)]
pub struct Replay {
    letters: DeadLetters,
    producer: Arc<dyn Producer>,
    sent: BTreeSet<(TopicPartition, Offset)>,
    done: Replayed,
}

/// What a replay has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub sent: u64,
    /// Letters with the coordinates of one that was sent before.
    pub repeated: u64,
    /// Letters that hold only the beginning of their message.
    pub cut: u64,
    /// Where to go on, by partition of the dead letters.
    pub next: BTreeMap<Partition, Offset>,
}

/// What became of one letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Sent,
    Repeated,
    Cut,
}

/// Why a replay stopped. What [`Replay::done`] says was done is done.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("read dead letters")]
    Read(#[source] QueueError),
    #[error("send the message of `{at}` at offset {offset} again")]
    Send { at: TopicPartition, offset: Offset, source: QueueError },
}

impl Replay {
    /// Begins with the letters of `topic` at offset `from` of each partition.
    ///
    /// # Errors
    /// When the queue cannot be read or written.
    pub async fn open(queue: &Queue, topic: &Topic, from: Offset) -> Result<Self, ReplayError> {
        let letters = DeadLetters::open(queue, topic, from).await.map_err(ReplayError::Read)?;
        let producer = queue.producer().map_err(ReplayError::Read)?;
        Ok(Self { letters, producer, sent: BTreeSet::new(), done: Replayed::default() })
    }

    /// Sends the next letter; `None` after the last.
    ///
    /// # Errors
    /// When the letter cannot be read or its message is not taken.
    pub async fn step(&mut self) -> Result<Option<(DeadLetter, Fate)>, ReplayError> {
        let next = self.letters.next().await.map_err(ReplayError::Read)?;
        let Some(letter) = next else { return Ok(None) };
        let coordinates = (letter.from.clone(), letter.from_offset);
        let fate = if letter.cut_from_bytes.is_some() {
            self.done.cut += 1;
            Fate::Cut
        } else if self.sent.contains(&coordinates) {
            self.done.repeated += 1;
            Fate::Repeated
        } else {
            let TopicPartition { topic, partition } = &letter.from;
            let sent = self.producer.append(topic, *partition, letter.original()).await;
            sent.map_err(|source| ReplayError::Send {
                at: letter.from.clone(),
                offset: letter.from_offset,
                source,
            })?;
            self.sent.insert(coordinates);
            self.done.sent += 1;
            Fate::Sent
        };
        self.done.next.insert(letter.partition, letter.offset.next());
        Ok(Some((letter, fate)))
    }

    /// Returns what was done so far.
    pub fn done(&self) -> &Replayed {
        &self.done
    }
}
