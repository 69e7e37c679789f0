//! What a PromQL expression is, as written: parentheses, durations and `start()` are still there.
//!
//! The printer turns it back into text that parses to an equal expression; `plan` turns it into
//! what is evaluated. Two expressions are equal when they are written alike, wherever they stand:
//! spans do not count.

mod duration;
mod ops;

use record::Matcher;

use super::functions::Function;
pub use duration::{Duration, DurationError};
pub use ops::{AggregateOp, BinaryOp, ValueType};

/// Where something stands in the query: byte offsets, the end exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// An expression and where it stands.
#[derive(Clone, Debug)]
pub struct Expr {
    pub kind: Kind,
    pub span: Span,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// The forms of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Number(Number),
    Text(String),
    Selector(Selector),
    Range(RangeSelector),
    Subquery(Subquery),
    Call(Call),
    Aggregate(Aggregate),
    Binary(Binary),
    Unary(Unary),
    Paren(Box<Expr>),
}

/// A number, perhaps written as a duration (`5m` is 300).
#[derive(Clone, Copy, Debug)]
pub struct Number {
    pub value: f64,
    pub written_as_duration: bool,
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        let same = self.value.to_bits() == other.value.to_bits()
            || (self.value.is_nan() && other.value.is_nan());
        same && self.written_as_duration == other.written_as_duration
    }
}

/// Which series, and as of when.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// The name before the braces, or quoted inside them.
    pub name: Option<String>,
    pub matchers: Vec<Matcher>,
    pub when: When,
    pub extension: Option<Extension>,
}

/// The modifiers that move a selection in time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct When {
    pub offset: Option<Duration>,
    pub at: Option<At>,
}

/// The time after `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Unix milliseconds.
    Time(i64),
    Start,
    End,
}

/// How samples around a window's edges are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// The last sample before the window stands for its start.
    Anchored,
    /// Both edges are interpolated.
    Smoothed,
}

/// `selector[range]`; the selector carries offset and `@`.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeSelector {
    pub selector: Selector,
    pub range: Duration,
}

/// `expr[range:step]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    pub expr: Box<Expr>,
    pub range: Duration,
    pub step: Option<Duration>,
    pub when: When,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub function: &'static Function,
    pub args: Vec<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    pub op: AggregateOp,
    pub grouping: Grouping,
    /// The first argument of `topk`, `quantile`, `count_values` and their like.
    pub param: Option<Box<Expr>>,
    pub expr: Box<Expr>,
}

/// `by (labels)` or `without (labels)`; nothing written is `by ()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    pub without: bool,
    pub labels: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    pub op: BinaryOp,
    pub left: Box<Expr>,
    pub right: Box<Expr>,
    /// `bool`: a comparison answers 0 or 1 instead of filtering.
    pub returns_bool: bool,
    pub matching: Matching,
}

/// How the series of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// `on (labels)` rather than `ignoring (labels)`.
    pub on: bool,
    pub labels: Vec<String>,
    pub group: Option<Group>,
    pub fill_left: Option<Number>,
    pub fill_right: Option<Number>,
}

/// `group_left (include)` or `group_right (include)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The side that may have many series for one of the other.
    pub many: Side,
    pub include: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    pub negative: bool,
    pub expr: Box<Expr>,
}

impl Expr {
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            Kind::Number(_) => ValueType::Scalar,
            Kind::Text(_) => ValueType::Text,
            Kind::Selector(_) | Kind::Aggregate(_) => ValueType::Vector,
            Kind::Range(_) | Kind::Subquery(_) => ValueType::Matrix,
            Kind::Call(call) => call.function.returns,
            Kind::Unary(unary) => unary.expr.value_type(),
            Kind::Paren(inner) => inner.value_type(),
            Kind::Binary(binary) => match (binary.left.value_type(), binary.right.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
        }
    }

    /// Every selector in it, in the order of the text.
    pub fn selectors(&self) -> Vec<&Selector> {
        let mut found = Vec::new();
        self.collect_selectors(&mut found);
        found
    }

    fn collect_selectors<'e>(&'e self, found: &mut Vec<&'e Selector>) {
        match &self.kind {
            Kind::Number(_) | Kind::Text(_) => {}
            Kind::Selector(selector) => found.push(selector),
            Kind::Range(range) => found.push(&range.selector),
            Kind::Paren(inner) => inner.collect_selectors(found),
            Kind::Unary(unary) => unary.expr.collect_selectors(found),
            Kind::Subquery(subquery) => subquery.expr.collect_selectors(found),
            Kind::Call(call) => call.args.iter().for_each(|arg| arg.collect_selectors(found)),
            Kind::Aggregate(aggregate) => {
                let operands = aggregate.param.as_deref().into_iter().chain([&*aggregate.expr]);
                operands.for_each(|operand| operand.collect_selectors(found));
            }
            Kind::Binary(binary) => {
                binary.left.collect_selectors(found);
                binary.right.collect_selectors(found);
            }
        }
    }

    /// This expression without the parentheses around it.
    pub fn bare(&self) -> &Self {
        match &self.kind {
            Kind::Paren(inner) => inner.bare(),
            _ => self,
        }
    }
}
