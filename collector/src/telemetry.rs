//! Every metric of the collector, by name.
//!
//! Loss would show as a difference: bytes read minus bytes acknowledged is what is in flight,
//! and everything else that left the road is in `dropped` or `lost` with its reason.

use runtime::telemetry::{Metric, MetricKind};

pub const FILES: &str = "millrace_collector_files";
pub const READ_BYTES: &str = "millrace_collector_read_bytes_total";
pub const UNREAD_BYTES: &str = "millrace_collector_unread_bytes";
pub const RECORDS: &str = "millrace_collector_records_total";
pub const RECORD_BYTES: &str = "millrace_collector_record_bytes_total";
pub const PARSE_ERRORS: &str = "millrace_collector_parse_errors_total";
pub const RECORDS_ALTERED: &str = "millrace_collector_records_altered_total";
pub const BYTES_SKIPPED: &str = "millrace_collector_skipped_bytes_total";
pub const BYTES_LOST: &str = "millrace_collector_lost_bytes_total";
pub const ROTATIONS: &str = "millrace_collector_file_rotations_total";
pub const FILES_SKIPPED: &str = "millrace_collector_files_skipped";
pub const FILE_ERRORS: &str = "millrace_collector_file_errors_total";
pub const IDENTITY_MISMATCHES: &str = "millrace_collector_identity_mismatches_total";
pub const WATCH_OVERFLOWS: &str = "millrace_collector_watch_overflows_total";
pub const WATCH_ERRORS: &str = "millrace_collector_watch_errors_total";
pub const CHECKPOINT_WRITES: &str = "millrace_collector_checkpoint_writes_total";
pub const CHECKPOINT_ERRORS: &str = "millrace_collector_checkpoint_errors_total";
pub const CHECKPOINT_SKIPPED: &str = "millrace_collector_checkpoint_entries_skipped_total";
pub const SENT_RECORDS: &str = "millrace_collector_sent_records_total";
pub const SENT_BYTES: &str = "millrace_collector_sent_bytes_total";
pub const ACKED_RECORDS: &str = "millrace_collector_acknowledged_records_total";
pub const ACKED_BYTES: &str = "millrace_collector_acknowledged_bytes_total";
pub const DROPPED_RECORDS: &str = "millrace_collector_dropped_records_total";
pub const DROPPED_BYTES: &str = "millrace_collector_dropped_bytes_total";
pub const IN_FLIGHT_BYTES: &str = "millrace_collector_in_flight_bytes";
pub const SEND_RETRIES: &str = "millrace_collector_send_retries_total";
pub const ACK_SECONDS: &str = "millrace_collector_acknowledge_seconds";
pub const PUSH_REQUESTS: &str = "millrace_collector_push_requests_total";
pub const PUSH_RECORDS: &str = "millrace_collector_push_records_total";
pub const PUSH_REJECTED: &str = "millrace_collector_push_rejected_records_total";
pub const SCRAPES: &str = "millrace_collector_scrapes_total";
pub const SCRAPED_SAMPLES: &str = "millrace_collector_scraped_samples_total";
pub const HOST_ERRORS: &str = "millrace_collector_host_errors_total";

