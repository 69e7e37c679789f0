//! The `query` section of the configuration: how much one query, and all of them, may take.
//!
//! Every number here is a bound. A query that meets one stops with an error naming it; nothing is
//! cut silently.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::config::{Problem, Validate, join};
use segment::store::CacheOptions;
use serde::{Deserialize, Serialize};

use crate::promql::PromqlSection;

/// Least bytes of a cache on disk: a few of the blocks it is reused by.
const DISK_BYTES_MIN: u64 = 128 << 20;

/// Section `query`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuerySection {
    /// Seconds after which a query is stopped.
    pub timeout_secs: u64,
    /// Queries that run at once. Each may hold `limits.cells_max` cells and a few decoded granules.
    pub concurrency: usize,
    /// Queries that may wait for a permit; further ones are answered 429 at once.
    pub waiting_max: usize,
    /// Threads that decode and evaluate; 0 means one per core.
    pub scan_threads: usize,
    /// Segments of one query that are read at the same time. Raising it costs memory: each holds
    /// the rows of one segment that passed the filters.
    pub segments_concurrent: usize,
    /// A catalog state older than this is refreshed before a query pins it. Published rows stay
    /// answerable as recent rows for longer than this, so nothing is missed in between.
    pub catalog_refresh_ms: u64,
    /// How often a query is planned before it gives up on indexers that moved on under it. One that
    /// was just started and holds nothing yet is then left out with a warning.
    pub plan_attempts_max: u32,
    /// Seconds an indexer has to answer for its recent rows; after that the answer is partial.
    pub recent_timeout_secs: u64,
    /// Bytes of one indexer's answer; beyond it the query fails with the bytes limit.
    pub recent_bytes_max: u64,
    /// Opened segments kept in memory, by count.
    pub footers_max: usize,
    /// Opened segments kept in memory, by what their tables and indexes take.
    pub footers_bytes_max: u64,
    /// Bytes of segments kept in memory, beside the opened ones.
    pub cache_ram_bytes_max: u64,
    /// Folder of a cache on a fast local disk, for segments in a bucket; relative to `data_dir`.
    /// Without one only memory is used.
    pub cache_disk_path: Option<PathBuf>,
    /// Bytes of the cache on disk.
    pub cache_disk_bytes_max: u64,
    /// Requests to the object store at a time, of all queries together.
    pub store_reads_max: usize,
    /// Whether requests must name their tenant in `X-Scope-OrgID`. Off, everything is one tenant.
    pub tenant_required: bool,
    /// The queue's topics, as the indexers read them: says whose recent rows hold what.
    pub topics: TopicsSection,
    pub limits: LimitsSection,
    pub promql: PromqlSection,
}

/// Section `query.topics`: must name what `indexer.topics` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicsSection {
    pub logs: Vec<String>,
    pub samples: Vec<String>,
}

/// Section `query.limits`: what a single query may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSection {
    /// Log entries one query may return.
    pub entries_max: u64,
    /// Series one metric query may return.
    pub series_max: u64,
    /// Cells (series times steps) held while a metric query is evaluated; 8 bytes each.
    pub cells_max: u64,
    /// Bytes one query may read from segments and indexers.
    pub bytes_read_max: u64,
    /// Rows, or samples, one query may decode.
    pub rows_max: u64,
    /// Longest time range of a query, in seconds; 0 means no limit.
    pub length_max_secs: u64,
    /// How far back a query may look, in seconds; 0 means no limit. The range is cut, not refused.
    pub lookback_max_secs: u64,
    /// Longest `[range]` of a range aggregation, in seconds; 0 means no limit.
    pub range_max_secs: u64,
    /// Series a volume query may aggregate.
    pub volume_series_max: u64,
}

