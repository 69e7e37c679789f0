//! The `indexer` section of the configuration file.
//!
//! Always holds after [`Validate`]: no bound is zero, and what one cut holds fits at least twice in
//! the memory bound, so that rows keep flowing while a cut is published.

mod topics;

use std::time::Duration;

use runtime::config::{Problem, Validate, at_least, join};
use serde::{Deserialize, Serialize};

use crate::cut::CutPolicy;
pub use topics::{LogFormat, LogTopic, TopicsSection};

/// Highest `memory_bytes_max`. Half of it may be cut at once, and all of that may belong in one
/// segment, which the format ends at 1 GiB.
const MEMORY_BYTES_LIMIT: u64 = 1 << 30;

/// Everything an indexer is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndexerSection {
    /// What is read, by what the topics hold.
    pub topics: TopicsSection,
    /// Consumer group; `-logs` or `-samples` is appended.
    pub group: String,
    /// Base URL under which queries reach this process, `http://host:port`. Without it, the
    /// address the process listens on.
    pub advertised_url: Option<String>,
    /// Limits for log records.
    pub logs: LaneSection,
    /// Limits for samples.
    pub samples: LaneSection,
    /// How long published rows stay searchable here, for queries that pinned an older catalog
    /// state. Must exceed the longest query plus the refresh interval of query; longer costs memory.
    pub recent_grace_secs: u64,
    /// First pause after the store failed; doubles up to `publish_retry_ms_max`.
    pub publish_retry_ms_min: u64,
    /// Longest pause between attempts to publish while the store is down.
    pub publish_retry_ms_max: u64,
    /// Longest time to wait for the store to take one segment before it is tried again.
    pub upload_timeout_secs: u64,
    /// Longest time a stop may spend on reading, building and publishing what is left. What is
    /// not published by then is read from the queue again at the next start.
    pub drain_secs: u64,
    /// Threads that decode messages.
    pub decode_threads: usize,
    /// Threads that build segments; each holds one segment in memory.
    pub build_threads: usize,
    /// Threads that search recent rows.
    pub answer_threads: usize,
    /// Searches of recent rows that may run or wait at once; further ones are told to come back.
    pub answers_max: usize,
    /// Time without an answer from the queue after which this process says it is not ready.
    pub queue_silence_secs_max: u64,
    /// Pairs of tenant and namespace whose bytes are counted apart; those that come later are
    /// counted together. Each costs a few metric series.
    pub cost_pairs_max: usize,
}

/// When a kind's rows are cut and how many may be held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LaneSection {
    /// Raw bytes (lines; 16 per sample) after which the open rows are cut. Larger segments are
    /// smaller and faster per row, and lengthen the replay after a crash.
    pub cut_raw_bytes_max: u64,
    /// Age of the oldest open message, counted from its arrival, after which they are cut.
    pub cut_age_secs_max: u64,
    /// Length of the time windows that segments are built for.
    pub window_secs: u64,
    /// Windows of one tenant that get a segment of their own in one cut; rows of all others share
    /// one stragglers segment. More windows make more, smaller segments of late rows.
    pub windows_max: usize,
    /// Bytes of rows held in memory, published ones included, above which reading pauses.
    pub memory_bytes_max: u64,
}

impl Default for IndexerSection {
    fn default() -> Self {
        Self {
            topics: TopicsSection::default(),
            group: "millrace-indexer".to_owned(),
            advertised_url: None,
            logs: LaneSection::default(),
            samples: LaneSection::samples(),
            recent_grace_secs: 15,
            publish_retry_ms_min: 100,
            publish_retry_ms_max: 10_000,
            upload_timeout_secs: 120,
            drain_secs: 60,
            decode_threads: 1,
            build_threads: 2,
            answer_threads: 2,
            answers_max: 64,
            queue_silence_secs_max: 30,
            cost_pairs_max: 200,
        }
    }
}

impl Default for LaneSection {
    fn default() -> Self {
        Self {
            cut_raw_bytes_max: 64 << 20,
            cut_age_secs_max: 300,
            window_secs: 3_600,
            windows_max: 3,
            memory_bytes_max: 320 << 20,
        }
    }
}

impl LaneSection {
    /// Samples are cut later, since a series compresses by its length.
    fn samples() -> Self {
        Self {
            cut_raw_bytes_max: 64 << 20,
            cut_age_secs_max: 600,
            window_secs: 7_200,
            windows_max: 3,
            memory_bytes_max: 320 << 20,
        }
    }

