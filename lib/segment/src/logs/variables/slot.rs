//! How a slot's values are kept: the numbers that stand for it.

use crate::wire::{Malformed, Reader};

/// Texts: lengths and bytes.
pub(super) const TEXT: u64 = 0;
/// Lower-case hexadecimal values of one length: which list they are from; up to format 6 their
/// length, their half-bytes being a stream.
pub(super) const IDENTIFIERS: u64 = 1;
/// Several masks, with digits packed or, one higher, repetitive.
pub(super) const CHOICES: u64 = 2;
const CHOICES_REPEATS: u64 = CHOICES + 1;
/// One mask; twice its number is added, and one where the digits are repetitive.
pub(super) const MASK: u64 = 4;

/// A slot as it is stored.
#[derive(Debug)]
pub(super) enum StoredSlot {
    Text,
    Identifiers {
        /// Their list, or their length.
        list: usize,
    },
    /// Of the masks that [`StoredSlot::read`] filled in.
    Choices {
        repeats: bool,
    },
    Mask {
        mask: usize,
        repeats: bool,
    },
}

impl StoredSlot {
    /// Reads the next slot; the masks of one with choices go into `masks`, instead of others.
    #[inline]
    pub(super) fn read(reader: &mut Reader<'_>, masks: &mut Vec<usize>) -> Result<Self, Malformed> {
        Ok(match reader.varint()? {
            TEXT => Self::Text,
            IDENTIFIERS => Self::Identifiers { list: reader.number()? },
            code @ (CHOICES | CHOICES_REPEATS) => {
                let count = reader.count(1)?;
                masks.clear();
                for _ in 0..count {
                    masks.push(reader.number()?);
                }
                Self::Choices { repeats: code == CHOICES_REPEATS }
            }
            code => {
                let mask = usize::try_from((code - MASK) / 2)
                    .map_err(|_| Malformed("a number is out of range"))?;
                Self::Mask { mask, repeats: code % 2 == 1 }
            }
        })
    }
}
