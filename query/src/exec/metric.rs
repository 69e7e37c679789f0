//! Metric queries: read what the range aggregations need, then evaluate the tree over it.

use std::sync::Arc;

use record::{Labels, MatchOp};
use regex::Regex;
use segment::logs::plan::{AttributeColumns, Direction, LogPlan};

use super::aggregate::{aggregate, group_of};
use super::binary::binary;
use super::grid::{Grid, Windows};
use super::pipeline::{Pipeline, unsupported};
use super::range::{CellBudget, RangeFold, SeriesKey};
use super::series::{Point, Series, Value, tidy};
use crate::admission::QueryContext;
use crate::error::{LimitHit, QueryError};
use crate::logql::ast::{
    Grouping, LabelReplace, Metric, RangeAggregation, RangeOp, VectorAggregation, VectorOp,
};
use crate::logql::format_duration;
use crate::scan::Scanner;

/// Evaluates `metric` at every time of `grid`.
///
/// # Errors
/// Anything unsupported by name, a limit, the deadline, or what the scan reports.
pub(super) async fn evaluate(
    scanner: &Scanner,
    metric: &Metric,
    grid: Grid,
    context: &QueryContext,
) -> Result<Value, QueryError> {
    let mut leaves = Vec::new();
    collect_leaves(metric, &mut leaves);
    let compiled = leaves
        .iter()
        .map(|leaf| Leaf::compile(leaf, grid, context))
        .collect::<Result<Vec<_>, _>>()?;
    let mut read = Vec::with_capacity(compiled.len());
    for leaf in compiled {
        read.push(leaf.read(scanner, context).await?);
    }
    let mut read = read.into_iter();
    let value = eval(metric, &mut read, grid.count)?;
    if let Value::Vector(series) = &value {
        check_cells(series.len(), grid, context)?;
    }
    Ok(value)
}

/// A range aggregation, and the `sum` around it if there is one.
#[derive(Clone, Copy)]
struct LeafTree<'a> {
    range: &'a RangeAggregation,
    sum: Option<&'a VectorAggregation>,
}

/// Whether `sum` can be had by counting into its groups at once: sums of counts are counts.
fn folds_into(vector: &VectorAggregation) -> Option<&RangeAggregation> {
    match (&vector.inner, vector.op) {
        (Metric::Range(range), VectorOp::Sum) if counts(range.op) => Some(range),
        _ => None,
    }
}

fn counts(op: RangeOp) -> bool {
    matches!(
        op,
        RangeOp::Rate | RangeOp::CountOverTime | RangeOp::BytesRate | RangeOp::BytesOverTime
    )
}

/// The aggregations to read, in the order in which [`eval`] comes to them.
fn collect_leaves<'a>(metric: &'a Metric, leaves: &mut Vec<LeafTree<'a>>) {
    match metric {
        Metric::Range(range) => leaves.push(LeafTree { range, sum: None }),
        Metric::Vector(vector) => match folds_into(vector) {
            Some(range) => leaves.push(LeafTree { range, sum: Some(vector) }),
            None => collect_leaves(&vector.inner, leaves),
        },
        Metric::LabelReplace(replace) => collect_leaves(&replace.inner, leaves),
        Metric::Binary(binary) => {
            collect_leaves(&binary.left, leaves);
            collect_leaves(&binary.right, leaves);
        }
        Metric::Constant(_) | Metric::Literal(_) => {}
    }
}

/// A range aggregation ready to be read.
struct Leaf {
    op: RangeOp,
    pipeline: Arc<Pipeline>,
    windows: Windows,
    key: SeriesKey,
    plan: LogPlan,
}

