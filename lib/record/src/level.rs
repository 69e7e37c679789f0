//! The `detected_level` of a log record.
//!
//! First hit wins: a stream label or attribute that names a level, the number OpenTelemetry
//! gives, then the line itself as JSON, as `key=value` pairs, and at last its first level word.
//! Spellings fold (`WRN` is `warn`); a word that a label or attribute gives and that is not
//! known stays as it is. One pass over the line per step, no allocation, no regular expression.

use std::borrow::Cow;

use crate::labels::Labels;

/// Level of a line that says nothing of the kind.
pub const UNKNOWN: &str = "unknown";

/// Names of a level in labels, attributes and JSON, in the order they are looked up.
const NAMES: [&str; 12] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "severity",
    "SEVERITY",
    "Severity",
    "SeverityText",
    "severity_text",
    "lvl",
    "LVL",
    "Lvl",
];

/// Attribute by which OpenTelemetry gives a level as a number.
const SEVERITY_NUMBER: &str = "severity_number";

/// Longest word that can be a level: `information`.
const WORD_BYTES_MAX: usize = 11;

/// Returns the level of a record from its labels, its attributes and its line.
pub fn detect<'a, N: AsRef<str>, V: AsRef<str>>(
    labels: &'a Labels,
    attributes: &'a [(N, V)],
    line: &str,
) -> Cow<'a, str> {
    let attribute = |name: &str| {
        let found = attributes.iter().find(|(known, _)| known.as_ref() == name);
        found.map(|(_, value)| value.as_ref()).filter(|value| !value.is_empty())
    };
    let named = NAMES.iter().find_map(|name| labels.get(name));
    if let Some(value) = named.or_else(|| NAMES.iter().find_map(|name| attribute(name))) {
        return fold(value.as_bytes()).map_or(Cow::Borrowed(value), Cow::Borrowed);
    }
    if let Some(level) = attribute(SEVERITY_NUMBER).and_then(from_number) {
        return Cow::Borrowed(level);
    }
    Cow::Borrowed(of_line(line))
}

/// Returns the level that a line alone tells.
pub fn of_line(line: &str) -> &'static str {
    let bytes = line.as_bytes();
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    let json = if first == Some(&b'{') { json::level(bytes) } else { None };
    json.or_else(|| from_pairs(bytes)).or_else(|| from_words(bytes)).unwrap_or(UNKNOWN)
}

/// Folds a spelling of a level, in any case.
fn fold(word: &[u8]) -> Option<&'static str> {
    if WORD_BYTES_MAX < word.len() {
        return None;
    }
    let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let any = |names: &[&str]| names.iter().any(|name| is(name));
    match word.first()?.to_ascii_lowercase() {
        b't' if any(&["trace", "trc"]) => Some("trace"),
        b'd' if any(&["debug", "dbg"]) => Some("debug"),
        b'i' if any(&["info", "inf", "information"]) => Some("info"),
        b'w' if any(&["warn", "wrn", "warning"]) => Some("warn"),
        b'e' if any(&["error", "err"]) => Some("error"),
        b'c' if is("critical") => Some("critical"),
        b'f' if is("fatal") => Some("fatal"),
        _ => None,
    }
}

fn from_number(number: &str) -> Option<&'static str> {
    match number.parse().ok()? {
        0_u8 => Some(UNKNOWN),
        1..=4 => Some("trace"),
        5..=8 => Some("debug"),
        9..=12 => Some("info"),
        13..=16 => Some("warn"),
        17..=20 => Some("error"),
        21..=24 => Some("fatal"),
        _ => None,
    }
}

/// Finds the first `level=...` of a line of `key=value` pairs, whatever the key's case.
fn from_pairs(line: &[u8]) -> Option<&'static str> {
    for equals in memchr::memchr_iter(b'=', line) {
        let before = line.get(..equals)?;
        let start = before.iter().rposition(|byte| !is_key(*byte)).map_or(0, |at| at + 1);
        let key = before.get(start..)?;
        if !NAMES.iter().any(|name| key.eq_ignore_ascii_case(name.as_bytes())) {
            continue;
        }
        let value = line.get(equals + 1..)?;
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let end = value.iter().position(|byte| !is_word(*byte)).unwrap_or(value.len());
        if let Some(level) = value.get(..end).and_then(fold) {
            return Some(level);
        }
    }
    None
}

