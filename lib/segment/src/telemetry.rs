//! Every metric this crate exports, declared once.

use runtime::telemetry::{Metric, MetricKind};

pub const CATALOG_COMMITS: &str = "millrace_catalog_commits_total";
pub const CATALOG_COMMIT_CONFLICTS: &str = "millrace_catalog_commit_conflicts_total";
pub const CATALOG_COMMIT_SECONDS: &str = "millrace_catalog_commit_seconds";
pub const CATALOG_CORRUPT_OBJECTS: &str = "millrace_catalog_corrupt_objects_total";
pub const CATALOG_SEGMENTS: &str = "millrace_catalog_segments";
pub const CATALOG_SNAPSHOTS: &str = "millrace_catalog_snapshots_total";
pub const CATALOG_VERSION: &str = "millrace_catalog_version";
pub const CACHE_BYTES: &str = "millrace_store_cache_bytes_total";
pub const CACHE_EVICTIONS: &str = "millrace_store_cache_evictions_total";
pub const CACHE_FAILURES: &str = "millrace_store_cache_failures_total";
pub const CACHE_HITS: &str = "millrace_store_cache_hits_total";
pub const CACHE_MISSES: &str = "millrace_store_cache_misses_total";
pub const READS_COALESCED: &str = "millrace_store_reads_coalesced_total";
pub const STORE_BYTES: &str = "millrace_store_bytes_total";
pub const STORE_REQUESTS: &str = "millrace_store_requests_total";
pub const STORE_REQUEST_SECONDS: &str = "millrace_store_request_seconds";

/// Names, units and meanings, for `docs/metrics.md` and the exporter.
pub const METRICS: &[Metric] = &[
    Metric {
        name: CATALOG_COMMITS,
        kind: MetricKind::Counter,
        unit: "commits",
        help: "Catalog commits this process tried, by outcome: made, refused, not_made, undecided.",
        labels: &["outcome"],
    },
    Metric {
        name: CATALOG_COMMIT_CONFLICTS,
        kind: MetricKind::Counter,
        unit: "commits",
        help: "Commit numbers lost to another writer and tried again.",
        labels: &[],
    },
    Metric {
        name: CATALOG_COMMIT_SECONDS,
        kind: MetricKind::Histogram,
        unit: "seconds",
        help: "Time from asking for a commit to its outcome, all attempts included.",
        labels: &[],
    },
    Metric {
        name: CATALOG_CORRUPT_OBJECTS,
        kind: MetricKind::Counter,
        unit: "objects",
        help: "Catalog objects that could not be read, by kind: commit (stops the catalog), snapshot (an older one is used).",
        labels: &["kind"],
    },
    Metric {
        name: CATALOG_SEGMENTS,
        kind: MetricKind::Gauge,
        unit: "segments",
        help: "Published segments in the newest catalog version this process knows.",
        labels: &[],
    },
    Metric {
        name: CATALOG_SNAPSHOTS,
        kind: MetricKind::Counter,
        unit: "snapshots",
        help: "Catalog snapshots this process wrote, by outcome: written, failed.",
        labels: &["outcome"],
    },
    Metric {
        name: CATALOG_VERSION,
        kind: MetricKind::Gauge,
        unit: "version",
        help: "Newest catalog version this process knows.",
        labels: &[],
    },
    Metric {
        name: CACHE_BYTES,
        kind: MetricKind::Counter,
        unit: "bytes",
        help: "Bytes of objects answered from the cache, by tier: ram, disk.",
        labels: &["tier"],
    },
    Metric {
        name: CACHE_EVICTIONS,
        kind: MetricKind::Counter,
        unit: "entries",
        help: "Ranges pushed out of the cache in memory by others.",
        labels: &[],
    },
    Metric {
        name: CACHE_FAILURES,
        kind: MetricKind::Counter,
        unit: "requests",
        help: "Requests to the cache that failed and were answered by the store instead.",
        labels: &[],
    },
    Metric {
        name: CACHE_HITS,
        kind: MetricKind::Counter,
        unit: "ranges",
        help: "Ranges of objects answered from the cache, by tier: ram, disk.",
        labels: &["tier"],
    },
    Metric {
        name: CACHE_MISSES,
        kind: MetricKind::Counter,
        unit: "ranges",
        help: "Ranges of objects that the cache did not have.",
        labels: &[],
    },
    Metric {
        name: READS_COALESCED,
        kind: MetricKind::Counter,
        unit: "ranges",
        help: "Ranges of objects that were read along with others instead of by a request of their own.",
        labels: &[],
    },
    Metric {
        name: STORE_BYTES,
        kind: MetricKind::Counter,
        unit: "bytes",
        help: "Bytes of objects moved, by direction: read, written.",
        labels: &["direction"],
    },
    Metric {
        name: STORE_REQUESTS,
        kind: MetricKind::Counter,
        unit: "requests",
        help: "Requests to the object store, by operation (put, get, list, delete, copy) and outcome: ok, not_found, exists (a create-only put lost), failed. The store client's own retries count as one.",
        labels: &["operation", "outcome"],
    },
    Metric {
        name: STORE_REQUEST_SECONDS,
        kind: MetricKind::Histogram,
        unit: "seconds",
        help: "Time to the answer of a request to the object store, by operation; bodies of gets not included.",
        labels: &["operation"],
    },
];
