//! Taking the variables of a granule apart.

use super::digits;
use super::{CHOICES_MAX, HALF_BYTES_MIN, slot};
use crate::logs::intern::Interner;
use crate::logs::pattern::NO_PATTERN;
use crate::logs::pieces::Pieces;
use crate::wire;

/// Encodes granule after granule; what it allocates is used again.
pub(crate) struct VariablesWriter {
    compressor: zstd::bulk::Compressor<'static>,
    masks: Interner,
    /// By mask: the slot that used it last, and the number it has there.
    used: Vec<(u32, u32)>,
    slots: u32,
    streams: Streams,
    order: Order,
    /// Where the variables of the rows of one pattern begin.
    starts: Vec<u32>,
    slot: SlotValues,
}

/// What a granule's variables become.
#[derive(Debug, Default)]
struct Streams {
    slots: Vec<u8>,
    /// Which of several masks each value has.
    choices: Vec<u8>,
    /// ASCII digits that are as good as random.
    random: Vec<u8>,
    /// ASCII digits that repeat.
    repetitive: Vec<u8>,
    lengths: Vec<u8>,
    text: Vec<u8>,
    half_bytes: Vec<u8>,
}

/// A granule's rows by pattern.
#[derive(Debug, Default)]
struct Order {
    rows: Vec<u32>,
    keys: Vec<u64>,
}

/// The values of one slot, on their way.
#[derive(Debug, Default)]
struct SlotValues {
    masks: Vec<u32>,
    choices: Vec<u8>,
    digits: Vec<u8>,
    mask: Vec<u8>,
    count: usize,
    /// Digits compared with those of the value before, and how many of them were equal.
    compared: usize,
    equal: usize,
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
        let number = number as usize;
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.bytes.as_bytes()[start as usize..self.ends[number] as usize]
    }
}

impl std::fmt::Debug for VariablesWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("VariablesWriter").finish_non_exhaustive()
    }
}

impl VariablesWriter {
    pub(crate) fn new(zstd_level: i32) -> std::io::Result<Self> {
        Ok(Self {
            compressor: zstd::bulk::Compressor::new(zstd_level)?,
            masks: Interner::default(),
            used: Vec::new(),
            slots: 0,
            streams: Streams::default(),
            order: Order::default(),
            starts: Vec::new(),
            slot: SlotValues::default(),
        })
    }

    /// The granule whose rows have these patterns and variables.
    pub(crate) fn encode(
        &mut self,
        patterns: &[u32],
        variables: &GranuleVariables,
    ) -> std::io::Result<Vec<u8>> {
        self.masks.clear();
        self.used.clear();
        self.streams.clear();
        self.order.sort(patterns);
        let order = std::mem::take(&mut self.order);
        let mut starts = std::mem::take(&mut self.starts);
        for rows in order.rows.chunk_by(|a, b| patterns[*a as usize] == patterns[*b as usize]) {
            let pattern = patterns[rows[0] as usize];
            starts.clear();
            starts.extend(rows.iter().map(|row| variables.start(*row)));
            let slots = variables.rows[rows[0] as usize] - starts[0];
            for at in 0..slots {
                let values = starts.iter().map(|start| variables.get(start + at));
                self.slot(pattern == NO_PATTERN, values);
            }
        }
        self.starts = starts;
        self.order = order;
        self.finish()
    }

