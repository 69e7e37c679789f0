//! The catalog as a value: what a sequence of commits amounts to.
//!
//! Pure: no I/O, no clock, no randomness. Equal commits give equal states on every process.
//!
//! Always holds: a partition's epoch and published offset never go down; a segment id enters and
//! leaves at most once. Clones share segments and partitions, so a clone costs a few words per
//! entry. Bounded by what retention keeps (segments) and by the source retention (positions).

use std::collections::BTreeMap;
use std::sync::Arc;

use record::{SourceId, TenantId};

use super::lost::Lost;
use super::op::{Commit, Op, Refusal};
use crate::id::{CommitId, SegmentId, SegmentKind};
use crate::meta::SegmentMeta;

/// Everything published as of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogState {
    /// Number of the last commit applied; 0 for the empty catalog.
    pub version: u64,
    /// Id of that commit.
    pub head: Option<CommitId>,
    pub segments: BTreeMap<SegmentId, Arc<SegmentMeta>>,
    /// By topic and partition.
    pub partitions: BTreeMap<(String, i32), Arc<PartitionState>>,
}

/// Who reads a queue partition, and how far it is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// Rises with every acquisition; 0 before the first.
    pub epoch: u64,
    /// Base URL of the owner.
    pub owner: String,
    /// Next offset to read: everything below is in published segments, was dropped on purpose or is
    /// in `lost`.
    pub published: i64,
    /// Replay positions: rows at or below are already published.
    pub sources: BTreeMap<SourceId, SourceMark>,
    /// Offsets below `published` that were gone from the queue before they were read.
    pub lost: Lost,
}

/// How far one source is published within a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceMark {
    /// Highest source offset published.
    pub high: u64,
    /// When a commit last named the source, Unix milliseconds.
    pub touched_ms: i64,
}

/// Why a durable commit cannot follow this state; the log is damaged or from a newer program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("it is number {found}, expected {expected}")]
    Version { expected: u64, found: u64 },
    #[error(
        "it follows commit {found}, but the commit before it is {expected}: two writers created \
         one number, so conditional puts are not atomic on this store"
    )]
    Forked { expected: String, found: String },
    #[error("it breaks a rule: {0}")]
    Refused(#[from] Refusal),
}

impl CatalogState {
    /// The state after `commit`.
    ///
    /// # Errors
    /// When the commit is not the next one or one of its operations is refused.
    pub fn after(&self, commit: &Commit) -> Result<Self, Misfit> {
        let expected = self.version + 1;
        if commit.version != expected {
            return Err(Misfit::Version { expected, found: commit.version });
        }
        if commit.previous != self.head {
            let name = |id: Option<CommitId>| id.map_or("none".to_owned(), |id| id.to_string());
            return Err(Misfit::Forked { expected: name(self.head), found: name(commit.previous) });
        }
        let mut next = self.clone();
        for op in &commit.ops {
            next.apply(op, commit)?;
        }
        next.version = commit.version;
        next.head = Some(commit.id);
        Ok(next)
    }

