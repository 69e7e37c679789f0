//! Joins the pieces of a record that the container runtime cut (C-203).
//!
//! What always holds: stdout and stderr interleave in one file, so each has its own buffer.
//! Pieces join without a separator, and the record's time is its first piece's. A record over
//! the cap keeps its head and counts the rest. The state moves from a rotated file to its
//! successor, so a rotation between two pieces does not split the record (C-206).
//!
//! On a crash the state is lost and nothing else: the position of a stream in a file never passes
//! the start of its open record ([`Joiner::floor`]), so its pieces are read again.

use std::borrow::Cow;
use std::time::Duration;

use record::SourceId;

use super::{Piece, Stream};
use crate::carry::{Carry, CarryBudget};

/// Where a piece lies: the source it belongs to and its bytes in that file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub source: SourceId,
    /// Offset of the line's first byte.
    pub start: u64,
    /// Offset just after the line's last byte.
    pub end: u64,
}

/// A file that holds pieces of a record that ends in another file.
pub type FileSerial = u64;

/// A whole record.
#[derive(Debug, PartialEq, Eq)]
pub struct Joined<'a> {
    pub time: i64,
    pub stream: Stream,
    pub content: Cow<'a, [u8]>,
    /// Length of the content before it was cut to the cap.
    pub original_bytes: u64,
    /// Source and end of its last piece, and where it starts in the current file.
    pub extent: Extent,
    /// Earlier files that hold pieces of it.
    pub earlier: Vec<FileSerial>,
    /// Whether it was given up on before its last piece came.
    pub partial: bool,
    /// Whether more than one piece went in.
    pub joined: bool,
}

/// The two open records of one file.
#[derive(Debug)]
pub struct Joiner {
    open: [Option<Open>; 2],
    record_bytes_max: usize,
    budget: CarryBudget,
}

#[derive(Debug)]
struct Open {
    time: i64,
    content: Carry,
    original_bytes: u64,
    extent: Extent,
    earlier: Vec<FileSerial>,
    pieces: u32,
    /// When the last piece came, on the collector's monotonic clock.
    touched: Duration,
}

impl Joiner {
    pub fn new(record_bytes_max: usize, budget: &CarryBudget) -> Self {
        Self { open: [None, None], record_bytes_max, budget: budget.clone() }
    }

    /// Adds a piece; returns the record when it is the last one.
    ///
    /// `unread_bytes` is how much of the piece's content was not kept by whoever read the line.
    pub fn add<'a>(
        &mut self,
        piece: Piece<'a>,
        unread_bytes: u64,
        extent: Extent,
        now: Duration,
    ) -> Option<Joined<'a>> {
        let stream = piece.stream;
        let length = piece.content.len() as u64 + unread_bytes;
        let slot = &mut self.open[stream.index()];
        if slot.is_none() && piece.complete {
            return Some(Joined {
                time: piece.time,
                stream,
                content: piece.content,
                original_bytes: length,
                extent,
                earlier: Vec::new(),
                partial: false,
                joined: false,
            });
        }
        let open = slot.get_or_insert_with(|| Open {
            time: piece.time,
            content: Carry::new(&self.budget),
            original_bytes: 0,
            extent,
            earlier: Vec::new(),
            pieces: 0,
            touched: now,
        });
        let before = open.original_bytes;
        open.content.extend_contiguous(&piece.content, before, self.record_bytes_max);
        open.original_bytes += length;
        open.extent = Extent { start: open.extent.start, ..extent };
        open.pieces = open.pieces.saturating_add(1);
        open.touched = now;
        if !piece.complete {
            return None;
        }
        slot.take().map(|open| open.finish(stream, false))
    }

    /// Gives up on a stream's open record and returns what there is of it.
    pub fn give_up(&mut self, stream: Stream) -> Option<Joined<'static>> {
        self.open[stream.index()].take().map(|open| open.finish(stream, true))
    }

    /// Whether the open record of `stream` has waited for its next piece since `deadline`.
    pub fn is_overdue(&self, stream: Stream, deadline: Duration) -> bool {
        self.open[stream.index()].as_ref().is_some_and(|open| open.touched <= deadline)
    }

    /// Returns the start of the open record of `stream` in the current file, which the committed
    /// position must not pass.
    pub fn floor(&self, stream: Stream) -> Option<u64> {
        self.open[stream.index()].as_ref().map(|open| open.extent.start)
    }

    pub fn is_empty(&self) -> bool {
        self.open.iter().all(Option::is_none)
    }

    /// Takes over the open records of `before`, which were begun in the file `from`. This file
    /// is read from its beginning, so they may go on there.
    ///
    /// Calls `held` with each one's stream and its start in `from`: that file's position must
    /// stay there until the record is acknowledged.
    pub fn take_over(
        &mut self,
        before: &mut Self,
        from: FileSerial,
        mut held: impl FnMut(Stream, u64),
    ) {
        for stream in Stream::ALL {
            if let Some(mut open) = before.open[stream.index()].take() {
                held(stream, open.extent.start);
                open.earlier.push(from);
                open.extent.start = 0;
                self.open[stream.index()] = Some(open);
            }
        }
    }
}

