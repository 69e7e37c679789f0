//! A granule between its columns of numbers and those that finish it.

use bytes::Bytes;

use super::best::BestRows;
use super::by_pattern::ByPattern;
use super::decided::Decided;
use super::leaves::Leaves;
use super::numbers::GranulePages;
use crate::logs::column_reader::GranuleBatch;
use crate::logs::error::SegmentError;
use crate::logs::segment::LogSegment;
use crate::logs::variables::{Needed, TokenNeedles};

/// A granule that its columns of numbers do not refuse.
#[derive(Debug)]
pub(super) enum Undecided {
    Rows(Decided),
    Patterns(ByPattern),
}

impl Undecided {
    pub(super) fn pages(&self) -> &GranulePages {
        match self {
            Self::Rows(one) => &one.pages,
            Self::Patterns(one) => &one.pages,
        }
    }

    pub(super) fn pages_mut(&mut self) -> &mut GranulePages {
        match self {
            Self::Rows(one) => &mut one.pages,
            Self::Patterns(one) => &mut one.pages,
        }
    }

    /// Whether lines have to be searched.
    pub(super) fn open(&self) -> bool {
        match self {
            Self::Rows(one) => one.open(),
            Self::Patterns(one) => one.open(),
        }
    }

    /// Whether attributes without columns of their own have to be read.
    pub(super) fn rest(&self) -> bool {
        match self {
            Self::Rows(one) => one.rest(),
            Self::Patterns(_) => false,
        }
    }

    /// Promises the rows that nothing can refuse any more.
    pub(super) fn promise(&self, best: &mut BestRows) {
        if let Self::Rows(one) = self {
            best.promise(one.certain_times());
        }
    }

    /// Refuses rows that cannot be among the best any more, and says whether any are left.
    pub(super) fn narrow(&mut self, best: &BestRows) -> bool {
        match self {
            Self::Rows(one) => one.narrow(best),
            Self::Patterns(_) => true,
        }
    }

    /// The groups of its variables that are needed, as far as what comes before them tells.
    pub(super) fn groups_needed(
        &self,
        filters: &[TokenNeedles],
        segment: &LogSegment,
        leaves: &Leaves,
    ) -> Result<Needed, SegmentError> {
        match self {
            Self::Rows(one) => one.groups_needed(filters, segment, leaves),
            Self::Patterns(one) => one.groups_needed(filters, segment),
        }
    }

    /// Takes in the groups that were read.
    pub(super) fn hold_groups(&mut self, groups: Vec<Option<Bytes>>) {
        let batch = match self {
            Self::Rows(one) => &mut one.finishing,
            Self::Patterns(one) => &mut one.finishing,
        };
        if let Some(batch) = batch {
            batch.hold_groups(groups);
        }
    }

    pub(super) fn finish_with(&mut self, batch: GranuleBatch) {
        match self {
            Self::Rows(one) => one.finishing = Some(batch),
            Self::Patterns(one) => one.finishing = Some(batch),
        }
    }
}
