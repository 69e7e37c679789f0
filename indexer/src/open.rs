//! The rows of every owned partition, from arrival until a grace time after they are published.
//!
//! A partition's rows are a few row sets, oldest first, whose offsets follow on without a gap:
//! published ones kept for queries that pinned an older catalog state, at most one being
//! published, and last the open one, which grows.
//!
//! What always holds:
//! * Publishing moves no row. A question names the offset it wants rows from, and gets those at or
//!   beyond it whatever stage they are in: exactly once through every transition.
//! * A set leaves memory only after its offsets were published for the grace time, or when the
//!   partition is no longer ours. A question for an offset that left is refused.
//! * One task changes this; questions only take snapshots. Locks are held for a few map look-ups,
//!   never while rows are read.
//!
//! On a crash everything here is gone and is read from the queue again. Bounded by the lane's
//! `memory_bytes_max`, which [`crate::source`] enforces, plus one delivery of the queue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use queue::TopicPartition;
use record::SourceId;
use segment::recent::{PartitionName, Pin};

use crate::cut::{Moment, OpenRows};
use crate::kind::Kind;

/// The rows one lane holds.
#[derive(Debug)]
pub(crate) struct Held<K: Kind> {
    partitions: Mutex<BTreeMap<TopicPartition, PartitionRows<K>>>,
}

#[derive(Debug)]
struct PartitionRows<K: Kind> {
    epoch: u64,
    /// Never empty; the last is open.
    sets: VecDeque<RowSet<K>>,
    /// Where the queue stood when the partition was acquired.
    catch_up_to: i64,
    received: Reach,
    searchable_ms: Option<i64>,
    published_ms: Option<i64>,
    /// Set when the partition was taken from us. Its rows still answer for a while, because the
    /// catalog names us as owner until the next one has acquired it.
    retired_at: Option<Duration>,
}

#[derive(Debug)]
struct RowSet<K: Kind> {
    from: i64,
    to: i64,
    rows: K::Rows,
    weight: Intake,
    /// Offsets in between that the queue had lost: first, and next after the last.
    lost: Vec<(i64, i64)>,
    first_arrival: Option<Moment>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Publishing,
    Published { at: Duration },
}

/// What reading some messages added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intake {
    pub(crate) messages: u64,
    pub(crate) rows: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) memory_bytes: u64,
    /// Times of the oldest and the newest message, ms since 1970, where the queue tells them.
    pub(crate) oldest_ms: Option<i64>,
    pub(crate) newest_ms: Option<i64>,
}

impl Intake {
    /// Notes the time of a message.
    pub(crate) fn see(&mut self, time_ms: Option<i64>) {
        self.oldest_ms = earlier(self.oldest_ms, time_ms);
        self.newest_ms = self.newest_ms.max(time_ms);
    }

    fn add(&mut self, more: Self) {
        self.messages += more.messages;
        self.rows += more.rows;
        self.raw_bytes += more.raw_bytes;
        self.memory_bytes += more.memory_bytes;
        self.oldest_ms = earlier(self.oldest_ms, more.oldest_ms);
        self.newest_ms = self.newest_ms.max(more.newest_ms);
    }
}

fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        _ => a.or(b),
    }
}

/// How far one owned partition has come, stage by stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) at: TopicPartition,
    /// Handed to us by the queue.
    pub(crate) received: Reach,
    /// Found by questions, or set aside.
    pub(crate) searchable: Reach,
    /// In a segment the catalog names.
    pub(crate) published: Reach,
    /// Messages that are searchable and not published.
    pub(crate) unpublished: u64,
}

/// How far a stage has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The next offset.
    pub(crate) next: i64,
    /// Time of the newest message below it, as far as it is known; of what waits first where none
    /// has passed since we own the partition.
    pub(crate) time_ms: Option<i64>,
}

/// One partition's share of a cut.
#[derive(Clone, Debug)]
pub(crate) struct CutPart<K: Kind> {
    pub(crate) at: TopicPartition,
    pub(crate) epoch: u64,
    pub(crate) from: i64,
    /// The next offset to read.
    pub(crate) to: i64,
    pub(crate) rows: K::Rows,
    pub(crate) weight: Intake,
    /// Offsets in between that nobody can read any more: first, and next after the last.
    pub(crate) lost: Vec<(i64, i64)>,
    /// Positions the rows raised.
    pub(crate) sources: Vec<(SourceId, u64)>,
}

/// Snapshot of what a question asks about.
#[derive(Debug)]
pub(crate) struct Pinned<K: Kind> {
    /// Row sets with the offset from which their rows are wanted.
    pub(crate) sets: Vec<(K::Rows, i64)>,
    pub(crate) catching_up: Vec<PartitionName>,
}

