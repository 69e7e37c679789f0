//! The envelope around every answer, and which status and `errorType` an error has.

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::promql::QueryError;
use crate::telemetry;

/// Status of "nobody waits any more", which has no standard number.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// What a handler answers.
#[derive(Debug)]
pub(super) enum Reply {
    Data(Data),
    /// There is nothing to say: status 204.
    Nothing,
}

/// The `data` of an answer, as JSON text, and what should be known about it.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) json: String,
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

impl From<String> for Reply {
    fn from(json: String) -> Self {
        Self::Data(Data { json, ..Data::default() })
    }
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A parameter that cannot be used.
    #[error("invalid parameter {name:?}: {cause}")]
    Parameter { name: &'static str, cause: String },
}

impl ApiError {
    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self::Query(QueryError::BadData(message.into()))
    }

    pub(super) fn parameter(name: &'static str, cause: impl ToString) -> Self {
        Self::Parameter { name, cause: cause.to_string() }
    }

    fn status(&self) -> (StatusCode, &'static str) {
        let client_closed =
            StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST);
        let Self::Query(error) = self else { return (StatusCode::BAD_REQUEST, "bad_data") };
        match error {
            QueryError::BadData(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            QueryError::NoTenant => (StatusCode::UNAUTHORIZED, "bad_data"),
            QueryError::Execution(_) | QueryError::Limit { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "execution")
            }
            QueryError::Timeout { .. } => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            QueryError::Canceled { .. } => (client_closed, "canceled"),
            QueryError::Unavailable(_) => (StatusCode::INTERNAL_SERVER_ERROR, "unavailable"),
            QueryError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

pub(super) fn response(result: Result<Reply, ApiError>) -> Response {
    let (status, body) = match result {
        Ok(Reply::Nothing) => return StatusCode::NO_CONTENT.into_response(),
        Ok(Reply::Data(data)) => (StatusCode::OK, success(&data)),
        Err(error) => {
            let (status, kind) = error.status();
            let text = json(&error.to_string());
            (status, format!(r#"{{"status":"error","errorType":"{kind}","error":{text}}}"#))
        }
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn success(data: &Data) -> String {
    let mut body = String::with_capacity(data.json.len() + 64);
    body.push_str(r#"{"status":"success","data":"#);
    body.push_str(&data.json);
    for (key, notes) in [("warnings", &data.warnings), ("infos", &data.infos)] {
        if !notes.is_empty() {
            body.push_str(&format!(r#","{key}":{}"#, json(notes)));
        }
    }
    body.push('}');
    body
}

/// JSON of plain data.
pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("strings, numbers and lists of them are always valid JSON")
}

/// Counts a request and its time.
pub(super) fn count(endpoint: &'static str, result: &Result<Reply, ApiError>, took: Duration) {
    let outcome = match result {
        Ok(_) => "success",
        Err(error) => error.status().1,
    };
    if let Err(ApiError::Query(QueryError::Limit { name, .. })) = result {
        metrics::counter!(telemetry::LIMITS_HIT, "limit" => *name).increment(1);
    }
    metrics::counter!(telemetry::REQUESTS, "endpoint" => endpoint, "outcome" => outcome)
        .increment(1);
    metrics::histogram!(telemetry::REQUEST_SECONDS, "endpoint" => endpoint)
        .record(took.as_secs_f64());
}
