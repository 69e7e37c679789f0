//! The `indexer` section of the configuration file.
//!
//! Always holds after [`Validate`]: no bound is zero, and what one cut holds fits at least twice in
//! the memory bound, so that rows keep flowing while a cut is published.

mod topics;

use std::time::Duration;

use runtime::config::{Problem, Validate, at_least, join};
use serde::{Deserialize, Serialize};

use crate::cut::CutPolicy;
use crate::merge::policy::MergePolicy;
use crate::retention::RetentionSection;
pub use topics::{LogFormat, LogTopic, TopicsSection};

/// Highest `memory_bytes_max`. Half of it may be cut at once, and all of that may belong in one
/// segment, which the format ends at 1 GiB.
const MEMORY_BYTES_LIMIT: u64 = 1 << 30;

/// Lowest grace of the sweep: requests to the store and queries take minutes at worst.
const GRACE_SECS_MIN: u64 = 600;

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
    /// Merging small segments into large ones.
    pub merge: MergeSection,
    /// How long rows are kept.
    pub retention: RetentionSection,
    /// Deleting objects that no segment needs any more.
    pub sweep: SweepSection,
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

/// When segments are merged, and what that may cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MergeSection {
    /// Whether this indexer merges. Without merges segments stay small and queries open many.
    pub enabled: bool,
    /// Pause between two looks at what is to be merged, to expire and to sweep.
    pub interval_secs: u64,
    /// Segments of one window that are merged at once, at least. Fewer keep the number of segments
    /// lower and write each byte more often.
    pub inputs_min: usize,
    /// The same, at most. Each input costs about 5 MiB of memory while it is read.
    pub inputs_max: usize,
    /// Stored bytes of what is merged into one segment, and so about its size. A merge holds
    /// about three times this in memory.
    pub merged_bytes_max: u64,
    /// Raw bytes of merges that hold all rows in memory: those of samples (three times this), and
    /// those that bring late rows to their windows. A single segment above it is still spread.
    pub raw_bytes_max: u64,
    /// Time without a new segment after which what is left of a window is merged too.
    pub settle_secs: u64,
    /// Bytes a second that merges may read and write together.
    pub bytes_per_sec_max: u64,
    /// How much longer a window waits for the next indexer in line when the first does not merge it.
    pub takeover_secs: u64,
}

/// When objects without a segment are deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SweepSection {
    /// Whether this indexer sweeps.
    pub enabled: bool,
    /// Pause between two sweeps; each lists every segment's object.
    pub interval_secs: u64,
    /// How long objects stay after their segment was merged or removed, or after they were written
    /// without one. Must exceed the longest query. A writer that cannot commit what it has uploaded
    /// within half of it starts over.
    pub grace_secs: u64,
}

impl Default for MergeSection {
    fn default() -> Self {
        Self {
            enabled: true,
            interval_secs: 30,
            inputs_min: 4,
            inputs_max: 16,
            merged_bytes_max: 48 << 20,
            raw_bytes_max: 64 << 20,
            settle_secs: 1_800,
            bytes_per_sec_max: 32 << 20,
            takeover_secs: 600,
        }
    }
}

impl Default for SweepSection {
    fn default() -> Self {
        Self { enabled: true, interval_secs: 1_800, grace_secs: 10_800 }
    }
}

impl MergeSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        at_least(&mut problems, prefix, "interval_secs", self.interval_secs, 1);
        at_least(&mut problems, prefix, "inputs_min", self.inputs_min, 2);
        at_least(&mut problems, prefix, "inputs_max", self.inputs_max, self.inputs_min);
        at_least(&mut problems, prefix, "merged_bytes_max", self.merged_bytes_max, 1);
        at_least(&mut problems, prefix, "raw_bytes_max", self.raw_bytes_max, 1);
        at_least(&mut problems, prefix, "bytes_per_sec_max", self.bytes_per_sec_max, 1);
        at_least(&mut problems, prefix, "takeover_secs", self.takeover_secs, 1);
        problems
    }
}

impl SweepSection {
    /// Longest time between an upload and the commit that names it.
    pub(crate) fn commit_within(&self) -> Duration {
        Duration::from_secs(self.grace_secs) / 2
    }

    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        at_least(&mut problems, prefix, "interval_secs", self.interval_secs, 1);
        at_least(&mut problems, prefix, "grace_secs", self.grace_secs, GRACE_SECS_MIN);
        problems
    }
}

impl IndexerSection {
    pub(crate) fn merge_policy(&self) -> MergePolicy {
        MergePolicy {
            logs_window: Duration::from_secs(self.logs.window_secs),
            samples_window: Duration::from_secs(self.samples.window_secs),
            inputs_min: self.merge.inputs_min,
            inputs_max: self.merge.inputs_max,
            bytes_max: self.merge.merged_bytes_max,
            raw_bytes_max: self.merge.raw_bytes_max,
            settle: Duration::from_secs(self.merge.settle_secs),
        }
    }
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
    /// stragglers segments. More windows make more, smaller segments of late rows.
    pub windows_max: usize,
    /// Stragglers segments of one tenant in one cut. More keep each to a shorter time, so that
    /// queries pass them over, until merges have brought their rows to their windows.
    pub stragglers_max: usize,
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
            merge: MergeSection::default(),
            retention: RetentionSection::default(),
            sweep: SweepSection::default(),
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
            stragglers_max: 4,
            memory_bytes_max: 192 << 20,
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
            stragglers_max: 4,
            memory_bytes_max: 192 << 20,
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
        at_least(&mut problems, prefix, "stragglers_max", self.stragglers_max, 2);
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
        problems.extend(self.merge.problems(&join(prefix, "merge")));
        problems.extend(self.retention.problems(&join(prefix, "retention")));
        problems.extend(self.sweep.problems(&join(prefix, "sweep")));
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
            ("merge: {inputs_min: 1}", "indexer.merge.inputs_min"),
            ("merge: {inputs_min: 9, inputs_max: 8}", "indexer.merge.inputs_max"),
            ("retention: {rules: [{name: a, age_secs: 1, selector: a}]}", "indexer.retention"),
            ("sweep: {grace_secs: 5}", "indexer.sweep.grace_secs"),
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
