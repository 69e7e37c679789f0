//! What a scan did, in figures: explains a query, and adds up over segments.

use serde::{Deserialize, Serialize};

/// Figures of one scan, or of several together. Rules are tried in the order in which they stand
/// here; a granule counts under the first that takes it away. Times are 0 where the scan's budget
/// has no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScanStats {
    /// Segments scanned.
    pub segments: u64,
    /// Granules of these segments.
    pub granules_considered: u64,
    /// By their time bounds.
    pub granules_pruned_by_time: u64,
    /// By the labels of their streams.
    pub granules_pruned_by_streams: u64,
    /// By the levels of their rows.
    pub granules_pruned_by_levels: u64,
    /// By words of their patterns.
    pub granules_pruned_by_words: u64,
    /// By fragments of their variables.
    pub granules_pruned_by_fragments: u64,
    /// By the lengths of their variables.
    pub granules_pruned_by_token_lengths: u64,
    /// By the hashes of their variables.
    pub granules_pruned_by_tokens: u64,
    /// By the hashes of their attributes, `name=value`.
    pub granules_pruned_by_attributes: u64,
    /// Because no pattern lets a line through that the rules before let through.
    pub granules_pruned_by_patterns: u64,
    /// Not looked at because the limit was reached with better rows.
    pub granules_skipped_by_limit: u64,
    /// Granules of which at least the columns that decide were read.
    pub granules_read: u64,
    /// Groups of variables of the granules of which only some are read.
    pub groups_considered: u64,
    /// Those of them that were read.
    pub groups_read: u64,
    /// Rows of the granules read.
    pub rows_considered: u64,
    /// Rows of these whose line had to be read to decide.
    pub lines_searched: u64,
    /// Rows that satisfy the plan.
    pub rows_matched: u64,
    /// Bytes asked of the object store, opening not counted.
    pub bytes_read: u64,
    /// Time spent waiting for the object store.
    pub fetch_nanos: u64,
    /// Time spent looking tables up and taking granules away.
    pub prune_nanos: u64,
    /// Time spent deciding rows by columns of numbers.
    pub decide_nanos: u64,
    /// Time spent searching lines and building the answer.
    pub finish_nanos: u64,
}

impl ScanStats {
    /// Adds what another scan did.
    pub fn add(&mut self, other: &Self) {
        self.segments += other.segments;
        self.granules_considered += other.granules_considered;
        self.granules_pruned_by_time += other.granules_pruned_by_time;
        self.granules_pruned_by_streams += other.granules_pruned_by_streams;
        self.granules_pruned_by_levels += other.granules_pruned_by_levels;
        self.granules_pruned_by_words += other.granules_pruned_by_words;
        self.granules_pruned_by_fragments += other.granules_pruned_by_fragments;
        self.granules_pruned_by_token_lengths += other.granules_pruned_by_token_lengths;
        self.granules_pruned_by_tokens += other.granules_pruned_by_tokens;
        self.granules_pruned_by_attributes += other.granules_pruned_by_attributes;
        self.granules_pruned_by_patterns += other.granules_pruned_by_patterns;
        self.granules_skipped_by_limit += other.granules_skipped_by_limit;
        self.granules_read += other.granules_read;
        self.groups_considered += other.groups_considered;
        self.groups_read += other.groups_read;
        self.rows_considered += other.rows_considered;
        self.lines_searched += other.lines_searched;
        self.rows_matched += other.rows_matched;
        self.bytes_read += other.bytes_read;
        self.fetch_nanos += other.fetch_nanos;
        self.prune_nanos += other.prune_nanos;
        self.decide_nanos += other.decide_nanos;
        self.finish_nanos += other.finish_nanos;
    }

    /// Granules taken away by any rule.
    pub fn granules_pruned(&self) -> u64 {
        self.pruned().iter().map(|(_, granules)| granules).sum()
    }

    /// Granules taken away, by rule, in the order in which the rules are tried.
    pub fn pruned(&self) -> [(&'static str, u64); 9] {
        [
            ("time", self.granules_pruned_by_time),
            ("stream", self.granules_pruned_by_streams),
            ("level", self.granules_pruned_by_levels),
            ("word", self.granules_pruned_by_words),
            ("fragment", self.granules_pruned_by_fragments),
            ("token length", self.granules_pruned_by_token_lengths),
            ("token hash", self.granules_pruned_by_tokens),
            ("attribute", self.granules_pruned_by_attributes),
            ("pattern", self.granules_pruned_by_patterns),
        ]
    }
}
