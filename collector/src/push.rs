//! Loki's push endpoint: `POST /loki/api/v1/push`, answered only once the queue has acknowledged.
//!
//! Format, limits and answers: `specs/loki-api.md` section 8. What always holds:
//! - 204 means every row of the request is durable; 400 that each rejected entry is named and
//!   every other one is durable; 429, 503 and 413 that nothing was stored;
//! - memory: at most `requests_max` requests at once, each at most `body_bytes_max` received and
//!   `decoded_bytes_max` after decompression, whose declared size is checked before it is trusted,
//!   and the rows of at most `streams_max` streams and `entries_max` entries;
//! - a line that is not UTF-8 is stored with U+FFFD in the place of what is not, and counted.
//!
//! Pushed rows carry no source: a client that pushes twice stores twice.

mod body;
mod intake;
mod json;
mod limits;
mod proto;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use metrics::counter;
use record::TenantId;
use runtime::clock::SharedClock;
use tokio::sync::Semaphore;

use crate::blocking::blocking;
use crate::ship::{ShipError, Shipper};
use crate::telemetry;
use intake::{Collected, Intake};

pub use limits::PushSection;

/// Tenant header of Loki and Mimir.
const TENANT_HEADER: &str = "x-scope-orgid";

/// Why a request was refused: the answer's status and text, the `reason` of its counter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    /// Cannot be read; sending it again will not help.
    #[error("{0}")]
    Malformed(String),
    /// Some entries were refused, the others are stored.
    #[error("{0}")]
    Rejected(String),
    /// Over the size limit.
    #[error("{0}")]
    TooLarge(String),
    /// Too many requests at once.
    #[error("too many push requests at once, the limit `collector.push.requests_max` is {0}")]
    Busy(usize),
    /// The queue did not take it.
    #[error("{0}")]
    Queue(#[from] ShipError),
}

#[derive(Debug)]
struct Push {
    section: PushSection,
    shipper: Shipper,
    clock: SharedClock,
    running: Arc<Semaphore>,
}

/// The push endpoint.
pub fn router(section: &PushSection, shipper: Shipper, clock: SharedClock) -> Router {
    let running = Arc::new(Semaphore::new(section.requests_max));
    let state = Arc::new(Push { section: section.clone(), shipper, clock, running });
    Router::new().route("/loki/api/v1/push", post(handle)).with_state(state)
}

async fn handle(State(push): State<Arc<Push>>, headers: HeaderMap, body: Body) -> Response {
    match push.accept(&headers, body).await {
        Ok(()) => {
            counter!(telemetry::PUSH_REQUESTS, "result" => "stored").increment(1);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &PushError) -> Response {
    let (status, result) = match error {
        PushError::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
        PushError::Rejected(_) => (StatusCode::BAD_REQUEST, "rejected"),
        PushError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        PushError::Busy(_) => (StatusCode::TOO_MANY_REQUESTS, "busy"),
        PushError::Queue(ShipError::Closed) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        PushError::Queue(ShipError::Refused { .. }) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "refused")
        }
    };
    counter!(telemetry::PUSH_REQUESTS, "result" => result).increment(1);
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let mut response = (status, text, error.to_string()).into_response();
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}

impl Push {
    async fn accept(&self, headers: &HeaderMap, body: Body) -> Result<(), PushError> {
        let busy = |_| PushError::Busy(self.section.requests_max);
        let permit = Arc::clone(&self.running).try_acquire_owned().map_err(busy)?;
        let tenant = tenant(headers)?;
        let encoding = body::Encoding::of(headers)?;
        let received = body::read(body, self.section.body_bytes_max).await?;
        let (section, now_ns) = (self.section.clone(), self.clock.unix_nanos());
        // The permit goes along: a client that leaves does not stop the work.
        let (collected, _permit) = blocking(move || {
            let mut intake = Intake::new(&section, now_ns);
            let decoded = encoding.decode(&received, section.decoded_bytes_max, &mut intake);
            (decoded.map(|()| intake.finish()), permit)
        })
        .await;
        let Collected { batch, rejected } = collected?;
        counter!(telemetry::PUSH_RECORDS).increment(batch.len() as u64);
        if !batch.is_empty() {
            self.shipper.logs(&tenant, batch).await?.await?;
        }
        rejected.map_or(Ok(()), |text| Err(PushError::Rejected(text)))
    }
}

fn tenant(headers: &HeaderMap) -> Result<TenantId, PushError> {
    let Some(value) = headers.get(TENANT_HEADER) else { return Ok(TenantId::default()) };
    let text = value.to_str().unwrap_or("");
    TenantId::new(text).map_err(|error| PushError::Malformed(format!("X-Scope-OrgID: {error}")))
}

#[cfg(test)]
mod tests;
