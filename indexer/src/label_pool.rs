//! One copy in memory of label sets that come again with every batch.
//!
//! A source writes to the same few streams all day, and each of its batches names them. The rows
//! of an indexer hold thousands of batches; held apart, the label sets of small ones would take
//! more than their lines.
//!
//! Bounds: [`POOL_BYTES_MAX`]; when it is full it starts anew, and sets met again are held, and
//! counted, once more.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use record::Labels;

/// Bytes of the sets in a pool: about 20,000 of them.
const POOL_BYTES_MAX: usize = 16 << 20;

/// The label sets of one kind of rows.
#[derive(Debug, Default)]
pub(crate) struct LabelPool {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    sets: HashSet<Labels>,
    bytes: usize,
}

impl LabelPool {
    /// The sets equal to `sets` that everybody shares, and the bytes that those take which nobody
    /// had before.
    pub(crate) fn share(&self, sets: &[Labels]) -> (Vec<Labels>, usize) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new_bytes = 0;
        let shared = sets.iter().map(|set| match known.sets.get(set) {
            Some(known) => known.clone(),
            None => {
                new_bytes += known.insert(set);
                set.clone()
            }
        });
        let shared = shared.collect();
        (shared, new_bytes)
    }
}

impl Known {
    fn insert(&mut self, set: &Labels) -> usize {
        let bytes = set.memory_bytes();
        if POOL_BYTES_MAX < self.bytes + bytes {
            *self = Self::default();
        }
        self.bytes += bytes;
        self.sets.insert(set.clone());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(n: usize) -> Labels {
        Labels::from_pairs([("app", "api".to_owned()), ("pod", format!("api-{n}"))])
    }

    #[test]
    fn equal_sets_are_held_and_counted_once() {
        let pool = LabelPool::default();
        let (first, bytes) = pool.share(&[set(1), set(2)]);
        assert_eq!((first, bytes), (vec![set(1), set(2)], 2 * set(1).memory_bytes()));
        let (again, bytes) = pool.share(&[set(2), set(3), set(1)]);
        assert_eq!((again, bytes), (vec![set(2), set(3), set(1)], set(1).memory_bytes()));
    }

    #[test]
    fn a_full_pool_starts_anew() {
        let pool = LabelPool::default();
        let large = |n: usize| Labels::from_pairs([("pod", n.to_string().repeat(1_000_000))]);
        for n in 0..40 {
            pool.share(&[large(n)]);
            let known = pool.known.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(known.sets.len() <= POOL_BYTES_MAX / 1_000_000, "{}", known.sets.len());
        }
        assert_eq!(pool.share(&[large(39)]).1, 0, "the newest are there");
        assert_ne!(pool.share(&[large(0)]).1, 0, "and the oldest gone");
    }
}
