//! Taking the variables of a granule apart.

use super::groups::{Groups, put_stream};
use super::ids_writer::IdsWriter;
use super::masks::Masks;
use super::short::{Digits, SHORT_BYTES, Short, ShortMask};
use super::{CHOICES_MAX, GROUP_BYTES, HALF_BYTES_MIN};
use crate::logs::pattern::NO_PATTERN;
use crate::logs::pieces::Pieces;
use crate::wire;

/// Encodes granule after granule; what it allocates is used again.
pub(crate) struct VariablesWriter {
    compressor: zstd::bulk::Compressor<'static>,
    masks: Masks,
    slots: u32,
    groups: Groups,
    ids: IdsWriter,
    order: Order,
    /// Where the variables of the rows of one pattern begin.
    starts: Vec<u32>,
    slot: SlotValues,
    /// The half-bytes of one value.
    id: Vec<u8>,
}

/// A granule's rows by pattern.
#[derive(Debug, Default)]
struct Order {
    rows: Vec<u32>,
    /// By pattern, where its next row goes.
    starts: Vec<u32>,
}

/// The values of one slot, on their way.
#[derive(Debug, Default)]
pub(super) struct SlotValues {
    pub(super) masks: Vec<u32>,
    pub(super) choices: Vec<u8>,
    pub(super) digits: Pieces,
    /// The mask of the last value that was not short, and of the one before.
    mask: Pieces,
    mask_before: Pieces,
    pub(super) count: usize,
    /// Digits compared with those of the value before, and how many of them were equal.
    compared: usize,
    equal: usize,
}

/// One slot's values.
#[derive(Clone, Copy)]
struct Values<'a> {
    of: &'a GranuleVariables,
    /// Where the variables of its rows begin.
    starts: &'a [u32],
    /// Which of each row's variables it is.
    at: u32,
}

/// The value before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    None,
    Short(Short, ShortMask),
    Long,
}

/// Bytes that are short, after the text that they and what follows them stand in.
type Part<'a> = (&'a [u8], Short);

/// A value's mask.
#[derive(Clone, Copy, Debug)]
struct Mask {
    number: u32,
    /// No value of the granule had it before.
    new: bool,
    /// The value is nothing but digits.
    plain: bool,
}

impl<'a> Values<'a> {
    fn numbers(self) -> impl Iterator<Item = u32> + Clone {
        self.starts.iter().map(move |start| start + self.at)
    }

    fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.numbers().map(move |number| self.of.get(number))
    }

    /// The length of all values, where they are hexadecimal and worth half-bytes.
    fn half_bytes(self) -> Option<usize> {
        let length = self.iter().next()?.len();
        let half = |number| {
            let (start, end) = self.of.place(number);
            end - start == length
                && self.of.parts((start, end)).all(|(_, part)| part.is_hexadecimal())
        };
        (HALF_BYTES_MIN <= length && self.numbers().all(half)).then_some(length)
    }
}

/// The variables of a granule's lines, copied while the line is at hand: they are gone through again
/// in another order, when the lines would have to be fetched from memory once more.
#[derive(Debug, Default)]
pub(crate) struct GranuleVariables {
    bytes: Pieces,
    /// Where each variable ends in `bytes`.
    ends: Vec<u32>,
    /// How many variables there are up to the end of each row.
    rows: Vec<u32>,
}

impl GranuleVariables {
    /// Adds the first `length` bytes of `from` to the row at hand.
    #[inline]
    pub(crate) fn push(&mut self, from: &[u8], length: usize) {
        self.bytes.put(from, length);
        self.ends.push(self.bytes.len() as u32);
    }

    /// Ends the row at hand.
    pub(crate) fn end_row(&mut self) {
        self.rows.push(self.ends.len() as u32);
    }

    /// Forgets what was added to the row at hand.
    pub(crate) fn restart_row(&mut self) {
        self.ends.truncate(self.start(self.rows.len() as u32) as usize);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }

    /// Ends the row at hand, which has no pattern, so that its line takes the place of its variables.
    pub(crate) fn end_row_without_pattern(&mut self, line: &[u8]) {
        self.restart_row();
        self.push(line, line.len());
        self.end_row();
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(0);
        self.ends.clear();
        self.rows.clear();
    }

    /// The first variable of `row`.
    fn start(&self, row: u32) -> u32 {
        if row == 0 { 0 } else { self.rows[row as usize - 1] }
    }

    #[inline]
    fn get(&self, number: u32) -> &[u8] {
        let (start, end) = self.place(number);
        &self.bytes.as_bytes()[start..end]
    }

    /// Bytes that are short, and what the text goes on with.
    #[inline]
    fn part(&self, start: usize, end: usize) -> Part<'_> {
        let text = self.text(start);
        let block = text.first_chunk().expect("what was put has a block's room behind it");
        (text, Short::of(block, end - start))
    }

    /// Bytes of any length, part by part.
    #[inline]
    fn parts(&self, (start, end): (usize, usize)) -> impl Iterator<Item = Part<'_>> {
        let starts = (start..end).step_by(SHORT_BYTES);
        starts.map(move |start| self.part(start, end.min(start + SHORT_BYTES)))
    }

    /// The text that begins there, and bytes that may be anything.
    #[inline]
    fn text(&self, start: usize) -> &[u8] {
        self.bytes.from(start)
    }

    #[inline]
    fn place(&self, number: u32) -> (usize, usize) {
        let number = number as usize;
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        (start as usize, self.ends[number] as usize)
    }
}

