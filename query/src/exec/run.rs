//! One LogQL query from its parsed form to its data.

use std::sync::Arc;

use record::Labels;
use segment::logs::plan::{AttributeColumns, Direction, LogPlan};

use super::aggregate::{ascending, descending};
use super::grid::Grid;
use super::metric::evaluate;
use super::pipeline::Pipeline;
use super::series::{Point, Series, Value};
use super::top::{Entry, TopEntries, thin_out};
use crate::admission::QueryContext;
use crate::error::{LimitHit, QueryError};
use crate::logql::ast::{LogQuery, Metric, Query, VectorOp};
use crate::scan::Scanner;

/// A query over a range of time. Times are Unix nanoseconds.
#[derive(Clone, Debug)]
pub struct RangeQuery {
    pub query: Query,
    pub start_ns: i64,
    /// Log rows: exclusive.
    pub end_ns: i64,
    pub step_ns: i64,
    /// Log rows: least distance between two entries; 0 keeps all.
    pub interval_ns: i64,
    pub limit: u64,
    pub direction: Direction,
    /// Give the first `series_max` series and a warning instead of an error.
    pub partial_series: bool,
}

/// A query at one time.
#[derive(Clone, Debug)]
pub struct InstantQuery {
    pub query: Query,
    pub time_ns: i64,
    pub partial_series: bool,
}

/// What a query yields.
#[derive(Clone, Debug)]
pub enum QueryData {
    Log(LogData),
    Metric(MetricData),
}

