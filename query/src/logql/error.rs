//! Why LogQL text is refused, in the wording Loki's clients know.

use std::fmt;

/// A parse error. Line and column are those of the token that could not be read, counted from 1 in
/// characters; faults inside a `[range]` carry line 0, faults of the finished tree no position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub message: String,
    pub line: u32,
    pub column: u32,
}

impl ParseError {
    /// A fault of the tree as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), line: 0, column: 0 }
    }

    pub(super) fn at(message: impl Into<String>, line: u32, column: u32) -> Self {
        Self { message: message.into(), line, column }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 && self.column == 0 {
            return write!(f, "parse error : {}", self.message);
        }
        write!(f, "parse error at line {}, col {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

impl From<ParseError> for crate::error::QueryError {
    fn from(error: ParseError) -> Self {
        Self::Invalid(error.to_string())
    }
}
