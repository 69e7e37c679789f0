//! What reading has done since it was last told to the metrics: once per step, never per record.

use metrics::counter;

use crate::parse::Grammar;
use crate::parse::text::Text;
use crate::telemetry;

/// Sums since the last [`Counts::publish`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    pods: Input,
    files: Input,
    parse_errors: [u64; 2],
    truncated: u64,
    replaced: u64,
    partial: u64,
    pub(super) skipped_bytes: u64,
    pub(super) rotated: [u64; 3],
    pub(super) mismatches: u64,
    pub(super) read_errors: u64,
    pub(super) open_errors: u64,
    pub(super) lost_truncated: u64,
    pub(super) lost_deleted: u64,
}

#[derive(Debug, Default)]
struct Input {
    read_bytes: u64,
    records: u64,
    record_bytes: u64,
}

/// How a file was rotated: index into [`Counts::rotated`] and `kind` label.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rotation {
    Rename,
    Truncate,
    Delete,
}

impl Counts {
    pub(super) fn read(&mut self, input: &str, bytes: usize) {
        self.input(input).read_bytes += bytes as u64;
    }

    pub(super) fn record(&mut self, input: &str, bytes: usize, text: &Text<'_>, partial: bool) {
        let input = self.input(input);
        input.records += 1;
        input.record_bytes += bytes as u64;
        self.truncated += u64::from(text.truncated);
        self.replaced += u64::from(text.replaced);
        self.partial += u64::from(partial);
    }

    pub(super) fn parse_error(&mut self, grammar: Grammar) {
        self.parse_errors[grammar as usize] += 1;
    }

    pub(super) fn rotation(&mut self, kind: Rotation) {
        self.rotated[kind as usize] += 1;
    }

    fn input(&mut self, name: &str) -> &mut Input {
        if name == "pods" { &mut self.pods } else { &mut self.files }
    }

    /// Adds the sums to the metrics and starts over.
    pub(super) fn publish(&mut self) {
        let counts = std::mem::take(self);
        for (name, input) in [("pods", &counts.pods), ("files", &counts.files)] {
            if 0 < input.read_bytes {
                counter!(telemetry::READ_BYTES, "input" => name).increment(input.read_bytes);
            }
            if 0 < input.records {
                counter!(telemetry::RECORDS, "input" => name).increment(input.records);
                counter!(telemetry::RECORD_BYTES, "input" => name).increment(input.record_bytes);
            }
        }
        for grammar in [Grammar::Cri, Grammar::Json] {
            let count = counts.parse_errors[grammar as usize];
            add(telemetry::PARSE_ERRORS, "parser", grammar.name(), count);
        }
        add(telemetry::RECORDS_ALTERED, "kind", "truncated", counts.truncated);
        add(telemetry::RECORDS_ALTERED, "kind", "replaced", counts.replaced);
        add(telemetry::RECORDS_ALTERED, "kind", "partial", counts.partial);
        for (kind, count) in ["rename", "truncate", "delete"].into_iter().zip(counts.rotated) {
            add(telemetry::ROTATIONS, "kind", kind, count);
        }
        add(telemetry::FILE_ERRORS, "operation", "read", counts.read_errors);
        add(telemetry::FILE_ERRORS, "operation", "open", counts.open_errors);
        // Also none, from the start: what was not there before its first increment has not
        // increased for those who watch it.
        for (reason, count) in
            [("truncated", counts.lost_truncated), ("deleted_before_read", counts.lost_deleted)]
        {
            counter!(telemetry::BYTES_LOST, "reason" => reason).increment(count);
        }
        if 0 < counts.skipped_bytes {
            counter!(telemetry::BYTES_SKIPPED).increment(counts.skipped_bytes);
        }
        if 0 < counts.mismatches {
            counter!(telemetry::IDENTITY_MISMATCHES).increment(counts.mismatches);
        }
    }
}

fn add(name: &'static str, label: &'static str, value: &'static str, count: u64) {
    if 0 < count {
        counter!(name, label => value).increment(count);
    }
}
