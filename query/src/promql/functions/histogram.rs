//! Classic histograms: series that differ in `le` only are the buckets of one histogram.

use record::Labels;

use crate::promql::ast::Span;
use crate::promql::error::QueryError;
use crate::promql::eval::{Evaluator, NAME, Series};
use crate::promql::number;
use crate::promql::plan::{Call, Grid, Node};
use crate::promql::quantile::{Bucket, bucket_fraction, bucket_quantile};

/// Where the reference explains what a non-monotonic histogram is.
pub(crate) const MONOTONICITY_DOCS: &str =
    "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile";

/// The label with a bucket's upper bound.
const BOUND: &str = "le";

/// A quantile for every step, where it stands, and the label that tells its results apart.
pub(crate) type Quantile<'q> = (Vec<f64>, Span, Option<(&'q str, String)>);

/// The buckets of one histogram.
struct Histogram {
    /// Without the bound; the name is still there.
    labels: Labels,
    drop_name: bool,
    /// Upper bounds and the counts at every step.
    buckets: Vec<(f64, Series)>,
}

impl Histogram {
    fn at(&self, step: usize) -> Vec<Bucket> {
        let count = |(upper, series): &(f64, Series)| {
            series.steps.get(step).map(|count| Bucket { upper: *upper, count })
        };
        self.buckets.iter().filter_map(count).collect()
    }
}

impl Evaluator<'_> {
    pub(crate) fn histogram_quantile(
        &self,
        call: &Call,
        quantiles: &[Quantile<'_>],
        vector: &Node,
        grid: Grid,
    ) -> Result<Vec<Series>, QueryError> {
        let vector_span = span_of(call, vector);
        let histograms = self.histograms(vector, vector_span, grid)?;
        let mut found = Vec::new();
        for (values, span, label) in quantiles {
            for q in values {
                self.annotate(|notes| notes.bad_quantile(*q, *span));
            }
            for histogram in &histograms {
                let mut forced_any = false;
                let value = |step: usize| {
                    let mut buckets = histogram.at(step);
                    if buckets.is_empty() {
                        return None;
                    }
                    let (value, forced) = bucket_quantile(values[step], &mut buckets);
                    forced_any |= forced;
                    Some(value)
                };
                let labels = match label {
                    None => histogram.labels.clone(),
                    Some((name, value)) => histogram.labels.with(name, value),
                };
                found.push(self.series_of(labels, histogram.drop_name, grid, value)?);
                if forced_any {
                    self.note_non_monotonic(&histogram.labels, vector_span);
                }
            }
        }
        Ok(found)
    }

    pub(crate) fn histogram_quantiles(
        &self,
        call: &Call,
        grid: Grid,
    ) -> Result<Vec<Series>, QueryError> {
        let [vector, Node::Text(label), args @ ..] = &call.args[..] else {
            return Err(QueryError::Internal("expected a label name".to_owned()));
        };
        if label.is_empty() {
            return Err(QueryError::Execution(format!("invalid label name {label:?}")));
        }
        let mut quantiles = Vec::new();
        for (index, arg) in args.iter().enumerate() {
            let values = self.scalar(arg, grid)?;
            let text = number::plain(values.first().copied().unwrap_or(f64::NAN));
            let span = call.arg_spans.get(index + 2).copied().unwrap_or(call.span);
            quantiles.push((values, span, Some((label.as_str(), text))));
        }
        self.histogram_quantile(call, &quantiles, vector, grid)
    }

    pub(crate) fn histogram_fraction(
        &self,
        call: &Call,
        grid: Grid,
    ) -> Result<Vec<Series>, QueryError> {
        let lower = self.scalar(&call.args[0], grid)?;
        let upper = self.scalar(&call.args[1], grid)?;
        let histograms = self.histograms(&call.args[2], call.arg_spans[2], grid)?;
        let mut found = Vec::new();
        for histogram in &histograms {
            let value = |step: usize| {
                let mut buckets = histogram.at(step);
                (!buckets.is_empty())
                    .then(|| bucket_fraction(lower[step], upper[step], &mut buckets))
            };
            found.push(self.series_of(
                histogram.labels.clone(),
                histogram.drop_name,
                grid,
                value,
            )?);
        }
        Ok(found)
    }

    /// The vector's series as histograms. A series without a readable bound is said and left out.
    fn histograms(
        &self,
        node: &Node,
        span: Span,
        grid: Grid,
    ) -> Result<Vec<Histogram>, QueryError> {
        let mut histograms: Vec<Histogram> = Vec::new();
        let mut known = std::collections::HashMap::new();
        for series in self.vector(node, grid)? {
            let bound = series.labels.get(BOUND).unwrap_or("");
            let Some(upper) = number::float(bound) else {
                let name = series.labels.get(NAME);
                let name = name.map(|name| format!(" for metric name {name:?}"));
                let text = format!(
                    "bucket label \"le\" is missing or has a malformed value of {bound:?}{}",
                    name.unwrap_or_default()
                );
                self.annotate(|notes| notes.warn(text, span));
                continue;
            };
            let labels = series.labels.without(BOUND);
            let at = *known.entry(labels.without(NAME)).or_insert_with(|| {
                let drop_name = series.drop_name;
                histograms.push(Histogram { labels, drop_name, buckets: Vec::new() });
                histograms.len() - 1
            });
            histograms[at].buckets.push((upper, series));
        }
        Ok(histograms)
    }
}

fn span_of(call: &Call, node: &Node) -> Span {
    let at = call.args.iter().position(|arg| std::ptr::eq(arg, node));
    at.and_then(|at| call.arg_spans.get(at)).copied().unwrap_or(call.span)
}
