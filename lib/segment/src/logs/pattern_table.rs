//! The patterns of a segment, as they are stored and looked at.
//!
//! Patterns have much in common: the same stack trace after many messages, the same fields before
//! many. So a pattern is kept as a list of **stretches**: its text from the beginning or a
//! placeholder on, up to and with the next placeholder or the end. Each stretch is there once, and
//! is searched once, whatever number of patterns it is in.
//!
//! What always holds: a pattern with `n` placeholders has `n + 1` stretches, the last one without
//! a placeholder and perhaps empty. All are UTF-8 but for the placeholders. A pattern's length is
//! at most [`PATTERN_BYTES_MAX`].

use std::ops::Range;

use memchr::memchr2_iter;

use super::intern::Interner;
use super::pattern::{PATTERN_BYTES_MAX, PLACEHOLDER, TOKEN_PLACEHOLDER};
use crate::wire::{self, Malformed, Reader};

/// First format whose patterns are stretches.
const STRETCHES_SINCE: u32 = 6;

#[derive(Debug)]
pub(crate) struct PatternTable {
    /// That of the segment.
    format: u32,
    /// The stretches, end to end.
    bytes: Vec<u8>,
    /// Where in `bytes` each stretch begins, and where the last ends.
    starts: Vec<u32>,
    /// Numbers of the stretches of each pattern, pattern by pattern.
    stretches: Vec<u32>,
    /// Where in `stretches` those of each pattern end.
    ends: Vec<u32>,
    /// Whether each pattern has a [`TOKEN_PLACEHOLDER`].
    widened: Vec<bool>,
}

impl PatternTable {
    pub(crate) fn decode(section: &[u8], format: u32) -> Result<Self, Malformed> {
        let mut reader = Reader::new(section);
        let table = match format {
            STRETCHES_SINCE.. => Self::read(&mut reader)?,
            _ => {
                let mut cut = Stretches::default();
                for _ in 0..reader.count(1)? {
                    cut.add(reader.bytes()?);
                }
                Self::new(&cut)?
            }
        };
        reader.finish()?;
        Ok(Self { format, ..table })
    }

    /// The format of the segment whose patterns these are.
    pub(crate) fn format(&self) -> u32 {
        self.format
    }

    fn new(cut: &Stretches) -> Result<Self, Malformed> {
        let mut table = Self::empty();
        cut.texts.iter().try_for_each(|text| table.push_stretch(text))?;
        let mut start = 0;
        for end in &cut.ends {
            table.stretches.extend_from_slice(&cut.numbers[start..*end]);
            table.end_pattern()?;
            start = *end;
        }
        Ok(table)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut table = Self::empty();
        for _ in 0..reader.count(1)? {
            table.push_stretch(reader.bytes()?)?;
        }
        for _ in 0..reader.count(1)? {
            let mut next = 0_i64;
            for _ in 0..reader.count(1)? {
                let number = reader.signed()?.checked_add(next).ok_or(NO_SUCH_STRETCH)?;
                next = number.saturating_add(1);
                table.stretches.push(u32::try_from(number).map_err(|_| NO_SUCH_STRETCH)?);
            }
            table.end_pattern()?;
        }
        Ok(table)
    }

    fn empty() -> Self {
        let (bytes, stretches, ends, widened) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { format: 0, bytes, starts: vec![0], stretches, ends, widened }
    }

    fn push_stretch(&mut self, text: &[u8]) -> Result<(), Malformed> {
        // Placeholders are no UTF-8, so there is none but at the end.
        let before = if ends_open(text) { &text[..text.len() - 1] } else { text };
        if std::str::from_utf8(before).is_err() {
            return Err(Malformed("a stretch is not UTF-8 up to a placeholder"));
        }
        self.bytes.extend_from_slice(text);
        let end = u32::try_from(self.bytes.len());
        self.starts.push(end.map_err(|_| Malformed("its stretches are longer than 4 GiB"))?);
        Ok(())
    }

    /// Checks the stretches that were added for a pattern.
    fn end_pattern(&mut self) -> Result<(), Malformed> {
        let start = self.ends.last().map_or(0, |end| *end as usize);
        let (mut length, mut widened, mut open) = (0, false, true);
        for number in &self.stretches[start..] {
            if self.starts.len() - 1 <= *number as usize {
                return Err(NO_SUCH_STRETCH);
            }
            if !open {
                return Err(MISPLACED_END);
            }
            let text = &self.bytes[self.stretch(*number)];
            length += text.len();
            open = ends_open(text);
            widened |= text.last() == Some(&TOKEN_PLACEHOLDER);
        }
        if open {
            return Err(MISPLACED_END);
        }
        if PATTERN_BYTES_MAX < length {
            return Err(Malformed("a pattern is too long"));
        }
        let end = u32::try_from(self.stretches.len());
        self.ends.push(end.map_err(|_| Malformed("it has too many stretches"))?);
        self.widened.push(widened);
        Ok(())
    }

