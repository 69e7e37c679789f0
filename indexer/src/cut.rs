//! When to cut the open rows into segments.
//!
//! Small segments make search slow, since every query opens each one. Large or old ones delay
//! publication and lengthen the replay after a crash, because offsets are published with the
//! segments.
//!
//! Always holds: deciding has no side effect and reads no clock. A cut takes the open rows of every
//! partition, so one commit can move all their offsets.

use std::time::Duration;

/// Distinct sources in one cut. Each costs about 60 bytes in the commit object, whose size the
/// catalog bounds.
pub const SOURCES_MAX: usize = 20_000;

/// Distinct tenants in one cut. Each makes at least one segment, one upload and one catalog entry.
pub const TENANTS_MAX: usize = 256;

/// When to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutPolicy {
    /// Raw bytes that are enough for good segments.
    pub raw_bytes_max: u64,
    /// Bytes in memory, whatever their raw size.
    pub memory_bytes_max: u64,
    /// Age of the oldest message.
    pub age_max: Duration,
    /// Length of a time window.
    pub window: Duration,
}

/// A moment on both clocks: one cannot jump, the other has a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the process' clock started.
    pub elapsed: Duration,
    /// Nanoseconds since the Unix epoch.
    pub unix_nanos: i64,
}

/// What is open, over all partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenRows {
    /// Messages, those without a row left included: their offsets wait to be published too.
    pub messages: u64,
    pub raw_bytes: u64,
    pub memory_bytes: u64,
    pub sources: usize,
    pub tenants: usize,
    /// When the oldest message arrived.
    pub first_arrival: Option<Moment>,
}

/// Why the rows were cut: the `reason` label of `millrace_indexer_cuts_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    RawBytes,
    Memory,
    Sources,
    Tenants,
    Age,
    Window,
    /// The process stops.
    Drain,
}

impl Cut {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RawBytes => "raw_bytes",
            Self::Memory => "memory",
            Self::Sources => "sources",
            Self::Tenants => "tenants",
            Self::Age => "age",
            Self::Window => "window",
            Self::Drain => "drain",
        }
    }
}

impl CutPolicy {
    /// Returns why `open` must be cut at `now`, or `None`.
    ///
    /// Age and window count from when the first message arrived, not from the rows' own times:
    /// replaying last week's logs must not produce a segment per row.
    pub fn decide(&self, open: &OpenRows, now: Moment) -> Option<Cut> {
        let first = open.first_arrival?;
        if self.raw_bytes_max <= open.raw_bytes {
            return Some(Cut::RawBytes);
        }
        if self.memory_bytes_max <= open.memory_bytes {
            return Some(Cut::Memory);
        }
        if SOURCES_MAX <= open.sources {
            return Some(Cut::Sources);
        }
        if TENANTS_MAX <= open.tenants {
            return Some(Cut::Tenants);
        }
        if self.age_max <= now.elapsed.saturating_sub(first.elapsed) {
            return Some(Cut::Age);
        }
        if window_start(first.unix_nanos, self.window) < window_start(now.unix_nanos, self.window) {
            return Some(Cut::Window);
        }
        None
    }
}

/// Returns the start of the window `unix_nanos` lies in. Windows start at multiples of their length.
pub fn window_start(unix_nanos: i64, window: Duration) -> i64 {
    let length = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX).max(1);
    // The window that holds `i64::MIN` would start before it.
    unix_nanos.div_euclid(length).saturating_mul(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: CutPolicy = CutPolicy {
        raw_bytes_max: 1_000,
        memory_bytes_max: 5_000,
        age_max: Duration::from_secs(30),
        window: Duration::from_secs(3_600),
    };

    fn at(secs: u64) -> Moment {
        let elapsed = Duration::from_secs(secs);
        Moment { elapsed, unix_nanos: 1_700_000_000_000_000_000 + elapsed.as_nanos() as i64 }
    }

    fn open(raw_bytes: u64) -> OpenRows {
        OpenRows { messages: 1, raw_bytes, first_arrival: Some(at(0)), ..OpenRows::default() }
    }

    #[test]
    fn cuts_on_the_first_limit() {
        let full = |change: fn(&mut OpenRows)| {
            let mut rows = open(1);
            change(&mut rows);
            rows
        };
        for (rows, now, expected) in [
            (OpenRows::default(), 10_000, None),
            (open(999), 29, None),
            (open(1_000), 0, Some(Cut::RawBytes)),
            (full(|rows| rows.memory_bytes = 5_000), 0, Some(Cut::Memory)),
            (full(|rows| rows.sources = SOURCES_MAX), 0, Some(Cut::Sources)),
            (full(|rows| rows.tenants = TENANTS_MAX), 0, Some(Cut::Tenants)),
            (open(1), 30, Some(Cut::Age)),
            // Nothing but replays and dead letters: their offsets must be published all the same.
            (open(0), 30, Some(Cut::Age)),
        ] {
            assert_eq!(POLICY.decide(&rows, at(now)), expected, "{rows:?} at {now} s");
        }
    }

    #[test]
    fn cuts_when_the_clock_enters_the_next_window() {
        // 1,700,000,000 is 800 s into its hour.
        let long = CutPolicy { age_max: Duration::from_secs(100_000), ..POLICY };
        assert_eq!(long.decide(&open(1), at(2_799)), None);
        assert_eq!(long.decide(&open(1), at(2_800)), Some(Cut::Window));
        let back = Moment { unix_nanos: 0, ..at(1) };
        assert_eq!(long.decide(&open(1), back), None, "a clock set back opens no window");
    }

    #[test]
    fn any_time_has_a_window() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(window_start(-1, hour), -3_600_000_000_000);
        assert_eq!(window_start(i64::MIN, hour), i64::MIN);
        assert!(window_start(i64::MAX, hour) < i64::MAX);
        assert_eq!(window_start(5, Duration::MAX), 0);
    }
}