impl Default for QuerySection {
    fn default() -> Self {
        Self {
            timeout_secs: 60,
            concurrency: 8,
            waiting_max: 64,
            scan_threads: 0,
            segments_concurrent: 4,
            catalog_refresh_ms: 500,
            plan_attempts_max: 5,
            recent_timeout_secs: 10,
            recent_bytes_max: 512 << 20,
            footers_max: 1024,
            footers_bytes_max: 512 << 20,
            cache_ram_bytes_max: 256 << 20,
            cache_disk_path: None,
            cache_disk_bytes_max: 10 << 30,
            store_reads_max: 32,
            tenant_required: false,
            topics: TopicsSection::default(),
            limits: LimitsSection::default(),
            promql: PromqlSection::default(),
        }
    }
}

impl Default for TopicsSection {
    fn default() -> Self {
        Self {
            logs: vec!["millrace.logs".to_owned()],
            samples: vec!["millrace.samples".to_owned()],
        }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            entries_max: 5_000,
            series_max: 500,
            cells_max: 32 << 20,
            bytes_read_max: 64 << 30,
            rows_max: 1_000_000_000,
            length_max_secs: 721 * 3_600,
            lookback_max_secs: 0,
            range_max_secs: 0,
            volume_series_max: 1_000,
        }
    }
}

impl QuerySection {
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_secs)
    }

    pub fn recent_timeout(&self) -> Duration {
        Duration::from_secs(self.recent_timeout_secs)
    }

    pub fn catalog_refresh(&self) -> Duration {
        Duration::from_millis(self.catalog_refresh_ms)
    }

    /// What is kept of the object store, `data_dir` being where relative folders lie.
    pub fn cache(&self, data_dir: &Path) -> CacheOptions {
        let folder = self.cache_disk_path.as_ref().map(|path| data_dir.join(path));
        CacheOptions {
            ram_bytes_max: self.cache_ram_bytes_max,
            disk: folder.map(|folder| (folder, self.cache_disk_bytes_max)),
            reads_max: self.store_reads_max,
        }
    }

    /// Threads of the scan pool, with 0 resolved to the number of cores.
    pub fn scan_threads_resolved(&self) -> usize {
        if self.scan_threads != 0 {
            return self.scan_threads;
        }
        std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
    }
}

impl Validate for QuerySection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let limits = &self.limits;
        let positive = [
            ("timeout_secs", self.timeout_secs),
            ("concurrency", self.concurrency as u64),
            ("segments_concurrent", self.segments_concurrent as u64),
            ("plan_attempts_max", u64::from(self.plan_attempts_max)),
            ("recent_timeout_secs", self.recent_timeout_secs),
            ("recent_bytes_max", self.recent_bytes_max),
            ("footers_max", self.footers_max as u64),
            ("footers_bytes_max", self.footers_bytes_max),
            ("store_reads_max", self.store_reads_max as u64),
            ("limits.entries_max", limits.entries_max),
            ("limits.series_max", limits.series_max),
            ("limits.cells_max", limits.cells_max),
            ("limits.bytes_read_max", limits.bytes_read_max),
            ("limits.rows_max", limits.rows_max),
            ("limits.volume_series_max", limits.volume_series_max),
        ];
        let zeroes = positive.into_iter().filter(|(_, value)| *value == 0);
        let small = self.cache_disk_path.is_some() && self.cache_disk_bytes_max < DISK_BYTES_MIN;
        let small = small.then(|| Problem {
            key: join(prefix, "cache_disk_bytes_max"),
            message: format!("must be at least {DISK_BYTES_MIN}"),
        });
        zeroes
            .map(|(key, _)| Problem {
                key: format!("{prefix}.{key}"),
                message: "`0` is not allowed, it must be at least 1".to_owned(),
            })
            .chain(small)
            .chain(self.promql.problems(&join(prefix, "promql")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert!(QuerySection::default().problems("query").is_empty());
    }

    #[test]
    fn zero_bounds_are_named() {
        let mut section = QuerySection { concurrency: 0, ..QuerySection::default() };
        section.limits.rows_max = 0;
        let keys: Vec<String> =
            section.problems("query").into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["query.concurrency", "query.limits.rows_max"]);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<QuerySection>(r#"{"timeout": 3}"#).expect_err("unknown");
        assert!(error.to_string().contains("timeout"), "{error}");
    }
}
