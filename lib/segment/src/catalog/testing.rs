//! Values the catalog's tests share.

use std::sync::Arc;
use std::time::Duration;

use record::TenantId;

use super::{CatalogState, Commit, Op};
use crate::id::{CommitId, SegmentId, SegmentKind};
use crate::meta::SegmentMeta;

pub(crate) fn acquire(owner: &str) -> Op {
    Op::Acquire { topic: "logs".to_owned(), partition: 0, owner: owner.to_owned() }
}

pub(crate) fn advance(epoch: u64, from: i64, to: i64) -> Op {
    Op::Advance { topic: "logs".to_owned(), partition: 0, epoch, from, to, sources: Vec::new() }
}

pub(crate) fn segment(number: u128) -> SegmentMeta {
    let id = SegmentId::from_bits(number);
    SegmentMeta {
        id,
        kind: SegmentKind::Logs,
        tenant: TenantId::default(),
        path: SegmentMeta::object_path(SegmentKind::Logs, &TenantId::default(), id, 0),
        bytes: 1_000,
        raw_bytes: 5_000,
        rows: 10,
        time_min_ns: 0,
        time_max_ns: 1_000_000_000,
        ranges: Vec::new(),
        created_ms: 1,
        footer_bytes: 100,
        level: 0,
        class: String::new(),
    }
}

/// The commit that would follow `state`, with an id made of its version.
pub(crate) fn commit_on(state: &CatalogState, ops: Vec<Op>) -> Commit {
    Commit {
        version: state.version + 1,
        id: CommitId::from_bits(u128::from(state.version) + 1_000),
        previous: state.head,
        writer: "test".to_owned(),
        committed_ms: 1,
        forget_sources_before_ms: 0,
        ops,
    }
}

/// A clock whose sleepers only let others run: racing tests take no time.
#[derive(Debug, Default)]
pub(crate) struct YieldClock;

#[async_trait::async_trait]
impl runtime::clock::Clock for YieldClock {
    fn unix_nanos(&self) -> i64 {
        1_700_000_000_000_000_000
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _duration: Duration) {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn yield_clock() -> runtime::clock::SharedClock {
    Arc::new(YieldClock)
}
