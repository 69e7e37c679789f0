//! What an operator and a kubelet ask every process: alive, ready, metrics, configuration.
//!
//! - `GET /health`: 200 as long as the process answers at all.
//! - `GET /ready`: 200 `ready`, or 503 and one line for each part that is not.
//! - `GET /metrics`: Prometheus text.
//! - `GET /config`: the effective configuration, secrets redacted.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::telemetry::MetricsHandle;

/// What the admin routes show.
#[derive(Clone, Debug)]
pub struct AdminState {
    pub ready: Readiness,
    pub metrics: MetricsHandle,
    /// Effective configuration as YAML, secrets already redacted.
    pub config: Arc<str>,
}

/// Returns the routes `/health`, `/ready`, `/metrics` and `/config`.
pub fn router(state: AdminState) -> Router {
    Router::new()
        .route("/health", get(async || "ok\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/config", get(config))
        .with_state(state)
}

async fn ready(State(state): State<AdminState>) -> impl IntoResponse {
    let missing = state.ready.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let lines: Vec<String> =
        missing.into_iter().map(|(part, reason)| format!("{part}: {reason}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines.concat())
}

async fn metrics_text(State(state): State<AdminState>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], state.metrics.render())
}

async fn config(State(state): State<AdminState>) -> impl IntoResponse {
    let content_type = "text/yaml; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], state.config.to_string())
}

/// Which parts of a process are ready. Clones share the same list.
///
/// Without parts a process is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    parts: Arc<RwLock<BTreeMap<&'static str, Option<String>>>>,
}

impl Readiness {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part, not ready yet, for `reason`.
    pub fn part(&self, name: &'static str, reason: &str) -> ReadyPart {
        let part = ReadyPart { name, readiness: self.clone() };
        part.not_ready(reason);
        part
    }

    /// Returns the parts that are not ready, each with its reason.
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        self.parts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(|(name, reason)| reason.clone().map(|reason| (*name, reason)))
            .collect()
    }

    fn set(&self, name: &'static str, reason: Option<String>) {
        self.parts.write().unwrap_or_else(PoisonError::into_inner).insert(name, reason);
    }
}

/// One part's say in whether the process is ready.
#[derive(Clone, Debug)]
pub struct ReadyPart {
    name: &'static str,
    readiness: Readiness,
}

impl ReadyPart {
    pub fn ready(&self) {
        self.readiness.set(self.name, None);
    }

    pub fn not_ready(&self, reason: &str) {
        self.readiness.set(self.name, Some(reason.to_owned()));
    }
}
