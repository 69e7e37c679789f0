//! The groups of a granule being written: the streams of some patterns after the other.
//!
//! Most reads want the lines of a few patterns. Streams are compressed, and what is compressed can
//! be read from its beginning only, so that streams of the whole granule would be decompressed for
//! each of them; those of a group are, instead.

use super::write::SlotValues;
use super::{digits, slot};
use crate::wire;

#[derive(Debug)]
pub(super) struct Groups {
    /// Bytes of streams before compression, at which a group ends with the pattern at hand.
    bytes_max: usize,
    /// Of all groups.
    slots: Vec<u8>,
    /// Of the group at hand.
    streams: Streams,
    shapes: u64,
    slots_start: usize,
    text_max: usize,
    /// Groups that ended, end to end.
    ended: Vec<u8>,
    directory: Vec<Entry>,
}

/// What the directory says of a group, beside its identifiers.
#[derive(Debug)]
struct Entry {
    shapes: u64,
    bytes: u64,
    crc: u32,
    slots_bytes: u64,
    /// Bytes of its longest text.
    text_max: u64,
}

/// What the variables of some patterns become.
#[derive(Debug, Default)]
struct Streams {
    /// Which of several masks each value has.
    choices: Vec<u8>,
    /// ASCII digits that are as good as random.
    random: Vec<u8>,
    /// ASCII digits that repeat.
    repetitive: Vec<u8>,
    lengths: Vec<u8>,
    text: Vec<u8>,
}

impl Groups {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            slots: Vec::new(),
            streams: Streams::default(),
            shapes: 0,
            slots_start: 0,
            text_max: 0,
            ended: Vec::new(),
            directory: Vec::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.ended.clear();
        self.directory.clear();
        self.begin();
    }

    /// Begins the next group.
    fn begin(&mut self) {
        self.streams.clear();
        (self.shapes, self.slots_start, self.text_max) = (0, self.slots.len(), 0);
    }

    /// The next slot's values have masks.
    pub(super) fn masked(&mut self, slot: &SlotValues) {
        self.streams.masked(slot, &mut self.slots);
    }

    /// The next slot's values are kept as they are.
    pub(super) fn text<'a>(&mut self, values: impl Iterator<Item = &'a [u8]>) {
        wire::put_varint(&mut self.slots, slot::TEXT);
        let longest = self.streams.text(values);
        self.text_max = self.text_max.max(longest);
    }

    /// The next slot's values are identifiers of this list.
    pub(super) fn identifiers(&mut self, list: usize) {
        wire::put_varint(&mut self.slots, slot::IDENTIFIERS);
        wire::put_varint(&mut self.slots, list as u64);
    }

    /// Ends a pattern; whether its group ended with it.
    pub(super) fn end_shape(
        &mut self,
        compressor: &mut zstd::bulk::Compressor<'_>,
    ) -> std::io::Result<bool> {
        self.shapes += 1;
        let bytes = self.slots.len() - self.slots_start + self.streams.bytes();
        if self.bytes_max <= bytes { self.end(compressor) } else { Ok(false) }
    }

    /// Ends the group at hand; false where there is none.
    pub(super) fn end(
        &mut self,
        compressor: &mut zstd::bulk::Compressor<'_>,
    ) -> std::io::Result<bool> {
        if self.shapes == 0 {
            return Ok(false);
        }
        let start = self.ended.len();
        self.streams.put(compressor, &mut self.ended)?;
        let group = &self.ended[start..];
        self.directory.push(Entry {
            shapes: self.shapes,
            bytes: group.len() as u64,
            crc: crc32c::crc32c(group),
            slots_bytes: (self.slots.len() - self.slots_start) as u64,
            text_max: self.text_max as u64,
        });
        self.begin();
        Ok(true)
    }

    /// Bytes of all groups that ended.
    pub(super) fn bytes(&self) -> usize {
        self.ended.len()
    }

    /// Appends slots and all groups; `ids` has of each group what stands in the directory of its
    /// identifiers.
    pub(super) fn finish(
        &self,
        ids: &[Vec<u64>],
        compressor: &mut zstd::bulk::Compressor<'_>,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        put_stream(compressor, &self.slots, 0, out)?;
        wire::put_varint(out, self.directory.len() as u64);
        for (entry, ids) in self.directory.iter().zip(ids) {
            wire::put_varint(out, entry.shapes);
            wire::put_varint(out, entry.bytes);
            out.extend_from_slice(&entry.crc.to_le_bytes());
            wire::put_varint(out, entry.slots_bytes);
            wire::put_varint(out, entry.text_max);
            ids.iter().for_each(|number| wire::put_varint(out, *number));
        }
        out.extend_from_slice(&self.ended);
        Ok(())
    }
}

impl Streams {
    fn clear(&mut self) {
        for stream in [
            &mut self.choices,
            &mut self.random,
            &mut self.repetitive,
            &mut self.lengths,
            &mut self.text,
        ] {
            stream.clear();
        }
    }

    fn masked(&mut self, slot: &SlotValues, slots: &mut Vec<u8>) {
        let repetitive = slot.repetitive();
        if let [mask] = slot.masks[..] {
            let code = slot::MASK + 2 * u64::from(mask) + u64::from(repetitive);
            wire::put_varint(slots, code);
            if repetitive {
                // Digit by digit, so that what repeats lies together.
                let digits = slot.digits.as_bytes();
                let width = digits.len() / slot.count.max(1);
                for at in 0..width {
                    self.repetitive.extend(digits.iter().skip(at).step_by(width));
                }
                return;
            }
        } else {
            wire::put_varint(slots, slot::CHOICES + u64::from(repetitive));
            wire::put_varint(slots, slot.masks.len() as u64);
            slot.masks.iter().for_each(|mask| wire::put_varint(slots, (*mask).into()));
            self.choices.extend_from_slice(&slot.choices);
        }
        let digits = if repetitive { &mut self.repetitive } else { &mut self.random };
        digits.extend_from_slice(slot.digits.as_bytes());
    }

    /// Takes texts, and returns the length of the longest.
    fn text<'a>(&mut self, values: impl Iterator<Item = &'a [u8]>) -> usize {
        let mut longest = 0;
        for value in values {
            longest = longest.max(value.len());
            wire::put_varint(&mut self.lengths, value.len() as u64);
            self.text.extend_from_slice(value);
        }
        longest
    }

    /// What has to be read before the last value is reached.
    fn bytes(&self) -> usize {
        let Self { choices, random: _, repetitive, lengths, text } = self;
        [choices, repetitive, lengths, text].map(Vec::len).iter().sum()
    }

    fn put(
        &self,
        compressor: &mut zstd::bulk::Compressor<'_>,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let Self { choices, random, repetitive, lengths, text } = self;
        for stream in [choices, repetitive, lengths, text] {
            put_stream(compressor, stream, 0, out)?;
        }
        wire::put_varint(out, random.len() as u64);
        digits::pack(random, out);
        Ok(())
    }
}

/// Length before compression, length stored, bytes; stored as they are when zstd saves nothing, or
/// less than one part in `saving`.
pub(super) fn put_stream(
    compressor: &mut zstd::bulk::Compressor<'_>,
    plain: &[u8],
    saving: usize,
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    wire::put_varint(out, plain.len() as u64);
    let packed = if plain.is_empty() { Vec::new() } else { compressor.compress(plain)? };
    let worth = plain.len() - plain.len().checked_div(saving).unwrap_or(0);
    wire::put_bytes(out, if packed.len() < worth { &packed } else { plain });
    Ok(())
}
