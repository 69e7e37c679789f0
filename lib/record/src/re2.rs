//! RE2's dialect on the `regex` crate.
//!
//! Loki and Prometheus users write RE2 patterns. The two engines agree on nearly everything;
//! this module translates where they do not: `\d \w \s \b` are ASCII in RE2, `\Q…\E` quotes,
//! `[` and the set operators `&&`, `--`, `~~` are plain characters inside a class, `(?x)` and
//! `#` have no special meaning, and a repeat count over 1,000 is an error.

use regex::{Regex, RegexBuilder};

/// Compiled size cap in bytes, so that a hostile pattern cannot take the memory of a process.
const COMPILED_BYTES_MAX: usize = 4 << 20;
/// RE2's largest repeat count.
const REPEAT_MAX: u32 = 1000;

/// A pattern that RE2 or our size cap refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Re2Error(String);

/// A label matcher's expression: the whole value must match, and `.` matches a newline.
///
/// # Errors
/// When the pattern is not valid.
pub fn anchored(pattern: &str) -> Result<Regex, Re2Error> {
    compile(&format!("^(?s:{})$", translate(pattern)?))
}

/// A line filter's expression: found anywhere, and `.` does not match a newline.
///
/// # Errors
/// When the pattern is not valid.
pub fn unanchored(pattern: &str) -> Result<Regex, Re2Error> {
    compile(&translate(pattern)?)
}

fn compile(pattern: &str) -> Result<Regex, Re2Error> {
    RegexBuilder::new(pattern)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| Re2Error(describe(&error)))
}

fn describe(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(max) => {
            format!("regular expression is too large: over {max} bytes when compiled")
        }
        // The parser draws the pattern over several lines; the last one says what is wrong.
        other => other.to_string().lines().last().unwrap_or("not valid").trim().to_owned(),
    }
}

/// Rewrites an RE2 pattern to mean the same to the `regex` crate.
///
/// # Errors
/// When the pattern uses what RE2 does not have.
pub fn translate(pattern: &str) -> Result<String, Re2Error> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => escape(&mut chars, &mut out, Place::Outside)?,
            '[' => class(&mut chars, &mut out)?,
            '{' => repeat(&mut chars, &mut out)?,
            '(' => group(&mut chars, &mut out)?,
            c => out.push(c),
        }
    }
    Ok(out)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Outside,
    Class,
}

fn escape(chars: &mut Chars<'_>, out: &mut String, place: Place) -> Result<(), Re2Error> {
    let kind = chars.next().ok_or_else(|| Re2Error("trailing backslash".to_owned()))?;
    let ascii = match (kind, place) {
        ('d', Place::Outside) => "[0-9]",
        ('D', Place::Outside) => "[^0-9]",
        ('w', Place::Outside) => "[0-9A-Za-z_]",
        ('W', Place::Outside) => "[^0-9A-Za-z_]",
        ('s', Place::Outside) => r"[\t\n\f\r ]",
        ('S', Place::Outside) => r"[^\t\n\f\r ]",
        ('d', Place::Class) => "0-9",
        ('w', Place::Class) => "0-9A-Za-z_",
        ('s', Place::Class) => r"\t\n\f\r ",
        ('D', Place::Class) => "[^0-9]",
        ('W', Place::Class) => "[^0-9A-Za-z_]",
        ('S', Place::Class) => r"[^\t\n\f\r ]",
        ('b', Place::Outside) => r"(?-u:\b)",
        // ASCII non-boundary as a word boundary between equals: the crate refuses `(?-u:\B)`
        // because it can match inside a code point.
        ('B', Place::Outside) => return Err(Re2Error(r"`\B` is not supported".to_owned())),
        ('Q', Place::Outside) => {
            quote(chars, out);
            return Ok(());
        }
        ('C', _) => return Err(Re2Error(r"`\C` is not supported".to_owned())),
        ('0'..='7', _) => return octal(kind, chars, out),
        // The rest of the letters mean the same to both engines or are errors in both.
        (c, _) if c.is_ascii_alphanumeric() => {
            out.push('\\');
            out.push(c);
            return Ok(());
        }
        (c, _) if c.is_ascii() => {
            out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
            return Ok(());
        }
        (c, _) => return Err(Re2Error(format!(r"invalid escape sequence: `\{c}`"))),
    };
    out.push_str(ascii);
    Ok(())
}

