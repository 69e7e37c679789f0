//! The tree back to text, in one normal form on one line.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::{
    Binary, BinaryOp, Comparison, Conversion, Extraction, Grouping, LabelFilter, LabelFormat,
    LabelPick, LabelReplace, LineFilter, LineOp, LogQuery, Metric, Needle, Query, RangeAggregation,
    RangeOp, Stage, TypedValue, Unwrap, VectorAggregation, VectorMatching, VectorOp,
};
use super::duration::format_duration;
use record::Matcher;

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log) => log.fmt(f),
            Self::Metric(metric) => metric.fmt(f),
        }
    }
}

impl Display for LogQuery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        comma_separated(f, &self.matchers, write_matcher)?;
        f.write_char('}')?;
        for stage in printable_order(&self.stages) {
            write!(f, " {stage}")?;
        }
        Ok(())
    }
}

/// The stages in an order that reads as what they are.
///
/// `| drop a` with `!= "x"` behind it would read as `drop a!="x"`. Such a line filter is written
/// before the stage, which changes nothing: one looks at lines only, the other at labels only.
fn printable_order(stages: &[Stage]) -> Vec<&Stage> {
    let mut ordered: Vec<&Stage> = Vec::with_capacity(stages.len());
    for stage in stages {
        let mut at = ordered.len();
        if reads_as_matcher(stage) {
            at -= ordered.iter().rev().take_while(|before| ends_in_name(before)).count();
        }
        ordered.insert(at, stage);
    }
    ordered
}

/// Whether a bare name before the stage would become a matcher.
fn reads_as_matcher(stage: &Stage) -> bool {
    matches!(stage, Stage::LineFilter(LineFilter {
        op: LineOp::NotContains | LineOp::NotRegex,
        alternatives,
    }) if matches!(alternatives.first(), Some(Needle::Text(_))))
}

fn ends_in_name(stage: &Stage) -> bool {
    let (Stage::Drop(picks) | Stage::Keep(picks)) = stage else { return false };
    matches!(picks.last(), Some(LabelPick::Name(_)))
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineFilter(filter) => filter.fmt(f),
            Self::LabelFilter(filter) => write!(f, "| {filter}"),
            Self::Json(fields) => {
                f.write_str("| json")?;
                write_extractions(f, fields)
            }
            Self::Logfmt { strict, keep_empty, fields } => {
                f.write_str("| logfmt")?;
                f.write_str(if *strict { " --strict" } else { "" })?;
                f.write_str(if *keep_empty { " --keep-empty" } else { "" })?;
                write_extractions(f, fields)
            }
            Self::Regexp(text) => write!(f, "| regexp {}", Quoted(text)),
            Self::Pattern(text) => write!(f, "| pattern {}", Quoted(text)),
            Self::Unpack => f.write_str("| unpack"),
            Self::LineFormat(text) => write!(f, "| line_format {}", Quoted(text)),
            Self::LabelFormat(formats) => {
                f.write_str("| label_format ")?;
                comma_separated(f, formats, |f, format| match format {
                    LabelFormat::Rename { to, from } => write!(f, "{to}={from}"),
                    LabelFormat::Template { to, template } => {
                        write!(f, "{to}={}", Quoted(template))
                    }
                })
            }
            Self::Drop(picks) => {
                f.write_str("| drop ")?;
                comma_separated(f, picks, write_pick)
            }
            Self::Keep(picks) => {
                f.write_str("| keep ")?;
                comma_separated(f, picks, write_pick)
            }
            Self::Decolorize => f.write_str("| decolorize"),
        }
    }
}

impl Display for LineFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.symbol())?;
        for (i, needle) in self.alternatives.iter().enumerate() {
            f.write_str(if i == 0 { " " } else { " or " })?;
            match needle {
                Needle::Text(text) => Quoted(text).fmt(f)?,
                Needle::Ip(text) => write!(f, "ip({})", Quoted(text))?,
            }
        }
        Ok(())
    }
}

impl Display for LabelFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(operands) => write_joined(f, operands, " and "),
            Self::Or(operands) => write_joined(f, operands, " or "),
            Self::Text(matcher) => write_matcher(f, matcher),
            Self::Typed { name, op, value } => {
                write!(f, "{name}{}", op.symbol())?;
                match value {
                    TypedValue::Number(number) => write!(f, "{number}"),
                    TypedValue::DurationNanos(nanos) => f.write_str(&format_duration(*nanos)),
                    TypedValue::Bytes(bytes) => write!(f, "{bytes}B"),
                }
            }
            Self::Ip { name, negated, pattern } => {
                let op = if *negated { "!=" } else { "=" };
                write!(f, "{name}{op}ip({})", Quoted(pattern))
            }
        }
    }
}

fn write_joined(f: &mut Formatter<'_>, operands: &[LabelFilter], joint: &str) -> fmt::Result {
    for (i, operand) in operands.iter().enumerate() {
        if i != 0 {
            f.write_str(joint)?;
        }
        match operand {
            LabelFilter::And(_) | LabelFilter::Or(_) => write!(f, "({operand})")?,
            _ => operand.fmt(f)?,
        }
    }
    Ok(())
}

impl Display for Metric {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Vector(vector) => vector.fmt(f),
            Self::Binary(binary) => binary.fmt(f),
            Self::LabelReplace(replace) => replace.fmt(f),
            Self::Constant(value) => write!(f, "vector({value})"),
            Self::Literal(value) => write!(f, "{value}"),
        }
    }
}

