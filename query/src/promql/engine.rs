//! Runs a query: parse, plan, fetch, evaluate.
//!
//! Always holds: when the caller goes away, fetching stops at once and evaluation at its next look
//! at the watch.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use record::{Labels, TenantId};
use runtime::clock::{SharedClock, within};
use runtime::cpu::{CpuError, CpuPool};
use tokio_util::sync::CancellationToken;

use super::annotations::Annotations;
use super::ast::{Expr, ValueType};
use super::config::PromqlSection;
use super::error::QueryError;
use super::eval::{Evaluated, Evaluator, PHASE, RawSeries, Rules, Series, Value, Watch};
use super::parse::parse;
use super::plan::{Fetch, Plan, QueryTimes, plan};
use super::storage::{Found, Samples, Select, SeriesSamples};

/// What the deadline is named after while samples are read.
pub(crate) const FETCH_PHASE: &str = "query preparation";
/// Selections of one query read at the same time.
const FETCHES_CONCURRENT: usize = 4;

/// Evaluates queries over whatever samples it is given.
#[derive(Clone, Debug)]
pub struct Engine {
    section: Arc<PromqlSection>,
    /// Longest time one query may take.
    timeout: Duration,
    pool: Arc<CpuPool>,
    clock: SharedClock,
}

/// A query for one point in time.
#[derive(Clone, Debug)]
pub struct InstantQuery<'q> {
    pub query: &'q str,
    pub time_ms: i64,
    pub wishes: Wishes,
}

/// A query for a range of points in time, both ends inclusive.
#[derive(Clone, Debug)]
pub struct RangeQuery<'q> {
    pub query: &'q str,
    pub start_ms: i64,
    pub end_ms: i64,
    /// Greater than 0.
    pub step_ms: i64,
    pub wishes: Wishes,
}

/// What a caller may choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Instead of the configured one; a longer one than that is cut to it.
    pub timeout: Option<Duration>,
    /// Instead of the configured one; greater than 0.
    pub lookback_ms: Option<i64>,
}

/// The value of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Scalar { time_ms: i64, value: f64 },
    Text { time_ms: i64, text: String },
    Vector { time_ms: i64, series: Vec<(Labels, f64)> },
    Matrix { series: Vec<SeriesSamples> },
}

/// A value, what should be known about it, and what it cost.
#[derive(Clone, Debug)]
pub struct Answer {
    pub outcome: Outcome,
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
    pub stats: Stats,
}

/// What a query cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    pub prepare: Duration,
    /// Waiting for a thread included.
    pub evaluate: Duration,
    /// Samples that selectors and windows were made of, counted at every step.
    pub samples_looked_at: u64,
    /// Samples read from storage.
    pub samples_read: u64,
    /// Most samples held at once.
    pub samples_peak: u64,
}

/// A query that is planned, and who runs it for how long.
struct Job<'q> {
    text: &'q str,
    times: QueryTimes,
    wishes: Wishes,
}

impl Engine {
    #[must_use]
    pub fn new(
        section: PromqlSection,
        timeout: Duration,
        pool: Arc<CpuPool>,
        clock: SharedClock,
    ) -> Self {
        Self { section: Arc::new(section), timeout, pool, clock }
    }

    pub fn section(&self) -> &PromqlSection {
        &self.section
    }

    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Runs work on the pool that queries are evaluated on.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueryError> {
        self.pool.run(work).await.map_err(from_pool)
    }

    /// Parses a query with the features that are on.
    ///
    /// # Errors
    /// When it is not valid.
    pub fn parse(&self, text: &str) -> Result<Expr, QueryError> {
        Ok(parse(text, &self.section.features)?)
    }

