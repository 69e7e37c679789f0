//! From what was sent to rows: limits, `service_name`, `detected_level`.
//!
//! Decoders hand over streams and entries one by one, so that memory is bounded while a request is
//! still being read: by `streams_max` and `entries_max`, and for labels and structured metadata by
//! how many of them a decoder keeps.

use std::borrow::Cow;

use metrics::counter;
use record::{DETECTED_LEVEL, Labels, LogBatch, LogBatchBuilder, TimestampNanos, level, service};

use super::{PushError, PushSection};
use crate::telemetry;

/// Reasons spelled out in an answer; the rest is counted.
const REASONS_MAX: usize = 10;

/// The rows that are stored, and what the answer says of the others.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) batch: LogBatch,
    pub(super) rejected: Option<String>,
}

/// Takes in one request. Rows come in the order sent; an entry over a limit is left out and named.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    section: &'a PushSection,
    now_ns: i64,
    rows: LogBatchBuilder,
    refused: Refused,
    streams: usize,
    entries: usize,
    /// Lines in which bytes that are not UTF-8 became U+FFFD.
    replaced: u64,
}

/// A stream's labels as a decoder read them.
#[derive(Debug)]
pub(super) enum SentLabels {
    Read(Labels),
    /// There were this many, more than were kept.
    TooMany(usize),
}

/// A stream whose entries are being taken.
#[derive(Debug)]
pub(super) struct OpenStream {
    sent: Labels,
    stored: Labels,
    /// Why none of its entries is stored.
    refusal: Option<Refusal>,
    entries: usize,
}

impl<'a> Intake<'a> {
    pub(super) fn new(section: &'a PushSection, now_ns: i64) -> Self {
        Self {
            section,
            now_ns,
            rows: LogBatchBuilder::new(),
            refused: Refused::default(),
            streams: 0,
            entries: 0,
            replaced: 0,
        }
    }

    /// Returns how many labels of a stream are worth keeping: with one more it is refused.
    /// `service_name` is not counted, so it has a place of its own.
    pub(super) fn labels_kept(&self) -> usize {
        self.section.labels_max.saturating_add(1)
    }

    /// Returns how many pairs of an entry's structured metadata are worth keeping.
    pub(super) fn pairs_kept(&self) -> usize {
        self.section.metadata_pairs_max
    }

    /// Counts a stream; to be called before anything is kept of it.
    pub(super) fn count_stream(&mut self) -> Result<(), PushError> {
        self.streams += 1;
        self.limit("streams", self.streams, "streams_max", self.section.streams_max)
    }

    /// Counts what an entry, or something of its size, takes.
    pub(super) fn count_entry(&mut self) -> Result<(), PushError> {
        self.entries += 1;
        self.limit("entries", self.entries, "entries_max", self.section.entries_max)
    }

    fn limit(&self, what: &str, count: usize, key: &str, max: usize) -> Result<(), PushError> {
        if count <= max {
            return Ok(());
        }
        Err(PushError::TooLarge(format!(
            "request has more than {max} {what}, the limit `collector.push.{key}`; \
             send them in several requests"
        )))
    }

    pub(super) fn open(&self, labels: SentLabels) -> OpenStream {
        let (sent, refusal) = match labels {
            SentLabels::Read(labels) => {
                let refusal = check_labels(&labels, self.section).err();
                (labels, refusal)
            }
            SentLabels::TooMany(count) => {
                (Labels::default(), Some(too_many_labels(count, self.section)))
            }
        };
        let stored =
            if refusal.is_none() { service::with_service_name(&sent) } else { Labels::default() };
        OpenStream { sent, stored, refusal, entries: 0 }
    }