fn quote(chars: &mut Chars<'_>, out: &mut String) {
    while let Some(c) = chars.next() {
        if c == '\\' && chars.peek() == Some(&'E') {
            chars.next();
            return;
        }
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
}

/// RE2 reads `\0`, `\012`, `\123` as octal; a single `\1` would be a backreference, an error.
fn octal(first: char, chars: &mut Chars<'_>, out: &mut String) -> Result<(), Re2Error> {
    let next_is_octal = chars.peek().is_some_and(|c| ('0'..='7').contains(c));
    if first != '0' && !next_is_octal {
        return Err(Re2Error(format!(r"invalid escape sequence: `\{first}`")));
    }
    let mut code = first.to_digit(8).unwrap_or(0);
    for _ in 0..2 {
        let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else { break };
        code = code * 8 + digit;
        chars.next();
    }
    out.push_str(&format!(r"\x{{{code:x}}}"));
    Ok(())
}

/// A bracket class. `[` and doubled operators are escaped, for they are literal in RE2.
fn class(chars: &mut Chars<'_>, out: &mut String) -> Result<(), Re2Error> {
    let unclosed = || Re2Error("missing closing ]".to_owned());
    out.push('[');
    if chars.peek() == Some(&'^') {
        out.push('^');
        chars.next();
    }
    if chars.peek() == Some(&']') {
        out.push_str(r"\]");
        chars.next();
    }
    loop {
        match chars.next().ok_or_else(unclosed)? {
            ']' => break,
            '\\' => escape(chars, out, Place::Class)?,
            '[' if chars.peek() == Some(&':') => posix(chars, out),
            c @ ('[' | '&' | '~') => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
        // Two hyphens would be the difference operator; RE2 sees a range up to `-`.
        if out.ends_with('-') && chars.peek() == Some(&'-') {
            chars.next();
            out.push_str(r"\-");
        }
    }
    out.push(']');
    Ok(())
}

/// `[:alpha:]` inside a class, copied as it is; a `[:` that opens none is two literals.
fn posix(chars: &mut Chars<'_>, out: &mut String) {
    let name: String =
        chars.clone().skip(1).take_while(|c| *c == '^' || c.is_ascii_alphabetic()).collect();
    let end: String = chars.clone().skip(1 + name.chars().count()).take(2).collect();
    if name.is_empty() || end != ":]" {
        out.push_str(r"\[");
        return;
    }
    for _ in 0..name.chars().count() + 3 {
        chars.next();
    }
    out.push_str("[:");
    out.push_str(&name);
    out.push_str(":]");
}

/// `{n}`, `{n,}`, `{n,m}` are repeats; any other `{` is a literal in RE2.
fn repeat(chars: &mut Chars<'_>, out: &mut String) -> Result<(), Re2Error> {
    let body: String = chars.clone().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
    let closed = chars.clone().nth(body.len()) == Some('}');
    let (low, high) = body.split_once(',').unwrap_or((&body, ""));
    let is_repeat = closed && !low.is_empty() && !high.contains(',');
    if !is_repeat {
        out.push_str(r"\{");
        return Ok(());
    }
    for bound in [low, high] {
        if !bound.is_empty() && bound.parse::<u32>().map_or(true, |n| REPEAT_MAX < n) {
            return Err(Re2Error(format!("invalid repeat count: `{{{body}}}`")));
        }
    }
    out.push('{');
    Ok(())
}

/// `(?flags)` and `(?flags:`: RE2 knows i, m, s, U only; `x` would change how the rest is read.
fn group(chars: &mut Chars<'_>, out: &mut String) -> Result<(), Re2Error> {
    out.push('(');
    let mut ahead = chars.clone();
    if ahead.next() != Some('?') {
        return Ok(());
    }
    for c in ahead {
        match c {
            ':' | ')' | 'P' | '<' => break,
            'i' | 'm' | 's' | 'U' | '-' => {}
            c => return Err(Re2Error(format!("invalid or unsupported Perl syntax: `(?{c}`"))),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn means_what_re2_means() {
        let cases = [
            (r"\d+", "٣", false),
            (r"\w", "é", false),
            (r"\W", "é", true),
            (r"[\W]", "é", true),
            (r"\s", "\u{b}", false),
            (r"\bb", "éb", true),
            (r"\Qa.b\E+", "a.bb", true),
            (r"\Qa.b", "axb", false),
            (r"[[]", "[", true),
            (r"[a&&b]", "&", true),
            (r"[[:digit:]x]", "7", true),
            (r"[[:x]", ":", true),
            (r"a{,2}", "a{,2}", true),
            (r"a{2}", "aa", true),
            (r"x{", "x{", true),
            (r"[]a]", "]", true),
            (r"[^]a]", "]", false),
            (r"(?i)ERROR", "error", true),
            (r"a.b", "a\nb", false),
            (r"\x41\101", "AA", true),
            (r"a#b", "a#b", true),
            (r"\#\-\:", "#-:", true),
            (r"[+--]", ",", true),
        ];
        for (pattern, text, expected) in cases {
            let regex = unanchored(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(regex.is_match(text), expected, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn refuses_what_re2_refuses() {
        for pattern in ["(", "a{1001}", "*a", r"\1", "[a", r"(?x)a", r"(?=a)", "a\\", r"\C"] {
            assert!(unanchored(pattern).is_err(), "{pattern}");
        }
        assert!(anchored("(a{1000}){1000}").is_err(), "compiled size is capped");
    }

    proptest! {
        #[test]
        fn never_panics(pattern in any::<String>()) {
            drop(unanchored(&pattern));
        }

        #[test]
        fn quoting_makes_any_text_literal(text in r"[^\\]{0,8}", around in any::<String>()) {
            let regex = unanchored(&format!(r"\Q{text}\E")).unwrap();
            let whole = format!("{around}{text}{around}");
            prop_assert!(regex.is_match(&whole));
        }
    }
}