    /// The state of one partition, or `None` before its first acquisition.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionState> {
        self.partitions.get(&(topic.to_owned(), partition)).map(|state| &**state)
    }

    /// Segments of a tenant and kind that may hold rows from `start_ns` (inclusive) to `end_ns`
    /// (exclusive), in order of id.
    pub fn segments_between(
        &self,
        tenant: &TenantId,
        kind: SegmentKind,
        start_ns: i64,
        end_ns: i64,
    ) -> impl Iterator<Item = &Arc<SegmentMeta>> {
        self.segments.values().filter(move |segment| {
            segment.kind == kind && segment.tenant == *tenant && segment.overlaps(start_ns, end_ns)
        })
    }

    fn apply(&mut self, op: &Op, commit: &Commit) -> Result<(), Refusal> {
        match op {
            Op::AddSegments { segments } => self.add_segments(segments),
            Op::RemoveSegments { ids } => self.remove_segments(ids),
            Op::Acquire { topic, partition, owner } => {
                self.acquire(topic, *partition, owner);
                Ok(())
            }
            Op::Advance { topic, partition, epoch, from, to, sources } => {
                let state = self.owned_partition(topic, *partition, *epoch)?;
                state.advance((topic, *partition), *from, *to)?;
                state.remember(sources, commit.committed_ms);
                state.forget(commit.forget_sources_before_ms);
                Ok(())
            }
            Op::NoteLost { topic, partition, epoch, ranges } => {
                let state = self.owned_partition(topic, *partition, *epoch)?;
                let noted = state.lost.note(ranges, state.published, commit.committed_ms);
                let (topic, partition) = (topic.clone(), *partition);
                noted.map_err(|(from, to)| Refusal::Lost { topic, partition, from, to })
            }
        }
    }

    fn add_segments(&mut self, segments: &[SegmentMeta]) -> Result<(), Refusal> {
        for segment in segments {
            if let Some(why) = segment.contradiction() {
                return Err(Refusal::Contradiction { id: segment.id, why });
            }
            if self.segments.insert(segment.id, Arc::new(segment.clone())).is_some() {
                return Err(Refusal::SegmentExists(segment.id));
            }
        }
        Ok(())
    }

    fn remove_segments(&mut self, ids: &[SegmentId]) -> Result<(), Refusal> {
        for id in ids {
            if self.segments.remove(id).is_none() {
                return Err(Refusal::SegmentMissing(*id));
            }
        }
        Ok(())
    }

    fn acquire(&mut self, topic: &str, partition: i32, owner: &str) {
        let state = self.partitions.entry((topic.to_owned(), partition)).or_default();
        let state = Arc::make_mut(state);
        state.epoch += 1;
        owner.clone_into(&mut state.owner);
    }

    fn owned_partition(
        &mut self,
        topic: &str,
        partition: i32,
        epoch: u64,
    ) -> Result<&mut PartitionState, Refusal> {
        let Some(state) = self.partitions.get_mut(&(topic.to_owned(), partition)) else {
            return Err(Refusal::NotAcquired { topic: topic.to_owned(), partition });
        };
        if state.epoch != epoch {
            return Err(Refusal::Fenced {
                topic: topic.to_owned(),
                partition,
                wanted: epoch,
                current: state.epoch,
                owner: state.owner.clone(),
            });
        }
        Ok(Arc::make_mut(state))
    }
}

impl PartitionState {
    fn advance(&mut self, name: (&str, i32), from: i64, to: i64) -> Result<(), Refusal> {
        let (topic, partition) = (name.0.to_owned(), name.1);
        if from != self.published {
            return Err(Refusal::Offset { topic, partition, from, published: self.published });
        }
        if to < from {
            return Err(Refusal::Backwards { topic, partition, from, to });
        }
        self.published = to;
        Ok(())
    }

    fn remember(&mut self, sources: &[(SourceId, u64)], now_ms: i64) {
        for &(source, high) in sources {
            let mark =
                self.sources.entry(source).or_insert(SourceMark { high, touched_ms: now_ms });
            mark.high = mark.high.max(high);
            mark.touched_ms = mark.touched_ms.max(now_ms);
        }
    }

