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

/// Where the tokens of a line begin and end.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    /// Starts and ends; those behind the first `count` are of lines before.
    tokens: Vec<[u32; 2]>,
    count: usize,
    /// Bytes before which a variable ends, a bit each.
    variables: Vec<u64>,
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

    /// Finds the line's tokens, some at a time: what is written beyond the last is written over, so the
    /// processor hardly ever has to guess whether there is another.
    pub(crate) fn edges(&self, edges: &mut Edges) {
        const TOKENS_AT_ONCE: usize = 4;
        let most = self.blocks.len() * BLOCK / 2 + TOKENS_AT_ONCE;
        if edges.tokens.len() < most {
            edges.tokens.resize(most.next_power_of_two(), [0; 2]);
        }
        edges.variables.clear();
        let (mut found, places) = (0, edges.tokens.as_flattened_mut());
        let (mut open, mut digit) = (0, false);
        for (at, block) in self.blocks.iter().enumerate() {
            let mut rest = block.tokens ^ (block.tokens << 1 | open);
            open = block.tokens >> (BLOCK - 1);
            let end = found + rest.count_ones() as usize;
            let mut next = found;
            while next < end {
                let room = places.get_mut(next..).and_then(<[u32]>::first_chunk_mut);
                let Some(room): Option<&mut [u32; 2 * TOKENS_AT_ONCE]> = room else { break };
                for place in room {
                    *place = (at * BLOCK) as u32 + rest.trailing_zeros();
                    rest &= rest.wrapping_sub(1);
                }
                next += 2 * TOKENS_AT_ONCE;
            }
            found = end;
            // A digit added to the ones of its token carries to where the token ends, or into the
            // next block.
            let (sum, over) = block.tokens.overflowing_add(block.digits);
            let (sum, over_again) = sum.overflowing_add(u64::from(digit));
            edges.variables.push(sum & !block.tokens);
            digit = over || over_again;
        }
        edges.count = found / 2;
    }

    /// The line's variables in order: start and end. Looks at digits only and so is faster than
    /// [`Classes::edges`].
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

impl Edges {
    /// Start and end of each token, in order.
    #[inline]
    pub(crate) fn tokens(&self) -> &[[u32; 2]] {
        &self.tokens[..self.count]
    }

    /// 1 where the token that ends before this byte is a variable, else 0.
    #[inline]
    pub(crate) fn variable_ends_at(&self, end: usize) -> u64 {
        self.variables.get(end / BLOCK).map_or(0, |block| block >> (end % BLOCK) & 1)
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
            let mut edges = Edges::default();
            (0..2).for_each(|_| classes.edges(&mut edges));
            for [start, end] in edges.tokens() {
                let (start, end) = (*start as usize, *end as usize);
                found.push((start, end, edges.variable_ends_at(end) == 1));
            }
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
