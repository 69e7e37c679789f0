//! The masks of a granule being written, numbered in the order they are first seen.

use crate::logs::intern::Interner;
use crate::logs::short::{SHORT_BYTES, Short, ShortMask};
use crate::logs::token_filter;

/// Masks that are looked for before all others, by their hash: a granule has a few hundred that
/// come again and again.
const RECENT_BITS: u32 = 9;

#[derive(Debug, Default)]
pub(super) struct Masks {
    all: Interner,
    /// By mask: the slot that used it last, and the number it has there.
    used: Vec<(u32, u32)>,
    /// By mask: whether the token filter holds the values that have it.
    filtered: Vec<bool>,
    recent: Vec<Recent>,
}

/// A short mask and its number. No mask has the longest of lengths.
#[derive(Clone, Copy, Debug)]
struct Recent {
    mask: ShortMask,
    number: u32,
}

const NONE: Recent = Recent { mask: ShortMask::NONE, number: 0 };

impl Masks {
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.used.clear();
        self.filtered.clear();
        self.recent.clear();
        self.recent.resize(1 << RECENT_BITS, NONE);
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The number of a mask, and whether it is new.
    #[inline]
    pub(super) fn short(&mut self, mask: ShortMask) -> (u32, bool) {
        let place = place(mask);
        let recent = self.recent[place];
        if recent.mask == mask {
            return (recent.number, false);
        }
        let (bytes, length) = mask.to_bytes();
        let (number, new) = self.long(&bytes[..length]);
        self.recent[place] = Recent { mask, number };
        (number, new)
    }

    /// The same for a mask of any length.
    pub(super) fn long(&mut self, mask: &[u8]) -> (u32, bool) {
        let number = self.all.intern(mask);
        let new = self.used.len() == number as usize;
        if new {
            self.used.push((0, 0));
            self.filtered.push(token_filter::holds(mask));
        }
        (number, new)
    }

    /// The slot that used a mask last, and the number it has there.
    #[inline]
    pub(super) fn used(&mut self, number: u32) -> &mut (u32, u32) {
        &mut self.used[number as usize]
    }

    /// Whether the token filter holds the values that have a mask.
    pub(super) fn filtered(&self, number: u32) -> bool {
        self.filtered[number as usize]
    }

    /// Forgets all but the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        for number in len as u32..self.all.len() as u32 {
            let mask = self.all.get(number);
            let mut block = [0; SHORT_BYTES];
            let Some(room) = block.get_mut(..mask.len()) else { continue };
            room.copy_from_slice(mask);
            let recent = &mut self.recent[place(Short::of(&block, mask.len()).as_mask())];
            if recent.number == number {
                *recent = NONE;
            }
        }
        self.all.truncate(len);
        self.used.truncate(len);
        self.filtered.truncate(len);
    }

    pub(super) fn bytes(&self) -> usize {
        self.all.bytes()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.all.iter()
    }
}

fn place(mask: ShortMask) -> usize {
    (mask.hash() >> (u64::BITS - RECENT_BITS)) as usize
}
