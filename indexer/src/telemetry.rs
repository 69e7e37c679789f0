//! Every metric the indexer exports, declared once.
//!
//! Loss would show as a difference: rows received = replayed + taken; rows taken = published
//! + given up (read again by the next owner) + held.

use runtime::telemetry::{Metric, MetricKind};

pub(crate) const MESSAGES: &str = "millrace_indexer_messages_total";
pub(crate) const MESSAGE_BYTES: &str = "millrace_indexer_message_bytes_total";
pub(crate) const ROWS_RECEIVED: &str = "millrace_indexer_rows_received_total";
pub(crate) const ROWS_REPLAYED: &str = "millrace_indexer_rows_replayed_total";
pub(crate) const ROWS_TAKEN: &str = "millrace_indexer_rows_taken_total";
pub(crate) const ROWS_PUBLISHED: &str = "millrace_indexer_rows_published_total";
pub(crate) const ROWS_GIVEN_UP: &str = "millrace_indexer_rows_given_up_total";
pub(crate) const RAW_BYTES_TAKEN: &str = "millrace_indexer_raw_bytes_taken_total";
pub(crate) const RAW_BYTES_PUBLISHED: &str = "millrace_indexer_raw_bytes_published_total";
pub(crate) const DEAD_LETTERS: &str = "millrace_indexer_dead_letters_total";
pub(crate) const FOREIGN_REPAIRS: &str = "millrace_indexer_foreign_repairs_total";
pub(crate) const OFFSETS_LOST: &str = "millrace_indexer_offsets_lost_total";
pub(crate) const CUTS: &str = "millrace_indexer_cuts_total";
pub(crate) const SEGMENTS: &str = "millrace_indexer_segments_published_total";
pub(crate) const SEGMENT_BYTES: &str = "millrace_indexer_segment_bytes_total";
pub(crate) const BUILD_SECONDS: &str = "millrace_indexer_build_seconds";
pub(crate) const UPLOAD_SECONDS: &str = "millrace_indexer_upload_seconds";
pub(crate) const PUBLISH_SECONDS: &str = "millrace_indexer_publish_seconds";
pub(crate) const PUBLISH_RETRIES: &str = "millrace_indexer_publish_retries_total";
pub(crate) const FENCED: &str = "millrace_indexer_partitions_fenced_total";
pub(crate) const PARTITIONS: &str = "millrace_indexer_partitions";
pub(crate) const HELD_ROWS: &str = "millrace_indexer_held_rows";
pub(crate) const HELD_BYTES: &str = "millrace_indexer_held_bytes";
pub(crate) const PAUSED: &str = "millrace_indexer_paused";
pub(crate) const PAUSES: &str = "millrace_indexer_pauses_total";
pub(crate) const LAG: &str = "millrace_indexer_lag_messages";
pub(crate) const LAG_SECONDS: &str = "millrace_indexer_lag_seconds";
pub(crate) const UNPUBLISHED: &str = "millrace_indexer_unpublished_messages";
pub(crate) const COST_RAW_BYTES: &str = "millrace_indexer_cost_raw_bytes_total";
pub(crate) const COST_PUBLISHED_RAW_BYTES: &str = "millrace_indexer_cost_published_raw_bytes_total";
pub(crate) const COST_STORED_BYTES: &str = "millrace_indexer_cost_stored_bytes_total";
pub(crate) const MEMORY_BYTES_MAX: &str = "millrace_indexer_memory_bound_bytes";
pub(crate) const QUEUE_REACHABLE: &str = "millrace_indexer_queue_reachable";
pub(crate) const ANSWERS: &str = "millrace_indexer_recent_requests_total";
pub(crate) const ANSWER_SECONDS: &str = "millrace_indexer_recent_seconds";
pub(crate) const MERGES_STARTED: &str = "millrace_indexer_merges_started_total";
pub(crate) const MERGES: &str = "millrace_indexer_merges_total";
pub(crate) const MERGE_INPUT_BYTES: &str = "millrace_indexer_merge_input_bytes_total";
pub(crate) const MERGE_OUTPUT_BYTES: &str = "millrace_indexer_merge_output_bytes_total";
pub(crate) const MERGE_SECONDS: &str = "millrace_indexer_merge_seconds";
pub(crate) const MERGE_BACKLOG: &str = "millrace_indexer_merge_backlog_segments";
pub(crate) const RETENTION_SEGMENTS: &str = "millrace_indexer_retention_segments_total";
pub(crate) const RETENTION_BYTES: &str = "millrace_indexer_retention_bytes_total";
pub(crate) const SWEPT_OBJECTS: &str = "millrace_indexer_swept_objects_total";
pub(crate) const SWEPT_BYTES: &str = "millrace_indexer_swept_bytes_total";
pub(crate) const SWEEP_FAILURES: &str = "millrace_indexer_sweep_failures_total";
pub(crate) const SWEEP_UNKNOWN: &str = "millrace_indexer_sweep_unknown_objects";

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit, help, labels }
}

