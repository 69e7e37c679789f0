//! Identifiers: lower-case hexadecimal values of one length, as a list of distinct ones and numbers.
//!
//! An identifier is as good as random, so that nothing makes it smaller, but many come again: a
//! trace id stands in every line of its request. So a granule lists each identifier once, with
//! those of its length, and a slot tells of each value whether it is the next one of the list or
//! which one it is. Any value is found without going through others, and a text is looked for
//! among distinct ones.
//!
//! What always holds: a number that the lists do not have is [`Malformed`].

use super::STREAM_BYTES_MAX;
use super::steps::stride;
use super::streams::{self, Stream, spelled_out};
use crate::logs::bits::BitReader;
use crate::wire::{Malformed, Reader};

const NO_SUCH_ID: Malformed = Malformed("a slot names an identifier that is not there");

/// Bits that are read at once.
const BITS_AT_ONCE: usize = 56;

/// The identifiers of a granule.
#[derive(Debug, Default)]
pub(super) struct Ids<'a> {
    lists: Vec<List<'a>>,
    /// What slots say of their values, one slot after the other.
    bits: &'a [u8],
}

/// The distinct identifiers of one length, in the order in which they first come.
#[derive(Debug)]
struct List<'a> {
    /// Characters of each.
    length: usize,
    count: usize,
    /// Whether any comes again; otherwise slots take what is next in the list, and no bits.
    again: bool,
    half_bytes: Stream<'a>,
}

/// A list to be searched.
#[derive(Debug)]
pub(super) struct SpelledList {
    /// Characters of an identifier.
    pub(super) length: usize,
    /// Characters from one to the next.
    pub(super) stride: usize,
    pub(super) text: Vec<u8>,
}

/// How far lists and bits have been handed out to slots.
#[derive(Clone, Debug)]
pub(super) struct IdSteps {
    bit: usize,
    /// By list.
    next: Vec<usize>,
    /// Of all values so far.
    characters: usize,
}

/// The values of one slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdSlot {
    list: usize,
    rows: usize,
    bit: usize,
    /// The first one in the list that no slot before has had.
    next: usize,
}

impl<'a> Ids<'a> {
    /// Reads what [`super::ids_writer::IdsWriter::finish`] wrote.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = reader.count(5)?;
        let mut lists = Vec::with_capacity(count);
        for _ in 0..count {
            let (length, count) = (reader.number()?, reader.number()?);
            let again = reader.varint()? == 1;
            let half_bytes = Stream::read(reader)?;
            let list = List { length, count, again, half_bytes };
            if count == 0 || list.stride().checked_mul(count) != Some(2 * list.half_bytes.len()) {
                return Err(Malformed("a list of identifiers has another length than it says"));
            }
            lists.push(list);
        }
        Ok(Self { lists, bits: reader.bytes()? })
    }

    /// Where slots begin to take identifiers.
    pub(super) fn steps(&self) -> IdSteps {
        IdSteps { bit: 0, next: vec![0; self.lists.len()], characters: 0 }
    }

    /// Makes lists readable.
    pub(super) fn load(&mut self) -> Result<(), Malformed> {
        self.lists.iter_mut().try_for_each(|list| list.half_bytes.load().map(drop))
    }

    /// Characters of each value of a slot, and how many it takes in what [`Ids::spell`] appends.
    pub(super) fn sizes(&self, slot: &IdSlot) -> (usize, usize) {
        let list = &self.lists[slot.list];
        (list.length, list.stride())
    }

    /// Appends the values of a slot, one after the other. Lists are loaded.
    pub(super) fn spell(&self, slot: &IdSlot, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let list = &self.lists[slot.list];
        let half_bytes = list.half_bytes.plain();
        let (stride, bytes) = (list.stride(), list.stride() / 2);
        let start = out.len();
        out.resize(start + slot.rows * stride, 0);
        let values = &mut out[start..];
        self.numbers(slot, |rank, number| {
            let id = half_bytes.get(number * bytes..(number + 1) * bytes).unwrap_or_default();
            streams::spell(id, &mut values[rank * stride..(rank + 1) * stride]);
        })
    }

    /// Calls `visit` with the rank of each value of a slot and its number in the slot's list.
    pub(super) fn numbers(
        &self,
        slot: &IdSlot,
        mut visit: impl FnMut(usize, usize),
    ) -> Result<(), Malformed> {
        let list = &self.lists[slot.list];
        let mut next = slot.next;
        if !list.again {
            (0..slot.rows).for_each(|rank| visit(rank, next + rank));
            return Ok(());
        }
        let mut is_next = BitReader::at(self.bits, slot.bit);
        let mut known = BitReader::at(self.bits, slot.bit + slot.rows);
        for start in (0..slot.rows).step_by(BITS_AT_ONCE) {
            let ranks = start..slot.rows.min(start + BITS_AT_ONCE);
            let are_next = is_next.take(ranks.len() as u32)?;
            for rank in ranks {
                let number = if are_next >> (rank - start) & 1 == 1 {
                    next += 1;
                    next - 1
                } else {
                    known.take(list.number_bits())? as usize
                };
                if list.count <= number {
                    return Err(NO_SUCH_ID);
                }
                visit(rank, number);
            }
        }
        Ok(())
    }

    /// All lists, spelled out.
    pub(super) fn spelled_out(&mut self) -> Result<Vec<SpelledList>, Malformed> {
        self.load()?;
        let spelled = |list: &List<'_>| SpelledList {
            length: list.length,
            stride: list.stride(),
            text: spelled_out(list.half_bytes.plain()),
        };
        Ok(self.lists.iter().map(spelled).collect())
    }
}

