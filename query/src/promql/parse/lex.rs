//! Words, symbols, strings and numbers: the smallest parts, each reading over the blanks and
//! comments before it.

use nom::Parser;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::combinator::{recognize, verify};

use super::{Failure, Parsed};
use crate::promql::ast::{AggregateOp, BinaryOp, Number};
use crate::promql::number;

/// Skips white space and `#` comments.
pub(super) fn blank(mut i: &str) -> &str {
    loop {
        i = i.trim_start_matches([' ', '\t', '\n', '\r']);
        let Some(comment) = i.strip_prefix('#') else { return i };
        i = comment.split_once('\n').map_or("", |(_, rest)| rest);
    }
}

pub(super) fn symbol<'a>(text: &'static str) -> impl FnMut(&'a str) -> Parsed<'a, &'a str> {
    move |i| tag(text).parse(blank(i))
}

/// A name with colons allowed, as metrics have.
pub(super) fn word(i: &str) -> Parsed<'_, &str> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    recognize((
        verify(take_while1(first), |s: &str| !s.is_empty()),
        take_while(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':'),
    ))
    .parse(blank(i))
}

/// A name without colons, as labels have.
pub(super) fn label(i: &str) -> Parsed<'_, &str> {
    verify(word, |text: &str| !text.contains(':')).parse(i)
}

/// `text` as a whole word, in any case.
pub(super) fn keyword<'a>(text: &'static str) -> impl FnMut(&'a str) -> Parsed<'a, &'a str> {
    move |i| verify(word, |found: &str| found.eq_ignore_ascii_case(text)).parse(i)
}

/// Whether the next part is `text`, a symbol.
pub(super) fn sees(i: &str, text: &str) -> bool {
    blank(i).starts_with(text)
}

/// A number or a duration.
pub(super) fn number(i: &str) -> Parsed<'_, Number> {
    let start = blank(i);
    let (rest, text) = numeral(start)?;
    if let Some(ms) = number::parse_duration(text) {
        return Ok((rest, Number { value: ms as f64 / 1000.0, written_as_duration: true }));
    }
    match number::parse(text) {
        Some(value) => Ok((rest, Number { value, written_as_duration: false })),
        None => Err(Failure::at(start, format!("bad number or duration syntax: {text:?}")).fatal()),
    }
}

/// The longest text that could be a number: digits, letters, dots, and a sign in an exponent.
fn numeral(i: &str) -> Parsed<'_, &str> {
    let mut bytes = i.bytes().enumerate().peekable();
    let after_dot = i.strip_prefix('.').unwrap_or(i);
    let infinite = |text: &str| ["inf", "nan"].iter().any(|name| text.eq_ignore_ascii_case(name));
    if !after_dot.starts_with(|c: char| c.is_ascii_digit()) {
        return verify(word, infinite).parse(i);
    }
    let hexadecimal = i.starts_with("0x") || i.starts_with("0X");
    let mut end = 0;
    let mut previous = b' ';
    while let Some((at, byte)) = bytes.next() {
        let exponent = matches!(previous, b'p' | b'P') && hexadecimal
            || matches!(previous, b'e' | b'E') && !hexadecimal;
        let digit_next = bytes.peek().is_some_and(|(_, next)| next.is_ascii_digit());
        let sign = matches!(byte, b'+' | b'-') && exponent && digit_next;
        if !(byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_' || sign) {
            break;
        }
        previous = byte;
        end = at + 1;
    }
    match i.split_at_checked(end) {
        Some((text, rest)) => Ok((rest, text)),
        None => Err(Failure::at(i, "").recoverable()),
    }
}

/// A quoted string: '…' and "…" with Go's escapes, `…` raw.
pub(super) fn string(i: &str) -> Parsed<'_, String> {
    let start = blank(i);
    let quote = match start.chars().next() {
        Some(quote @ ('"' | '\'' | '`')) => quote,
        _ => return Err(Failure::at(start, "").recoverable()),
    };
    let fail = |message: &str| Failure::at(start, message.to_owned()).fatal();
    let body = start.strip_prefix(quote).unwrap_or(start);
    if quote == '`' {
        let (text, rest) = body.split_once('`').ok_or_else(|| fail("unterminated raw string"))?;
        return Ok((rest, text.to_owned()));
    }
    let mut bytes = Vec::new();
    let mut chars = body.chars();
    loop {
        match chars.next() {
            None | Some('\n') => return Err(fail("unterminated quoted string")),
            Some('\\') => escape(&mut chars, quote, &mut bytes).map_err(|m| fail(&m))?,
            Some(c) if c == quote => break,
            Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((chars.as_str(), text)),
        Err(_) => Err(fail("string is not valid UTF-8")),
    }
}

