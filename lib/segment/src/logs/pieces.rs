//! Bytes put together from short pieces of other bytes.
//!
//! Lines are cut into pieces of a few bytes and put together from them, dozens a line, so what a
//! copy costs beside the bytes decides. A short piece is copied as a block or two of fixed size, a
//! load and a store each; what is copied beyond its end is overwritten by the next.

/// Bytes copied at once, of which most pieces have fewer.
pub(crate) const BLOCK: usize = 16;

/// Longest piece that is copied as two blocks.
const TWO_BLOCKS: usize = 2 * BLOCK;

#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// Longer than `end`, so that blocks have room.
    bytes: Vec<u8>,
    end: usize,
}

impl Pieces {
    /// Appends the first `length` bytes of `source`; false, and nothing, when it has fewer.
    #[inline]
    pub(crate) fn put(&mut self, source: &[u8], length: usize) -> bool {
        if length <= BLOCK {
            self.put_blocks::<BLOCK>(source, length)
        } else if length <= TWO_BLOCKS {
            self.put_blocks::<TWO_BLOCKS>(source, length)
        } else {
            self.put_slowly(source, length)
        }
    }

    #[inline]
    fn put_blocks<const N: usize>(&mut self, source: &[u8], length: usize) -> bool {
        if let Some(from) = source.first_chunk::<N>()
            && let Some(room) = self.bytes.get_mut(self.end..)
            && let Some(to) = room.first_chunk_mut::<N>()
        {
            *to = *from;
            self.end += length;
            return true;
        }
        self.put_slowly(source, length)
    }

    /// Appends one byte.
    #[inline]
    pub(crate) fn put_byte(&mut self, byte: u8) {
        match self.bytes.get_mut(self.end) {
            Some(room) => {
                *room = byte;
                self.end += 1;
            }
            None => {
                self.put_slowly(&[byte], 1);
            }
        }
    }

    fn put_slowly(&mut self, source: &[u8], length: usize) -> bool {
        let Some(piece) = source.get(..length) else { return false };
        let end = self.end + length;
        if self.bytes.len() < end + TWO_BLOCKS {
            self.bytes.resize((end + TWO_BLOCKS).next_power_of_two(), 0);
        }
        self.bytes[self.end..end].copy_from_slice(piece);
        self.end = end;
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.end
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// What was appended after the first `start` bytes.
    pub(crate) fn since(&mut self, start: usize) -> &mut [u8] {
        &mut self.bytes[start..self.end]
    }

    /// Everything from `start` on, and behind what was appended bytes that may be anything: at
    /// least a block of them.
    #[inline]
    pub(crate) fn from(&self, start: usize) -> &[u8] {
        &self.bytes[start..]
    }

    /// Forgets all but the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.end = self.end.min(len);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holds_what_was_put(
            source in prop::collection::vec(any::<u8>(), 0..60),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40), 0..40),
        ) {
            let (mut pieces, mut expected) = (Pieces::default(), Vec::new());
            for (start, length) in cuts {
                let rest = &source[start.index(source.len() + 1)..];
                match rest.get(..length) {
                    Some(piece) => expected.extend_from_slice(piece),
                    None => prop_assert!(!pieces.put(rest, length)),
                }
                if length <= rest.len() {
                    prop_assert!(pieces.put(rest, length));
                }
                prop_assert_eq!(pieces.as_bytes(), &expected[..]);
            }
            pieces.truncate(5);
            prop_assert_eq!(pieces.len(), expected.len().min(5));
        }
    }
}
