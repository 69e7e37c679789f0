//! The parser: nom combinators over the query text, one file per area of the grammar.
//!
//! Always holds: any text gives an expression or an error with a position, in time linear in its
//! length; nesting is bounded by [`NESTING_MAX`] and the number of parts by [`PARTS_MAX`], so that
//! no later pass can run out of stack.

mod call;
mod duration;
mod expr;
mod lex;
mod postfix;
mod selector;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use nom::error::{ErrorKind, ParseError as NomParseError};
use record::Matcher;

use super::ast::{Expr, Kind, Span};
use super::check;
use super::config::Features;
use super::error::ParseError;

/// Brackets and signs inside one another. Each costs several stack frames while parsing.
const NESTING_MAX: usize = 100;
/// Operands, operators and calls of one query. A chain of operators nests as deep as it is long,
/// and evaluation recurses over it: 1,000 fit a 2 MiB stack.
const PARTS_MAX: usize = 1_000;
/// Text longer than this is refused unread.
const QUERY_BYTES_MAX: usize = 1 << 20;

/// Reads and types an expression.
///
/// # Errors
/// When the text is not PromQL, or uses a feature that is not enabled.
pub fn parse(text: &str, features: &Features) -> Result<Expr, ParseError> {
    let grammar = Grammar::new(text, features)?;
    let expr = grammar.whole(|i| grammar.expr(i, 0))?;
    check::check(&expr).map_err(|(span, message)| ParseError::new(text, span, message))?;
    Ok(expr)
}

/// Reads a series selector, as `match[]` carries. It may select everything.
///
/// # Errors
/// When the text is not a plain selector.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let features = Features::default();
    let grammar = Grammar::new(text, &features)?;
    let expr = grammar.whole(|i| grammar.selector_alone(i))?;
    match expr.kind {
        Kind::Selector(selector) => Ok(selector.all_matchers()),
        _ => Err(ParseError::new(text, expr.span, "expected a series selector")),
    }
}

type Parsed<'a, T> = nom::IResult<&'a str, T, Failure>;

/// What went wrong, and how many bytes of the text were left.
#[derive(Clone, Debug)]
struct Failure {
    left: usize,
    message: String,
}

impl Failure {
    fn at(rest: &str, message: impl Into<String>) -> Self {
        Self { left: rest.len(), message: message.into() }
    }

    /// The next part does not belong here; `context` says where here is.
    fn unexpected(rest: &str, context: &str) -> Self {
        let rest = lex::blank(rest);
        Self { left: rest.len(), message: format!("unexpected {}{context}", lex::describe(rest)) }
    }

    /// Another alternative may still fit.
    fn recoverable(self) -> nom::Err<Self> {
        nom::Err::Error(self)
    }

    /// No alternative can fit.
    fn fatal(self) -> nom::Err<Self> {
        nom::Err::Failure(self)
    }
}

impl<'a> NomParseError<&'a str> for Failure {
    fn from_error_kind(input: &'a str, _: ErrorKind) -> Self {
        // Described only when it is reported: most of these are alternatives that did not fit.
        Self { left: input.len(), message: String::new() }
    }

    fn append(_: &'a str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

struct Grammar<'t> {
    text: &'t str,
    features: &'t Features,
    nesting: Cell<usize>,
    parts: Cell<usize>,
}

impl<'t> Grammar<'t> {
    fn new(text: &'t str, features: &'t Features) -> Result<Self, ParseError> {
        if QUERY_BYTES_MAX < text.len() {
            let message = format!("query is longer than {QUERY_BYTES_MAX} bytes");
            return Err(ParseError::new("", Span::default(), message));
        }
        Ok(Self { text, features, nesting: Cell::new(0), parts: Cell::new(0) })
    }

    /// Runs `part` over the whole text: nothing may follow.
    fn whole(&self, part: impl Fn(&'t str) -> Parsed<'t, Expr>) -> Result<Expr, ParseError> {
        if lex::blank(self.text).is_empty() {
            return Err(self.report(Failure::at("", "no expression found in input")));
        }
        match part(self.text) {
            Ok((rest, expr)) if lex::blank(rest).is_empty() => Ok(expr),
            Ok((rest, _)) => Err(self.report(Failure::unexpected(rest, ""))),
            Err(nom::Err::Error(failure) | nom::Err::Failure(failure)) => Err(self.report(failure)),
            Err(nom::Err::Incomplete(_)) => {
                Err(self.report(Failure::at("", "unexpected end of input")))
            }
        }
    }

    fn report(&self, failure: Failure) -> ParseError {
        let start = self.text.len().saturating_sub(failure.left);
        let message = if failure.message.is_empty() {
            Failure::unexpected(self.text.get(start..).unwrap_or(""), "").message
        } else {
            failure.message
        };
        ParseError::new(self.text, Span { start, end: start }, message)
    }

    /// The span from the part that `from` begins with up to `to`.
    fn span(&self, from: &str, to: &str) -> Span {
        let total = self.text.len();
        Span { start: total - lex::blank(from).len(), end: total - to.len() }
    }

    /// Counts one part of the query.
    fn count(&self, i: &str) -> Result<(), nom::Err<Failure>> {
        self.parts.set(self.parts.get() + 1);
        if PARTS_MAX < self.parts.get() {
            return Err(Failure::at(i, format!("query has more than {PARTS_MAX} parts")).fatal());
        }
        Ok(())
    }

    /// Runs `part` one level deeper.
    fn deeper<'a, T>(
        &self,
        i: &'a str,
        part: impl FnOnce(&'a str) -> Parsed<'a, T>,
    ) -> Parsed<'a, T> {
        if NESTING_MAX <= self.nesting.get() {
            let message = format!("query is nested deeper than {NESTING_MAX} levels");
            return Err(Failure::at(i, message).fatal());
        }
        self.nesting.set(self.nesting.get() + 1);
        let parsed = part(i);
        self.nesting.set(self.nesting.get() - 1);
        parsed
    }
}
