//! Every metric of the query role, declared once.

use runtime::telemetry::{Metric, MetricKind};

pub const REQUESTS: &str = "millrace_query_requests_total";
pub const REQUEST_SECONDS: &str = "millrace_query_request_duration_seconds";
pub const LIMITS_HIT: &str = "millrace_query_limits_hit_total";
pub const BYTES_READ: &str = "millrace_query_bytes_read_total";
pub const ROWS_READ: &str = "millrace_query_rows_read_total";
pub const SEGMENTS_SCANNED: &str = "millrace_query_segments_scanned_total";
pub const SEGMENTS_SET_ASIDE: &str = "millrace_query_segments_set_aside_total";
pub const INDEXERS_UNREACHABLE: &str = "millrace_query_indexers_unreachable_total";
pub const PLANNED_AGAIN: &str = "millrace_query_planned_again_total";
pub const CATALOG_REFRESH_FAILURES: &str = "millrace_query_catalog_refresh_failures_total";

pub const METRICS: &[Metric] = &[
    Metric {
        name: REQUESTS,
        kind: MetricKind::Counter,
        unit: "requests",
        help: "Requests answered, by endpoint and by how they ended.",
        labels: &["endpoint", "outcome"],
    },
    Metric {
        name: REQUEST_SECONDS,
        kind: MetricKind::Histogram,
        unit: "seconds",
        help: "Time from a request's arrival to its answer, waiting included.",
        labels: &["endpoint"],
    },
    Metric {
        name: LIMITS_HIT,
        kind: MetricKind::Counter,
        unit: "queries",
        help: "Queries stopped by a limit, by limit.",
        labels: &["limit"],
    },
    Metric {
        name: BYTES_READ,
        kind: MetricKind::Counter,
        unit: "bytes",
        help: "Bytes read from segments and indexers by finished queries.",
        labels: &[],
    },
    Metric {
        name: ROWS_READ,
        kind: MetricKind::Counter,
        unit: "rows",
        help: "Rows and samples decoded by finished queries.",
        labels: &[],
    },
    Metric {
        name: SEGMENTS_SCANNED,
        kind: MetricKind::Counter,
        unit: "segments",
        help: "Segments scanned.",
        labels: &["kind"],
    },
    Metric {
        name: SEGMENTS_SET_ASIDE,
        kind: MetricKind::Counter,
        unit: "segments",
        help: "Times a segment was left out of an answer because it is missing or corrupt.",
        labels: &["kind"],
    },
    Metric {
        name: INDEXERS_UNREACHABLE,
        kind: MetricKind::Counter,
        unit: "requests",
        help: "Answers that are partial because an indexer could not be asked for recent rows.",
        labels: &[],
    },
    Metric {
        name: PLANNED_AGAIN,
        kind: MetricKind::Counter,
        unit: "plans",
        help: "Times a query was planned again because the catalog had moved on.",
        labels: &[],
    },
    Metric {
        name: CATALOG_REFRESH_FAILURES,
        kind: MetricKind::Counter,
        unit: "refreshes",
        help: "Catalog refreshes that failed; queries then use the last known state and say so.",
        labels: &[],
    },
];
