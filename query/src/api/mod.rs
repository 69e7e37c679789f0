//! The HTTP APIs. One module each; what they share is here.

pub mod loki;
mod params;
pub mod prometheus;

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use record::TenantId;
use runtime::clock::SharedClock;
use tower_http::compression::CompressionLayer;

pub use params::Params;

use crate::admission::Admission;
use crate::config::QuerySection;
use crate::scan::{SampleReader, Scanner};

/// Header that names the tenant.
pub(crate) const TENANT_HEADER: &str = "x-scope-orgid";

/// What every handler needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiState {
    pub section: Arc<QuerySection>,
    pub admission: Admission,
    pub scanner: Scanner,
    pub samples: Arc<dyn SampleReader>,
    pub clock: SharedClock,
}

/// Why a request has no tenant; the APIs answer 401 with this text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no org id")]
pub struct NoTenant;

impl ApiState {
    /// The tenant a request asks for.
    ///
    /// # Errors
    /// When tenants are required and the header is missing or no valid name.
    pub fn tenant(&self, headers: &HeaderMap) -> Result<TenantId, NoTenant> {
        if !self.section.tenant_required {
            return Ok(TenantId::default());
        }
        let named = headers.get(TENANT_HEADER).and_then(|value| value.to_str().ok());
        named.and_then(|name| TenantId::new(name).ok()).ok_or(NoTenant)
    }
}

/// Every API of the query role, answers compressed where the client takes gzip.
pub fn router(state: ApiState) -> Router {
    Router::new()
        .merge(loki::router(state.clone()))
        .merge(prometheus::router(&state))
        .layer(CompressionLayer::new().gzip(true))
}
