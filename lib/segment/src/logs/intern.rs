//! Byte strings numbered from 0 in the order they are first seen.
//!
//! All strings lie end to end in one buffer and the table holds numbers only, so a known string
//! costs one hash and one comparison and never an allocation: this runs for every line and every
//! new token of a granule.
//!
//! Bounds: none of its own; callers cap count and bytes, since what happens then is theirs.

use xxhash_rust::xxh3::xxh3_64;

/// A slot of the table: a string's number, and the upper half of its hash in the upper half, so
/// that most lookups touch the table and the string and nothing between.
type Slot = u64;

const VACANT: Slot = u64::MAX;

const NUMBER: u64 = u32::MAX as u64;

fn slot_of(id: u32, hash: u64) -> Slot {
    u64::from(id) | hash & !NUMBER
}

#[derive(Debug)]
pub(crate) struct Interner {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    hashes: Vec<u64>,
    /// Open addressing, a power of two long, at most three quarters full.
    slots: Vec<Slot>,
}

/// What [`Interner::probe`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Known(u32),
    /// Where [`Interner::insert`] may put it.
    Absent(Place),
}

/// A free slot for a string with this hash; stale after the next insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    hash: u64,
    slot: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), hashes: Vec::new(), slots: vec![VACANT; 256] }
    }
}

impl Interner {
    /// Makes room for so many strings to come, of so many bytes together.
    pub(crate) fn reserve(&mut self, strings: usize, bytes: usize) {
        self.bytes.reserve(bytes);
        self.ends.reserve(strings);
        self.hashes.reserve(strings);
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all strings together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// All strings, end to end.
    pub(crate) fn all(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start as usize..self.ends[id] as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len() as u32).map(|id| self.get(id))
    }

    pub(crate) fn probe(&self, text: &[u8]) -> Probe {
        let hash = xxh3_64(text);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let found = self.slots[slot];
            if found == VACANT {
                return Probe::Absent(Place { hash, slot });
            }
            let id = (found & NUMBER) as u32;
            if found == slot_of(id, hash) && self.get(id) == text {
                return Probe::Known(id);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Adds `text`, which [`Interner::probe`] just did not find.
    pub(crate) fn insert(&mut self, place: Place, text: &[u8]) -> u32 {
        let id = self.ends.len() as u32;
        self.bytes.extend_from_slice(text);
        assert!(self.bytes.len() < u32::MAX as usize, "callers cap far below 4 GiB");
        self.ends.push(self.bytes.len() as u32);
        self.hashes.push(place.hash);
        self.slots[place.slot] = slot_of(id, place.hash);
        if self.slots.len() < self.len() / 3 * 4 {
            self.grow();
        }
        id
    }

    /// Forgets everything, keeping the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.hashes.clear();
        self.slots.fill(VACANT);
    }

    /// Forgets all but the first `len` strings.
    pub(crate) fn truncate(&mut self, len: usize) {
        let mask = self.slots.len() - 1;
        // Last in, first out: whatever was put in after a string has left the table before it, so
        // no probe needs the slot it leaves empty.
        for id in (len..self.len()).rev() {
            let mut slot = self.hashes[id] as usize & mask;
            while self.slots[slot] & NUMBER != id as u64 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = VACANT;
        }
        self.ends.truncate(len);
        self.hashes.truncate(len);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }

    pub(crate) fn intern(&mut self, text: &[u8]) -> u32 {
        match self.probe(text) {
            Probe::Known(id) => id,
            Probe::Absent(place) => self.insert(place, text),
        }
    }

    fn grow(&mut self) {
        let mut slots = vec![VACANT; self.slots.len() * 2];
        let mask = slots.len() - 1;
        for (id, hash) in self.hashes.iter().enumerate() {
            let mut slot = *hash as usize & mask;
            while slots[slot] != VACANT {
                slot = (slot + 1) & mask;
            }
            slots[slot] = slot_of(id as u32, *hash);
        }
        self.slots = slots;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn numbers_strings_like_a_map_does() {
        let mut interner = Interner::default();
        let mut oracle: HashMap<Vec<u8>, u32> = HashMap::new();
        for i in 0..5_000_u32 {
            let text = format!("{}", i.wrapping_mul(2_654_435_761) % 1_777).into_bytes();
            let next = oracle.len() as u32;
            let expected = *oracle.entry(text.clone()).or_insert(next);
            assert_eq!(interner.intern(&text), expected);
            assert_eq!(interner.get(expected), text);
        }
        assert_eq!(interner.len(), oracle.len());
        assert_eq!(interner.intern(b""), oracle.len() as u32);
        assert_eq!(interner.iter().count(), oracle.len() + 1);
    }

    #[test]
    fn forgets_the_last_first() {
        let mut interner = Interner::default();
        for round in 0..50_u32 {
            let kept = interner.len() as u32;
            for n in 0..100 {
                interner.intern(format!("{round} {n}").as_bytes());
            }
            interner.truncate(kept as usize + 50);
            for n in 0..50 {
                assert_eq!(interner.intern(format!("{round} {n}").as_bytes()), kept + n);
            }
            assert_eq!(interner.intern(b"next"), interner.len() as u32 - 1);
            interner.truncate(kept as usize + 50);
        }
        assert_eq!(interner.intern(b"3 7"), 157);
        interner.clear();
        assert_eq!((interner.len(), interner.bytes(), interner.intern(b"x")), (0, 0, 0));
    }
}
