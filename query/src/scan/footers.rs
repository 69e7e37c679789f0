//! Segments that were opened before, so that a query needs no read to open them again.
//!
//! Bounded by count and by weight, the bytes they take. A segment grows while queries use it, as
//! its tables are read when they are first needed, so it is weighed anew whenever it is used. Of two
//! segments picked at random, the one unused for longer goes first: were it always the one unused
//! for longest, queries that go over a few segments more than fit would never find one.
//! What is held is immutable, so nothing here can be stale.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

impl<S: Clone> Footers<S> {
    pub(super) fn new(entries_max: usize, weight_max: u64, weigh: fn(&S, u64) -> u64) -> Self {
        let held = Held { uses: 0, weight: 0, entries: HashMap::new() };
        Self { entries_max, weight_max, weigh, held: Mutex::new(held) }
    }

    pub(super) fn get(&self, id: SegmentId) -> Option<S> {
        let mut held = self.held();
        let Entry { expected, segment, .. } = held.entries.get(&id)?;
        let (expected, segment) = (*expected, segment.clone());
        self.hold(&mut held, id, expected, segment.clone());
        Some(segment)
    }

    pub(super) fn put(&self, meta: &SegmentMeta, segment: S) {
        let expected = meta.bytes / TABLES_SHARE + meta.footer_bytes;
        self.hold(&mut self.held(), meta.id, expected, segment);
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
    use std::sync::Arc;
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

    #[test]
    fn the_one_unused_for_longest_goes_first() {
        let [a, b, c] = [1, 2, 3].map(|number| meta(number, 40));
        let footers = Footers::new(2, 1_000, |_, expected| expected);
        footers.put(&a, "a");
        footers.put(&b, "b");
        assert_eq!(footers.get(a.id), Some("a"));
        footers.put(&c, "c");
        assert_eq!(footers.get(b.id), None);
        assert_eq!((footers.get(a.id), footers.get(c.id)), (Some("a"), Some("c")));
        footers.remove(a.id);
        assert_eq!(footers.get(a.id), None);
    }

    #[test]
    fn heavy_ones_push_several_out() {
        let footers = Footers::new(10, 30, |(), expected| expected);
        let light = [1, 2, 3].map(|number| meta(number, 40));
        light.iter().for_each(|meta| footers.put(meta, ()));
        footers.put(&meta(4, 80), ());
        assert_eq!(footers.get(SegmentId::from_bits(4)), Some(()));
        let left = light.iter().filter(|meta| footers.get(meta.id).is_some()).count();
        assert_eq!(left, 1);
        footers.put(&meta(5, 4_000), ());
        assert_eq!(
            footers.get(SegmentId::from_bits(4)),
            None,
            "one too heavy for all is kept alone"
        );
        assert_eq!(footers.get(SegmentId::from_bits(5)), Some(()));
    }

    #[test]
    fn one_that_grew_is_weighed_anew() {
        let footers =
            Footers::new(10, 30, |grown: &Arc<AtomicU64>, _| grown.load(Ordering::Relaxed));
        let size = Arc::new(AtomicU64::new(5));
        footers.put(&meta(1, 0), Arc::clone(&size));
        footers.put(&meta(2, 0), Arc::new(AtomicU64::new(15)));
        size.store(20, Ordering::Relaxed);
        assert!(footers.get(SegmentId::from_bits(1)).is_some());
        assert!(footers.get(SegmentId::from_bits(2)).is_none());
        assert_eq!(footers.held().weight, 20);
    }

    #[test]
    fn going_over_more_than_fits_finds_some() {
        let footers = Footers::new(30, 1_000, |(), _| 1);
        let mut found = 0;
        for round in 0..20 {
            for number in 0..40 {
                let meta = meta(number, 0);
                match footers.get(meta.id) {
                    Some(()) => found += usize::from(0 < round),
                    None => footers.put(&meta, ()),
                }
            }
        }
        assert!(19 * 40 / 4 < found, "{found} of {}", 19 * 40);
    }
}
