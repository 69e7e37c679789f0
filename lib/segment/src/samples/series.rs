//! The label sets of a segment's series, by ordinal: every name and value once, as symbols.

use std::collections::BTreeMap;

use record::Labels;

use crate::wire::{Malformed, Reader, put_bytes, put_varint};

/// Encodes label sets in order of ordinals.
pub(super) fn encode<'a>(series: impl Iterator<Item = &'a Labels> + Clone) -> Vec<u8> {
    let mut numbers: BTreeMap<&str, u64> = BTreeMap::new();
    for labels in series.clone() {
        for (name, value) in labels.iter() {
            numbers.insert(name, 0);
            numbers.insert(value, 0);
        }
    }
    let mut out = Vec::new();
    put_varint(&mut out, numbers.len() as u64);
    for (number, (symbol, known)) in numbers.iter_mut().enumerate() {
        put_bytes(&mut out, symbol.as_bytes());
        *known = number as u64;
    }
    put_varint(&mut out, series.clone().count() as u64);
    for labels in series {
        put_varint(&mut out, labels.len() as u64);
        for (name, value) in labels.iter() {
            put_varint(&mut out, numbers[name]);
            put_varint(&mut out, numbers[value]);
        }
    }
    out
}

/// The label sets as read; each is put together when asked for.
#[derive(Clone, Debug)]
pub(super) struct SeriesTable {
    text: String,
    /// Where each symbol starts in the text, and at the end its length.
    symbols: Vec<u32>,
    /// Symbols of name and value, for all labels of all series.
    pairs: Vec<(u32, u32)>,
    /// Where each series' pairs start, and at the end their number.
    starts: Vec<u32>,
}

impl SeriesTable {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut text = String::new();
        let mut symbols = vec![0];
        for _ in 0..reader.count(1)? {
            text.push_str(reader.text()?);
            // The whole section is below 4 GiB, see the limit it is decompressed with.
            symbols.push(text.len() as u32);
        }
        let mut pairs = Vec::new();
        let mut starts = vec![0];
        let symbol = |reader: &mut Reader<'_>| {
            let number: u32 = reader.number()?;
            let known = (number as usize) < symbols.len() - 1;
            if known {
                Ok(number)
            } else {
                Err(Malformed("a label has a symbol that is not there"))
            }
        };
        for _ in 0..reader.count(1)? {
            for _ in 0..reader.count(2)? {
                pairs.push((symbol(&mut reader)?, symbol(&mut reader)?));
            }
            starts.push(pairs.len() as u32);
        }
        reader.finish()?;
        Ok(Self { text, symbols, pairs, starts })
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn labels(&self, ordinal: u32) -> Labels {
        let at = ordinal as usize;
        let pairs = &self.pairs[self.starts[at] as usize..self.starts[at + 1] as usize];
        Labels::from_pairs(
            pairs.iter().map(|(name, value)| (self.symbol(*name), self.symbol(*value))),
        )
    }

    fn symbol(&self, number: u32) -> &str {
        let at = number as usize;
        let range = self.symbols[at] as usize..self.symbols[at + 1] as usize;
        self.text.get(range).expect("decoding cut the text between symbols")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn label_sets_come_back_and_damage_is_an_error() {
        let sets = [
            Labels::default(),
            Labels::from_pairs([("__name__", "up"), ("job", "ü"), ("up", "job")]),
            Labels::from_pairs([("__name__", "up"), ("job", "x\0y\n")]),
        ];
        let bytes = encode(sets.iter());
        let table = SeriesTable::decode(&bytes).unwrap();
        assert_eq!(table.len(), 3);
        for (ordinal, labels) in sets.iter().enumerate() {
            assert_eq!(&table.labels(ordinal as u32), labels);
        }
        for at in 0..bytes.len() {
            assert!(SeriesTable::decode(&bytes[..at]).is_err(), "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x81;
            if let Ok(table) = SeriesTable::decode(&flipped) {
                (0..table.len()).for_each(|ordinal| drop(table.labels(ordinal as u32)));
            }
        }
    }
}
