//! Evaluation: a plan and the fetched series give a value.
//!
//! Every node is evaluated once for all steps. Pure computation: nothing here waits. The work is
//! cut short by the deadline, by cancellation and by the samples held at once, all of which are
//! looked at while series are gone through.

mod absent;
mod aggregate;
mod binary;
mod call;
mod info;
mod matching;
mod range;
mod select;
mod sets;
mod value;
mod watch;

use std::cell::{Cell, RefCell};

use super::annotations::Annotations;
use super::error::QueryError;
use super::plan::{Grid, Node, Plan};
use super::storage::SeriesSamples;
pub(crate) use range::{Window, WindowFunction};
pub(crate) use value::{NAME, Series, Value};
use value::{merge_same, unnamed};
pub(crate) use watch::Watch;

/// What the deadline and the limits are named after while evaluating.
pub(crate) const PHASE: &str = "expression evaluation";

/// How to evaluate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) lookback_ms: i64,
    pub(crate) samples_max: usize,
    pub(crate) delayed_name_removal: bool,
}

/// Evaluates one plan over the series of its fetches.
#[derive(Debug)]
pub(crate) struct Evaluator<'d> {
    plan: &'d Plan,
    /// The series of each fetch, in the plan's order.
    data: &'d [Vec<SeriesSamples>],
    rules: Rules,
    watch: &'d Watch,
    annotations: RefCell<Annotations>,
    held: Cell<usize>,
    peak: Cell<usize>,
    looked_at: Cell<u64>,
}

/// A series with samples at times of its own.
#[derive(Clone, Debug)]
pub(crate) struct RawSeries {
    pub(crate) series: SeriesSamples,
    pub(crate) drop_name: bool,
}

impl RawSeries {
    pub(crate) fn into_samples(self) -> SeriesSamples {
        let mut series = self.series;
        if self.drop_name {
            series.labels = unnamed(&series.labels);
        }
        series
    }
}

/// What a query evaluates to.
#[derive(Debug)]
pub(crate) enum Evaluated {
    Value(Value),
    /// A bare range selector or subquery.
    Raw(Vec<RawSeries>),
}

/// What evaluating cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Most samples held at once.
    pub(crate) peak: usize,
    /// Samples that selectors and windows were made of, counted at every step.
    pub(crate) looked_at: u64,
}

impl<'d> Evaluator<'d> {
    pub(crate) fn new(
        plan: &'d Plan,
        data: &'d [Vec<SeriesSamples>],
        rules: Rules,
        watch: &'d Watch,
    ) -> Self {
        let fetched = data.iter().flatten().map(|series| series.times.len()).sum();
        Self {
            plan,
            data,
            rules,
            watch,
            annotations: RefCell::new(Annotations::default()),
            held: Cell::new(fetched),
            peak: Cell::new(fetched),
            looked_at: Cell::new(0),
        }
    }

    /// Evaluates the plan. Metric names that no longer fit are gone afterwards.
    pub(crate) fn run(&self) -> Result<Evaluated, QueryError> {
        let grid = self.plan.times.grid();
        if let root @ (Node::Range(_) | Node::Subquery(_)) = &self.plan.root {
            return Ok(Evaluated::Raw(self.raw(root, grid)?));
        }
        let value = self.eval(&self.plan.root, grid)?;
        let Value::Vector(mut series) = value else { return Ok(Evaluated::Value(value)) };
        if self.rules.delayed_name_removal {
            for series in &mut series {
                if series.drop_name {
                    series.labels = unnamed(&series.labels);
                    series.drop_name = false;
                }
            }
        }
        Ok(Evaluated::Value(Value::Vector(merge_same(series)?)))
    }

    pub(crate) fn finish(self) -> (Annotations, Cost) {
        let cost = Cost { peak: self.peak.get(), looked_at: self.looked_at.get() };
        (self.annotations.into_inner(), cost)
    }

    fn eval(&self, node: &Node, grid: Grid) -> Result<Value, QueryError> {
        let before = self.held.get();
        let value = self.eval_node(node, grid)?;
        // What the operands held is gone with them.
        self.held.set(before);
        self.hold(value.cells())?;
        Ok(value)
    }

