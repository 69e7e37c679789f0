//! The `collector.scrape` section.

use std::collections::{BTreeMap, BTreeSet};

use runtime::config::{Problem, Validate, at_least, join};
use serde::{Deserialize, Serialize};

/// Settings of scraping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScrapeSection {
    /// Whether this process scrapes its own `/metrics`.
    pub own: bool,
    /// Pause between two scrapes of a target.
    pub interval_secs: u64,
    /// Longest time one scrape may take; at most `interval_secs`.
    pub timeout_secs: u64,
    /// Largest answer of a target; a larger one counts as failed.
    pub body_bytes_max: usize,
    /// Most samples of one scrape; more, and the scrape counts as failed.
    pub samples_max: usize,
    /// What else is scraped.
    pub targets: Vec<TargetSection>,
}

/// One target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSection {
    /// `http://host:port/path`.
    pub url: String,
    /// The `job` label.
    pub job: String,
    /// Further labels of every series.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Default for ScrapeSection {
    fn default() -> Self {
        Self {
            own: true,
            interval_secs: 15,
            timeout_secs: 10,
            body_bytes_max: 16 << 20,
            samples_max: 200_000,
            targets: Vec::new(),
        }
    }
}

impl Validate for ScrapeSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        at_least(&mut problems, prefix, "interval_secs", self.interval_secs, 1);
        at_least(&mut problems, prefix, "timeout_secs", self.timeout_secs, 1);
        at_least(&mut problems, prefix, "body_bytes_max", self.body_bytes_max, 1);
        at_least(&mut problems, prefix, "samples_max", self.samples_max, 1);
        if self.interval_secs < self.timeout_secs {
            let message = format!("`{}` is longer than `interval_secs`", self.timeout_secs);
            problems.push(Problem::new(prefix, "timeout_secs", message));
        }
        let mut seen = BTreeSet::new();
        for (at, target) in self.targets.iter().enumerate() {
            let prefix = join(prefix, &format!("targets[{at}]"));
            if !target.url.starts_with("http://") {
                let message = format!("`{}` is no URL, write http://host:port/path", target.url);
                problems.push(Problem::new(&prefix, "url", message));
            }
            if target.job.is_empty() {
                let message = "is empty, name what the target is".to_owned();
                problems.push(Problem::new(&prefix, "job", message));
            }
            if !seen.insert(&target.url) {
                let message = format!("`{}` is listed twice", target.url);
                problems.push(Problem::new(&prefix, "url", message));
            }
        }
        problems
    }
}
