//! Queries: range, instant, and the two that need no data.

use std::future::Future;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::super::{ApiState, Params};
use super::error::ApiError;
use super::{
    LOKI_VERSION, bad, direction, encode, interval, limit, step, time, time_range,
    wants_categories, wants_partial_series, within_limits,
};
use crate::admission::{Admitted, Stats};
use crate::exec::{self, InstantQuery, LogData, MetricData, QueryData, RangeQuery};
use crate::logql::ast::Query;
use crate::logql::parse;
use crate::telemetry;

/// What a handler gets of a request.
pub(super) struct Request {
    pub(super) state: ApiState,
    pub(super) headers: HeaderMap,
    pub(super) params: Params,
    pub(super) now_ns: i64,
}

impl Request {
    /// The query text; without one the parser says what is missing.
    pub(super) fn query_text(&self) -> &str {
        self.params.get("query").unwrap_or("")
    }

    pub(super) async fn admitted(&self) -> Result<Admitted, ApiError> {
        let tenant = self.state.tenant(&self.headers)?;
        Ok(self.state.admission.admit(tenant, None).await?)
    }
}

/// Reads the request, runs `handler` and counts how it ended.
pub(super) async fn answer<F>(
    endpoint: &'static str,
    state: ApiState,
    (uri, headers, body): (Uri, HeaderMap, Bytes),
    handler: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Result<Response, ApiError>>,
{
    let clock = Arc::clone(&state.clock);
    let started = clock.elapsed();
    let now_ns = clock.unix_nanos();
    let handled = match Params::read(&uri, &headers, &body) {
        Ok(params) => handler(Request { state, headers, params, now_ns }).await,
        Err(why) => Err(bad(why)),
    };
    let outcome = handled.as_ref().map_or_else(ApiError::outcome, |_| "answered");
    let seconds = clock.elapsed().saturating_sub(started).as_secs_f64();
    metrics::counter!(telemetry::REQUESTS, "endpoint" => endpoint, "outcome" => outcome)
        .increment(1);
    metrics::histogram!(telemetry::REQUEST_SECONDS, "endpoint" => endpoint).record(seconds);
    handled.unwrap_or_else(IntoResponse::into_response)
}

pub(super) async fn query_range(
    State(state): State<ApiState>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer("loki_query_range", state, (uri, headers, body), |request| async move {
        let range = time_range(&request.params, request.now_ns)?;
        let step_ns = step(&request.params, range)?;
        let interval_ns = interval(&request.params)?;
        let limit = limit(&request.params)?;
        let direction = direction(&request.params)?;
        let query = parse(request.query_text())?;
        let admitted = request.admitted().await?;
        let limits = &request.state.section.limits;
        let data = match within_limits(range, limits, request.now_ns)? {
            None => nothing(&query),
            Some(range) => {
                let query = RangeQuery {
                    query,
                    start_ns: range.start_ns,
                    end_ns: range.end_ns,
                    step_ns,
                    interval_ns,
                    limit,
                    direction,
                    partial_series: wants_partial_series(&request.headers),
                };
                exec::range(&request.state.scanner, &query, &admitted).await?
            }
        };
        Ok(respond(&request, &data, &admitted))
    })
    .await
}

pub(super) async fn query(
    State(state): State<ApiState>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer("loki_query", state, (uri, headers, body), |request| async move {
        let time_ns = match request.params.get("time") {
            None => request.now_ns,
            Some(text) => time::parse_time(text)
                .map_err(|why| bad(format!("could not parse 'time' parameter: {why}")))?,
        };
        limit(&request.params)?;
        direction(&request.params)?;
        let query = parse(request.query_text())?;
        let partial_series = wants_partial_series(&request.headers);
        let admitted = request.admitted().await?;
        let query = InstantQuery { query, time_ns, partial_series };
        let data = exec::instant(&request.state.scanner, &query, &admitted).await?;
        Ok(respond(&request, &data, &admitted))
    })
    .await
}

/// The empty answer to a query of which the limits leave nothing.
fn nothing(query: &Query) -> QueryData {
    match query {
        Query::Log(_) => QueryData::Log(LogData { entries: Vec::new() }),
        Query::Metric(_) => QueryData::Metric(MetricData::Matrix {
            grid: exec::Grid::instant(0),
            series: Vec::new(),
        }),
    }
}

fn respond(request: &Request, data: &QueryData, admitted: &Admitted) -> Response {
    metrics::counter!(telemetry::BYTES_READ).increment(admitted.budget().bytes());
    metrics::counter!(telemetry::ROWS_READ).increment(admitted.budget().rows());
    let wishes = encode::Wishes {
        categories: wants_categories(&request.headers),
        explain: matches!(request.params.get("explain"), Some("1" | "true")),
    };
    let body = encode::query_answer(data, wishes, admitted);
    tracing::debug!(
        query = request.query_text(),
        seconds = admitted.elapsed().as_secs_f64(),
        rows = admitted.budget().rows(),
        segments = Stats::get(&admitted.stats().segments),
        "query answered"
    );
    ([(header::CONTENT_TYPE, encode::content_type(data))], body).into_response()
}

pub(super) async fn format_query(
    State(state): State<ApiState>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer("loki_format_query", state, (uri, headers, body), |request| async move {
        Ok(match parse(request.query_text()) {
            Ok(query) => {
                Json(json!({"status": "success", "data": query.to_string()})).into_response()
            }
            Err(error) => {
                let body = Json(json!({"status": "invalid-query", "error": error.to_string()}));
                (StatusCode::BAD_REQUEST, body).into_response()
            }
        })
    })
    .await
}

pub(super) async fn buildinfo() -> Response {
    Json(json!({
        "version": LOKI_VERSION,
        "revision": concat!("millrace-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
    .into_response()
}
