//! The `collector.host` section.

use std::path::PathBuf;

use runtime::config::{Problem, Validate, at_least};
use serde::{Deserialize, Serialize};

/// Settings of host metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostSection {
    /// Whether host metrics are read.
    pub enabled: bool,
    /// Pause between two readings.
    pub interval_secs: u64,
    /// Where the host's `/proc` is mounted.
    pub proc: PathBuf,
    /// Where the host's root is mounted, for the sizes of its filesystems.
    pub root: PathBuf,
}

impl Default for HostSection {
    fn default() -> Self {
        Self {
            enabled: true,
            interval_secs: 15,
            proc: PathBuf::from("/proc"),
            root: PathBuf::from("/"),
        }
    }
}

impl Validate for HostSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        at_least(&mut problems, prefix, "interval_secs", self.interval_secs, 1);
        problems
    }
}
