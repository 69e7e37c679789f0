//! The query role: LogQL and PromQL over what the indexers published and over what they hold.
//!
//! A request is admitted (`admission`), parsed (`logql`, `promql`), planned against a pinned
//! catalog version and read by the one scan operator (`scan`), evaluated (`exec`, `promql`), and
//! written in the form its API promises (`api`).
//!
//! What always holds:
//! - query never writes the catalog or the store;
//! - an answer holds every row it should, or says what is missing in a warning, or is an error;
//! - every query has a deadline and budgets, and names the one it ran into.
//!
//! Nothing is kept across a restart: all state here is cache.

pub mod admission;
pub mod api;
pub mod config;
pub mod error;
pub mod exec;
pub mod explain;
pub mod logql;
pub mod promql;
pub mod scan;
pub mod telemetry;

use std::sync::Arc;

use axum::Router;
use object_store::ObjectStore;
use runtime::clock::SharedClock;
use segment::catalog::Catalog;
use tokio_util::sync::CancellationToken;

pub use config::QuerySection;
pub use error::{LimitHit, QueryError};

use admission::Admission;
use api::ApiState;
use scan::Scanner;

/// What the query role stands on.
#[derive(Clone, Debug)]
pub struct Deps {
    pub catalog: Catalog,
    pub store: Arc<dyn ObjectStore>,
    pub clock: SharedClock,
}

/// The query role.
#[derive(Clone, Debug)]
pub struct Query {
    state: ApiState,
}

impl Query {
    /// # Errors
    /// When a thread of the scan pool cannot be started.
    pub fn new(section: QuerySection, deps: Deps) -> std::io::Result<Self> {
        let clock = Arc::clone(&deps.clock);
        let scanner = Scanner::new(&section, deps.catalog, deps.store, Arc::clone(&clock))?;
        let state = ApiState {
            admission: Admission::new(&section, Arc::clone(&clock)),
            samples: Arc::new(scanner.clone()),
            scanner,
            section: Arc::new(section),
            clock,
        };
        Ok(Self { state })
    }

    /// Every route of the role, for whoever serves it.
    pub fn router(&self) -> Router {
        api::router(self.state.clone())
    }

    /// Runs until `token` is cancelled. The role has no work of its own between requests; those
    /// that are open when it stops are drained by the server.
    pub async fn run(self, token: CancellationToken) {
        token.cancelled().await;
    }
}