impl Leaf {
    fn compile(
        tree: &LeafTree<'_>,
        grid: Grid,
        context: &QueryContext,
    ) -> Result<Self, QueryError> {
        let range = tree.range;
        let op = range.op;
        if range.unwrap.is_some() {
            return Err(unsupported("'unwrap'"));
        }
        if !counts(op) && op != RangeOp::AbsentOverTime {
            return Err(unsupported(format!("range aggregation '{}'", op.name())));
        }
        check_range(range.range_nanos, context)?;
        let pipeline = Pipeline::compile(&range.log)?;
        let windows = Windows { grid, range_ns: range.range_nanos, offset_ns: range.offset_nanos };
        let everything = || Grouping { without: false, names: Vec::new() };
        let key = match (op, tree.sum) {
            (RangeOp::AbsentOverTime, _) => SeriesKey::Group(everything()),
            (_, None) => SeriesKey::All,
            (_, Some(sum)) => SeriesKey::Group(sum.grouping.clone().unwrap_or_else(everything)),
        };
        let plan = LogPlan {
            tenant: context.tenant().clone(),
            start_ns: windows.start_ns(),
            end_ns: windows.end_ns(),
            matchers: pipeline.matchers.clone(),
            filters: pipeline.filters.clone(),
            attribute_matchers: Vec::new(),
            label_matchers: pipeline.labels.clone(),
            attributes: attributes_needed(&pipeline, &key),
            lines: matches!(op, RangeOp::BytesOverTime | RangeOp::BytesRate),
            direction: Direction::Forward,
            limit: None,
        };
        Ok(Self { op, pipeline: Arc::new(pipeline), windows, key, plan })
    }

    async fn read(
        self,
        scanner: &Scanner,
        context: &QueryContext,
    ) -> Result<Vec<Series>, QueryError> {
        let cells_max = context.limits().cells_max;
        let make = |cells: &CellBudget| {
            let (pipeline, key) = (Arc::clone(&self.pipeline), self.key.clone());
            RangeFold::new(pipeline, self.windows, key, self.op, cells.clone())
        };
        // A try that is started over gives its cells up, so each has a budget of its own.
        let attempt = || {
            let cells = CellBudget::new(cells_max);
            move || make(&cells)
        };
        let folded = scanner.fold_logs(&self.plan, context, attempt).await?;
        let op = if self.op == RangeOp::AbsentOverTime { RangeOp::CountOverTime } else { self.op };
        Ok(folded.into_series(op))
    }
}

/// The attributes the scan has to deliver: all where they take part in the series' labels.
fn attributes_needed(pipeline: &Pipeline, key: &SeriesKey) -> AttributeColumns {
    match key {
        SeriesKey::All | SeriesKey::Group(Grouping { without: true, .. }) => AttributeColumns::All,
        SeriesKey::Group(Grouping { without: false, names }) => {
            let mut needed: Vec<String> = names.clone();
            needed.extend(pipeline.names().into_iter().map(str::to_owned));
            needed.sort_unstable();
            needed.dedup();
            if needed.is_empty() { AttributeColumns::None } else { AttributeColumns::Named(needed) }
        }
    }
}

fn check_range(range_ns: i64, context: &QueryContext) -> Result<(), QueryError> {
    let max_secs = context.limits().range_max_secs;
    let max_ns = i64::try_from(max_secs).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if max_secs != 0 && max_ns < range_ns {
        let (range, max) = (format_duration(range_ns), format_duration(max_ns));
        return Err(LimitHit::Range { range, max }.into());
    }
    Ok(())
}

fn check_cells(series: usize, grid: Grid, context: &QueryContext) -> Result<(), QueryError> {
    let max = context.limits().cells_max;
    if max < (series as u64).saturating_mul(u64::from(grid.count)) {
        return Err(LimitHit::Cells { max }.into());
    }
    Ok(())
}

