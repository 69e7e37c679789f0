//! Making few requests of many ranges.
//!
//! A request to a bucket costs tens of milliseconds whatever its size, so ranges that lie near one
//! another are read in one, the gap between them included; and one that grows too large is split
//! off, so that several go side by side.

use std::ops::Range;

use bytes::Bytes;

/// Bytes between two ranges that are read along rather than asked for apart: about what a bucket
/// delivers in the time a request takes to begin. More reads more for nothing.
const GAP_BYTES_MAX: u64 = 256 << 10;

/// Bytes of one request, except for a range that alone has more. More leaves connections idle.
const REQUEST_BYTES_MAX: u64 = 4 << 20;

/// Requests that cover all `ranges`, in order, none overlapping another unless a range does.
pub(super) fn coalesced(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<Range<u64>> = ranges.to_vec();
    sorted.sort_by_key(|range| (range.start, range.end));
    let mut requests: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match requests.last_mut() {
            Some(last)
                if range.end <= last.end
                    || (range.start <= last.end.saturating_add(GAP_BYTES_MAX)
                        && range.end - last.start <= REQUEST_BYTES_MAX) =>
            {
                last.end = last.end.max(range.end);
            }
            _ => requests.push(range),
        }
    }
    requests
}

/// The bytes of `range` out of what the requests gave; as many as there are.
pub(super) fn slice(requests: &[Range<u64>], read: &[Bytes], range: &Range<u64>) -> Bytes {
    let covers = |request: &Range<u64>| request.start <= range.start && range.end <= request.end;
    let Some(at) = requests.iter().position(covers) else { return Bytes::new() };
    let bytes = &read[at];
    let offset = |at_byte: u64| ((at_byte - requests[at].start) as usize).min(bytes.len());
    bytes.slice(offset(range.start)..offset(range.end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_range_gets_its_bytes(
            ranges in prop::collection::vec((0_u64..20 << 20, 0_u64..3 << 20), 0..12),
        ) {
            let ranges: Vec<Range<u64>> =
                ranges.into_iter().map(|(start, length)| start..start + length).collect();
            let object: Bytes = (0..24_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let requests = coalesced(&ranges);
            prop_assert!(requests.len() <= ranges.len());
            let read: Vec<Bytes> =
                requests.iter().map(|r| object.slice(r.start as usize..r.end as usize)).collect();
            for request in &requests {
                let whole = ranges.contains(request);
                prop_assert!(whole || request.end - request.start <= REQUEST_BYTES_MAX);
            }
            for range in &ranges {
                let expected = object.slice(range.start as usize..range.end as usize);
                prop_assert_eq!(slice(&requests, &read, range), expected);
            }
        }
    }

    #[test]
    fn near_ranges_are_one_request_and_far_ones_are_not() {
        let far = GAP_BYTES_MAX + 1;
        assert_eq!(coalesced(&[20..30, 0..10]), std::slice::from_ref(&(0..30)));
        assert_eq!(coalesced(&[0..10, 10 + far..20 + far]), [0..10, 10 + far..20 + far]);
        let large = 0..REQUEST_BYTES_MAX;
        assert_eq!(coalesced(&[large.clone(), large.end..large.end + 1]).len(), 2);
    }
}