    /// How many there are, "none" not counted.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The numbers of a pattern's stretches; none for [`super::pattern::NO_PATTERN`] and numbers
    /// never given.
    #[inline]
    pub(crate) fn stretches(&self, pattern: u32) -> &[u32] {
        let Some(at) = (pattern as usize).checked_sub(1).filter(|at| *at < self.len()) else {
            return &[];
        };
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.stretches[start..self.ends[at] as usize]
    }

    /// How many placeholders a pattern has.
    pub(crate) fn placeholders(&self, pattern: u32) -> usize {
        self.stretches(pattern).len().saturating_sub(1)
    }

    /// Where in [`PatternTable::bytes`] a stretch of a pattern is.
    #[inline]
    pub(crate) fn stretch(&self, number: u32) -> Range<usize> {
        self.starts[number as usize] as usize..self.starts[number as usize + 1] as usize
    }

    /// The bytes of all stretches.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether lines of a pattern have words that are not in it.
    pub(crate) fn widened(&self, pattern: u32) -> bool {
        let at = (pattern as usize).checked_sub(1);
        at.and_then(|at| self.widened.get(at)).copied().unwrap_or(true)
    }

    /// Puts the pattern with this number in `text`; false for a number without one.
    pub(crate) fn spell(&self, pattern: u32, text: &mut Vec<u8>) -> bool {
        text.clear();
        let stretches = self.stretches(pattern);
        stretches.iter().for_each(|n| text.extend_from_slice(&self.bytes[self.stretch(*n)]));
        !stretches.is_empty()
    }

    /// The text of a stretch of a pattern, without the placeholder at its end.
    #[inline]
    pub(crate) fn text(&self, number: u32) -> &[u8] {
        let text = &self.bytes[self.stretch(number)];
        if ends_open(text) { &text[..text.len() - 1] } else { text }
    }

    /// How many stretches the patterns have together, each counted once.
    pub(crate) fn distinct_stretches(&self) -> usize {
        self.starts.len() - 1
    }

    /// Bytes of memory it takes.
    pub(crate) fn held_bytes(&self) -> u64 {
        let numbers = self.starts.capacity() + self.stretches.capacity() + self.ends.capacity();
        (self.bytes.capacity() + self.widened.capacity() + numbers * size_of::<u32>()) as u64
    }

    #[cfg(test)]
    pub(crate) fn get(&self, pattern: u32) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        self.spell(pattern, &mut text).then_some(text)
    }
}

const NO_SUCH_STRETCH: Malformed = Malformed("a pattern names a stretch that is not there");

const MISPLACED_END: Malformed = Malformed("a pattern ends where its stretches do not");

fn ends_open(stretch: &[u8]) -> bool {
    matches!(stretch.last(), Some(&(PLACEHOLDER | TOKEN_PLACEHOLDER)))
}

/// Patterns being cut into stretches.
#[derive(Debug, Default)]
pub(crate) struct Stretches {
    texts: Interner,
    /// The stretches of each pattern, pattern by pattern.
    numbers: Vec<u32>,
    /// Where in `numbers` those of each pattern end.
    ends: Vec<usize>,
}

impl Stretches {
    pub(crate) fn add(&mut self, pattern: &[u8]) {
        let mut start = 0;
        for at in memchr2_iter(PLACEHOLDER, TOKEN_PLACEHOLDER, pattern) {
            self.numbers.push(self.texts.intern(&pattern[start..=at]));
            start = at + 1;
        }
        self.numbers.push(self.texts.intern(&pattern[start..]));
        self.ends.push(self.numbers.len());
    }

