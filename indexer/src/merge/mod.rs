//! Merging small segments into large ones while everything else goes on.
//!
//! **Who merges.** Every indexer may. Each window has a rank for every owner of a partition that the
//! catalog names (rendezvous hashing): the first takes it at once, the next only after the newest
//! segment has waited for `takeover_secs` longer, and so on, so that two do not do the same work and
//! an owner that is gone for good holds nothing up. Where two do collide, the catalog refuses the
//! second.
//!
//! [`policy`] says what is worth it, [`plan`] picks disjoint inputs, [`execute`] carries one out.

pub(crate) mod execute;
pub(crate) mod pace;
pub mod plan;
pub mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use segment::catalog::CatalogState;
use segment::{SegmentId, SegmentKind};
use tracing::{info, warn};

use self::execute::{ExecuteError, Executor, Merged};
use self::plan::MergePlan;
use self::policy::MergePolicy;
use crate::telemetry;

/// Merges, one at a time.
#[derive(Debug)]
pub(crate) struct Merger {
    pub(crate) policy: MergePolicy,
    /// Base URL by which the catalog knows this process.
    pub(crate) owner: String,
    pub(crate) takeover: Duration,
    pub(crate) executor: Executor,
    /// Inputs that could not be merged; looked at again after a restart.
    pub(crate) set_aside: BTreeSet<SegmentId>,
}

/// What one round did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// There may be more to do at once.
    Worked,
    /// Nothing to do for now.
    Idle,
    /// The store fails: wait.
    Failed,
}

impl Merger {
    /// Carries out the best of the merges that are ours in `state`.
    pub(crate) async fn round(&mut self, state: &CatalogState) -> Round {
        self.set_aside.retain(|id| state.segments.contains_key(id));
        let now_ms = self.executor.clock.unix_millis();
        let plans = plan::plan(state.segments.values(), &self.set_aside, &self.policy, now_ms);
        report_backlog(&plans);
        let owners = owners(state);
        let mine = plans.into_iter().filter(|plan| self.is_mine(plan, &owners, now_ms));
        // Wide segments first: they are in the way of every query.
        let Some(plan) = mine.max_by_key(|plan| (plan.window.level, plan.inputs.len())) else {
            return Round::Idle;
        };
        self.carry_out(&plan).await
    }

    async fn carry_out(&mut self, plan: &MergePlan) -> Round {
        let started = self.executor.clock.elapsed();
        let kind = plan.inputs.first().map_or("", |input| input.kind.as_str());
        metrics::counter!(telemetry::MERGES_STARTED, "kind" => kind).increment(1);
        let result = self.executor.execute(plan).await;
        let took = self.executor.clock.elapsed().saturating_sub(started);
        execute::count(plan, &result, took.as_secs_f64());
        match result {
            Ok(Merged::Done { outputs, version }) => {
                info!(
                    kind,
                    inputs = plan.inputs.len(),
                    outputs = outputs.len(),
                    rows = outputs.iter().map(|output| output.rows).sum::<u64>(),
                    bytes = outputs.iter().map(|output| output.bytes).sum::<u64>(),
                    version,
                    ?took,
                    "merged"
                );
                Round::Worked
            }
            Ok(Merged::Lost) => Round::Worked,
            Err(error) => {
                warn!(kind, %error, "segments not merged");
                match error {
                    ExecuteError::Input { id, .. } => {
                        self.set_aside.insert(id);
                        Round::Worked
                    }
                    ExecuteError::Impossible(_) => {
                        self.set_aside.extend(plan.inputs.iter().map(|input| input.id));
                        Round::Worked
                    }
                    ExecuteError::Later(_) | ExecuteError::Undecided(_) => Round::Failed,
                }
            }
        }
    }

    fn is_mine(&self, plan: &MergePlan, owners: &BTreeSet<&str>, now_ms: i64) -> bool {
        let rank = rank_of(&self.owner, plan, owners);
        let newest_ms = plan.inputs.iter().map(|input| input.created_ms).max().unwrap_or(now_ms);
        let takeover_ms = i64::try_from(self.takeover.as_millis()).unwrap_or(i64::MAX);
        let rank = i64::try_from(rank).unwrap_or(i64::MAX);
        rank == 0 || rank.saturating_mul(takeover_ms) <= now_ms.saturating_sub(newest_ms)
    }
}

/// The owners of partitions, as far as the catalog knows.
pub(crate) fn owners(state: &CatalogState) -> BTreeSet<&str> {
    state.partitions.values().map(|partition| partition.owner.as_str()).collect()
}

/// How many owners come before `owner` for this plan's window.
fn rank_of(owner: &str, plan: &MergePlan, owners: &BTreeSet<&str>) -> usize {
    let Some(first) = plan.inputs.first() else { return 0 };
    let key = (first.tenant.as_str(), first.kind, first.class.as_str(), plan.window);
    let ours = weight(owner, &key);
    owners.iter().filter(|other| **other != owner && ours < weight(other, &key)).count()
}

/// Equal on every process of one build, which is all that is needed: a different answer only
/// lets two try the same.
pub(crate) fn weight(owner: &str, key: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    owner.hash(&mut hasher);
    key.hash(&mut hasher);
    hasher.finish()
}

fn report_backlog(plans: &[MergePlan]) {
    let mut waiting: BTreeMap<&str, usize> =
        BTreeMap::from([(SegmentKind::Logs.as_str(), 0), (SegmentKind::Samples.as_str(), 0)]);
    for plan in plans {
        for input in &plan.inputs {
            *waiting.entry(input.kind.as_str()).or_default() += 1;
        }
    }
    for (kind, segments) in waiting {
        metrics::gauge!(telemetry::MERGE_BACKLOG, "kind" => kind).set(segments as f64);
    }
}