/// The collector's metrics, for `docs/metrics.md` and the recorder.
pub const METRICS: &[Metric] = &[
    gauge(
        FILES,
        "files",
        "Files known, by state: open, closing (read, not yet acknowledged), closed.",
        &["state"],
    ),
    counter(READ_BYTES, "bytes", "Bytes read from log files, by input: pods or files.", &["input"]),
    gauge(
        UNREAD_BYTES,
        "bytes",
        "Bytes of open files that have not been read yet, as of the last scan.",
        &[],
    ),
    counter(RECORDS, "records", "Log records made of what was read, by input.", &["input"]),
    counter(RECORD_BYTES, "bytes", "Bytes of the text of those records, by input.", &["input"]),
    counter(
        PARSE_ERRORS,
        "lines",
        "Lines that fit no grammar and were kept raw, by parser.",
        &["parser"],
    ),
    counter(
        RECORDS_ALTERED,
        "records",
        "Records whose text is not exactly what was written, by what was done: truncated, replaced (invalid UTF-8), partial (last piece missing).",
        &["kind"],
    ),
    counter(
        BYTES_SKIPPED,
        "bytes",
        "NUL bytes skipped at the start of lines: holes left by truncation.",
        &[],
    ),
    counter(BYTES_LOST, "bytes", "Bytes that could not be read any more, by reason.", &["reason"]),
    counter(ROTATIONS, "files", "Rotations seen, by kind: rename, truncate, delete.", &["kind"]),
    gauge(
        FILES_SKIPPED,
        "files",
        "Files left alone at the last full scan, by reason: name (below the pod root), compressed, limit (open files), duplicate (a second name of a file).",
        &["reason"],
    ),
    counter(
        FILE_ERRORS,
        "errors",
        "Failed operations on log files, by operation. They are tried again.",
        &["operation"],
    ),
    counter(
        IDENTITY_MISMATCHES,
        "files",
        "Files whose content was not what the checkpoint says; read from the beginning.",
        &[],
    ),
    counter(
        WATCH_OVERFLOWS,
        "events",
        "Overflows of the kernel's event queue; a full scan follows.",
        &[],
    ),
    counter(
        WATCH_ERRORS,
        "errors",
        "Folders that could not be watched; they are scanned instead.",
        &[],
    ),
    counter(CHECKPOINT_WRITES, "writes", "Checkpoints written.", &[]),
    counter(
        CHECKPOINT_ERRORS,
        "errors",
        "Checkpoints that could not be written; the old one stays.",
        &[],
    ),
    counter(CHECKPOINT_SKIPPED, "entries", "Unreadable checkpoint entries skipped at start.", &[]),
    counter(
        SENT_RECORDS,
        "records",
        "Log records or samples handed to the queue, by topic; again for each retry.",
        &["topic"],
    ),
    counter(
        SENT_BYTES,
        "bytes",
        "Bytes of encoded batches handed to the queue, by topic; again for each retry.",
        &["topic"],
    ),
    counter(
        ACKED_RECORDS,
        "records",
        "Log records or samples the queue has acknowledged, by topic.",
        &["topic"],
    ),
    counter(
        ACKED_BYTES,
        "bytes",
        "Bytes of encoded batches the queue has acknowledged, by topic.",
        &["topic"],
    ),
    counter(
        DROPPED_RECORDS,
        "records",
        "Log records or samples given up, by topic and reason.",
        &["topic", "reason"],
    ),
    counter(
        DROPPED_BYTES,
        "bytes",
        "Bytes of lines given up, by topic and reason.",
        &["topic", "reason"],
    ),
    gauge(IN_FLIGHT_BYTES, "bytes", "Bytes accepted for sending and not yet acknowledged.", &[]),
    counter(
        SEND_RETRIES,
        "batches",
        "Batches sent again after the queue failed to store them, by topic.",
        &["topic"],
    ),
    histogram(
        ACK_SECONDS,
        "seconds",
        "Time from a batch's hand-over for sending to its acknowledgement, by topic.",
        &["topic"],
    ),
    counter(
        PUSH_REQUESTS,
        "requests",
        "Push requests, by result: stored, malformed, rejected (some entries), too_large, busy, stopping, refused.",
        &["result"],
    ),
    counter(PUSH_RECORDS, "records", "Log records of push requests that were accepted.", &[]),
    counter(
        PUSH_REJECTED,
        "records",
        "Log records of push requests that were rejected, by reason; the sender was told.",
        &["reason"],
    ),
    counter(SCRAPES, "scrapes", "Scrapes, by job and result: ok or failed.", &["job", "result"]),
    counter(
        SCRAPED_SAMPLES,
        "samples",
        "Samples scraped or read from this host, by job.",
        &["job"],
    ),
    counter(
        HOST_ERRORS,
        "files",
        "Files of the kernel that could not be read for host metrics, by collector.",
        &["collector"],
    ),
];

const fn counter(
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit, help, labels }
}

const fn gauge(
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit, help, labels }
}

const fn histogram(
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Metric {
    Metric { name, kind: MetricKind::Histogram, unit, help, labels }
}
