//! What each byte of a line is, a bit each: the cut of [`super::token`].
//!
//! Every byte that is ever stored is looked at here, so nothing branches on a byte: whoever wants
//! the tokens or variables of the line goes from one set bit to the next.
//!
//! What always holds: the cut is that of [`super::token::walk`].

use super::lanes::{LANES, classes};

/// Bytes of a block: one bit of a word each.
const BLOCK: usize = 64;

/// A line's bytes by class. What lies beyond its end separates.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    blocks: Vec<Block>,
}

/// The classes of 64 bytes, the first in the lowest bit.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    tokens: u64,
    digits: u64,
}

impl Classes {
    /// Looks at `line`, and forgets the one before.
    #[inline]
    pub(crate) fn read(&mut self, line: &[u8]) {
        self.blocks.clear();
        let (blocks, _) = line.as_chunks();
        self.blocks.extend(blocks.iter().map(Block::of));
        // Always one that is not full, so that the last token ends in a block.
        self.blocks.push(Block::last_of(line));
    }

    /// The line's tokens in order: start, end, and whether it is a variable.
    #[inline]
    pub(crate) fn tokens(&self, mut visit: impl FnMut(usize, usize, bool)) {
        // A token begins at an edge and ends at the next, be it in the same block or not.
        let (mut start, mut open) = (0, false);
        // Whether the token has had a digit in blocks before, and which bytes of this one it may
        // have.
        let (mut digit, mut reach) = (false, 0);
        for (at, block) in self.blocks.iter().enumerate() {
            let mut edges = block.tokens ^ (block.tokens << 1 | u64::from(open));
            while edges != 0 {
                let edge = edges.trailing_zeros();
                edges &= edges - 1;
                let place = at * BLOCK + edge as usize;
                let before = (1 << edge) - 1;
                if open {
                    visit(start, place, digit || block.digits & reach & before != 0);
                } else {
                    (start, digit, reach) = (place, false, !before);
                }
                open = !open;
            }
            if open {
                digit |= block.digits & reach != 0;
                reach = u64::MAX;
            }
        }
    }

    /// The line's variables in order: start and end. Looks at digits only and so is faster than
    /// [`Classes::tokens`].
    #[inline]
    pub(crate) fn variables(&self, mut visit: impl FnMut(usize, usize)) {
        // Where the token began that reaches into the block, and whether it has had a digit.
        let (mut token, mut open) = (0, false);
        for (at, block) in self.blocks.iter().enumerate() {
            let base = at * BLOCK;
            let separators = !block.tokens;
            let mut digits = block.digits;
            if open {
                let end = separators.trailing_zeros();
                if end == BLOCK as u32 {
                    continue;
                }
                digits &= !below(end);
                visit(token, base + end as usize);
                open = false;
            }
            while digits != 0 {
                let digit = digits.trailing_zeros();
                let before = separators & below(digit);
                let start = match before {
                    0 => token,
                    _ => base + (BLOCK as u32 - before.leading_zeros()) as usize,
                };
                let end = (separators & !below(digit)).trailing_zeros();
                if end == BLOCK as u32 {
                    (token, open) = (start, true);
                    break;
                }
                digits &= !below(end);
                visit(start, base + end as usize);
            }
            if !open && separators != 0 {
                token = base + (BLOCK as u32 - separators.leading_zeros()) as usize;
            }
        }
    }
}

impl Block {
    #[inline]
    fn of(bytes: &[u8; BLOCK]) -> Self {
        Self::of_lanes(bytes.as_chunks().0)
    }

    #[inline]
    fn of_lanes(lanes: &[[u8; LANES]]) -> Self {
        let lanes = lanes.iter().enumerate();
        lanes.fold(Self::default(), |block, (at, lanes)| block.with(at, lanes, 0))
    }

    /// The last of a line, which is not full.
    #[inline]
    fn last_of(line: &[u8]) -> Self {
        let (lanes, rest) = line[line.len() / BLOCK * BLOCK..].as_chunks();
        let block = Self::of_lanes(lanes);
        match line.last_chunk() {
            _ if rest.is_empty() => block,
            // Bytes before the rest fill the lanes, and are taken off again.
            Some(last) => block.with(lanes.len(), last, LANES - rest.len()),
            None => {
                let mut padded = [0; LANES];
                padded[..rest.len()].copy_from_slice(rest);
                block.with(lanes.len(), &padded, 0)
            }
        }
    }

    /// With the classes of the lanes numbered `at`, without the first `past` of `lanes`.
    #[inline]
    fn with(self, at: usize, lanes: &[u8; LANES], past: usize) -> Self {
        let (tokens, digits) = classes(lanes);
        let place = LANES * at;
        Self {
            tokens: self.tokens | tokens >> past << place,
            digits: self.digits | digits >> past << place,
        }
    }
}

/// The bits below `bit`, which is at most 64.
#[inline]
fn below(bit: u32) -> u64 {
    match bit {
        64 => u64::MAX,
        bit => (1 << bit) - 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logs::token::{Piece, walk};

    proptest! {
        #[test]
        fn cuts_as_the_format_says(
            line in prop_oneof![
                any::<String>(),
                "[a-c0-2 ,é]{0,300}",
                "[a1 ]{0,10}([a-f]{50,90}|[0-9]{50,90}|[ ,]{50,90})[a1 ]{0,70}",
            ],
        ) {
            let mut expected = Vec::new();
            let mut at = 0;
            walk(line.as_bytes(), |piece| match piece {
                Piece::Separators(text) => at += text.len(),
                Piece::Token(token) => {
                    expected.push((at, at + token.bytes.len(), token.variable));
                    at += token.bytes.len();
                }
            });
            let mut classes = Classes::default();
            classes.read(b"an older line 1, which is longer than one block of sixty-four bytes");
            classes.read(line.as_bytes());
            let mut found = Vec::new();
            classes.tokens(|start, end, variable| found.push((start, end, variable)));
            prop_assert_eq!(&found, &expected);
            found.clear();
            classes.variables(|start, end| found.push((start, end, true)));
            expected.retain(|(_, _, variable)| *variable);
            prop_assert_eq!(&found, &expected);
        }

        #[test]
        fn every_byte_has_its_class(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            use crate::logs::token::{ByteClass, class};
            let mut classes = Classes::default();
            classes.read(&bytes);
            for (at, byte) in bytes.iter().enumerate() {
                let block = classes.blocks[at / BLOCK];
                let bit = |word: u64| word >> (at % BLOCK) & 1 == 1;
                prop_assert_eq!(bit(block.tokens), class(*byte) != ByteClass::Separator);
                prop_assert_eq!(bit(block.digits), class(*byte) == ByteClass::Digit);
            }
        }
    }
}