    /// Takes an entry; `pairs` is how many pairs of structured metadata were sent, of which
    /// `attributes` are the first.
    pub(super) fn entry<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        stream: &mut OpenStream,
        time_ns: i64,
        line: &[u8],
        attributes: &[(N, V)],
        pairs: usize,
    ) -> Result<(), PushError> {
        self.count_entry()?;
        stream.entries += 1;
        if stream.refusal.is_some() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(line);
        let entry = Entry { time_ns, line: &text, attributes, pairs };
        match check_entry(&entry, &stream.sent, self.section, self.now_ns) {
            Ok(()) => {
                self.replaced += u64::from(matches!(text, Cow::Owned(_)));
                push(&mut self.rows, &stream.stored, &entry);
            }
            Err((reason, text)) => self.refused.add(reason, 1, text),
        }
        Ok(())
    }

    pub(super) fn close(&mut self, stream: OpenStream) {
        if let Some((reason, text)) = stream.refusal {
            self.refused.add(reason, stream.entries, text);
        }
    }

    pub(super) fn finish(mut self) -> Collected {
        counter!(telemetry::RECORDS_ALTERED, "kind" => "replaced").increment(self.replaced);
        Collected { batch: self.rows.finish(), rejected: self.refused.text() }
    }
}

/// One entry, as sent.
struct Entry<'a, N, V> {
    time_ns: i64,
    line: &'a str,
    attributes: &'a [(N, V)],
    pairs: usize,
}

fn push<N: AsRef<str>, V: AsRef<str>>(
    rows: &mut LogBatchBuilder,
    labels: &Labels,
    entry: &Entry<'_, N, V>,
) {
    let time = TimestampNanos(entry.time_ns);
    if entry.attributes.iter().any(|(name, _)| name.as_ref() == DETECTED_LEVEL) {
        rows.push(time, labels, entry.line, entry.attributes, None);
        return;
    }
    let level = level::detect(labels, entry.attributes, entry.line);
    let pairs = entry.attributes.iter().map(|(n, v)| (n.as_ref(), v.as_ref()));
    let attributes: Vec<(&str, &str)> = pairs.chain([(DETECTED_LEVEL, level.as_ref())]).collect();
    rows.push(time, labels, entry.line, &attributes, None);
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
        return Err(too_many_labels(counted, section));
    }
    for (name, value) in labels.iter() {
        if section.label_name_bytes_max < name.len() {
            let text = format!(
                "stream has a label name of {} bytes; \
                 limit `collector.push.label_name_bytes_max` is {}",
                name.len(),
                section.label_name_bytes_max
            );
            return Err(("label_name_too_long", text));
        }
        if section.label_value_bytes_max < value.len() {
            let text = format!(
                "stream has a value of {} bytes for label '{name}'; \
                 limit `collector.push.label_value_bytes_max` is {}",
                value.len(),
                section.label_value_bytes_max
            );
            return Err(("label_value_too_long", text));
        }
    }
    Ok(())
}

fn too_many_labels(count: usize, section: &PushSection) -> Refusal {
    let text = format!(
        "stream has {count} label names; limit `collector.push.labels_max` is {}",
        section.labels_max
    );
    ("max_label_names_per_series", text)
}

fn check_entry<N: AsRef<str>, V: AsRef<str>>(
    entry: &Entry<'_, N, V>,
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
    if section.metadata_pairs_max < entry.pairs {
        let text = format!(
            "stream '{labels}' has {} pairs of structured metadata; \
             limit `collector.push.metadata_pairs_max` is {}",
            entry.pairs, section.metadata_pairs_max
        );
        return Err(("structured_metadata_too_many", text));
    }
    let pair_bytes = entry.attributes.iter().map(|(n, v)| n.as_ref().len() + v.as_ref().len());
    let metadata_bytes: usize = pair_bytes.sum();
    if section.metadata_bytes_max < metadata_bytes {
        let text = format!(
            "stream '{labels}' has structured metadata of {metadata_bytes} bytes; \
             limit `collector.push.metadata_bytes_max` is {}",
            section.metadata_bytes_max
        );
        return Err(("structured_metadata_too_large", text));
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
