//! The `collector` section of the configuration.
//!
//! Every key has a default under which an unconfigured collector reads this machine's logs.
//! Sizes are bytes; each bound says what raising it costs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use record::TenantId;
use runtime::config::{Problem, Validate, at_least, join};
use serde::{Deserialize, Serialize};

use crate::host::HostSection;
use crate::push::PushSection;
use crate::scrape::ScrapeSection;
use crate::tail::glob::Glob;

/// Largest `tail.record_bytes_max`: what a batch on the queue may hold as one line.
const RECORD_BYTES_LIMIT: usize = 16 << 20;

/// Settings of the collector role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectorSection {
    /// Name of this node, the `node` label; the host name where empty. Part of the identity of
    /// every file: two collectors on one queue must not share it.
    pub node: String,
    /// The `cluster` label; none where empty.
    pub cluster: String,
    /// Whose data this collector's own inputs are.
    pub tenant: TenantId,
    /// Labels added to every stream of this collector's own inputs.
    pub labels: BTreeMap<String, String>,
    pub tail: TailSection,
    pub ship: ShipSection,
    pub checkpoint: CheckpointSection,
    pub push: PushSection,
    pub scrape: ScrapeSection,
    pub host: HostSection,
    /// Longest wait for acknowledgements at shutdown. What is not acknowledged by then is read
    /// again after the start. Kubernetes kills after 30 seconds by default.
    pub shutdown_grace_secs: u64,
}

impl Default for CollectorSection {
    fn default() -> Self {
        Self {
            node: String::new(),
            cluster: String::new(),
            tenant: TenantId::default(),
            labels: BTreeMap::new(),
            tail: TailSection::default(),
            ship: ShipSection::default(),
            checkpoint: CheckpointSection::default(),
            push: PushSection::default(),
            scrape: ScrapeSection::default(),
            host: HostSection::default(),
            shutdown_grace_secs: 20,
        }
    }
}

impl CollectorSection {
    /// Returns the name of this node: as configured, else the host's.
    pub fn node_name(&self) -> String {
        if !self.node.is_empty() {
            return self.node.clone();
        }
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    pub fn shutdown_grace(&self) -> Duration {
        Duration::from_secs(self.shutdown_grace_secs)
    }
}

impl Validate for CollectorSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        for name in self.labels.keys() {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let starts_well = !name.starts_with(|first: char| first.is_ascii_digit());
            if name.is_empty() || !name.bytes().all(legal) || !starts_well {
                let message = format!("`{name}` is no label name, use letters, digits and `_`");
                problems.push(Problem::new(prefix, "labels", message));
            }
        }
        problems.extend(self.tail.problems(&join(prefix, "tail")));
        problems.extend(self.ship.problems(&join(prefix, "ship")));
        problems.extend(self.checkpoint.problems(&join(prefix, "checkpoint")));
        problems.extend(self.push.problems(&join(prefix, "push")));
        problems.extend(self.scrape.problems(&join(prefix, "scrape")));
        problems.extend(self.host.problems(&join(prefix, "host")));
        let needed = self.tail.record_bytes_max.saturating_mul(2);
        if self.ship.in_flight_bytes_max < needed {
            let message = format!(
                "`{}` is too small for records of `tail.record_bytes_max`, use at least {needed}",
                self.ship.in_flight_bytes_max
            );
            problems.push(Problem::new(&join(prefix, "ship"), "in_flight_bytes_max", message));
        }
        problems
    }
}

/// Where a file is read from that was there before this collector ever ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadFrom {
    #[default]
    Beginning,
    End,
}

/// Settings of reading log files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TailSection {
    /// Patterns of plain log files: `*` and `?` within a name, `**` for any depth of folders.
    pub files: Vec<String>,
    /// Patterns of paths that are left alone, pods included.
    pub exclude: Vec<String>,
    /// Folder of Kubernetes pod logs, read where it exists; empty to switch it off.
    pub pods: PathBuf,
    /// This process's own log file, read as `job="millrace"`; empty where there is none.
    pub own_log: PathBuf,
    /// Whether rows of pods carry the pod's id as attribute `pod_uid`.
    pub pod_uid: bool,
    /// Where files are read from on the very first start; later files always from their beginning.
    pub read_from: ReadFrom,
    /// Pause between two full looks at the folders: the safety net below inotify.
    pub scan_interval_ms: u64,
    /// How long a rotated file must have been still before its successor is read. Writers may
    /// lag behind a rename by some milliseconds; longer delays the first lines of the successor.
    pub rotate_quiet_ms: u64,
    /// How long a record waits for its next piece before it is sent as it is.
    pub partial_timeout_ms: u64,
    /// A live file that was still for this long is closed until it grows.
    pub close_idle_secs: u64,
    /// Longest record; the rest is cut off and the row says so.
    pub record_bytes_max: usize,
    /// Memory for all unfinished lines and records together; over it records are cut earlier.
    pub carry_bytes_max: usize,
    /// Files open at once. More wait for others to be closed.
    pub open_files_max: usize,
    /// Bytes one file is read before others get their turn. Smaller is fairer, larger cheaper.
    pub quantum_bytes: usize,
    /// Disk space that unread bytes of deleted files may pin. Beyond it the oldest is given up.
    pub deleted_open_bytes_max: u64,
    /// Longest time a deleted file is kept open for reading.
    pub deleted_open_age_max_secs: u64,
}

