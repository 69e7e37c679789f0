//! A configuration file, read strictly and explained kindly.
//!
//! A file is YAML. `${NAME}` in it is replaced by an environment variable, `${NAME:-default}` by
//! the default where the variable is not set, so that secrets need not be in the file. Sections are
//! serde structs with `deny_unknown_fields`; what serde cannot know they check in [`Validate`].
//!
//! Always holds: an error names the file, and the line, the column and the key wherever they can
//! be known; [`render_redacted`] never shows a secret.

mod outline;
mod redact;
mod secret;
mod tolerant;

use std::fmt;

use serde::de::DeserializeOwned;

pub use outline::Outline;
pub use redact::{REDACTED, render_redacted};
pub use secret::Secret;
pub use tolerant::parse_ignoring_unknown;

/// Most bytes a configuration file may have: well above any real one, small enough to read whole.
pub const CONFIG_BYTES_MAX: usize = 4 << 20;

/// What is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: String,
    /// Line and column, both counted from 1, where they are known.
    pub position: Option<(u64, u64)>,
    /// Dotted path of the key, such as `indexer.segment_bytes_max`.
    pub key: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": key `{key}`")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// A value that serde accepted and that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the key.
    pub key: String,
    /// What is wrong, quoting the value, and what to do.
    pub message: String,
}

impl Problem {
    /// Returns a problem with `key` below `prefix` (which may be empty).
    pub fn new(prefix: &str, key: &str, message: impl Into<String>) -> Self {
        Self { key: join(prefix, key), message: message.into() }
    }

    /// Gives the problem its place in a file. A defaulted key has no line.
    pub fn locate(self, file: &str, outline: &Outline) -> ConfigError {
        ConfigError {
            file: file.to_owned(),
            position: outline.position_of(&self.key),
            key: Some(self.key),
            message: self.message,
        }
    }
}

/// A section that can tell whether its values make sense.
pub trait Validate {
    /// Returns every problem, each key prefixed by `prefix`; empty when all is well.
    fn problems(&self, prefix: &str) -> Vec<Problem>;
}

/// Joins a section's prefix and a key: `("http", "listen")` gives `http.listen`.
pub fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        return key.to_owned();
    }
    format!("{prefix}.{key}")
}

/// Checks that `value` is at least `min`, else adds a problem. For the many plain bounds.
pub fn at_least<T: PartialOrd + fmt::Display>(
    problems: &mut Vec<Problem>,
    prefix: &str,
    key: &str,
    value: T,
    min: T,
) {
    if value < min {
        let message = format!("`{value}` is too small, use at least {min}");
        problems.push(Problem::new(prefix, key, message));
    }
}

/// Reads `text`, which came from `file`.
///
/// # Errors
/// When it is not YAML or does not fit `T`.
pub fn parse<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, ConfigError> {
    let too_large = ConfigError {
        file: file.to_owned(),
        position: None,
        key: None,
        message: format!("larger than {CONFIG_BYTES_MAX} bytes; is this the right file?"),
    };
    if CONFIG_BYTES_MAX < text.len() {
        return Err(too_large);
    }
    // A file of nothing but comments means every default, which is how examples start.
    let nothing =
        text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    let yaml = if nothing { "{}" } else { text };
    serde_saphyr::from_str_with_options(yaml, options())
        .map_err(|error| explain(&error, text, file))
}

/// Replaces `${NAME}` and `${NAME:-default}` in `text` by what `lookup` returns.
///
/// Lines that are comments stay as they are.
///
/// # Errors
/// When a variable is not set and has no default, or when a `${` is not closed.
pub fn expand_environment(
    text: &str,
    file: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<String, ConfigError> {
    let mut expanded = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_start().starts_with('#') {
            expanded.push_str(line);
            continue;
        }
        expand_line(line, &lookup, &mut expanded).map_err(|(column, message)| ConfigError {
            file: file.to_owned(),
            position: Some((index as u64 + 1, column as u64 + 1)),
            key: None,
            message,
        })?;
    }
    Ok(expanded)
}

fn expand_line(
    line: &str,
    lookup: &impl Fn(&str) -> Option<String>,
    expanded: &mut String,
) -> Result<(), (usize, String)> {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("${") {
        let column = line.len() - rest.len() + before.len();
        expanded.push_str(before);
        let Some((inside, behind)) = after.split_once('}') else {
            return Err((column, "`${` is not closed by `}`".to_owned()));
        };
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        match lookup(name).or_else(|| default.map(str::to_owned)) {
            Some(value) => expanded.push_str(&value),
            None => {
                let message = format!(
                    "environment variable `{name}` is not set; set it or write `${{{name}:-default}}`"
                );
                return Err((column, message));
            }
        }
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(())
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::Options {
        with_snippet: false,
        strict_booleans: true,
        ..serde_saphyr::Options::default()
    }
}

/// Turns a serde error into ours: where, which key, what to do.
fn explain(error: &serde_saphyr::Error, text: &str, file: &str) -> ConfigError {
    let outline = Outline::of(text);
    let position = error.location().map(|location| (location.line(), location.column()));
    let message = plain_message(error);
    let near = position.and_then(|(line, column)| outline.key_at(line, column));
    match unknown_field(&message) {
        Some(unknown) => {
            let key = outline.find_unknown(unknown.name, near);
            ConfigError {
                file: file.to_owned(),
                position: outline.position_of(&key).or(position),
                key: Some(key),
                message: unknown.advice(),
            }
        }
        None => {
            ConfigError { file: file.to_owned(), position, key: near.map(str::to_owned), message }
        }
    }
}

/// Returns the message without the position that serde-saphyr appends.
fn plain_message(error: &serde_saphyr::Error) -> String {
    let full = error.without_snippet().to_string();
    match full.rsplit_once(" at line ") {
        Some((message, _)) if error.location().is_some() => message.to_owned(),
        _ => full,
    }
}

struct UnknownField<'a> {
    name: &'a str,
    expected: Vec<&'a str>,
}

/// Reads ``unknown field `x`, expected one of a, b``; serde itself writes the names in backquotes.
fn unknown_field(message: &str) -> Option<UnknownField<'_>> {
    let rest = message.strip_prefix("unknown field `")?;
    let (name, rest) = rest.split_once('`')?;
    let names = rest
        .split_once("expected ")
        .map_or("", |(_, names)| names.strip_prefix("one of ").unwrap_or(names));
    let expected = names
        .split([',', ' '])
        .map(|known| known.trim_matches('`'))
        .filter(|known| !known.is_empty() && *known != "or")
        .collect();
    Some(UnknownField { name, expected })
}

impl UnknownField<'_> {
    fn advice(&self) -> String {
        let close = self
            .expected
            .iter()
            .map(|known| (distance(self.name, known), known))
            .min()
            .filter(|(distance, known)| *distance * 3 <= known.len());
        if let Some((_, known)) = close {
            return format!("unknown key, did you mean `{known}`?");
        }
        if self.expected.is_empty() {
            return "unknown key, this section has none; remove it".to_owned();
        }
        format!("unknown key, remove it or use one of: {}", self.expected.join(", "))
    }
}

/// Number of letters to insert, delete or change to make `left` into `right`.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, from) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        let mut before = row + 1;
        for ((to, diagonal), above) in right.iter().zip(&previous).zip(previous.iter().skip(1)) {
            let change = diagonal + usize::from(from != *to);
            before = change.min(above + 1).min(before + 1);
            current.push(before);
        }
        previous = current;
    }
    previous.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
