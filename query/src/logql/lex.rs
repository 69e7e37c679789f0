//! LogQL text to tokens.
//!
//! Never fails: text that is no token becomes [`Token::Bad`] as the last token, so that the parser
//! reports whatever comes first, the grammar's fault or the lexer's.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while, take_while1};
use nom::character::complete::{char, none_of, satisfy};
use nom::combinator::{opt, recognize};
use nom::multi::many0_count;
use nom::{IResult, Parser};

use super::duration::{parse_go_duration, parse_prometheus_duration};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Identifier(String),
    Text(String),
    /// A number as written; what it is worth is decided where it is used.
    Number(String),
    DurationNanos(i64),
    Bytes(u64),
    /// `[5m]`, in nanoseconds.
    Range(i64),
    /// `--strict` or `--keep-empty`.
    Flag(&'static str),
    /// Operators, brackets, keywords, and functions that are used as such.
    Symbol(&'static str),
    /// What could not be read, and why.
    Bad {
        message: String,
        inside_range: bool,
    },
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Spanned {
    pub(super) token: Token,
    /// Line and column of the first character, from 1.
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Token {
    /// The name under which error texts speak of the token.
    pub(super) fn display(&self) -> &'static str {
        match self {
            Self::Identifier(_) => "IDENTIFIER",
            Self::Text(_) => "STRING",
            Self::Number(_) => "NUMBER",
            Self::DurationNanos(_) => "DURATION",
            Self::Bytes(_) => "BYTES",
            Self::Range(_) => "RANGE",
            Self::Flag(_) => "PARSER_FLAG",
            Self::Symbol(symbol) => symbol,
            Self::Bad { .. } => "error",
            Self::End => "$end",
        }
    }
}

/// Longer ones first, so that `|=` is not read as `|`.
const OPERATORS: [&str; 26] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "==", "=~", ">=", "<=", "|", "=", ">", "<", "{", "}", "(",
    ")", ",", "+", "-", "*", "/", "%", "^", ".",
];

const KEYWORDS: [&str; 22] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "unwrap",
    "json",
    "logfmt",
    "regexp",
    "unpack",
    "pattern",
    "line_format",
    "label_format",
    "drop",
    "keep",
    "decolorize",
    "and",
    "or",
    "unless",
];

/// Names that are functions only where an opening parenthesis or a grouping follows.
const FUNCTIONS: [&str; 33] = [
    "rate",
    "rate_counter",
    "count_over_time",
    "bytes_rate",
    "bytes_over_time",
    "sum_over_time",
    "avg_over_time",
    "max_over_time",
    "min_over_time",
    "first_over_time",
    "last_over_time",
    "stdvar_over_time",
    "stddev_over_time",
    "quantile_over_time",
    "absent_over_time",
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "approx_topk",
    "sort",
    "sort_desc",
    "vector",
    "label_replace",
    "bytes",
    "duration",
    "duration_seconds",
    "ip",
];

const FLAGS: [&str; 2] = ["--strict", "--keep-empty"];

/// Splits `text` into tokens; the last one is [`Token::End`] or [`Token::Bad`].
pub(super) fn tokens(text: &str) -> Vec<Spanned> {
    let mut tokens = Vec::new();
    let mut place = Place { line: 1, column: 1 };
    let mut rest = text;
    loop {
        let after_blank = skip_blank(rest);
        place.advance(rest, after_blank);
        rest = after_blank;
        let (token, after) = match next_token(rest) {
            Ok((after, token)) => (token, after),
            Err(message) => (Token::Bad { message, inside_range: false }, rest),
        };
        let last = matches!(token, Token::End | Token::Bad { .. });
        tokens.push(Spanned { token, line: place.line, column: place.column });
        if last {
            return tokens;
        }
        place.advance(rest, after);
        rest = after;
    }
}

struct Place {
    line: u32,
    column: u32,
}

