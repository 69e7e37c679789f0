//! Which topics are read, and what the messages in them are.
//!
//! A topic of log records is written as its name alone where it holds Millrace's own batches, and
//! as a mapping where somebody else writes to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use queue::Topic;
use record::TenantId;
use runtime::config::Problem;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Topics by what they hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicsSection {
    /// Topics with log records.
    pub logs: Vec<LogTopic>,
    /// Topics with batches of samples.
    pub samples: Vec<String>,
}

/// A topic with log records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct LogTopic {
    pub name: String,
    /// What one message is.
    #[serde(default)]
    pub format: LogFormat,
    /// Whose rows they are. Millrace's own batches say it themselves.
    #[serde(default)]
    pub tenant: TenantId,
    /// Message header that names the tenant, before `tenant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_header: Option<String>,
    /// Labels every row gets, before those its message gives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// OTLP resource attributes, or paths of JSON fields, that become labels, with the labels'
    /// names; replaces the format's own list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_from: Option<BTreeMap<String, String>>,
}

/// What one message of a topic is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A batch of `docs/formats/batch.md`.
    #[default]
    Millrace,
    /// An OTLP `ExportLogsServiceRequest` in protobuf.
    OtlpProto,
    /// A JSON object, or several, as Filebeat, Fluent Bit and Vector write them.
    Json,
    /// A line.
    Raw,
}

impl LogFormat {
    /// Returns the word for it in configuration and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Millrace => "millrace",
            Self::OtlpProto => "otlp_proto",
            Self::Json => "json",
            Self::Raw => "raw",
        }
    }
}

impl LogTopic {
    /// Returns a topic of Millrace's own batches.
    pub fn named(name: &str) -> Self {
        Self::foreign(name, LogFormat::Millrace)
    }

    /// Returns a topic of messages in `format`, everything else as by default.
    pub fn foreign(name: &str, format: LogFormat) -> Self {
        Self {
            name: name.to_owned(),
            format,
            tenant: TenantId::default(),
            tenant_header: None,
            labels: BTreeMap::new(),
            labels_from: None,
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let name = &self.name;
        if let Err(error) = Topic::new(name).and_then(|topic| topic.dead_letters()) {
            problems.push(error.to_string());
        }
        if self.format == LogFormat::Millrace && *self != Self::named(name) {
            problems.push(format!(
                "`{name}` holds Millrace's own batches, which say tenant and labels themselves; \
                 set `format`, or give the name alone"
            ));
        }
        if self.tenant_header.as_ref().is_some_and(String::is_empty) {
            problems.push(format!("`tenant_header` of `{name}` is empty, leave it out"));
        }
        if self.format == LogFormat::Raw && self.labels_from.is_some() {
            problems.push(format!("`labels_from` of `{name}`: raw lines have no fields"));
        }
        let taken = self.labels_from.iter().flatten().map(|(_, label)| label);
        for label in self.labels.keys().chain(taken) {
            if !is_label_name(label) {
                problems.push(format!(
                    "label `{label}` of `{name}` may hold only letters, digits and `_` and not \
                     begin with a digit"
                ));
            }
        }
        problems
    }
}

fn is_label_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
}

impl Serialize for LogTopic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::named(&self.name) {
            return serializer.serialize_str(&self.name);
        }
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for LogTopic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrMapping;

        impl<'de> Visitor<'de> for NameOrMapping {
            type Value = LogTopic;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a topic's name, or a mapping with `name` and `format`")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<LogTopic, E> {
                Ok(LogTopic::named(name))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LogTopic, A::Error> {
                // The derived one, which reads the mapping.
                LogTopic::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(NameOrMapping)
    }
}

impl Default for TopicsSection {
    fn default() -> Self {
        Self { logs: vec![LogTopic::named(Topic::LOGS)], samples: vec![Topic::SAMPLES.to_owned()] }
    }
}

impl TopicsSection {
    /// Returns every topic's name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let logs = self.logs.iter().map(|topic| topic.name.as_str());
        logs.chain(self.samples.iter().map(String::as_str))
    }

    /// Returns the topics that hold Millrace's own batches.
    pub fn own(&self) -> impl Iterator<Item = &str> {
        let logs = self.logs.iter().filter(|topic| topic.format == LogFormat::Millrace);
        let logs = logs.map(|topic| topic.name.as_str());
        logs.chain(self.samples.iter().map(String::as_str))
    }

    pub(super) fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        for topic in &self.logs {
            let found = topic.problems().into_iter();
            problems.extend(found.map(|message| Problem::new(prefix, "logs", message)));
        }
        for topic in &self.samples {
            if let Err(error) = Topic::new(topic) {
                problems.push(Problem::new(prefix, "samples", error.to_string()));
            }
        }
        let mut seen = BTreeSet::new();
        let logs = self.logs.iter().map(|topic| ("logs", topic.name.as_str()));
        let samples = self.samples.iter().map(|topic| ("samples", topic.as_str()));
        for (key, topic) in logs.chain(samples) {
            if !seen.insert(topic) {
                problems.push(Problem::new(prefix, key, format!("`{topic}` is listed twice")));
            }
        }
        if seen.is_empty() {
            problems.push(Problem::new(prefix, "logs", "no topic at all, name at least one"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn parse(yaml: &str) -> TopicsSection {
        runtime::config::parse(yaml, "indexer.yaml").unwrap()
    }

    #[test]
    fn a_topic_is_a_name_or_a_mapping() {
        let section = parse(
            "logs:\n- millrace.logs\n- name: apps.otlp\n  format: otlp_proto\n  tenant: team-a\n  \
             labels: {cluster: prod}\n  labels_from: {service.name: service_name}",
        );
        let [plain, otlp] = section.logs.as_slice() else { panic!("{section:?}") };
        assert_eq!(*plain, LogTopic::named("millrace.logs"));
        assert_eq!((otlp.format, otlp.tenant.as_str()), (LogFormat::OtlpProto, "team-a"));
        assert_eq!(otlp.labels["cluster"], "prod");
        assert_eq!(otlp.labels_from.as_ref().unwrap()["service.name"], "service_name");
        let names: Vec<&str> = section.names().collect();
        assert_eq!(names, ["millrace.logs", "apps.otlp", Topic::SAMPLES]);
        assert_eq!(section.own().collect::<Vec<_>>(), ["millrace.logs", Topic::SAMPLES]);
        assert_eq!(section.problems("t"), Vec::new());
        let again: TopicsSection =
            serde_json::from_value(serde_json::to_value(&section).unwrap()).unwrap();
        assert_eq!(again, section);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (yaml, part) in [
            ("logs: [{name: a, tenant: t}]", "own batches"),
            ("logs: [{name: a, format: raw, labels_from: {x: y}}]", "raw lines have no fields"),
            ("logs: [{name: a, format: json, labels: {'0a': y}}]", "label `0a`"),
            ("logs: [{name: a, format: json, labels_from: {x: 'a-b'}}]", "label `a-b`"),
            ("logs: [{name: a, format: json, tenant_header: ''}]", "tenant_header"),
            ("logs: [{name: a, format: json}, a]", "listed twice"),
            ("logs: [{name: 'a/b', format: json}]", "topic name"),
        ] {
            let problems = parse(yaml).problems("t");
            assert!(problems.iter().any(|problem| problem.message.contains(part)), "{problems:?}");
        }
        for yaml in [
            "logs: [{name: a, fromat: raw}]",
            "logs: [{format: raw}]",
            "logs: [{name: a, format: xml}]",
        ] {
            assert!(runtime::config::parse::<TopicsSection>(yaml, "f").is_err(), "{yaml}");
        }
    }
}