    fn eval_node(&self, node: &Node, grid: Grid) -> Result<Value, QueryError> {
        match node {
            Node::Number(number) => {
                self.hold(grid.steps)?;
                Ok(Value::Scalar(vec![*number; grid.steps]))
            }
            Node::Text(text) => Ok(Value::Text(text.clone())),
            Node::Instant(selector) => Ok(Value::Vector(self.instant(selector, grid)?)),
            Node::Call(call) => self.call(call, grid),
            Node::Aggregate(aggregate) => Ok(Value::Vector(self.aggregate(aggregate, grid)?)),
            Node::Binary(binary) => self.binary(binary, grid),
            Node::Negate(inner) => self.negate(inner, grid),
            Node::Invariant(inner) => self.invariant(inner, grid),
            Node::Range(_) | Node::Subquery(_) => Err(QueryError::Internal(
                "a range vector stands where the type check allows none".to_owned(),
            )),
        }
    }

    fn invariant(&self, inner: &Node, grid: Grid) -> Result<Value, QueryError> {
        let once = self.eval(inner, grid.first())?;
        self.hold(once.cells().saturating_mul(grid.steps))?;
        Ok(match once {
            Value::Scalar(values) => {
                Value::Scalar(vec![values.first().copied().unwrap_or(f64::NAN); grid.steps])
            }
            Value::Vector(mut series) => {
                for series in &mut series {
                    series.steps = series.steps.repeated(grid.steps);
                }
                Value::Vector(series)
            }
            text @ Value::Text(_) => text,
        })
    }

    fn negate(&self, inner: &Node, grid: Grid) -> Result<Value, QueryError> {
        match self.eval(inner, grid)? {
            Value::Scalar(values) => Ok(Value::Scalar(values.into_iter().map(|v| -v).collect())),
            Value::Vector(mut series) => {
                for series in &mut series {
                    series.steps.replace(|_, value| Some(-value));
                    self.drop_name(series);
                }
                Ok(Value::Vector(self.settled(series)?))
            }
            text @ Value::Text(_) => Ok(text),
        }
    }

    pub(crate) fn vector(&self, node: &Node, grid: Grid) -> Result<Vec<Series>, QueryError> {
        match self.eval(node, grid)? {
            Value::Vector(series) => Ok(series),
            _ => Err(QueryError::Internal("expected an instant vector".to_owned())),
        }
    }

    pub(crate) fn scalar(&self, node: &Node, grid: Grid) -> Result<Vec<f64>, QueryError> {
        match self.eval(node, grid)? {
            Value::Scalar(values) => Ok(values),
            _ => Err(QueryError::Internal("expected a scalar".to_owned())),
        }
    }

    /// Takes the metric's name off a series, now or at the end.
    fn drop_name(&self, series: &mut Series) {
        if self.rules.delayed_name_removal {
            series.drop_name = true;
        } else {
            series.labels = unnamed(&series.labels);
        }
    }

    /// Series after their labels changed: without empty ones, those with the same labels joined.
    fn settled(&self, mut series: Vec<Series>) -> Result<Vec<Series>, QueryError> {
        series.retain(|series| !series.steps.is_absent());
        merge_same(series)
    }

    /// Accounts for cells about to be made.
    pub(crate) fn hold(&self, cells: usize) -> Result<(), QueryError> {
        let held = self.held.get().saturating_add(cells);
        if self.rules.samples_max < held {
            return Err(QueryError::too_many_samples(PHASE, self.rules.samples_max));
        }
        self.held.set(held);
        self.peak.set(self.peak.get().max(held));
        self.watch.check(PHASE)
    }

    fn looked_at(&self, samples: usize) {
        self.looked_at.set(self.looked_at.get() + samples as u64);
    }

    pub(crate) fn annotate(&self, note: impl FnOnce(&mut Annotations)) {
        note(&mut self.annotations.borrow_mut());
    }
}
