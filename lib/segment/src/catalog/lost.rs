//! Offsets of a partition that were gone from the queue before anybody read them.
//!
//! They are published as passed over, and named here: which they were is known to whoever opens the
//! catalog, long after the log lines that said so are gone.
//!
//! Always holds: ranges are in order and do not overlap. Bounded by [`LOST_RANGES_MAX`] ranges.

/// Ranges kept of one partition. A queue loses offsets from its beginning, mostly once for all that
/// were lost; of more than this, the newest are kept, and the others counted.
pub const LOST_RANGES_MAX: usize = 1_000;

/// What a partition's queue lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// In order.
    pub ranges: Vec<LostRange>,
    /// How many offsets were lost before those in `ranges`, in ranges that are not kept.
    pub earlier: u64,
}

/// Offsets that nobody read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// The first of them.
    pub from: i64,
    /// Next after the last.
    pub to: i64,
    /// When the last of them was published as passed over, Unix milliseconds.
    pub noted_ms: i64,
}

impl Lost {
    /// How many offsets were lost.
    pub fn offsets(&self) -> u64 {
        self.ranges.iter().fold(self.earlier, |sum, range| sum.saturating_add(range.offsets()))
    }

    /// Adds `ranges`, each first and next after the last.
    ///
    /// # Errors
    /// The range that is empty, not behind those before it, or not below `published`.
    pub(super) fn note(
        &mut self,
        ranges: &[(i64, i64)],
        published: i64,
        noted_ms: i64,
    ) -> Result<(), (i64, i64)> {
        for &(from, to) in ranges {
            let behind = self.ranges.last().is_none_or(|last| last.to <= from);
            if to <= from || published < to || !behind {
                return Err((from, to));
            }
            match self.ranges.last_mut() {
                Some(last) if last.to == from => (last.to, last.noted_ms) = (to, noted_ms),
                _ => self.ranges.push(LostRange { from, to, noted_ms }),
            }
        }
        let over = self.ranges.len().saturating_sub(LOST_RANGES_MAX);
        for dropped in self.ranges.drain(..over) {
            self.earlier = self.earlier.saturating_add(dropped.offsets());
        }
        Ok(())
    }
}

impl LostRange {
    /// How many offsets it has.
    pub fn offsets(&self) -> u64 {
        self.to.abs_diff(self.from)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn adjoining_ranges_are_one_and_disorder_is_refused() {
        let mut lost = Lost::default();
        lost.note(&[(3, 5), (5, 6), (9, 12)], 12, 1).unwrap();
        lost.note(&[(12, 13)], 20, 2).unwrap();
        let range = |from, to, noted_ms| LostRange { from, to, noted_ms };
        assert_eq!(lost.ranges, [range(3, 6, 1), range(9, 13, 2)]);
        assert_eq!(lost.offsets(), 7);
        for (from, to) in [(12, 14), (14, 14), (15, 14), (14, 21)] {
            assert_eq!(lost.clone().note(&[(from, to)], 20, 3), Err((from, to)));
        }
    }

    #[test]
    fn the_oldest_of_too_many_are_counted() {
        let mut lost = Lost::default();
        let ranges: Vec<(i64, i64)> =
            (0..LOST_RANGES_MAX as i64 + 5).map(|n| (3 * n, 3 * n + 2)).collect();
        lost.note(&ranges, i64::MAX, 1).unwrap();
        assert_eq!((lost.ranges.len(), lost.earlier), (LOST_RANGES_MAX, 10));
        assert_eq!(lost.ranges[0].from, 15);
        assert_eq!(lost.offsets(), 2 * ranges.len() as u64);
    }
}
