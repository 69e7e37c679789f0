//! Function calls: which body, over which form of argument, and what becomes of the labels.

use record::Labels;

use super::Evaluator;
use super::value::{NAME, Series, Steps, Value};
use crate::promql::ast::Span;
use crate::promql::error::QueryError;
use crate::promql::functions::{self, Id, dates, labels, math, over_time, rate, regression, sort};
use crate::promql::number;
use crate::promql::plan::{Call, Grid, Node};

type Vector = Result<Vec<Series>, QueryError>;

/// Endings of names that say "counter".
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

impl Evaluator<'_> {
    pub(super) fn call(&self, call: &Call, grid: Grid) -> Result<Value, QueryError> {
        if let Some(scalar) = self.scalar_call(call, grid)? {
            self.hold(scalar.len())?;
            return Ok(Value::Scalar(scalar));
        }
        let mut series = self.vector_call(call, grid)?;
        if !call.function.keeps_name() {
            for series in &mut series {
                self.drop_name(series);
            }
        }
        Ok(Value::Vector(self.settled(series)?))
    }

    fn scalar_call(&self, call: &Call, grid: Grid) -> Result<Option<Vec<f64>>, QueryError> {
        self.hold(grid.steps)?;
        let times = self.plan.times;
        let repeated = |value: f64| vec![value; grid.steps];
        let secs = |ms: i64| ms as f64 / 1000.0;
        Ok(Some(match call.function.id {
            Id::Time => (0..grid.steps).map(|step| secs(grid.time(step))).collect(),
            Id::Pi => repeated(std::f64::consts::PI),
            Id::Start => repeated(secs(times.start_ms)),
            Id::End => repeated(secs(times.end_ms)),
            Id::Step => repeated(secs(times.step_ms)),
            Id::Range => repeated(secs(times.end_ms.saturating_sub(times.start_ms))),
            Id::MinOf | Id::MaxOf => {
                let smaller = call.function.id == Id::MinOf;
                let choose = if smaller { math::minimum } else { math::maximum };
                let a = self.scalar(&call.args[0], grid)?;
                let b = self.scalar(&call.args[1], grid)?;
                a.into_iter().zip(b).map(|(a, b)| choose(a, b)).collect()
            }
            Id::Scalar => {
                let series = self.vector(&call.args[0], grid)?;
                (0..grid.steps).map(|step| only_value(&series, step)).collect()
            }
            _ => return Ok(None),
        }))
    }

    fn vector_call(&self, call: &Call, grid: Grid) -> Vector {
        let id = call.function.id;
        if let Some(function) = math::unary(id) {
            return self.map(call, grid, |_, value| Some(function(value)));
        }
        if let Some(field) = dates::field(id) {
            return self.dates(call, grid, field);
        }
        if let Some(function) = over_time::function(id) {
            return self.windows(&call.args[0], grid, &mut |_, window| function(window));
        }
        if let Some(function) = rate::function(id) {
            return self.rate(call, grid, function);
        }
        match id {
            Id::Clamp | Id::ClampMin | Id::ClampMax => self.clamp(call, grid),
            Id::Round => self.round(call, grid),
            Id::Timestamp => self.timestamp(&call.args[0], grid),
            Id::Vector => {
                let values = self.scalar(&call.args[0], grid)?;
                Ok(vec![unlabelled(|step| values.get(step).copied(), grid.steps)])
            }
            Id::Absent => self.absent(call, grid),
            Id::AbsentOverTime => self.absent_over_time(call, grid),
            Id::QuantileOverTime => self.quantile_over_time(call, grid),
            Id::Deriv => {
                self.windows(&call.args[0], grid, &mut |_, window| regression::derivative(window))
            }
            Id::PredictLinear => self.predict_linear(call, grid),
            Id::DoubleExponentialSmoothing => self.smoothing(call, grid),
            Id::LabelReplace => self.label_replace(call, grid),
            Id::LabelJoin => self.label_join(call, grid),
            Id::Sort | Id::SortDesc | Id::SortByLabel | Id::SortByLabelDesc => {
                self.sort(call, grid)
            }
            Id::HistogramQuantile => {
                let q = self.scalar(&call.args[0], grid)?;
                self.histogram_quantile(call, &[(q, call.arg_spans[0], None)], &call.args[1], grid)
            }
            Id::HistogramQuantiles => self.histogram_quantiles(call, grid),
            Id::HistogramFraction => self.histogram_fraction(call, grid),
            Id::Info => self.info(call, grid),
            // They read native histograms, and every sample is a float: nothing is left.
            Id::HistogramAvg
            | Id::HistogramCount
            | Id::HistogramStddev
            | Id::HistogramStdvar
            | Id::HistogramSum => {
                self.vector(&call.args[0], grid)?;
                Ok(Vec::new())
            }
            _ => Err(QueryError::BadData(format!(
                "function {:?} is not supported",
                call.function.name
            ))),
        }
    }

    /// The first argument with every value replaced.
    fn map(
        &self,
        call: &Call,
        grid: Grid,
        mut with: impl FnMut(usize, f64) -> Option<f64>,
    ) -> Vector {
        let mut series = self.vector(&call.args[0], grid)?;
        for series in &mut series {
            series.steps.replace(&mut with);
        }
        Ok(series)
    }

    fn dates(&self, call: &Call, grid: Grid, field: fn(f64) -> f64) -> Vector {
        if call.args.is_empty() {
            let now = |step| Some(field(grid.time(step).div_euclid(1000) as f64));
            return Ok(vec![unlabelled(now, grid.steps)]);
        }
        self.map(call, grid, |_, value| Some(field(value)))
    }

    fn rate(&self, call: &Call, grid: Grid, function: rate::Rate) -> Vector {
        let found = self.windows(&call.args[0], grid, &mut |_, window| function.value(window))?;
        if matches!(call.function.id, Id::Rate | Id::Increase) {
            for series in &found {
                self.note_counter(&series.labels, call.arg_spans[0]);
            }
        }
        Ok(found)
    }

    fn note_counter(&self, labels: &Labels, span: Span) {
        let Some(name) = labels.get(NAME) else { return };
        if !COUNTER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
            self.annotate(|notes| {
                notes.info(
                    format!(
                        "metric might not be a counter, name does not end in \
                         _total/_sum/_count/_bucket: {name:?}"
                    ),
                    span,
                );
            });
        }
    }

    fn clamp(&self, call: &Call, grid: Grid) -> Vector {
        let bounds: Vec<Vec<f64>> =
            call.args[1..].iter().map(|arg| self.scalar(arg, grid)).collect::<Result<_, _>>()?;
        let bound = |index: usize, step: usize| bounds[index][step];
        match call.function.id {
            Id::ClampMin => self.map(call, grid, |s, v| Some(math::maximum(bound(0, s), v))),
            Id::ClampMax => self.map(call, grid, |s, v| Some(math::minimum(bound(0, s), v))),
            _ => self.map(call, grid, |step, value| {
                let (low, high) = (bound(0, step), bound(1, step));
                let empty = high < low;
                (!empty).then(|| math::maximum(low, math::minimum(high, value)))
            }),
        }
    }

    fn round(&self, call: &Call, grid: Grid) -> Vector {
        let nearest = match call.args.get(1) {
            Some(arg) => self.scalar(arg, grid)?,
            None => vec![1.0; grid.steps],
        };
        self.map(call, grid, |step, value| Some(math::round(value, nearest[step])))
    }

    fn timestamp(&self, arg: &Node, grid: Grid) -> Vector {
        if let Node::Instant(selector) = arg {
            return self.sample_times(selector, grid);
        }
        let mut series = self.vector(arg, grid)?;
        for series in &mut series {
            series.steps.replace(|step, _| Some(grid.time(step) as f64 / 1000.0));
        }
        Ok(series)
    }

    fn quantile_over_time(&self, call: &Call, grid: Grid) -> Vector {
        let quantiles = self.scalar(&call.args[0], grid)?;
        self.windows(&call.args[1], grid, &mut |step, window| {
            let q = quantiles[step];
            self.annotate(|notes| notes.bad_quantile(q, call.arg_spans[0]));
            over_time::quantile(q, window)
        })
    }

    fn predict_linear(&self, call: &Call, grid: Grid) -> Vector {
        let ahead = self.scalar(&call.args[1], grid)?;
        self.windows(&call.args[0], grid, &mut |step, window| {
            regression::predict(window, ahead[step])
        })
    }

    fn smoothing(&self, call: &Call, grid: Grid) -> Vector {
        let level = self.scalar(&call.args[1], grid)?;
        let trend = self.scalar(&call.args[2], grid)?;
        for (values, what) in [(&level, "smoothing"), (&trend, "trend")] {
            let outside = values.iter().find(|value| !(0.0..=1.0).contains(*value));
            if let Some(value) = outside {
                let bound = if what == "smoothing" { "sf" } else { "tf" };
                return Err(QueryError::Execution(format!(
                    "invalid {what} factor. Expected: 0 <= {bound} <= 1, got: {}",
                    number::general(*value)
                )));
            }
        }
        self.windows(&call.args[0], grid, &mut |step, window| {
            regression::double_exponential(window, level[step], trend[step])
        })
    }

    fn label_replace(&self, call: &Call, grid: Grid) -> Vector {
        let texts = texts(&call.args[1..])?;
        let [dst, replacement, src, pattern] = texts[..] else { return Err(text_expected()) };
        let replace = labels::Replace::new(dst, replacement, src, pattern)?;
        let mut series = self.vector(&call.args[0], grid)?;
        for series in &mut series {
            if let Some(labels) = replace.apply(&series.labels) {
                series.labels = labels;
                series.drop_name &= dst != NAME;
            }
        }
        Ok(series)
    }

    fn label_join(&self, call: &Call, grid: Grid) -> Vector {
        let texts = texts(&call.args[1..])?;
        let [dst, separator, ref sources @ ..] = texts[..] else { return Err(text_expected()) };
        labels::check_join(dst, sources)?;
        let mut series = self.vector(&call.args[0], grid)?;
        for series in &mut series {
            series.labels = labels::join(&series.labels, dst, separator, sources);
            series.drop_name &= dst != NAME;
        }
        Ok(series)
    }

    fn sort(&self, call: &Call, grid: Grid) -> Vector {
        let mut series = self.vector(&call.args[0], grid)?;
        if !self.plan.times.is_instant() {
            self.annotate(|notes| {
                notes.warn(
                    "sort is ineffective for range queries since results are always ordered by \
                     labels",
                    call.span,
                );
            });
            return Ok(series);
        }
        let value = |series: &Series| series.steps.get(0).unwrap_or(f64::NAN);
        let names = texts(&call.args[1..])?;
        let by_label = |a: &Series, b: &Series| sort::by_labels(&a.labels, &b.labels, &names);
        match call.function.id {
            Id::Sort => series.sort_by(|a, b| sort::ascending(value(a), value(b))),
            Id::SortDesc => series.sort_by(|a, b| sort::descending(value(a), value(b))),
            Id::SortByLabel => series.sort_by(by_label),
            _ => series.sort_by(|a, b| by_label(b, a)),
        }
        Ok(series)
    }

    /// A series with what `value` gives at every step.
    pub(crate) fn series_of(
        &self,
        labels: Labels,
        drop_name: bool,
        grid: Grid,
        mut value: impl FnMut(usize) -> Option<f64>,
    ) -> Result<Series, QueryError> {
        self.hold(grid.steps)?;
        let mut steps = Steps::absent(grid.steps);
        for step in 0..grid.steps {
            if let Some(value) = value(step) {
                steps.set(step, value);
            }
        }
        Ok(Series { labels, drop_name, steps })
    }

    pub(crate) fn note_non_monotonic(&self, labels: &Labels, span: Span) {
        let name = labels.get(NAME).map(|name| format!(" for metric name {name:?}"));
        self.annotate(|notes| {
            notes.info(
                format!(
                    "input to histogram_quantile needed to be fixed for monotonicity (see {}){}",
                    functions::histogram::MONOTONICITY_DOCS,
                    name.unwrap_or_default()
                ),
                span,
            );
        });
    }
}

/// A series without labels.
pub(super) fn unlabelled(value: impl Fn(usize) -> Option<f64>, steps: usize) -> Series {
    let mut cells = Steps::absent(steps);
    for step in 0..steps {
        if let Some(value) = value(step) {
            cells.set(step, value);
        }
    }
    Series { labels: Labels::default(), drop_name: false, steps: cells }
}

/// The value if exactly one series has one.
fn only_value(series: &[Series], step: usize) -> f64 {
    let mut values = series.iter().filter_map(|series| series.steps.get(step));
    match (values.next(), values.next()) {
        (Some(value), None) => value,
        _ => f64::NAN,
    }
}

pub(super) fn texts(args: &[Node]) -> Result<Vec<&str>, QueryError> {
    args.iter()
        .map(|arg| match arg {
            Node::Text(text) => Ok(text.as_str()),
            _ => Err(text_expected()),
        })
        .collect()
}

fn text_expected() -> QueryError {
    QueryError::Internal("expected a string".to_owned())
}
