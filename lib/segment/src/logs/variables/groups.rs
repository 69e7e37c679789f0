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
    /// Of the group at hand.
    streams: Streams,
    shapes: u64,
    /// Groups that ended, end to end.
    ended: Vec<u8>,
    /// Of each how many shapes and bytes it has.
    sizes: Vec<(u64, u64)>,
}

/// What the variables of some patterns become.
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
}

impl Groups {
    pub(super) fn new(bytes_max: usize) -> Self {
        let (ended, sizes) = (Vec::new(), Vec::new());
        Self { bytes_max, streams: Streams::default(), shapes: 0, ended, sizes }
    }

    pub(super) fn clear(&mut self) {
        self.streams.clear();
        self.shapes = 0;
        self.ended.clear();
        self.sizes.clear();
    }

    /// The next slot's values have masks.
    pub(super) fn masked(&mut self, slot: &SlotValues) {
        self.streams.masked(slot);
    }

    /// The next slot's values are kept as they are.
    pub(super) fn text<'a>(&mut self, values: impl Iterator<Item = &'a [u8]>) {
        self.streams.text(values);
    }

    /// The next slot's values are identifiers of this list.
    pub(super) fn identifiers(&mut self, list: usize) {
        wire::put_varint(&mut self.streams.slots, slot::IDENTIFIERS);
        wire::put_varint(&mut self.streams.slots, list as u64);
    }

    /// Ends a pattern; whether its group ended with it.
    pub(super) fn end_shape(
        &mut self,
        compressor: &mut zstd::bulk::Compressor<'_>,
    ) -> std::io::Result<bool> {
        self.shapes += 1;
        if self.bytes_max <= self.streams.bytes() { self.end(compressor) } else { Ok(false) }
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
        self.sizes.push((self.shapes, (self.ended.len() - start) as u64));
        self.streams.clear();
        self.shapes = 0;
        Ok(true)
    }

    /// Bytes of all groups that ended.
    pub(super) fn bytes(&self) -> usize {
        self.ended.len()
    }

    /// Appends all groups; `ids` has of each group what stands in the directory of its identifiers.
    pub(super) fn finish(&self, ids: &[Vec<u64>], out: &mut Vec<u8>) {
        wire::put_varint(out, self.sizes.len() as u64);
        for ((shapes, bytes), ids) in self.sizes.iter().zip(ids) {
            wire::put_varint(out, *shapes);
            wire::put_varint(out, *bytes);
            ids.iter().for_each(|number| wire::put_varint(out, *number));
        }
        out.extend_from_slice(&self.ended);
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
                let digits = slot.digits.as_bytes();
                let width = digits.len() / slot.count.max(1);
                for at in 0..width {
                    self.repetitive.extend(digits.iter().skip(at).step_by(width));
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
        digits.extend_from_slice(slot.digits.as_bytes());
    }

    fn text<'a>(&mut self, values: impl Iterator<Item = &'a [u8]>) {
        wire::put_varint(&mut self.slots, slot::TEXT);
        for value in values {
            wire::put_varint(&mut self.lengths, value.len() as u64);
            self.text.extend_from_slice(value);
        }
    }

    /// What has to be read before the last value is reached.
    fn bytes(&self) -> usize {
        let Self { slots, choices, random: _, repetitive, lengths, text } = self;
        [slots, choices, repetitive, lengths, text].map(Vec::len).iter().sum()
    }

    fn put(
        &self,
        compressor: &mut zstd::bulk::Compressor<'_>,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let Self { slots, choices, random, repetitive, lengths, text } = self;
        for stream in [slots, choices, repetitive, lengths, text] {
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
