//! The best rows of a scan with a limit: newest or oldest, by the plan's direction.
//!
//! Which rows are wanted is mostly known before they are read. Their times are promised then, so
//! that what is worse than enough of them is not read at all.
//!
//! What always holds: of all rows added, no row that is left out is better than one that is kept.
//!
//! Bounds: the limit, plus the rows of one granule; twice as many times.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use record::LogBatch;

use crate::logs::plan::Direction;

#[derive(Debug)]
pub(crate) struct BestRows {
    limit: usize,
    direction: Direction,
    /// Each with what tells it from the others, which is handed back.
    batches: Vec<(u64, LogBatch)>,
    rows: usize,
    /// The worst time kept, once there are `limit` rows.
    worst: Option<i64>,
    /// The best times of rows that are sure to be added or were.
    promised: Vec<i64>,
    /// The worst of the `limit` best promised.
    promised_worst: Option<i64>,
}

impl BestRows {
    pub(crate) fn new(limit: usize, direction: Direction) -> Self {
        let (batches, promised) = (Vec::new(), Vec::new());
        Self { limit, direction, batches, rows: 0, worst: None, promised, promised_worst: None }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// The times of rows that could be better than one that is kept.
    pub(crate) fn reach(&self) -> RangeInclusive<i64> {
        let (worst, promised) = (self.worst, self.promised_worst);
        // As good as what is kept is not better; what is promised may be that very row.
        let (first, last) = match self.direction {
            _ if self.limit == 0 => (i64::MAX, i64::MIN),
            Direction::Forward => {
                let worst = worst.map_or(i64::MAX, |worst| worst.saturating_sub(1));
                (i64::MIN, worst.min(promised.unwrap_or(i64::MAX)))
            }
            Direction::Backward => {
                let worst = worst.map_or(i64::MIN, |worst| worst.saturating_add(1));
                (worst.max(promised.unwrap_or(i64::MIN)), i64::MAX)
            }
        };
        first..=last
    }

    /// Whether a row between these times (inclusive) could be better than one that is kept.
    pub(crate) fn may_take(&self, time_min: i64, time_max: i64) -> bool {
        let reach = self.reach();
        time_min <= *reach.end() && *reach.start() <= time_max
    }

    /// Whether some times are out of reach.
    pub(crate) fn is_bounded(&self) -> bool {
        self.worst.is_some() || self.promised_worst.is_some()
    }

    /// Takes in the times of rows that are sure to be added, each row once.
    pub(crate) fn promise(&mut self, times: impl Iterator<Item = i64>) {
        for time in times {
            self.promised.push(time);
            if 2 * self.limit <= self.promised.len() {
                self.keep_promised();
            }
        }
        self.keep_promised();
    }

    fn keep_promised(&mut self) {
        if self.limit == 0 || self.promised.len() < self.limit {
            return;
        }
        let direction = self.direction;
        let better_first = |a: &i64, b: &i64| better_first(direction, *a, *b);
        let (_, worst, _) = self.promised.select_nth_unstable_by(self.limit - 1, better_first);
        self.promised_worst = Some(*worst);
        self.promised.truncate(self.limit);
    }

    /// Adds rows and drops what is not among the best any more.
    pub(crate) fn add(&mut self, tag: u64, batch: LogBatch) {
        self.rows += batch.len();
        self.batches.push((tag, batch));
        if self.rows < self.limit {
            return;
        }
        let mut times: Vec<i64> =
            self.batches.iter().flat_map(|(_, b)| b.times()).copied().collect();
        if self.limit == 0 {
            self.batches.clear();
            return;
        }
        let direction = self.direction;
        let better_first = |a: &i64, b: &i64| better_first(direction, *a, *b);
        let (_, worst, _) = times.select_nth_unstable_by(self.limit - 1, better_first);
        let worst = *worst;
        self.worst = Some(worst);
        self.keep(worst);
    }

    /// Keeps the rows better than `worst`, and of those as good as many as fit.
    fn keep(&mut self, worst: i64) {
        let direction = self.direction;
        let better = |time: i64| match direction {
            Direction::Forward => time < worst,
            Direction::Backward => worst < time,
        };
        let times = self.batches.iter().flat_map(|(_, batch)| batch.times());
        let mut equal_left = self.limit - times.filter(|time| better(**time)).count();
        let mut kept = Vec::with_capacity(self.batches.len());
        for (tag, batch) in self.batches.drain(..) {
            let mut keeps = |time: i64| {
                if time == worst && 0 < equal_left {
                    equal_left -= 1;
                    return true;
                }
                better(time)
            };
            let mask: Vec<bool> = batch.times().iter().map(|time| keeps(*time)).collect();
            if mask.iter().all(|keep| *keep) {
                kept.push((tag, batch));
            } else if mask.contains(&true) {
                kept.push((tag, batch.filter(&mask)));
            }
        }
        self.rows = kept.iter().map(|(_, batch)| batch.len()).sum();
        self.batches = kept;
    }

    pub(crate) fn into_batches(self) -> Vec<(u64, LogBatch)> {
        self.batches
    }
}

fn better_first(direction: Direction, a: i64, b: i64) -> Ordering {
    match direction {
        Direction::Forward => a.cmp(&b),
        Direction::Backward => b.cmp(&a),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use record::{Labels, LogBatchBuilder, TimestampNanos};

    use super::*;

    fn batch(times: &[i64]) -> LogBatch {
        let mut builder = LogBatchBuilder::new();
        for time in times {
            let stream = Labels::default();
            builder.push::<&str, &str>(TimestampNanos(*time), &stream, "", &[], None);
        }
        builder.finish()
    }

    proptest! {
        #[test]
        fn keeps_what_sorting_everything_would(
            batches in prop::collection::vec(prop::collection::vec(-9_i64..9, 1..8), 0..8),
            limit in 0_usize..12,
            forward in any::<bool>(),
            promises in any::<bool>(),
        ) {
            let direction = if forward { Direction::Forward } else { Direction::Backward };
            let mut best = BestRows::new(limit, direction);
            let mut all: Vec<i64> = Vec::new();
            if promises {
                best.promise(batches.iter().flatten().copied());
            }
            for times in &batches {
                let (min, max) = (times.iter().min(), times.iter().max());
                let reach = best.may_take(*min.unwrap_or(&0), *max.unwrap_or(&0));
                let before: Vec<i64> =
                    best.batches.iter().flat_map(|(_, b)| b.times().to_vec()).collect();
                // What is promised and out of reach is not read.
                if reach || !promises {
                    best.add(0, batch(times));
                }
                if !reach && !promises {
                    let after: Vec<i64> =
                        best.batches.iter().flat_map(|(_, b)| b.times().to_vec()).collect();
                    prop_assert_eq!(before, after, "out of reach, yet it changed something");
                }
                all.extend(times);
            }
            all.sort_unstable();
            if !forward {
                all.reverse();
            }
            all.truncate(limit);
            let mut kept: Vec<i64> =
                best.into_batches().iter().flat_map(|(_, b)| b.times().to_vec()).collect();
            kept.sort_unstable();
            if !forward {
                kept.reverse();
            }
            prop_assert_eq!(kept, all);
        }
    }
}
