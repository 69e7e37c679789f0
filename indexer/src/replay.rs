//! Dropping rows that were taken before.
//!
//! A collector that crashed before it heard an acknowledgement sends its last rows again, and
//! batches are cut anew then, so whole messages cannot be compared. Rows can: the offsets of a
//! source's rows grow strictly, so within a partition a row is a replay exactly if its offset is at
//! or below the highest one taken from its source.
//!
//! Always holds: what is taken depends only on the positions a partition was acquired with and on
//! the messages since, so whoever reads the same offsets again takes the same rows.
//! Bounded by what the catalog remembers plus [`crate::cut::SOURCES_MAX`] and one message.

use std::collections::HashMap;

use record::{LogBatch, SourceId};

/// The highest source offsets taken within one partition.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    highs: HashMap<SourceId, u64>,
    /// Those that rows of the open cut raised.
    touched: HashMap<SourceId, u64>,
}

impl Replays {
    /// Starts from what is published.
    pub(crate) fn seeded(published: impl IntoIterator<Item = (SourceId, u64)>) -> Self {
        Self { highs: published.into_iter().collect(), touched: HashMap::new() }
    }

    /// Takes the rows of `batch` that are new and returns which, or `None` when all are.
    ///
    /// Rows without a source (pushes) always are.
    pub(crate) fn take(&mut self, batch: &LogBatch) -> Option<Vec<bool>> {
        // Rows of many sources are in a batch, perhaps mixed: each source is looked up once.
        let mut runs: Vec<Run> = Vec::new();
        let mut numbers = HashMap::new();
        let number = |source: &SourceId| {
            *numbers.entry(*source).or_insert_with(|| {
                let high = self.highs.get(source).copied();
                runs.push(Run { source: *source, high, raised: false });
                runs.len() - 1
            })
        };
        let run_of: Vec<usize> = batch.sources().iter().map(number).collect();
        let new = |row| match batch.source_index(row) {
            Some((source, offset)) => runs[run_of[source]].take(offset),
            None => true,
        };
        let mask: Vec<bool> = (0..batch.len()).map(new).collect();
        runs.into_iter().for_each(|run| self.end(run));
        if mask.iter().all(|new| *new) { None } else { Some(mask) }
    }

    /// Returns how many sources the open cut has touched.
    pub(crate) fn touched(&self) -> usize {
        self.touched.len()
    }

    /// Returns the positions the open cut raised, for its commit, and starts a new cut.
    pub(crate) fn cut(&mut self) -> Vec<(SourceId, u64)> {
        let mut cut: Vec<_> = std::mem::take(&mut self.touched).into_iter().collect();
        // Equal cuts make equal commits.
        cut.sort_unstable();
        cut
    }

    /// Forgets the sources that `remembered` denies, except those not published yet.
    ///
    /// Call it only when everything cut is published.
    pub(crate) fn forget(&mut self, remembered: impl Fn(&SourceId) -> bool) {
        let touched = &self.touched;
        self.highs.retain(|source, _| touched.contains_key(source) || remembered(source));
    }

    fn end(&mut self, run: Run) {
        let Run { source, high: Some(high), raised: true } = run else { return };
        self.highs.insert(source, high);
        self.touched.insert(source, high);
    }
}

/// The rows of one source in a batch.
#[derive(Debug)]
struct Run {
    source: SourceId,
    high: Option<u64>,
    raised: bool,
}

impl Run {
    fn take(&mut self, offset: u64) -> bool {
        let new = self.high.is_none_or(|high| high < offset);
        if new {
            self.high = Some(offset);
            self.raised = true;
        }
        new
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use record::{Labels, LogBatchBuilder, TimestampNanos};

    use super::*;

    fn batch(rows: &[Option<(u8, u64)>]) -> LogBatch {
        let mut builder = LogBatchBuilder::new();
        for source in rows {
            let source = source.map(|(source, offset)| (SourceId([source; 16]), offset));
            builder.push::<&str, &str>(TimestampNanos(0), &Labels::default(), "", &[], source);
        }
        builder.finish()
    }

    /// Batches put together may name a source twice.
    fn halves(rows: &[Option<(u8, u64)>]) -> LogBatch {
        let (first, second) = rows.split_at(rows.len() / 2);
        LogBatch::concat(&[batch(first), batch(second)]).unwrap()
    }

    fn taken(replays: &mut Replays, rows: &[Option<(u8, u64)>]) -> Vec<bool> {
        replays.take(&halves(rows)).unwrap_or_else(|| vec![true; rows.len()])
    }

    proptest! {
        #[test]
        fn takes_what_the_rule_says(
            seed in prop::collection::btree_map(0_u8..4, 0_u64..20, 0..4),
            batches in prop::collection::vec(
                prop::collection::vec(prop::option::weighted(0.9, (0_u8..4, 0_u64..20)), 0..12),
                0..8,
            ),
        ) {
            let mut replays =
                Replays::seeded(seed.iter().map(|(source, high)| (SourceId([*source; 16]), *high)));
            let mut highs: BTreeMap<SourceId, u64> =
                seed.into_iter().map(|(source, high)| (SourceId([source; 16]), high)).collect();
            for rows in batches {
                let mut expected = Vec::new();
                // A batch has them in an order of its own.
                let batch = halves(&rows);
                for row in 0..batch.len() {
                    let Some((source, offset)) = batch.source(row) else {
                        expected.push(true);
                        continue;
                    };
                    let replay = highs.get(&source).is_some_and(|high| offset <= *high);
                    expected.push(!replay);
                    if !replay {
                        highs.insert(source, offset);
                    }
                }
                prop_assert_eq!(taken(&mut replays, &rows), expected);
            }
        }
    }

    #[test]
    fn offset_zero_of_an_unknown_source_is_new_once() {
        let mut replays = Replays::default();
        assert_eq!(taken(&mut replays, &[Some((1, 0)), Some((1, 0))]), [true, false]);
    }

    #[test]
    fn a_cut_carries_only_what_it_raised() {
        let mut replays = Replays::seeded([(SourceId([1; 16]), 10), (SourceId([2; 16]), 10)]);
        taken(&mut replays, &[Some((1, 10)), Some((2, 11)), Some((3, 4)), Some((2, 12))]);
        assert_eq!(replays.touched(), 2);
        assert_eq!(replays.cut(), [(SourceId([2; 16]), 12), (SourceId([3; 16]), 4)]);
        assert_eq!(replays.cut(), []);
    }

    #[test]
    fn forgotten_sources_start_over_and_unpublished_ones_are_kept() {
        let mut replays = Replays::seeded([(SourceId([1; 16]), 10), (SourceId([2; 16]), 10)]);
        taken(&mut replays, &[Some((3, 7))]);
        replays.forget(|source| *source == SourceId([2; 16]));
        let rows = [Some((1, 5)), Some((2, 5)), Some((3, 5))];
        assert_eq!(taken(&mut replays, &rows), [true, false, false]);
    }
}
