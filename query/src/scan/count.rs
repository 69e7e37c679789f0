//! Counting rows of segments: side by side, each into a fold of its own.
//!
//! Counts add up in any order, so segments need not wait for one another, and a fold goes with its
//! segment until the segment is done.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use segment::SegmentMeta;
use segment::catalog::CatalogState;
use segment::logs::SegmentError;
use segment::logs::plan::CompiledPlan;

use super::Scanner;
use super::chunks::LogFold;
use super::cursor::Cursor;
use super::logs::{Stopped, segments_in_order};
use crate::admission::QueryContext;
use crate::error::QueryError;

/// Why a segment was not counted.
enum Uncounted {
    Query(QueryError),
    Segment(SegmentError),
}

impl From<QueryError> for Uncounted {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl From<SegmentError> for Uncounted {
    fn from(error: SegmentError) -> Self {
        Self::Segment(error)
    }
}

impl Scanner {
    pub(super) async fn count_segments<F: LogFold>(
        &self,
        state: &CatalogState,
        plan: &Arc<CompiledPlan>,
        context: &QueryContext,
        mut whole: F,
        fresh: impl Fn() -> F,
    ) -> Result<F, Stopped> {
        let mut waiting = segments_in_order(state, plan.plan(), context);
        let at_once = self.shared.section.segments_concurrent;
        let mut counting = FuturesUnordered::new();
        loop {
            while counting.len() < at_once
                && let Some(meta) = waiting.pop_front()
            {
                counting.push(self.count_segment(meta, plan, context, fresh()));
            }
            let Some((meta, counted)) = context.within(counting.next()).await? else {
                return Ok(whole);
            };
            match counted {
                Ok(part) => whole = self.on_cpu(move || merged(whole, part)).await??,
                Err(Uncounted::Query(error)) => return Err(error.into()),
                Err(Uncounted::Segment(error)) => self.set_aside(&meta, error, context).await?,
            }
        }
    }

    async fn count_segment<F: LogFold>(
        &self,
        meta: Arc<SegmentMeta>,
        plan: &Arc<CompiledPlan>,
        context: &QueryContext,
        fold: F,
    ) -> (Arc<SegmentMeta>, Result<F, Uncounted>) {
        let cursor = Cursor::new(Arc::clone(&meta), 0).by_minute(fold.takes_minutes());
        (meta, self.count_chunks(cursor, plan, context, fold).await)
    }

    async fn count_chunks<F: LogFold>(
        &self,
        mut cursor: Cursor,
        plan: &Arc<CompiledPlan>,
        context: &QueryContext,
        mut fold: F,
    ) -> Result<F, Uncounted> {
        if fold.takes_minutes()
            && let Some(chunk) = cursor.minutes(self, plan, context).await?
        {
            return Ok(self.fold_chunks(fold, vec![chunk], context).await?);
        }
        while let Some(chunk) = cursor.read::<F>(self, plan, context).await? {
            let ready = std::iter::from_fn(|| cursor.take_ready());
            let chunks = std::iter::once(chunk).chain(ready).collect();
            fold = self.fold_chunks(fold, chunks, context).await?;
        }
        Ok(fold)
    }
}

fn merged<F: LogFold>(mut whole: F, part: F) -> Result<F, QueryError> {
    whole.merge(part)?;
    Ok(whole)
}