/// Why a question cannot be answered here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PinError {
    #[error("plan again: partition {topic}/{partition} is not owned by this indexer")]
    NotOwned { topic: String, partition: i32 },
    #[error(
        "plan again: rows of partition {topic}/{partition} are held from offset {held}, not {pinned}"
    )]
    Dropped { topic: String, partition: i32, held: i64, pinned: i64 },
    #[error("partition {topic}/{partition} is pinned twice")]
    Twice { topic: String, partition: i32 },
}

impl<K: Kind> Default for Held<K> {
    fn default() -> Self {
        Self { partitions: Mutex::new(BTreeMap::new()) }
    }
}

impl<K: Kind> Held<K> {
    /// Starts a partition at its published offset. What was held of it before is gone.
    pub(crate) fn assign(&self, at: &TopicPartition, epoch: u64, published: i64, high: i64) {
        let rows = PartitionRows {
            epoch,
            sets: VecDeque::from([RowSet::open(published)]),
            catch_up_to: high,
            received: Reach { next: published, time_ms: None },
            searchable_ms: None,
            published_ms: None,
            retired_at: None,
        };
        self.lock().insert(at.clone(), rows);
    }

    /// Returns where new rows of the partition belong.
    pub(crate) fn open_rows(&self, at: &TopicPartition) -> Option<K::Rows> {
        self.lock().get(at).map(|partition| partition.open().rows.clone())
    }

    /// Notes that the queue handed over messages of `at` below `next`.
    pub(crate) fn received(&self, at: &TopicPartition, next: i64, time_ms: Option<i64>) {
        if let Some(partition) = self.lock().get_mut(at) {
            let received = &mut partition.received;
            received.next = received.next.max(next);
            received.time_ms = received.time_ms.max(time_ms);
        }
    }

    /// Returns how far each owned partition has come.
    pub(crate) fn progress(&self) -> Vec<Progress> {
        let partitions = self.lock();
        let owned = partitions.iter().filter(|(_, partition)| partition.retired_at.is_none());
        owned.map(|(at, partition)| partition.progress(at)).collect()
    }

    /// Counts what was appended to the open rows of `at`, all of it below `next`.
    pub(crate) fn advance(&self, at: &TopicPartition, next: i64, intake: Intake, now: Moment) {
        let mut partitions = self.lock();
        let Some(partition) = partitions.get_mut(at) else { return };
        partition.searchable_ms = partition.searchable_ms.max(intake.newest_ms);
        let open = partition.open_mut();
        open.to = open.to.max(next);
        open.weight.add(intake);
        open.first_arrival.get_or_insert(now);
    }

    /// Counts offsets that the queue has lost as taken: they are published as covered by nothing.
    pub(crate) fn pass_over(&self, at: &TopicPartition, from: i64, to: i64, now: Moment) {
        if let Some(partition) = self.lock().get_mut(at) {
            partition.open_mut().lost.push((from, to));
        }
        self.advance(at, to, Intake { messages: 1, ..Intake::default() }, now);
    }

    /// Returns what is open over all partitions; the caller knows the sources.
    pub(crate) fn open(&self, sources: usize) -> OpenRows {
        let mut open = OpenRows { sources, ..OpenRows::default() };
        for partition in self.lock().values().filter(|partition| partition.retired_at.is_none()) {
            let set = partition.open();
            open.messages += set.weight.messages;
            open.raw_bytes += set.weight.raw_bytes;
            open.memory_bytes += set.weight.memory_bytes;
            open.tenants += K::tenants(&set.rows);
            open.first_arrival = match (open.first_arrival, set.first_arrival) {
                (Some(a), Some(b)) => Some(if b.elapsed < a.elapsed { b } else { a }),
                (a, b) => a.or(b),
            };
        }
        open
    }

    /// Closes every open set that has read anything and returns them; new ones take over.
    /// What was taken from us is left out: its next owner publishes it.
    pub(crate) fn cut(&self) -> Vec<CutPart<K>> {
        let mut parts = Vec::new();
        for (at, partition) in self.lock().iter_mut() {
            let epoch = partition.epoch;
            let retired = partition.retired_at.is_some();
            let open = partition.open_mut();
            if retired || open.to == open.from {
                continue;
            }
            open.stage = Stage::Publishing;
            parts.push(CutPart {
                at: at.clone(),
                epoch,
                from: open.from,
                to: open.to,
                rows: open.rows.clone(),
                weight: open.weight,
                lost: std::mem::take(&mut open.lost),
                sources: Vec::new(),
            });
            let next = open.to;
            partition.sets.push_back(RowSet::open(next));
        }
        parts
    }

    /// Notes that the rows of a cut up to `to` are published since `now`.
    pub(crate) fn published(&self, at: &TopicPartition, epoch: u64, to: i64, now: Duration) {
        let mut partitions = self.lock();
        let Some(partition) = partitions.get_mut(at).filter(|held| held.epoch == epoch) else {
            return;
        };
        for set in &mut partition.sets {
            if set.stage == Stage::Publishing && set.to <= to {
                set.stage = Stage::Published { at: now };
                partition.published_ms = partition.published_ms.max(set.weight.newest_ms);
            }
        }
    }