impl Default for TailSection {
    fn default() -> Self {
        Self {
            files: vec!["/var/log/**/*.log".to_owned()],
            exclude: Vec::new(),
            pods: PathBuf::from("/var/log/pods"),
            own_log: PathBuf::new(),
            pod_uid: false,
            read_from: ReadFrom::default(),
            scan_interval_ms: 10_000,
            rotate_quiet_ms: 200,
            partial_timeout_ms: 10_000,
            close_idle_secs: 300,
            record_bytes_max: 1 << 20,
            carry_bytes_max: 32 << 20,
            open_files_max: 8_192,
            quantum_bytes: 256 << 10,
            deleted_open_bytes_max: 2 << 30,
            deleted_open_age_max_secs: 900,
        }
    }
}

impl Validate for TailSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, patterns) in [("files", &self.files), ("exclude", &self.exclude)] {
            for pattern in patterns {
                if let Err(error) = Glob::new(pattern) {
                    problems.push(Problem::new(prefix, key, format!("`{pattern}` {error}")));
                }
            }
        }
        for (key, path) in [("pods", &self.pods), ("own_log", &self.own_log)] {
            if !path.as_os_str().is_empty() && !path.is_absolute() {
                let message = format!("`{}` is not an absolute path", path.display());
                problems.push(Problem::new(prefix, key, message));
            }
        }
        let mut check = |key, value: usize, min| at_least(&mut problems, prefix, key, value, min);
        check("record_bytes_max", self.record_bytes_max, 256);
        check("carry_bytes_max", self.carry_bytes_max, self.record_bytes_max);
        check("open_files_max", self.open_files_max, 16);
        check("quantum_bytes", self.quantum_bytes, 4_096);
        let mut check = |key, value: u64, min| at_least(&mut problems, prefix, key, value, min);
        check("scan_interval_ms", self.scan_interval_ms, 10);
        check("partial_timeout_ms", self.partial_timeout_ms, 100);
        if RECORD_BYTES_LIMIT < self.record_bytes_max {
            let message = format!(
                "`{}` is too large, use at most {RECORD_BYTES_LIMIT}",
                self.record_bytes_max
            );
            problems.push(Problem::new(prefix, "record_bytes_max", message));
        }
        problems
    }
}

/// Settings of sending batches to the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShipSection {
    /// A batch is sent when it has this size. Larger ones compress better and cost more memory,
    /// one per partition.
    pub batch_bytes: usize,
    /// A batch that is not full is sent after this long; part of the time until a line can be
    /// searched.
    pub linger_ms: u64,
    /// Bytes read and not yet acknowledged. When used up, inputs wait.
    pub in_flight_bytes_max: usize,
    /// Batches of one partition on their way to the queue at once.
    pub in_flight_batches_max: usize,
}

impl Default for ShipSection {
    fn default() -> Self {
        Self {
            batch_bytes: 512 << 10,
            linger_ms: 100,
            in_flight_bytes_max: 32 << 20,
            in_flight_batches_max: 4,
        }
    }
}

impl Validate for ShipSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |key, value, min| at_least(&mut problems, prefix, key, value, min);
        check("batch_bytes", self.batch_bytes, 1_024);
        check("in_flight_bytes_max", self.in_flight_bytes_max, self.batch_bytes);
        check("in_flight_batches_max", self.in_flight_batches_max, 1);
        if usize::try_from(u32::MAX).is_ok_and(|max| max < self.in_flight_bytes_max) {
            let message =
                format!("`{}` is too large, use at most {}", self.in_flight_bytes_max, u32::MAX);
            problems.push(Problem::new(prefix, "in_flight_bytes_max", message));
        }
        problems
    }
}

/// Settings of remembering how far each file has been acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointSection {
    /// Folder of the checkpoint; relative to `data_dir`.
    pub path: PathBuf,
    /// Pause between two writes. After a crash at most this much, and what was in flight, is sent
    /// again.
    pub interval_ms: u64,
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self { path: PathBuf::from("collector"), interval_ms: 1_000 }
    }
}

impl Validate for CheckpointSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        at_least(&mut problems, prefix, "interval_ms", self.interval_ms, 10);
        if self.path.as_os_str().is_empty() {
            problems.push(Problem::new(prefix, "path", "must name a folder"));
        }
        problems
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(CollectorSection::default().problems("collector"), []);
    }

    #[test]
    fn a_misspelt_key_and_bad_values_are_named() {
        let text = "tail:\n  scan_intervall_ms: 3\n";
        let error = runtime::config::parse::<CollectorSection>(text, "c.yaml").unwrap_err();
        assert!(error.to_string().contains("did you mean `scan_interval_ms`"), "{error}");
        let section = CollectorSection {
            labels: BTreeMap::from([("a-b".to_owned(), "x".to_owned())]),
            tail: TailSection {
                files: vec!["relative/*.log".to_owned()],
                record_bytes_max: 32 << 20,
                ..TailSection::default()
            },
            ..CollectorSection::default()
        };
        let keys: Vec<String> = section.problems("c").into_iter().map(|p| p.key).collect();
        assert_eq!(
            keys,
            ["c.labels", "c.tail.files", "c.tail.record_bytes_max", "c.ship.in_flight_bytes_max"]
        );
    }
}
