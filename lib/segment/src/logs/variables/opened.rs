//! A granule's variables before it is known which of them are wanted.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::ids::{IdSteps, Ids};
use super::read::Mask;
use super::shapes::Shapes;
use super::streams::{Stream, Streams};
use crate::logs::pattern_table::PatternTable;
use crate::wire::{Malformed, Reader};

/// First format with groups, and with identifiers apart from them.
const GROUPS_SINCE: u32 = 7;

/// First format with the slots of all groups before them.
const SLOTS_FIRST_SINCE: u32 = 8;

const OTHER_GROUPS: Malformed = Malformed("its groups are not those of its patterns");

/// A granule's variables as they were read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Encoded<'a> {
    Whole(&'a [u8]),
    /// What comes before the groups, and of these, by their numbers, those that were read.
    InPart {
        head: &'a [u8],
        groups: &'a [Option<Bytes>],
    },
}

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
    /// Bytes of its longest text.
    pub(super) text_max: usize,
    pub(super) place: Place,
    /// Whether it was read: of one that was not, only slots are there.
    pub(super) read: bool,
    pub(super) streams: Streams<'a>,
}

/// Where a group is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) number: usize,
    /// From the end of what comes before the groups.
    pub(crate) bytes: Range<u64>,
    pub(crate) crc: u32,
}

impl<'a> Opened<'a> {
    /// Opens what [`super::VariablesWriter::encode`] wrote for rows of these patterns; `shapes` are
    /// theirs.
    pub(crate) fn new(
        encoded: Encoded<'a>,
        table: &'a PatternTable,
        patterns: &'a [u32],
        shapes: Cow<'a, Shapes>,
    ) -> Result<Self, Malformed> {
        let mut reader = Reader::new(match encoded {
            Encoded::Whole(bytes) => bytes,
            Encoded::InPart { head, .. } => head,
        });
        let mask_bytes = Stream::read(&mut reader)?.into_plain()?;
        let masks = Mask::all(&mask_bytes)?;
        let shape_count = shapes.all().len();
        let (ids, groups) = match table.format() {
            GROUPS_SINCE.. => {
                let ids = Ids::read(&mut reader)?;
                let slots = match table.format() {
                    SLOTS_FIRST_SINCE.. => Some(Stream::read(&mut reader)?.into_plain()?),
                    _ => None,
                };
                let directory = Directory::read(&mut reader, slots.as_deref(), &ids, shape_count)?;
                let groups = match encoded {
                    Encoded::Whole(_) => directory.all(reader)?,
                    Encoded::InPart { groups, .. } => directory.some(reader, groups)?,
                };
                (ids, groups)
            }
            _ => (Ids::default(), vec![Group::only(reader, shape_count)?]),
        };
        Ok(Self { table, patterns, shapes, places: None, masks, mask_bytes, ids, groups })
    }
}

/// The groups of a granule before their streams are there.
struct Directory<'s, 'a> {
    /// Each with its slots; up to format 7 it has them itself.
    groups: Vec<(Group<'a>, Option<&'s [u8]>)>,
}

impl<'s, 'a> Directory<'s, 'a> {
    /// The directory of a granule with so many shapes; `slots` are those of all groups.
    fn read(
        reader: &mut Reader<'a>,
        slots: Option<&'s [u8]>,
        ids: &Ids<'a>,
        shape_count: usize,
    ) -> Result<Self, Malformed> {
        let count = reader.count(3)?;
        let mut groups = Vec::with_capacity(count);
        let (mut shape, mut start, mut steps) = (0_usize, 0_u64, ids.steps());
        let mut slots = slots.map(Reader::new);
        for number in 0..count {
            let (shapes, bytes): (usize, u32) = (reader.number()?, reader.number()?);
            let end = shape.checked_add(shapes).filter(|end| *end <= shape_count);
            let shapes = shape..end.ok_or(OTHER_GROUPS)?;
            shape = shapes.end;
            let place = start..start + u64::from(bytes);
            start = place.end;
            let (mut crc, mut text_max, mut own_slots) = (0, usize::MAX, None);
            if let Some(slots) = &mut slots {
                crc = reader.fixed_u32()?;
                own_slots = Some(slots.take(reader.number()?)?);
                text_max = reader.number()?;
            }
            let group = Group {
                shapes,
                ids: Some(steps.clone()),
                text_max,
                place: Place { number, bytes: place, crc },
                read: false,
                streams: Streams::default(),
            };
            steps.over(reader)?;
            groups.push((group, own_slots));
        }
        slots.map_or(Ok(()), Reader::finish)?;
        if shape == shape_count { Ok(Self { groups }) } else { Err(OTHER_GROUPS) }
    }

    /// All groups, which are what is left to read.
    fn all(self, mut reader: Reader<'a>) -> Result<Vec<Group<'a>>, Malformed> {
        let group = |(group, slots): (Group<'a>, Option<&[u8]>)| {
            let bytes = (group.place.bytes.end - group.place.bytes.start) as usize;
            group.with(slots, reader.take(bytes)?)
        };
        let groups = self.groups.into_iter().map(group).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(groups)
    }

    /// All groups, of which some were read; nothing else is left to read.
    fn some(
        self,
        reader: Reader<'a>,
        read: &'a [Option<Bytes>],
    ) -> Result<Vec<Group<'a>>, Malformed> {
        reader.finish()?;
        let group = |(group, slots): (Group<'a>, Option<&[u8]>)| match read.get(group.place.number)
        {
            Some(Some(bytes)) => group.with(slots, bytes),
            _ => group.without(slots),
        };
        self.groups.into_iter().map(group).collect()
    }
}

impl<'a> Group<'a> {
    fn with(self, slots: Option<&[u8]>, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let reader = Reader::new(bytes);
        let streams = match slots {
            Some(slots) => Streams::read(slots, reader)?,
            None => Streams::read_with_slots(reader, false)?,
        };
        Ok(Self { streams, read: true, ..self })
    }

    fn without(self, slots: Option<&[u8]>) -> Result<Self, Malformed> {
        let slots = slots.ok_or(Malformed("its groups have to be read with the rest"))?;
        Ok(Self { streams: Streams::of_slots(slots), ..self })
    }

    /// The one group of a granule without others.
    fn only(reader: Reader<'a>, shape_count: usize) -> Result<Self, Malformed> {
        Ok(Self {
            shapes: 0..shape_count,
            ids: None,
            text_max: usize::MAX,
            place: Place::default(),
            read: true,
            streams: Streams::read_with_slots(reader, true)?,
        })
    }

    /// Whether any of its shapes is wanted.
    pub(super) fn has(&self, wanted: &[bool]) -> bool {
        wanted[self.shapes.clone()].contains(&true)
    }
}
