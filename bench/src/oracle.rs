//! The naive answer: every line that was written, filtered by looking at each.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::podlog::Output;

/// Which stream a line belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    /// Label `namespace`.
    pub namespace: String,
    /// Label `pod`.
    pub pod: String,
    /// Label `stream`.
    pub output: Output,
}

impl StreamKey {
    /// A selector that only this stream matches.
    pub fn selector(&self) -> String {
        let Self { namespace, pod, output } = self;
        format!(r#"{{namespace="{namespace}", pod="{pod}", stream="{}"}}"#, output.name())
    }
}

/// A line as it was written: its time in ns and its text.
pub type Entry = (i64, String);

/// Everything that was written, by stream, in order.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Entries in order of time, which is the order of writing.
    pub streams: BTreeMap<StreamKey, Vec<Entry>>,
}

impl Written {
    /// Number of lines.
    pub fn len(&self) -> usize {
        self.streams.values().map(Vec::len).sum()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all lines, without line ends.
    pub fn raw_bytes(&self) -> u64 {
        self.streams.values().flatten().map(|(_, line)| line.len() as u64).sum()
    }

    /// A line picked at random.
    pub fn any_line(&self, rng: &mut Rng) -> &str {
        loop {
            let at = rng.usize(..self.streams.len());
            let entries = self.streams.values().nth(at).expect("in range");
            if !entries.is_empty() {
                return &entries[rng.usize(..entries.len())].1;
            }
        }
    }
}

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
    pub fn random(written: &Written, rng: &mut Rng) -> Self {
        let needle = cut(written, rng);
        match rng.u8(..10) {
            0..4 => Self::contains(needle),
            4 => Self::contains(swap_case(&needle)),
            5 => Self { logql: format!("!= {}", quote(&needle)), test: Test::NotContains(needle) },
            6 => {
                let needles = vec![needle, cut(written, rng)];
                let listed: Vec<String> = needles.iter().map(|n| quote(n)).collect();
                Self { logql: format!("|= {}", listed.join(" or ")), test: Test::AnyOf(needles) }
            }
            7 => Self::regex(&loosened(&needle), "|~", Test::Regex),
            8 => {
                let pattern = format!("(?i){}", regex::escape(&swap_case(&needle)));
                Self::regex(&pattern, "|~", Test::Regex)
            }
            _ => {
                let other = cut(written, rng);
                let pattern = format!("{}.*{}", regex::escape(&needle), regex::escape(&other));
                match rng.bool() {
                    true => Self::regex(&pattern, "!~", Test::NotRegex),
                    false => Self::regex(&pattern, "|~", Test::Regex),
                }
            }
        }
    }

    fn contains(needle: String) -> Self {
        Self { logql: format!("|= {}", quote(&needle)), test: Test::Contains(needle) }
    }

    fn regex(pattern: &str, operator: &str, test: fn(regex::Regex) -> Test) -> Self {
        let compiled = regex::Regex::new(pattern).expect("made of escaped text");
        Self { logql: format!("{operator} {}", quote(pattern)), test: test(compiled) }
    }
}

/// A substring of 1 to 24 characters.
fn cut(written: &Written, rng: &mut Rng) -> String {
    loop {
        let chars: Vec<char> = written.any_line(rng).chars().collect();
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
