//! Finishing granules of which only some groups of variables are read.
//!
//! A scan for an identifier reads, along with the columns that decide, what comes before the groups,
//! then the groups that can have it, and times only where it was found: of a granule that the token
//! filter named in vain, neither lines nor times.
//!
//! What always holds: rows that are left after the search satisfy the line filters.

use std::ops::Range;

use bytes::Bytes;

use super::core::{ScanCore, Stage};
use super::undecided::Undecided;
use crate::logs::columns::{LINES, TIME};
use crate::logs::error::SegmentError;
use crate::logs::sections::COLUMNS;
use crate::logs::segment::{Ask, checked};
use crate::logs::variables::Needed;

impl ScanCore {
    /// Asks for the groups that are needed of granules of which the rest is there.
    pub(super) fn ask_for_groups(
        &mut self,
        completed: Vec<(Undecided, Vec<usize>)>,
    ) -> Result<Option<Ask>, SegmentError> {
        let segment = self.segment.clone();
        let filters = self.plan.token_needles().unwrap_or_default();
        let (mut decided, mut ranges) = (Vec::new(), Vec::new());
        for (one, late) in completed {
            self.budget.check()?;
            let mut needed = Needed::default();
            if late.contains(&LINES)
                && let Some(head) = segment.granules().head_range(one.pages().granule())
            {
                needed = one.groups_needed(filters, &segment, &self.leaves)?;
                let place = |bytes: &Range<u64>| head.end + bytes.start..head.end + bytes.end;
                ranges.extend(needed.groups.iter().map(|group| place(&group.bytes)));
            }
            self.stats.groups_considered += needed.of as u64;
            self.stats.groups_read += needed.groups.len() as u64;
            decided.push((one, needed));
        }
        self.stage = Stage::Groups { decided };
        Ok((!ranges.is_empty()).then_some(Ask { columns: ranges, ..Ask::default() }))
    }

    /// Searches the groups that were read, and asks for the times of the rows that are left.
    pub(super) fn search_groups(
        &mut self,
        decided: Vec<(Undecided, Needed)>,
        fetched: Vec<Bytes>,
    ) -> Result<Option<Ask>, SegmentError> {
        let segment = self.segment.clone();
        let filters = self.plan.token_needles().unwrap_or_default();
        let mut fetched = fetched.into_iter();
        let (mut left, mut ranges) = (Vec::new(), Vec::new());
        for (mut one, needed) in decided {
            self.budget.check()?;
            let read: Vec<Bytes> = fetched.by_ref().take(needed.groups.len()).collect();
            for (group, bytes) in needed.groups.iter().zip(&read) {
                checked(group.crc, bytes).map_err(|cause| segment.damaged(COLUMNS, cause))?;
            }
            one.hold_groups(needed.place(read.into_iter()));
            if let Undecided::Rows(rows) = &mut one {
                if !rows.search(filters, &segment, &mut self.stats)? {
                    continue;
                }
                if rows.pages.page(TIME).is_none() {
                    ranges.push(
                        segment.granules().pages[TIME][rows.pages.granule() as usize].range(),
                    );
                }
            }
            left.push(one);
        }
        self.stage = Stage::Times { decided: left };
        Ok((!ranges.is_empty()).then_some(Ask { columns: ranges, ..Ask::default() }))
    }

    /// Adds the times that were read to granules that have none.
    pub(super) fn with_times(
        &mut self,
        mut decided: Vec<Undecided>,
        fetched: Vec<Bytes>,
    ) -> Result<Vec<Undecided>, SegmentError> {
        let segment = self.segment.clone();
        let mut fetched = fetched.into_iter();
        for one in &mut decided {
            let Undecided::Rows(rows) = one else { continue };
            if rows.pages.page(TIME).is_none() {
                let granule = rows.pages.granule();
                rows.pages.add(self.checked_pages(granule, vec![TIME], &mut fetched)?);
                let times = rows.pages.times(TIME, &segment, &mut self.decoder);
                rows.times = times.map_err(|cause| segment.damaged(COLUMNS, cause))?;
            }
        }
        Ok(decided)
    }
}
