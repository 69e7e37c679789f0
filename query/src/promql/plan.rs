//! From an expression to what is evaluated: every time and duration is a number, every selection
//! is listed for fetching, and what does not change from step to step is marked.
//!
//! Always holds: a fetch covers every sample that evaluation may look at, including those of
//! enclosing subqueries.

mod lower;
mod times;

use record::Matcher;

use super::ast::{AggregateOp, BinaryOp, Extension, Grouping, Matching, Span};
use super::functions::Function;
pub(crate) use lower::plan;
pub(crate) use times::{Bounds, Grid, QueryTimes, Shift, subquery_grid};

/// A query, ready to fetch and evaluate.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) root: Node,
    pub(crate) fetches: Vec<Fetch>,
    pub(crate) times: QueryTimes,
}

/// Series to read, with the samples of a time range, both ends inclusive.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fetch {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

#[derive(Debug)]
pub(crate) enum Node {
    Number(f64),
    Text(String),
    Instant(Instant),
    Range(Range),
    Subquery(Box<Subquery>),
    Call(Call),
    Aggregate(Box<Aggregate>),
    Binary(Box<Binary>),
    Negate(Box<Self>),
    /// The same at every step: evaluated once.
    Invariant(Box<Self>),
}

/// An instant selector.
#[derive(Debug)]
pub(crate) struct Instant {
    pub(crate) fetch: usize,
    pub(crate) shift: Shift,
    pub(crate) smoothed: bool,
}

/// A range selector.
#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) fetch: usize,
    pub(crate) shift: Shift,
    pub(crate) range_ms: i64,
    pub(crate) extension: Option<Extension>,
}

#[derive(Debug)]
pub(crate) struct Subquery {
    pub(crate) inner: Node,
    pub(crate) shift: Shift,
    pub(crate) range_ms: i64,
    pub(crate) step_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: &'static Function,
    pub(crate) args: Vec<Node>,
    pub(crate) arg_spans: Vec<Span>,
    pub(crate) span: Span,
    /// For `absent`: the labels its result has.
    pub(crate) absent_labels: Vec<(String, String)>,
    pub(crate) info: Option<Info>,
}

/// Where `info` finds the series it takes labels from.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) fetch: usize,
    pub(crate) shift: Shift,
    pub(crate) names: Vec<Matcher>,
    pub(crate) data: Vec<Matcher>,
}

#[derive(Debug)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) grouping: Grouping,
    pub(crate) param: Option<Node>,
    pub(crate) param_span: Span,
    pub(crate) expr: Node,
}

#[derive(Debug)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) left: Node,
    pub(crate) right: Node,
    pub(crate) returns_bool: bool,
    pub(crate) matching: Matching,
    pub(crate) span: Span,
}
