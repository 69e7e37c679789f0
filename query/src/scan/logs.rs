//! Scanning log rows: segments in query order, a few at a time, after the recent rows.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use record::{Limits, LogBatch};
use segment::catalog::CatalogState;
use segment::logs::plan::{CompiledPlan, Direction, LogPlan};
use segment::logs::{LogSegment, SegmentError};
use segment::recent::{LOGS_SCAN, split_frames};
use segment::{SegmentId, SegmentKind, SegmentMeta};
use serde::Serialize;

use super::Scanner;
use super::chunks::{LogChunk, LogFold};
use super::cursor::{Cursor, Read, recent_chunk};
use super::footers::{InUse, Opened};
use super::pins::pins_by_owner;
use super::recent::{Answers, Outdated, OwnerAnswer, missing};
use crate::admission::{QueryContext, Stats};
use crate::error::QueryError;
use crate::telemetry;

/// Segments read at once by a query that may stop early: what is read ahead is often not needed.
const SEGMENTS_AHEAD_WITH_LIMIT: usize = 2;

/// Pause before planning again, times the number of tries: gives the catalog time to settle.
const PLAN_AGAIN_PAUSE: Duration = Duration::from_millis(20);

/// Where recent rows stand in the order of ingest: after every segment.
const RECENT_SOURCE: u64 = u64::MAX;

/// Why a scan of one pinned state did not end.
pub(super) enum Stopped {
    /// The state is too old; what was read of it does not count.
    PlanAgain(String),
    Failed(QueryError),
}

impl From<QueryError> for Stopped {
    fn from(error: QueryError) -> Self {
        Self::Failed(error)
    }
}

impl Scanner {
    /// Feeds every row of `plan` to folds, and returns what they come to.
    ///
    /// `attempt` gives what makes the folds of one try; when the catalog moved on underneath, the
    /// scan starts over with another.
    ///
    /// # Errors
    /// A limit, the deadline, what the fold refuses, or a store that cannot be read.
    pub async fn fold_logs<F: LogFold, M: Fn() -> F>(
        &self,
        plan: &LogPlan,
        context: &QueryContext,
        attempt: impl Fn() -> M,
    ) -> Result<F, QueryError> {
        let compiled = CompiledPlan::new(plan)
            .map_err(|error| QueryError::Invalid(format!("parse error : {error}")))?;
        let compiled = Arc::new(compiled);
        let attempts = self.shared.section.plan_attempts_max;
        let started = context.elapsed();
        let mut state = self.shared.pins.current(context).await?;
        context.explain(|explain| explain.times.catalog += context.since(started));
        let mut settled = false;
        for number in 1..=attempts {
            let outdated = self.outdated(settled && number == attempts);
            match self.fold_pinned((&state, outdated), &compiled, context, attempt()).await {
                Ok(fold) => return Ok(fold),
                Err(Stopped::Failed(error)) => return Err(error),
                Err(Stopped::PlanAgain(why)) => {
                    let topics = &self.shared.section.topics.logs;
                    (state, settled) =
                        self.plan_again(number, (&state, &why), topics, context).await?;
                }
            }
        }
        Err(QueryError::PlanUnstable { attempts })
    }

    /// Asks the owners until all of them fit the pinned state, and returns both.
    pub(super) async fn ask_until_stable<P: Clone + Serialize>(
        &self,
        path: &str,
        topics: &[String],
        plan: &P,
        context: &QueryContext,
    ) -> Result<(Arc<CatalogState>, Vec<OwnerAnswer>), QueryError> {
        let mut state = self.shared.pins.current(context).await?;
        let attempts = self.shared.section.plan_attempts_max;
        let mut settled = false;
        for attempt in 1..=attempts {
            let outdated = self.outdated(settled && attempt == attempts);
            match self.shared.recent.ask(path, (&state, outdated), topics, plan, context).await? {
                Answers::Bodies(answers) => return Ok((state, answers)),
                Answers::PlanAgain { owner } => {
                    (state, settled) =
                        self.plan_again(attempt, (&state, &owner), topics, context).await?;
                }
            }
        }
        Err(QueryError::PlanUnstable { attempts })
    }

    /// What to do about owners that do not fit a state; `settled` says that a newer state asks them
    /// for the same, as it does until an indexer that was just started has taken its partitions
    /// over.
    fn outdated(&self, settled: bool) -> Outdated {
        if self.shared.pins.stopped() {
            let why = "it has published beyond the catalog version that can be read";
            return Outdated::LeaveOut { why };
        }
        let why = "it does not hold all partitions that the catalog says it does, it may have just \
                   started";
        if settled { Outdated::LeaveOut { why } } else { Outdated::Say }
    }

    /// A newer state, and whether it asks the owner that did not fit the last for the same again.
    async fn plan_again(
        &self,
        attempt: u32,
        (state, why): (&CatalogState, &str),
        topics: &[String],
        context: &QueryContext,
    ) -> Result<(Arc<CatalogState>, bool), QueryError> {
        metrics::counter!(telemetry::PLANNED_AGAIN).increment(1);
        tracing::debug!(attempt, why, "planning again");
        context.within(self.shared.clock.sleep(PLAN_AGAIN_PAUSE * attempt)).await?;
        let newer = self.shared.pins.newer(context).await?;
        let settled = asks_the_same_of(why, state, &newer, topics);
        Ok((newer, settled))
    }

