//! Segments that were opened before, so that a query needs no read to open them again.
//!
//! Bounded by count and by weight, an estimate of the bytes they take; the one unused for longest
//! goes first. What is held is immutable, so nothing here can be stale.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use segment::{SegmentId, SegmentMeta};

/// Part of an object that is tables and index, as one in so many bytes. They are kept once a query
/// has needed them, decompressed; the columns, which are most of the object, are not.
const TABLES_SHARE: u64 = 4;

#[derive(Debug)]
pub(super) struct Footers<S> {
    entries_max: usize,
    weight_max: u64,
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
    weight: u64,
    segment: S,
}

impl<S: Clone> Footers<S> {
    pub(super) fn new(entries_max: usize, weight_max: u64) -> Self {
        let held = Held { uses: 0, weight: 0, entries: HashMap::new() };
        Self { entries_max, weight_max, held: Mutex::new(held) }
    }

    pub(super) fn get(&self, id: SegmentId) -> Option<S> {
        let mut held = self.held();
        held.uses += 1;
        let uses = held.uses;
        let entry = held.entries.get_mut(&id)?;
        entry.used = uses;
        Some(entry.segment.clone())
    }

    pub(super) fn put(&self, meta: &SegmentMeta, segment: S) {
        let weight = meta.bytes / TABLES_SHARE + meta.footer_bytes;
        let mut held = self.held();
        held.remove(meta.id);
        while self.entries_max <= held.entries.len()
            || (self.weight_max < held.weight.saturating_add(weight) && !held.entries.is_empty())
        {
            let oldest = held.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(id, _)| *id) else { break };
            held.remove(oldest);
        }
        held.uses += 1;
        let used = held.uses;
        held.weight += weight;
        held.entries.insert(meta.id, Entry { used, weight, segment });
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
}

#[cfg(test)]
mod tests {
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
        let footers = Footers::new(2, 1_000);
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
        let footers = Footers::new(10, 30);
        let light = [1, 2, 3].map(|number| meta(number, 40));
        light.iter().for_each(|meta| footers.put(meta, ()));
        footers.put(&meta(4, 80), ());
        assert_eq!(footers.get(light[1].id), None);
        assert_eq!(footers.get(light[2].id), Some(()));
        footers.put(&meta(5, 4_000), ());
        assert_eq!(footers.get(light[2].id), None, "one too heavy for all is kept alone");
        assert_eq!(footers.get(SegmentId::from_bits(5)), Some(()));
    }
}
