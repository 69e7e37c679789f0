//! What the catalog knows about a segment without opening it.
//!
//! Enough to prune by tenant, kind and time, to find the object and open it with one read, and to
//! tell which queue offsets its rows came from.

use bytes::Bytes;
use record::TenantId;
use serde::{Deserialize, Serialize};

use crate::id::{SegmentId, SegmentKind};

/// One published segment's entry in the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentMeta {
    pub id: SegmentId,
    pub kind: SegmentKind,
    pub tenant: TenantId,
    /// Object name from the store's root.
    pub path: String,
    /// Size of the object.
    pub bytes: u64,
    /// Size of what it holds before encoding.
    pub raw_bytes: u64,
    /// Log records or samples.
    pub rows: u64,
    /// Unix nanoseconds of the earliest row.
    pub time_min_ns: i64,
    /// Unix nanoseconds of the latest row, inclusive.
    pub time_max_ns: i64,
    /// Queue offsets whose rows are inside.
    pub ranges: Vec<OffsetRange>,
    /// When its newest rows were first built into a segment, Unix milliseconds: the order in
    /// which rows came in, which merges keep.
    pub created_ms: i64,
    /// Bytes at the end of the object that one read should fetch to open it.
    pub footer_bytes: u64,
    /// 0 as published by the indexer, higher after merges.
    pub level: u8,
    /// Name of the retention rule its rows are kept by; empty for the default.
    ///
    /// Segments of different classes are never merged, so retention removes segments whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
}

/// Queue offsets of one partition, `from` inclusive, `to` exclusive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OffsetRange {
    pub topic: String,
    pub partition: i32,
    pub from: i64,
    pub to: i64,
}

/// A segment that was built and not yet stored or published.
#[derive(Clone, Debug)]
pub struct BuiltSegment {
    pub kind: SegmentKind,
    /// The whole object.
    pub bytes: Bytes,
    pub rows: u64,
    pub raw_bytes: u64,
    pub time_min_ns: i64,
    pub time_max_ns: i64,
    pub footer_bytes: u64,
}

impl BuiltSegment {
    /// The catalog entry for this segment, as published fresh from the queue.
    pub fn meta(
        &self,
        id: SegmentId,
        tenant: TenantId,
        ranges: Vec<OffsetRange>,
        created_ms: i64,
    ) -> SegmentMeta {
        SegmentMeta {
            id,
            kind: self.kind,
            path: SegmentMeta::object_path(self.kind, &tenant, id, self.time_min_ns),
            tenant,
            bytes: self.bytes.len() as u64,
            raw_bytes: self.raw_bytes,
            rows: self.rows,
            time_min_ns: self.time_min_ns,
            time_max_ns: self.time_max_ns,
            ranges,
            created_ms,
            footer_bytes: self.footer_bytes,
            level: 0,
            class: String::new(),
        }
    }
}

impl OffsetRange {
    /// Returns the same offsets in as few ranges as possible, sorted.
    pub fn coalesce(mut ranges: Vec<Self>) -> Vec<Self> {
        ranges.sort();
        let mut joined: Vec<Self> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match joined.last_mut() {
                Some(last)
                    if last.topic == range.topic
                        && last.partition == range.partition
                        && range.from <= last.to =>
                {
                    last.to = last.to.max(range.to);
                }
                _ => joined.push(range),
            }
        }
        joined
    }
}

impl SegmentMeta {
    /// Where a segment's object belongs: `segments/<kind>/<tenant>/<day>/<id>`.
    ///
    /// The day (UTC, of the earliest row) only keeps folders small for people and local disks;
    /// nothing reads it back.
    pub fn object_path(
        kind: SegmentKind,
        tenant: &TenantId,
        id: SegmentId,
        time_min_ns: i64,
    ) -> String {
        let day = day_of(time_min_ns);
        format!("segments/{kind}/{}/{day}/{id}", tenant.as_str())
    }

    /// The object's name as the store takes it.
    pub fn location(&self) -> object_store::path::Path {
        object_store::path::Path::from(self.path.as_str())
    }

    /// Whether any row may lie in `start_ns` (inclusive) to `end_ns` (exclusive).
    pub fn overlaps(&self, start_ns: i64, end_ns: i64) -> bool {
        start_ns <= self.time_max_ns && self.time_min_ns < end_ns
    }

    /// Why this entry contradicts itself, if it does.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        if self.path.is_empty() {
            return Some("it has no path");
        }
        if self.time_max_ns < self.time_min_ns {
            return Some("its latest time is before its earliest");
        }
        if self.bytes < self.footer_bytes {
            return Some("its footer is larger than the object");
        }
        if self.ranges.iter().any(|range| range.to < range.from) {
            return Some("an offset range ends before it starts");
        }
        None
    }
}

/// `YYYY-MM-DD` of a Unix time, proleptic Gregorian calendar.
fn day_of(unix_ns: i64) -> String {
    const NANOS_PER_DAY: i64 = 86_400_000_000_000;
    // Days are counted from 0000-03-01, so that a leap day ends its year (and its 400-year era).
    let days = unix_ns.div_euclid(NANOS_PER_DAY) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn ranges_that_adjoin_become_one() {
        let range = |topic: &str, partition, from, to| OffsetRange {
            topic: topic.to_owned(),
            partition,
            from,
            to,
        };
        let joined = OffsetRange::coalesce(vec![
            range("b", 0, 5, 9),
            range("a", 1, 0, 4),
            range("a", 0, 10, 20),
            range("a", 0, 0, 5),
            range("a", 0, 5, 7),
            range("a", 0, 6, 7),
        ]);
        let expected =
            [range("a", 0, 0, 7), range("a", 0, 10, 20), range("a", 1, 0, 4), range("b", 0, 5, 9)];
        assert_eq!(joined, expected);
    }

    #[test]
    fn days_are_calendar_days() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (1_735_689_600, "2025-01-01"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day_of(seconds * 1_000_000_000), day);
        }
    }
}
