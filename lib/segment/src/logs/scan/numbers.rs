//! The columns of numbers of a granule: fetched together, decoded one by one when needed.
//!
//! What always holds: the pages were compared with their checksums before they came here.

use bytes::Bytes;

use crate::logs::column_reader::Extent;
use crate::logs::columns::{LEVEL, PATTERN, STREAM};
use crate::logs::page::PageDecoder;
use crate::logs::segment::LogSegment;
use crate::wire::Malformed;

/// The fetched pages of a granule, by leaf column.
#[derive(Debug)]
pub(crate) struct GranulePages {
    granule: u32,
    pages: Vec<(usize, Bytes)>,
}

const NOT_FETCHED: Malformed = Malformed("a page was not fetched");

impl GranulePages {
    pub(crate) fn new(granule: u32, pages: Vec<(usize, Bytes)>) -> Self {
        Self { granule, pages }
    }

    pub(crate) fn granule(&self) -> u32 {
        self.granule
    }

    pub(crate) fn rows(&self, segment: &LogSegment) -> usize {
        segment.granules().granules[self.granule as usize].rows as usize
    }

    pub(crate) fn page(&self, leaf: usize) -> Option<&Bytes> {
        self.pages.iter().find(|(of, _)| *of == leaf).map(|(_, page)| page)
    }

    /// The times of all rows.
    pub(crate) fn times(
        &self,
        leaf: usize,
        segment: &LogSegment,
        decoder: &mut PageDecoder,
    ) -> Result<Vec<i64>, Malformed> {
        let page = self.page(leaf).ok_or(NOT_FETCHED)?;
        if segment.columns().zstd(leaf)
            && let Some(times) = decoder.longs(page, self.rows(segment))?
        {
            return Ok(times);
        }
        let batch = segment.decode(self.granule, &[leaf], vec![page.clone()], Extent::Whole)?;
        batch.times().map(<[i64]>::to_vec)
    }

    /// The numbers of all rows in one of the other columns.
    pub(crate) fn numbers(
        &self,
        leaf: usize,
        segment: &LogSegment,
        decoder: &mut PageDecoder,
    ) -> Result<Vec<u32>, Malformed> {
        let page = self.page(leaf).ok_or(NOT_FETCHED)?;
        if segment.columns().zstd(leaf)
            && let Some(numbers) = decoder.numbers(page, self.rows(segment))?
        {
            return Ok(numbers);
        }
        let name = match leaf {
            STREAM => "stream",
            LEVEL => "level",
            PATTERN => "pattern",
            _ => return Err(NOT_FETCHED),
        };
        let batch = segment.decode(self.granule, &[leaf], vec![page.clone()], Extent::Whole)?;
        batch.numbers(name).map(<[u32]>::to_vec)
    }

    pub(crate) fn add(&mut self, pages: Vec<(usize, Bytes)>) {
        self.pages.extend(pages);
    }

    /// The pages of `leaves`, in their order.
    pub(crate) fn of(&self, leaves: &[usize]) -> Result<Vec<Bytes>, Malformed> {
        let page = |leaf: &usize| self.page(*leaf).cloned().ok_or(NOT_FETCHED);
        leaves.iter().map(page).collect()
    }
}
