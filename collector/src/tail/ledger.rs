//! What of one file is on its way and not yet acknowledged (C-901).
//!
//! What always holds: the floor is never above the start of a record that is in an open or
//! unacknowledged batch, or that continues in a later file. Few entries: one per batch that holds
//! rows of the file.

use super::sink::BatchId;
use crate::parse::Stream;

/// The unacknowledged parts of one file.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Lowest start of the file's records in each batch.
    batches: Vec<(BatchId, u64)>,
    /// Starts of records that continue in a later file, by stream.
    continued: [Option<u64>; 2],
}

impl Ledger {
    /// Notes that a record which starts at `start` went into `batch`.
    pub fn note(&mut self, batch: BatchId, start: u64) {
        // The batch of the row before, in nearly all cases.
        match self.batches.iter_mut().rev().find(|(known, _)| *known == batch) {
            Some((_, lowest)) => *lowest = start.min(*lowest),
            None => self.batches.push((batch, start)),
        }
    }

    /// Notes that the record of `stream` which starts at `start` continues in a later file.
    pub fn continues(&mut self, stream: Stream, start: u64) {
        self.continued[stream.index()] = Some(start);
    }

    /// Notes that such a record has ended and went into `batch`.
    pub fn continued_into(&mut self, stream: Stream, batch: BatchId) {
        if let Some(start) = self.continued[stream.index()].take() {
            self.note(batch, start);
        }
    }

    /// Notes that `batch` is acknowledged, or that its rows are given up.
    pub fn resolve(&mut self, batch: BatchId) {
        self.batches.retain(|(known, _)| *known != batch);
    }

    /// Returns the lowest start that is not acknowledged.
    pub fn floor(&self) -> Option<u64> {
        let batches = self.batches.iter().map(|(_, start)| *start);
        batches.chain(self.continued.iter().flatten().copied()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_901_the_floor_is_the_first_gap_whatever_the_order_of_acknowledgements() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.floor(), None);
        ledger.note(1, 100);
        ledger.note(2, 150);
        ledger.note(1, 50);
        ledger.note(3, 200);
        ledger.resolve(2);
        assert_eq!(ledger.floor(), Some(50));
        ledger.resolve(1);
        assert_eq!(ledger.floor(), Some(200));
        ledger.continues(Stream::Stderr, 180);
        ledger.resolve(3);
        assert_eq!(ledger.floor(), Some(180));
        ledger.continued_into(Stream::Stderr, 4);
        assert_eq!(ledger.floor(), Some(180));
        ledger.resolve(4);
        assert_eq!(ledger.floor(), None);
    }
}
