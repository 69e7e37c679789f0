//! How long the runs of digits and of hexadecimal digits in a granule's long variables are.
//!
//! An identifier that is searched for may be part of a longer variable, about which the token
//! filter says nothing. But most identifiers are digits or hexadecimal digits alone, and can only
//! be part of a variable with a run of them that is long enough: few granules have one.
//!
//! What always holds: a granule that has a longer variable with the identifier in it may have it.

use wide::u8x16;

use super::granule::LengthSet;
use super::lanes::{LANES, within};
use crate::wire::{Malformed, Reader};

/// Shorter variables are not looked at, nor are shorter identifiers ruled out.
pub(super) const LONG: usize = 16;

/// The runs of one granule. Since format 3; before, every one was possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    digits: RunLengths,
    hex: RunLengths,
}

/// The longest runs of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RunLengths {
    /// Of variables that are nothing else.
    whole: LengthSet,
    /// Of variables that are longer than that.
    within: LengthSet,
}

impl Runs {
    /// What formats without runs say.
    pub(crate) const UNKNOWN: Self = {
        const ALL: RunLengths =
            RunLengths { whole: LengthSet(u64::MAX), within: LengthSet(u64::MAX) };
        Self { digits: ALL, hex: ALL }
    };

    /// Takes a variable.
    pub(crate) fn insert(&mut self, variable: &[u8]) {
        if LONG <= variable.len() {
            self.insert_long(variable);
        }
    }

    fn insert_long(&mut self, variable: &[u8]) {
        let (mut digits, mut hex) = (Longest::default(), Longest::default());
        for block in variable.chunks(BLOCK) {
            let (in_digits, in_hex) = classes(block);
            digits.block(in_digits, block.len());
            hex.block(in_hex, block.len());
        }
        self.digits.insert(digits.longest, variable.len());
        self.hex.insert(hex.longest, variable.len());
    }

    /// Whether a variable longer than `identifier` may contain it.
    pub(crate) fn may_extend(&self, identifier: &[u8]) -> bool {
        if identifier.len() < LONG {
            return true;
        }
        let possible = |runs: &RunLengths, digit: fn(&u8) -> bool| {
            !identifier.iter().all(digit) || runs.may_extend(identifier.len())
        };
        possible(&self.digits, u8::is_ascii_digit) && possible(&self.hex, is_hex)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for lengths in [self.digits.whole, self.digits.within, self.hex.whole, self.hex.within] {
            out.extend_from_slice(&lengths.0.to_le_bytes());
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut lengths = || reader.fixed_u64().map(LengthSet);
        Ok(Self {
            digits: RunLengths { whole: lengths()?, within: lengths()? },
            hex: RunLengths { whole: lengths()?, within: lengths()? },
        })
    }
}

fn is_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Bytes looked at at once: one bit of a word each.
const BLOCK: usize = 64;

/// Which of up to [`BLOCK`] bytes are digits, and which hexadecimal ones, the first in the lowest
/// bit.
fn classes(block: &[u8]) -> (u64, u64) {
    let mut classes = (0, 0);
    for (at, lanes) in block.chunks(LANES).enumerate() {
        let mut padded = [0; LANES];
        padded[..lanes.len()].copy_from_slice(lanes);
        let lanes = u8x16::new(padded);
        let digits = within(lanes, b'0', b'9');
        let hex = digits | within(lanes, b'a', b'f');
        classes.0 |= u64::from(digits.to_bitmask()) << (LANES * at);
        classes.1 |= u64::from(hex.to_bitmask()) << (LANES * at);
    }
    classes
}

/// The longest run of bits, block by block.
#[derive(Debug, Default)]
struct Longest {
    longest: usize,
    /// The run that reaches up to the next block.
    open: usize,
}

impl Longest {
    /// Goes on with the `length` lowest bits.
    fn block(&mut self, bits: u64, length: usize) {
        let first = bits.trailing_ones() as usize;
        self.longest = self.longest.max(self.open + first);
        if first == length {
            self.open += first;
            return;
        }
        self.open = (bits << (BLOCK - length)).leading_ones() as usize;
        let (mut rest, mut within) = (bits, 0);
        while rest != 0 {
            // Each step takes a bit off every run.
            rest &= rest >> 1;
            within += 1;
        }
        self.longest = self.longest.max(within);
    }
}

impl RunLengths {
    /// Takes the longest run of a variable of so many bytes.
    fn insert(&mut self, longest: usize, bytes: usize) {
        if longest == bytes {
            self.whole.insert(longest);
        } else if LONG <= longest {
            self.within.insert(longest);
        }
    }

    fn may_extend(&self, bytes: usize) -> bool {
        self.whole.has_longer(bytes) || self.within.has_at_least(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_out_what_has_no_run_that_long() {
        let mut runs = Runs::default();
        runs.insert(b"1608999687919862906");
        runs.insert(b"fb25884409d6c61bbc28cdd0d33b147d");
        runs.insert(b"AMI7zxw0nqx3Lw8x2kkTM");
        assert!(!runs.may_extend(b"1608999687919862907"), "as long as the longest");
        assert!(runs.may_extend(b"160899968791986290"), "part of the first");
        assert!(!runs.may_extend(b"fb25884409d6c61bbc28cdd0d33b1470"));
        assert!(runs.may_extend(b"fb25884409d6c61bbc28cdd0d33b"));
        assert!(runs.may_extend(b"xyz1608999687919"), "other letters are not told apart");
        assert!(runs.may_extend(b"123"), "short ones are not told apart");
    }

    proptest! {
        #[test]
        fn the_longest_runs_are_those_found_byte_by_byte(
            variable in "[0-9a-g]{0,20}([0-9]{0,70}|[0-9a-f]{0,140})[0-9a-g]{0,70}",
        ) {
            let longest = |digit: fn(&u8) -> bool| {
                variable.as_bytes().split(|byte| !digit(byte)).map(<[u8]>::len).max().unwrap_or(0)
            };
            let mut found = Runs::default();
            found.insert_long(variable.as_bytes());
            let mut expected = Runs::default();
            expected.digits.insert(longest(u8::is_ascii_digit), variable.len());
            expected.hex.insert(longest(is_hex), variable.len());
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_longer_variable_is_never_ruled_out(
            (before, identifier, after) in ("[0-9a-fx]{0,9}", "([0-9]|[0-9a-f]){14,70}", "[0-9a-fx]{0,9}"),
            others in prop::collection::vec("[0-9a-fx]{10,40}", 0..4),
        ) {
            let mut runs = Runs::default();
            others.iter().for_each(|other| runs.insert(other.as_bytes()));
            runs.insert(format!("{before}{identifier}{after}").as_bytes());
            if !before.is_empty() || !after.is_empty() {
                prop_assert!(runs.may_extend(identifier.as_bytes()));
            }
        }
    }
}
