//! The `queue` section of the configuration.

use std::collections::BTreeSet;
use std::path::PathBuf;

use runtime::config::{Problem, Secret, Validate, at_least};
use serde::{Deserialize, Serialize};

use crate::Topic;

/// Which queue to use, by `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum QueueSection {
    /// A log on this machine's disk, for one process.
    Local(LocalSection),
    /// An Apache Kafka cluster.
    Kafka(Box<KafkaSection>),
    /// Memory of this process: gone when it ends. For tests.
    Memory(MemorySection),
}

impl Default for QueueSection {
    fn default() -> Self {
        Self::Local(LocalSection::default())
    }
}

impl QueueSection {
    /// Returns how many partitions `topic` gets when nobody says otherwise.
    ///
    /// One locally, since one process reads it all. On Kafka the number of indexers that can share
    /// the work: logs are most of it.
    pub fn partitions_default(&self, topic: &Topic) -> u32 {
        match self {
            Self::Local(_) | Self::Memory(_) => 1,
            Self::Kafka(_) if topic.as_str() == Topic::LOGS => 4,
            Self::Kafka(_) if topic.as_str() == Topic::SAMPLES => 2,
            Self::Kafka(_) => 1,
        }
    }
}

impl Validate for QueueSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        match self {
            Self::Local(section) => section.problems(prefix),
            Self::Kafka(section) => section.problems(prefix),
            Self::Memory(section) => section.problems(prefix),
        }
    }
}

/// Settings of the queue in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySection {
    /// Messages submitted and not yet acknowledged, over all partitions.
    pub buffer_messages_max: usize,
    /// Largest message.
    pub message_bytes_max: usize,
    /// Messages a consumer is given at once.
    pub fetch_messages_max: usize,
    /// Bytes a partition holds. Beyond this, messages every group has reported as done are
    /// forgotten; where there are none, appending waits.
    pub partition_bytes_max: usize,
}

impl Default for MemorySection {
    fn default() -> Self {
        Self {
            buffer_messages_max: 1_024,
            message_bytes_max: 8 << 20,
            fetch_messages_max: 64,
            partition_bytes_max: 256 << 20,
        }
    }
}

impl Validate for MemorySection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |key, value, min| at_least(&mut problems, prefix, key, value, min);
        check("buffer_messages_max", self.buffer_messages_max, 1);
        check("message_bytes_max", self.message_bytes_max, 1_024);
        check("fetch_messages_max", self.fetch_messages_max, 1);
        check("partition_bytes_max", self.partition_bytes_max, self.message_bytes_max);
        problems
    }
}

/// What to do with payloads on their way to disk or network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    #[default]
    Zstd,
    None,
}

/// What `submit` does while the disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// Wait until there is room again.
    #[default]
    Wait,
    /// Fail with a retryable error; what was submitted before still waits.
    Error,
}

/// Settings of the queue on the local disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalSection {
    /// Folder of the queue; relative to `data_dir`.
    pub path: PathBuf,
    /// A file is closed when it reaches this size. Retention removes whole files, so larger ones
    /// keep more than asked for; smaller ones cost more files.
    pub file_bytes_max: u64,
    /// Largest message.
    pub message_bytes_max: usize,
    /// Bytes submitted and not yet on disk, over all partitions.
    pub buffer_bytes_max: usize,
    /// Bytes a consumer is given at once, at least one message.
    pub fetch_bytes_max: usize,
    pub compression: Compression,
    /// Level of zstd; higher costs the writer time, which group commit cannot hide.
    pub compression_level: i32,
    /// Bytes a partition keeps although every consumer has reported them as done.
    pub retention_bytes_max: u64,
    /// Age up to which a partition keeps what every consumer has reported as done.
    pub retention_age_secs: u64,
    /// Free bytes the queue leaves on its disk. Below this it counts as full: segments must still
    /// be written for the queue to shrink.
    pub free_bytes_min: u64,
    pub on_full: OnFull,
}

