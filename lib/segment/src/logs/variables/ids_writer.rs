//! Listing the identifiers of a granule being written.

use std::collections::BTreeMap;

use super::groups::put_stream;
use super::ids::number_bits;
use crate::logs::bits::BitWriter;
use crate::logs::intern::Interner;
use crate::wire;

/// What compressing a list must save, as a part of it: most are as good as random, and one that is
/// stored as it is can be read where it is.
const LIST_SAVING: usize = 8;

/// Lists whose memory is kept from granule to granule.
const LISTS_KEPT: usize = 16;

#[derive(Debug, Default)]
pub(super) struct IdsWriter {
    lists: Vec<List>,
    /// Which list has the identifiers of a length.
    by_length: BTreeMap<usize, usize>,
    slots: Vec<Slot>,
    /// Of each value in order, its number in its list.
    numbers: Vec<u32>,
    /// How many slots there were when each group ended.
    groups: Vec<usize>,
}

#[derive(Debug, Default)]
struct List {
    length: usize,
    ids: Interner,
    values: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    list: usize,
    rows: usize,
}

impl IdsWriter {
    pub(super) fn clear(&mut self) {
        self.lists.truncate(LISTS_KEPT);
        self.by_length.clear();
        self.slots.clear();
        self.numbers.clear();
        self.groups.clear();
    }

    /// Begins a slot of identifiers of `length` characters, and returns the number of their list.
    pub(super) fn begin_slot(&mut self, length: usize) -> usize {
        let next = self.by_length.len();
        let list = *self.by_length.entry(length).or_insert(next);
        if list == next {
            if list == self.lists.len() {
                self.lists.push(List::default());
            }
            self.lists[list].begin(length);
        }
        self.slots.push(Slot { list, rows: 0 });
        list
    }

    /// Adds a value, as half-bytes, to the slot at hand.
    #[inline]
    pub(super) fn push(&mut self, half_bytes: &[u8]) {
        let Some(slot) = self.slots.last_mut() else { return };
        slot.rows += 1;
        let list = &mut self.lists[slot.list];
        list.values += 1;
        self.numbers.push(list.ids.intern(half_bytes));
    }

    /// Bytes that lists and numbers take at most, about.
    pub(super) fn bytes(&self) -> usize {
        let lists = &self.lists[..self.by_length.len()];
        lists.iter().map(|list| list.ids.bytes()).sum::<usize>() + 3 * self.numbers.len()
    }

    pub(super) fn end_group(&mut self) {
        self.groups.push(self.slots.len());
    }

    /// Appends the lists and what the slots say of their values. Returns of each group how many bits
    /// that takes and how many identifiers of each list are new in it.
    pub(super) fn finish(
        &self,
        compressor: &mut zstd::bulk::Compressor<'_>,
        out: &mut Vec<u8>,
    ) -> std::io::Result<Vec<Vec<u64>>> {
        let lists = &self.lists[..self.by_length.len()];
        wire::put_varint(out, lists.len() as u64);
        for list in lists {
            list.put(compressor, out)?;
        }
        let mut bits = BitWriter::default();
        let mut next = vec![0; lists.len()];
        let (mut slots, mut numbers) = (&self.slots[..], &self.numbers[..]);
        let mut groups = Vec::with_capacity(self.groups.len());
        let mut start = 0;
        for end in &self.groups {
            let (bits_before, next_before) = (bits.len(), next.clone());
            let (group, rest) = slots.split_at(end - start);
            for slot in group {
                let (values, rest) = numbers.split_at(slot.rows);
                put_slot(&lists[slot.list], values, &mut next[slot.list], &mut bits);
                numbers = rest;
            }
            let new = next.iter().zip(next_before).map(|(next, before)| u64::from(next - before));
            let bits = (bits.len() - bits_before) as u64;
            groups.push(std::iter::once(bits).chain(new).collect());
            (slots, start) = (rest, *end);
        }
        wire::put_bytes(out, &bits.finish());
        Ok(groups)
    }
}

/// Says of each value whether it is the next one of the list, and of the others which they are.
fn put_slot(list: &List, values: &[u32], next: &mut u32, bits: &mut BitWriter) {
    let mut known = *next;
    for number in values {
        let new = *number == known;
        known += u32::from(new);
        if list.comes_again() {
            bits.put(new.into(), 1);
        }
    }
    let mut known = std::mem::replace(next, known);
    for number in values {
        if *number == known {
            known += 1;
        } else {
            bits.put((*number).into(), number_bits(list.ids.len()));
        }
    }
}

impl List {
    fn begin(&mut self, length: usize) {
        self.length = length;
        self.ids.clear();
        self.values = 0;
    }

    fn comes_again(&self) -> bool {
        self.ids.len() < self.values
    }

    fn put(
        &self,
        compressor: &mut zstd::bulk::Compressor<'_>,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        wire::put_varint(out, self.length as u64);
        wire::put_varint(out, self.ids.len() as u64);
        wire::put_varint(out, self.comes_again().into());
        put_stream(compressor, self.ids.all(), LIST_SAVING, out)
    }
}
