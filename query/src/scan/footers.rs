//! Segments that were opened before, so that a query needs no read to open them again.
//!
//! Bounded by count and by weight, the bytes they take. A segment grows while a query uses it, as
//! its tables are read when they are first needed, so it is weighed anew when the use ends: what
//! queries under way read comes on top, for as many segments as they read at once. Of two
//! segments picked at random, the one unused for longer goes first: were it always the one unused
//! for longest, queries that go over a few segments more than fit would never find one.
//! What is held is immutable, so nothing here can be stale.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use segment::logs::LogSegment;
use segment::samples::SampleSegment;
use segment::{SegmentId, SegmentMeta};

/// Part of an object that is tables and index, as one in so many bytes, where it is not known.
const TABLES_SHARE: u64 = 4;

#[derive(Debug)]
pub(super) struct Footers<S> {
    entries_max: usize,
    weight_max: u64,
    /// Bytes that a segment takes, given what its object's size lets expect.
    weigh: fn(&S, u64) -> u64,
    held: Mutex<Held<S>>,
}

#[derive(Debug)]
struct Held<S> {
    /// Counts uses; an entry's number says when it was last used.
    uses: u64,
    weight: u64,
    entries: HashMap<SegmentId, Entry<S>>,
}

#[derive(Debug)]
struct Entry<S> {
    used: u64,
    expected: u64,
    weight: u64,
    segment: S,
}

/// An opened segment of either kind: they share one bound.
#[derive(Clone, Debug)]
pub(super) enum Opened {
    Logs(LogSegment),
    Samples(Box<SampleSegment>),
}

impl Opened {
    /// Bytes that it takes, given what its object's size lets expect.
    pub(super) fn weigh(&self, expected: u64) -> u64 {
        match self {
            Self::Logs(segment) => segment.held_bytes(),
            Self::Samples(_) => expected,
        }
    }
}

/// A segment while a query uses it.
#[derive(Debug)]
pub(super) struct InUse<T, S: Clone = Opened> {
    segment: T,
    held: Use<S>,
}

/// When a use ends, the segment is weighed.
#[derive(Debug)]
struct Use<S: Clone> {
    footers: Arc<Footers<S>>,
    id: SegmentId,
}

impl<T, S: Clone> InUse<T, S> {
    /// The same use, of the segment by its kind.
    pub(super) fn with<U>(self, segment: U) -> InUse<U, S> {
        InUse { segment, held: self.held }
    }
}

impl<T, S: Clone> Deref for InUse<T, S> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.segment
    }
}

impl<S: Clone> Drop for Use<S> {
    fn drop(&mut self) {
        self.footers.weigh_again(self.id);
    }
}

impl<S: Clone> Footers<S> {
    pub(super) fn new(entries_max: usize, weight_max: u64, weigh: fn(&S, u64) -> u64) -> Self {
        let held = Held { uses: 0, weight: 0, entries: HashMap::new() };
        Self { entries_max, weight_max, weigh, held: Mutex::new(held) }
    }

    pub(super) fn get(self: &Arc<Self>, id: SegmentId) -> Option<InUse<S, S>> {
        let mut held = self.held();
        held.uses += 1;
        let uses = held.uses;
        let entry = held.entries.get_mut(&id)?;
        entry.used = uses;
        let segment = entry.segment.clone();
        Some(InUse { segment, held: Use { footers: Arc::clone(self), id } })
    }

    pub(super) fn put(self: &Arc<Self>, meta: &SegmentMeta, segment: S) -> InUse<S, S> {
        let expected = meta.bytes / TABLES_SHARE + meta.footer_bytes;
        self.hold(&mut self.held(), meta.id, expected, segment.clone());
        InUse { segment, held: Use { footers: Arc::clone(self), id: meta.id } }
    }

    fn weigh_again(&self, id: SegmentId) {
        let mut held = self.held();
        let Some(Entry { expected, segment, .. }) = held.entries.get(&id) else { return };
        let (expected, segment) = (*expected, segment.clone());
        self.hold(&mut held, id, expected, segment);
    }

    /// Holds a segment as the one used last, and makes room for what it weighs now.
    fn hold(&self, held: &mut Held<S>, id: SegmentId, expected: u64, segment: S) {
        held.remove(id);
        let weight = (self.weigh)(&segment, expected);
        while self.entries_max <= held.entries.len()
            || self.weight_max < held.weight.saturating_add(weight)
        {
            let Some(victim) = held.victim() else { break };
            held.remove(victim);
        }
        held.uses += 1;
        held.weight += weight;
        let used = held.uses;
        held.entries.insert(id, Entry { used, expected, weight, segment });
    }

