//! Looking into published segments: what one is made of, and whether every byte of it is sound.
//!
//! For people and their tools (`millrace segments`), not for queries.
//!
//! Bounds: one section in memory at a time, and the tables of one segment; of samples, all of one
//! segment's.

use std::sync::Arc;

use object_store::ObjectStore;
use serde::Serialize;

use crate::id::SegmentKind;
use crate::logs::{LogSegment, SegmentError};
use crate::meta::SegmentMeta;
use crate::samples::{SamplePlan, SampleSegment};

const NANOS_PER_MILLI: i64 = 1_000_000;

/// What a segment is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Version of the segment's own format.
    pub format: u32,
    /// How many of what: granules, streams, patterns, tokens; series, chunks.
    pub counts: Vec<(&'static str, u64)>,
    /// Stored bytes by section, the index as one.
    pub sections: Vec<(String, u64)>,
    /// Stored bytes by column; only logs have columns.
    pub columns: Vec<(String, u64)>,
}

/// What was compared in a sound segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub bytes: u64,
    pub rows: u64,
}

/// Reads the tables of a segment and says what it is made of.
///
/// # Errors
/// When it cannot be read or is damaged.
pub async fn inspect(
    store: &Arc<dyn ObjectStore>,
    meta: &SegmentMeta,
) -> Result<Inspection, SegmentError> {
    match meta.kind {
        SegmentKind::Logs => LogSegment::open(Arc::clone(store), meta).await?.inspect().await,
        SegmentKind::Samples => {
            Ok(SampleSegment::open(Arc::clone(store), meta).await?.inspect()?)
        }
    }
}

/// Reads every byte of a segment, compares every checksum, decodes every row, and compares what is
/// there with what the catalog says.
///
/// # Errors
/// What is wrong with it, naming the object.
pub async fn verify(
    store: &Arc<dyn ObjectStore>,
    meta: &SegmentMeta,
) -> Result<Verified, SegmentError> {
    let found = match meta.kind {
        SegmentKind::Logs => verify_logs(store, meta).await?,
        SegmentKind::Samples => verify_samples(store, meta).await?,
    };
    let expected = (meta.rows, meta.raw_bytes, meta.time_min_ns, meta.time_max_ns);
    if found != expected {
        let what = format!(
            "it has {} rows of {} raw bytes from {} to {} ns, the catalog says {}, {}, {} and {}",
            found.0, found.1, found.2, found.3, expected.0, expected.1, expected.2, expected.3,
        );
        return Err(SegmentError::Damaged { path: meta.path.clone(), what });
    }
    Ok(Verified { bytes: meta.bytes, rows: meta.rows })
}

/// Rows, raw bytes, earliest and latest time.
type Found = (u64, u64, i64, i64);

async fn verify_logs(
    store: &Arc<dyn ObjectStore>,
    meta: &SegmentMeta,
) -> Result<Found, SegmentError> {
    let segment = LogSegment::open(Arc::clone(store), meta).await?;
    segment.verify().await?;
    let mut found = (0, 0, i64::MAX, i64::MIN);
    let mut scan = segment.read_through(1, None);
    while let Some(batch) = scan.next_rows().await? {
        found.0 += batch.len() as u64;
        found.1 += batch.raw_bytes();
        for time in batch.times() {
            found.2 = found.2.min(*time);
            found.3 = found.3.max(*time);
        }
    }
    Ok(found)
}

async fn verify_samples(
    store: &Arc<dyn ObjectStore>,
    meta: &SegmentMeta,
) -> Result<Found, SegmentError> {
    let segment = SampleSegment::open(Arc::clone(store), meta).await?;
    segment.verify().await?;
    let everything = SamplePlan {
        tenant: meta.tenant.clone(),
        start_ms: i64::MIN,
        end_ms: i64::MAX,
        matchers: Vec::new(),
    };
    let (mut rows, mut first, mut last) = (0, i64::MAX, i64::MIN);
    for series in segment.scan(&everything).await? {
        rows += series.times.len() as u64;
        first = first.min(series.times.first().copied().unwrap_or(i64::MAX));
        last = last.max(series.times.last().copied().unwrap_or(i64::MIN));
    }
    let nanos = |time_ms: i64| time_ms.saturating_mul(NANOS_PER_MILLI);
    // What a sample weighs is the builder's to say; rows decide.
    Ok((rows, meta.raw_bytes, nanos(first), nanos(last)))
}