    fn forget(&mut self, before_ms: i64) {
        self.sources.retain(|_, mark| before_ms <= mark.touched_ms);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::catalog::testing::{acquire, advance, commit_on, segment};

    #[test]
    fn a_publish_moves_offsets_and_segments_together_or_not_at_all() {
        let owned = after(&CatalogState::default(), vec![acquire("a")]).unwrap();
        let publish = vec![
            Op::AddSegments { segments: vec![segment(1)] },
            advance(1, 0, 10),
            Op::RemoveSegments { ids: vec![segment(99).id] },
        ];
        let refusal = after(&owned, publish).unwrap_err();
        assert_eq!(refusal, Misfit::Refused(Refusal::SegmentMissing(segment(99).id)));
        assert!(owned.segments.is_empty());
        assert_eq!(owned.partition("logs", 0).unwrap().published, 0);
    }

    #[test]
    fn an_older_epoch_is_fenced() {
        let first = after(&CatalogState::default(), vec![acquire("a")]).unwrap();
        let second = after(&first, vec![acquire("b")]).unwrap();
        let Misfit::Refused(Refusal::Fenced { wanted, current, owner, .. }) =
            after(&second, vec![advance(1, 0, 5)]).unwrap_err()
        else {
            panic!("not fenced")
        };
        assert_eq!((wanted, current, owner.as_str()), (1, 2, "b"));
        assert!(after(&second, vec![advance(2, 0, 5)]).is_ok());
    }

    #[test]
    fn offsets_only_continue() {
        let state = after(&CatalogState::default(), vec![acquire("a"), advance(1, 0, 7)]).unwrap();
        for (from, to) in [(0, 7), (6, 9), (8, 9), (7, 6)] {
            assert!(after(&state, vec![advance(1, from, to)]).is_err(), "{from}..{to}");
        }
        assert_eq!(
            after(&state, vec![advance(1, 7, 9)]).unwrap().partition("logs", 0).unwrap().published,
            9
        );
    }

    #[test]
    fn what_was_lost_is_named_by_the_owner_and_once() {
        let lose = |epoch, ranges: &[(i64, i64)]| Op::NoteLost {
            topic: "logs".to_owned(),
            partition: 0,
            epoch,
            ranges: ranges.to_vec(),
        };
        let owned = after(&CatalogState::default(), vec![acquire("a")]).unwrap();
        let state = after(&owned, vec![advance(1, 0, 9), lose(1, &[(0, 3), (7, 9)])]).unwrap();
        assert_eq!(state.partition("logs", 0).unwrap().lost.offsets(), 5);
        for refused in [lose(1, &[(7, 9)]), lose(1, &[(9, 10)]), lose(2, &[(9, 9)])] {
            assert!(after(&state, vec![refused]).is_err());
        }
    }

    #[test]
    fn sources_keep_their_highest_offset_and_are_forgotten_when_untouched() {
        let source = |n: u8| SourceId([n; 16]);
        let with_sources = |from, to, sources| Op::Advance {
            topic: "logs".to_owned(),
            partition: 0,
            epoch: 1,
            from,
            to,
            sources,
        };
        let mut state = after(&CatalogState::default(), vec![acquire("a")]).unwrap();
        let mut commit =
            commit_on(&state, vec![with_sources(0, 1, vec![(source(1), 50), (source(2), 60)])]);
        commit.committed_ms = 1_000;
        state = state.after(&commit).unwrap();
        commit = commit_on(&state, vec![with_sources(1, 2, vec![(source(1), 40)])]);
        commit.committed_ms = 9_000;
        commit.forget_sources_before_ms = 5_000;
        state = state.after(&commit).unwrap();
        let marks: Vec<_> = state.partition("logs", 0).unwrap().sources.iter().collect();
        assert_eq!(marks, [(&source(1), &SourceMark { high: 50, touched_ms: 9_000 })]);
    }

    #[test]
    fn a_commit_that_follows_another_history_is_a_fork() {
        let state = after(&CatalogState::default(), vec![acquire("a")]).unwrap();
        let mut commit = commit_on(&state, vec![acquire("b")]);
        commit.previous = Some(CommitId::from_bits(77));
        assert!(matches!(state.after(&commit), Err(Misfit::Forked { .. })));
        commit.version += 1;
        assert!(matches!(state.after(&commit), Err(Misfit::Version { expected: 2, found: 3 })));
    }

    fn after(state: &CatalogState, ops: Vec<Op>) -> Result<CatalogState, Misfit> {
        state.after(&commit_on(state, ops))
    }
}