impl Display for RangeAggregation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.op.name())?;
        if let Some(parameter) = self.parameter {
            write!(f, "{parameter}, ")?;
        }
        self.log.fmt(f)?;
        if let Some(unwrap) = &self.unwrap {
            write!(f, " {unwrap}")?;
        }
        write!(f, "[{}]", format_duration(self.range_nanos))?;
        if self.offset_nanos != 0 {
            write!(f, " offset {}", format_duration(self.offset_nanos))?;
        }
        f.write_char(')')?;
        match &self.grouping {
            Some(grouping) => write!(f, " {grouping}"),
            None => Ok(()),
        }
    }
}

impl Display for Unwrap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.conversion {
            None => write!(f, "| unwrap {}", self.name)?,
            Some(conversion) => write!(f, "| unwrap {}({})", conversion.name(), self.name)?,
        }
        for filter in &self.filters {
            write!(f, " | {filter}")?;
        }
        Ok(())
    }
}

impl Display for VectorAggregation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.name())?;
        if let Some(grouping) = &self.grouping {
            write!(f, " {grouping} ")?;
        }
        f.write_char('(')?;
        if let Some(parameter) = self.parameter {
            write!(f, "{parameter}, ")?;
        }
        write!(f, "{})", self.inner)
    }
}

impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.without { "without (" } else { "by (" })?;
        comma_separated(f, &self.names, |f, name| f.write_str(name))?;
        f.write_char(')')
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_operand(f, &self.left)?;
        write!(f, " {}", self.op.symbol())?;
        if self.returns_bool {
            f.write_str(" bool")?;
        }
        if let Some(matching) = &self.matching {
            write!(f, " {matching}")?;
        }
        f.write_char(' ')?;
        write_operand(f, &self.right)
    }
}

fn write_operand(f: &mut Formatter<'_>, operand: &Metric) -> fmt::Result {
    match operand {
        Metric::Binary(_) => write!(f, "({operand})"),
        other => other.fmt(f),
    }
}

impl Display for VectorMatching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.on { "on (" } else { "ignoring (" })?;
        comma_separated(f, &self.names, |f, name| f.write_str(name))?;
        f.write_char(')')?;
        let Some(group) = &self.group else {
            return Ok(());
        };
        f.write_str(if group.left { " group_left (" } else { " group_right (" })?;
        comma_separated(f, &group.include, |f, name| f.write_str(name))?;
        f.write_char(')')
    }
}

impl Display for LabelReplace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "label_replace({}", self.inner)?;
        for argument in [&self.destination, &self.replacement, &self.source, &self.pattern] {
            write!(f, ", {}", Quoted(argument))?;
        }
        f.write_char(')')
    }
}

/// Text as a double-quoted string with the escapes the lexer reads.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

fn write_matcher(f: &mut Formatter<'_>, matcher: &Matcher) -> fmt::Result {
    write!(f, "{}{}{}", matcher.name(), matcher.op(), Quoted(matcher.value()))
}

fn write_pick(f: &mut Formatter<'_>, pick: &LabelPick) -> fmt::Result {
    match pick {
        LabelPick::Name(name) => f.write_str(name),
        LabelPick::Matching(matcher) => write_matcher(f, matcher),
    }
}

fn write_extractions(f: &mut Formatter<'_>, fields: &[Extraction]) -> fmt::Result {
    if !fields.is_empty() {
        f.write_char(' ')?;
    }
    comma_separated(f, fields, |f, field| write!(f, "{}={}", field.name, Quoted(&field.expression)))
}

fn comma_separated<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    mut write: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i != 0 {
            f.write_str(", ")?;
        }
        write(f, item)?;
    }
    Ok(())
}

impl LineOp {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Contains => "|=",
            Self::NotContains => "!=",
            Self::Regex => "|~",
            Self::NotRegex => "!~",
            Self::Pattern => "|>",
            Self::NotPattern => "!>",
        }
    }
}

impl Comparison {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Lt => "<",
            Self::Le => "<=",
        }
    }
}

impl Conversion {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::DurationSeconds => "duration_seconds",
        }
    }
}

impl RangeOp {
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::RateCounter => "rate_counter",
            Self::CountOverTime => "count_over_time",
            Self::BytesRate => "bytes_rate",
            Self::BytesOverTime => "bytes_over_time",
            Self::SumOverTime => "sum_over_time",
            Self::AvgOverTime => "avg_over_time",
            Self::MaxOverTime => "max_over_time",
            Self::MinOverTime => "min_over_time",
            Self::FirstOverTime => "first_over_time",
            Self::LastOverTime => "last_over_time",
            Self::StdvarOverTime => "stdvar_over_time",
            Self::StddevOverTime => "stddev_over_time",
            Self::QuantileOverTime => "quantile_over_time",
            Self::AbsentOverTime => "absent_over_time",
        }
    }
}

impl VectorOp {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::ApproxTopk => "approx_topk",
            Self::Sort => "sort",
            Self::SortDesc => "sort_desc",
        }
    }

    /// Whether a number stands before the expression.
    pub fn takes_parameter(self) -> bool {
        matches!(self, Self::Topk | Self::Bottomk | Self::ApproxTopk)
    }
}

impl BinaryOp {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
        }
    }
}