impl std::fmt::Debug for VariablesWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("VariablesWriter").finish_non_exhaustive()
    }
}

impl VariablesWriter {
    pub(crate) fn new(zstd_level: i32) -> std::io::Result<Self> {
        Self::with_groups_of(GROUP_BYTES, zstd_level)
    }

    /// One whose groups end with `group_bytes` of streams before compression.
    pub(super) fn with_groups_of(group_bytes: usize, zstd_level: i32) -> std::io::Result<Self> {
        Ok(Self {
            compressor: zstd::bulk::Compressor::new(zstd_level)?,
            masks: Masks::default(),
            slots: 0,
            groups: Groups::new(group_bytes),
            ids: IdsWriter::default(),
            order: Order::default(),
            starts: Vec::new(),
            slot: SlotValues::default(),
            id: Vec::new(),
        })
    }

    /// The granule whose rows have these patterns and variables.
    pub(crate) fn encode(
        &mut self,
        patterns: &[u32],
        variables: &GranuleVariables,
    ) -> std::io::Result<Vec<u8>> {
        self.masks.clear();
        self.groups.clear();
        self.ids.clear();
        self.order.sort(patterns);
        let order = std::mem::take(&mut self.order);
        let mut starts = std::mem::take(&mut self.starts);
        for rows in order.rows.chunk_by(|a, b| patterns[*a as usize] == patterns[*b as usize]) {
            let pattern = patterns[rows[0] as usize];
            starts.clear();
            starts.extend(rows.iter().map(|row| variables.start(*row)));
            let slots = variables.rows[rows[0] as usize] - starts[0];
            for at in 0..slots {
                let values = Values { of: variables, starts: &starts, at };
                self.slot(pattern == NO_PATTERN, values);
            }
            if self.groups.end_shape(&mut self.compressor)? {
                self.ids.end_group();
            }
        }
        self.starts = starts;
        self.order = order;
        if self.groups.end(&mut self.compressor)? {
            self.ids.end_group();
        }
        self.finish()
    }

    fn slot(&mut self, lines: bool, values: Values<'_>) {
        self.slots += 1;
        let known = self.masks.len();
        if !lines && let Some(zeros) = self.slot.take_numbers(values) {
            let (mask, _) = self.masks.short(zeros);
            self.slot.masks.push(mask);
        } else if lines || !self.take_apart(values) {
            self.masks.truncate(known);
            match values.half_bytes() {
                Some(length) => self.identifiers(length, values),
                None => self.groups.text(values.iter()),
            }
            return;
        }
        self.groups.masked(&self.slot);
    }

    fn identifiers(&mut self, length: usize, values: Values<'_>) {
        self.groups.identifiers(self.ids.begin_slot(length));
        let mut id = std::mem::take(&mut self.id);
        for number in values.numbers() {
            id.clear();
            for (_, part) in values.of.parts(values.of.place(number)) {
                let (half_bytes, length) = part.half_bytes();
                id.extend_from_slice(&half_bytes[..length]);
            }
            self.ids.push(&id);
        }
        self.id = id;
    }

    /// Masks and digits of a slot's values; false where text is smaller.
    fn take_apart(&mut self, values: Values<'_>) -> bool {
        self.slot.clear();
        let mut last = Last::None;
        let mut choice = 0;
        let mut letters = 0;
        for number in values.numbers() {
            self.slot.count += 1;
            let (start, end) = values.of.place(number);
            let changed = if end - start <= SHORT_BYTES {
                self.take_short(values.of.part(start, end), &mut last)
            } else {
                self.take_long(values.of.parts((start, end)), &mut last)
            };
            if let Some(Mask { number, new, plain }) = changed {
                letters += usize::from(new && !plain);
                choice = self.choose(number);
                let count = self.slot.count;
                let hopeless =
                    (32 <= count && count == letters) || (64 <= count && count < letters * 2);
                if CHOICES_MAX < self.slot.masks.len() || hopeless {
                    return false;
                }
            }
            self.slot.choices.push(choice as u8);
        }
        letters * 2 <= self.slot.count
    }

    /// Takes the digits of a value; returns its mask where it is not that of the value before.
    #[inline]
    fn take_short(&mut self, (text, value): Part<'_>, last: &mut Last) -> Option<Mask> {
        let slot = &mut self.slot;
        let digits = value.digits();
        let mask = value.mask(digits);
        slot.put(text, value, digits);
        let before = std::mem::replace(last, Last::Short(value, mask));
        if let Last::Short(before, mask_before) = before
            && mask_before == mask
        {
            slot.compared += digits.count();
            slot.equal += value.equal_digits(before, digits);
            return None;
        }
        let (number, new) = self.masks.short(mask);
        Some(Mask { number, new, plain: digits.are_all_of(value) })
    }

