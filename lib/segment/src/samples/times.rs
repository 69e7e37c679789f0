//! Time arrays: strictly ascending milliseconds as differences of differences.
//!
//! Scrapes are regular, so nearly all of them are 0 or a few milliseconds: one byte each before
//! compression, and stored once for all series of a target.

use crate::wire::{Malformed, Reader, put_signed};

/// Encodes all but the first time. Steps are taken modulo 2^64, so any times survive.
pub(super) fn encode(times: &[i64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(times.len() + 8);
    let mut step_before = 0_i64;
    for pair in times.windows(2) {
        let step = pair[1].wrapping_sub(pair[0]);
        put_signed(&mut out, step.wrapping_sub(step_before));
        step_before = step;
    }
    out
}

/// Decodes `count` times, checking that they ascend and end at `last`.
pub(super) fn decode(
    item: &[u8],
    first: i64,
    last: i64,
    count: usize,
) -> Result<Vec<i64>, Malformed> {
    let mut reader = Reader::new(item);
    let mut times = Vec::with_capacity(count);
    times.push(first);
    let (mut time, mut step) = (first, 0_i64);
    for _ in 1..count {
        step = step.wrapping_add(reader.signed()?);
        let next = time.wrapping_add(step);
        if next <= time {
            return Err(Malformed("times do not ascend"));
        }
        time = next;
        times.push(time);
    }
    reader.finish()?;
    if time != last {
        return Err(Malformed("times do not end where the directory says"));
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_ascending_times_come_back(times in prop::collection::btree_set(any::<i64>(), 1..50)) {
            let times: Vec<i64> = BTreeSet::into_iter(times).collect();
            let decoded = decode(&encode(&times), times[0], times[times.len() - 1], times.len());
            prop_assert_eq!(decoded, Ok(times));
        }

        #[test]
        fn any_bytes_are_times_or_an_error(
            item in prop::collection::vec(any::<u8>(), 0..50),
            first in any::<i64>(),
            count in 1_usize..60,
        ) {
            drop(decode(&item, first, 0, count));
        }
    }

    #[test]
    fn regular_times_cost_a_byte_each() {
        let times: Vec<i64> = (0..1_000).map(|n| 1_700_000_000_000 + n * 15_000).collect();
        assert!(encode(&times).len() < 1_005);
    }
}
