//! What the indexer answers over HTTP: questions about recent rows, as [`segment::recent`] says.
//!
//! Always holds: an answer covers every pin or is refused. Rows are searched and encoded on the
//! answer pool, at most `answers_max` jobs at once; a body is encoded frame by frame as it is
//! sent, and one that cannot be finished ends without its end frame, so the asker notices.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Json, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::Stream;
use futures::stream;
use runtime::clock::SharedClock;
use runtime::cpu::{CpuError, CpuPool};
use segment::logs::plan::{CompiledPlan, LogPlan, PlanError};
use segment::recent::{
    Ask, FRAMES_CONTENT_TYPE, FrameError, LOGS_SCAN, LOGS_STREAMS, LOGS_VOLUME, MetadataPlan,
    SAMPLES_METADATA, SAMPLES_SCAN, SAMPLES_SERIES, STATS_HEADER, ScanStats, StreamPlan, end_frame,
    frame,
};
use segment::samples::SamplePlan;
use serde::Serialize;
use serde_json::json;

use crate::kind::{Logs, Samples};
use crate::open::{Held, PinError};
use crate::recent;
use crate::telemetry;

/// What questions are answered from.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    pub(crate) logs: Arc<Held<Logs>>,
    pub(crate) samples: Arc<Held<Samples>>,
    pub(crate) pool: Arc<CpuPool>,
    pub(crate) clock: SharedClock,
}

/// Routes of every question.
pub(crate) fn router(recent: Recent) -> Router {
    Router::new()
        .route(LOGS_SCAN, post(logs_scan))
        .route(LOGS_VOLUME, post(logs_volume))
        .route(LOGS_STREAMS, post(logs_streams))
        .route(SAMPLES_SCAN, post(samples_scan))
        .route(SAMPLES_SERIES, post(samples_series))
        .route(SAMPLES_METADATA, post(samples_metadata))
        .with_state(recent)
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Cpu(#[from] CpuError),
}

impl AnswerError {
    /// The status, and the `outcome` label of `millrace_indexer_recent_requests_total`.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Pin(PinError::NotOwned { .. } | PinError::Dropped { .. }) => {
                (StatusCode::CONFLICT, "plan_again")
            }
            Self::Pin(PinError::Twice { .. }) | Self::Plan(_) => {
                (StatusCode::BAD_REQUEST, "refused")
            }
            Self::Cpu(CpuError::Full { .. }) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Cpu(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        }
    }
}

async fn logs_scan(State(recent): State<Recent>, Json(ask): Json<Ask<LogPlan>>) -> Response {
    let found = async {
        let plan = Arc::new(CompiledPlan::new(&ask.plan)?);
        let pinned = recent.logs.pin(&ask.pinned)?;
        let search = Arc::clone(&plan);
        let answer = recent.run("logs_scan", move || recent::scan_logs(pinned, &search)).await?;
        Ok((answer, plan))
    };
    match found.await {
        Ok((answer, plan)) => {
            let pieces = pieces(&recent, answer.hits.into_iter(), move |hits| {
                recent::next_frame(hits, &plan).map(|batch| batch.encode())
            });
            framed("logs_scan", &answer.stats, pieces)
        }
        Err(error) => refused("logs_scan", &error),
    }
}

async fn logs_volume(State(recent): State<Recent>, Json(ask): Json<Ask<StreamPlan>>) -> Response {
    let found = async {
        let pinned = recent.logs.pin(&ask.pinned)?;
        recent.run("logs_volume", move || recent::volume(&pinned, &ask.plan)).await
    };
    json_answer("logs_volume", found.await)
}

async fn logs_streams(State(recent): State<Recent>, Json(ask): Json<Ask<StreamPlan>>) -> Response {
    let found = async {
        let pinned = recent.logs.pin(&ask.pinned)?;
        recent.run("logs_streams", move || recent::streams(&pinned, &ask.plan)).await
    };
    json_answer("logs_streams", found.await)
}

