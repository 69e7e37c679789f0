//! A page's header, as Thrift's compact protocol spells it.

use super::CUT_SHORT;
use crate::wire::Malformed;

/// Nesting of Thrift structures that are skipped; Parquet's have two levels.
const THRIFT_DEPTH_MAX: usize = 8;

/// What is read of Parquet's `PageHeader`.
#[derive(Debug, Default)]
pub(super) struct PageHeader {
    pub(super) kind: Option<i64>,
    pub(super) plain_bytes: Option<i64>,
    pub(super) bytes: Option<i64>,
    pub(super) values: Option<i64>,
    pub(super) encoding: Option<i64>,
}

impl PageHeader {
    /// Reads the header that `page` begins with; returns the page's body, too.
    pub(super) fn read(page: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let mut thrift = Thrift { rest: page };
        let mut header = Self::default();
        let mut id = 0;
        while let Some(kind) = thrift.field(&mut id)? {
            match (id, kind) {
                (1, INT) => header.kind = Some(thrift.signed()?),
                (2, INT) => header.plain_bytes = Some(thrift.signed()?),
                (3, INT) => header.bytes = Some(thrift.signed()?),
                (5, STRUCT) => {
                    let mut id = 0;
                    while let Some(kind) = thrift.field(&mut id)? {
                        match (id, kind) {
                            (1, INT) => header.values = Some(thrift.signed()?),
                            (2, INT) => header.encoding = Some(thrift.signed()?),
                            _ => thrift.skip(kind, THRIFT_DEPTH_MAX)?,
                        }
                    }
                }
                _ => thrift.skip(kind, THRIFT_DEPTH_MAX)?,
            }
        }
        Ok((header, thrift.rest))
    }
}

const INT: u8 = 5;
const STRUCT: u8 = 12;

/// Thrift's compact protocol, as far as page headers use it.
struct Thrift<'a> {
    rest: &'a [u8],
}

impl Thrift<'_> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.rest.split_first().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        varint(&mut self.rest)
    }

    fn signed(&mut self) -> Result<i64, Malformed> {
        self.varint().map(zigzag)
    }

    /// The type of the next field, whose number goes into `id`; `None` at the structure's end.
    fn field(&mut self, id: &mut i64) -> Result<Option<u8>, Malformed> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        *id = match head >> 4 {
            0 => self.signed()?,
            step => id.saturating_add(step.into()),
        };
        Ok(Some(head & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<(), Malformed> {
        const STRANGE: Malformed = Malformed("a page's header is not what Parquet writes");
        let Some(depth) = depth.checked_sub(1) else { return Err(STRANGE) };
        match kind {
            1 | 2 => Ok(()),
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.skip_bytes(8),
            8 => {
                let length = self.varint()?;
                self.skip_bytes(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.varint()?,
                    count => count.into(),
                };
                // An element takes at least a byte, except for booleans, of which there are none.
                if (self.rest.len() as u64) < count {
                    return Err(CUT_SHORT);
                }
                (0..count).try_for_each(|_| self.skip(head & 0x0f, depth))
            }
            STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth)?;
                }
                Ok(())
            }
            _ => Err(STRANGE),
        }
    }

    fn skip_bytes(&mut self, count: u64) -> Result<(), Malformed> {
        let count = usize::try_from(count).map_err(|_| CUT_SHORT)?;
        self.rest = self.rest.get(count..).ok_or(CUT_SHORT)?;
        Ok(())
    }
}

pub(super) fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(CUT_SHORT)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed("a number in a page is too long"))
}

pub(super) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
