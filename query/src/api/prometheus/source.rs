//! Who asks, whether they may, and what they read from.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use record::{Labels, MetricMetadata, TenantId};

use crate::admission::Admitted;
use crate::api::ApiState;
use crate::error::QueryError as ScanError;
use crate::promql::{Found, QueryError, Samples, SamplesError, Select, SeriesSamples};
use crate::scan::{SamplePlan, SampleReader, SeriesData};

/// Lets a request in.
#[async_trait]
pub trait Source: Send + Sync + Debug + 'static {
    /// What the request reads from; dropping it ends what still runs for the request.
    async fn open(
        &self,
        headers: &HeaderMap,
        timeout: Option<Duration>,
    ) -> Result<Opened, QueryError>;
}

/// A request that was let in.
#[derive(Debug)]
pub struct Opened {
    pub tenant: TenantId,
    pub samples: Box<dyn Samples>,
}

#[async_trait]
impl Source for ApiState {
    async fn open(
        &self,
        headers: &HeaderMap,
        timeout: Option<Duration>,
    ) -> Result<Opened, QueryError> {
        let tenant = self.tenant(headers).map_err(|_| QueryError::NoTenant)?;
        let admitted =
            self.admission.admit(tenant.clone(), timeout).await.map_err(|error| match error {
                ScanError::Busy => QueryError::Unavailable(error.to_string()),
                other => samples_error(other).into(),
            })?;
        let samples = Box::new(ScanSamples { reader: Arc::clone(&self.samples), admitted });
        Ok(Opened { tenant, samples })
    }
}

/// The scan operator, for as long as one request is admitted.
#[derive(Debug)]
struct ScanSamples {
    reader: Arc<dyn SampleReader>,
    admitted: Admitted,
}

impl ScanSamples {
    /// The items with everything the request was warned of so far.
    fn found<T>(&self, items: Result<Vec<T>, ScanError>) -> Result<Found<T>, SamplesError> {
        let items = items.map_err(samples_error)?;
        Ok(Found { items, warnings: self.admitted.warnings() })
    }
}

#[async_trait]
impl Samples for ScanSamples {
    async fn select(&self, select: &Select) -> Result<Found<SeriesSamples>, SamplesError> {
        let found = self.reader.samples(&plan(select), &self.admitted).await;
        let series = |data: Vec<SeriesData>| data.into_iter().map(samples_of).collect();
        self.found(found.map(series))
    }

    async fn series(&self, select: &Select) -> Result<Found<Labels>, SamplesError> {
        self.found(self.reader.series(&plan(select), &self.admitted).await)
    }

    async fn label_names(&self, select: &Select) -> Result<Found<String>, SamplesError> {
        self.found(self.reader.label_names(&plan(select), &self.admitted).await)
    }

    async fn label_values(
        &self,
        name: &str,
        select: &Select,
    ) -> Result<Found<String>, SamplesError> {
        self.found(self.reader.label_values(name, &plan(select), &self.admitted).await)
    }

    async fn metadata(&self, _: &TenantId) -> Result<Found<MetricMetadata>, SamplesError> {
        self.found(self.reader.metadata(&self.admitted).await)
    }
}

fn plan(select: &Select) -> SamplePlan {
    // Stored times are nanoseconds in places; what lies outside them cannot be stored.
    const STORED_MS_MAX: i64 = i64::MAX / 1_000_000;
    let stored = |time_ms: i64| time_ms.clamp(-STORED_MS_MAX, STORED_MS_MAX);
    SamplePlan {
        tenant: select.tenant.clone(),
        start_ms: stored(select.start_ms),
        end_ms: stored(select.end_ms),
        matchers: select.matchers.clone(),
    }
}

fn samples_of(data: SeriesData) -> SeriesSamples {
    SeriesSamples { labels: data.labels, times: data.times, values: data.values }
}

fn samples_error(error: ScanError) -> SamplesError {
    match error {
        ScanError::Limit(ref hit) => {
            SamplesError::Limit { name: hit.name(), message: error.to_string() }
        }
        ScanError::Deadline => SamplesError::Timeout,
        ScanError::Cancelled => SamplesError::Canceled,
        ScanError::Busy | ScanError::Unavailable(_) | ScanError::PlanUnstable { .. } => {
            SamplesError::Unavailable(error.to_string())
        }
        ScanError::Invalid(_) | ScanError::Internal(_) => {
            SamplesError::Unreadable(error.to_string())
        }
    }
}
