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
pub mod logql;
pub mod promql;
pub mod scan;
pub mod telemetry;

pub use config::QuerySection;
pub use error::{LimitHit, QueryError};