const fn gauge(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit, help, labels }
}

const fn seconds(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Histogram, unit: "seconds", help, labels }
}

/// Reasons of [`DEAD_LETTERS`].
const REASONS: [&str; 6] = ["headers", "version", "kind", "limits", "payload", "panic"];

/// Exports what alerts watch at 0 from the start: the first increment of a series that was not
/// there before is no increase.
pub(crate) fn announce(kind: &'static str) {
    for reason in REASONS {
        metrics::counter!(DEAD_LETTERS, "kind" => kind, "reason" => reason).increment(0);
    }
    for name in [OFFSETS_LOST, ROWS_TAKEN, ROWS_PUBLISHED] {
        metrics::counter!(name, "kind" => kind).increment(0);
    }
}

/// `logs` or `samples`.
const KIND: &[&str] = &["kind"];
const NONE: &[&str] = &[];
const PARTITION: &[&str] = &["topic", "partition"];
/// `received`, `searchable` or `published`.
const PARTITION_STAGE: &[&str] = &["topic", "partition", "stage"];
/// Pairs beyond `cost_pairs_max` are `(other)`.
const COST: &[&str] = &["kind", "tenant", "namespace"];

/// Names, units and meanings, for `docs/metrics.md` and the exporter.
pub const METRICS: &[Metric] = &[
    counter(MESSAGES, "messages", KIND, "Queue messages read, dead letters included."),
    counter(MESSAGE_BYTES, "bytes", KIND, "Payload bytes of the queue messages read."),
    counter(ROWS_RECEIVED, "rows", KIND, "Rows in the batches read."),
    counter(ROWS_REPLAYED, "rows", KIND, "Rows dropped because they were taken before."),
    counter(ROWS_TAKEN, "rows", KIND, "Rows taken in; from then on they are searchable."),
    counter(ROWS_PUBLISHED, "rows", KIND, "Rows in published segments."),
    counter(
        ROWS_GIVEN_UP,
        "rows",
        &["kind", "reason"],
        "Rows dropped unpublished, which the partition's next owner reads again; reason is revoked or fenced.",
    ),
    counter(RAW_BYTES_TAKEN, "bytes", KIND, "Raw bytes of the rows taken in."),
    counter(RAW_BYTES_PUBLISHED, "bytes", KIND, "Raw bytes of the rows in published segments."),
    counter(
        DEAD_LETTERS,
        "messages",
        &["kind", "reason"],
        "Messages set aside in the dead-letter topic; reason is headers, version, kind, limits, payload or panic.",
    ),
    counter(
        FOREIGN_REPAIRS,
        "rows",
        &["format", "reason"],
        "Defects of other people's messages that were repaired to keep the row; reason is kept_raw, utf8, time, fields or value.",
    ),
    counter(
        OFFSETS_LOST,
        "offsets",
        KIND,
        "Queue offsets that were gone before they were read; `millrace catalog doctor` names the ranges.",
    ),
    counter(
        CUTS,
        "cuts",
        &["kind", "reason"],
        "Cuts of the open rows; reason is raw_bytes, memory, sources, tenants, age, window or drain.",
    ),
    counter(SEGMENTS, "segments", KIND, "Segments published."),
    counter(SEGMENT_BYTES, "bytes", KIND, "Bytes of the segments published."),
    seconds(BUILD_SECONDS, KIND, "Time to build one segment."),
    seconds(
        UPLOAD_SECONDS,
        KIND,
        "Time until the store had one segment, retries included; kind is logs, samples or merged.",
    ),
    seconds(PUBLISH_SECONDS, KIND, "Time from a cut to its commit, retries included."),
    counter(
        PUBLISH_RETRIES,
        "attempts",
        &["kind", "step"],
        "Attempts to publish that failed and were repeated; step is acquire, upload or commit.",
    ),
    counter(
        FENCED,
        "partitions",
        KIND,
        "Partitions lost to another owner while they were being published.",
    ),
    gauge(PARTITIONS, "partitions", KIND, "Partitions owned."),
    gauge(HELD_ROWS, "rows", KIND, "Rows held in memory, just published ones included."),
    gauge(HELD_BYTES, "bytes", KIND, "Memory of the rows held."),
    gauge(PAUSED, "", KIND, "1 while reading pauses because too much is held in memory."),
    counter(PAUSES, "pauses", KIND, "Times reading paused because too much was held in memory."),
    gauge(
        LAG,
        "messages",
        PARTITION_STAGE,
        "Messages in the queue that have not come so far; stage is received, searchable or published.",
    ),
    gauge(
        LAG_SECONDS,
        "seconds",
        PARTITION_STAGE,
        "Age of the newest message that has come so far, 0 when all have; stage is received, searchable or published.",
    ),
    gauge(UNPUBLISHED, "messages", PARTITION, "Messages read that are not published yet."),
    counter(
        COST_RAW_BYTES,
        "bytes",
        COST,
        "Raw bytes taken in, by whose they are; tenant and namespace are (other) beyond cost_pairs_max pairs.",
    ),
    counter(
        COST_PUBLISHED_RAW_BYTES,
        "bytes",
        COST,
        "Raw bytes in published segments, by whose they are.",
    ),
    counter(
        COST_STORED_BYTES,
        "bytes",
        COST,
        "Bytes of the segments published, shared out by raw bytes: an estimate, before merging.",
    ),
    gauge(MEMORY_BYTES_MAX, "bytes", KIND, "Bytes of rows that may be held before reading pauses."),
    gauge(QUEUE_REACHABLE, "", &[], "1 when the queue answered the last question."),
    counter(
        ANSWERS,
        "requests",
        &["request", "outcome"],
        "Questions about recent rows; outcome is answered, plan_again, refused, busy or failed.",
    ),
    seconds(ANSWER_SECONDS, &["request"], "Time to find the recent rows of one question."),
    counter(MERGES_STARTED, "merges", KIND, "Merges begun."),
    counter(
        MERGES,
        "merges",
        &["kind", "outcome"],
        "Merges ended; outcome is done, lost (another was first), input (one cannot be read and is set aside), later (the store failed), impossible (a bug, inputs are set aside) or undecided.",
    ),
    counter(MERGE_INPUT_BYTES, "bytes", KIND, "Stored bytes of segments that were merged."),
    counter(MERGE_OUTPUT_BYTES, "bytes", KIND, "Stored bytes of the segments they became."),
    seconds(
        MERGE_SECONDS,
        KIND,
        "Time of one merge, pauses for its bound on bytes a second included.",
    ),
    gauge(MERGE_BACKLOG, "segments", KIND, "Segments that wait to be merged, whoever does it."),
    counter(
        RETENTION_SEGMENTS,
        "segments",
        &["kind", "reason"],
        "Segments removed because their rows were too old or their tenant had too many; reason is age or bytes.",
    ),
    counter(
        RETENTION_BYTES,
        "bytes",
        &["kind", "reason"],
        "Stored bytes of the segments removed; reason is age or bytes.",
    ),
    counter(SWEPT_OBJECTS, "objects", NONE, "Objects deleted because no segment needed them."),
    counter(SWEPT_BYTES, "bytes", NONE, "Bytes of the objects deleted."),
    counter(
        SWEEP_FAILURES,
        "failures",
        NONE,
        "Sweeps that failed and objects that could not be deleted.",
    ),
    gauge(
        SWEEP_UNKNOWN,
        "objects",
        NONE,
        "Objects among the segments whose name is no segment's; they are left alone.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_and_are_unique() {
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            assert!(metric.name.starts_with("millrace_indexer_"), "{}", metric.name);
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == MetricKind::Counter, "{}", metric.name);
        }
    }
}