impl Place {
    /// Moves over what lies between `from` and its own tail `to`.
    fn advance(&mut self, from: &str, to: &str) {
        let passed = from.get(..from.len() - to.len()).unwrap_or("");
        for character in passed.chars() {
            if character == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
    }
}

/// Skips white space and comments.
fn skip_blank(text: &str) -> &str {
    let space = take_while1::<_, _, ()>(char::is_whitespace);
    let comment = recognize((char('#'), take_till(|c| c == '\n')));
    let skipped: IResult<&str, usize, ()> = many0_count(alt((space, comment))).parse(text);
    skipped.map_or(text, |(rest, _)| rest)
}

fn next_token(text: &str) -> Result<(&str, Token), String> {
    let Some(first) = text.chars().next() else {
        return Ok((text, Token::End));
    };
    match first {
        '"' | '`' => quoted(text),
        '[' => Ok(range(text)),
        c if c.is_ascii_digit() => Ok(quantity(text)),
        '.' if text.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => Ok(quantity(text)),
        '-' => Ok(after_minus(text)),
        c if c == '_' || c.is_alphabetic() => Ok(word(text)),
        _ => operator(text),
    }
}

fn operator(text: &str) -> Result<(&str, Token), String> {
    OPERATORS
        .iter()
        .find_map(|symbol| text.strip_prefix(symbol).map(|rest| (rest, Token::Symbol(symbol))))
        .ok_or_else(|| {
            let first = text.chars().next().unwrap_or('\0');
            format!("syntax error: unexpected {first}")
        })
}

/// A flag, a negative duration, or the operator.
fn after_minus(text: &str) -> (&str, Token) {
    for flag in FLAGS {
        if let Some(rest) = text.strip_prefix(flag) {
            return (rest, Token::Flag(flag));
        }
    }
    let rest = text.strip_prefix('-').unwrap_or(text);
    match quantity_run(rest) {
        Ok((after, run)) if run.starts_with(|c: char| c.is_ascii_digit()) => match nanos_of(run) {
            Some(nanos) => (after, Token::DurationNanos(-nanos)),
            None => (rest, Token::Symbol("-")),
        },
        _ => (rest, Token::Symbol("-")),
    }
}

fn word(text: &str) -> (&str, Token) {
    let run: IResult<&str, &str, ()> =
        take_while1(|c: char| c == '_' || c.is_alphanumeric()).parse(text);
    let Ok((rest, name)) = run else {
        return (text, Token::End);
    };
    let lower = name.to_lowercase();
    if let Some(keyword) = KEYWORDS.iter().find(|keyword| **keyword == lower) {
        return (rest, Token::Symbol(keyword));
    }
    if let Some(function) = FUNCTIONS.iter().find(|function| **function == lower)
        && is_call(rest)
    {
        return (rest, Token::Symbol(function));
    }
    (rest, Token::Identifier(name.to_owned()))
}

/// Whether `(`, `by (` or `without (` follows.
fn is_call(rest: &str) -> bool {
    let rest = skip_blank(rest);
    if rest.starts_with('(') {
        return true;
    }
    let lower = rest.get(..8.min(rest.len())).unwrap_or("").to_lowercase();
    ["by", "without"].into_iter().any(|keyword| {
        let grouping = (lower.starts_with(keyword)).then(|| rest.get(keyword.len()..)).flatten();
        grouping.is_some_and(|after| skip_blank(after).starts_with('('))
    })
}

/// A number with or without a unit: duration first, then bytes, then plain.
fn quantity(text: &str) -> (&str, Token) {
    if let Ok((rest, run)) = quantity_run(text) {
        if let Some(nanos) = nanos_of(run) {
            return (rest, Token::DurationNanos(nanos));
        }
        if let Some(bytes) = bytes_with_unit(run) {
            return (rest, Token::Bytes(bytes));
        }
    }
    let number: IResult<&str, &str, ()> = alt((
        recognize((char('0'), alt((char('x'), char('X'))), hex_digits)),
        recognize((mantissa, opt(exponent))),
    ))
    .parse(text);
    match number {
        Ok((rest, number)) => (rest, Token::Number(number.to_owned())),
        Err(_) => (text, Token::Bad { message: "illegal number".to_owned(), inside_range: false }),
    }
}

/// Everything that could belong to a number glued to its unit.
fn quantity_run(text: &str) -> IResult<&str, &str, ()> {
    take_while1(|c: char| c == '.' || c == '\u{b5}' || c == '\u{3bc}' || c.is_ascii_alphanumeric())
        .parse(text)
}

fn hex_digits(text: &str) -> IResult<&str, &str, ()> {
    take_while1(|c: char| c.is_ascii_hexdigit()).parse(text)
}

fn mantissa(text: &str) -> IResult<&str, &str, ()> {
    let digits = || take_while1(|c: char| c.is_ascii_digit());
    let more = take_while(|c: char| c.is_ascii_digit());
    alt((recognize((digits(), opt((char('.'), more)))), recognize((char('.'), digits()))))
        .parse(text)
}

fn exponent(text: &str) -> IResult<&str, &str, ()> {
    let sign = opt(alt((char('+'), char('-'))));
    let digits = take_while1(|c: char| c.is_ascii_digit());
    recognize((alt((char('e'), char('E'))), sign, digits)).parse(text)
}

fn nanos_of(run: &str) -> Option<i64> {
    let has_unit = run.ends_with(|c: char| c.is_ascii_alphabetic());
    if !has_unit {
        return None;
    }
    parse_prometheus_duration(run).or_else(|_| parse_go_duration(run)).ok()
}

fn bytes_with_unit(run: &str) -> Option<u64> {
    run.ends_with(|c: char| c.is_ascii_alphabetic()).then(|| parse_bytes(run).ok()).flatten()
}

/// Reads humanised bytes: `12`, `2KB` (2000), `1.5KiB` (1536), `5 M`, any case.
///
/// # Errors
/// A message for `__error_details__`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 17] = [
        ("", 1.0),
        ("b", 1.0),
        ("kib", 1024.0),
        ("mib", 1_048_576.0),
        ("gib", 1_073_741_824.0),
        ("tib", 1_099_511_627_776.0),
        ("pib", 1_125_899_906_842_624.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("tb", 1e12),
        ("pb", 1e15),
        ("k", 1e3),
        ("m", 1e6),
        ("g", 1e9),
        ("t", 1e12),
        ("p", 1e15),
    ];
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let value: f64 = number.parse().map_err(|_not_a_number| {
        format!("strconv.ParseFloat: parsing {number:?}: invalid syntax")
    })?;
    let unit = unit.trim().to_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
    let Some(factor) = factor else {
        return Err(format!("unhandled size name: {unit}"));
    };
    Ok((value * factor) as u64)
}

