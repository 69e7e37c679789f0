//! The token stream as nom input, and the smallest parsers over it.
//!
//! What was expected where parsing got furthest is noted on the side, since combinators such as
//! `opt` and `alt` forget the errors they recover from. The error text is made from that note.

use std::cell::{Cell, RefCell};

use nom::error::{ErrorKind, ParseError as NomParseError};
use nom::{Err, IResult, Parser};

use super::error::ParseError;
use super::lex::{Spanned, Token};

/// How deep parentheses may nest; bounds the recursion of the parser.
pub(super) const NESTING_MAX: usize = 64;

/// Operators one query may have; bounds the depth of trees built from long chains.
pub(super) const OPERATORS_MAX: usize = 500;

/// Alternatives an error text lists; with more it lists none, like the parsers clients know.
const EXPECTED_MAX: usize = 4;

/// Rest of the tokens, and what is known about the parse so far.
#[derive(Clone, Copy)]
pub(super) struct Tokens<'a> {
    rest: &'a [Spanned],
    progress: &'a Progress,
}

pub(super) struct Progress {
    furthest: RefCell<Furthest>,
    nesting: Cell<usize>,
    operators: Cell<usize>,
}

struct Furthest {
    /// Tokens that were left there.
    left: usize,
    expected: Vec<&'static str>,
}

/// Why a parser failed: try the next alternative, or give up with a message.
#[derive(Debug)]
pub(super) enum Fault {
    Unexpected,
    Refused(ParseError),
}

pub(super) type Parsed<'a, T> = IResult<Tokens<'a>, T, Fault>;

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            furthest: RefCell::new(Furthest { left: usize::MAX, expected: Vec::new() }),
            nesting: Cell::new(0),
            operators: Cell::new(0),
        }
    }

    /// The error for a parse that failed, made from where it got furthest.
    pub(super) fn error(&self, tokens: &[Spanned]) -> ParseError {
        let furthest = self.furthest.borrow();
        let at = tokens.len().saturating_sub(furthest.left);
        let Some(spanned) = tokens.get(at) else {
            return ParseError::new("syntax error");
        };
        if let Token::Bad { message, inside_range } = &spanned.token {
            let line = if *inside_range { 0 } else { spanned.line };
            return ParseError::at(message.clone(), line, spanned.column);
        }
        let mut message = format!("syntax error: unexpected {}", spanned.token.display());
        if furthest.expected.len() <= EXPECTED_MAX {
            for (i, expected) in furthest.expected.iter().enumerate() {
                message.push_str(if i == 0 { ", expecting " } else { " or " });
                message.push_str(expected);
            }
        }
        ParseError::at(message, spanned.line, spanned.column)
    }
}

impl<'a> Tokens<'a> {
    pub(super) fn new(tokens: &'a [Spanned], progress: &'a Progress) -> Self {
        Self { rest: tokens, progress }
    }

    pub(super) fn peek(&self) -> &'a Token {
        self.rest.first().map_or(&Token::End, |spanned| &spanned.token)
    }

    /// The token after the next.
    pub(super) fn peek_second(&self) -> &'a Token {
        self.rest.get(1).map_or(&Token::End, |spanned| &spanned.token)
    }

    pub(super) fn is_at(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) if *found == symbol)
    }

    fn advanced(self) -> Self {
        Self { rest: self.rest.get(1..).unwrap_or(&[]), ..self }
    }

    /// Fails here, noting what would have been right.
    pub(super) fn fail<T>(self, expected: &[&'static str]) -> Parsed<'a, T> {
        let mut furthest = self.progress.furthest.borrow_mut();
        if self.rest.len() < furthest.left {
            furthest.left = self.rest.len();
            furthest.expected.clear();
        }
        if self.rest.len() == furthest.left {
            for name in expected {
                if !furthest.expected.contains(name) {
                    furthest.expected.push(name);
                }
            }
            furthest.expected.sort_by_key(|name| rank(name));
        }
        Err(Err::Error(Fault::Unexpected))
    }

    /// Counts an operator against [`OPERATORS_MAX`].
    pub(super) fn count_operator(self) -> Result<(), Err<Fault>> {
        let count = self.progress.operators.get() + 1;
        self.progress.operators.set(count);
        if OPERATORS_MAX < count {
            return Err(refused(format!("more than {OPERATORS_MAX} operators in one query")));
        }
        Ok(())
    }
}

/// A fault that no alternative can mend.
pub(super) fn refused(message: impl Into<String>) -> Err<Fault> {
    Err::Failure(Fault::Refused(ParseError::new(message)))
}

/// Order in which alternatives are listed: values, then closing brackets, then the rest.
fn rank(name: &str) -> (usize, String) {
    const FIRST: [&str; 11] = [
        "IDENTIFIER",
        "STRING",
        "NUMBER",
        "DURATION",
        "BYTES",
        "RANGE",
        "PARSER_FLAG",
        "{",
        "}",
        ")",
        ",",
    ];
    let at = FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    (at, name.to_owned())
}

impl<'a> NomParseError<Tokens<'a>> for Fault {
    fn from_error_kind(_: Tokens<'a>, _: ErrorKind) -> Self {
        Self::Unexpected
    }

    fn append(_: Tokens<'a>, _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// The given operator, bracket, keyword or function.
pub(super) fn symbol<'a>(
    expected: &'static str,
) -> impl Parser<Tokens<'a>, Output = (), Error = Fault> {
    move |input: Tokens<'a>| {
        if input.is_at(expected) {
            return Ok((input.advanced(), ()));
        }
        input.fail(&[expected])
    }
}