    /// Answers for one point in time.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn instant(
        &self,
        samples: &dyn Samples,
        tenant: &TenantId,
        query: InstantQuery<'_>,
    ) -> Result<Answer, QueryError> {
        let expr = self.parse(query.query)?;
        let times = QueryTimes::instant(query.time_ms);
        let job = Job { text: query.query, times, wishes: query.wishes };
        self.run(samples, tenant, &expr, job).await
    }

    /// Answers for every step of a range.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn range(
        &self,
        samples: &dyn Samples,
        tenant: &TenantId,
        query: RangeQuery<'_>,
    ) -> Result<Answer, QueryError> {
        let expr = self.parse(query.query)?;
        let value_type = expr.value_type();
        if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
            return Err(QueryError::BadData(format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                value_type.documented()
            )));
        }
        self.check_steps(&query)?;
        let RangeQuery { start_ms, end_ms, step_ms, .. } = query;
        let times = QueryTimes { start_ms, end_ms, step_ms };
        let job = Job { text: query.query, times, wishes: query.wishes };
        self.run(samples, tenant, &expr, job).await
    }

    /// Whether a range query has steps, and not more than allowed.
    ///
    /// # Errors
    /// When it has not.
    pub fn check_steps(&self, query: &RangeQuery<'_>) -> Result<(), QueryError> {
        if query.step_ms <= 0 || query.end_ms < query.start_ms {
            return Err(QueryError::BadData("range query without steps".to_owned()));
        }
        let span = query.end_ms.saturating_sub(query.start_ms).unsigned_abs();
        if self.section.points_max < span / query.step_ms.unsigned_abs() {
            return Err(self.too_many_points());
        }
        Ok(())
    }

    fn too_many_points(&self) -> QueryError {
        let digits = self.section.points_max.to_string();
        let mut points = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at != 0 && (digits.len() - at).is_multiple_of(3) {
                points.push(',');
            }
            points.push(digit);
        }
        QueryError::BadData(format!(
            "exceeded maximum resolution of {points} points per timeseries. Try decreasing the \
             query resolution (?step=XX)"
        ))
    }

    async fn run(
        &self,
        samples: &dyn Samples,
        tenant: &TenantId,
        expr: &Expr,
        job: Job<'_>,
    ) -> Result<Answer, QueryError> {
        let started = self.clock.elapsed();
        let timeout = job.wishes.timeout.map_or(self.timeout, |wish| wish.min(self.timeout));
        let canceled = CancellationToken::new();
        // Dropped with this future, when the caller has gone away.
        let _guard = canceled.clone().drop_guard();
        let watch = Watch::new(Arc::clone(&self.clock), timeout, canceled);
        let lookback_ms = job.wishes.lookback_ms.unwrap_or(self.section.lookback_ms);
        let plan = plan(job.text, expr, job.times, lookback_ms, &self.section)?;
        let mut annotations = Annotations::default();
        let data = self.fetch(samples, tenant, &plan, &watch, &mut annotations).await?;
        let samples_read = data.iter().flatten().map(|series| series.times.len() as u64).sum();
        let prepared = self.clock.elapsed();
        let rules = Rules {
            lookback_ms,
            samples_max: self.section.samples_max,
            delayed_name_removal: self.section.delayed_name_removal,
        };
        let work = move || evaluate(&plan, &data, rules, &watch);
        let (outcome, found, cost) = self.compute(work).await??;
        annotations.extend(found);
        let (warnings, infos) = annotations.listed(job.text);
        let stats = Stats {
            prepare: prepared.saturating_sub(started),
            evaluate: self.clock.elapsed().saturating_sub(prepared),
            samples_looked_at: cost.looked_at,
            samples_read,
            samples_peak: cost.peak as u64,
        };
        Ok(Answer { outcome, warnings, infos, stats })
    }

    async fn fetch(
        &self,
        samples: &dyn Samples,
        tenant: &TenantId,
        plan: &Plan,
        watch: &Watch,
        annotations: &mut Annotations,
    ) -> Result<Vec<Vec<SeriesSamples>>, QueryError> {
        watch.check(FETCH_PHASE)?;
        let selects: Vec<Select> =
            plan.fetches.iter().map(|fetch| self.select(tenant, fetch)).collect();
        let reads: Vec<_> = selects.iter().map(|select| samples.select(select)).collect();
        let reads = stream::iter(reads)
            .buffered(FETCHES_CONCURRENT)
            .try_collect::<Vec<Found<SeriesSamples>>>();
        let found = within(&*self.clock, watch.left(), reads)
            .await
            .ok_or(QueryError::Timeout { phase: FETCH_PHASE })??;
        let mut data = Vec::with_capacity(found.len());
        let mut held = 0_usize;
        for Found { items, warnings } in found {
            if self.section.series_max < items.len() {
                return Err(QueryError::too_many_series(self.section.series_max));
            }
            held += items.iter().map(|series: &SeriesSamples| series.times.len()).sum::<usize>();
            if self.section.samples_max < held {
                return Err(QueryError::too_many_samples(FETCH_PHASE, self.section.samples_max));
            }
            warnings.into_iter().for_each(|warning| annotations.missing(warning));
            data.push(items);
        }
        Ok(data)
    }

    fn select(&self, tenant: &TenantId, fetch: &Fetch) -> Select {
        Select {
            tenant: tenant.clone(),
            matchers: fetch.matchers.clone(),
            start_ms: fetch.start_ms,
            end_ms: fetch.end_ms,
            series_max: self.section.series_max,
            samples_max: self.section.samples_max,
        }
    }
}

