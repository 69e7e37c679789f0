//! Label matchers: `name="v"`, `!=`, `=~`, `!~`, as LogQL and PromQL share them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::re2;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MatchOp {
    /// `=`
    #[serde(rename = "=")]
    Eq,
    /// `!=`
    #[serde(rename = "!=")]
    Ne,
    /// `=~`, anchored at both ends.
    #[serde(rename = "=~")]
    Re,
    /// `!~`, anchored at both ends.
    #[serde(rename = "!~")]
    Nre,
}

/// A test of one label. A missing label has the value `""`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Spelled", into = "Spelled")]
pub struct Matcher {
    spelled: Spelled,
    regex: Option<regex::Regex>,
}

/// The regular expression of a matcher cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("matcher on `{name}` has a bad regular expression `{pattern}`: {source}")]
pub struct MatcherError {
    name: String,
    pattern: String,
    source: re2::Re2Error,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Spelled {
    name: String,
    op: MatchOp,
    value: String,
}

impl Matcher {
    /// Compiles a matcher.
    ///
    /// # Errors
    /// When `op` is a regular expression that RE2 would refuse too.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        Self::try_from(Spelled { name: name.into(), op, value: value.into() })
    }

    /// Which label is tested.
    pub fn name(&self) -> &str {
        &self.spelled.name
    }

    /// How it is compared.
    pub fn op(&self) -> MatchOp {
        self.spelled.op
    }

    /// The value or regular expression compared with.
    pub fn value(&self) -> &str {
        &self.spelled.value
    }

    /// Whether a label with this value passes.
    pub fn matches(&self, value: &str) -> bool {
        let regex = || self.regex.as_ref().is_some_and(|r| r.is_match(value));
        match self.spelled.op {
            MatchOp::Eq => self.spelled.value == value,
            MatchOp::Ne => self.spelled.value != value,
            MatchOp::Re => regex(),
            MatchOp::Nre => !regex(),
        }
    }

    /// Whether this label set passes.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.spelled.name).unwrap_or(""))
    }

    /// Whether a set without the label passes.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

impl TryFrom<Spelled> for Matcher {
    type Error = MatcherError;

    fn try_from(spelled: Spelled) -> Result<Self, MatcherError> {
        let regex = match spelled.op {
            MatchOp::Eq | MatchOp::Ne => None,
            MatchOp::Re | MatchOp::Nre => {
                let compiled = re2::anchored(&spelled.value).map_err(|source| MatcherError {
                    name: spelled.name.clone(),
                    pattern: spelled.value.clone(),
                    source,
                })?;
                Some(compiled)
            }
        };
        Ok(Self { spelled, regex })
    }
}

impl From<Matcher> for Spelled {
    fn from(matcher: Matcher) -> Self {
        matcher.spelled
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.spelled == other.spelled
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.spelled.name, self.spelled.op, self.spelled.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Re => "=~",
            Self::Nre => "!~",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    fn passes(op: MatchOp, value: &str, label: &str) -> bool {
        Matcher::new("a", op, value).unwrap().matches(label)
    }

    #[test]
    fn compares_whole_values_and_treats_a_missing_label_as_empty() {
        assert!(passes(MatchOp::Re, "a.c", "a\nc"), "`.` matches a newline");
        assert!(!passes(MatchOp::Re, "b", "abc"), "anchored at both ends");
        assert!(!passes(MatchOp::Re, "a|b", "ab"), "alternatives are anchored as a whole");
        assert!(passes(MatchOp::Nre, "b+", ""));
        let missing = Matcher::new("x", MatchOp::Eq, "").unwrap();
        assert!(missing.matches_labels(&Labels::from_pairs([("a", "b")])));
        assert!(missing.matches_empty());
    }

    #[test]
    fn serde_keeps_the_spelling_and_refuses_a_bad_expression() {
        let matcher = Matcher::new("a", MatchOp::Re, "x.*").unwrap();
        let json = serde_json::to_string(&matcher).unwrap();
        assert_eq!(json, r#"{"name":"a","op":"=~","value":"x.*"}"#);
        assert_eq!(serde_json::from_str::<Matcher>(&json).unwrap(), matcher);
        assert!(serde_json::from_str::<Matcher>(r#"{"name":"a","op":"=~","value":"("}"#).is_err());
    }
}
