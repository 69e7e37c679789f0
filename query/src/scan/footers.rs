//! Segments that were opened before, so that a query needs no read to open them again.
//!
//! Bounded by count; the one unused for longest goes first. What is held is immutable, so nothing
//! here can be stale.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use segment::SegmentId;

#[derive(Debug)]
pub(super) struct Footers<S> {
    entries_max: usize,
    held: Mutex<Held<S>>,
}

#[derive(Debug)]
struct Held<S> {
    /// Counts uses; an entry's number says when it was last used.
    uses: u64,
    entries: HashMap<SegmentId, (u64, S)>,
}

impl<S: Clone> Footers<S> {
    pub(super) fn new(entries_max: usize) -> Self {
        let held = Held { uses: 0, entries: HashMap::new() };
        Self { entries_max, held: Mutex::new(held) }
    }

    pub(super) fn get(&self, id: SegmentId) -> Option<S> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.uses += 1;
        let uses = held.uses;
        let (used, segment) = held.entries.get_mut(&id)?;
        *used = uses;
        Some(segment.clone())
    }

    pub(super) fn put(&self, id: SegmentId, segment: S) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if self.entries_max <= held.entries.len() && !held.entries.contains_key(&id) {
            let oldest = held.entries.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                held.entries.remove(&oldest);
            }
        }
        held.uses += 1;
        let uses = held.uses;
        held.entries.insert(id, (uses, segment));
    }

    /// Forgets a segment that turned out damaged, so that a repaired object is read anew.
    pub(super) fn remove(&self, id: SegmentId) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.entries.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_unused_for_longest_goes_first() {
        let [a, b, c] = [1, 2, 3].map(SegmentId::from_bits);
        let footers = Footers::new(2);
        footers.put(a, "a");
        footers.put(b, "b");
        assert_eq!(footers.get(a), Some("a"));
        footers.put(c, "c");
        assert_eq!(footers.get(b), None);
        assert_eq!((footers.get(a), footers.get(c)), (Some("a"), Some("c")));
        footers.remove(a);
        assert_eq!(footers.get(a), None);
    }
}
