//! Errors as plain text, with the status codes Loki's clients act on.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::super::NoTenant;
use crate::error::QueryError;
use crate::logql::ParseError;
use crate::telemetry;

/// Status of "the client went away".
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// An answer that is no success.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Tenant(#[from] NoTenant),
}

impl From<ParseError> for ApiError {
    fn from(error: ParseError) -> Self {
        Self::Query(error.into())
    }
}

impl ApiError {
    pub(super) fn status(&self) -> StatusCode {
        let error = match self {
            Self::Tenant(_) => return StatusCode::UNAUTHORIZED,
            Self::Query(error) => error,
        };
        match error {
            QueryError::Invalid(_) | QueryError::Limit(_) => StatusCode::BAD_REQUEST,
            QueryError::Busy => StatusCode::TOO_MANY_REQUESTS,
            QueryError::Deadline => StatusCode::GATEWAY_TIMEOUT,
            QueryError::Cancelled => {
                StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST)
            }
            QueryError::Unavailable(_) | QueryError::PlanUnstable { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            QueryError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) fn text(&self) -> String {
        self.to_string()
    }

    /// The bounded `outcome` label of the request counter.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Tenant(_) => "invalid",
            Self::Query(error) => error.outcome(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Query(QueryError::Limit(limit)) = &self {
            metrics::counter!(telemetry::LIMITS_HIT, "limit" => limit.name()).increment(1);
        }
        let status = self.status();
        if status.is_server_error() {
            tracing::error!(error = %self, status = status.as_u16(), "query failed");
        }
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        (status, headers, self.text()).into_response()
    }
}
