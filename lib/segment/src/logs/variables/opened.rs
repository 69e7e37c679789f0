//! A granule's variables before it is known which of them are wanted.

use std::borrow::Cow;
use std::ops::Range;

use super::ids::{IdSteps, Ids};
use super::read::Mask;
use super::shapes::Shapes;
use super::streams::{Stream, Streams};
use crate::logs::pattern_table::PatternTable;
use crate::wire::{Malformed, Reader};

/// First format with groups, and with identifiers apart from them.
const GROUPS_SINCE: u32 = 7;

const OTHER_GROUPS: Malformed = Malformed("its groups are not those of its patterns");

/// Rows counted by pattern, masks and groups found; streams are decompressed when they are wanted,
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
    pub(super) ids: Ids<'a>,
    pub(super) groups: Vec<Group<'a>>,
}

/// The variables of some patterns; up to format 6 of all.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// Which of the granule's shapes are its.
    pub(super) shapes: Range<usize>,
    /// Where its slots begin to take identifiers from the granule's lists; up to format 6 there are
    /// none.
    pub(super) ids: Option<IdSteps>,
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
        let mut reader = Reader::new(encoded);
        let mask_bytes = Stream::read(&mut reader)?.into_plain()?;
        let masks = Mask::all(&mask_bytes)?;
        let shape_count = shapes.all().len();
        let (ids, groups) = match table.format() {
            GROUPS_SINCE.. => {
                let ids = Ids::read(&mut reader)?;
                let groups = Group::all(reader, &ids, shape_count)?;
                (ids, groups)
            }
            _ => (Ids::default(), vec![Group::only(reader, shape_count)?]),
        };
        Ok(Self { table, patterns, shapes, places: None, masks, mask_bytes, ids, groups })
    }
}

impl<'a> Group<'a> {
    /// The groups of a granule with so many shapes.
    fn all(
        mut reader: Reader<'a>,
        ids: &Ids<'a>,
        shape_count: usize,
    ) -> Result<Vec<Self>, Malformed> {
        let count = reader.count(3)?;
        let mut directory = Vec::with_capacity(count);
        let (mut shape, mut steps) = (0_usize, ids.steps());
        for _ in 0..count {
            let (shapes, bytes): (usize, usize) = (reader.number()?, reader.number()?);
            let end = shape.checked_add(shapes).filter(|end| *end <= shape_count);
            let shapes = shape..end.ok_or(OTHER_GROUPS)?;
            shape = shapes.end;
            let ids = Some(steps.clone());
            steps.over(&mut reader)?;
            directory.push((shapes, ids, bytes));
        }
        if shape != shape_count {
            return Err(OTHER_GROUPS);
        }
        let mut groups = Vec::with_capacity(count);
        for (shapes, ids, bytes) in directory {
            let streams = Streams::read(Reader::new(reader.take(bytes)?), false)?;
            groups.push(Self { shapes, ids, streams });
        }
        reader.finish()?;
        Ok(groups)
    }

    /// The one group of a granule without others.
    fn only(reader: Reader<'a>, shape_count: usize) -> Result<Self, Malformed> {
        let streams = Streams::read(reader, true)?;
        Ok(Self { shapes: 0..shape_count, ids: None, streams })
    }

    /// Whether any of its shapes is wanted.
    pub(super) fn has(&self, wanted: &[bool]) -> bool {
        wanted[self.shapes.clone()].contains(&true)
    }
}
