//! The samples segment, and samples in memory before they become one.
//!
//! `docs/formats/samples.md` has the bytes.
//!
//! # What always holds
//!
//! - Values come back bit for bit, NaN payloads such as the staleness marker included; every
//!   encoding is decoded and compared before it is chosen.
//! - Times of a series strictly ascend. A sample is identified by series and time: of two the
//!   first taken stays, so replays change nothing.
//! - Names, labels and series are answered from the label table and the index, never from chunks.
//! - What a selector finds equals what testing every label set would find: the index only narrows
//!   down.
//!
//! # What bounds it
//!
//! A chunk has at most [`CHUNK_SAMPLES_MAX`] samples and a block about 64 KiB, so reading one
//! series costs two small reads. A [`Selection`] says how much reading it would decode before it
//! is read. [`Head`] holds what it is given: its owner cuts by [`Head::bytes`].

mod blocks;
mod build;
mod directory;
mod head;
mod index;
mod merge;
mod read;
mod series;
mod stats;
#[cfg(test)]
mod tests;
mod times;
mod values;

use record::{Labels, Matcher, TenantId};
use serde::{Deserialize, Serialize};

pub use build::{BuildError, SampleSegmentBuilder};
pub use head::{Appended, Head};
pub use merge::SampleMerge;
pub use read::{SampleSegment, Selection};
pub use stats::{ChunkStats, NumberStats};

/// The format this program writes and the newest it reads.
const FORMAT: u32 = 1;

/// Samples in a chunk. More compresses a little better and makes long ranges need fewer
/// statistics; fewer makes short ranges decode less. 1,024 at 15 s are four hours.
pub const CHUNK_SAMPLES_MAX: usize = 1_024;

/// Which samples are wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplePlan {
    pub tenant: TenantId,
    /// Unix milliseconds, inclusive.
    pub start_ms: i64,
    /// Unix milliseconds, inclusive.
    pub end_ms: i64,
    /// All must match, `__name__` included.
    pub matchers: Vec<Matcher>,
}

/// Samples of one series; times strictly ascend.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesData {
    pub labels: Labels,
    /// Unix milliseconds.
    pub times: Vec<i64>,
    pub values: Vec<f64>,
}

impl SamplePlan {
    /// Whether every matcher accepts the label set.
    pub fn matches(&self, labels: &Labels) -> bool {
        all_match(&self.matchers, labels)
    }
}

fn all_match(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches_labels(labels))
}
