//! Folding a group into one series: each step has an accumulator that sees the values in order.

use super::super::value::{Series, Steps};
use crate::promql::ast::AggregateOp;
use crate::promql::kahan::{Mean, Sum};

/// Folds values of one step.
trait Fold: Clone {
    fn new(first: f64) -> Self;
    fn add(&mut self, value: f64);
    fn value(&self) -> f64;
}

pub(super) fn fold(op: AggregateOp, members: &[Series], steps: usize) -> Steps {
    match op {
        AggregateOp::Sum => run::<Sum>(members, steps),
        AggregateOp::Avg => run::<Mean>(members, steps),
        AggregateOp::Min => run::<Smallest>(members, steps),
        AggregateOp::Max => run::<Largest>(members, steps),
        AggregateOp::Stddev => {
            let mut variance = run::<Variance>(members, steps);
            variance.replace(|_, value| Some(value.sqrt()));
            variance
        }
        AggregateOp::Stdvar => run::<Variance>(members, steps),
        AggregateOp::Group => {
            let mut count = run::<Count>(members, steps);
            count.replace(|_, _| Some(1.0));
            count
        }
        _ => run::<Count>(members, steps),
    }
}

fn run<F: Fold>(members: &[Series], steps: usize) -> Steps {
    let mut folds: Vec<Option<F>> = vec![None; steps];
    for series in members {
        for (step, value) in series.steps.present() {
            match &mut folds[step] {
                Some(fold) => fold.add(value),
                empty => *empty = Some(F::new(value)),
            }
        }
    }
    let mut found = Steps::absent(steps);
    for (step, fold) in folds.iter().enumerate() {
        if let Some(fold) = fold {
            found.set(step, fold.value());
        }
    }
    found
}

impl Fold for Sum {
    fn new(first: f64) -> Self {
        let mut sum = Self::default();
        Self::add(&mut sum, first);
        sum
    }

    fn add(&mut self, value: f64) {
        Self::add(self, value);
    }

    fn value(&self) -> f64 {
        Self::value(*self)
    }
}

impl Fold for Mean {
    fn new(first: f64) -> Self {
        let mut mean = Self::default();
        Self::add(&mut mean, first);
        mean
    }

    fn add(&mut self, value: f64) {
        Self::add(self, value);
    }

    fn value(&self) -> f64 {
        Self::value(*self)
    }
}

#[derive(Clone)]
struct Count(f64);

impl Fold for Count {
    fn new(_: f64) -> Self {
        Self(1.0)
    }

    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// Any number is smaller than NaN.
#[derive(Clone)]
struct Smallest(f64);

impl Fold for Smallest {
    fn new(first: f64) -> Self {
        Self(first)
    }

    fn add(&mut self, value: f64) {
        if value < self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// Any number is larger than NaN.
#[derive(Clone)]
struct Largest(f64);

impl Fold for Largest {
    fn new(first: f64) -> Self {
        Self(first)
    }

    fn add(&mut self, value: f64) {
        if value > self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// Population variance by Welford's method.
#[derive(Clone)]
struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Fold for Variance {
    fn new(first: f64) -> Self {
        let squares = if first.is_finite() { 0.0 } else { f64::NAN };
        Self { count: 1.0, mean: first, squares }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn value(&self) -> f64 {
        self.squares / self.count
    }
}