async fn samples_scan(State(recent): State<Recent>, Json(ask): Json<Ask<SamplePlan>>) -> Response {
    let found = async {
        let pinned = recent.samples.pin(&ask.pinned)?;
        recent.run("samples_scan", move || recent::scan_samples(pinned, &ask.plan)).await
    };
    match found.await {
        Ok((series, stats)) => {
            let pieces = pieces(&recent, series.into_iter(), |series| {
                recent::next_sample_frame(series).map(|batch| batch.encode())
            });
            framed("samples_scan", &stats, pieces)
        }
        Err(error) => refused("samples_scan", &error),
    }
}

async fn samples_series(
    State(recent): State<Recent>,
    Json(ask): Json<Ask<SamplePlan>>,
) -> Response {
    let found = async {
        let pinned = recent.samples.pin(&ask.pinned)?;
        recent.run("samples_series", move || recent::series(pinned, &ask.plan)).await
    };
    json_answer("samples_series", found.await)
}

async fn samples_metadata(
    State(recent): State<Recent>,
    Json(ask): Json<Ask<MetadataPlan>>,
) -> Response {
    let found = async {
        let pinned = recent.samples.pin(&ask.pinned)?;
        recent.run("samples_metadata", move || recent::metadata(pinned, &ask.plan.tenant)).await
    };
    json_answer("samples_metadata", found.await)
}

impl Recent {
    async fn run<T: Send + 'static>(
        &self,
        request: &'static str,
        search: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AnswerError> {
        let started = self.clock.elapsed();
        let found = self.pool.run(search).await?;
        let seconds = self.clock.elapsed().saturating_sub(started).as_secs_f64();
        metrics::histogram!(telemetry::ANSWER_SECONDS, "request" => request).record(seconds);
        Ok(found)
    }
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
enum PieceError {
    #[error(transparent)]
    Cpu(#[from] CpuError),
    #[error(transparent)]
    Batch(#[from] record::BatchError),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Frames of what `next` makes of `rest`, piece by piece, then the end frame.
fn pieces<R: Send + 'static>(
    recent: &Recent,
    rest: R,
    next: impl Fn(&mut R) -> Option<Result<Bytes, record::BatchError>> + Send + Sync + 'static,
) -> impl Stream<Item = Result<Bytes, PieceError>> + Send + 'static {
    let pool = Arc::clone(&recent.pool);
    let next = Arc::new(next);
    stream::try_unfold(Some(rest), move |rest| {
        let (pool, next) = (Arc::clone(&pool), Arc::clone(&next));
        async move {
            let Some(mut rest) = rest else { return Ok(None) };
            let (rest, payload) = pool
                .run(move || {
                    let payload = next(&mut rest);
                    (rest, payload)
                })
                .await?;
            match payload {
                Some(payload) => Ok(Some((frame(&payload?)?, Some(rest)))),
                None => Ok(Some((end_frame(), None))),
            }
        }
    })
}

fn framed(
    request: &'static str,
    stats: &ScanStats,
    pieces: impl Stream<Item = Result<Bytes, PieceError>> + Send + 'static,
) -> Response {
    count(request, "answered");
    let content_type = HeaderValue::from_static(FRAMES_CONTENT_TYPE);
    let headers = [(header::CONTENT_TYPE, content_type)];
    with_stats((headers, Body::from_stream(pieces)).into_response(), stats)
}

fn json_answer<T: Serialize>(
    request: &'static str,
    found: Result<(T, ScanStats), AnswerError>,
) -> Response {
    match found {
        Ok((answer, stats)) => {
            count(request, "answered");
            with_stats(Json(answer).into_response(), &stats)
        }
        Err(error) => refused(request, &error),
    }
}

fn with_stats(mut response: Response, stats: &ScanStats) -> Response {
    let text = serde_json::to_string(stats).unwrap_or_default();
    // Topic names are ASCII, so the text always is a legal header value.
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(STATS_HEADER, value);
    }
    response
}

fn refused(request: &'static str, error: &AnswerError) -> Response {
    let (status, outcome) = error.kind();
    count(request, outcome);
    (status, Json(json!({ "error": error.to_string() }))).into_response()
}

fn count(request: &'static str, outcome: &'static str) {
    metrics::counter!(telemetry::ANSWERS, "request" => request, "outcome" => outcome).increment(1);
}