impl Open {
    fn finish(mut self, stream: Stream, partial: bool) -> Joined<'static> {
        Joined {
            time: self.time,
            stream,
            content: Cow::Owned(self.content.take()),
            original_bytes: self.original_bytes,
            extent: self.extent,
            earlier: self.earlier,
            partial,
            joined: 1 < self.pieces,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn extent(end: u64) -> Extent {
        Extent { source: SourceId([0; 16]), start: end - 1, end }
    }

    fn piece(stream: Stream, text: &[u8], complete: bool) -> Piece<'static> {
        Piece { time: 7, stream, content: Cow::Owned(text.to_vec()), complete }
    }

    #[test]
    fn c_203_streams_have_independent_buffers() {
        let mut joiner = Joiner::new(100, &CarryBudget::new(100));
        assert!(joiner.add(piece(Stream::Stdout, b"out-", false), 0, extent(1), NOW).is_none());
        assert!(joiner.add(piece(Stream::Stderr, b"err-", false), 0, extent(2), NOW).is_none());
        assert_eq!(joiner.floor(Stream::Stdout), Some(0));
        let out = joiner.add(piece(Stream::Stdout, b"end", true), 0, extent(3), NOW).unwrap();
        assert_eq!(
            (out.content.as_ref(), out.extent.start, out.extent.end),
            (&b"out-end"[..], 0, 3)
        );
        assert_eq!(joiner.floor(Stream::Stdout), None);
        assert_eq!(joiner.floor(Stream::Stderr), Some(1));
        let err = joiner.add(piece(Stream::Stderr, b"end", true), 0, extent(4), NOW).unwrap();
        assert_eq!(err.content.as_ref(), b"err-end");
        assert!(joiner.is_empty());
    }

    #[test]
    fn c_206_an_open_record_is_held_in_both_files_of_a_rotation() {
        let budget = CarryBudget::new(100);
        let (mut before, mut joiner) = (Joiner::new(100, &budget), Joiner::new(100, &budget));
        assert!(before.add(piece(Stream::Stdout, b"a", false), 0, extent(11), NOW).is_none());
        let mut held = Vec::new();
        joiner.take_over(&mut before, 42, |stream, start| held.push((stream, start)));
        assert_eq!(held, [(Stream::Stdout, 10)]);
        assert!(before.is_empty());
        assert_eq!(joiner.floor(Stream::Stdout), Some(0));
        let record = joiner.add(piece(Stream::Stdout, b"b", true), 0, extent(5), NOW).unwrap();
        assert_eq!(record.earlier, [42]);
        assert_eq!((record.content.as_ref(), record.extent.end), (&b"ab"[..], 5));
    }

    #[test]
    fn c_206_what_waits_too_long_is_given_up() {
        let mut joiner = Joiner::new(100, &CarryBudget::new(100));
        let later = Duration::from_secs(5);
        assert!(joiner.add(piece(Stream::Stderr, b"a", false), 0, extent(3), later).is_none());
        assert!(!joiner.is_overdue(Stream::Stderr, Duration::from_secs(4)));
        assert!(joiner.is_overdue(Stream::Stderr, later));
        assert!(!joiner.is_overdue(Stream::Stdout, later));
        let record = joiner.give_up(Stream::Stderr).unwrap();
        assert!(record.partial);
        assert_eq!(record.extent.end, 3);
    }

    type Given = (bool, Vec<u8>, bool);

    /// Collects each stream's text up to the next complete piece, with all the memory it likes.
    fn oracle(pieces: &[Given], cap: usize) -> Vec<(bool, Vec<u8>, u64)> {
        let mut open: [Vec<u8>; 2] = Default::default();
        let mut records = Vec::new();
        for (stderr, text, complete) in pieces {
            let buffer = &mut open[usize::from(*stderr)];
            buffer.extend(text);
            if *complete {
                let whole = std::mem::take(buffer);
                let head = whole.iter().take(cap).copied().collect();
                records.push((*stderr, head, whole.len() as u64));
            }
        }
        records
    }

    proptest! {
        #[test]
        fn agrees_with_the_oracle_and_keeps_its_memory_cap(
            pieces in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..20), any::<bool>()),
                0..60,
            ),
            cap in 1_usize..50,
        ) {
            let budget = CarryBudget::new(2 * cap);
            let mut joiner = Joiner::new(cap, &budget);
            let mut records = Vec::new();
            for (at, (stderr, text, complete)) in pieces.iter().enumerate() {
                let stream = if *stderr { Stream::Stderr } else { Stream::Stdout };
                let given = piece(stream, text, *complete);
                if let Some(record) = joiner.add(given, 0, extent(at as u64 + 1), NOW) {
                    // A record of one piece is handed through uncut: the cap is for memory.
                    let head = record.content.iter().take(cap).copied().collect();
                    records.push((record.stream == Stream::Stderr, head, record.original_bytes));
                }
            }
            prop_assert_eq!(records, oracle(&pieces, cap));
            drop(joiner);
            prop_assert_eq!(budget.free(), 2 * cap);
        }
    }
}
