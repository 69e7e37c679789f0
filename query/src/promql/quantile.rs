//! Quantiles of plain values, and of classic histograms given as cumulative buckets.

use std::cmp::Ordering;

/// Relative difference below which two bucket counts are the same number, computed twice.
const SMALL_DELTA: f64 = 1e-12;

/// The φ-quantile of `values`, interpolated between ranks. Sorts `values`, NaN smallest.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if let Some(outside) = outside(q) {
        return outside;
    }
    values.sort_by(|a, b| nan_first(*a, *b));
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor().max(0.0) as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

pub(crate) fn nan_first(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

fn outside(q: f64) -> Option<f64> {
    if q < 0.0 {
        Some(f64::NEG_INFINITY)
    } else if 1.0 < q {
        Some(f64::INFINITY)
    } else {
        None
    }
}

/// One cumulative bucket: how many observations are at most `upper`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

/// Buckets sorted by bound, equal bounds added up. Empty unless the last bound is infinite.
fn prepared(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|later, first| {
        let same = later.upper == first.upper;
        if same {
            first.count += later.count;
        }
        same
    });
    true
}

/// The φ-quantile of a classic histogram, and whether its counts had to be made monotonic.
pub(crate) fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if let Some(outside) = outside(q) {
        return (outside, false);
    }
    if !prepared(buckets) {
        return (f64::NAN, false);
    }
    let forced = make_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, false);
    }
    let mut rank = q * observations;
    let found = buckets[..last].partition_point(|bucket| bucket.count < rank || rank.is_nan());
    if found == last {
        return (buckets[last - 1].upper, forced);
    }
    let Bucket { upper, mut count } = buckets[found];
    if found == 0 && upper <= 0.0 {
        return (upper, forced);
    }
    let mut lower = 0.0;
    if let Some(before) = found.checked_sub(1).map(|at| buckets[at]) {
        lower = before.upper;
        count -= before.count;
        rank -= before.count;
    }
    (lower + (upper - lower) * (rank / count), forced)
}

/// Lifts counts that fall. Returns whether any fell by more than rounding explains.
fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut forced = false;
    let Some((first, rest)) = buckets.split_first_mut() else { return false };
    let mut highest = first.count;
    for bucket in rest {
        if bucket.count == highest {
            continue;
        }
        if almost_equal(highest, bucket.count) {
            bucket.count = highest;
        } else if bucket.count < highest {
            bucket.count = highest;
            forced = true;
        } else {
            highest = bucket.count;
        }
    }
    forced
}

fn almost_equal(a: f64, b: f64) -> bool {
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}

/// The fraction of a classic histogram's observations between `lower` and `upper`.
pub(crate) fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !prepared(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if upper <= lower {
        return 0.0;
    }
    (rank_of(upper, buckets) - rank_of(lower, buckets)) / count
}

/// How many observations are below `bound`, interpolated within its bucket.
fn rank_of(bound: f64, buckets: &[Bucket]) -> f64 {
    let total = buckets.last().map_or(0.0, |last| last.count);
    let mut rank = 0.0;
    let mut floor = match buckets.first() {
        Some(first) if 0.0 < first.upper => 0.0,
        _ => f64::NEG_INFINITY,
    };
    for bucket in buckets {
        if bound <= floor {
            return f64::min(rank, total);
        }
        if bound < bucket.upper {
            // There is no half of an unbounded bucket: none of it is below a finite bound.
            let unbounded = floor.is_infinite() || bucket.upper.is_infinite();
            let share = if unbounded { 0.0 } else { (bound - floor) / (bucket.upper - floor) };
            return f64::min(rank + (bucket.count - rank) * share, total);
        }
        rank = bucket.count;
        floor = bucket.upper;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|&(upper, count)| Bucket { upper, count }).collect()
    }

    #[test]
    fn interpolates_within_a_bucket() {
        let given = [(f64::INFINITY, 4.0), (1.0, 1.0), (2.0, 3.0)];
        assert_eq!(bucket_quantile(0.5, &mut buckets(&given)), (1.5, false));
        assert_eq!(bucket_quantile(0.25, &mut buckets(&given)), (1.0, false));
        assert_eq!(bucket_quantile(1.0, &mut buckets(&given)), (2.0, false));
        assert_eq!(bucket_quantile(-0.1, &mut buckets(&given)), (f64::NEG_INFINITY, false));
    }

    #[test]
    fn without_an_infinite_bucket_there_is_no_quantile() {
        let (value, _) = bucket_quantile(0.5, &mut buckets(&[(1.0, 1.0), (2.0, 3.0)]));
        assert!(value.is_nan());
        assert!(bucket_quantile(0.5, &mut Vec::new()).0.is_nan());
        assert!(bucket_fraction(0.0, 1.0, &mut Vec::new()).is_nan());
    }

    #[test]
    fn falling_counts_are_lifted_and_said() {
        let given = [(1.0, 3.0), (2.0, 2.0), (f64::INFINITY, 4.0)];
        assert!(bucket_quantile(0.5, &mut buckets(&given)).1);
        let rounding = [(1.0, 3.0), (2.0, 3.0 - 1e-13), (f64::INFINITY, 4.0)];
        assert!(!bucket_quantile(0.5, &mut buckets(&rounding)).1);
    }

    #[test]
    fn fraction_is_the_inverse_of_quantile() {
        let given = [(1.0, 1.0), (2.0, 3.0), (f64::INFINITY, 4.0)];
        assert_eq!(bucket_fraction(0.0, 1.5, &mut buckets(&given)), 0.5);
        assert_eq!(bucket_fraction(1.0, 2.0, &mut buckets(&given)), 0.5);
        assert_eq!(bucket_fraction(f64::NEG_INFINITY, f64::INFINITY, &mut buckets(&given)), 1.0);
        assert_eq!(bucket_fraction(2.0, 1.0, &mut buckets(&given)), 0.0);
    }

    #[test]
    fn quantile_treats_nan_as_smallest() {
        assert_eq!(quantile(0.8, &mut [0.0, 1.0, f64::NAN]), 0.6000000000000001);
        assert!(quantile(0.2, &mut [0.0, 1.0, f64::NAN]).is_nan());
        assert_eq!(quantile(0.5, &mut [3.0]), 3.0);
    }
}
