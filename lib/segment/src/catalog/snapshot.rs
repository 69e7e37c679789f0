//! A whole state as one object, so that opening does not read every commit there ever was.
//!
//! A snapshot says nothing the commits do not say: losing one costs time, never data.

use std::sync::Arc;

use record::SourceId;
use serde::{Deserialize, Serialize};

use super::lost::{Lost, LostRange};
use super::state::{CatalogState, PartitionState, SourceMark};
use crate::id::CommitId;
use crate::meta::SegmentMeta;

/// Commits between snapshots: opening reads at most about this many commits, and a snapshot
/// costs about 300 bytes a segment before compression.
pub(crate) const SNAPSHOT_COMMITS_EVERY: u64 = 64;

/// The body of a snapshot object.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotBody {
    pub(crate) version: u64,
    head: Option<CommitId>,
    segments: Vec<Arc<SegmentMeta>>,
    partitions: Vec<PartitionRow>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PartitionRow {
    topic: String,
    partition: i32,
    epoch: u64,
    owner: String,
    published: i64,
    /// Source, highest offset, last touched (Unix milliseconds).
    sources: Vec<(SourceId, u64, i64)>,
    /// First lost offset, next after the last, when it was noted (Unix milliseconds).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lost: Vec<(i64, i64, i64)>,
    #[serde(default, skip_serializing_if = "is_zero")]
    lost_earlier: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl SnapshotBody {
    pub(crate) fn of(state: &CatalogState) -> Self {
        let rows = state.partitions.iter().map(|((topic, partition), known)| PartitionRow {
            topic: topic.clone(),
            partition: *partition,
            epoch: known.epoch,
            owner: known.owner.clone(),
            published: known.published,
            sources: known
                .sources
                .iter()
                .map(|(source, mark)| (*source, mark.high, mark.touched_ms))
                .collect(),
            lost: known
                .lost
                .ranges
                .iter()
                .map(|lost| (lost.from, lost.to, lost.noted_ms))
                .collect(),
            lost_earlier: known.lost.earlier,
        });
        Self {
            version: state.version,
            head: state.head,
            segments: state.segments.values().map(Arc::clone).collect(),
            partitions: rows.collect(),
        }
    }

    pub(crate) fn into_state(self) -> CatalogState {
        let partitions = self.partitions.into_iter().map(|row| {
            let sources = row
                .sources
                .into_iter()
                .map(|(source, high, touched_ms)| (source, SourceMark { high, touched_ms }))
                .collect();
            let ranges = row
                .lost
                .into_iter()
                .map(|(from, to, noted_ms)| LostRange { from, to, noted_ms })
                .collect();
            let state = PartitionState {
                epoch: row.epoch,
                owner: row.owner,
                published: row.published,
                sources,
                lost: Lost { ranges, earlier: row.lost_earlier },
            };
            ((row.topic, row.partition), Arc::new(state))
        });
        CatalogState {
            version: self.version,
            head: self.head,
            segments: self.segments.into_iter().map(|segment| (segment.id, segment)).collect(),
            partitions: partitions.collect(),
        }
    }
}
