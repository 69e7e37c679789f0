//! Why a query has no answer, by what the caller can do about it.

use super::ast::Span;
use super::engine::FETCH_PHASE;
use super::storage::SamplesError;

/// The text is not PromQL, or not PromQL this server accepts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: parse error: {message}")]
pub struct ParseError {
    /// Counts from 1.
    pub line: usize,
    /// Bytes from the line's start, from 1.
    pub column: usize,
    pub message: String,
    pub span: Span,
}

impl ParseError {
    pub fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        let (line, column) = position(text, span.start);
        Self { line, column, message: message.into(), span }
    }
}

/// Line and column, both from 1, of a byte offset.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    (line, before.len() - line_start + 1)
}

/// Why a query failed. Each variant is one `errorType` of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The request is wrong: it will fail again.
    #[error("{0}")]
    BadData(String),
    /// The data does not allow the evaluation.
    #[error("{0}")]
    Execution(String),
    /// A limit does not allow the evaluation; the text names it too.
    #[error("{message}")]
    Limit { name: &'static str, message: String },
    /// The deadline passed.
    #[error("query timed out in {phase}")]
    Timeout { phase: &'static str },
    /// The client is gone or the server stops.
    #[error("query was canceled in {phase}")]
    Canceled { phase: &'static str },
    /// Too many queries run or wait: try again.
    #[error("{0}")]
    Unavailable(String),
    /// Tenants are required and the request names none.
    #[error("no org id")]
    NoTenant,
    /// Samples could not be read, or an invariant is broken.
    #[error("{0}")]
    Internal(String),
}

impl From<SamplesError> for QueryError {
    fn from(error: SamplesError) -> Self {
        match error {
            SamplesError::Limit { name, message } => Self::Limit { name, message },
            SamplesError::Unreadable(message) => Self::Internal(message),
            SamplesError::Unavailable(message) => Self::Unavailable(message),
            SamplesError::Timeout => Self::Timeout { phase: FETCH_PHASE },
            SamplesError::Canceled => Self::Canceled { phase: FETCH_PHASE },
        }
    }
}

impl From<ParseError> for QueryError {
    fn from(error: ParseError) -> Self {
        Self::BadData(error.to_string())
    }
}

impl QueryError {
    /// More samples would be held than allowed.
    pub(crate) fn too_many_samples(phase: &'static str, samples_max: usize) -> Self {
        let message = format!(
            "query processing would load too many samples into memory in {phase} \
             (`samples_max` is {samples_max})"
        );
        Self::Limit { name: "samples", message }
    }

    /// One selector finds more series than allowed.
    pub(crate) fn too_many_series(series_max: usize) -> Self {
        let message = format!("selector finds more than {series_max} series (`series_max`)");
        Self::Limit { name: "series", message }
    }

    pub(crate) fn same_labelset() -> Self {
        Self::Execution("vector cannot contain metrics with the same labelset".to_owned())
    }
}