/// Finds the first whole word that is a level.
fn from_words(line: &[u8]) -> Option<&'static str> {
    let mut words = line.split(|byte| !is_word(*byte));
    words.find_map(|word| match word.len() {
        // Shorter spellings than `err` and ones like `inf` are too often something else.
        3 if !word.eq_ignore_ascii_case(b"err") => None,
        3..=8 => fold(word),
        _ => None,
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_key(byte: u8) -> bool {
    is_word(byte) || byte == b'.'
}

mod json {
    //! Just enough JSON to find a level two levels deep, without building a tree.

    use super::{NAMES, fold};

    /// Objects this deep are looked into; deeper ones are skipped.
    const DEPTH_MAX: u32 = 2;

    /// Returns the level in a line that is a JSON object; an outer field beats an inner one.
    pub(super) fn level(line: &[u8]) -> Option<&'static str> {
        let mut cursor = Cursor { rest: line, inner: None };
        let outer = cursor.object(1);
        outer.flatten().or(cursor.inner)
    }

    struct Cursor<'a> {
        rest: &'a [u8],
        /// First level found in an inner object.
        inner: Option<&'static str>,
    }

    impl<'a> Cursor<'a> {
        /// Reads an object; `None` when it is malformed, `Some(level)` when it ended or when a
        /// level was found at depth 1.
        fn object(&mut self, depth: u32) -> Option<Option<&'static str>> {
            self.expect(b'{')?;
            if self.peek()? == b'}' {
                self.expect(b'}')?;
                return Some(None);
            }
            loop {
                let key = self.string()?;
                self.expect(b':')?;
                let level = self.value(key, depth)?;
                if depth == 1 && level.is_some() {
                    return Some(level);
                }
                self.inner = self.inner.or(level);
                match self.peek()? {
                    b',' => self.expect(b',')?,
                    _ => return self.expect(b'}').map(|()| None),
                }
            }
        }

        /// Reads a value; returns the level it holds when `key` names one.
        fn value(&mut self, key: &[u8], depth: u32) -> Option<Option<&'static str>> {
            match self.peek()? {
                b'"' => {
                    let text = self.string()?;
                    let named = NAMES.iter().any(|name| name.as_bytes() == key);
                    Some(if named { fold(text) } else { None })
                }
                b'{' if depth < DEPTH_MAX => self.object(depth + 1),
                b'{' | b'[' => self.skip_nested().map(|()| None),
                _ => {
                    let end = self.rest.iter().position(|byte| b",}]".contains(byte))?;
                    self.rest = self.rest.get(end..)?;
                    Some(None)
                }
            }
        }

        /// Skips an array or object whatever its depth, in constant stack.
        fn skip_nested(&mut self) -> Option<()> {
            let mut depth = 0_u32;
            loop {
                let at = self.rest.iter().position(|byte| b"\"{}[]".contains(byte))?;
                let byte = *self.rest.get(at)?;
                self.rest = self.rest.get(at..)?;
                if byte == b'"' {
                    self.string()?;
                    continue;
                }
                self.rest = self.rest.get(1..)?;
                match byte {
                    b'{' | b'[' => depth += 1,
                    _ => depth -= 1,
                }
                if depth == 0 {
                    return Some(());
                }
            }
        }

        /// Reads a string; returns its bytes as they stand, escapes included.
        fn string(&mut self) -> Option<&'a [u8]> {
            self.expect(b'"')?;
            let text = self.rest;
            let mut at = 0;
            loop {
                at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
                if text.get(at) == Some(&b'"') {
                    self.rest = text.get(at + 1..)?;
                    return text.get(..at);
                }
                at += 2;
            }
        }

        fn expect(&mut self, wanted: u8) -> Option<()> {
            if self.peek()? != wanted {
                return None;
            }
            self.rest = self.rest.get(1..)?;
            Some(())
        }

        /// Skips white space; returns the next byte.
        fn peek(&mut self) -> Option<u8> {
            self.rest = self.rest.trim_ascii_start();
            self.rest.first().copied()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(line: &str, expected: &str) {
        assert_eq!(of_line(line), expected, "{line}");
    }

    #[test]
    fn words_count_when_whole_and_the_first_one_wins() {
        check("something ERROR happened", "error");
        check("[WARN] then error", "warn");
        check("2024 WARNING: x", "warn");
        check("no_error here, terror", "unknown");
        check("Critical failure", "critical");
        check("process died: FATAL", "fatal");
        check("err: disk", "error");
        check("inf dbg", "unknown");
        check("", "unknown");
        check("错误 error：磁盘", "error");
    }

    #[test]
    fn pairs_beat_words() {
        check("msg=\"an error\" level=info", "info");
        check("Level=\"WRN\" x=1", "warn");
        check("ts=1 lvl=dbg error=none", "debug");
        check("sublevel=info error", "info");
        check("a_level=info error", "info");
        check("log.level=trace", "trace");
        check("level=strange but warn", "warn");
        check("level=", "unknown");
    }

    #[test]
    fn json_fields_beat_everything_else_in_the_line() {
        check(r#"{"msg":"error level=warn","level":"info"}"#, "info");
        check(r#" { "log" : { "level" : "WARNING" } , "a" : [1, {"level":"x"}] } "#, "warn");
        check(r#"{"inner":{"level":"debug"},"severity":"ERR"}"#, "error");
        check(r#"{"a":{"b":{"level":"debug"}}}"#, "debug");
        check(r#"{"level":30,"msg":"an error"}"#, "error");
        check(r#"{"level":"\"info\"","x":{},"lvl":"inf"}"#, "info");
        check(r#"{"level":"info"#, "info");
        check("{", "unknown");
        check(r#"{"a":"\"#, "unknown");
    }

    #[test]
    fn labels_and_attributes_come_first_and_keep_unknown_words() {
        let none: [(&str, &str); 0] = [];
        let labels = Labels::from_pairs([("level", "Notice")]);
        assert_eq!(detect(&labels, &none, "error"), "Notice");
        let empty = Labels::default();
        assert_eq!(detect(&empty, &[("severity", "WRN")], "error"), "warn");
        assert_eq!(detect(&empty, &[("severity_number", "18")], "info"), "error");
        assert_eq!(detect(&empty, &[("severity_number", "99")], "info"), "info");
        assert_eq!(detect(&empty, &[("severity_number", "0")], "info"), UNKNOWN);
        assert_eq!(detect(&empty, &none, "info"), "info");
    }

    proptest! {
        #[test]
        fn never_panics(line in "[\\PC\\n]{0,80}", json in "[{}\\[\\]\":,\\\\a1]{0,60}") {
            let _level = of_line(&line);
            let _level = of_line(&format!("{{{json}"));
        }
    }
}
