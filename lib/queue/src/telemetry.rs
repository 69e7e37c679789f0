//! Every metric of the queue, with unit and help. Counted per batch, never per line.

use runtime::telemetry::{Metric, MetricKind};

pub(crate) const APPENDED_MESSAGES: &str = "millrace_queue_appended_messages_total";
pub(crate) const APPENDED_BYTES: &str = "millrace_queue_appended_bytes_total";
pub(crate) const APPEND_FAILURES: &str = "millrace_queue_append_failures_total";
pub(crate) const BUFFERED_BYTES: &str = "millrace_queue_buffered_bytes";
pub(crate) const DELIVERED_MESSAGES: &str = "millrace_queue_delivered_messages_total";
pub(crate) const DELIVERED_BYTES: &str = "millrace_queue_delivered_bytes_total";
pub(crate) const REBALANCES: &str = "millrace_queue_rebalances_total";
pub(crate) const OUT_OF_RANGE: &str = "millrace_queue_out_of_range_total";
pub(crate) const LOST_MESSAGES: &str = "millrace_queue_lost_messages_total";
pub(crate) const SKIPPED_OFFSETS: &str = "millrace_queue_skipped_offsets_total";
pub(crate) const CLIENT_ERRORS: &str = "millrace_queue_client_errors_total";
pub(crate) const PRODUCER_REBUILDS: &str = "millrace_queue_producer_rebuilds_total";
pub(crate) const LOCAL_SYNC_SECONDS: &str = "millrace_queue_local_sync_seconds";
pub(crate) const LOCAL_FILE_BYTES: &str = "millrace_queue_local_file_bytes";
pub(crate) const LOCAL_TAIL_CUT_BYTES: &str = "millrace_queue_local_tail_cut_bytes_total";
pub(crate) const LOCAL_SET_ASIDE_BYTES: &str = "millrace_queue_local_set_aside_bytes_total";
pub(crate) const LOCAL_WRITE_WAITS: &str = "millrace_queue_local_write_waits_total";
pub(crate) const LOCAL_REMOVED_FILES: &str = "millrace_queue_local_removed_files_total";

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit, help, labels }
}

/// What this crate exports.
pub const METRICS: &[Metric] = &[
    counter(APPENDED_MESSAGES, "messages", &["topic"], "Messages acknowledged as durable."),
    counter(
        APPENDED_BYTES,
        "bytes",
        &["topic"],
        "Bytes of acknowledged messages, before compression.",
    ),
    counter(
        APPEND_FAILURES,
        "messages",
        &["topic"],
        "Messages that were handed back to the sender as not stored.",
    ),
    Metric {
        name: BUFFERED_BYTES,
        kind: MetricKind::Gauge,
        unit: "bytes",
        help: "Bytes submitted and not yet acknowledged.",
        labels: &[],
    },
    counter(DELIVERED_MESSAGES, "messages", &["topic"], "Messages handed to consumers."),
    counter(
        DELIVERED_BYTES,
        "bytes",
        &["topic"],
        "Bytes of messages handed to consumers, after decompression.",
    ),
    counter(
        REBALANCES,
        "events",
        &["group", "kind"],
        "Changes of partition ownership, by kind: assigned or revoked.",
    ),
    counter(OUT_OF_RANGE, "events", &["topic"], "Reads of offsets a partition does not hold."),
    counter(
        LOST_MESSAGES,
        "messages",
        &["topic"],
        "Stored messages that can no longer be read. Anything above zero is data loss.",
    ),
    counter(
        SKIPPED_OFFSETS,
        "offsets",
        &["topic"],
        "Offsets Kafka passed over between messages. Transactions and compaction do that; on our own topics it must stay zero.",
    ),
    counter(
        CLIENT_ERRORS,
        "errors",
        &["client"],
        "Errors the Kafka client reported and recovers from, by client: producer or consumer.",
    ),
    counter(
        PRODUCER_REBUILDS,
        "rebuilds",
        &[],
        "Times the Kafka producer was built anew and resent what was not acknowledged.",
    ),
    Metric {
        name: LOCAL_SYNC_SECONDS,
        kind: MetricKind::Histogram,
        unit: "seconds",
        help: "Time one sync of the local queue took.",
        labels: &[],
    },
    Metric {
        name: LOCAL_FILE_BYTES,
        kind: MetricKind::Gauge,
        unit: "bytes",
        help: "Bytes of all files of a topic in the local queue.",
        labels: &["topic", "partition"],
    },
    counter(
        LOCAL_TAIL_CUT_BYTES,
        "bytes",
        &["topic"],
        "Bytes of unfinished writes cut off the newest file when the local queue was opened.",
    ),
    counter(
        LOCAL_SET_ASIDE_BYTES,
        "bytes",
        &["topic"],
        "Unreadable bytes found inside files of the local queue and copied aside.",
    ),
    counter(
        LOCAL_WRITE_WAITS,
        "waits",
        &["reason"],
        "Times writing to the local queue had to wait, by reason: full or error.",
    ),
    counter(
        LOCAL_REMOVED_FILES,
        "files",
        &["topic"],
        "Files of the local queue removed by retention.",
    ),
];
