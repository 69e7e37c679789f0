//! Where the next rows are in their batches, in the order in which they will be taken.
//!
//! A segment is sorted by stream, and the rows of a stream lie far apart in the batches they came
//! in: taken one by one, each costs a cache miss for its line and one for every column on the way
//! to it. So the columns of the next rows are gone through a batch after the other, and lines are
//! fetched some at a time, when the processor waits for all of them at once.
//!
//! Bounds: a copy of the attributes of [`SHELF_ROWS`] rows.

use record::{DETECTED_LEVEL, LogBatch};

use super::build::Row;
use super::dealt::Dealt;
use super::intern::Interner;
use super::streams::NO_LEVEL;

/// Rows looked at at once. With more, those of one batch are closer together; with fewer, what is
/// known of them is still in the cache when they are taken.
pub(crate) const SHELF_ROWS: usize = 65_536;

/// Lines fetched at once, which fit into the cache closest to the processor.
const FETCHED_ROWS: usize = 32;

/// Bytes that the processor fetches together.
const CACHE_LINE: usize = 64;

/// The rows looked at last; its buffers are kept.
#[derive(Debug, Default)]
pub(crate) struct Shelf<'b> {
    rows: Vec<Place<'b>>,
    /// Names and values end to end, in the order of batches.
    text: String,
    attributes: Vec<Attribute>,
    by_batch: Dealt,
}

/// Where a row's parts are.
#[derive(Clone, Copy, Debug, Default)]
struct Place<'b> {
    line: &'b [u8],
    level: u32,
    /// In [`Shelf::attributes`].
    attributes_start: u32,
    attributes_end: u32,
}

/// Where an attribute is in [`Shelf::text`].
#[derive(Clone, Copy, Debug)]
struct Attribute {
    start: usize,
    name_end: usize,
    end: usize,
}

/// One row on the shelf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shelved<'a> {
    shelf: &'a Shelf<'a>,
    place: Place<'a>,
}

impl<'b> Shelf<'b> {
    /// Looks at `rows`, at most [`SHELF_ROWS`]; their levels are numbered in `levels`.
    pub(crate) fn fill(&mut self, batches: &'b [LogBatch], rows: &[Row], levels: &mut Interner) {
        self.by_batch.deal(rows.iter().map(|row| row.batch));
        self.rows.clear();
        self.rows.resize(rows.len(), Place::default());
        self.text.clear();
        self.attributes.clear();
        let mut last = None;
        for at in self.by_batch.rows() {
            let row = &rows[*at as usize];
            let batch = &batches[row.batch as usize];
            let attributes_start = self.attributes.len() as u32;
            let mut level = NO_LEVEL;
            for (name, value) in batch.attributes(row.row as usize) {
                if name == DETECTED_LEVEL && level == NO_LEVEL {
                    level = match last {
                        Some((last, level)) if last == value => level,
                        _ => levels.intern(value.as_bytes()) + 1,
                    };
                    last = Some((value, level));
                    continue;
                }
                let start = self.text.len();
                self.text.push_str(name);
                let name_end = self.text.len();
                self.text.push_str(value);
                self.attributes.push(Attribute { start, name_end, end: self.text.len() });
            }
            self.rows[*at as usize] = Place {
                line: batch.line(row.row as usize).as_bytes(),
                level,
                attributes_start,
                attributes_end: self.attributes.len() as u32,
            };
        }
    }

    /// Fetches the lines of some rows from `start` on, at least one where there is any, and returns
    /// how many.
    pub(crate) fn fetch(&self, start: usize) -> usize {
        let rows = &self.rows[start..self.rows.len().min(start + FETCHED_ROWS)];
        let lines = rows.iter().flat_map(|place| place.line.iter().step_by(CACHE_LINE));
        std::hint::black_box(lines.fold(0, |all, byte| all ^ byte));
        rows.len()
    }

    /// The row numbered `at`.
    pub(crate) fn row(&self, at: usize) -> Shelved<'_> {
        Shelved { shelf: self, place: self.rows[at] }
    }

    /// Bytes of the lines of some rows.
    pub(crate) fn line_bytes(&self, rows: std::ops::Range<usize>) -> usize {
        self.rows[rows].iter().map(|place| place.line.len()).sum()
    }
}

impl<'a> Shelved<'a> {
    pub(crate) fn line(&self) -> &'a [u8] {
        self.place.line
    }

    /// The number of its level above 0, or [`NO_LEVEL`].
    pub(crate) fn level(&self) -> u32 {
        self.place.level
    }

    /// Names and values of the attributes other than the level.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let range = self.place.attributes_start as usize..self.place.attributes_end as usize;
        let shelf = self.shelf;
        shelf.attributes[range].iter().map(|attribute| {
            let Attribute { start, name_end, end } = *attribute;
            let text = |range| shelf.text.get(range).unwrap_or_default();
            (text(start..name_end), text(name_end..end))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use record::{Labels, LogBatchBuilder, TimestampNanos};

    use super::*;

    /// Rows of some batches: a line, and attributes some of which are levels.
    type Rows = Vec<(String, Vec<(String, String)>)>;

    fn rows() -> impl Strategy<Value = Rows> {
        let name = prop_oneof![Just(DETECTED_LEVEL.to_owned()), "[a-cé]{1,2}"];
        let attributes = prop::collection::vec((name, any::<String>()), 0..4);
        prop::collection::vec((any::<String>(), attributes), 1..20)
    }

    proptest! {
        #[test]
        fn rows_are_those_of_the_batches(
            batches in prop::collection::vec(rows(), 1..5),
            picks in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..40),
        ) {
            let stream = Labels::from_pairs([("app", "a")]);
            let built: Vec<LogBatch> = batches.iter().map(|rows| {
                let mut builder = LogBatchBuilder::new();
                for (line, attributes) in rows {
                    builder.push(TimestampNanos(0), &stream, line, attributes, None);
                }
                builder.finish()
            }).collect();
            let picks: Vec<(usize, usize)> = picks.iter().map(|(batch, row)| {
                let batch = batch.index(batches.len());
                (batch, row.index(batches[batch].len()))
            }).collect();
            let wanted: Vec<Row> = picks.iter().map(|(batch, row)| {
                Row { stream: 0, batch: *batch as u32, row: *row as u32, time: 0 }
            }).collect();
            let (mut shelf, mut levels) = (Shelf::default(), Interner::default());
            // What was there before is gone.
            shelf.fill(&built, &[Row { stream: 0, batch: 0, row: 0, time: 0 }], &mut levels);
            shelf.fill(&built, &wanted, &mut levels);
            let mut bytes = 0;
            for (at, (batch, row)) in picks.iter().enumerate() {
                let found = shelf.row(at);
                prop_assert_eq!(found.line(), built[*batch].line(*row).as_bytes());
                bytes += found.line().len();
                let mut expected: Vec<(&str, &str)> = built[*batch].attributes(*row).collect();
                match expected.iter().position(|(name, _)| *name == DETECTED_LEVEL) {
                    Some(level) => {
                        let (_, value) = expected.remove(level);
                        prop_assert_eq!(levels.get(found.level() - 1), value.as_bytes());
                    }
                    None => prop_assert_eq!(found.level(), NO_LEVEL),
                }
                prop_assert_eq!(found.attributes().collect::<Vec<_>>(), expected);
            }
            prop_assert_eq!(shelf.line_bytes(0..picks.len()), bytes);
        }
    }
}
