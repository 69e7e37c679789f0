//! Walking over the frames of one file, across damage.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::frame::{Frame, HEADER_BYTES, MARK, PREFIX_BYTES, frame_bytes};

/// Bytes read from disk at a time; larger frames are read whole. Enough that small messages do
/// not cost a system call each.
const CHUNK_BYTES: usize = 256 << 10;

/// What lies at the walker's place.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// A valid frame; the walker stands behind it now.
    Frame(Frame<'a>),
    /// Bytes that are no frame, up to the next valid one or the end.
    Damage(Range<u64>),
    End,
}

/// A place in a file, and some bytes from there on.
#[derive(Debug)]
pub(super) struct Walker<'a> {
    file: &'a File,
    salt: u32,
    place: u64,
    end: u64,
    chunk: Vec<u8>,
    chunk_place: u64,
}

impl<'a> Walker<'a> {
    /// Returns a walker over the bytes of `file` from `place` to `end`.
    pub(super) fn new(file: &'a File, salt: u32, place: u64, end: u64) -> Self {
        Self {
            file,
            salt,
            place: place.max(HEADER_BYTES as u64),
            end,
            chunk: Vec::new(),
            chunk_place: 0,
        }
    }

    /// Returns where the next step begins.
    pub(super) fn place(&self) -> u64 {
        self.place
    }

    /// Takes the next step.
    pub(super) fn step(&mut self) -> io::Result<Step<'_>> {
        if self.end <= self.place {
            return Ok(Step::End);
        }
        let place = self.place;
        match self.frame_length(place)? {
            Some(length) => {
                self.place = place + length as u64;
                match Frame::parse(self.bytes(place, length)?) {
                    Some(frame) => Ok(Step::Frame(frame)),
                    None => Ok(Step::Damage(place..place + length as u64)),
                }
            }
            None => {
                self.place = self.search(place + 1)?;
                Ok(Step::Damage(place..self.place))
            }
        }
    }

    /// Returns the length of the valid frame at `place`, if there is one.
    fn frame_length(&mut self, place: u64) -> io::Result<Option<usize>> {
        let left = self.end - place;
        if left < PREFIX_BYTES as u64 {
            return Ok(None);
        }
        let prefix: [u8; PREFIX_BYTES] = match self.bytes(place, PREFIX_BYTES)?.try_into() {
            Ok(prefix) => prefix,
            Err(_) => return Ok(None),
        };
        let Some(length) = frame_bytes(&prefix) else {
            return Ok(None);
        };
        if left < length as u64 {
            return Ok(None);
        }
        let salt = self.salt;
        let bytes = self.bytes(place, length)?;
        Ok(Frame::check(salt, bytes).map(|_| length))
    }

    /// Returns the place of the next valid frame at or after `from`, or the end.
    fn search(&mut self, from: u64) -> io::Result<u64> {
        let mut from = from;
        while from < self.end {
            let count = usize::try_from(self.end - from).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let bytes = self.bytes(from, count)?;
            let found = bytes.windows(MARK.len()).position(|window| window == MARK);
            match found {
                Some(skip) => {
                    let candidate = from + skip as u64;
                    if self.frame_length(candidate)?.is_some() {
                        return Ok(candidate);
                    }
                    from = candidate + 1;
                }
                // A mark may lie across the border of two chunks.
                None if count == CHUNK_BYTES => from += (count - (MARK.len() - 1)) as u64,
                None => break,
            }
        }
        Ok(self.end)
    }

    /// Returns `count` bytes at `place`, which must lie before the end.
    fn bytes(&mut self, place: u64, count: usize) -> io::Result<&[u8]> {
        let held = self.chunk_place..self.chunk_place + self.chunk.len() as u64;
        if !(held.start <= place && place + count as u64 <= held.end) {
            let left = usize::try_from(self.end - place).unwrap_or(usize::MAX);
            self.chunk.resize(count.max(CHUNK_BYTES.min(left)), 0);
            self.chunk_place = place;
            if let Err(error) = self.file.read_exact_at(&mut self.chunk, place) {
                self.chunk.clear();
                return Err(error);
            }
        }
        let skip = usize::try_from(place - self.chunk_place).unwrap_or(0);
        Ok(&self.chunk[skip..skip + count])
    }
}