    /// The same for a value of any length.
    fn take_long<'v>(
        &mut self,
        parts: impl Iterator<Item = Part<'v>>,
        last: &mut Last,
    ) -> Option<Mask> {
        let slot = &mut self.slot;
        std::mem::swap(&mut slot.mask, &mut slot.mask_before);
        slot.mask.truncate(0);
        let start = slot.digits.len();
        for (text, value) in parts {
            let digits = value.digits();
            slot.put(text, value, digits);
            let (mask, length) = value.mask(digits).to_bytes();
            slot.mask.put(&mask, length);
        }
        let digits = slot.digits.len() - start;
        let before = std::mem::replace(last, Last::Long);
        let mask = slot.mask.as_bytes();
        if before == Last::Long && mask == slot.mask_before.as_bytes() {
            slot.compared += digits;
            let (before, now) = slot.digits.as_bytes()[start - digits..].split_at(digits);
            slot.equal += before.iter().zip(now).filter(|(a, b)| a == b).count();
            return None;
        }
        let (number, new) = self.masks.long(mask);
        Some(Mask { number, new, plain: digits == mask.len() })
    }

    /// The number that a mask has in the slot at hand.
    #[inline]
    fn choose(&mut self, mask: u32) -> u32 {
        let used = self.masks.used(mask);
        if used.0 != self.slots {
            *used = (self.slots, self.slot.masks.len() as u32);
            self.slot.masks.push(mask);
        }
        used.1
    }

    fn finish(&mut self) -> std::io::Result<Vec<u8>> {
        let mut masks = Vec::with_capacity(self.masks.bytes() + self.masks.len() + 2);
        wire::put_varint(&mut masks, self.masks.len() as u64);
        self.masks.iter().for_each(|mask| wire::put_bytes(&mut masks, mask));
        let mut out = Vec::with_capacity(self.groups.bytes() + masks.len() + self.ids.bytes());
        put_stream(&mut self.compressor, &masks, 0, &mut out)?;
        let ids = self.ids.finish(&mut self.compressor, &mut out)?;
        self.groups.finish(&ids, &mut out);
        Ok(out)
    }
}

impl Order {
    /// Rows by pattern, those of one pattern in their order.
    fn sort(&mut self, patterns: &[u32]) {
        let most = patterns.iter().max().map_or(0, |most| *most as usize);
        self.starts.clear();
        self.starts.resize(most + 2, 0);
        for pattern in patterns {
            self.starts[*pattern as usize + 1] += 1;
        }
        let mut start = 0;
        for next in &mut self.starts {
            start += *next;
            *next = start;
        }
        self.rows.clear();
        self.rows.resize(patterns.len(), 0);
        for (pattern, row) in patterns.iter().zip(0..) {
            let place = &mut self.starts[*pattern as usize];
            self.rows[*place as usize] = row;
            *place += 1;
        }
    }
}

impl SlotValues {
    fn clear(&mut self) {
        self.masks.clear();
        self.choices.clear();
        self.digits.truncate(0);
        (self.count, self.compared, self.equal) = (0, 0, 0);
    }

    /// Takes values that are all digits and of one length, as most are, and returns their mask;
    /// `None` for others.
    fn take_numbers(&mut self, values: Values<'_>) -> Option<ShortMask> {
        self.clear();
        match values.iter().next()?.len() {
            1 => self.take_fixed::<1>(values),
            2 => self.take_fixed::<2>(values),
            3 => self.take_fixed::<3>(values),
            4 => self.take_fixed::<4>(values),
            5 => self.take_fixed::<5>(values),
            6 => self.take_fixed::<6>(values),
            8 => self.take_fixed::<8>(values),
            10 => self.take_fixed::<10>(values),
            // Few enough for the road that takes everything.
            _ => None,
        }
    }

    /// For one length known when this is compiled, a value is a load or two.
    fn take_fixed<const N: usize>(&mut self, values: Values<'_>) -> Option<ShortMask> {
        let mut last = [0; N];
        for number in values.numbers() {
            let (start, end) = values.of.place(number);
            let text = values.of.text(start);
            let value = text.first_chunk::<N>().filter(|_| end - start == N)?;
            if !value.iter().fold(true, |plain, byte| plain & byte.is_ascii_digit()) {
                return None;
            }
            self.digits.put(text, N);
            self.equal += value.iter().zip(&last).map(|(a, b)| usize::from(a == b)).sum::<usize>();
            last = *value;
            self.count += 1;
        }
        self.compared = (self.count - 1) * N;
        Some(ShortMask::zeros(N))
    }

    /// Takes the digits of what `text` begins with.
    #[inline]
    fn put(&mut self, text: &[u8], value: Short, digits: Digits) {
        if digits.are_all_of(value) {
            self.digits.put(text, digits.count());
        } else {
            digits.runs(|start, length| {
                self.digits.put(&text[start..], length);
            });
        }
    }

    /// Random digits equal the one before in one case of ten.
    pub(super) fn repetitive(&self) -> bool {
        self.compared < self.equal * 4
    }
}
