//! Bits in a row, least significant first: what the token filter's blocks are made of, and numbers
//! of identifiers.
//!
//! What always holds: reading past the end is [`Malformed`], never a panic.

use crate::wire::Malformed;

/// Bits that can be looked at at once, wherever they begin.
const PEEK_BITS: u32 = 56;

/// Most bits after the highest of a gamma code.
const GAMMA_BITS_MAX: u64 = PEEK_BITS as u64;

/// Longest unary part accepted; the writer's is far shorter.
const UNARY_MAX: u32 = 1 << 16;

#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    out: Vec<u8>,
    pending: u64,
    /// Bits in `pending`, below 8.
    pending_bits: u32,
}

impl BitWriter {
    /// Appends the low `bits` (at most 56) of `value`.
    pub(crate) fn put(&mut self, value: u64, bits: u32) {
        debug_assert!(bits <= 56 && (bits == 56 || value >> bits == 0));
        self.pending |= value << self.pending_bits;
        self.pending_bits += bits;
        while 8 <= self.pending_bits {
            self.out.push(self.pending as u8);
            self.pending >>= 8;
            self.pending_bits -= 8;
        }
    }

    /// `count` ones and a zero.
    pub(crate) fn put_unary(&mut self, mut count: u64) {
        while 32 <= count {
            self.put(u64::from(u32::MAX), 32);
            count -= 32;
        }
        self.put((1 << count) - 1, count as u32 + 1);
    }

    /// Rice code: the quotient by `2^low_bits` in unary, then the remainder.
    pub(crate) fn put_rice(&mut self, value: u64, low_bits: u32) {
        self.put_unary(value >> low_bits);
        self.put(value & ((1 << low_bits) - 1), low_bits);
    }

    /// Elias' gamma code of a number above 0: how many bits follow its highest, in unary, then they.
    pub(crate) fn put_gamma(&mut self, value: u64) {
        let bits = value.ilog2();
        self.put_unary(bits.into());
        self.put(value - (1 << bits), bits);
    }

    /// Bits appended so far.
    pub(crate) fn len(&self) -> usize {
        self.out.len() * 8 + self.pending_bits as usize
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        if 0 < self.pending_bits {
            self.out.push(self.pending as u8);
        }
        self.out
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Next bit.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// From bit `at` on.
    pub(crate) fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The next `bits` (at most 56).
    pub(crate) fn take(&mut self, bits: u32) -> Result<u64, Malformed> {
        let end = self.at + bits as usize;
        if self.bytes.len() * 8 < end {
            return Err(Malformed("its bits are cut short"));
        }
        let value = self.peek();
        self.at = end;
        Ok(value & ((1 << bits) - 1))
    }

    pub(crate) fn take_unary(&mut self) -> Result<u64, Malformed> {
        let mut count = 0;
        loop {
            // Short ones, as nearly all are, are read at a glance.
            let ones = self.peek().trailing_ones().min(PEEK_BITS);
            count += ones;
            if ones < PEEK_BITS {
                self.take(ones + 1)?;
                return Ok(count.into());
            }
            self.take(ones)?;
            if UNARY_MAX < count {
                return Err(Malformed("a number in its bits is too long"));
            }
        }
    }

    /// The next [`PEEK_BITS`] bits; zeros past the end.
    fn peek(&self) -> u64 {
        let first = self.at / 8;
        let rest = self.bytes.get(first..).unwrap_or_default();
        let word = match rest.first_chunk() {
            Some(word) => *word,
            None => {
                let mut word = [0; 8];
                word[..rest.len()].copy_from_slice(rest);
                word
            }
        };
        u64::from_le_bytes(word) >> (self.at % 8)
    }

    pub(crate) fn take_rice(&mut self, low_bits: u32) -> Result<u64, Malformed> {
        Ok(self.take_unary()? << low_bits | self.take(low_bits)?)
    }

    pub(crate) fn take_gamma(&mut self) -> Result<u64, Malformed> {
        match self.take_unary()? {
            bits @ 0..=GAMMA_BITS_MAX => Ok(1 << bits | self.take(bits as u32)?),
            _ => Err(Malformed("a number in its bits is too long")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_was_written(
            items in prop::collection::vec((any::<u64>(), 1_u32..=56, 0_u64..200, 0_u32..20), 0..60),
        ) {
            let mut writer = BitWriter::default();
            for (value, bits, unary, low) in &items {
                writer.put(value & ((1 << bits) - 1), *bits);
                writer.put_unary(*unary);
                writer.put_rice(value >> 50, *low);
                writer.put_gamma((value >> 8).max(1));
            }
            let bytes = writer.finish();
            let mut reader = BitReader::new(&bytes);
            for (value, bits, unary, low) in &items {
                prop_assert_eq!(reader.take(*bits).unwrap(), value & ((1 << bits) - 1));
                prop_assert_eq!(reader.take_unary().unwrap(), *unary);
                prop_assert_eq!(reader.take_rice(*low).unwrap(), value >> 50);
                prop_assert_eq!(reader.take_gamma().unwrap(), (value >> 8).max(1));
            }
            prop_assert!(reader.take(8).is_err());
        }
    }
}
