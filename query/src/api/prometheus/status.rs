//! What the server says about itself, and the parts it does not have.

use super::PrometheusApi;
use super::envelope::{ApiError, Reply, json};
use super::form::Form;

/// The Prometheus release whose API and language this one answers to. Grafana decides by it what
/// it may ask for.
const COMPATIBLE_VERSION: &str = "3.14.0";

/// No `features`: Grafana would take the server for another product by them.
pub(super) async fn build_info(_: PrometheusApi, _: Form) -> Result<Reply, ApiError> {
    let info = serde_json::json!({
        "version": COMPATIBLE_VERSION,
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "millrace",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    Ok(Reply::from(json(&info)))
}

/// There is no ruler: no groups.
pub(super) async fn rules(_: PrometheusApi, _: Form) -> Result<Reply, ApiError> {
    Ok(Reply::from(r#"{"groups":[]}"#.to_owned()))
}

pub(super) async fn alerts(_: PrometheusApi, _: Form) -> Result<Reply, ApiError> {
    Ok(Reply::from(r#"{"alerts":[]}"#.to_owned()))
}

pub(super) async fn healthy() -> &'static str {
    "Millrace is healthy.\n"
}
