//! Line filters: their LogQL text, and the test they stand for by the plainest means there are.

use anyhow::{Context, bail};
use fastrand::Rng;

use super::SomeLines;

/// One line filter: its LogQL text and the test it stands for.
#[derive(Debug)]
pub struct Filter {
    /// As in `|= "text"`.
    pub logql: String,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Contains(String),
    NotContains(String),
    AnyOf(Vec<String>),
    Regex(regex::Regex),
    NotRegex(regex::Regex),
}

impl Filter {
    /// Whether the line passes, by the plainest means there are.
    pub fn passes(&self, line: &str) -> bool {
        match &self.test {
            Test::Contains(needle) => line.contains(needle),
            Test::NotContains(needle) => !line.contains(needle),
            Test::AnyOf(needles) => needles.iter().any(|n| line.contains(n)),
            Test::Regex(regex) => regex.is_match(line),
            Test::NotRegex(regex) => !regex.is_match(line),
        }
    }

    /// A filter made from random places of random lines: inside ids, across separators, in
    /// other case, as regular expression, negated, with alternatives.
    pub fn random(lines: &dyn SomeLines, rng: &mut Rng) -> Self {
        let needle = cut(lines, rng);
        match rng.u8(..10) {
            0..4 => Self::contains(needle),
            4 => Self::contains(swap_case(&needle)),
            5 => Self { logql: format!("!= {}", quote(&needle)), test: Test::NotContains(needle) },
            6 => {
                let needles = vec![needle, cut(lines, rng)];
                let listed: Vec<String> = needles.iter().map(|n| quote(n)).collect();
                Self { logql: format!("|= {}", listed.join(" or ")), test: Test::AnyOf(needles) }
            }
            7 => Self::regex(&loosened(&needle), "|~", Test::Regex),
            8 => {
                let pattern = format!("(?i){}", regex::escape(&swap_case(&needle)));
                Self::regex(&pattern, "|~", Test::Regex)
            }
            _ => {
                let other = cut(lines, rng);
                let pattern = format!("{}.*{}", regex::escape(&needle), regex::escape(&other));
                match rng.bool() {
                    true => Self::regex(&pattern, "!~", Test::NotRegex),
                    false => Self::regex(&pattern, "|~", Test::Regex),
                }
            }
        }
    }

    /// Reads `|= text`, `!= text`, `|~ pattern` or `!~ pattern`, the text as it is.
    ///
    /// # Errors
    /// When there is no such operator or the pattern is no regular expression.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let (operator, rest) = text.split_once(' ').context("no operator")?;
        let test = match operator {
            "|=" => Test::Contains(rest.to_owned()),
            "!=" => Test::NotContains(rest.to_owned()),
            "|~" => Test::Regex(regex::Regex::new(rest)?),
            "!~" => Test::NotRegex(regex::Regex::new(rest)?),
            other => bail!("`{other}` is no line filter"),
        };
        Ok(Self { logql: format!("{operator} {}", quote(rest)), test })
    }

    fn contains(needle: String) -> Self {
        Self { logql: format!("|= {}", quote(&needle)), test: Test::Contains(needle) }
    }

    fn regex(pattern: &str, operator: &str, test: fn(regex::Regex) -> Test) -> Self {
        let compiled = regex::Regex::new(pattern).expect("made of escaped text");
        Self { logql: format!("{operator} {}", quote(pattern)), test: test(compiled) }
    }
}

/// A substring of 1 to 24 characters; now and then a whole identifier.
fn cut(lines: &dyn SomeLines, rng: &mut Rng) -> String {
    loop {
        if rng.u8(..6) == 0 {
            let tokens = lines.any_line(rng).split(|c: char| !c.is_ascii_alphanumeric());
            let ids = tokens.filter(|token| token.bytes().any(|byte| byte.is_ascii_digit()));
            if let Some(id) = ids.max_by_key(|token| token.len()) {
                return id.to_owned();
            }
        }
        let chars: Vec<char> = lines.any_line(rng).chars().collect();
        if chars.is_empty() {
            continue;
        }
        let start = rng.usize(..chars.len());
        let length = rng.usize(1..=24).min(chars.len() - start);
        return chars[start..start + length].iter().collect();
    }
}

fn swap_case(text: &str) -> String {
    let swap = |c: char| {
        if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
    };
    text.chars().map(swap).collect()
}

/// The text as a regular expression whose digit runs match any digits.
fn loosened(text: &str) -> String {
    let mut pattern = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if !c.is_ascii_digit() {
            pattern.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
            continue;
        }
        while chars.peek().is_some_and(char::is_ascii_digit) {
            chars.next();
        }
        pattern.push_str("[0-9]+");
    }
    pattern
}

/// A LogQL string literal.
pub fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
