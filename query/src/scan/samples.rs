//! Samples and series for PromQL.

use std::fmt::Debug;

use async_trait::async_trait;
use record::{Labels, Matcher, MetricMetadata, TenantId};

use crate::admission::QueryContext;
use crate::error::QueryError;

/// Which samples are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplePlan {
    pub tenant: TenantId,
    /// Unix milliseconds, inclusive.
    pub start_ms: i64,
    /// Unix milliseconds, inclusive.
    pub end_ms: i64,
    /// All must match, `__name__` included.
    pub matchers: Vec<Matcher>,
}

/// The samples of one series, times strictly ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesData {
    pub labels: Labels,
    /// Unix milliseconds.
    pub times: Vec<i64>,
    pub values: Vec<f64>,
}

/// What PromQL reads from: the scan operator, or fixed data in tests of the engine.
#[async_trait]
pub trait SampleReader: Send + Sync + Debug {
    /// The series with at least one sample in the plan's range, sorted by labels, each series once.
    async fn samples(
        &self,
        plan: &SamplePlan,
        context: &QueryContext,
    ) -> Result<Vec<SeriesData>, QueryError>;

    /// Label sets with samples in the range that satisfy all matchers, sorted, each once.
    /// The range is approximate: more may be returned, never less.
    async fn series(
        &self,
        plan: &SamplePlan,
        context: &QueryContext,
    ) -> Result<Vec<Labels>, QueryError>;

    /// Names of the labels of [`SampleReader::series`], sorted.
    async fn label_names(
        &self,
        plan: &SamplePlan,
        context: &QueryContext,
    ) -> Result<Vec<String>, QueryError>;

    /// Values of one label over [`SampleReader::series`], sorted.
    async fn label_values(
        &self,
        name: &str,
        plan: &SamplePlan,
        context: &QueryContext,
    ) -> Result<Vec<String>, QueryError>;

    /// Descriptions of metric families, sorted by family.
    async fn metadata(&self, context: &QueryContext) -> Result<Vec<MetricMetadata>, QueryError>;
}
