//! What a push may hold. Defaults are Loki's where it has one (`specs/loki-api.md` 8.2), except
//! the sizes of a request, which are set for a collector's memory.

use runtime::config::{Problem, Validate, at_least};
use serde::{Deserialize, Serialize};

/// Settings of the push endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushSection {
    /// Whether `/loki/api/v1/push` is served.
    pub enabled: bool,
    /// Requests read and decoded at once; more are told to come back. Each may hold
    /// `body_bytes_max` and several times `decoded_bytes_max` in memory.
    pub requests_max: usize,
    /// Largest request as received.
    pub body_bytes_max: usize,
    /// Largest request after decompression.
    pub decoded_bytes_max: usize,
    /// Streams of a request. Each takes some 300 bytes beside its labels.
    pub streams_max: usize,
    /// Entries of a request. Each takes some 200 bytes beside its text.
    pub entries_max: usize,
    /// Longest line.
    pub line_bytes_max: usize,
    /// Labels of a stream, `service_name` not counted.
    pub labels_max: usize,
    /// Longest name of a label.
    pub label_name_bytes_max: usize,
    /// Longest value of a label.
    pub label_value_bytes_max: usize,
    /// Pairs of structured metadata of an entry.
    pub metadata_pairs_max: usize,
    /// Bytes of names and values of an entry's structured metadata.
    pub metadata_bytes_max: usize,
    /// Entries older than this are rejected.
    pub age_secs_max: u64,
    /// Entries further ahead of this machine's clock are rejected.
    pub ahead_secs_max: u64,
}

impl Default for PushSection {
    fn default() -> Self {
        Self {
            enabled: true,
            requests_max: 8,
            body_bytes_max: 16 << 20,
            decoded_bytes_max: 64 << 20,
            streams_max: 5_000,
            entries_max: 200_000,
            line_bytes_max: 256 << 10,
            labels_max: 15,
            label_name_bytes_max: 1_024,
            label_value_bytes_max: 2_048,
            metadata_pairs_max: 128,
            metadata_bytes_max: 64 << 10,
            age_secs_max: 7 * 24 * 3_600,
            ahead_secs_max: 600,
        }
    }
}

impl Validate for PushSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |key, value: usize| at_least(&mut problems, prefix, key, value, 1);
        check("requests_max", self.requests_max);
        check("body_bytes_max", self.body_bytes_max);
        check("decoded_bytes_max", self.decoded_bytes_max);
        check("streams_max", self.streams_max);
        check("entries_max", self.entries_max);
        check("line_bytes_max", self.line_bytes_max);
        check("labels_max", self.labels_max);
        check("label_name_bytes_max", self.label_name_bytes_max);
        check("label_value_bytes_max", self.label_value_bytes_max);
        problems
    }
}
