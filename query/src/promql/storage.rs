//! Where samples come from: the seam between the engine and the store.
//!
//! Always holds: the answer to a selection is complete or carries a warning that says what is
//! missing.

use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;
use record::{Labels, Matcher, MetricMetadata, TenantId};

/// A selection of series in a time range.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    pub tenant: TenantId,
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// Inclusive, Unix milliseconds.
    pub start_ms: i64,
    /// Inclusive.
    pub end_ms: i64,
    /// Finding more series than this is an error.
    pub series_max: usize,
    /// Finding more samples than this is an error.
    pub samples_max: usize,
}

/// One series: times ascending and unique, a value for each, staleness markers among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesSamples {
    pub labels: Labels,
    pub times: Vec<i64>,
    pub values: Vec<f64>,
}

/// What was found, and what could not be looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<T> {
    pub items: Vec<T>,
    /// Parts of the data that are missing from `items`, in words.
    pub warnings: Vec<String>,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self { items: Vec::new(), warnings: Vec::new() }
    }
}

/// Why a selection failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplesError {
    /// A limit was reached; the text names it too.
    #[error("{message}")]
    Limit { name: &'static str, message: String },
    /// Reading failed.
    #[error("{0}")]
    Unreadable(String),
    /// Nothing can be read now: try again.
    #[error("{0}")]
    Unavailable(String),
    /// The deadline passed while reading.
    #[error("query timed out")]
    Timeout,
    /// Nobody waits for the answer any more.
    #[error("query was canceled")]
    Canceled,
}

/// Reads samples and what is known about series.
#[async_trait]
pub trait Samples: Send + Sync + Debug + 'static {
    /// The series that match, with their samples in the range, each series once.
    async fn select(&self, select: &Select) -> Result<Found<SeriesSamples>, SamplesError>;

    /// The label sets that match and may have samples in the range, each once; no samples are read.
    async fn series(&self, select: &Select) -> Result<Found<Labels>, SamplesError>;

    /// The names of the labels of [`Samples::series`], sorted.
    async fn label_names(&self, select: &Select) -> Result<Found<String>, SamplesError> {
        let Found { items, warnings } = self.series(select).await?;
        let names: BTreeSet<&str> =
            items.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        Ok(Found { items: names.into_iter().map(str::to_owned).collect(), warnings })
    }

    /// The values of the label `name` of [`Samples::series`], sorted.
    async fn label_values(
        &self,
        name: &str,
        select: &Select,
    ) -> Result<Found<String>, SamplesError> {
        let Found { items, warnings } = self.series(select).await?;
        let values: BTreeSet<&str> = items.iter().filter_map(|labels| labels.get(name)).collect();
        Ok(Found { items: values.into_iter().map(str::to_owned).collect(), warnings })
    }

    /// What is known about metric families.
    async fn metadata(&self, tenant: &TenantId) -> Result<Found<MetricMetadata>, SamplesError>;
}
