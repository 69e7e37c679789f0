//! What is common to other people's messages: tenant, time, labels, level, limits.
//!
//! Always holds: every record of a message becomes exactly one row, whatever is wrong with it.
//! What does not fit a row (too many fields, a value too long, an unreadable time) is cut and
//! counted by [`telemetry::FOREIGN_REPAIRS`]; only a line over the limit makes poison of the whole
//! message, since a cut line would be a lost one.
//!
//! Rows carry no source position: their identity is topic, partition and offset, which the catalog
//! moves together with the segments.

use std::borrow::Cow;
use std::collections::BTreeMap;

use queue::Message;
use record::{
    BatchError, DETECTED_LEVEL, Labels, Limits, LogBatch, LogBatchBuilder, TenantId,
    TimestampNanos, level, service,
};

use super::{Decoded, Poison, json, otlp, raw};
use crate::config::{LogFormat, LogTopic};
use crate::telemetry;

/// Attributes kept of one record; Loki's own bound for structured metadata. The rest is cut.
const ATTRIBUTES_MAX: usize = 128;

/// Longest label value kept; Loki's own bound. Longer ones are cut.
const LABEL_VALUE_BYTES_MAX: usize = 2_048;

/// Longest attribute value kept. Longer ones are cut.
const ATTRIBUTE_VALUE_BYTES_MAX: usize = 64 << 10;

/// Longest name of an attribute kept, after flattening. Longer ones are cut.
const NAME_BYTES_MAX: usize = 256;

/// Label of rows that have no other, and of raw lines.
pub(super) const TOPIC_LABEL: &str = "topic";

/// By which flattened name Filebeat's `log.level` is known.
const ECS_LEVEL: &str = "log_level";

const NANOS_PER_MILLI: i64 = 1_000_000;

/// How the messages of one foreign topic are read.
#[derive(Debug)]
pub(crate) struct Foreign {
    topic: String,
    format: LogFormat,
    tenant: TenantId,
    tenant_header: Option<String>,
    labels: Vec<(String, String)>,
    /// Path or attribute, and the label it becomes; of several for one label the first wins.
    labels_from: Vec<(String, String)>,
}

impl Foreign {
    pub(super) fn new(topic: &LogTopic) -> Self {
        let built_in: &[(&str, &str)] = match topic.format {
            LogFormat::OtlpProto => &otlp::LABELS_FROM,
            LogFormat::Json => &json::LABELS_FROM,
            LogFormat::Millrace | LogFormat::Raw => &[],
        };
        let labels_from = match &topic.labels_from {
            Some(chosen) => pairs(chosen),
            None => {
                let pairs = built_in.iter();
                pairs.map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
            }
        };
        Self {
            topic: topic.name.clone(),
            format: topic.format,
            tenant: topic.tenant.clone(),
            tenant_header: topic.tenant_header.clone(),
            labels: pairs(&topic.labels),
            labels_from,
        }
    }

    pub(super) fn decode(
        &self,
        message: &Message,
        limits: &Limits,
        now_ns: i64,
    ) -> Result<Decoded<LogBatch>, Poison> {
        let (found, max) = (message.payload.len(), limits.batch_bytes_max);
        if max < found {
            let limit = "batch_bytes_max";
            return Err(Poison::Limits(BatchError::Limit { limit, max, found }));
        }
        let tenant = self.tenant(message)?;
        let message_ns = message.time_ms.map(|ms| ms.saturating_mul(NANOS_PER_MILLI));
        let mut rows = Rows {
            foreign: self,
            limits,
            time_ns: message_ns.unwrap_or(now_ns),
            builder: LogBatchBuilder::new(),
            repairs: BTreeMap::new(),
        };
        match self.format {
            LogFormat::OtlpProto => otlp::decode(&message.payload, &mut rows)?,
            LogFormat::Json => json::decode(&message.payload, &mut rows)?,
            LogFormat::Millrace | LogFormat::Raw => raw::decode(&message.payload, &mut rows)?,
        }
        let bytes = rows.builder.bytes();
        Ok(Decoded { tenant, batch: rows.finish(), bytes })
    }

