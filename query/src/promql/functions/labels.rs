//! `label_replace` and `label_join`.

use record::{Labels, re2};
use regex::Regex;

use crate::promql::error::QueryError;

/// `label_replace` with its expression compiled.
#[derive(Debug)]
pub(crate) struct Replace<'q> {
    dst: &'q str,
    replacement: &'q str,
    src: &'q str,
    pattern: Regex,
}

impl<'q> Replace<'q> {
    pub(crate) fn new(
        dst: &'q str,
        replacement: &'q str,
        src: &'q str,
        pattern: &str,
    ) -> Result<Self, QueryError> {
        let pattern = re2::anchored(pattern).map_err(|error| {
            QueryError::Execution(format!(
                "invalid regular expression in label_replace(): {pattern}: {error}"
            ))
        })?;
        if dst.is_empty() {
            return Err(invalid("destination label name in label_replace()", dst));
        }
        Ok(Self { dst, replacement, src, pattern })
    }

    /// The changed labels, or `None` where the expression does not match.
    pub(crate) fn apply(&self, labels: &Labels) -> Option<Labels> {
        let source = labels.get(self.src).unwrap_or("");
        let captures = self.pattern.captures(source)?;
        let mut value = String::new();
        captures.expand(self.replacement, &mut value);
        Some(labels.with(self.dst, &value))
    }
}

pub(crate) fn check_join(dst: &str, sources: &[&str]) -> Result<(), QueryError> {
    if dst.is_empty() {
        return Err(invalid("destination label name in label_join()", dst));
    }
    match sources.iter().find(|source| source.is_empty()) {
        Some(source) => Err(invalid("source label name in label_join()", source)),
        None => Ok(()),
    }
}

/// `labels` with `dst` set to the values of `sources`, joined.
pub(crate) fn join(labels: &Labels, dst: &str, separator: &str, sources: &[&str]) -> Labels {
    let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or("")).collect();
    labels.with(dst, &values.join(separator))
}

fn invalid(what: &str, name: &str) -> QueryError {
    QueryError::Execution(format!("invalid {what}: {name}"))
}
