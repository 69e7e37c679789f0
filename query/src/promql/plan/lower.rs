//! Walks an expression and builds its plan.

use record::{MatchOp, Matcher};

use super::times::subquery_grid;
use super::{
    Aggregate, Binary, Bounds, Call, Fetch, Info, Instant, Node, Plan, QueryTimes, Range, Shift,
    Subquery,
};
use crate::promql::ast::{self, At, Duration, Expr, Extension, Kind, Selector, Span, When};
use crate::promql::config::PromqlSection;
use crate::promql::error::{ParseError, QueryError};
use crate::promql::functions::{Function, Id};

/// The longest time from 1970 that is computed with, in milliseconds: far from overflow.
const TIME_MS_MAX: f64 = (i64::MAX / 8) as f64;

/// Plans `expr`, whose text is `text`.
pub(crate) fn plan(
    text: &str,
    expr: &Expr,
    times: QueryTimes,
    lookback_ms: i64,
    section: &PromqlSection,
) -> Result<Plan, QueryError> {
    let subquery_step_ms = section.subquery_step_ms;
    let mut lowering = Lowering { text, times, lookback_ms, subquery_step_ms, fetches: Vec::new() };
    let bounds = Bounds { start_ms: times.start_ms, end_ms: times.end_ms };
    let lowered = lowering.lower(expr, bounds)?;
    let root = if times.is_instant() { lowered.node } else { lowered.hoisted() };
    Ok(Plan { root, fetches: lowering.fetches, times })
}

struct Lowering<'q> {
    text: &'q str,
    times: QueryTimes,
    lookback_ms: i64,
    subquery_step_ms: i64,
    fetches: Vec<Fetch>,
}

/// A node, and whether it is the same at every step.
struct Lowered {
    node: Node,
    invariant: bool,
}

impl Lowered {
    /// The node for a parent that changes from step to step.
    fn hoisted(self) -> Node {
        match self.node {
            // Constants are as cheap as their repetition; windows are cut per step anyway.
            node @ (Node::Number(_) | Node::Text(_) | Node::Range(_) | Node::Subquery(_)) => node,
            node if self.invariant => Node::Invariant(Box::new(node)),
            node => node,
        }
    }
}

