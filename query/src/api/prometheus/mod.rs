//! The Prometheus HTTP API, `/api/v1`, as Grafana, promtool and client libraries use it.
//!
//! Always holds: an answer is an envelope of the reference's form, an error carries the
//! reference's `errorType` and status, and what is missing from an answer is said in a warning.
//! Unknown parameters are ignored, since proxies add their own.
//!
//! Bounded by the form size below, and by the engine's and admission's limits.

mod encode;
mod envelope;
mod form;
mod params;
mod query;
mod series;
mod source;
mod status;
mod time;
mod tree;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get};

use crate::api::ApiState;
use crate::promql::Engine;
use envelope::{ApiError, Reply};
use form::Form;
pub use source::{Opened, Source};

/// Bytes of a form body: the longest query, and room for `match[]` sets beside it.
const FORM_BYTES_MAX: usize = 4 << 20;

/// The API over what the query role reads.
pub fn router(state: &ApiState) -> Router {
    let section = &state.section;
    let (pool, clock) = (state.scanner.cpu(), Arc::clone(&state.clock));
    let engine = Engine::new(section.promql.clone(), section.timeout(), pool, clock);
    PrometheusApi::new(engine, Arc::new(state.clone())).router()
}

/// What the handlers work with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PrometheusApi {
    engine: Engine,
    source: Arc<dyn Source>,
}

impl PrometheusApi {
    pub fn new(engine: Engine, source: Arc<dyn Source>) -> Self {
        Self { engine, source }
    }

    /// The routes, to be merged with those of other APIs on the same port.
    pub fn router(self) -> Router {
        Router::new()
            .route("/api/v1/query", both("query", query::instant))
            .route("/api/v1/query_range", both("query_range", query::range))
            .route("/api/v1/query_exemplars", both("query_exemplars", query::exemplars))
            .route("/api/v1/format_query", both("format_query", query::format))
            .route("/api/v1/parse_query", both("parse_query", query::tree))
            .route("/api/v1/series", both("series", series::series))
            .route("/api/v1/labels", both("labels", series::labels))
            .route("/api/v1/label/{name}/values", get(label_values))
            .route("/api/v1/metadata", only_get("metadata", series::metadata))
            .route("/api/v1/rules", only_get("rules", status::rules))
            .route("/api/v1/alerts", only_get("alerts", status::alerts))
            .route("/api/v1/status/buildinfo", only_get("buildinfo", status::build_info))
            .route("/-/healthy", get(status::healthy))
            .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
            .with_state(self)
    }
}

/// GET, and POST with a form body.
fn both<F, Fut>(endpoint: &'static str, handler: F) -> MethodRouter<PrometheusApi>
where
    F: Fn(PrometheusApi, Form) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, ApiError>> + Send,
{
    only_get(endpoint, handler.clone())
        .post(move |State(api), request| answer(api, request, endpoint, handler.clone()))
}

fn only_get<F, Fut>(endpoint: &'static str, handler: F) -> MethodRouter<PrometheusApi>
where
    F: Fn(PrometheusApi, Form) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, ApiError>> + Send,
{
    get(move |State(api), request| answer(api, request, endpoint, handler.clone()))
}

async fn label_values(
    State(api): State<PrometheusApi>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let handler = move |api, form| series::label_values(api, form, name.clone());
    answer(api, request, "label_values", handler).await
}

/// Reads the form, runs `handler`, wraps and counts what it gives.
async fn answer<F, Fut>(
    api: PrometheusApi,
    request: Request,
    endpoint: &'static str,
    handler: F,
) -> Response
where
    F: Fn(PrometheusApi, Form) -> Fut,
    Fut: Future<Output = Result<Reply, ApiError>>,
{
    let clock = Arc::clone(api.engine.clock());
    let started = clock.elapsed();
    let result = match Form::read(request).await {
        Ok(form) => handler(api, form).await,
        Err(error) => Err(error),
    };
    envelope::count(endpoint, &result, clock.elapsed().saturating_sub(started));
    envelope::response(result)
}