/// `[5m]`. The fault's column is that of the bracket and its line is 0, as clients know it.
fn range(text: &str) -> (&str, Token) {
    let inner: IResult<&str, (&str, &str), ()> = (tag("["), take_till(|c| c == ']')).parse(text);
    let bad = |message: String| (text, Token::Bad { message, inside_range: true });
    let Ok((rest, (_, inner))) = inner else {
        return bad("missing closing ']' in duration".to_owned());
    };
    let Some(rest) = rest.strip_prefix(']') else {
        return bad("missing closing ']' in duration".to_owned());
    };
    match parse_prometheus_duration(inner) {
        Ok(0) => bad("duration must be greater than 0".to_owned()),
        Ok(nanos) => (rest, Token::Range(nanos)),
        Err(message) => bad(message),
    }
}

fn quoted(text: &str) -> Result<(&str, Token), String> {
    const OPEN: &str = "literal not terminated";
    if let Some(body) = text.strip_prefix('`') {
        let (inner, rest) = body.split_once('`').ok_or(OPEN)?;
        return Ok((rest, Token::Text(inner.replace('\r', ""))));
    }
    let plain = recognize(none_of::<_, _, ()>("\"\\\n"));
    let escaped = recognize((char('\\'), satisfy(|c| c != '\n')));
    let body = recognize(many0_count(alt((plain, escaped))));
    let (rest, (_, inner)) = (char('"'), body).parse(text).map_err(|_: nom::Err<()>| OPEN)?;
    let rest = rest.strip_prefix('"').ok_or(OPEN)?;
    Ok((rest, Token::Text(unescape(inner)?)))
}

/// Resolves Go's escapes.
fn unescape(text: &str) -> Result<String, String> {
    let bad = || "invalid char escape".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match rest.next().ok_or_else(bad)? {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            '\\' => bytes.push(b'\\'),
            '"' => bytes.push(b'"'),
            'x' => bytes.push(u8::try_from(code(&mut rest, 2, 16)?).map_err(|_| bad())?),
            'u' => push_code_point(&mut bytes, code(&mut rest, 4, 16)?)?,
            'U' => push_code_point(&mut bytes, code(&mut rest, 8, 16)?)?,
            digit @ '0'..='7' => {
                let high = digit.to_digit(8).unwrap_or(0) * 64;
                let low = code(&mut rest, 2, 8)?;
                bytes.push(u8::try_from(high + low).map_err(|_| bad())?);
            }
            _ => return Err(bad()),
        }
    }
    String::from_utf8(bytes).map_err(|_| "invalid UTF-8 encoding".to_owned())
}

fn code(rest: &mut std::str::Chars<'_>, digits: usize, radix: u32) -> Result<u32, String> {
    let mut value: u32 = 0;
    for _ in 0..digits {
        let digit = rest.next().and_then(|c| c.to_digit(radix));
        let digit = digit.ok_or_else(|| "invalid char escape".to_owned())?;
        value = value.wrapping_mul(radix).wrapping_add(digit);
    }
    Ok(value)
}

fn push_code_point(bytes: &mut Vec<u8>, code: u32) -> Result<(), String> {
    let character = char::from_u32(code).ok_or_else(|| "invalid char escape".to_owned())?;
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(())
}