    fn tenant(&self, message: &Message) -> Result<TenantId, Poison> {
        let Some(name) = &self.tenant_header else { return Ok(self.tenant.clone()) };
        let Some(value) = message.header(name) else { return Ok(self.tenant.clone()) };
        let text = String::from_utf8_lossy(value);
        TenantId::new(&text)
            .map_err(|error| Poison::Tenant { name: name.clone(), problem: error.to_string() })
    }
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A defect that was repaired: the `reason` label of [`telemetry::FOREIGN_REPAIRS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Repair {
    /// Not what the topic should hold; the text is the line.
    KeptRaw,
    /// Bytes that are no UTF-8 were replaced.
    Utf8,
    /// The time could not be read; the message's is taken.
    Time,
    /// More fields than fit; the rest was cut off.
    Fields,
    /// A label or field too long; its end was cut off.
    Value,
}

impl Repair {
    fn as_str(self) -> &'static str {
        match self {
            Self::KeptRaw => "kept_raw",
            Self::Utf8 => "utf8",
            Self::Time => "time",
            Self::Fields => "fields",
            Self::Value => "value",
        }
    }
}

/// One record on its way to being a row.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// `None` takes the message's.
    pub(super) time_ns: Option<i64>,
    pub(super) line: Cow<'a, str>,
    pub(super) attributes: Attributes,
}

/// The rows of one message so far.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    foreign: &'a Foreign,
    limits: &'a Limits,
    time_ns: i64,
    builder: LogBatchBuilder,
    repairs: BTreeMap<Repair, u64>,
}

impl Rows<'_> {
    pub(super) fn topic(&self) -> &str {
        &self.foreign.topic
    }

    /// Returns which attributes or fields become which labels, most telling first.
    pub(super) fn labels_from(&self) -> &[(String, String)] {
        &self.foreign.labels_from
    }

    pub(super) fn repaired(&mut self, repair: Repair) {
        *self.repairs.entry(repair).or_default() += 1;
    }

    /// Makes a stream of what a message says of it. Of equal names the first wins.
    pub(super) fn stream(&mut self, mut said: Vec<(String, String)>) -> Labels {
        for (_, value) in &mut said {
            if cut(value, LABEL_VALUE_BYTES_MAX) {
                self.repaired(Repair::Value);
            }
        }
        said.reverse();
        let configured = self.foreign.labels.iter().map(|(name, value)| (name, value));
        let said = said.iter().map(|(name, value)| (name, value));
        let labels = Labels::from_pairs(said.chain(configured));
        if labels.is_empty() {
            return service::with_service_name(&labels.with(TOPIC_LABEL, self.topic()));
        }
        service::with_service_name(&labels)
    }

    /// Appends a row.
    pub(super) fn push(&mut self, stream: &Labels, entry: Entry<'_>) -> Result<(), Poison> {
        let (found, max) = (entry.line.len(), self.limits.line_bytes_max);
        if max < found {
            let limit = "line_bytes_max";
            return Err(Poison::Limits(BatchError::Limit { limit, max, found }));
        }
        let (found, max) = (self.builder.len() + 1, self.limits.rows_max);
        if max < found {
            return Err(Poison::Limits(BatchError::Limit { limit: "rows_max", max, found }));
        }
        let Attributes { mut pairs, cut_off, shortened } = entry.attributes;
        if cut_off {
            self.repaired(Repair::Fields);
        }
        if shortened {
            self.repaired(Repair::Value);
        }
        if !pairs.iter().any(|(name, _)| name == DETECTED_LEVEL) {
            let level = detect(stream, &mut pairs, &entry.line);
            pairs.push((DETECTED_LEVEL.to_owned(), level));
        }
        let time = TimestampNanos(entry.time_ns.unwrap_or(self.time_ns));
        self.builder.push(time, stream, &entry.line, &pairs, None);
        Ok(())
    }

    fn finish(mut self) -> LogBatch {
        let format = self.foreign.format.as_str();
        for (repair, count) in &self.repairs {
            let reason = repair.as_str();
            metrics::counter!(telemetry::FOREIGN_REPAIRS, "format" => format, "reason" => reason)
                .increment(*count);
        }
        self.builder.finish()
    }
}

/// Detects the level as for every other row. The rule knows Filebeat's field by its own name.
fn detect(stream: &Labels, pairs: &mut Vec<(String, String)>, line: &str) -> String {
    let ecs = pairs.iter().find(|(name, _)| name == ECS_LEVEL).map(|(_, value)| value.clone());
    let known = pairs.len();
    pairs.extend(ecs.map(|value| ("log.level".to_owned(), value)));
    let level = level::detect(stream, pairs.as_slice(), line).into_owned();
    pairs.truncate(known);
    level
}

/// The fields of a record that are neither line, time nor label: structured metadata, bounded.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pairs: Vec<(String, String)>,
    cut_off: bool,
    shortened: bool,
}

impl Attributes {
    /// Adds a field under a name that queries can use. Empty values are as good as absent; of
    /// equal names the first wins.
    pub(super) fn add(&mut self, name: &str, mut value: String) {
        let mut name = valid_name(name);
        self.shortened |= cut(&mut name, NAME_BYTES_MAX);
        if value.is_empty() || self.pairs.iter().any(|(known, _)| *known == name) {
            return;
        }
        if ATTRIBUTES_MAX <= self.pairs.len() {
            self.cut_off = true;
            return;
        }
        self.shortened |= cut(&mut value, ATTRIBUTE_VALUE_BYTES_MAX);
        self.pairs.push((name, value));
    }
}

/// Returns `name` as Loki can name it: letters, digits and `_`, no digit first.
fn valid_name(name: &str) -> String {
    let mut valid = String::with_capacity(name.len() + 1);
    if name.bytes().next().is_none_or(|byte| byte.is_ascii_digit()) {
        valid.push('_');
    }
    let legal = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    valid.extend(name.chars().map(legal));
    valid
}

/// Cuts `text` to at most `bytes_max`; tells whether it did.
fn cut(text: &mut String, bytes_max: usize) -> bool {
    if text.len() <= bytes_max {
        return false;
    }
    text.truncate(text.floor_char_boundary(bytes_max));
    true
}