/// One of several symbols, as the value it stands for.
pub(super) fn one_of<'a, T: Copy>(
    table: &'static [(&'static str, T)],
) -> impl Parser<Tokens<'a>, Output = T, Error = Fault> {
    move |input: Tokens<'a>| {
        if let Token::Symbol(found) = input.peek()
            && let Some((_, value)) = table.iter().find(|(name, _)| name == found)
        {
            return Ok((input.advanced(), *value));
        }
        let names: Vec<&'static str> = table.iter().map(|(name, _)| *name).collect();
        input.fail(&names)
    }
}

pub(super) fn identifier(input: Tokens<'_>) -> Parsed<'_, String> {
    match input.peek() {
        Token::Identifier(name) => Ok((input.advanced(), name.clone())),
        _ => input.fail(&["IDENTIFIER"]),
    }
}

pub(super) fn text(input: Tokens<'_>) -> Parsed<'_, String> {
    match input.peek() {
        Token::Text(text) => Ok((input.advanced(), text.clone())),
        _ => input.fail(&["STRING"]),
    }
}

/// A number without a sign, as written.
pub(super) fn number_text(input: Tokens<'_>) -> Parsed<'_, String> {
    match input.peek() {
        Token::Number(number) => Ok((input.advanced(), number.clone())),
        _ => input.fail(&["NUMBER"]),
    }
}

/// A number with or without a sign.
pub(super) fn number(input: Tokens<'_>) -> Parsed<'_, f64> {
    let (rest, sign) = match input.peek() {
        Token::Symbol("+") => (input.advanced(), 1.0),
        Token::Symbol("-") => (input.advanced(), -1.0),
        _ => (input, 1.0),
    };
    let (rest, written) = number_text(rest)?;
    let value: f64 = written.parse().map_err(|_not_a_float| {
        refused(format!("strconv.ParseFloat: parsing {written:?}: invalid syntax"))
    })?;
    Ok((rest, sign * value))
}

pub(super) fn duration(input: Tokens<'_>) -> Parsed<'_, i64> {
    match input.peek() {
        Token::DurationNanos(nanos) => Ok((input.advanced(), *nanos)),
        _ => input.fail(&["DURATION"]),
    }
}

pub(super) fn bytes(input: Tokens<'_>) -> Parsed<'_, u64> {
    match input.peek() {
        Token::Bytes(bytes) => Ok((input.advanced(), *bytes)),
        _ => input.fail(&["BYTES"]),
    }
}

pub(super) fn range(input: Tokens<'_>) -> Parsed<'_, i64> {
    match input.peek() {
        Token::Range(nanos) => Ok((input.advanced(), *nanos)),
        _ => input.fail(&["RANGE"]),
    }
}

pub(super) fn flag(input: Tokens<'_>) -> Parsed<'_, &'static str> {
    match input.peek() {
        Token::Flag(flag) => Ok((input.advanced(), flag)),
        _ => input.fail(&["PARSER_FLAG"]),
    }
}

pub(super) fn end(input: Tokens<'_>) -> Parsed<'_, ()> {
    match input.peek() {
        Token::End => Ok((input, ())),
        _ => input.fail(&["$end"]),
    }
}

/// `item, item, ...`, at least one.
pub(super) fn comma_list<'a, T>(
    mut item: impl FnMut(Tokens<'a>) -> Parsed<'a, T>,
) -> impl FnMut(Tokens<'a>) -> Parsed<'a, Vec<T>> {
    move |input| {
        let (mut rest, first) = item(input)?;
        let mut items = vec![first];
        while let Ok((after_comma, ())) = symbol(",").parse(rest) {
            let (after_item, next) = item(after_comma)?;
            items.push(next);
            rest = after_item;
        }
        Ok((rest, items))
    }
}

/// As many items as there are.
pub(super) fn repeated<'a, T>(
    mut item: impl FnMut(Tokens<'a>) -> Parsed<'a, T>,
) -> impl FnMut(Tokens<'a>) -> Parsed<'a, Vec<T>> {
    move |input| {
        let mut rest = input;
        let mut items = Vec::new();
        loop {
            match item(rest) {
                Ok((after, next)) => {
                    items.push(next);
                    rest = after;
                }
                Err(Err::Error(_)) => return Ok((rest, items)),
                Err(fatal) => return Err(fatal),
            }
        }
    }
}

/// `( inner )`, counted against [`NESTING_MAX`].
pub(super) fn parenthesised<'a, T>(
    mut inner: impl FnMut(Tokens<'a>) -> Parsed<'a, T>,
) -> impl FnMut(Tokens<'a>) -> Parsed<'a, T> {
    move |input| {
        let (rest, ()) = symbol("(").parse(input)?;
        let nesting = &rest.progress.nesting;
        if NESTING_MAX <= nesting.get() {
            return Err(refused(format!("more than {NESTING_MAX} nested parentheses")));
        }
        nesting.set(nesting.get() + 1);
        let inside = inner(rest);
        nesting.set(nesting.get() - 1);
        let (rest, value) = inside?;
        let (rest, ()) = symbol(")").parse(rest)?;
        Ok((rest, value))
    }
}