type Work = (Outcome, Annotations, super::eval::Cost);

fn evaluate(
    plan: &Plan,
    data: &[Vec<SeriesSamples>],
    rules: Rules,
    watch: &Watch,
) -> Result<Work, QueryError> {
    watch.check(PHASE)?;
    let evaluator = Evaluator::new(plan, data, rules, watch);
    let value = evaluator.run()?;
    let (annotations, cost) = evaluator.finish();
    Ok((outcome(value, plan.times), annotations, cost))
}

fn outcome(value: Evaluated, times: QueryTimes) -> Outcome {
    let time_ms = times.start_ms;
    match value {
        Evaluated::Raw(series) => {
            let mut series: Vec<_> = series.into_iter().map(RawSeries::into_samples).collect();
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            Outcome::Matrix { series }
        }
        Evaluated::Value(Value::Text(text)) => Outcome::Text { time_ms, text },
        Evaluated::Value(Value::Scalar(values)) if times.is_instant() => {
            Outcome::Scalar { time_ms, value: values.first().copied().unwrap_or(f64::NAN) }
        }
        Evaluated::Value(Value::Scalar(values)) => {
            let grid = times.grid();
            let times = (0..grid.steps).map(|step| grid.time(step)).collect();
            let series = SeriesSamples { labels: Labels::default(), times, values };
            Outcome::Matrix { series: vec![series] }
        }
        Evaluated::Value(Value::Vector(series)) if times.is_instant() => {
            let series = series.into_iter();
            let series = series.filter_map(|series| Some((series.labels, series.steps.get(0)?)));
            Outcome::Vector { time_ms, series: series.collect() }
        }
        Evaluated::Value(Value::Vector(series)) => {
            let mut series: Vec<_> =
                series.into_iter().map(|series| points(series, times)).collect();
            series.retain(|series| !series.times.is_empty());
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            Outcome::Matrix { series }
        }
    }
}

fn points(series: Series, times: QueryTimes) -> SeriesSamples {
    let grid = times.grid();
    let present = series.steps.present();
    let (times, values) = present.map(|(step, value)| (grid.time(step), value)).unzip();
    SeriesSamples { labels: series.labels, times, values }
}

fn from_pool(error: CpuError) -> QueryError {
    match error {
        CpuError::Full { .. } => QueryError::Unavailable(error.to_string()),
        CpuError::Panicked { .. } => QueryError::Internal(error.to_string()),
    }
}
