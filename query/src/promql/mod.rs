//! PromQL: from text to an answer.
//!
//! `parse` reads text into an [`ast::Expr`] and `check` types it; `plan` fixes every time and
//! duration and lists the selections to fetch; the engine fetches them through [`Samples`] and
//! hands plan and series to `eval`, which is pure computation on the CPU pool.
//!
//! What always holds:
//! * Evaluation reads nothing but the fetched series: it never waits, and the same input gives the
//!   same answer.
//! * A feature this engine does not have is refused by name before anything is read. Native
//!   histograms are not stored yet, so every sample is a float.
//! * Bounded by the deadline, the samples held at once, the series of one selection, the points
//!   of one series, and the size and nesting of the expression; an error says which was hit.
//!
//! Nothing is kept between queries, so a crash loses the queries that run and no more.

mod annotations;
pub mod ast;
mod check;
mod config;
mod engine;
mod error;
mod eval;
pub mod functions;
mod kahan;
mod memory;
pub mod number;
mod parse;
mod plan;
mod pretty;
mod print;
mod quantile;
mod storage;

pub use config::{Features, PromqlSection};
pub use engine::{Answer, Engine, InstantQuery, Outcome, RangeQuery, Stats, Wishes};
pub use error::{ParseError, QueryError};
pub use memory::MemorySamples;
pub use parse::{parse, parse_selector};
pub use pretty::pretty;
pub use storage::{Found, Samples, SamplesError, Select, SeriesSamples};