    /// One try, on one catalog state.
    async fn fold_pinned<F: LogFold>(
        &self,
        (state, outdated): (&CatalogState, Outdated),
        plan: &Arc<CompiledPlan>,
        context: &QueryContext,
        fresh: impl Fn() -> F,
    ) -> Result<F, Stopped> {
        let mut fold = fresh();
        let topics = &self.shared.section.topics.logs;
        let started = context.elapsed();
        context.explain(|explain| explain.plans += 1);
        let recent = &self.shared.recent;
        let asked = recent.ask(LOGS_SCAN, (state, outdated), topics, plan.plan(), context).await?;
        context.explain(|explain| explain.times.recent += context.since(started));
        let answers = match asked {
            Answers::Bodies(answers) => answers,
            Answers::PlanAgain { owner } => return Err(Stopped::PlanAgain(owner)),
        };
        let mut first_row = 0;
        for answer in answers {
            let bytes = answer.body.len() as u64;
            context.explain(|explain| explain.bytes_recent += bytes);
            for batch in self.recent_batches(answer, context).await? {
                let rows = batch.len() as u64;
                context.explain(|explain| explain.rows_recent += rows);
                let chunk = recent_chunk(RECENT_SOURCE, first_row, batch);
                fold = self.fold_chunks(fold, vec![chunk], context).await?;
                first_row += rows;
            }
        }
        if F::COUNTS {
            return self.count_segments(state, plan, context, fold, fresh).await;
        }
        self.fold_segments(state, plan, context, fold).await
    }

    /// The batches of an owner's answer; none, with a warning, when it cannot be read.
    async fn recent_batches(
        &self,
        answer: OwnerAnswer,
        context: &QueryContext,
    ) -> Result<Vec<LogBatch>, QueryError> {
        let OwnerAnswer { owner, body } = answer;
        let decode = move || -> Result<Vec<LogBatch>, String> {
            let frames = split_frames(body, u32::MAX).map_err(|error| error.to_string())?;
            let limits = Limits::default();
            let decoded = frames.iter().map(|frame| LogBatch::decode(frame, &limits));
            decoded.collect::<Result<_, _>>().map_err(|error| error.to_string())
        };
        match self.on_cpu(decode).await? {
            Ok(batches) => Ok(batches),
            Err(why) => {
                missing(&owner, &why, context);
                Ok(Vec::new())
            }
        }
    }

    /// Folds on the CPU pool; the fold travels there and back.
    pub(super) async fn fold_chunks<F: LogFold>(
        &self,
        mut fold: F,
        chunks: Vec<LogChunk>,
        context: &QueryContext,
    ) -> Result<F, QueryError> {
        context.check()?;
        let rows: usize = chunks.iter().map(LogChunk::len).sum();
        Stats::add(&context.stats().rows_matched, rows as u64);
        let started = context.elapsed();
        let folding = self.on_cpu(move || {
            let result = chunks.iter().try_for_each(|chunk| fold.fold(chunk));
            result.map(|()| fold)
        });
        let folded = context.within(folding).await??;
        context.explain(|explain| explain.times.fold += context.since(started));
        folded
    }

    async fn fold_segments<F: LogFold>(
        &self,
        state: &CatalogState,
        plan: &Arc<CompiledPlan>,
        context: &QueryContext,
        mut fold: F,
    ) -> Result<F, Stopped> {
        let mut waiting = segments_in_order(state, plan.plan(), context);
        let ranks = ranks(&waiting);
        let at_once = match plan.plan().limit {
            Some(_) => self.shared.section.segments_concurrent.min(SEGMENTS_AHEAD_WITH_LIMIT),
            None => self.shared.section.segments_concurrent,
        };
        let mut reading = FuturesUnordered::new();
        loop {
            while reading.len() < at_once
                && let Some(meta) = waiting.pop_front()
            {
                if fold.is_complete(nearest_time(&meta, plan.plan().direction)) {
                    let skipped = 1 + waiting.len() as u64;
                    context.explain(|explain| explain.segments_skipped_by_limit += skipped);
                    waiting.clear();
                    break;
                }
                let source = ranks.get(&meta.id).copied().unwrap_or(0);
                reading.push(Cursor::new(meta, source).next::<F>(self, plan, context));
            }
            let Some((cursor, next)) = next_of(&mut reading, context).await? else {
                return Ok(fold);
            };
            match next {
                Ok(Some(chunk)) => {
                    fold = self.fold_chunks(fold, vec![chunk], context).await?;
                    reading.push(cursor.next::<F>(self, plan, context));
                }
                Ok(None) => {}
                Err(error) => self.set_aside(&cursor.meta, error, context).await?,
            }
        }
    }