    fn slot<'v>(&mut self, lines: bool, values: impl Iterator<Item = &'v [u8]> + Clone) {
        self.slots += 1;
        let known = self.masks.len();
        let length = values.clone().next().map_or(0, <[u8]>::len);
        if !lines && self.slot.take_numbers(length, values.clone()) {
            let mask = self.masks.intern(ZEROS.get(..length).unwrap_or_default());
            self.used.resize(self.masks.len(), (0, 0));
            self.slot.masks.push(mask);
        } else if lines || !self.take_apart(values.clone()) {
            self.masks.truncate(known);
            self.used.truncate(known);
            self.streams.text(values);
            return;
        }
        self.streams.masked(&self.slot);
    }

    /// Masks and digits of a slot's values; false where text is smaller.
    fn take_apart<'v>(&mut self, values: impl Iterator<Item = &'v [u8]>) -> bool {
        let slot = &mut self.slot;
        slot.clear();
        let mut last: &[u8] = &[];
        let mut choice = 0;
        let mut letters = 0;
        for value in values {
            let start = slot.digits.len();
            let same = slot.count != 0 && value.len() == last.len() && same_mask(last, value);
            slot.count += 1;
            if same {
                slot.digits.extend(value.iter().filter(|byte| byte.is_ascii_digit()));
                let digits = slot.digits.len() - start;
                slot.compared += digits;
                let (before, now) = slot.digits[start - digits..].split_at(digits);
                slot.equal += before.iter().zip(now).filter(|(a, b)| a == b).count();
            } else {
                slot.mask.clear();
                slot.mask.extend_from_slice(value);
                for byte in slot.mask.iter_mut().filter(|byte| byte.is_ascii_digit()) {
                    slot.digits.push(*byte);
                    *byte = b'0';
                }
                let mask = self.masks.intern(&slot.mask);
                if self.used.len() == mask as usize {
                    self.used.push((0, 0));
                    let plain = slot.digits.len() - start == value.len();
                    letters += usize::from(!plain);
                }
                let used = &mut self.used[mask as usize];
                if used.0 != self.slots {
                    *used = (self.slots, slot.masks.len() as u32);
                    slot.masks.push(mask);
                }
                choice = used.1;
                let hopeless = 64 <= slot.count && slot.count < letters * 2;
                if CHOICES_MAX < slot.masks.len() || hopeless {
                    return false;
                }
            }
            last = value;
            slot.choices.push(choice as u8);
        }
        letters * 2 <= slot.count
    }

    fn finish(&mut self) -> std::io::Result<Vec<u8>> {
        let streams = &mut self.streams;
        let mut masks = Vec::with_capacity(self.masks.bytes() + self.masks.len() + 2);
        wire::put_varint(&mut masks, self.masks.len() as u64);
        self.masks.iter().for_each(|mask| wire::put_bytes(&mut masks, mask));
        let mut out = Vec::with_capacity(
            digits::packed_bytes(streams.random.len()) + streams.repetitive.len() / 4 + 1_024,
        );
        for stream in [
            &masks,
            &streams.slots,
            &streams.choices,
            &streams.repetitive,
            &streams.lengths,
            &streams.text,
            &streams.half_bytes,
        ] {
            put_stream(&mut self.compressor, stream, &mut out)?;
        }
        wire::put_varint(&mut out, streams.random.len() as u64);
        digits::pack(&streams.random, &mut out);
        Ok(out)
    }
}

/// Length before compression, length stored, bytes; stored as they are when zstd saves nothing.
fn put_stream(
    compressor: &mut zstd::bulk::Compressor<'_>,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    wire::put_varint(out, plain.len() as u64);
    let packed = if plain.is_empty() { Vec::new() } else { compressor.compress(plain)? };
    let smaller = packed.len() < plain.len();
    wire::put_bytes(out, if smaller { &packed } else { plain });
    Ok(())
}

/// The mask of a number.
const ZEROS: &[u8] = b"0000000000";

/// Whether two values of one length differ in digits only.
fn same_mask(a: &[u8], b: &[u8]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b || (a.is_ascii_digit() && b.is_ascii_digit()))
}

impl Order {
    /// Rows by pattern, those of one pattern in their order.
    fn sort(&mut self, patterns: &[u32]) {
        self.keys.clear();
        let keys = patterns.iter().zip(0_u64..);
        self.keys.extend(keys.map(|(pattern, row)| u64::from(*pattern) << 32 | row));
        self.keys.sort_unstable();
        self.rows.clear();
        self.rows.extend(self.keys.iter().map(|key| *key as u32));
    }
}

