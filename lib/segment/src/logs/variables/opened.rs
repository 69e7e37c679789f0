//! A granule's variables before it is known which of them are wanted.

use std::borrow::Cow;

use super::read::Mask;
use super::shapes::Shapes;
use super::streams::Streams;
use crate::logs::pattern_table::PatternTable;
use crate::wire::Malformed;

/// Rows counted by pattern and masks found; other streams are decompressed when they are wanted,
/// once for searching and reading.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    pub(super) table: &'a PatternTable,
    pub(super) patterns: &'a [u32],
    pub(super) shapes: Cow<'a, Shapes>,
    /// Where each row is, were they sorted by pattern; once it was needed.
    pub(super) places: Option<Vec<u32>>,
    pub(super) masks: Vec<Mask>,
    /// The stream of masks: each has its length before it.
    pub(super) mask_bytes: Cow<'a, [u8]>,
    pub(super) streams: Streams<'a>,
}

impl<'a> Opened<'a> {
    /// Opens what [`super::VariablesWriter::encode`] wrote for rows of these patterns; `shapes` are
    /// theirs.
    pub(crate) fn new(
        encoded: &'a [u8],
        table: &'a PatternTable,
        patterns: &'a [u32],
        shapes: Cow<'a, Shapes>,
    ) -> Result<Self, Malformed> {
        let (masks, streams) = Streams::open(encoded)?;
        let mask_bytes = masks.into_plain()?;
        let masks = Mask::all(&mask_bytes)?;
        Ok(Self { table, patterns, shapes, places: None, masks, mask_bytes, streams })
    }
}
