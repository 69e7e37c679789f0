//! How long rows are kept, and taking away those that are too old or too many.
//!
//! A rule names the streams it is for by tenant and selector, and how long their rows are kept.
//! Of several rules that match a stream **the longest wins**; where none matches, the default age
//! holds. Rows are sorted into segments by the rule that won: its name is the segment's *class*. So
//! a rule's age may be changed at any time and holds for all that was published under its name; a
//! changed selector decides about what is published from then on. A class whose rule is gone is kept
//! by the default age.
//!
//! # What always holds
//!
//! - Segments are removed whole, and only when every row in them is older than its class allows, or
//!   the oldest of a tenant that has more bytes than it may.
//! - Removing is one commit; objects are deleted by the [`sweep`](crate::sweep), after its grace.
//!
//! On a crash: a commit was made or not. Bounded by [`REMOVALS_MAX`] segments a commit.

mod rules;
mod selector;

use std::collections::BTreeMap;
use std::sync::Arc;

use record::TenantId;
use segment::catalog::{Catalog, CatalogState, CommitError, Op};
use segment::{SegmentId, SegmentMeta};
use tracing::{info, warn};

pub use rules::{Age, RetentionRule, RetentionSection, Rules};
pub use selector::{SelectorError, parse_selector};

use crate::telemetry;

/// Segments removed by one commit: each costs 30 bytes of its object.
pub const REMOVALS_MAX: usize = 10_000;

const NANOS_PER_SEC: i128 = 1_000_000_000;

/// Why a segment is removed: the `reason` label of `millrace_indexer_retention_segments_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Age,
    Bytes,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Bytes => "bytes",
        }
    }
}

/// Returns the segments that must go at `now_ns`, oldest rows first.
pub fn expired(state: &CatalogState, rules: &Rules, now_ns: i64) -> Vec<(SegmentId, Reason)> {
    let mut gone = Vec::new();
    let mut kept: BTreeMap<&TenantId, Vec<&Arc<SegmentMeta>>> = BTreeMap::new();
    for segment in state.segments.values() {
        if too_old(segment, rules, now_ns) {
            gone.push((segment, Reason::Age));
        } else {
            kept.entry(&segment.tenant).or_default().push(segment);
        }
    }
    for (tenant, mut segments) in kept {
        let Some(bytes_max) = rules.bytes_max(tenant) else { continue };
        let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        segments.sort_by_key(|segment| (segment.time_max_ns, segment.id));
        for segment in segments {
            if bytes <= bytes_max {
                break;
            }
            bytes -= segment.bytes;
            gone.push((segment, Reason::Bytes));
        }
    }
    gone.sort_by_key(|(segment, _)| (segment.time_max_ns, segment.id));
    gone.into_iter().map(|(segment, reason)| (segment.id, reason)).collect()
}

fn too_old(segment: &SegmentMeta, rules: &Rules, now_ns: i64) -> bool {
    match rules.age(&segment.tenant, &segment.class) {
        Age::Forever => false,
        Age::Secs(secs) => {
            let age = i128::from(now_ns) - i128::from(segment.time_max_ns);
            i128::from(secs) * NANOS_PER_SEC < age
        }
    }
}

/// Removes what must go. Returns how many segments went.
///
/// # Errors
/// When the commit was refused (someone else was first), not made, or is undecided: look at the
/// catalog again before trying again.
pub(crate) async fn enforce(
    catalog: &Catalog,
    state: &CatalogState,
    rules: &Rules,
    now_ns: i64,
) -> Result<usize, CommitError> {
    let gone = expired(state, rules, now_ns);
    for part in gone.chunks(REMOVALS_MAX) {
        let ids = part.iter().map(|(id, _)| *id).collect();
        if let Err(error) = catalog.commit(vec![Op::RemoveSegments { ids }]).await {
            warn!(%error, "expired segments not removed, trying again later");
            return Err(error);
        }
        for (id, reason) in part {
            let Some(segment) = state.segments.get(id) else { continue };
            let (kind, reason) = (segment.kind.as_str(), reason.as_str());
            metrics::counter!(telemetry::RETENTION_SEGMENTS, "kind" => kind, "reason" => reason)
                .increment(1);
            metrics::counter!(telemetry::RETENTION_BYTES, "kind" => kind, "reason" => reason)
                .increment(segment.bytes);
        }
        info!(segments = part.len(), "expired segments removed");
    }
    Ok(gone.len())
}
