//! What a commit can say, and why it can be refused.

use record::SourceId;
use serde::{Deserialize, Serialize};

use crate::id::{CommitId, SegmentId};
use crate::meta::SegmentMeta;

/// One change of the catalog; a commit applies all its operations in order, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Publishes segments. Goes into one commit with the [`Op::Advance`]s of what they cover.
    AddSegments { segments: Vec<SegmentMeta> },
    /// Retires segments.
    RemoveSegments { ids: Vec<SegmentId> },
    /// Takes a partition over: its epoch rises by one, which fences every earlier owner.
    Acquire {
        topic: String,
        partition: i32,
        /// Base URL at which the owner answers for recent rows, `http://host:port`.
        owner: String,
    },
    /// Moves a partition's published offset.
    Advance {
        topic: String,
        partition: i32,
        /// The epoch the writer acquired.
        epoch: u64,
        /// The published offset the writer knows.
        from: i64,
        /// The next offset to read.
        to: i64,
        /// Highest source offset taken from each source that the rows came from.
        sources: Vec<(SourceId, u64)>,
    },
    /// Names offsets that the queue lost before they were read. Goes into one commit with the
    /// [`Op::Advance`] that passes over them, after it.
    NoteLost {
        topic: String,
        partition: i32,
        /// The epoch the writer acquired.
        epoch: u64,
        /// In order, each first and next after the last.
        ranges: Vec<(i64, i64)>,
    },
}

/// One commit: the body of a commit object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub version: u64,
    pub id: CommitId,
    /// The id of the commit before this one; `None` for the first.
    pub previous: Option<CommitId>,
    /// Who wrote it, for people.
    pub writer: String,
    /// The writer's wall clock, Unix milliseconds.
    pub committed_ms: i64,
    /// Sources untouched since before this time are forgotten in the partitions advanced here.
    pub forget_sources_before_ms: i64,
    pub ops: Vec<Op>,
}

/// Why operations do not fit the state they were applied to.
///
/// A refused commit changed nothing. Retrying it unchanged is refused again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Someone else acquired the partition: the caller is a zombie and must drop its rows.
    #[error(
        "partition {topic}/{partition} is at epoch {current}, owned by `{owner}`; \
         epoch {wanted} is fenced"
    )]
    Fenced { topic: String, partition: i32, wanted: u64, current: u64, owner: String },

    /// The partition's published offset is not where the caller thinks it is.
    #[error("partition {topic}/{partition} is published up to {published}, not {from}")]
    Offset { topic: String, partition: i32, from: i64, published: i64 },

    /// An advance that would go back.
    #[error("partition {topic}/{partition} cannot go back from {from} to {to}")]
    Backwards { topic: String, partition: i32, from: i64, to: i64 },

    /// An advance of a partition nobody acquired.
    #[error("partition {topic}/{partition} was never acquired")]
    NotAcquired { topic: String, partition: i32 },

    /// Offsets that cannot have been lost: not yet passed over, or named before.
    #[error("offsets from {from} to {to} of partition {topic}/{partition} cannot be lost")]
    Lost { topic: String, partition: i32, from: i64, to: i64 },

    /// A segment that is published already.
    #[error("segment `{0}` is already in the catalog")]
    SegmentExists(SegmentId),

    /// A segment that is not there to be removed; another merge may have taken it.
    #[error("segment `{0}` is not in the catalog")]
    SegmentMissing(SegmentId),

    /// A segment entry that cannot be true.
    #[error("segment `{id}` is contradictory: {why}")]
    Contradiction { id: SegmentId, why: &'static str },

    /// More operations than one commit object may hold.
    #[error("the commit has {bytes} bytes, over the limit of {bytes_max}; split it")]
    TooLarge { bytes: u64, bytes_max: u64 },
}