    /// Forgets a segment that turned out damaged, so that a repaired object is read anew.
    pub(super) fn remove(&self, id: SegmentId) {
        self.held().remove(id);
    }

    fn held(&self) -> MutexGuard<'_, Held<S>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Held<S> {
    fn remove(&mut self, id: SegmentId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.weight -= entry.weight;
        }
    }

    /// The one of two picked at random that was unused for longer.
    fn victim(&self) -> Option<SegmentId> {
        let count = self.entries.len();
        let first = fastrand::usize(..count.max(1));
        // Another one, where there is one.
        let second = (first + 1 + fastrand::usize(..(count.max(2) - 1))) % count.max(1);
        let picked = self.entries.iter().enumerate();
        let picked = picked.filter(|(at, _)| [first, second].contains(at));
        picked.min_by_key(|(_, (_, entry))| entry.used).map(|(_, (id, _))| *id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use record::TenantId;
    use segment::SegmentKind;

    use super::*;

    fn meta(number: u128, bytes: u64) -> SegmentMeta {
        SegmentMeta {
            id: SegmentId::from_bits(number),
            kind: SegmentKind::Logs,
            tenant: TenantId::default(),
            path: String::new(),
            bytes,
            raw_bytes: 0,
            rows: 0,
            time_min_ns: 0,
            time_max_ns: 0,
            ranges: Vec::new(),
            created_ms: 0,
            footer_bytes: 0,
            level: 0,
            class: String::new(),
        }
    }

    fn held<S: Clone>(footers: &Arc<Footers<S>>, id: u128) -> bool {
        footers.get(SegmentId::from_bits(id)).is_some()
    }

    #[test]
    fn the_one_unused_for_longest_goes_first() {
        let footers = Arc::new(Footers::new(2, 1_000, |_, expected| expected));
        drop(footers.put(&meta(1, 40), "a"));
        drop(footers.put(&meta(2, 40), "b"));
        assert_eq!(footers.get(SegmentId::from_bits(1)).as_deref(), Some(&"a"));
        drop(footers.put(&meta(3, 40), "c"));
        assert_eq!([1, 2, 3].map(|id| held(&footers, id)), [true, false, true]);
        footers.remove(SegmentId::from_bits(1));
        assert!(!held(&footers, 1));
    }

    #[test]
    fn heavy_ones_push_several_out() {
        let footers = Arc::new(Footers::new(10, 30, |(), expected| expected));
        [1, 2, 3].into_iter().for_each(|number| drop(footers.put(&meta(number, 40), ())));
        drop(footers.put(&meta(4, 80), ()));
        assert!(held(&footers, 4));
        assert_eq!([1, 2, 3].into_iter().filter(|id| held(&footers, *id)).count(), 1);
        drop(footers.put(&meta(5, 4_000), ()));
        assert!(!held(&footers, 4), "one too heavy for all is kept alone");
        assert!(held(&footers, 5));
    }

    #[test]
    fn what_grew_in_use_is_weighed_when_the_use_ends() {
        let weigh = |grown: &Arc<AtomicU64>, _| grown.load(Ordering::Relaxed);
        let footers = Arc::new(Footers::new(10, 30, weigh));
        drop(footers.put(&meta(2, 0), Arc::new(AtomicU64::new(15))));
        let used = footers.put(&meta(1, 0), Arc::new(AtomicU64::new(5)));
        used.store(20, Ordering::Relaxed);
        assert!(held(&footers, 2));
        drop(used);
        assert_eq!([1, 2].map(|id| held(&footers, id)), [true, false]);
        assert_eq!(footers.held().weight, 20);
    }

    #[test]
    fn going_over_more_than_fits_finds_some() {
        let footers = Arc::new(Footers::new(30, 1_000, |(), _| 1));
        let mut found = 0;
        for round in 0..20 {
            for number in 0..40 {
                match footers.get(SegmentId::from_bits(number)) {
                    Some(_) => found += usize::from(0 < round),
                    None => drop(footers.put(&meta(number, 0), ())),
                }
            }
        }
        assert!(19 * 40 / 4 < found, "{found} of {}", 19 * 40);
    }
}