impl Default for LocalSection {
    fn default() -> Self {
        Self {
            path: PathBuf::from("queue"),
            file_bytes_max: 64 << 20,
            message_bytes_max: 8 << 20,
            buffer_bytes_max: 32 << 20,
            fetch_bytes_max: 4 << 20,
            compression: Compression::Zstd,
            compression_level: 1,
            retention_bytes_max: 256 << 20,
            retention_age_secs: 24 * 3_600,
            free_bytes_min: 256 << 20,
            on_full: OnFull::Wait,
        }
    }
}

impl Validate for LocalSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |key, value, min| at_least(&mut problems, prefix, key, value, min);
        check("file_bytes_max", self.file_bytes_max, 4_096);
        check("message_bytes_max", self.message_bytes_max as u64, 1_024);
        check("buffer_bytes_max", self.buffer_bytes_max as u64, self.message_bytes_max as u64 * 2);
        check("fetch_bytes_max", self.fetch_bytes_max as u64, 1_024);
        if Self::MESSAGE_BYTES_LIMIT < self.message_bytes_max {
            let message = format!(
                "`{}` is too large, use at most {}",
                self.message_bytes_max,
                Self::MESSAGE_BYTES_LIMIT
            );
            problems.push(Problem::new(prefix, "message_bytes_max", message));
        }
        if !(1..=22).contains(&self.compression_level) {
            let message = format!("`{}` must be 1 to 22", self.compression_level);
            problems.push(Problem::new(prefix, "compression_level", message));
        }
        if self.path.as_os_str().is_empty() {
            problems.push(Problem::new(prefix, "path", "must name a folder"));
        }
        problems
    }
}

impl LocalSection {
    /// Largest `message_bytes_max`: recovery reads a message whole, and trusts no length above.
    pub const MESSAGE_BYTES_LIMIT: usize = 256 << 20;
}

/// How to speak to the brokers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

/// How to log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaslMechanism {
    #[default]
    Plain,
    ScramSha256,
    ScramSha512,
}

/// Encryption and login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecuritySection {
    pub protocol: SecurityProtocol,
    /// Certificates of the authorities to trust, PEM; the system's when not given.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM, where brokers ask for one.
    pub certificate_file: Option<PathBuf>,
    /// The key of our certificate, PEM.
    pub key_file: Option<PathBuf>,
    pub key_password: Secret,
    pub sasl_mechanism: SaslMechanism,
    pub sasl_username: String,
    pub sasl_password: Secret,
}

impl SecuritySection {
    /// Returns whether the protocol asks for a user name.
    pub(crate) fn uses_sasl(&self) -> bool {
        matches!(self.protocol, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }
}

/// Settings of a Kafka cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaSection {
    /// Brokers to ask first, `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// Name shown in the brokers' logs and quotas.
    pub client_id: String,
    pub security: SecuritySection,

    /// Time the producer waits for more messages before it sends: larger batches against delay.
    pub linger_ms: u64,
    /// Largest message, and largest request of several. Topics we create take as much; one made by
    /// others may take less (`max.message.bytes`), and then that is the limit.
    pub message_bytes_max: usize,
    /// Bytes submitted and not yet acknowledged. Held twice: by us, to send again after a fatal
    /// error, and by the client.
    pub buffer_bytes_max: usize,
    pub compression: Compression,
    pub compression_level: i32,
    /// Replicas of topics we create; -1 leaves it to the cluster.
    pub topic_replicas: i32,

    /// Name of this process within consumer groups; must survive restarts (a StatefulSet's pod
    /// name). With it a quick restart moves no partitions.
    pub group_instance_id: Option<String>,
    /// Time after which the group takes a silent consumer's partitions.
    pub session_timeout_ms: u64,
    /// Bytes handed to us and not yet taken, per consumer.
    pub consumer_buffer_bytes_max: usize,
    /// Bytes the client fetches ahead, per consumer.
    pub prefetch_bytes_max: usize,
    /// Time a broker may hold an empty fetch.
    pub fetch_wait_ms: u64,
    /// Time a consumer may take to finish with revoked partitions.
    pub revoke_wait_ms: u64,
    /// Time metadata, watermark and topic requests may take.
    pub request_timeout_ms: u64,
}

