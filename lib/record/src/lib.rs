//! The wire contract: what travels on the queue and the words every other crate uses for it.
//!
//! Pure: no I/O, no clock, no global state. What always holds:
//! - a [`Labels`] is sorted by name, has no name twice and no empty value;
//! - a batch that was decoded has columns of one length, and every index in them is in range,
//!   so readers never check again;
//! - decoding never trusts a length: every size is held against [`Limits`].
//!
//! The bytes are described in `docs/formats/batch.md`.

mod batch;
mod error;
mod headers;
mod labels;
pub mod level;
mod limits;
mod log;
mod matcher;
pub mod re2;
pub mod rfc3339;
mod sample;
pub mod service;
mod source;
mod tenant;
mod time;

pub use batch::FORMAT_VERSION;
pub use error::{BatchError, HeaderError};
pub use headers::{BatchHeaders, BatchKind};
pub use labels::{Labels, LabelsError};
pub use limits::Limits;
pub use log::{Attributes, LogBatch, LogBatchBuilder};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use sample::{MetricMetadata, SampleBatch, SampleBatchBuilder};
pub use source::{SourceId, SourceRange};
pub use tenant::{TenantError, TenantId};
pub use time::{TimestampMillis, TimestampNanos};

/// Name of the attribute that carries a row's level, set at ingest.
pub const DETECTED_LEVEL: &str = "detected_level";

/// Name of the label that carries a series' metric name.
pub const METRIC_NAME: &str = "__name__";

/// The partition, out of `partitions`, that rows with this label hash go to.
///
/// One stream stays in one partition, which is what keeps its rows in order.
/// `partitions` of 0 counts as 1.
pub fn partition_for(labels_hash: u64, partitions: u32) -> u32 {
    let partitions = u64::from(partitions.max(1));
    u32::try_from(labels_hash % partitions).unwrap_or(0)
}