impl Lowering<'_> {
    fn lower(&mut self, expr: &Expr, bounds: Bounds) -> Result<Lowered, QueryError> {
        let constant = |node| Ok(Lowered { node, invariant: true });
        match &expr.kind {
            Kind::Number(number) => constant(Node::Number(number.value)),
            Kind::Text(text) => constant(Node::Text(text.clone())),
            Kind::Paren(inner) => self.lower(inner, bounds),
            Kind::Selector(selector) => self.selector(selector, expr.span, bounds),
            Kind::Range(range) => self.range(range, expr.span, bounds),
            Kind::Subquery(subquery) => self.subquery(subquery, expr.span, bounds),
            Kind::Call(call) => self.call(call, expr.span, bounds),
            Kind::Aggregate(aggregate) => self.aggregate(aggregate, bounds),
            Kind::Binary(binary) => self.binary(binary, expr.span, bounds),
            Kind::Unary(unary) => {
                let Lowered { node, invariant } = self.lower(&unary.expr, bounds)?;
                let node = if unary.negative { Node::Negate(Box::new(node)) } else { node };
                Ok(Lowered { node, invariant })
            }
        }
    }

    fn selector(
        &mut self,
        selector: &Selector,
        span: Span,
        bounds: Bounds,
    ) -> Result<Lowered, QueryError> {
        let shift = self.shift(&selector.when, span)?;
        let smoothed = selector.extension == Some(Extension::Smoothed);
        let after = if smoothed { self.lookback_ms } else { 0 };
        let fetch =
            self.fetch(selector.all_matchers(), shift.bounds(bounds), self.lookback_ms, after);
        let invariant = shift.at_ms.is_some();
        Ok(Lowered { node: Node::Instant(Instant { fetch, shift, smoothed }), invariant })
    }

    fn range(
        &mut self,
        range: &ast::RangeSelector,
        span: Span,
        bounds: Bounds,
    ) -> Result<Lowered, QueryError> {
        let selector = &range.selector;
        let shift = self.shift(&selector.when, span)?;
        let range_ms = self.positive_ms(&range.range, span)?;
        let (before, after) = match selector.extension {
            None => (0, 0),
            Some(Extension::Anchored) => (self.lookback_ms, 0),
            Some(Extension::Smoothed) => (self.lookback_ms, self.lookback_ms),
        };
        let reach = range_ms.saturating_add(before);
        let fetch = self.fetch(selector.all_matchers(), shift.bounds(bounds), reach, after);
        let extension = selector.extension;
        let node = Node::Range(Range { fetch, shift, range_ms, extension });
        Ok(Lowered { node, invariant: shift.at_ms.is_some() })
    }

    fn subquery(
        &mut self,
        subquery: &ast::Subquery,
        span: Span,
        bounds: Bounds,
    ) -> Result<Lowered, QueryError> {
        let shift = self.shift(&subquery.when, span)?;
        let range_ms = self.positive_ms(&subquery.range, span)?;
        let step_ms = match &subquery.step {
            Some(step) => self.positive_ms(step, span)?,
            None => self.subquery_step_ms,
        };
        let inner_bounds = subquery_grid(bounds, shift, range_ms, step_ms).bounds();
        let inner = self.lower(&subquery.expr, inner_bounds)?.hoisted();
        let node = Node::Subquery(Box::new(Subquery { inner, shift, range_ms, step_ms }));
        Ok(Lowered { node, invariant: shift.at_ms.is_some() })
    }

    fn call(
        &mut self,
        call: &ast::Call,
        span: Span,
        bounds: Bounds,
    ) -> Result<Lowered, QueryError> {
        let function = call.function;
        if function.id == Id::StartTimestamp {
            return Err(QueryError::BadData(
                ParseError::new(
                    self.text,
                    span,
                    "function \"start_timestamp\" is not supported: start timestamps are not \
                     stored",
                )
                .to_string(),
            ));
        }
        check_extension(function, &call.args)?;
        let mut info = None;
        let mut args = &call.args[..];
        if function.id == Id::Info {
            info = Some(self.info(&call.args, bounds)?);
            args = &args[..1];
        }
        let lowered: Vec<Lowered> =
            args.iter().map(|arg| self.lower(arg, bounds)).collect::<Result<_, _>>()?;
        let invariant = function.is_pure() && lowered.iter().all(|arg| arg.invariant);
        let hoist = !invariant && function.id != Id::Timestamp;
        let args =
            lowered.into_iter().map(|arg| if hoist { arg.hoisted() } else { arg.node }).collect();
        let absent_labels = match (function.id, call.args.first()) {
            (Id::Absent | Id::AbsentOverTime, Some(arg)) => absent_labels(arg),
            _ => Vec::new(),
        };
        let arg_spans = call.args.iter().map(|arg| arg.span).collect();
        let call = Call { function, args, arg_spans, span, absent_labels, info };
        Ok(Lowered { node: Node::Call(call), invariant })
    }

    /// `info` reads its own series, as of when the first selector in its argument reads.
    fn info(&mut self, args: &[Expr], bounds: Bounds) -> Result<Info, QueryError> {
        let matchers = match args.get(1).map(|arg| &arg.bare().kind) {
            Some(Kind::Selector(selector)) => selector.all_matchers(),
            _ => Vec::new(),
        };
        let (mut names, data): (Vec<Matcher>, Vec<Matcher>) =
            matchers.into_iter().partition(|matcher| matcher.name() == "__name__");
        let positive = |m: &Matcher| matches!(m.op(), MatchOp::Eq | MatchOp::Re);
        let implied = match names.as_slice() {
            [] => Some((MatchOp::Eq, "target_info")),
            names if !names.iter().any(positive) => Some((MatchOp::Re, ".+_info")),
            _ => None,
        };
        if let Some((op, value)) = implied {
            let matcher = Matcher::new("__name__", op, value);
            names.push(matcher.map_err(|error| QueryError::Internal(error.to_string()))?);
        }
        let shift = match args.first() {
            Some(arg) => self.first_shift(arg, Shift::default())?.unwrap_or_default(),
            None => Shift::default(),
        };
        let all = names.iter().chain(&data).cloned().collect();
        let fetch = self.fetch(all, shift.bounds(bounds), self.lookback_ms, 0);
        Ok(Info { fetch, shift, names, data })
    }

    /// The shift of the first selector within `expr`, seen from outside.
    fn first_shift(&self, expr: &Expr, outer: Shift) -> Result<Option<Shift>, QueryError> {
        let first = |exprs: &mut dyn Iterator<Item = &Expr>| {
            for expr in exprs {
                if let Some(shift) = self.first_shift(expr, outer)? {
                    return Ok(Some(shift));
                }
            }
            Ok(None)
        };
        match &expr.kind {
            Kind::Number(_) | Kind::Text(_) => Ok(None),
            Kind::Paren(inner) => self.first_shift(inner, outer),
            Kind::Unary(unary) => self.first_shift(&unary.expr, outer),
            Kind::Selector(selector) => {
                Ok(Some(outer.then(self.shift(&selector.when, expr.span)?)))
            }
            Kind::Range(range) => {
                Ok(Some(outer.then(self.shift(&range.selector.when, expr.span)?)))
            }
            Kind::Subquery(subquery) => {
                let shift = outer.then(self.shift(&subquery.when, expr.span)?);
                self.first_shift(&subquery.expr, shift)
            }
            Kind::Call(call) => first(&mut call.args.iter()),
            Kind::Aggregate(aggregate) => self.first_shift(&aggregate.expr, outer),
            Kind::Binary(binary) => {
                first(&mut [binary.left.as_ref(), binary.right.as_ref()].into_iter())
            }
        }
    }

    fn aggregate(
        &mut self,
        aggregate: &ast::Aggregate,
        bounds: Bounds,
    ) -> Result<Lowered, QueryError> {
        let param_span = aggregate.param.as_ref().map_or(Span::default(), |param| param.span);
        let param = match &aggregate.param {
            Some(param) => Some(self.lower(param, bounds)?),
            None => None,
        };
        let expr = self.lower(&aggregate.expr, bounds)?;
        let invariant = expr.invariant && param.as_ref().is_none_or(|param| param.invariant);
        let node = |lowered: Lowered| if invariant { lowered.node } else { lowered.hoisted() };
        let node = Node::Aggregate(Box::new(Aggregate {
            op: aggregate.op,
            grouping: aggregate.grouping.clone(),
            param: param.map(node),
            param_span,
            expr: node(expr),
        }));
        Ok(Lowered { node, invariant })
    }

    fn binary(
        &mut self,
        binary: &ast::Binary,
        span: Span,
        bounds: Bounds,
    ) -> Result<Lowered, QueryError> {
        let left = self.lower(&binary.left, bounds)?;
        let right = self.lower(&binary.right, bounds)?;
        let invariant = left.invariant && right.invariant;
        let node = |lowered: Lowered| if invariant { lowered.node } else { lowered.hoisted() };
        let node = Node::Binary(Box::new(Binary {
            op: binary.op,
            left: node(left),
            right: node(right),
            returns_bool: binary.returns_bool,
            matching: binary.matching.clone(),
            span,
        }));
        Ok(Lowered { node, invariant })
    }

    /// Lists a selection over `(start - before, end + after]`; equal ones are listed once.
    fn fetch(&mut self, matchers: Vec<Matcher>, bounds: Bounds, before: i64, after: i64) -> usize {
        let start_ms = bounds.start_ms.saturating_sub(before).saturating_add(1);
        let end_ms = bounds.end_ms.saturating_add(after);
        let fetch = Fetch { matchers, start_ms, end_ms };
        if let Some(known) = self.fetches.iter().position(|known| *known == fetch) {
            return known;
        }
        self.fetches.push(fetch);
        self.fetches.len() - 1
    }

    fn shift(&self, when: &When, span: Span) -> Result<Shift, QueryError> {
        let at_ms = when.at.map(|at| match at {
            At::Time(ms) => ms,
            At::Start => self.times.start_ms,
            At::End => self.times.end_ms,
        });
        let offset_ms = match &when.offset {
            None => 0,
            Some(offset) => self.milliseconds(offset, span)?,
        };
        Ok(Shift { at_ms, offset_ms })
    }

    fn positive_ms(&self, duration: &Duration, span: Span) -> Result<i64, QueryError> {
        let ms = self.milliseconds(duration, span)?;
        if ms <= 0 {
            return Err(self.wrong(span, "duration must be greater than 0"));
        }
        Ok(ms)
    }

    fn milliseconds(&self, duration: &Duration, span: Span) -> Result<i64, QueryError> {
        let step = self.times.step_ms as f64 / 1000.0;
        let range = (self.times.end_ms.saturating_sub(self.times.start_ms)) as f64 / 1000.0;
        let seconds =
            duration.seconds(step, range).map_err(|error| self.wrong(span, &error.to_string()))?;
        let ms = (seconds * 1000.0).round();
        if ms.is_nan() || TIME_MS_MAX < ms.abs() {
            return Err(self.wrong(span, "duration out of range"));
        }
        Ok(ms as i64)
    }

    fn wrong(&self, span: Span, message: &str) -> QueryError {
        ParseError::new(self.text, span, message).into()
    }
}

