//! Values during evaluation: a cell per step.
//!
//! A cell without a value holds the bits of the staleness marker, which storage uses for the same
//! meaning. Selection never lets that pattern in, and arithmetic never makes it: it is a signalling
//! NaN, and every operation on NaN gives a quiet one.

use std::collections::HashMap;

use record::Labels;

use crate::promql::error::QueryError;

/// Bits of the staleness marker: the series has ended.
pub(crate) const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The label that holds the metric's name.
pub(crate) const NAME: &str = "__name__";
/// Labels that say what a metric is: when it becomes another quantity, they all go.
const DESCRIBING: [&str; 3] = [NAME, "__type__", "__unit__"];

/// Whether this label says what the metric is.
pub(crate) fn describes(label: &str) -> bool {
    DESCRIBING.contains(&label)
}

/// `labels` without those that say what the metric is.
pub(crate) fn unnamed(labels: &Labels) -> Labels {
    if labels.iter().any(|(name, _)| describes(name)) {
        return Labels::from_pairs(labels.iter().filter(|(name, _)| !describes(name)));
    }
    labels.clone()
}

pub(crate) fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// One cell per step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps(Vec<f64>);

impl Steps {
    pub(crate) fn absent(steps: usize) -> Self {
        Self(vec![f64::from_bits(STALE_BITS); steps])
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, step: usize) -> Option<f64> {
        self.0.get(step).copied().filter(|value| !is_stale(*value))
    }

    pub(crate) fn set(&mut self, step: usize, value: f64) {
        if let Some(cell) = self.0.get_mut(step) {
            *cell = value;
        }
    }

    pub(crate) fn clear(&mut self, step: usize) {
        self.set(step, f64::from_bits(STALE_BITS));
    }

    /// Steps that have a value, with it.
    pub(crate) fn present(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.0.iter().copied().enumerate().filter(|(_, value)| !is_stale(*value))
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.0.iter().all(|value| is_stale(*value))
    }

    /// Replaces every value; `None` removes it.
    pub(crate) fn replace(&mut self, mut with: impl FnMut(usize, f64) -> Option<f64>) {
        for (step, cell) in self.0.iter_mut().enumerate() {
            if !is_stale(*cell) {
                *cell = with(step, *cell).unwrap_or(f64::from_bits(STALE_BITS));
            }
        }
    }

    /// The first cell, repeated.
    pub(crate) fn repeated(&self, steps: usize) -> Self {
        let first = self.0.first().copied().unwrap_or(f64::from_bits(STALE_BITS));
        Self(vec![first; steps])
    }
}

/// A series of results.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    /// The name no longer fits and goes at the end of the query (delayed name removal).
    pub(crate) drop_name: bool,
    pub(crate) steps: Steps,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// A number for every step.
    Scalar(Vec<f64>),
    Text(String),
    Vector(Vec<Series>),
}

impl Value {
    /// Cells held.
    pub(crate) fn cells(&self) -> usize {
        match self {
            Self::Scalar(values) => values.len(),
            Self::Text(_) => 0,
            Self::Vector(series) => series.iter().map(|series| series.steps.len()).sum(),
        }
    }
}

/// Joins series that have the same labels, which must not have values at the same step.
///
/// # Errors
/// When two have: an answer could not tell them apart.
pub(crate) fn merge_same(series: Vec<Series>) -> Result<Vec<Series>, QueryError> {
    let mut known: HashMap<Labels, usize> = HashMap::with_capacity(series.len());
    let mut merged: Vec<Series> = Vec::with_capacity(series.len());
    for next in series {
        let Some(&at) = known.get(&next.labels) else {
            known.insert(next.labels.clone(), merged.len());
            merged.push(next);
            continue;
        };
        let first = &mut merged[at];
        for (step, value) in next.steps.present() {
            if first.steps.get(step).is_some() {
                return Err(QueryError::same_labelset());
            }
            first.steps.set(step, value);
        }
        first.drop_name |= next.drop_name;
    }
    Ok(merged)
}