/// Evaluates a tree whose leaves were read, taking them in order.
fn eval(
    metric: &Metric,
    leaves: &mut impl Iterator<Item = Vec<Series>>,
    steps: u32,
) -> Result<Value, QueryError> {
    Ok(match metric {
        Metric::Literal(number) => Value::Scalar(*number),
        Metric::Constant(number) => {
            let points = (0..steps).map(|step| Point { step, value: *number }).collect();
            Value::Vector(vec![Series { labels: Labels::default(), points }])
        }
        Metric::Range(range) => Value::Vector(range_value(range, leaves, steps)),
        Metric::Vector(vector) if folds_into(vector).is_some() => {
            Value::Vector(leaves.next().unwrap_or_default())
        }
        Metric::Vector(vector) => {
            let inner = expect_vector(eval(&vector.inner, leaves, steps)?, vector.op.name())?;
            Value::Vector(aggregate(vector, inner, steps))
        }
        Metric::LabelReplace(replace) => {
            let inner = expect_vector(eval(&replace.inner, leaves, steps)?, "label_replace")?;
            Value::Vector(label_replace(replace, inner)?)
        }
        Metric::Binary(tree) => {
            let left = eval(&tree.left, leaves, steps)?;
            let right = eval(&tree.right, leaves, steps)?;
            binary(tree, left, right, steps)?
        }
    })
}

fn expect_vector(value: Value, name: &str) -> Result<Vec<Series>, QueryError> {
    match value {
        Value::Vector(series) => Ok(series),
        Value::Scalar(_) => Err(QueryError::Invalid(format!(
            "parse error : {name} works on a vector, not on a number"
        ))),
    }
}

fn range_value(
    range: &RangeAggregation,
    leaves: &mut impl Iterator<Item = Vec<Series>>,
    steps: u32,
) -> Vec<Series> {
    let series = leaves.next().unwrap_or_default();
    if range.op != RangeOp::AbsentOverTime {
        return match &range.grouping {
            None => series,
            // The parser lets no counting aggregation have a grouping; kept for what comes.
            Some(grouping) => regrouped(grouping, series),
        };
    }
    let mut present = vec![false; steps as usize];
    for point in series.iter().flat_map(|series| &series.points) {
        present[point.step as usize] = true;
    }
    let absent = present.iter().zip(0..).filter(|(present, _)| !**present);
    let points = absent.map(|(_, step)| Point { step, value: 1.0 }).collect();
    tidy(vec![Series { labels: absent_labels(range), points }])
}

fn regrouped(grouping: &Grouping, series: Vec<Series>) -> Vec<Series> {
    let renamed = series.into_iter().map(|series| Series {
        labels: group_of(Some(grouping), &series.labels),
        points: series.points,
    });
    tidy(renamed.collect())
}

/// The labels an absent stream would have: those the selector demands exactly, once.
fn absent_labels(range: &RangeAggregation) -> Labels {
    let matchers = &range.log.matchers;
    let demanded = matchers.iter().filter(|matcher| {
        matcher.op() == MatchOp::Eq
            && matchers.iter().filter(|other| other.name() == matcher.name()).count() == 1
    });
    Labels::from_pairs(demanded.map(|matcher| (matcher.name(), matcher.value())))
}

fn label_replace(replace: &LabelReplace, inner: Vec<Series>) -> Result<Vec<Series>, QueryError> {
    let pattern: Regex = record::re2::anchored(&replace.pattern)
        .map_err(|error| QueryError::Invalid(format!("parse error : {error}")))?;
    let mut replaced: Vec<Series> = Vec::with_capacity(inner.len());
    for series in inner {
        let source = series.labels.get(&replace.source).unwrap_or("");
        let labels = match pattern.captures(source) {
            None => series.labels.clone(),
            Some(captures) => {
                let mut value = String::new();
                captures.expand(&replace.replacement, &mut value);
                series.labels.with(&replace.destination, &value)
            }
        };
        replaced.push(Series { labels, points: series.points });
    }
    let replaced = tidy(replaced);
    let doubled = replaced.windows(2).any(|pair| pair[0].labels == pair[1].labels);
    if doubled {
        return Err(QueryError::Invalid(
            "label_replace makes two series have the same labels".to_owned(),
        ));
    }
    Ok(replaced)
}
