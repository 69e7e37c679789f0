//! What of one file is on its way and not yet acknowledged (C-901).
//!
//! What always holds: a track's floor is never above the start of one of its records that is in
//! an open or unacknowledged batch, or that continues in a later file. Few entries: one per batch
//! that holds rows of the file, or of the file before it where a record goes on from there.

use super::sink::BatchId;
use super::track::Track;
use crate::parse::Stream;

/// The unacknowledged parts of one file.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Lowest start of the file's records in each batch, by track.
    batches: Vec<(BatchId, [Option<u64>; 3])>,
    /// Starts of records that continue in a later file, by stream.
    continued: [Option<u64>; 2],
}

impl Ledger {
    /// Notes that a record of `track` which starts at `start` went into `batch`.
    pub fn note(&mut self, batch: BatchId, track: Track, start: u64) {
        // The batch of the row before, in nearly all cases.
        let place = self.batches.iter().rposition(|(known, _)| *known == batch);
        let place = place.unwrap_or_else(|| {
            self.batches.push((batch, [None; 3]));
            self.batches.len() - 1
        });
        let lowest = &mut self.batches[place].1[track.index()];
        *lowest = Some(lowest.map_or(start, |lowest| lowest.min(start)));
    }

    /// Notes that the record of `stream` which starts at `start` continues in a later file.
    pub fn continues(&mut self, stream: Stream, start: u64) {
        self.continued[stream.index()] = Some(start);
    }

    /// Notes that such a record has ended and went into `batch`.
    pub fn continued_into(&mut self, stream: Stream, batch: BatchId) {
        if let Some(start) = self.continued[stream.index()].take() {
            self.note(batch, Track::Output(stream), start);
        }
    }

    /// Notes that a record of `stream` goes on here that began in the file of `before`. Whatever of
    /// that stream is unacknowledged there brings the record's beginning back after a crash, so
    /// its end must not be passed here before.
    pub fn waits_for(&mut self, before: &Self, stream: Stream) {
        let track = Track::Output(stream);
        for (batch, _) in
            before.batches.iter().filter(|(_, starts)| starts[track.index()].is_some())
        {
            self.note(*batch, track, 0);
        }
    }

    /// Notes that `batch` is acknowledged, or that its rows are given up.
    pub fn resolve(&mut self, batch: BatchId) {
        self.batches.retain(|(known, _)| *known != batch);
    }

    /// Returns the lowest start of a track that is not acknowledged.
    pub fn floor(&self, track: Track) -> Option<u64> {
        let batches = self.batches.iter().filter_map(|(_, starts)| starts[track.index()]);
        let continued = match track {
            Track::Raw => None,
            Track::Output(stream) => self.continued[stream.index()],
        };
        batches.chain(continued).min()
    }

    /// Whether everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.continued.iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: Track = Track::Raw;
    const STDERR: Track = Track::Output(Stream::Stderr);

    #[test]
    fn c_901_the_floor_is_the_first_gap_whatever_the_order_of_acknowledgements() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.floor(RAW), None);
        ledger.note(1, RAW, 100);
        ledger.note(2, RAW, 150);
        ledger.note(1, RAW, 50);
        ledger.note(3, RAW, 200);
        ledger.resolve(2);
        assert_eq!(ledger.floor(RAW), Some(50));
        ledger.resolve(1);
        assert_eq!(ledger.floor(RAW), Some(200));
        ledger.resolve(3);
        assert!(ledger.is_empty());
    }

    #[test]
    fn c_901_a_record_that_goes_on_waits_for_what_came_before_its_beginning() {
        let (mut before, mut ledger) = (Ledger::default(), Ledger::default());
        before.note(1, STDERR, 10);
        before.note(2, RAW, 20);
        ledger.waits_for(&before, Stream::Stderr);
        ledger.note(3, STDERR, 0);
        ledger.resolve(3);
        assert_eq!((ledger.floor(STDERR), ledger.floor(RAW)), (Some(0), None));
        ledger.resolve(1);
        assert_eq!(ledger.floor(STDERR), None);
    }

    #[test]
    fn c_901_a_track_does_not_wait_for_another() {
        let mut ledger = Ledger::default();
        ledger.note(1, RAW, 10);
        ledger.continues(Stream::Stderr, 180);
        assert_eq!((ledger.floor(RAW), ledger.floor(STDERR)), (Some(10), Some(180)));
        ledger.continued_into(Stream::Stderr, 4);
        assert_eq!(ledger.floor(STDERR), Some(180));
        ledger.resolve(4);
        assert_eq!((ledger.floor(RAW), ledger.floor(STDERR)), (Some(10), None));
        assert!(!ledger.is_empty());
    }
}
