//! Bytes of unfinished lines and records that are held in memory until their end arrives.
//!
//! What always holds: all [`Carry`] buffers of one [`CarryBudget`] together hold at most its
//! size. Bytes over a cap or over the budget are not kept; the caller counts them, so the record
//! still ends where it ends in the file, only its text is cut (C-205).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory that every unfinished line and record shares.
#[derive(Clone, Debug)]
pub struct CarryBudget {
    free: Arc<AtomicUsize>,
}

impl CarryBudget {
    pub fn new(bytes_max: usize) -> Self {
        Self { free: Arc::new(AtomicUsize::new(bytes_max)) }
    }

    /// Returns how many bytes are still free.
    pub fn free(&self) -> usize {
        self.free.load(Ordering::Relaxed)
    }

    /// Takes up to `wanted` bytes; returns how many were granted.
    fn take(&self, wanted: usize) -> usize {
        let mut granted = 0;
        let update = |free: usize| {
            granted = wanted.min(free);
            Some(free - granted)
        };
        // The closure never refuses, so the update always happens.
        let _before = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        granted
    }

    fn give_back(&self, bytes: usize) {
        self.free.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// One growing buffer.
#[derive(Debug)]
pub struct Carry {
    bytes: Vec<u8>,
    budget: CarryBudget,
}

impl Carry {
    pub fn new(budget: &CarryBudget) -> Self {
        Self { bytes: Vec::new(), budget: budget.clone() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends as much of `more` as `bytes_max` and the budget allow.
    fn extend(&mut self, more: &[u8], bytes_max: usize) {
        let wanted = more.len().min(bytes_max.saturating_sub(self.bytes.len()));
        let granted = self.budget.take(wanted);
        self.bytes.extend_from_slice(more.get(..granted).unwrap_or(more));
    }

    /// Appends `more`, which comes `before` bytes into what the buffer holds the head of.
    ///
    /// Nothing is kept once something before it was left out: the head has no gaps.
    pub fn extend_contiguous(&mut self, more: &[u8], before: u64, bytes_max: usize) {
        if self.bytes.len() as u64 == before {
            self.extend(more, bytes_max);
        }
    }

    /// Empties the buffer and returns its memory.
    pub fn clear(&mut self) {
        self.budget.give_back(self.bytes.len());
        self.bytes = Vec::new();
    }

    /// Takes the bytes out; from here on they count against whoever holds them.
    pub fn take(&mut self) -> Vec<u8> {
        self.budget.give_back(self.bytes.len());
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Carry {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_205_buffers_share_one_budget_and_return_what_they_took() {
        let budget = CarryBudget::new(10);
        let mut first = Carry::new(&budget);
        let mut second = Carry::new(&budget);
        first.extend_contiguous(b"12345678", 0, 6);
        assert_eq!(first.bytes(), b"123456");
        second.extend(b"abcdefgh", 100);
        assert_eq!(second.bytes(), b"abcd");
        assert_eq!(budget.free(), 0);
        assert_eq!(second.take(), b"abcd");
        first.clear();
        assert_eq!(budget.free(), 10);
        first.extend(b"xyz", 3);
        drop(first);
        assert_eq!(budget.free(), 10);
    }
}