    /// What a segment that cannot be read means for a scan: another plan when the catalog no
    /// longer names it, else that it is left out.
    pub(super) async fn set_aside(
        &self,
        meta: &SegmentMeta,
        error: SegmentError,
        context: &QueryContext,
    ) -> Result<(), Stopped> {
        if is_not_found(&error) {
            let newer = self.shared.pins.newer(context).await?;
            if !newer.segments.contains_key(&meta.id) {
                return Err(Stopped::PlanAgain(format!("segment {} was retired", meta.id)));
            }
        }
        Ok(self.set_log_segment_aside(meta, error, context)?)
    }

    /// Leaves a damaged or missing segment out, with a warning; other faults end the query.
    pub(super) fn set_log_segment_aside(
        &self,
        meta: &SegmentMeta,
        error: SegmentError,
        context: &QueryContext,
    ) -> Result<(), QueryError> {
        match &error {
            SegmentError::Limit(limit) => return Err((*limit).into()),
            SegmentError::Cpu(error) => return Err(error.clone().into()),
            SegmentError::Store { source, .. } if !is_not_found(&error) => {
                return Err(QueryError::Unavailable(format!("{error}: {source}")));
            }
            // Damaged, missing, or written by a newer program.
            _ => {}
        }
        self.shared.footers.remove(meta.id);
        warn_set_aside(meta, &error.to_string(), context);
        Ok(())
    }

    /// Opens a segment, or finds it open.
    pub(super) async fn log_segment(
        &self,
        meta: &SegmentMeta,
        context: &QueryContext,
    ) -> Result<InUse<LogSegment>, SegmentError> {
        if let Some(held) = self.shared.footers.get(meta.id)
            && let Opened::Logs(segment) = (*held).clone()
        {
            return Ok(held.with(segment));
        }
        let started = context.elapsed();
        let segment = LogSegment::open(Arc::clone(&self.shared.store), meta).await?;
        context.explain(|explain| {
            explain.segments_opened += 1;
            explain.bytes_opened += meta.footer_bytes;
            explain.times.open += context.since(started);
        });
        let held = self.shared.footers.put(meta, Opened::Logs(segment.clone()));
        Ok(held.with(segment))
    }
}

/// Whether two states name `owner` with the same partitions and offsets.
fn asks_the_same_of(
    owner: &str,
    older: &CatalogState,
    newer: &CatalogState,
    topics: &[String],
) -> bool {
    let asked = |state| pins_by_owner(state, topics).remove(owner);
    asked(older).is_some_and(|pins| asked(newer).as_ref() == Some(&pins))
}

fn is_not_found(error: &SegmentError) -> bool {
    matches!(error, SegmentError::Store { source: object_store::Error::NotFound { .. }, .. })
}

/// Notes that rows of a segment are not in the answer.
pub(super) fn warn_set_aside(meta: &SegmentMeta, why: &str, context: &QueryContext) {
    let kind = meta.kind.as_str();
    metrics::counter!(telemetry::SEGMENTS_SET_ASIDE, "kind" => kind).increment(1);
    tracing::error!(segment_id = %meta.id, why, "segment set aside");
    context.explain(|explain| explain.segments_set_aside += 1);
    context.warn(format!("segment {} was set aside, its rows are missing: {why}", meta.id));
}

async fn next_of(
    reading: &mut (impl Stream<Item = Read> + Unpin),
    context: &QueryContext,
) -> Result<Option<Read>, QueryError> {
    context.within(reading.next()).await
}

/// The segments that may hold rows of the plan, nearest to where the query begins first.
pub(super) fn segments_in_order(
    state: &CatalogState,
    plan: &LogPlan,
    context: &QueryContext,
) -> VecDeque<Arc<SegmentMeta>> {
    let (tenant, kind) = (&plan.tenant, SegmentKind::Logs);
    let found = state.segments_between(tenant, kind, plan.start_ns, plan.end_ns);
    let mut segments: Vec<Arc<SegmentMeta>> = found.map(Arc::clone).collect();
    let published = state.segments.values().filter(|m| m.kind == kind && m.tenant == *tenant);
    let published = published.count() as u64;
    context.explain(|explain| {
        explain.segments_published += published;
        explain.segments_considered += segments.len() as u64;
    });
    match plan.direction {
        Direction::Forward => segments.sort_by_key(|meta| (meta.time_min_ns, meta.id)),
        Direction::Backward => {
            segments.sort_by_key(|meta| std::cmp::Reverse((meta.time_max_ns, meta.id)));
        }
    }
    segments.into()
}

/// The time of the first row a segment can give in this direction.
fn nearest_time(meta: &SegmentMeta, direction: Direction) -> i64 {
    match direction {
        Direction::Forward => meta.time_min_ns,
        Direction::Backward => meta.time_max_ns,
    }
}

/// The order in which the segments' rows came in. Segments of one partition were built one after
/// the other, and ids grow with the time of building.
fn ranks(segments: &VecDeque<Arc<SegmentMeta>>) -> HashMap<SegmentId, u64> {
    let mut built: Vec<(i64, SegmentId)> =
        segments.iter().map(|meta| (meta.created_ms, meta.id)).collect();
    built.sort_unstable();
    built.into_iter().map(|(_, id)| id).zip(0..).collect()
}