impl SlotValues {
    fn clear(&mut self) {
        self.masks.clear();
        self.choices.clear();
        self.digits.clear();
        (self.count, self.compared, self.equal) = (0, 0, 0);
    }

    /// Takes values that are all digits and of one length, as most are; false for others.
    fn take_numbers<'v>(&mut self, length: usize, values: impl Iterator<Item = &'v [u8]>) -> bool {
        self.clear();
        match length {
            1 => self.take_fixed::<1>(values),
            2 => self.take_fixed::<2>(values),
            3 => self.take_fixed::<3>(values),
            4 => self.take_fixed::<4>(values),
            5 => self.take_fixed::<5>(values),
            6 => self.take_fixed::<6>(values),
            8 => self.take_fixed::<8>(values),
            10 => self.take_fixed::<10>(values),
            // Few enough for the road that takes everything.
            _ => false,
        }
    }

    /// For one length known when this is compiled, a value is a load or two.
    fn take_fixed<'v, const N: usize>(&mut self, values: impl Iterator<Item = &'v [u8]>) -> bool {
        let mut last = [0; N];
        for value in values {
            let Ok(value) = <[u8; N]>::try_from(value) else { return false };
            if !value.iter().fold(true, |plain, byte| plain & byte.is_ascii_digit()) {
                return false;
            }
            self.digits.extend_from_slice(&value);
            self.equal += value.iter().zip(&last).map(|(a, b)| usize::from(a == b)).sum::<usize>();
            last = value;
            self.count += 1;
        }
        self.compared = (self.count - 1) * N;
        true
    }

    /// Random digits equal the one before in one case of ten.
    fn repetitive(&self) -> bool {
        self.compared < self.equal * 4
    }
}

impl Streams {
    fn clear(&mut self) {
        for stream in [
            &mut self.slots,
            &mut self.choices,
            &mut self.random,
            &mut self.repetitive,
            &mut self.lengths,
            &mut self.text,
            &mut self.half_bytes,
        ] {
            stream.clear();
        }
    }

    fn masked(&mut self, slot: &SlotValues) {
        let repetitive = slot.repetitive();
        if let [mask] = slot.masks[..] {
            let code = slot::MASK + 2 * u64::from(mask) + u64::from(repetitive);
            wire::put_varint(&mut self.slots, code);
            if repetitive {
                // Digit by digit, so that what repeats lies together.
                let width = slot.digits.len() / slot.count.max(1);
                for at in 0..width {
                    self.repetitive.extend(slot.digits.iter().skip(at).step_by(width));
                }
                return;
            }
        } else {
            wire::put_varint(&mut self.slots, slot::CHOICES + u64::from(repetitive));
            wire::put_varint(&mut self.slots, slot.masks.len() as u64);
            slot.masks.iter().for_each(|mask| wire::put_varint(&mut self.slots, (*mask).into()));
            self.choices.extend_from_slice(&slot.choices);
        }
        let digits = if repetitive { &mut self.repetitive } else { &mut self.random };
        digits.extend_from_slice(&slot.digits);
    }

    fn text<'v>(&mut self, mut values: impl Iterator<Item = &'v [u8]> + Clone) {
        let length = values.clone().next().map_or(0, <[u8]>::len);
        let half = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if HALF_BYTES_MIN <= length
            && values.clone().all(|value| value.len() == length && value.iter().all(half))
        {
            wire::put_varint(&mut self.slots, slot::HALF_BYTES);
            wire::put_varint(&mut self.slots, length as u64);
            let digit = |byte: u8| if byte <= b'9' { byte - b'0' } else { byte - b'a' + 10 };
            for value in values {
                for two in value.chunks(2) {
                    let low = two.get(1).map_or(0, |byte| digit(*byte));
                    self.half_bytes.push(digit(two[0]) << 4 | low);
                }
            }
            return;
        }
        wire::put_varint(&mut self.slots, slot::TEXT);
        values.by_ref().for_each(|value| {
            wire::put_varint(&mut self.lengths, value.len() as u64);
            self.text.extend_from_slice(value);
        });
    }
}