/// `anchored` and `smoothed` mean something to few functions only.
fn check_extension(function: &Function, args: &[Expr]) -> Result<(), QueryError> {
    for arg in args {
        let Kind::Range(range) = &arg.bare().kind else { continue };
        let (name, known, list): (_, &[Id], _) = match range.selector.extension {
            None => continue,
            Some(Extension::Anchored) => (
                "anchored",
                &[Id::Changes, Id::Delta, Id::Increase, Id::Rate, Id::Resets],
                "changes, delta, increase, rate, resets",
            ),
            Some(Extension::Smoothed) => {
                ("smoothed", &[Id::Delta, Id::Increase, Id::Rate], "delta, increase, rate")
            }
        };
        if !known.contains(&function.id) {
            return Err(QueryError::Execution(format!(
                "{name} modifier can only be used with: {list} - not with {}",
                function.name
            )));
        }
    }
    Ok(())
}

/// The labels of what is absent: those a plain selector fixes with a single `=` matcher.
fn absent_labels(arg: &Expr) -> Vec<(String, String)> {
    let matchers = match &arg.bare().kind {
        Kind::Selector(selector) => &selector.matchers,
        Kind::Range(range) => &range.selector.matchers,
        _ => return Vec::new(),
    };
    matchers
        .iter()
        .filter(|matcher| matcher.op() == MatchOp::Eq && matcher.name() != "__name__")
        .filter(|matcher| matchers.iter().filter(|m| m.name() == matcher.name()).count() == 1)
        .map(|matcher| (matcher.name().to_owned(), matcher.value().to_owned()))
        .collect()
}
