//! What a query did, in figures: where its segments, granules, rows, bytes and time went.
//!
//! Every query counts along, since counting costs nothing beside reading; a request that asks for
//! it (`explain=1`) gets the figures beside its answer. They are what happened, not a plan.
//!
//! `docs/explain.md` says what each figure means.

use std::time::Duration;

use segment::logs::ScanStats;
use serde::Serialize;
use serde::ser::SerializeMap;

/// The figures of one query, over all its scans.
#[derive(Clone, Debug, Default)]
pub struct Explain {
    /// Segments of the tenant that the catalog names.
    pub segments_published: u64,
    /// Those that overlap the query's time range.
    pub segments_considered: u64,
    /// Left out because better rows had been found.
    pub segments_skipped_by_limit: u64,
    /// Opened by reading the store; the other scanned ones were open.
    pub segments_opened: u64,
    /// Answered by their tables of counts, without reading rows.
    pub segments_counted_by_tables: u64,
    /// Damaged or missing.
    pub segments_set_aside: u64,
    pub scan: ScanStats,
    /// Rows that indexers delivered.
    pub rows_recent: u64,
    /// Bytes read to open segments.
    pub bytes_opened: u64,
    /// Bytes that indexers delivered.
    pub bytes_recent: u64,
    /// Times the query was planned: more than once when the catalog moved on underneath.
    pub plans: u64,
    pub times: Times,
}

/// Where the time went. Segments are read side by side, so their times may add up to more than
/// the query took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Pinning a state of the catalog.
    pub catalog: Duration,
    /// Waiting for indexers.
    pub recent: Duration,
    /// Opening segments.
    pub open: Duration,
    /// Folding rows into the answer, waiting for a thread included.
    pub fold: Duration,
}

impl Explain {
    /// Bytes asked of the object store and of indexers.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_opened + self.scan.bytes_read + self.bytes_recent
    }

    /// The figures as JSON, `total` being the time since the request came in.
    pub fn json(&self, total: Duration) -> impl Serialize + use<> {
        let scan = &self.scan;
        let times = &self.times;
        let millis = |nanos: u64| nanos as f64 / 1e6;
        Figures {
            segments: Counts(vec![
                ("published", self.segments_published),
                ("considered", self.segments_considered),
                ("skipped_by_limit", self.segments_skipped_by_limit),
                ("read", scan.segments),
                ("opened", self.segments_opened),
                ("counted_by_tables", self.segments_counted_by_tables),
                ("set_aside", self.segments_set_aside),
            ]),
            granules: Granules {
                considered: scan.granules_considered,
                pruned_by: Counts(scan.pruned().to_vec()),
                skipped_by_limit: scan.granules_skipped_by_limit,
                read: scan.granules_read,
            },
            groups: Counts(vec![
                ("considered", scan.groups_considered),
                ("read", scan.groups_read),
            ]),
            rows: Counts(vec![
                ("considered", scan.rows_considered),
                ("lines_searched", scan.lines_searched),
                ("matched", scan.rows_matched),
                ("recent", self.rows_recent),
            ]),
            bytes_read: self.bytes_read(),
            bytes: Counts(vec![
                ("opened", self.bytes_opened),
                ("scanned", scan.bytes_read),
                ("recent", self.bytes_recent),
            ]),
            plans: self.plans,
            steps_ms: Counts(vec![
                ("catalog", millis(nanos(times.catalog))),
                ("recent", millis(nanos(times.recent))),
                ("open", millis(nanos(times.open))),
                ("fetch", millis(scan.fetch_nanos)),
                ("prune", millis(scan.prune_nanos)),
                ("decide", millis(scan.decide_nanos)),
                ("finish", millis(scan.finish_nanos)),
                ("fold", millis(nanos(times.fold))),
            ]),
            total_ms: millis(nanos(total)),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
struct Figures {
    segments: Counts<u64>,
    granules: Granules,
    groups: Counts<u64>,
    rows: Counts<u64>,
    bytes_read: u64,
    bytes: Counts<u64>,
    plans: u64,
    steps_ms: Counts<f64>,
    total_ms: f64,
}

#[derive(Serialize)]
struct Granules {
    considered: u64,
    pruned_by: Counts<u64>,
    skipped_by_limit: u64,
    read: u64,
}

/// Figures by name, in order.
struct Counts<T>(Vec<(&'static str, T)>);

impl<T: Serialize> Serialize for Counts<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, figure) in &self.0 {
            map.serialize_entry(name, figure)?;
        }
        map.end()
    }
}
