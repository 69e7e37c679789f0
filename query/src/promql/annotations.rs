//! Warnings and infos: what the caller should know about an answer.
//!
//! Each is said once, with the place of the expression it concerns. The texts are the reference's,
//! since dashboards and alerts match on them.

use super::ast::Span;
use super::error::position;
use super::number;

/// Listed at most; the rest is counted.
const LISTED_MAX: usize = 10;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Warning,
    Info,
}

/// The annotations of one query, in the order they came up, each text once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Annotations {
    entries: Vec<(Level, String, Option<Span>)>,
}

impl Annotations {
    pub(crate) fn warn(&mut self, text: impl AsRef<str>, span: Span) {
        self.add(Level::Warning, format!("PromQL warning: {}", text.as_ref()), Some(span));
    }

    pub(crate) fn info(&mut self, text: impl AsRef<str>, span: Span) {
        self.add(Level::Info, format!("PromQL info: {}", text.as_ref()), Some(span));
    }

    /// A warning that is not about an expression: missing data.
    pub(crate) fn missing(&mut self, text: String) {
        self.add(Level::Warning, text, None);
    }

    pub(crate) fn bad_quantile(&mut self, q: f64, span: Span) {
        if !(0.0..=1.0).contains(&q) {
            let text =
                format!("quantile value should be between 0 and 1, got {}", number::general(q));
            self.warn(text, span);
        }
    }

    pub(crate) fn extend(&mut self, others: Self) {
        for (level, text, span) in others.entries {
            self.add(level, text, span);
        }
    }

    fn add(&mut self, level: Level, text: String, span: Option<Span>) {
        if !self.entries.iter().any(|(_, known, _)| *known == text) {
            self.entries.push((level, text, span));
        }
    }

    /// Warnings and infos as the API lists them.
    pub(crate) fn listed(&self, query: &str) -> (Vec<String>, Vec<String>) {
        (self.level(Level::Warning, query), self.level(Level::Info, query))
    }

    fn level(&self, level: Level, query: &str) -> Vec<String> {
        let of_level = || self.entries.iter().filter(|(found, _, _)| *found == level);
        let mut listed: Vec<String> = of_level()
            .take(LISTED_MAX)
            .map(|(_, text, span)| match span {
                None => text.clone(),
                Some(span) => {
                    let (line, column) = position(query, span.start);
                    format!("{text} ({line}:{column})")
                }
            })
            .collect();
        let omitted = of_level().count() - listed.len();
        if omitted != 0 {
            let kind = if level == Level::Warning { "warning" } else { "info" };
            listed.push(format!("{omitted} more {kind} annotations omitted"));
        }
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_said_once_and_at_most_ten_are_listed() {
        let mut annotations = Annotations::default();
        let span = Span { start: 4, end: 5 };
        for number in 0..12 {
            annotations.warn(format!("w{number}"), span);
            annotations.warn("w0", span);
        }
        annotations.info("i", span);
        let (warnings, infos) = annotations.listed("a +\nb");
        assert_eq!(warnings.len(), 11);
        assert_eq!(warnings.first().map(String::as_str), Some("PromQL warning: w0 (2:1)"));
        assert_eq!(warnings.last().map(String::as_str), Some("2 more warning annotations omitted"));
        assert_eq!(infos, ["PromQL info: i (2:1)"]);
    }
}
