//! Taking the variables of a granule apart.

use super::by_slot::{BySlot, Values};
use super::collected::{Part, Value};
use super::groups::{Groups, put_stream};
use super::ids_writer::IdsWriter;
use super::masks::Masks;
use super::{CHOICES_MAX, GROUP_BYTES, HALF_BYTES_MIN};
use crate::logs::pieces::Pieces;
use crate::logs::short::{Digits, Short, ShortMask};
use crate::wire;

/// Encodes granule after granule; what it allocates is used again.
pub(crate) struct VariablesWriter {
    compressor: zstd::bulk::Compressor<'static>,
    masks: Masks,
    slots: u32,
    groups: Groups,
    ids: IdsWriter,
    slot: SlotValues,
    by_mask: Vec<bool>,
    /// The half-bytes of one value.
    id: Vec<u8>,
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

/// How the values of a slot are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Taken apart, into what [`SlotValues`] holds.
    Masks,
    /// All of this many hexadecimal digits.
    Identifiers(usize),
    Text,
}

/// The value before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    None,
    Short(Short, ShortMask),
    Long,
}

/// A value's mask.
#[derive(Clone, Copy, Debug)]
struct Mask {
    number: u32,
    /// No value of the granule had it before.
    new: bool,
    /// The value is nothing but digits.
    plain: bool,
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
            slot: SlotValues::default(),
            by_mask: Vec::new(),
            id: Vec::new(),
        })
    }

    /// Encodes one granule, and says how many of the last bytes are groups.
    pub(crate) fn encode(&mut self, granule: &BySlot) -> std::io::Result<(Vec<u8>, usize)> {
        self.masks.clear();
        self.groups.clear();
        self.ids.clear();
        self.by_mask.clear();
        for slots in granule.shapes() {
            slots.iter().for_each(|values| self.slot(slots.are_lines(), values));
            if self.groups.end_shape(&mut self.compressor)? {
                self.ids.end_group();
            }
        }
        if self.groups.end(&mut self.compressor)? {
            self.ids.end_group();
        }
        self.finish()
    }

    fn slot(&mut self, lines: bool, values: Values<'_>) {
        self.slots += 1;
        let form = self.form(lines, values);
        match form {
            Form::Masks => self.groups.masked(&self.slot),
            Form::Identifiers(length) => self.identifiers(length, values),
            Form::Text => self.groups.text(values.iter().map(Value::bytes)),
        }
        let filtered = |mask: &u32| self.masks.filtered(*mask);
        self.by_mask.push(form == Form::Masks && !self.slot.masks.iter().any(filtered));
    }

    /// Chooses how the values of a slot are kept, and takes them apart where it is by masks.
    fn form(&mut self, lines: bool, values: Values<'_>) -> Form {
        if !lines {
            if let Some(zeros) = self.slot.take_numbers(values) {
                let (mask, _) = self.masks.short(zeros);
                self.slot.masks.push(mask);
                return Form::Masks;
            }
            if let Some(length) = long_identifiers(values) {
                return Form::Identifiers(length);
            }
            let known = self.masks.len();
            if self.take_apart(values) {
                return Form::Masks;
            }
            self.masks.truncate(known);
        }
        half_bytes(values).map_or(Form::Text, Form::Identifiers)
    }

    /// The masks of the granule encoded last.
    pub(crate) fn masks(&self) -> impl Iterator<Item = &[u8]> {
        self.masks.iter()
    }

    /// By slot of the granule encoded last: whether its values have masks and the token filter holds
    /// none of them.
    pub(crate) fn by_mask(&self) -> &[bool] {
        &self.by_mask
    }

    fn identifiers(&mut self, length: usize, values: Values<'_>) {
        self.groups.identifiers(self.ids.begin_slot(length));
        let mut id = std::mem::take(&mut self.id);
        for value in values.iter() {
            id.clear();
            for (_, part) in value.parts() {
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
        for value in values.iter() {
            self.slot.count += 1;
            let changed = match value.short() {
                Some(short) => self.take_short((value.text, short), &mut last),
                None => self.take_long(value.parts(), &mut last),
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

    fn finish(&mut self) -> std::io::Result<(Vec<u8>, usize)> {
        let mut masks = Vec::with_capacity(self.masks.bytes() + self.masks.len() + 2);
        wire::put_varint(&mut masks, self.masks.len() as u64);
        self.masks.iter().for_each(|mask| wire::put_bytes(&mut masks, mask));
        let mut out = Vec::with_capacity(self.groups.bytes() + masks.len() + self.ids.bytes());
        put_stream(&mut self.compressor, &masks, 0, &mut out)?;
        let ids = self.ids.finish(&mut self.compressor, &mut out)?;
        self.groups.finish(&ids, &mut self.compressor, &mut out)?;
        Ok((out, self.groups.bytes()))
    }
}

/// The length of identifiers so long that their masks hardly ever are alike.
fn long_identifiers(values: Values<'_>) -> Option<usize> {
    let mut iter = values.iter();
    let (first, second) = (iter.next()?, iter.next()?);
    let long = 16 <= first.length && first.digits() != second.digits();
    if long { half_bytes(values) } else { None }
}

/// The length of all values, where they are hexadecimal and worth half-bytes.
fn half_bytes(values: Values<'_>) -> Option<usize> {
    let length = values.iter().next()?.length;
    let half = |value: Value<'_>| {
        value.length == length && value.parts().all(|(_, part)| part.is_hexadecimal())
    };
    (HALF_BYTES_MIN <= length && values.iter().all(half)).then_some(length)
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
        match values.iter().next()?.length {
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
        for Value { text, length } in values.iter() {
            let value = text.first_chunk::<N>().filter(|_| length == N)?;
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
            for (start, length) in digits.runs() {
                self.digits.put(&text[start..], length);
            }
        }
    }

    /// Random digits equal the one before in one case of ten.
    pub(super) fn repetitive(&self) -> bool {
        self.compared < self.equal * 4
    }
}
