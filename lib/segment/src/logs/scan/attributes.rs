//! The attributes of the rows of a granule.

use arrow::array::{Array, StringArray};
use record::DETECTED_LEVEL;

use super::decided::Decided;
use super::leaves::Leaves;
use crate::logs::column_reader::AttributeMap;
use crate::logs::error::SegmentError;
use crate::logs::plan::AttributeColumns;
use crate::logs::sections::COLUMNS;
use crate::logs::segment::LogSegment;

/// The attributes of a granule's rows, as far as they were read.
pub(super) struct RowAttributes<'a> {
    levels: Option<(&'a [Option<String>], &'a [u32])>,
    promoted: Vec<(&'a str, &'a StringArray)>,
    rest: Option<AttributeMap<'a>>,
}

impl<'a> RowAttributes<'a> {
    pub(super) fn new(
        segment: &'a LogSegment,
        leaves: &'a Leaves,
        decided: &'a Decided,
    ) -> Result<Self, SegmentError> {
        let damaged = |cause| segment.damaged(COLUMNS, cause);
        let levels = if leaves.level_read() {
            Some((segment.level_table()?, &decided.levels[..]))
        } else {
            None
        };
        let Some(late) = &decided.finishing else {
            return Ok(Self { levels, promoted: Vec::new(), rest: None });
        };
        let column = |name: &'a str| late.promoted(name).map(|column| (name, column));
        let promoted = leaves.promoted().map(column).collect::<Result<_, _>>().map_err(damaged)?;
        let rest = if decided.rest { Some(late.attributes().map_err(damaged)?) } else { None };
        Ok(Self { levels, promoted, rest })
    }

    /// The first value of an attribute.
    pub(super) fn first(&self, row: usize, name: &str) -> Option<&'a str> {
        self.in_own_column(row, name).or_else(|| {
            let own = name == DETECTED_LEVEL || self.has_own_column(name);
            self.rest.filter(|_| !own)?.row(row).find(|(found, _)| *found == name).map(|(_, v)| v)
        })
    }

    /// The first value of an attribute that is not empty.
    pub(super) fn first_filled(&self, row: usize, name: &str) -> Option<&'a str> {
        let own = self.in_own_column(row, name).filter(|value| !value.is_empty());
        own.or_else(|| {
            let mut filled =
                self.rest?.row(row).filter(|(found, value)| *found == name && !value.is_empty());
            filled.next().map(|(_, value)| value)
        })
    }

    fn has_own_column(&self, name: &str) -> bool {
        self.promoted.iter().any(|(promoted, _)| *promoted == name)
    }

    fn in_own_column(&self, row: usize, name: &str) -> Option<&'a str> {
        if name == DETECTED_LEVEL {
            return self.level(row);
        }
        let (_, column) = self.promoted.iter().find(|(promoted, _)| *promoted == name)?;
        (!column.is_null(row)).then(|| column.value(row))
    }

    fn level(&self, row: usize) -> Option<&'a str> {
        let (levels, numbers) = self.levels?;
        levels.get(numbers[row] as usize)?.as_deref()
    }

    /// The attributes the answer carries, sorted by name.
    pub(super) fn collect<'b>(
        &'b self,
        row: usize,
        wanted: &'b AttributeColumns,
        pairs: &mut Vec<(&'b str, &'b str)>,
    ) {
        pairs.clear();
        match wanted {
            AttributeColumns::None => {}
            AttributeColumns::All | AttributeColumns::Named(_) => {
                let level = self.level(row).map(|level| (DETECTED_LEVEL, level));
                let promoted = self
                    .promoted
                    .iter()
                    .filter(|(_, column)| !column.is_null(row))
                    .map(|(name, column)| (*name, column.value(row)));
                let rest = self.rest.iter().flat_map(|rest| rest.row(row));
                let all = level.into_iter().chain(promoted).chain(rest);
                pairs.extend(all.filter(|(name, _)| wanted.wants(name)));
                pairs.sort_by_key(|(name, _)| *name);
                if let AttributeColumns::Named(_) = wanted {
                    keep_to_first_filled(pairs);
                }
            }
        }
    }
}

/// Of each name in sorted pairs, drops what stands behind the first that has a value.
fn keep_to_first_filled(pairs: &mut Vec<(&str, &str)>) {
    let mut filled: Option<&str> = None;
    pairs.retain(|(name, value)| {
        let behind = filled == Some(*name);
        if !behind && !value.is_empty() {
            filled = Some(*name);
        }
        !behind
    });
}