impl IdSteps {
    /// Goes on to where a group ends that has so many bits and takes so many new identifiers.
    pub(super) fn over(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        self.bit = add(self.bit, reader.number()?)?;
        for next in &mut self.next {
            *next = add(*next, reader.number()?)?;
        }
        Ok(())
    }

    /// The next `rows` values, of list number `list`.
    pub(super) fn next(
        &mut self,
        ids: &Ids<'_>,
        list: usize,
        rows: usize,
    ) -> Result<IdSlot, Malformed> {
        let (of, next) = ids.lists.get(list).zip(self.next.get_mut(list)).ok_or(NO_SUCH_ID)?;
        let slot = IdSlot { list, rows, bit: self.bit, next: *next };
        let characters = rows.checked_mul(of.stride()).ok_or(NO_SUCH_ID)?;
        self.characters = add(self.characters, characters)?;
        if of.again {
            let new = ones(ids.bits, self.bit, rows)?;
            *next += new;
            self.bit += rows + (rows - new) * of.number_bits() as usize;
        } else {
            *next = add(*next, rows)?;
        }
        if of.count < *next || ids.bits.len() * 8 < self.bit {
            return Err(NO_SUCH_ID);
        }
        Ok(slot)
    }
}

impl List<'_> {
    /// Characters that an identifier takes when half-bytes are spelled out.
    fn stride(&self) -> usize {
        stride(self.length)
    }

    fn number_bits(&self) -> u32 {
        number_bits(self.count)
    }
}

/// Bits that tell `count` identifiers apart.
pub(super) fn number_bits(count: usize) -> u32 {
    count.next_power_of_two().trailing_zeros().min(32)
}

/// How many of the next `count` bits are ones.
fn ones(bits: &[u8], at: usize, count: usize) -> Result<usize, Malformed> {
    let mut reader = BitReader::at(bits, at);
    let (mut rest, mut ones) = (count, 0);
    while 0 < rest {
        let take = rest.min(BITS_AT_ONCE);
        ones += reader.take(take as u32)?.count_ones() as usize;
        rest -= take;
    }
    Ok(ones)
}

/// The sum, as long as it stays within what a granule may hold.
fn add(a: usize, b: usize) -> Result<usize, Malformed> {
    a.checked_add(b).filter(|sum| *sum <= 2 * STREAM_BYTES_MAX).ok_or(NO_SUCH_ID)
}