    /// The section: the stretches, then of each pattern which they are.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.texts.bytes() + 2 * self.numbers.len() + 16);
        wire::put_varint(&mut out, self.texts.len() as u64);
        self.texts.iter().for_each(|text| wire::put_bytes(&mut out, text));
        wire::put_varint(&mut out, self.ends.len() as u64);
        let mut start = 0;
        for end in &self.ends {
            let numbers = &self.numbers[start..*end];
            wire::put_varint(&mut out, numbers.len() as u64);
            // Stretches met together for the first time have numbers in a row.
            let mut next = 0;
            for number in numbers {
                let number = i64::from(*number);
                wire::put_signed(&mut out, number - next);
                next = number + 1;
            }
            start = *end;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn pattern() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            3 => "[ab :]{0,4}".prop_map(String::into_bytes),
            1 => Just(vec![PLACEHOLDER]),
            1 => Just(vec![TOKEN_PLACEHOLDER]),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    fn section_of(patterns: &[Vec<u8>], format: u32) -> Vec<u8> {
        let mut cut = Stretches::default();
        patterns.iter().for_each(|pattern| cut.add(pattern));
        if STRETCHES_SINCE <= format {
            return cut.encode();
        }
        let mut section = Vec::new();
        wire::put_varint(&mut section, patterns.len() as u64);
        patterns.iter().for_each(|pattern| wire::put_bytes(&mut section, pattern));
        section
    }

    #[test]
    fn patterns_that_go_on_alike_take_little_more_than_one() {
        let stack = b"\tat com.example.Orders.place(Orders.java:\xff)\n".repeat(60);
        let patterns: Vec<Vec<u8>> = (b'a'..=b'z')
            .map(|letter| [format!("{} failed ", char::from(letter)).as_bytes(), &stack].concat())
            .collect();
        let table = PatternTable::decode(&section_of(&patterns, 6), 6).unwrap();
        assert!(table.held_bytes() < 4 * patterns[0].len() as u64 + 26 * 61 * 8);
        assert_eq!(table.get(26).unwrap(), patterns[25]);
    }

    #[test]
    fn what_does_not_fit_is_malformed() {
        let section = |stretches: &[&[u8]], patterns: &[&[i64]]| {
            let mut out = Vec::new();
            wire::put_varint(&mut out, stretches.len() as u64);
            stretches.iter().for_each(|stretch| wire::put_bytes(&mut out, stretch));
            wire::put_varint(&mut out, patterns.len() as u64);
            for numbers in patterns {
                wire::put_varint(&mut out, numbers.len() as u64);
                numbers.iter().for_each(|number| wire::put_signed(&mut out, *number));
            }
            out
        };
        let decode = |section: Vec<u8>| PatternTable::decode(&section, 6).map(|table| table.len());
        let long = [b'x'; PATTERN_BYTES_MAX];
        assert_eq!(decode(section(&[b"a\xff", b"b"], &[&[0, 0], &[1]])), Ok(2));
        assert_eq!(decode(section(&[], &[])), Ok(0));
        assert_eq!(decode(section(&[&long], &[&[0]])), Ok(1));
        for (stretches, numbers) in [
            (&[&b"a\xff"[..], b"b"][..], &[0][..]),
            (&[b"a\xff", b"b"], &[1, 0]),
            (&[b"a\xff", b"b"], &[2]),
            (&[b"a\xff", b"b"], &[-1]),
            (&[b"a\xff", b"b"], &[i64::MAX, i64::MAX]),
            (&[b"a\xffb"], &[0]),
            (&[b"\xc3"], &[0]),
            (&[b"a"], &[]),
            (&[b"a\xff", &long], &[0, 0]),
        ] {
            assert!(decode(section(stretches, &[numbers])).is_err(), "{stretches:?} {numbers:?}");
        }
    }

    proptest! {
        #[test]
        fn patterns_are_what_was_put_in(
            patterns in prop::collection::vec(pattern(), 0..20),
            format in 5_u32..7,
        ) {
            let table = PatternTable::decode(&section_of(&patterns, format), format).unwrap();
            prop_assert_eq!(table.len(), patterns.len());
            prop_assert_eq!(table.get(0), None);
            prop_assert_eq!(table.get(patterns.len() as u32 + 1), None);
            for (number, pattern) in (1..).zip(&patterns) {
                let found = |byte: u8| pattern.iter().filter(|b| **b == byte).count();
                let placeholders = found(PLACEHOLDER) + found(TOKEN_PLACEHOLDER);
                prop_assert_eq!(&table.get(number).unwrap(), pattern);
                prop_assert_eq!(table.placeholders(number), placeholders);
                prop_assert_eq!(table.widened(number), 0 < found(TOKEN_PLACEHOLDER));
            }
        }

        #[test]
        fn any_bytes_are_a_table_or_malformed(
            section in prop::collection::vec(any::<u8>(), 0..60),
            format in 5_u32..7,
        ) {
            drop(PatternTable::decode(&section, format));
        }
    }
}
