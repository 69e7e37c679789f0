//! Why a query was refused or stopped, as one closed set.
//!
//! Every API maps these variants to its own status codes; the texts are those Loki clients already
//! know, because Grafana decides by them whether to retry.

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The request itself is wrong: text, parameter, or something not supported. Never retry.
    #[error("{0}")]
    Invalid(String),
    /// A limit of the section `query.limits` was hit.
    #[error(transparent)]
    Limit(#[from] LimitHit),
    /// All query permits are taken and the waiting room is full.
    #[error("too many outstanding requests")]
    Busy,
    /// The deadline `query.timeout_secs` passed.
    #[error(
        "request timed out, decrease the duration of the request or add more label matchers \
         (prefer exact match over regex match) to reduce the amount of data processed"
    )]
    Deadline,
    /// The client went away.
    #[error("the request was cancelled by the client")]
    Cancelled,
    /// The catalog or the object store cannot be read; asking again later may work.
    #[error("{0}")]
    Unavailable(String),
    /// The plan kept ageing faster than it could be carried out.
    #[error("the catalog changed {attempts} times while the query was being planned, ask again")]
    PlanUnstable { attempts: u32 },
    /// A broken invariant, or a CPU pool that is shutting down.
    #[error("{0}")]
    Internal(String),
}

/// Which limit a query ran into; `name` is the label of `millrace_query_limits_hit_total`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitHit {
    #[error(
        "the query would read too many bytes (limit: {max} bytes, query.limits.bytes_read_max); \
         consider adding more specific stream selectors or reduce the time range of the query"
    )]
    BytesRead { max: u64 },
    #[error(
        "the query reads too many rows (limit: {max} rows, query.limits.rows_max); consider \
         adding more specific stream selectors or reduce the time range of the query"
    )]
    Rows { max: u64 },
    #[error(
        "maximum number of series ({max}) reached for a single query; consider reducing query \
         cardinality by adding more specific stream selectors, reducing the time range, or \
         aggregating results with functions like sum(), count() or topk()"
    )]
    Series { max: u64 },
    #[error(
        "the query needs more than {max} cells of series times steps (query.limits.cells_max); \
         increase the step, reduce the time range, or aggregate with sum by (...)"
    )]
    Cells { max: u64 },
    #[error(
        "max entries limit per query exceeded, limit > max_entries_limit_per_query ({asked} > {max})"
    )]
    Entries { asked: u64, max: u64 },
    #[error("the query time range exceeds the limit (query length: {length}, limit: {max})")]
    Length { length: String, max: String },
    #[error(
        "the query would read too many bytes from one indexer (limit: {max} bytes, \
         query.recent_bytes_max); reduce the time range or add line filters"
    )]
    RecentBytes { max: u64 },
    #[error("the query range vector exceeds the limit (range: {range}, limit: {max})")]
    Range { range: String, max: String },
    #[error("the query hit the max number of series limit (limit: {max} series)")]
    VolumeSeries { max: u64 },
}

impl LimitHit {
    /// The bounded name under which the hit is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BytesRead { .. } => "bytes_read",
            Self::Rows { .. } => "rows",
            Self::Series { .. } => "series",
            Self::Cells { .. } => "cells",
            Self::Entries { .. } => "entries",
            Self::Length { .. } => "length",
            Self::RecentBytes { .. } => "recent_bytes",
            Self::Range { .. } => "range",
            Self::VolumeSeries { .. } => "volume_series",
        }
    }
}

impl QueryError {
    /// The bounded `outcome` label of `millrace_query_requests_total`.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Limit(_) => "limit",
            Self::Busy => "busy",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Unavailable(_) | Self::PlanUnstable { .. } => "unavailable",
            Self::Internal(_) => "internal",
        }
    }
}
