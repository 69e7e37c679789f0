//! Small items packed into compressed, checksummed blocks.
//!
//! Items are far smaller than a worthwhile read or zstd frame, so neighbours share a block; an
//! item never crosses blocks.

use std::ops::Range;

use crate::wire::{self, Malformed, Reader, put_varint};

/// Plain bytes after which a block is closed. Larger blocks compress better; every block a
/// question touches is fetched and decompressed whole.
const BLOCK_BYTES_TARGET: usize = 64 << 10;

/// Largest plain block a reader accepts: the target plus one item, generously.
const BLOCK_BYTES_MAX: u32 = 1 << 20;

/// Segments are written once and read often, but the indexer writes them on the hot path: level 3
/// is within 5 % of level 9 here.
const ZSTD_LEVEL: i32 = 3;

/// One block of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Where its compressed bytes lie in the section.
    pub(super) packed: Range<u64>,
    plain_bytes: u32,
    items: u32,
    crc32c: u32,
}

/// Where an item lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) block: u32,
    offset: u32,
    bytes: u32,
}

/// Packs items in order.
#[derive(Debug, Default)]
pub(super) struct BlocksWriter {
    plain: Vec<u8>,
    items: u32,
    section: Vec<u8>,
    blocks: Vec<Block>,
}

impl BlocksWriter {
    pub(super) fn push(&mut self, item: &[u8]) -> std::io::Result<()> {
        self.plain.extend_from_slice(item);
        self.items += 1;
        if self.plain.len() < BLOCK_BYTES_TARGET {
            return Ok(());
        }
        self.close_block()
    }

    /// The section's bytes and its blocks.
    pub(super) fn finish(mut self) -> std::io::Result<(Vec<u8>, Vec<Block>)> {
        if self.items != 0 {
            self.close_block()?;
        }
        Ok((self.section, self.blocks))
    }

    fn close_block(&mut self) -> std::io::Result<()> {
        let packed = zstd::bulk::compress(&self.plain, ZSTD_LEVEL)?;
        let start = self.section.len() as u64;
        self.blocks.push(Block {
            packed: start..start + packed.len() as u64,
            plain_bytes: self.plain.len() as u32,
            items: self.items,
            crc32c: crc32c::crc32c(&packed),
        });
        self.section.extend_from_slice(&packed);
        self.plain.clear();
        self.items = 0;
        Ok(())
    }
}

impl Block {
    /// The block's items, from its compressed bytes.
    pub(super) fn unpack(&self, packed: &[u8]) -> Result<Vec<u8>, Malformed> {
        if crc32c::crc32c(packed) != self.crc32c {
            return Err(Malformed("a block does not match its checksum"));
        }
        wire::unpack(packed, self.plain_bytes as usize)
            .map_err(|_| Malformed("a block does not decompress"))
    }
}

impl Item {
    /// The item's bytes within its unpacked block.
    pub(super) fn of<'a>(&self, plain: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let (start, bytes) = (self.offset as usize, self.bytes as usize);
        plain.get(start..start + bytes).ok_or(Malformed("an item lies outside its block"))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

pub(super) fn put_blocks(out: &mut Vec<u8>, blocks: &[Block]) {
    put_varint(out, blocks.len() as u64);
    for block in blocks {
        put_varint(out, block.packed.end - block.packed.start);
        put_varint(out, u64::from(block.plain_bytes));
        put_varint(out, u64::from(block.items));
        out.extend_from_slice(&block.crc32c.to_le_bytes());
    }
}

pub(super) fn read_blocks(reader: &mut Reader<'_>) -> Result<Vec<Block>, Malformed> {
    let count = reader.count(7)?;
    let mut blocks = Vec::with_capacity(count);
    let mut start = 0_u64;
    for _ in 0..count {
        let packed_bytes: u32 = reader.number()?;
        let end = start + u64::from(packed_bytes);
        let plain_bytes: u32 = reader.number()?;
        if BLOCK_BYTES_MAX < plain_bytes {
            return Err(Malformed("a block is larger than this version ever writes"));
        }
        let items = reader.number()?;
        let crc32c = reader.fixed_u32()?;
        blocks.push(Block { packed: start..end, plain_bytes, items, crc32c });
        start = end;
    }
    Ok(blocks)
}

/// Hands out the places of items, whose lengths come in the order they were packed.
#[derive(Debug)]
pub(super) struct ItemPlaces<'a> {
    blocks: &'a [Block],
    block: usize,
    item: u32,
    offset: u32,
}

impl<'a> ItemPlaces<'a> {
    pub(super) fn new(blocks: &'a [Block]) -> Self {
        Self { blocks, block: 0, item: 0, offset: 0 }
    }

    pub(super) fn next(&mut self, bytes: u32) -> Result<Item, Malformed> {
        while self.blocks.get(self.block).is_some_and(|block| block.items == self.item) {
            (self.block, self.item, self.offset) = (self.block + 1, 0, 0);
        }
        let Some(block) = self.blocks.get(self.block) else {
            return Err(Malformed("there are more items than in its blocks"));
        };
        let end = self.offset.checked_add(bytes).filter(|end| *end <= block.plain_bytes);
        let Some(end) = end else {
            return Err(Malformed("an item lies outside its block"));
        };
        let item = Item { block: self.block as u32, offset: self.offset, bytes };
        (self.item, self.offset) = (self.item + 1, end);
        Ok(item)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn items_come_back_from_their_places(
            lengths in prop::collection::vec(0_usize..20_000, 0..40),
        ) {
            let items: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(at, length)| vec![at as u8; *length]).collect();
            let mut writer = BlocksWriter::default();
            for item in &items {
                writer.push(item).unwrap();
            }
            let (section, blocks) = writer.finish().unwrap();
            let mut table = Vec::new();
            put_blocks(&mut table, &blocks);
            let read = read_blocks(&mut Reader::new(&table)).unwrap();
            prop_assert_eq!(&read, &blocks);
            let mut places = ItemPlaces::new(&read);
            for item in &items {
                let place = places.next(item.len() as u32).unwrap();
                let block = &read[place.block as usize];
                let packed = &section[block.packed.start as usize..block.packed.end as usize];
                let plain = block.unpack(packed).unwrap();
                prop_assert_eq!(place.of(&plain).unwrap(), &item[..]);
            }
            prop_assert!(places.next(1).is_err());
        }
    }
}
