//! The tree of a LogQL query.
//!
//! Times are nanoseconds. Lists are kept in the order written. `And` and `Or` of label filters hold
//! at least two operands and never one of their own kind.

use record::Matcher;

/// A whole query.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Gives lines.
    Log(LogQuery),
    /// Gives numbers.
    Metric(Metric),
}

/// A stream selector and what is done to the lines it gives.
#[derive(Clone, Debug, PartialEq)]
pub struct LogQuery {
    pub matchers: Vec<Matcher>,
    pub stages: Vec<Stage>,
}

/// One step of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    LineFilter(LineFilter),
    LabelFilter(LabelFilter),
    /// `json`, with the fields to extract or none for all.
    Json(Vec<Extraction>),
    Logfmt {
        strict: bool,
        keep_empty: bool,
        fields: Vec<Extraction>,
    },
    Regexp(String),
    Pattern(String),
    Unpack,
    LineFormat(String),
    LabelFormat(Vec<LabelFormat>),
    Drop(Vec<LabelPick>),
    Keep(Vec<LabelPick>),
    Decolorize,
}

/// `|= "a" or "b"`. Under a negative operator none of the alternatives may match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFilter {
    pub op: LineOp,
    pub alternatives: Vec<Needle>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Regex,
    /// `!~`
    NotRegex,
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

/// What a line filter looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needle {
    Text(String),
    /// `ip("...")`
    Ip(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum LabelFilter {
    /// Every operand must hold; all are evaluated.
    And(Vec<Self>),
    /// One operand must hold; evaluation stops at the first that does.
    Or(Vec<Self>),
    /// `name op "text"`
    Text(Matcher),
    /// `name op 5`, `name op 1.5s`, `name op 2KB`
    Typed { name: String, op: Comparison, value: TypedValue },
    /// `name = ip("...")` or `!=`
    Ip { name: String, negated: bool, pattern: String },
}

/// The right side of a typed label filter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TypedValue {
    Number(f64),
    DurationNanos(i64),
    Bytes(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

/// `name` or `name="expression"` behind `json` and `logfmt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extraction {
    pub name: String,
    pub expression: String,
}

/// `dst=src` or `dst="template"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelFormat {
    Rename { to: String, from: String },
    Template { to: String, template: String },
}

/// `name`, or `name op "value"`, behind `drop` and `keep`.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelPick {
    Name(String),
    Matching(Matcher),
}

/// An expression whose value is a number per series and step.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {
    Range(Box<RangeAggregation>),
    Vector(Box<VectorAggregation>),
    Binary(Box<Binary>),
    LabelReplace(Box<LabelReplace>),
    /// `vector(n)`
    Constant(f64),
    /// A bare number.
    Literal(f64),
}

/// `rate({..} [5m])` and the like.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeAggregation {
    pub op: RangeOp,
    pub parameter: Option<f64>,
    pub log: LogQuery,
    pub unwrap: Option<Unwrap>,
    pub range_nanos: i64,
    pub offset_nanos: i64,
    pub grouping: Option<Grouping>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOp {
    Rate,
    RateCounter,
    CountOverTime,
    BytesRate,
    BytesOverTime,
    SumOverTime,
    AvgOverTime,
    MaxOverTime,
    MinOverTime,
    FirstOverTime,
    LastOverTime,
    StdvarOverTime,
    StddevOverTime,
    QuantileOverTime,
    AbsentOverTime,
}

/// `| unwrap x`, `| unwrap bytes(x)`, and the label filters behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Unwrap {
    pub name: String,
    pub conversion: Option<Conversion>,
    pub filters: Vec<LabelFilter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    Bytes,
    Duration,
    DurationSeconds,
}

/// `sum by (a) (..)` and the like.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorAggregation {
    pub op: VectorOp,
    /// `k` of the topk family.
    pub parameter: Option<u32>,
    pub grouping: Option<Grouping>,
    pub inner: Metric,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    ApproxTopk,
    Sort,
    SortDesc,
}

/// `by (..)` or `without (..)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    pub without: bool,
    pub names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    pub op: BinaryOp,
    /// `bool`: comparisons give 0 or 1 instead of filtering.
    pub returns_bool: bool,
    pub matching: Option<VectorMatching>,
    pub left: Metric,
    pub right: Metric,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

/// `on(..)` or `ignoring(..)`, and the many side if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorMatching {
    pub on: bool,
    pub names: Vec<String>,
    pub group: Option<Group>,
}

/// `group_left(..)` or `group_right(..)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub left: bool,
    pub include: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LabelReplace {
    pub inner: Metric,
    pub destination: String,
    pub replacement: String,
    pub source: String,
    pub pattern: String,
}

impl RangeOp {
    /// Whether the operation counts lines or bytes of lines, so takes no unwrap.
    pub fn counts_lines(self) -> bool {
        matches!(
            self,
            Self::CountOverTime
                | Self::BytesRate
                | Self::BytesOverTime
                | Self::Rate
                | Self::AbsentOverTime
        )
    }

    /// Whether the operation works on unwrapped values.
    pub fn takes_unwrap(self) -> bool {
        !matches!(self, Self::CountOverTime | Self::BytesRate | Self::BytesOverTime)
    }

    /// Whether `by (..)` may stand directly behind it.
    pub fn takes_grouping(self) -> bool {
        matches!(
            self,
            Self::AvgOverTime
                | Self::MaxOverTime
                | Self::MinOverTime
                | Self::FirstOverTime
                | Self::LastOverTime
                | Self::StdvarOverTime
                | Self::StddevOverTime
                | Self::QuantileOverTime
        )
    }
}

impl BinaryOp {
    pub fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Gt | Self::Ge | Self::Lt | Self::Le)
    }

    /// How tightly the operator binds; higher binds tighter.
    pub fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Eq | Self::Ne | Self::Gt | Self::Ge | Self::Lt | Self::Le => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod => 5,
            Self::Pow => 6,
        }
    }
}
