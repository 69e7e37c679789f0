//! Little tables as bytes: the encoding shared by every section that is not Parquet or tantivy.
//!
//! Integers are LEB128 varints unless fixed width is said; signed ones are zigzag first; byte
//! strings carry their length before them.
//!
//! What always holds: reading checks every length before it takes or reserves anything, so
//! damaged bytes yield [`Malformed`], never a panic and never an allocation larger than the input
//! could justify.

use std::cell::RefCell;

use zstd::bulk::Decompressor;

/// Bytes that are not what the format says: which part, in a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while 0x80 <= value {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the `put_` functions wrote, front to back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or(Malformed("it is cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        // Nearly all there are.
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && 1 < bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("a number is longer than 64 bits"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn number<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.varint()?).map_err(|_| Malformed("a number is out of range"))
    }

    /// What the next `count` numbers come to.
    pub(crate) fn sum(&mut self, count: usize) -> Result<usize, Malformed> {
        // Mostly each is a byte of its own.
        let next = self.rest.get(..count).unwrap_or_default();
        let (bits, sum) =
            next.iter().fold((0, 0), |(bits, sum), byte| (bits | *byte, sum + usize::from(*byte)));
        if next.len() == count && bits < 0x80 {
            self.take(count)?;
            return Ok(sum);
        }
        let mut sum = 0_usize;
        for _ in 0..count {
            sum = sum.checked_add(self.number()?).ok_or(Malformed("a number is out of range"))?;
        }
        Ok(sum)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.number()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// How many entries follow, each of at least `entry_bytes_min` bytes: safe to reserve.
    pub(crate) fn count(&mut self, entry_bytes_min: usize) -> Result<usize, Malformed> {
        let count: usize = self.number()?;
        if self.rest.len() / entry_bytes_min.max(1) < count {
            return Err(Malformed("it counts more entries than it holds"));
        }
        Ok(count)
    }

    pub(crate) fn fixed_u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(crate) fn fixed_u64(&mut self) -> Result<u64, Malformed> {
        let (low, high) = (self.fixed_u32()?, self.fixed_u32()?);
        Ok(u64::from(low) | u64::from(high) << 32)
    }

    /// Bytes that have not been read.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// What has not been read.
    pub(crate) fn into_rest(self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("bytes follow its end")) }
    }
}

/// Compresses `plain` with its length before it, for [`decompress`].
pub(crate) fn compress(plain: &[u8], level: i32) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(plain.len() / 4 + 16);
    put_varint(&mut out, plain.len() as u64);
    out.append(&mut zstd::bulk::compress(plain, level)?);
    Ok(out)
}

/// Reads what [`compress`] wrote, refusing more than `bytes_max`.
pub(crate) fn decompress(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Malformed> {
    let mut reader = Reader::new(packed);
    let length: usize = reader.number()?;
    if bytes_max < length {
        return Err(Malformed("it is larger than this version ever writes"));
    }
    unpack(reader.rest, length)
}

thread_local! {
    /// Its tables take longer to set up than a small stream takes to decompress.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> =
        RefCell::new(Decompressor::new().ok());
}

/// The `length` bytes of which zstd made `packed`; the caller bounds `length`.
pub(crate) fn unpack(packed: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    let plain = DECOMPRESSOR.with_borrow_mut(|decompressor| match decompressor {
        Some(decompressor) => decompressor.decompress(packed, length),
        None => zstd::bulk::decompress(packed, length),
    });
    let plain = plain.map_err(|_| Malformed("it does not decompress"))?;
    if plain.len() == length {
        Ok(plain)
    } else {
        Err(Malformed("it decompresses to another length"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_are_those_of_the_numbers(
            small in prop::collection::vec(0..200_u64, 0..40),
            count in 0_usize..50,
        ) {
            let mut out = Vec::new();
            small.iter().for_each(|number| put_varint(&mut out, *number));
            let mut reader = Reader::new(&out);
            match reader.sum(count) {
                Ok(sum) => {
                    prop_assert_eq!(sum as u64, small[..count].iter().sum::<u64>());
                    let rest: Vec<u64> =
                        small[count..].iter().map(|_| reader.varint().unwrap()).collect();
                    prop_assert_eq!(&rest, &small[count..]);
                }
                Err(_) => prop_assert!(small.len() < count),
            }
        }

        #[test]
        fn reads_what_was_written(
            numbers in prop::collection::vec(any::<u64>(), 0..20),
            signed in any::<i64>(),
            bytes in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut out = Vec::new();
            for number in &numbers {
                put_varint(&mut out, *number);
            }
            put_signed(&mut out, signed);
            put_bytes(&mut out, &bytes);
            let mut reader = Reader::new(&out);
            for number in &numbers {
                prop_assert_eq!(reader.varint().unwrap(), *number);
            }
            prop_assert_eq!(reader.signed().unwrap(), signed);
            prop_assert_eq!(reader.bytes().unwrap(), &bytes[..]);
            prop_assert!(reader.finish().is_ok());
            for cut in 0..out.len() {
                let mut reader = Reader::new(&out[..cut]);
                let all = numbers.iter().try_for_each(|_| reader.varint().map(drop));
                let all = all.and_then(|()| reader.signed()).and_then(|_| reader.bytes());
                prop_assert!(all.is_err());
            }
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut reader = Reader::new(&bytes);
            while reader.bytes().is_ok() && reader.count(3).is_ok() && reader.signed().is_ok() {}
            assert!(decompress(&bytes, 1 << 20).map_or(true, |plain| plain.len() <= 1 << 20));
        }
    }

    #[test]
    fn decompresses_and_caps() {
        let packed = compress(&[7; 10_000], 1).unwrap();
        assert_eq!(decompress(&packed, 10_000).unwrap(), [7; 10_000]);
        assert!(decompress(&packed, 9_999).is_err());
        assert!(decompress(&packed[..packed.len() - 1], 10_000).is_err());
    }
}
