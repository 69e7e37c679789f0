//! Samples in memory: for tests and tools.

use std::collections::BTreeMap;

use async_trait::async_trait;
use record::{Labels, Matcher, MetricMetadata, TenantId};

use super::storage::{Found, Samples, SamplesError, Select, SeriesSamples};

/// Series held in memory, the same for every tenant.
#[derive(Clone, Debug, Default)]
pub struct MemorySamples {
    series: BTreeMap<Labels, BTreeMap<i64, f64>>,
    metadata: Vec<MetricMetadata>,
}

impl MemorySamples {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sample; one at the same time is replaced.
    pub fn push(&mut self, labels: &Labels, time_ms: i64, value: f64) {
        self.series.entry(labels.clone()).or_default().insert(time_ms, value);
    }

    /// Adds a description of a metric family.
    pub fn describe(&mut self, metadata: MetricMetadata) {
        self.metadata.push(metadata);
    }

    fn matching<'a>(
        &'a self,
        matchers: &'a [Matcher],
    ) -> impl Iterator<Item = (&'a Labels, &'a BTreeMap<i64, f64>)> {
        let matches = |labels: &Labels| matchers.iter().all(|m| m.matches_labels(labels));
        self.series.iter().filter(move |(labels, _)| matches(labels))
    }
}

#[async_trait]
impl Samples for MemorySamples {
    async fn select(&self, select: &Select) -> Result<Found<SeriesSamples>, SamplesError> {
        let mut items = Vec::new();
        let mut held = 0;
        for (labels, samples) in self.matching(&select.matchers) {
            if select.end_ms < select.start_ms {
                break;
            }
            let (times, values): (Vec<_>, Vec<_>) =
                samples.range(select.start_ms..=select.end_ms).unzip();
            if times.is_empty() {
                continue;
            }
            held += times.len();
            items.push(SeriesSamples { labels: labels.clone(), times, values });
            if select.samples_max < held {
                let message = format!(
                    "query processing would load too many samples into memory in selection \
                     (`samples_max` is {})",
                    select.samples_max
                );
                return Err(SamplesError::Limit { name: "samples", message });
            }
        }
        Ok(Found { items, warnings: Vec::new() })
    }

    async fn series(&self, select: &Select) -> Result<Found<Labels>, SamplesError> {
        let items = self
            .matching(&select.matchers)
            .filter(|(_, samples)| {
                samples.keys().any(|time| (select.start_ms..=select.end_ms).contains(time))
            })
            .map(|(labels, _)| labels.clone())
            .collect();
        Ok(Found { items, warnings: Vec::new() })
    }

    async fn metadata(&self, _: &TenantId) -> Result<Found<MetricMetadata>, SamplesError> {
        Ok(Found { items: self.metadata.clone(), warnings: Vec::new() })
    }
}
