//! From an expression back to text that parses to an equal expression.

use std::fmt::{self, Display, Formatter, Write};

use record::Matcher;

use super::ast::{
    Aggregate, At, Binary, Call, Duration, Expr, Extension, Group, Grouping, Kind, Matching,
    Number, RangeSelector, Selector, Side, Subquery, Unary, When,
};
use super::number;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Number(number) => number.fmt(f),
            Kind::Text(text) => quoted(f, text),
            Kind::Selector(selector) => selector.fmt(f),
            Kind::Range(range) => range.fmt(f),
            Kind::Subquery(subquery) => subquery.fmt(f),
            Kind::Call(call) => call.fmt(f),
            Kind::Aggregate(aggregate) => aggregate.fmt(f),
            Kind::Binary(binary) => binary.fmt(f),
            Kind::Unary(unary) => unary.fmt(f),
            Kind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let milliseconds = self.value.abs() * 1000.0;
        if self.written_as_duration && milliseconds <= number::DURATION_MS_MAX as f64 {
            let sign = if self.value.is_sign_negative() { "-" } else { "" };
            return write!(f, "{sign}{}", number::duration(milliseconds.round() as u64));
        }
        f.write_str(&number::sample(self.value))
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.series(f)?;
        self.modifiers(f)
    }
}

impl Selector {
    fn series(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plain_name = self.name.as_deref().filter(|name| is_plain_metric(name));
        if let Some(name) = plain_name {
            f.write_str(name)?;
            if self.matchers.is_empty() {
                return Ok(());
            }
        }
        f.write_char('{')?;
        let mut comma = "";
        if let (Some(name), None) = (&self.name, plain_name) {
            quoted(f, name)?;
            comma = ",";
        }
        for matcher in &self.matchers {
            f.write_str(comma)?;
            matcher_text(f, matcher)?;
            comma = ",";
        }
        f.write_char('}')
    }

    fn modifiers(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.when.fmt(f)?;
        match self.extension {
            None => Ok(()),
            Some(Extension::Anchored) => f.write_str(" anchored"),
            Some(Extension::Smoothed) => f.write_str(" smoothed"),
        }
    }
}

impl Display for RangeSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.selector.series(f)?;
        write!(f, "[{}]", self.range)?;
        self.selector.modifiers(f)
    }
}

impl Display for Subquery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}:", self.expr, self.range)?;
        if let Some(step) = &self.step {
            step.fmt(f)?;
        }
        write!(f, "]{}", self.when)
    }
}

impl Display for When {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.at {
            None => {}
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            Some(At::Time(ms)) => {
                let sign = if ms < 0 { "-" } else { "" };
                let ms = ms.unsigned_abs();
                write!(f, " @ {sign}{}.{:03}", ms / 1000, ms % 1000)?;
            }
        }
        match &self.offset {
            None => Ok(()),
            Some(offset) => write!(f, " offset {offset}"),
        }
    }
}

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(number) => number.fmt(f),
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Min(a, b) => write!(f, "min_of({a}, {b})"),
            Self::Max(a, b) => write!(f, "max_of({a}, {b})"),
            Self::Negative(inner) => write!(f, "-{inner}"),
            Self::Positive(inner) => write!(f, "+{inner}"),
            Self::Binary(op, a, b) => write!(f, "{a} {} {b}", op.text()),
            Self::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.function.name)?;
        for (index, arg) in self.args.iter().enumerate() {
            write!(f, "{}{arg}", if index == 0 { "" } else { ", " })?;
        }
        f.write_char(')')
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        f.write_char('(')?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.expr)
    }
}

impl Aggregate {
    /// The operator and its grouping: what stands before the parenthesis.
    pub(super) fn head(&self, f: &mut impl Write) -> fmt::Result {
        f.write_str(self.op.name())?;
        if self.grouping == Grouping::default() {
            return Ok(());
        }
        f.write_str(if self.grouping.without { " without (" } else { " by (" })?;
        label_list(f, &self.grouping.labels)?;
        f.write_str(") ")
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.left)?;
        self.operator(f)?;
        write!(f, " {}", self.right)
    }
}

impl Binary {
    /// The operator with its modifiers.
    pub(super) fn operator(&self, f: &mut impl Write) -> fmt::Result {
        f.write_str(self.op.text())?;
        if self.returns_bool {
            f.write_str(" bool")?;
        }
        self.matching.write(f)
    }
}

impl Matching {
    fn write(&self, f: &mut impl Write) -> fmt::Result {
        if self.on || !self.labels.is_empty() || self.group.is_some() {
            f.write_str(if self.on { " on (" } else { " ignoring (" })?;
            label_list(f, &self.labels)?;
            f.write_char(')')?;
        }
        if let Some(Group { many, include }) = &self.group {
            f.write_str(match many {
                Side::Left => " group_left (",
                Side::Right => " group_right (",
            })?;
            label_list(f, include)?;
            f.write_char(')')?;
        }
        match (self.fill_left, self.fill_right) {
            (None, None) => Ok(()),
            (Some(left), Some(right)) if left == right => write!(f, " fill ({left})"),
            (left, right) => {
                left.map_or(Ok(()), |value| write!(f, " fill_left ({value})"))?;
                right.map_or(Ok(()), |value| write!(f, " fill_right ({value})"))
            }
        }
    }
}

impl Display for Unary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.negative { "-" } else { "+" }, self.expr)
    }
}

fn matcher_text(f: &mut Formatter<'_>, matcher: &Matcher) -> fmt::Result {
    label_name(f, matcher.name())?;
    write!(f, "{}", matcher.op())?;
    quoted(f, matcher.value())
}

fn label_list(f: &mut impl Write, labels: &[String]) -> fmt::Result {
    for (index, label) in labels.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        label_name(f, label)?;
    }
    Ok(())
}

fn label_name(f: &mut impl Write, name: &str) -> fmt::Result {
    if is_plain_label(name) { f.write_str(name) } else { quoted(f, name) }
}

/// Writes a double-quoted string with Go's escapes.
pub(super) fn quoted(f: &mut impl Write, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
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

/// Whether a label name needs no quotes.
pub(super) fn is_plain_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a metric name needs no quotes, wherever it stands.
fn is_plain_metric(name: &str) -> bool {
    const NOT_ALONE: [&str; 9] =
        ["bool", "on", "ignoring", "group_left", "group_right", "inf", "nan", "start", "end"];
    let reserved = NOT_ALONE.iter().any(|word| name.eq_ignore_ascii_case(word));
    is_plain_label(&name.replace(':', "_")) && !reserved
}