/// Entries in query order.
#[derive(Clone, Debug)]
pub struct LogData {
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub enum MetricData {
    Matrix {
        grid: Grid,
        series: Vec<Series>,
    },
    /// In the order in which they are shown.
    Vector {
        time_ns: i64,
        samples: Vec<(Labels, f64)>,
    },
    Scalar {
        time_ns: i64,
        value: f64,
    },
}

/// Carries out a range query.
///
/// # Errors
/// What is not supported, a limit, the deadline, or what the scan reports.
pub async fn range(
    scanner: &Scanner,
    query: &RangeQuery,
    context: &QueryContext,
) -> Result<QueryData, QueryError> {
    match &query.query {
        Query::Log(log) => {
            let entries = log_entries(scanner, log, query, context).await?;
            Ok(QueryData::Log(LogData { entries }))
        }
        Query::Metric(metric) => {
            let grid = Grid::aligned(query.start_ns, query.end_ns, query.step_ns);
            let value = evaluate(scanner, metric, grid, context).await?;
            let series = match value {
                Value::Vector(series) => series,
                Value::Scalar(value) => {
                    let points = (0..grid.count).map(|step| Point { step, value }).collect();
                    vec![Series { labels: Labels::default(), points }]
                }
            };
            let series = within_series_limit(series, query.partial_series, context)?;
            Ok(QueryData::Metric(MetricData::Matrix { grid, series }))
        }
    }
}

/// Carries out an instant query.
///
/// # Errors
/// As [`range`]; log queries are refused.
pub async fn instant(
    scanner: &Scanner,
    query: &InstantQuery,
    context: &QueryContext,
) -> Result<QueryData, QueryError> {
    let Query::Metric(metric) = &query.query else {
        return Err(QueryError::Invalid(
            "log queries are not supported as an instant query type, please change your query to \
             a range query type"
                .to_owned(),
        ));
    };
    let time_ns = query.time_ns;
    let value = evaluate(scanner, metric, Grid::instant(time_ns), context).await?;
    let series = match value {
        Value::Scalar(value) => {
            return Ok(QueryData::Metric(MetricData::Scalar { time_ns, value }));
        }
        Value::Vector(series) => within_series_limit(series, query.partial_series, context)?,
    };
    let sample = |series: Series| Some((series.labels, series.points.first()?.value));
    let mut samples: Vec<(Labels, f64)> = series.into_iter().filter_map(sample).collect();
    match value_order(metric) {
        Some(VectorOp::Sort) => samples.sort_by(|a, b| ascending(a.1, b.1)),
        Some(_) => samples.sort_by(|a, b| descending(a.1, b.1)),
        None => {}
    }
    Ok(QueryData::Metric(MetricData::Vector { time_ns, samples }))
}

/// The sort that asks for an order by value, outermost first.
fn value_order(metric: &Metric) -> Option<VectorOp> {
    match metric {
        Metric::Vector(vector) => match vector.op {
            VectorOp::Sort | VectorOp::SortDesc => Some(vector.op),
            _ => value_order(&vector.inner),
        },
        Metric::LabelReplace(replace) => value_order(&replace.inner),
        Metric::Binary(binary) => value_order(&binary.left).or_else(|| value_order(&binary.right)),
        Metric::Range(_) | Metric::Constant(_) | Metric::Literal(_) => None,
    }
}

fn within_series_limit(
    mut series: Vec<Series>,
    partial: bool,
    context: &QueryContext,
) -> Result<Vec<Series>, QueryError> {
    let max = context.limits().series_max;
    if series.len() as u64 <= max {
        return Ok(series);
    }
    if !partial {
        return Err(LimitHit::Series { max }.into());
    }
    series.truncate(usize::try_from(max).unwrap_or(usize::MAX));
    context.warn(format!(
        "maximum number of series ({max}) reached for a single query; returning partial results"
    ));
    Ok(series)
}

async fn log_entries(
    scanner: &Scanner,
    log: &LogQuery,
    query: &RangeQuery,
    context: &QueryContext,
) -> Result<Vec<Entry>, QueryError> {
    let max = context.limits().entries_max;
    if max < query.limit {
        return Err(LimitHit::Entries { asked: query.limit, max }.into());
    }
    let pipeline = Arc::new(Pipeline::compile(log)?);
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let mut range = (query.start_ns, query.end_ns);
    if query.interval_ns <= 0 {
        return page(scanner, &pipeline, range, query.direction, limit, context).await;
    }
    // With an interval the limit counts what is left after thinning, so read page by page, each
    // beginning where the next entry can lie.
    let page_max = usize::try_from(max).unwrap_or(usize::MAX);
    let mut kept: Vec<Entry> = Vec::new();
    while range.0 < range.1 {
        let read = page(scanner, &pipeline, range, query.direction, page_max, context).await?;
        let full = read.len() == page_max;
        let thinned = thin_out(read, query.interval_ns);
        let Some(last_ns) = thinned.last().map(|entry| entry.time_ns) else { break };
        kept.extend(thinned);
        if !full || limit <= kept.len() {
            break;
        }
        match query.direction {
            Direction::Forward => range.0 = last_ns.saturating_add(query.interval_ns),
            Direction::Backward => range.1 = last_ns.saturating_sub(query.interval_ns - 1),
        }
    }
    kept.truncate(limit);
    Ok(kept)
}

/// The first `limit` entries of a range.
async fn page(
    scanner: &Scanner,
    pipeline: &Arc<Pipeline>,
    (start_ns, end_ns): (i64, i64),
    direction: Direction,
    limit: usize,
    context: &QueryContext,
) -> Result<Vec<Entry>, QueryError> {
    let plan = LogPlan {
        tenant: context.tenant().clone(),
        start_ns,
        end_ns,
        matchers: pipeline.matchers.clone(),
        filters: pipeline.filters.clone(),
        attribute_matchers: Vec::new(),
        label_matchers: pipeline.labels.clone(),
        attributes: AttributeColumns::All,
        lines: true,
        direction,
        limit: pipeline.keeps_every_row().then_some(limit),
    };
    let attempt = || || TopEntries::new(Arc::clone(pipeline), direction, limit);
    Ok(scanner.fold_logs(&plan, context, attempt).await?.into_entries())
}