    pub(crate) fn cut_policy(&self) -> CutPolicy {
        CutPolicy {
            raw_bytes_max: self.cut_raw_bytes_max,
            // Rows with small lines and many attributes weigh more than their raw bytes say.
            memory_bytes_max: self.memory_bytes_max / 2,
            age_max: Duration::from_secs(self.cut_age_secs_max),
            window: Duration::from_secs(self.window_secs),
        }
    }

    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        at_least(&mut problems, prefix, "cut_raw_bytes_max", self.cut_raw_bytes_max, 1);
        at_least(&mut problems, prefix, "cut_age_secs_max", self.cut_age_secs_max, 1);
        at_least(&mut problems, prefix, "window_secs", self.window_secs, 60);
        at_least(&mut problems, prefix, "windows_max", self.windows_max, 1);
        if MEMORY_BYTES_LIMIT < self.memory_bytes_max {
            let message = format!(
                "`{}` is too large, use at most {MEMORY_BYTES_LIMIT}: one cut must fit one segment",
                self.memory_bytes_max
            );
            problems.push(Problem::new(prefix, "memory_bytes_max", message));
        }
        if self.memory_bytes_max / 2 < self.cut_raw_bytes_max {
            let message = format!(
                "`{}` is too small, use at least twice `cut_raw_bytes_max` ({}), so that rows are \
                 taken in while a cut is published",
                self.memory_bytes_max, self.cut_raw_bytes_max
            );
            problems.push(Problem::new(prefix, "memory_bytes_max", message));
        }
        problems
    }
}

impl Validate for IndexerSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(self.topics.problems(&join(prefix, "topics")));
        problems.extend(self.logs.problems(&join(prefix, "logs")));
        problems.extend(self.samples.problems(&join(prefix, "samples")));
        if self.group.is_empty() {
            problems.push(Problem::new(prefix, "group", "is empty, name the consumer group"));
        }
        if let Some(url) = &self.advertised_url
            && !url.starts_with("http://")
        {
            let message = format!("`{url}` is not a base URL like `http://host:3100`");
            problems.push(Problem::new(prefix, "advertised_url", message));
        }
        at_least(&mut problems, prefix, "publish_retry_ms_min", self.publish_retry_ms_min, 1);
        let retry_min = self.publish_retry_ms_min;
        at_least(
            &mut problems,
            prefix,
            "publish_retry_ms_max",
            self.publish_retry_ms_max,
            retry_min,
        );
        at_least(&mut problems, prefix, "upload_timeout_secs", self.upload_timeout_secs, 1);
        at_least(&mut problems, prefix, "drain_secs", self.drain_secs, 1);
        at_least(&mut problems, prefix, "decode_threads", self.decode_threads, 1);
        at_least(&mut problems, prefix, "build_threads", self.build_threads, 1);
        at_least(&mut problems, prefix, "answer_threads", self.answer_threads, 1);
        at_least(&mut problems, prefix, "answers_max", self.answers_max, 1);
        let silence = self.queue_silence_secs_max;
        at_least(&mut problems, prefix, "queue_silence_secs_max", silence, 1);
        at_least(&mut problems, prefix, "cost_pairs_max", self.cost_pairs_max, 1);
        problems
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn problems(yaml: &str) -> Vec<String> {
        let section: IndexerSection = runtime::config::parse(yaml, "indexer.yaml").unwrap();
        let problems = section.problems("indexer");
        problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.key, problem.message))
            .collect()
    }

    #[test]
    fn the_defaults_are_valid_and_survive_yaml() {
        assert_eq!(problems("group: a"), Vec::<String>::new());
        assert!(IndexerSection::default().problems("indexer").is_empty());
    }

    #[test]
    fn each_contradiction_is_named_with_its_key() {
        for (yaml, key) in [
            (
                "logs: {cut_raw_bytes_max: 10, memory_bytes_max: 19}",
                "indexer.logs.memory_bytes_max",
            ),
            ("logs: {memory_bytes_max: 2000000000}", "indexer.logs.memory_bytes_max"),
            ("samples: {window_secs: 1}", "indexer.samples.window_secs"),
            ("topics: {logs: [a], samples: [a]}", "indexer.topics.samples"),
            ("topics: {logs: ['a/b']}", "indexer.topics.logs"),
            ("topics: {logs: [], samples: []}", "indexer.topics.logs"),
            ("advertised_url: 'localhost:3100'", "indexer.advertised_url"),
            ("publish_retry_ms_min: 50\npublish_retry_ms_max: 20", "indexer.publish_retry_ms_max"),
            ("build_threads: 0", "indexer.build_threads"),
            ("group: ''", "indexer.group"),
        ] {
            let found = problems(yaml);
            assert!(found.iter().any(|problem| problem.starts_with(key)), "{yaml}: {found:?}");
        }
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let parsed = runtime::config::parse::<IndexerSection>("recent_grace: 3", "indexer.yaml");
        assert!(parsed.unwrap_err().to_string().contains("recent_grace"));
    }
}
