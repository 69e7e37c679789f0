//! What a PromQL expression is, as written: parentheses, durations and `start()` are still there.
//!
//! The printer turns it back into text that parses to an equal expression; `plan` turns it into
//! what is evaluated. Two expressions are equal when they are written alike, wherever they stand:
//! spans do not count.

use record::Matcher;

use super::functions::Function;

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

/// A duration, which may be computed from the query's own step and range.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    Literal(Number),
    Step,
    Range,
    Min(Box<Duration>, Box<Duration>),
    Max(Box<Duration>, Box<Duration>),
    Negative(Box<Duration>),
    Positive(Box<Duration>),
    Binary(BinaryOp, Box<Duration>, Box<Duration>),
    Paren(Box<Duration>),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    pub const ALL: [Self; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::Topk,
        Self::Bottomk,
        Self::CountValues,
        Self::Quantile,
        Self::Limitk,
        Self::LimitRatio,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether a parameter comes before the vector.
    pub fn has_param(self) -> bool {
        self.selects() || matches!(self, Self::CountValues | Self::Quantile)
    }

    /// Whether the output is some of the input series, whole.
    pub fn selects(self) -> bool {
        matches!(self, Self::Topk | Self::Bottomk | Self::Limitk | Self::LimitRatio)
    }

    pub fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    TrimUpper,
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// Operators by text, longer ones before those they begin with.
    pub const SYMBOLS: [(&'static str, Self); 14] = [
        ("==", Self::Eq),
        ("!=", Self::Ne),
        ("<=", Self::Le),
        (">=", Self::Ge),
        ("</", Self::TrimUpper),
        (">/", Self::TrimLower),
        ("<", Self::Lt),
        (">", Self::Gt),
        ("+", Self::Add),
        ("-", Self::Sub),
        ("*", Self::Mul),
        ("/", Self::Div),
        ("%", Self::Mod),
        ("^", Self::Pow),
    ];
    pub const WORDS: [(&'static str, Self); 4] =
        [("and", Self::And), ("or", Self::Or), ("unless", Self::Unless), ("atan2", Self::Atan2)];

    pub fn text(self) -> &'static str {
        let all = Self::SYMBOLS.iter().chain(&Self::WORDS);
        all.clone().find(|(_, op)| *op == self).map_or("", |(text, _)| text)
    }

    /// How tightly it binds; higher binds first.
    pub fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            op if op.is_comparison() || op.is_trim() => 3,
            Self::Add | Self::Sub => 4,
            Self::Pow => 6,
            _ => 5,
        }
    }

    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// Cuts buckets off native histograms.
    pub fn is_trim(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Whether the result is another quantity, so that the metric's name no longer fits.
    pub fn changes_meaning(self) -> bool {
        !self.is_comparison() && !self.is_set() && !self.is_trim()
    }
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    Scalar,
    Text,
    Vector,
    Matrix,
}

impl ValueType {
    /// The name in the documentation and in error messages.
    pub fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// The name in the API.
    pub fn api(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
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

impl Duration {
    /// Its seconds if they do not depend on the query's step or range.
    ///
    /// # Errors
    /// When it divides by zero.
    pub fn constant(&self) -> Result<Option<f64>, DurationError> {
        if self.depends_on_query() { Ok(None) } else { self.seconds(0.0, 0.0).map(Some) }
    }

    /// Its seconds in a query with this step and range.
    ///
    /// # Errors
    /// When it divides by zero.
    pub fn seconds(&self, step: f64, range: f64) -> Result<f64, DurationError> {
        let value = |inner: &Self| inner.seconds(step, range);
        Ok(match self {
            Self::Literal(number) => number.value,
            Self::Step => step,
            Self::Range => range,
            Self::Min(a, b) => value(a)?.min(value(b)?),
            Self::Max(a, b) => value(a)?.max(value(b)?),
            Self::Negative(inner) => -value(inner)?,
            Self::Positive(inner) | Self::Paren(inner) => value(inner)?,
            Self::Binary(op, a, b) => calculate(*op, value(a)?, value(b)?)?,
        })
    }

    fn depends_on_query(&self) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Step | Self::Range => true,
            Self::Negative(inner) | Self::Positive(inner) | Self::Paren(inner) => {
                inner.depends_on_query()
            }
            Self::Min(a, b) | Self::Max(a, b) | Self::Binary(_, a, b) => {
                a.depends_on_query() || b.depends_on_query()
            }
        }
    }
}

/// A duration that cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("division by zero")]
    Division,
    #[error("modulo by zero")]
    Modulo,
}

fn calculate(op: BinaryOp, a: f64, b: f64) -> Result<f64, DurationError> {
    Ok(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div if b == 0.0 => return Err(DurationError::Division),
        BinaryOp::Div => a / b,
        BinaryOp::Mod if b == 0.0 => return Err(DurationError::Modulo),
        BinaryOp::Mod => a % b,
        // The parser builds no other operator into a duration.
        _ => a.powf(b),
    })
}
