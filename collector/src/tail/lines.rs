//! Cuts a file's bytes into lines, with memory for one unfinished line.
//!
//! What always holds: a line's bytes are at most `line_bytes_max`, whatever its length; its
//! `length` and its end are those in the file, so the next line is intact (C-205). Runs of NUL
//! at the start of a line are holes left by truncation: skipped and counted (C-208).

use crate::carry::{Carry, CarryBudget};

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The line without its line feed, cut to the cap.
    pub bytes: &'a [u8],
    /// Length of the whole line without its line feed.
    pub length: u64,
    /// Offset of its first byte in the file.
    pub start: u64,
    /// Offset just after its line feed.
    pub end: u64,
}

/// Cuts what is fed to it, in file order, into lines.
#[derive(Debug)]
pub struct LineCutter {
    /// Head of the unfinished line.
    carry: Carry,
    /// Length of the unfinished line so far.
    length: u64,
    /// Offset just after the last finished line: where reading must start again after a crash.
    position: u64,
    /// NUL bytes skipped at the start of the unfinished line.
    holes: u64,
    /// NUL bytes skipped since they were last asked for.
    skipped: u64,
    line_bytes_max: usize,
    /// The carry was handed out as a line and is to be emptied.
    spent: bool,
}

impl LineCutter {
    pub fn new(position: u64, line_bytes_max: usize, budget: &CarryBudget) -> Self {
        Self {
            carry: Carry::new(budget),
            length: 0,
            position,
            holes: 0,
            skipped: 0,
            line_bytes_max,
            spent: false,
        }
    }

    /// Returns the offset just after the last finished line.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the offset up to which bytes have been fed.
    pub fn fed(&self) -> u64 {
        self.position + self.holes + self.length
    }

    /// Returns how many NUL bytes were skipped since the last call.
    pub fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Takes the next line out of `chunk` from `at` on, and moves `at` behind it.
    ///
    /// Call until `None`, which means that the chunk is used up and its rest is kept.
    pub fn next<'a>(&'a mut self, chunk: &'a [u8], at: &mut usize) -> Option<Line<'a>> {
        self.drop_spent();
        if self.length == 0 {
            let holes = chunk.get(*at..)?.iter().take_while(|byte| **byte == 0).count();
            *at += holes;
            self.holes += holes as u64;
            self.skipped += holes as u64;
        }
        let bytes = chunk.get(*at..)?;
        let Some(feed) = memchr::memchr(b'\n', bytes) else {
            self.carry.extend_contiguous(bytes, self.length, self.line_bytes_max);
            self.length += bytes.len() as u64;
            *at = chunk.len();
            return None;
        };
        let head = bytes.get(..feed)?;
        *at += feed + 1;
        let start = self.position;
        let length = self.length + feed as u64;
        self.position += self.holes + length + 1;
        let carried = 0 < self.length;
        if carried {
            self.carry.extend_contiguous(head, self.length, self.line_bytes_max);
            self.spent = true;
        }
        (self.length, self.holes) = (0, 0);
        let line = if carried { self.carry.bytes() } else { head };
        let bytes = line.get(..self.line_bytes_max).unwrap_or(line);
        Some(Line { bytes, length, start, end: self.position })
    }

    /// Takes out the unfinished line, when no more bytes will come.
    pub fn finish(&mut self) -> Option<Line<'_>> {
        self.drop_spent();
        let start = self.position;
        let length = std::mem::take(&mut self.length);
        self.position += std::mem::take(&mut self.holes) + length;
        if length == 0 {
            return None;
        }
        self.spent = true;
        Some(Line { bytes: self.carry.bytes(), length, start, end: self.position })
    }

    fn drop_spent(&mut self) {
        if std::mem::take(&mut self.spent) {
            self.carry.clear();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Cut = (Vec<u8>, u64, u64, u64);

    fn cut(chunks: &[&[u8]], cap: usize) -> (Vec<Cut>, LineCutter) {
        let mut cutter = LineCutter::new(0, cap, &CarryBudget::new(1 << 20));
        let mut lines = Vec::new();
        for chunk in chunks {
            let mut at = 0;
            while let Some(line) = cutter.next(chunk, &mut at) {
                lines.push((line.bytes.to_vec(), line.length, line.start, line.end));
            }
        }
        (lines, cutter)
    }

    #[test]
    fn c_208_a_line_waits_for_its_line_feed() {
        let (lines, mut cutter) = cut(&[b"one\ntw", b"o\n\nthr"], 100);
        let texts: Vec<_> = lines.iter().map(|(text, ..)| text.as_slice()).collect();
        assert_eq!(texts, [&b"one"[..], b"two", b""]);
        assert_eq!((cutter.position(), cutter.fed()), (9, 12));
        let last = cutter.finish().unwrap();
        assert_eq!((last.bytes, last.start, last.end), (&b"thr"[..], 9, 12));
        assert_eq!(cutter.finish(), None);
    }

    #[test]
    fn c_208_holes_at_the_head_are_skipped_and_counted() {
        let mut cutter = LineCutter::new(0, 100, &CarryBudget::new(100));
        assert_eq!(cutter.next(b"\0\0\0", &mut 0), None);
        assert_eq!((cutter.position(), cutter.fed()), (0, 3));
        let line = cutter.next(b"\0line\0\n", &mut 0).unwrap();
        assert_eq!((line.bytes, line.start, line.end), (&b"line\0"[..], 0, 10));
        assert_eq!((cutter.take_skipped(), cutter.take_skipped()), (4, 0));
    }

    #[test]
    fn c_205_a_long_line_keeps_memory_at_the_cap_and_the_next_line_is_intact() {
        let budget = CarryBudget::new(1000);
        let mut cutter = LineCutter::new(0, 100, &budget);
        let chunk = [b'x'; 4096];
        for _ in 0..1000 {
            assert_eq!(cutter.next(&chunk, &mut 0), None);
            assert!(900 <= budget.free());
        }
        let mut at = 0;
        let long = cutter.next(b"end\nnext\n", &mut at).unwrap();
        assert_eq!((long.bytes.len(), long.length), (100, 4_096_003));
        let next = cutter.next(b"end\nnext\n", &mut at).unwrap();
        assert_eq!((next.bytes, next.start), (&b"next"[..], 4_096_004));
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_lines(
            content in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(0), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(0_usize..200, 0..8),
            cap in 1_usize..20,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(content.len())).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for at in cuts {
                chunks.push(&content[from..at]);
                from = at;
            }
            chunks.push(&content[from..]);
            let (split, cutter) = cut(&chunks, cap);
            let (whole, _) = cut(&[&content], cap);
            prop_assert_eq!(&split, &whole);
            prop_assert_eq!(cutter.fed(), content.len() as u64);
            let oracle: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n')
                .filter_map(|line| line.strip_suffix(b"\n"))
                .map(|line| &line[line.iter().take_while(|byte| **byte == 0).count()..])
                .collect();
            prop_assert_eq!(split.len(), oracle.len());
            for ((text, length, ..), line) in split.iter().zip(oracle) {
                prop_assert_eq!(&text[..], &line[..line.len().min(cap)]);
                prop_assert_eq!(*length, line.len() as u64);
            }
        }
    }
}