impl Default for KafkaSection {
    fn default() -> Self {
        Self {
            bootstrap_servers: "127.0.0.1:9092".to_owned(),
            client_id: "millrace".to_owned(),
            security: SecuritySection::default(),
            linger_ms: 20,
            message_bytes_max: 4 << 20,
            buffer_bytes_max: 16 << 20,
            compression: Compression::Zstd,
            compression_level: 3,
            topic_replicas: -1,
            group_instance_id: None,
            session_timeout_ms: 30_000,
            consumer_buffer_bytes_max: 8 << 20,
            prefetch_bytes_max: 16 << 20,
            fetch_wait_ms: 250,
            revoke_wait_ms: 20_000,
            request_timeout_ms: 10_000,
        }
    }
}

impl Validate for KafkaSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |key, value, min| at_least(&mut problems, prefix, key, value, min);
        check("message_bytes_max", self.message_bytes_max, 1_024);
        check("buffer_bytes_max", self.buffer_bytes_max, self.message_bytes_max * 2);
        check("consumer_buffer_bytes_max", self.consumer_buffer_bytes_max, 65_536);
        check("prefetch_bytes_max", self.prefetch_bytes_max, 65_536);
        let mut check = |key, value, min| at_least(&mut problems, prefix, key, value, min);
        check("session_timeout_ms", self.session_timeout_ms, 6_000);
        check("fetch_wait_ms", self.fetch_wait_ms, 1);
        check("request_timeout_ms", self.request_timeout_ms, 1_000);
        if let Some(problem) = self.bootstrap_problem() {
            problems.push(Problem::new(prefix, "bootstrap_servers", problem));
        }
        if !(1..=12).contains(&self.compression_level) {
            let message = format!("`{}` must be 1 to 12", self.compression_level);
            problems.push(Problem::new(prefix, "compression_level", message));
        }
        if self.topic_replicas < 1 && self.topic_replicas != -1 {
            let message = format!("`{}` must be -1 or at least 1", self.topic_replicas);
            problems.push(Problem::new(prefix, "topic_replicas", message));
        }
        let sasl = self.security.uses_sasl();
        if sasl
            && (self.security.sasl_username.is_empty() || self.security.sasl_password.is_empty())
        {
            let message = "`protocol` asks for `sasl_username` and `sasl_password`";
            problems.push(Problem::new(prefix, "security", message));
        }
        if self.security.certificate_file.is_some() != self.security.key_file.is_some() {
            let message = "`certificate_file` and `key_file` go together";
            problems.push(Problem::new(prefix, "security", message));
        }
        problems
    }
}

impl KafkaSection {
    fn bootstrap_problem(&self) -> Option<String> {
        let mut seen = BTreeSet::new();
        for server in self.bootstrap_servers.split(',').map(str::trim) {
            let port = server.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
            match port {
                Some((host, Ok(port))) if !host.is_empty() && 0 < port => {}
                _ => return Some(format!("`{server}` must be `host:port`")),
            }
            if !seen.insert(server) {
                return Some(format!("`{server}` occurs twice"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(yaml: &str) -> Result<QueueSection, String> {
        runtime::config::parse(yaml, "test.yaml").map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_make_sense_for_every_type() {
        for kind in ["local", "kafka", "memory"] {
            let section = read(&format!("type: {kind}")).unwrap();
            assert_eq!(section.problems("queue"), [], "{kind}");
        }
    }

    #[test]
    fn a_misspelt_key_is_named() {
        let error = read("type: kafka\nlinger: 5\n").unwrap_err();
        assert!(error.contains("linger"), "{error}");
    }

    #[test]
    fn problems_quote_key_and_value() {
        let section = read("type: kafka\nbootstrap_servers: nowhere\n").unwrap();
        let problems = section.problems("queue");
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].key, "queue.bootstrap_servers");
        assert!(problems[0].message.contains("`nowhere`"));
    }

    #[test]
    fn secrets_are_shown_nowhere() {
        let yaml = "type: kafka\nsecurity: {protocol: sasl_ssl, sasl_username: me, sasl_password: hunter2}\n";
        let section = read(yaml).unwrap();
        assert_eq!(section.problems("queue"), []);
        let shown = format!("{section:?} {}", serde_json::to_string(&section).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