    /// Drops a partition at once. Returns the rows that were not published.
    pub(crate) fn remove(&self, at: &TopicPartition) -> u64 {
        self.lock().remove(at).map_or(0, |partition| partition.unpublished().rows)
    }

    /// Notes that the partition is not ours any more: its rows answer until they expire. Returns
    /// the rows that were not published.
    pub(crate) fn retire(&self, at: &TopicPartition, now: Duration) -> u64 {
        let mut partitions = self.lock();
        let Some(partition) = partitions.get_mut(at) else { return 0 };
        partition.retired_at = Some(now);
        partition.unpublished().rows
    }

    /// Drops what was published or retired at or before `until`.
    pub(crate) fn expire(&self, until: Duration) {
        let mut partitions = self.lock();
        partitions.retain(|_, partition| partition.retired_at.is_none_or(|at| until < at));
        for partition in partitions.values_mut() {
            let kept = |set: &RowSet<K>| match set.stage {
                Stage::Published { at } => until < at,
                Stage::Open | Stage::Publishing => true,
            };
            while partition.sets.front().is_some_and(|oldest| !kept(oldest)) {
                partition.sets.pop_front();
            }
        }
    }

    /// Returns everything held, whatever its stage.
    pub(crate) fn weight(&self) -> Intake {
        let mut total = Intake::default();
        for partition in self.lock().values() {
            for set in &partition.sets {
                total.add(set.weight);
            }
        }
        total
    }

    /// Returns the rows of owned partitions that are not published.
    pub(crate) fn unpublished_rows(&self) -> u64 {
        let partitions = self.lock();
        let owned = partitions.values().filter(|partition| partition.retired_at.is_none());
        owned.map(|partition| partition.unpublished().rows).sum()
    }

    /// Takes a snapshot of the rows at and beyond `pins`.
    ///
    /// # Errors
    /// When a partition is not owned, or its rows at the pinned offset have left memory.
    pub(crate) fn pin(&self, pins: &[Pin]) -> Result<Pinned<K>, PinError> {
        let partitions = self.lock();
        let mut pinned = Pinned { sets: Vec::new(), catching_up: Vec::new() };
        for (number, pin) in pins.iter().enumerate() {
            let (topic, partition) = (pin.topic.clone(), pin.partition);
            let same = |other: &Pin| other.topic == topic && other.partition == partition;
            if pins.iter().take(number).any(same) {
                return Err(PinError::Twice { topic, partition });
            }
            let Some(held) = partitions
                .iter()
                .find(|(at, _)| at.topic.as_str() == topic && at.partition.0 == partition)
                .map(|(_, held)| held)
            else {
                return Err(PinError::NotOwned { topic, partition });
            };
            let first = held.first_offset();
            if pin.offset < first {
                let pinned = pin.offset;
                return Err(PinError::Dropped { topic, partition, held: first, pinned });
            }
            let wanted = |set: &&RowSet<K>| pin.offset < set.to || set.stage == Stage::Open;
            let sets = held.sets.iter().filter(wanted);
            pinned.sets.extend(sets.map(|set| (set.rows.clone(), pin.offset)));
            if held.open().to < held.catch_up_to {
                pinned.catching_up.push(PartitionName { topic, partition });
            }
        }
        Ok(pinned)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, PartitionRows<K>>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kind> PartitionRows<K> {
    fn open(&self) -> &RowSet<K> {
        self.sets.back().expect("a partition always has an open set")
    }

    fn open_mut(&mut self) -> &mut RowSet<K> {
        self.sets.back_mut().expect("a partition always has an open set")
    }

    fn first_offset(&self) -> i64 {
        self.sets.front().expect("a partition always has an open set").from
    }

    fn progress(&self, at: &TopicPartition) -> Progress {
        let waiting = |set: &&RowSet<K>| !matches!(set.stage, Stage::Published { .. });
        let first = self.sets.iter().find(waiting).unwrap_or_else(|| self.open());
        let searchable = Reach { next: self.open().to, time_ms: self.searchable_ms };
        let unpublished = self.unpublished();
        Progress {
            at: at.clone(),
            received: Reach {
                next: self.received.next.max(searchable.next),
                time_ms: self.received.time_ms.max(searchable.time_ms),
            },
            searchable,
            published: Reach {
                next: first.from,
                time_ms: self.published_ms.or(unpublished.oldest_ms),
            },
            unpublished: unpublished.messages,
        }
    }

    fn unpublished(&self) -> Intake {
        let mut total = Intake::default();
        for set in &self.sets {
            if !matches!(set.stage, Stage::Published { .. }) {
                total.add(set.weight);
            }
        }
        total
    }
}

impl<K: Kind> RowSet<K> {
    fn open(from: i64) -> Self {
        Self {
            from,
            to: from,
            rows: K::Rows::default(),
            weight: Intake::default(),
            lost: Vec::new(),
            first_arrival: None,
            stage: Stage::Open,
        }
    }
}
