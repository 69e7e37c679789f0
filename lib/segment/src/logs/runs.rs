//! How long the runs of digits and of hexadecimal digits in a granule's long variables are.
//!
//! An identifier that is searched for may be part of a longer variable, about which the token
//! filter says nothing. But most identifiers are digits or hexadecimal digits alone, and can only
//! be part of a variable with a run of them that is long enough: few granules have one.
//!
//! What always holds: a granule that has a longer variable with the identifier in it may have it.

use super::granule::LengthSet;
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
            self.digits.insert(variable, u8::is_ascii_digit);
            self.hex.insert(variable, is_hex);
        }
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

impl RunLengths {
    fn insert(&mut self, variable: &[u8], digit: fn(&u8) -> bool) {
        let runs = variable.split(|byte| !digit(byte));
        let longest = runs.map(<[u8]>::len).max().unwrap_or(0);
        if longest == variable.len() {
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
