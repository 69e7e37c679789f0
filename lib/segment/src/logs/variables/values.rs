//! Digits and half-bytes of a group spelled out, of the slots whose values are wanted.
//!
//! Where the lines of most rows are wanted, all of them are spelled out at once, which is faster
//! for each; where a few are, a slot's when it is met, which is less to do.
//!
//! What always holds: a range that the streams do not have is [`Malformed`].

use std::borrow::Cow;
use std::ops::Range;

use super::ids::{IdSlot, Ids};
use super::read::CUT_SHORT;
use super::streams::{self, RandomDigits, spelled_out};
use crate::wire::Malformed;

#[derive(Debug)]
pub(super) struct Values<'a> {
    random: RandomDigits<'a>,
    /// Whether everything is spelled out; then ranges of the streams are ranges here.
    whole: bool,
    /// When whole: the random ones, then the repetitive ones.
    pub(super) digits: Vec<u8>,
    pub(super) half_bytes: Vec<u8>,
    repetitive: Cow<'a, [u8]>,
    packed: Cow<'a, [u8]>,
    scratch: Vec<u8>,
}

impl<'a> Values<'a> {
    pub(super) fn open(
        random: RandomDigits<'a>,
        repetitive: Cow<'a, [u8]>,
        packed: Cow<'a, [u8]>,
        whole: bool,
    ) -> Result<Self, Malformed> {
        // All of them without a branch.
        if !repetitive.iter().fold(true, |digits, byte| digits & byte.is_ascii_digit()) {
            return Err(Malformed("it has digits above nine"));
        }
        let (mut digits, mut half_bytes) = (Vec::new(), Vec::new());
        if whole {
            digits = random.all()?;
            digits.extend_from_slice(&repetitive);
            half_bytes = spelled_out(&packed);
        }
        Ok(Self { random, whole, digits, half_bytes, repetitive, packed, scratch: Vec::new() })
    }

    /// How many random digits, repetitive digits and characters of half-bytes there are.
    pub(super) fn totals(&self) -> (usize, usize, usize) {
        (self.random.count, self.repetitive.len(), 2 * self.packed.len())
    }

    /// Where in `digits` these random or repetitive digits are.
    pub(super) fn digits(
        &mut self,
        range: Range<usize>,
        repetitive: bool,
    ) -> Result<usize, Malformed> {
        if self.whole {
            let before = if repetitive { self.random.count } else { 0 };
            return Ok(before + range.start);
        }
        let start = self.digits.len();
        if repetitive {
            self.digits.extend_from_slice(self.repetitive.get(range).ok_or(CUT_SHORT)?);
        } else {
            self.random.some(range, &mut self.digits)?;
        }
        Ok(start)
    }

    /// Where these repetitive digits are, which are stored as all first ones, all second ones and so
    /// on, value after value of `width` digits.
    pub(super) fn columns(
        &mut self,
        range: Range<usize>,
        width: usize,
    ) -> Result<usize, Malformed> {
        let length = range.len();
        let start = self.digits(range, true)?;
        let columns = self.digits.get_mut(start..start + length).ok_or(CUT_SHORT)?;
        to_rows(columns, width, &mut self.scratch);
        Ok(start)
    }

    /// Where in `half_bytes` the values of this slot are from now on.
    pub(super) fn identifiers(&mut self, slot: &IdSlot, ids: &Ids<'_>) -> Result<usize, Malformed> {
        let start = self.half_bytes.len();
        ids.spell(slot, &mut self.half_bytes)?;
        Ok(start)
    }

    /// Where in `half_bytes` these characters are: an even range. Up to format 6.
    pub(super) fn half_bytes(&mut self, range: Range<usize>) -> Result<usize, Malformed> {
        if self.whole {
            return Ok(range.start);
        }
        let start = self.half_bytes.len();
        let packed = self.packed.get(range.start / 2..range.end / 2).ok_or(CUT_SHORT)?;
        self.half_bytes.resize(start + 2 * packed.len(), 0);
        streams::spell(packed, &mut self.half_bytes[start..]);
        Ok(start)
    }
}

/// From all first digits, all second ones and so on to value after value.
pub(super) fn to_rows(columns: &mut [u8], width: usize, scratch: &mut Vec<u8>) {
    if width < 2 {
        return;
    }
    scratch.clear();
    scratch.extend_from_slice(columns);
    let rows = columns.len() / width;
    for (row, value) in columns.chunks_exact_mut(width).enumerate() {
        for (at, digit) in value.iter_mut().enumerate() {
            *digit = scratch[at * rows + row];
        }
    }
}
