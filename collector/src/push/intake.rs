//! From what was sent to rows: limits, `service_name`, `detected_level`.

use metrics::counter;
use record::{DETECTED_LEVEL, Labels, LogBatch, LogBatchBuilder, TimestampNanos};

use super::{PushEntry, PushSection, PushStream};
use crate::{level, service, telemetry};

/// Reasons spelled out in an answer; the rest is counted.
const REASONS_MAX: usize = 10;

/// The rows that are stored, and what the answer says of the others.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) batch: LogBatch,
    pub(super) rejected: Option<String>,
}

/// Rows in the order sent. An entry over a limit is left out and named.
pub(super) fn collect(streams: &[PushStream], section: &PushSection, now_ns: i64) -> Collected {
    let mut rows = LogBatchBuilder::new();
    let mut refused = Refused::default();
    for stream in streams {
        if let Err((reason, text)) = check_labels(&stream.labels, section) {
            refused.add(reason, stream.entries.len(), text);
            continue;
        }
        let labels = service::with_service_name(&stream.labels);
        for entry in &stream.entries {
            match check_entry(entry, &stream.labels, section, now_ns) {
                Ok(()) => push(&mut rows, &labels, entry),
                Err((reason, text)) => refused.add(reason, 1, text),
            }
        }
    }
    Collected { batch: rows.finish(), rejected: refused.text() }
}

fn push(rows: &mut LogBatchBuilder, labels: &Labels, entry: &PushEntry) {
    let time = TimestampNanos(entry.time_ns);
    if entry.attributes.iter().any(|(name, _)| name == DETECTED_LEVEL) {
        rows.push(time, labels, &entry.line, &entry.attributes, None);
        return;
    }
    let level = level::detect(labels, &entry.attributes, &entry.line);
    let pairs = entry.attributes.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let attributes: Vec<(&str, &str)> = pairs.chain([(DETECTED_LEVEL, level.as_ref())]).collect();
    rows.push(time, labels, &entry.line, &attributes, None);
}

/// The `reason` of the counter, and the text of the answer.
type Refusal = (&'static str, String);

fn check_labels(labels: &Labels, section: &PushSection) -> Result<(), Refusal> {
    if labels.is_empty() {
        return Err((
            "missing_labels",
            "at least one label pair is required per stream".to_owned(),
        ));
    }
    let counted = labels.len() - usize::from(labels.get(service::SERVICE_NAME).is_some());
    if section.labels_max < counted {
        let text = format!(
            "stream has {counted} label names; limit `collector.push.labels_max` is {}",
            section.labels_max
        );
        return Err(("max_label_names_per_series", text));
    }
    for (name, value) in labels.iter() {
        if section.label_name_bytes_max < name.len() {
            let text = format!("stream has a label name of {} bytes", name.len());
            return Err(("label_name_too_long", text));
        }
        if section.label_value_bytes_max < value.len() {
            let text = format!("stream has a value of {} bytes for label '{name}'", value.len());
            return Err(("label_value_too_long", text));
        }
    }
    Ok(())
}

fn check_entry(
    entry: &PushEntry,
    labels: &Labels,
    section: &PushSection,
    now_ns: i64,
) -> Result<(), Refusal> {
    let nanos = |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    let oldest = now_ns.saturating_sub(nanos(section.age_secs_max));
    let newest = now_ns.saturating_add(nanos(section.ahead_secs_max));
    let time = entry.time_ns;
    if time < oldest {
        let text = format!(
            "entry for stream '{labels}' has timestamp too old: {time}, \
             oldest acceptable timestamp is: {oldest}"
        );
        return Err(("greater_than_max_sample_age", text));
    }
    if newest < time {
        let text = format!("entry for stream '{labels}' has timestamp too new: {time}");
        return Err(("too_far_in_future", text));
    }
    if section.line_bytes_max < entry.line.len() {
        let text = format!(
            "max entry size '{}' bytes exceeded for stream '{labels}' while adding an entry with \
             length '{}' bytes",
            section.line_bytes_max,
            entry.line.len()
        );
        return Err(("line_too_long", text));
    }
    let metadata_bytes: usize = entry.attributes.iter().map(|(n, v)| n.len() + v.len()).sum();
    if section.metadata_bytes_max < metadata_bytes {
        let text = format!("stream '{labels}' has structured metadata of {metadata_bytes} bytes");
        return Err(("structured_metadata_too_large", text));
    }
    if section.metadata_pairs_max < entry.attributes.len() {
        let pairs = entry.attributes.len();
        let text = format!("stream '{labels}' has {pairs} pairs of structured metadata");
        return Err(("structured_metadata_too_many", text));
    }
    Ok(())
}

/// Counts refusals and keeps the first few texts.
#[derive(Debug, Default)]
struct Refused {
    entries: usize,
    texts: Vec<String>,
}

impl Refused {
    fn add(&mut self, reason: &'static str, entries: usize, text: String) {
        counter!(telemetry::PUSH_REJECTED, "reason" => reason).increment(entries as u64);
        self.entries += entries;
        if self.texts.len() < REASONS_MAX {
            self.texts.push(text);
        }
    }

    fn text(self) -> Option<String> {
        if self.texts.is_empty() {
            return None;
        }
        Some(format!("{} entries were rejected:\n{}", self.entries, self.texts.join("\n")))
    }
}