fn escape(chars: &mut std::str::Chars<'_>, quote: char, out: &mut Vec<u8>) -> Result<(), String> {
    let kind = chars.next().ok_or("escape sequence not terminated")?;
    let simple = match kind {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        c if c == quote => c as u8,
        'x' => {
            out.push(u8::try_from(digits(chars, 2, 16)?).unwrap_or_default());
            return Ok(());
        }
        'u' | 'U' => {
            let code = digits(chars, if kind == 'u' { 4 } else { 8 }, 16)?;
            let c =
                char::from_u32(code).ok_or("escape sequence is an invalid Unicode code point")?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(());
        }
        '0'..='7' => {
            let code = kind.to_digit(8).unwrap_or_default() * 64 + digits(chars, 2, 8)?;
            out.push(u8::try_from(code).map_err(|_| "octal escape value over 255")?);
            return Ok(());
        }
        _ => return Err(format!("unknown escape sequence '\\{kind}'")),
    };
    out.push(simple);
    Ok(())
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32) -> Result<u32, String> {
    let mut value: u32 = 0;
    for _ in 0..count {
        let digit = chars.next().and_then(|c| c.to_digit(radix));
        let digit = digit.ok_or("illegal character in escape sequence")?;
        value = value.wrapping_mul(radix).wrapping_add(digit);
    }
    Ok(value)
}

/// The next operator and what follows it, if an operator is next.
pub(super) fn operator(i: &str) -> Option<(&str, BinaryOp)> {
    let start = blank(i);
    for (text, op) in BinaryOp::SYMBOLS {
        if let Some(rest) = start.strip_prefix(text) {
            return Some((rest, op));
        }
    }
    let (rest, found) = word(start).ok()?;
    let (_, op) = BinaryOp::WORDS.iter().find(|(text, _)| found.eq_ignore_ascii_case(text))?;
    Some((rest, *op))
}

/// The aggregation operator of this name, in any case.
pub(super) fn aggregate_op(text: &str) -> Option<AggregateOp> {
    AggregateOp::ALL.into_iter().find(|op| op.name().eq_ignore_ascii_case(text))
}

/// The next part in words, for "unexpected …".
pub(super) fn describe(i: &str) -> String {
    let start = blank(i);
    let Some(first) = start.chars().next() else { return "end of input".to_owned() };
    if let Ok((_, text)) = numeral(start) {
        return format!("number {text:?}");
    }
    if let Ok((rest, text)) = word(start) {
        let operator = BinaryOp::WORDS.iter().any(|(op, _)| text.eq_ignore_ascii_case(op));
        return match aggregate_op(text) {
            _ if operator => format!("<op:{}>", text.to_ascii_lowercase()),
            Some(op) if sees(rest, "(") => format!("<aggr:{}>", op.name()),
            _ if KEYWORDS.iter().any(|k| text.eq_ignore_ascii_case(k)) => {
                format!("<{}>", text.to_ascii_lowercase())
            }
            _ => format!("identifier {text:?}"),
        };
    }
    if let Ok((_, text)) = string(start) {
        return format!("string {text:?}");
    }
    match operator(start) {
        Some((_, op)) => format!("<op:{}>", op.text()),
        None if "(){}[],:=@\"'`".contains(first) => format!("{:?}", first.to_string()),
        None => format!("character: {first:?}"),
    }
}

const KEYWORDS: [&str; 8] =
    ["by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"];

/// Words that are no metric names unless quoted.
pub(super) fn is_reserved(text: &str) -> bool {
    ["bool", "on", "ignoring", "group_left", "group_right"]
        .iter()
        .any(|reserved| text.eq_ignore_ascii_case(reserved))
}
