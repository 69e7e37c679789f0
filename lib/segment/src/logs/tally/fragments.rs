//! The fragments of a granule.

use super::text;
use crate::logs::index::TERM_BYTES_MAX;
use crate::logs::intern::{Interner, Probe};

/// Bytes of all distinct fragments of a segment.
const FRAGMENTS_BYTES_MAX: usize = 4 << 20;

/// Letters of a short fragment are base-53 digits, 0 being "none".
const SHORT_BASE: usize = 53;
const SHORT_LETTERS: usize = 3;
const SHORT_BITS: usize = SHORT_BASE * SHORT_BASE * SHORT_BASE;

/// The fragments of a granule. Most are one to three ASCII letters (hexadecimal ids) and live in a
/// bit map; the rest is interned.
#[derive(Debug)]
pub(super) struct Fragments {
    short: Vec<u64>,
    short_count: usize,
    pub(super) long: Interner,
    stamps: Vec<u32>,
    met: Vec<u32>,
}

impl Default for Fragments {
    fn default() -> Self {
        Self {
            short: vec![0; SHORT_BITS.div_ceil(64)],
            short_count: 0,
            long: Interner::default(),
            stamps: Vec::new(),
            met: Vec::new(),
        }
    }
}

impl Fragments {
    /// How many the granule has.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.short_count + self.met.len()
    }

    /// False when it cannot be a term, or the segment has too many.
    #[inline]
    pub(super) fn meet(&mut self, fragment: &[u8], granule: u32) -> bool {
        match short_code(fragment) {
            Some(code) => {
                let bit = 1 << (code % 64);
                self.short_count += usize::from(self.short[code / 64] & bit == 0);
                self.short[code / 64] |= bit;
            }
            None => return self.meet_long(fragment, granule),
        }
        true
    }

    fn meet_long(&mut self, fragment: &[u8], granule: u32) -> bool {
        let id = match self.long.probe(fragment) {
            Probe::Known(id) => id,
            Probe::Absent(place) => {
                let bytes = self.long.bytes() + fragment.len();
                if TERM_BYTES_MAX < fragment.len() || FRAGMENTS_BYTES_MAX < bytes {
                    return false;
                }
                self.stamps.push(0);
                self.long.insert(place, fragment)
            }
        };
        let stamp = &mut self.stamps[id as usize];
        if *stamp != granule {
            *stamp = granule;
            self.met.push(id);
        }
        true
    }

    pub(super) fn for_each_met(&self, mut each: impl FnMut(&str)) {
        for (at, word) in self.short.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let (letters, length) = short_text(at * 64 + rest.trailing_zeros() as usize);
                each(text(&letters[..length]));
                rest &= rest - 1;
            }
        }
        for id in &self.met {
            each(text(self.long.get(*id)));
        }
    }

    pub(super) fn clear(&mut self) {
        self.short.fill(0);
        self.short_count = 0;
        self.met.clear();
    }
}

fn short_code(fragment: &[u8]) -> Option<usize> {
    if SHORT_LETTERS < fragment.len() {
        return None;
    }
    let mut code = 0;
    for letter in fragment {
        let digit = match letter {
            b'a'..=b'z' => letter - b'a' + 1,
            b'A'..=b'Z' => letter - b'A' + 27,
            _ => return None,
        };
        code = code * SHORT_BASE + usize::from(digit);
    }
    Some(code)
}

fn short_text(mut code: usize) -> ([u8; SHORT_LETTERS], usize) {
    let mut reversed = [0; SHORT_LETTERS];
    let mut length = 0;
    while 0 < code {
        let digit = (code % SHORT_BASE) as u8;
        reversed[length] = if digit < 27 { b'a' + digit - 1 } else { b'A' + digit - 27 };
        code /= SHORT_BASE;
        length += 1;
    }
    reversed[..length].reverse();
    (reversed, length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn short_fragments_survive_their_code() {
        for fragment in ["a", "z", "A", "Z", "ab", "zZ", "aaa", "ZZZ", "fAb"] {
            let (letters, length) = short_text(short_code(fragment.as_bytes()).unwrap());
            assert_eq!(text(&letters[..length]), fragment);
            assert!(short_code(fragment.as_bytes()).unwrap() < SHORT_BITS);
        }
        assert_eq!(short_code("é".as_bytes()), None);
        assert_eq!(short_code(b"abcd"), None);
    }
}
