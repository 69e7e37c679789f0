//! A granule between its columns of numbers and those that finish it.

use super::best::BestRows;
use super::by_pattern::ByPattern;
use super::decided::Decided;
use super::numbers::GranulePages;
use crate::logs::column_reader::GranuleBatch;

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

    pub(super) fn finish_with(&mut self, batch: GranuleBatch) {
        match self {
            Self::Rows(one) => one.finishing = Some(batch),
            Self::Patterns(one) => one.finishing = Some(batch),
        }
    }
}
