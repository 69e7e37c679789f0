//! Samples and series for PromQL.
//!
//! Always holds: of two samples with one series and time the one that was published first stays;
//! recent ones come last. Bounds: the budgets of the query, taken before a segment is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use record::{Labels, Limits, MetricMetadata, SampleBatch};
use segment::bundle::BundleError;
use segment::catalog::CatalogState;
use segment::recent::{MetadataPlan, SAMPLES_METADATA, SAMPLES_SCAN, SAMPLES_SERIES, split_frames};
use segment::samples::SampleSegment;
pub use segment::samples::{SamplePlan, SeriesData};
use segment::{SegmentKind, SegmentMeta};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use super::Scanner;
use super::footers::{InUse, Opened};
use super::logs::warn_set_aside;
use super::recent::{OwnerAnswer, missing};
use crate::admission::{QueryContext, Stats};
use crate::error::QueryError;
use crate::telemetry;

const NANOS_PER_MILLI: i64 = 1_000_000;

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
    ) -> Result<Vec<String>, QueryError> {
        let series = self.series(plan, context).await?;
        let names: BTreeSet<&str> = series.iter().flat_map(Labels::iter).map(|(n, _)| n).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    /// Values of one label over [`SampleReader::series`], sorted.
    async fn label_values(
        &self,
        name: &str,
        plan: &SamplePlan,
        context: &QueryContext,
    ) -> Result<Vec<String>, QueryError> {
        let series = self.series(plan, context).await?;
        let values: BTreeSet<&str> = series.iter().filter_map(|labels| labels.get(name)).collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }

    /// Descriptions of metric families, sorted by family.
    async fn metadata(&self, context: &QueryContext) -> Result<Vec<MetricMetadata>, QueryError>;
}

#[async_trait]
impl SampleReader for Scanner {
    async fn samples(
        &self,
        plan: &SamplePlan,
        context: &QueryContext,
    ) -> Result<Vec<SeriesData>, QueryError> {
        let topics = &self.shared.section.topics.samples;
        let (state, answers) = self.ask_until_stable(SAMPLES_SCAN, topics, plan, context).await?;
        let mut found = Vec::new();
        for one in self.each_sample_segment(&state, plan, context, Reading::Samples).await? {
            found.push(one.samples);
        }
        for answer in answers {
            found.push(self.recent_samples(answer, context).await?);
        }
        self.on_cpu(move || merged(found)).await
    }

    async fn series(
        &self,
        plan: &SamplePlan,
        context: &QueryContext,
    ) -> Result<Vec<Labels>, QueryError> {
        let topics = &self.shared.section.topics.samples;
        let (state, answers) = self.ask_until_stable(SAMPLES_SERIES, topics, plan, context).await?;
        let mut found: BTreeSet<Labels> = BTreeSet::new();
        for answer in answers {
            found.extend(self.table::<Vec<Labels>>(answer, context).await?.unwrap_or_default());
        }
        for one in self.each_sample_segment(&state, plan, context, Reading::Series).await? {
            found.extend(one.series);
        }
        Ok(found.into_iter().collect())
    }

    async fn metadata(&self, context: &QueryContext) -> Result<Vec<MetricMetadata>, QueryError> {
        let topics = &self.shared.section.topics.samples;
        let ask = MetadataPlan { tenant: context.tenant().clone() };
        let (state, answers) =
            self.ask_until_stable(SAMPLES_METADATA, topics, &ask, context).await?;
        let plan = SamplePlan {
            tenant: context.tenant().clone(),
            start_ms: i64::MIN / NANOS_PER_MILLI,
            end_ms: i64::MAX / NANOS_PER_MILLI - 1,
            matchers: Vec::new(),
        };
        // Of one family the latest description counts: segments in order, then what is recent.
        let mut families: BTreeMap<String, MetricMetadata> = BTreeMap::new();
        let mut add = |metadata: Vec<MetricMetadata>| {
            families.extend(metadata.into_iter().map(|one| (one.family.clone(), one)));
        };
        for one in self.each_sample_segment(&state, &plan, context, Reading::Metadata).await? {
            add(one.metadata);
        }
        for answer in answers {
            add(self.table(answer, context).await?.unwrap_or_default());
        }
        Ok(families.into_values().collect())
    }
}

/// What is read of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Samples,
    Series,
    Metadata,
}

/// What was read of a segment; the others stay empty.
#[derive(Debug, Default)]
struct OfSegment {
    samples: Vec<SeriesData>,
    series: Vec<Labels>,
    metadata: Vec<MetricMetadata>,
}

/// Why a segment gave nothing.
enum SampleFault {
    Segment(BundleError),
    Query(QueryError),
}

impl Scanner {
    /// An owner's JSON table; none, with a warning, when it cannot be read.
    pub(super) async fn table<T: DeserializeOwned + Send + 'static>(
        &self,
        answer: OwnerAnswer,
        context: &QueryContext,
    ) -> Result<Option<T>, QueryError> {
        let OwnerAnswer { owner, body } = answer;
        match self.on_cpu(move || serde_json::from_slice(&body)).await? {
            Ok(table) => Ok(Some(table)),
            Err(error) => {
                missing(&owner, &error.to_string(), context);
                Ok(None)
            }
        }
    }

    async fn recent_samples(
        &self,
        answer: OwnerAnswer,
        context: &QueryContext,
    ) -> Result<Vec<SeriesData>, QueryError> {
        let OwnerAnswer { owner, body } = answer;
        let decode = move || -> Result<Vec<SeriesData>, String> {
            let frames = split_frames(body, u32::MAX).map_err(|error| error.to_string())?;
            let limits = Limits::default();
            let mut found = Vec::new();
            for frame in frames {
                let batch =
                    SampleBatch::decode(&frame, &limits).map_err(|error| error.to_string())?;
                found.extend(series_of(&batch));
            }
            Ok(found)
        };
        match self.on_cpu(decode).await? {
            Ok(found) => Ok(found),
            Err(why) => {
                missing(&owner, &why, context);
                Ok(Vec::new())
            }
        }
    }

    /// What the plan's segments say, in the order in which they were built.
    async fn each_sample_segment(
        &self,
        state: &CatalogState,
        plan: &SamplePlan,
        context: &QueryContext,
        reading: Reading,
    ) -> Result<Vec<OfSegment>, QueryError> {
        let start_ns = plan.start_ms.saturating_mul(NANOS_PER_MILLI);
        let end_ns = plan.end_ms.saturating_add(1).saturating_mul(NANOS_PER_MILLI);
        let chosen = state.segments_between(&plan.tenant, SegmentKind::Samples, start_ns, end_ns);
        let mut chosen: Vec<Arc<SegmentMeta>> = chosen.cloned().collect();
        chosen.sort_by_key(|meta| (meta.created_ms, meta.id));
        let plan = Arc::new(plan.clone());
        let one = async |meta: Arc<SegmentMeta>| {
            context.check()?;
            match self.of_segment(&meta, &plan, context, reading).await {
                Ok(found) => Ok(found),
                Err(SampleFault::Query(error)) => Err(error),
                Err(SampleFault::Segment(error)) => {
                    self.set_samples_aside(&meta, error, context)?;
                    Ok(OfSegment::default())
                }
            }
        };
        let at_once = self.shared.section.segments_concurrent;
        let results = stream::iter(chosen).map(one).buffered(at_once).collect::<Vec<_>>();
        context.within(results).await?.into_iter().collect()
    }

    async fn of_segment(
        &self,
        meta: &SegmentMeta,
        plan: &Arc<SamplePlan>,
        context: &QueryContext,
        reading: Reading,
    ) -> Result<OfSegment, SampleFault> {
        let segment = self.sample_segment(meta).await.map_err(SampleFault::Segment)?;
        Stats::add(&context.stats().segments, 1);
        metrics::counter!(telemetry::SEGMENTS_SCANNED, "kind" => "samples").increment(1);
        let (plan, context) = (Arc::clone(plan), context.clone());
        // Decoding is CPU work that asks the store in between, so a pool thread drives the whole.
        let runtime = Handle::current();
        let work = move || runtime.block_on(read(&segment, &plan, &context, reading));
        self.on_cpu(work).await.map_err(SampleFault::Query)?
    }

    async fn sample_segment(
        &self,
        meta: &SegmentMeta,
    ) -> Result<InUse<SampleSegment>, BundleError> {
        if let Some(held) = self.shared.footers.get(meta.id)
            && let Opened::Samples(segment) = (*held).clone()
        {
            return Ok(held.with(*segment));
        }
        let segment = SampleSegment::open(Arc::clone(&self.shared.store), meta).await?;
        let held = self.shared.footers.put(meta, Opened::Samples(Box::new(segment.clone())));
        Ok(held.with(segment))
    }

    fn set_samples_aside(
        &self,
        meta: &SegmentMeta,
        error: BundleError,
        context: &QueryContext,
    ) -> Result<(), QueryError> {
        if let BundleError::Store { source, .. } = &error
            && !matches!(source, object_store::Error::NotFound { .. })
        {
            return Err(QueryError::Unavailable(format!("{error}: {source}")));
        }
        self.shared.footers.remove(meta.id);
        warn_set_aside(meta, &error.to_string(), context);
        Ok(())
    }
}

async fn read(
    segment: &SampleSegment,
    plan: &SamplePlan,
    context: &QueryContext,
    reading: Reading,
) -> Result<OfSegment, SampleFault> {
    let mut found = OfSegment::default();
    match reading {
        Reading::Metadata => found.metadata = segment.metadata().to_vec(),
        Reading::Series => {
            let series = segment.series(&plan.matchers, plan.start_ms, plan.end_ms);
            found.series = series.map_err(SampleFault::Segment)?;
        }
        Reading::Samples => {
            let selection = segment.select(plan).map_err(SampleFault::Segment)?;
            context.take_rows(selection.samples()).map_err(SampleFault::Query)?;
            context.take_bytes(selection.bytes()).map_err(SampleFault::Query)?;
            found.samples = segment.read(&selection).await.map_err(SampleFault::Segment)?;
        }
    }
    Ok(found)
}

fn series_of(batch: &SampleBatch) -> impl Iterator<Item = SeriesData> {
    let empty = |labels: &Labels| SeriesData {
        labels: labels.clone(),
        times: Vec::new(),
        values: Vec::new(),
    };
    let mut series: Vec<SeriesData> = batch.series().iter().map(empty).collect();
    let samples = batch.times().iter().zip(batch.values()).zip(batch.series_index());
    for ((time, value), index) in samples {
        let data = &mut series[*index as usize];
        data.times.push(*time);
        data.values.push(*value);
    }
    series.into_iter().filter(|data| !data.times.is_empty())
}

/// One series a label set, times strictly ascending; of samples with one time the first given.
fn merged(sources: Vec<Vec<SeriesData>>) -> Vec<SeriesData> {
    let mut by_labels: BTreeMap<Labels, SeriesData> = BTreeMap::new();
    for data in sources.into_iter().flatten() {
        match by_labels.get_mut(&data.labels) {
            None => {
                by_labels.insert(data.labels.clone(), data);
            }
            Some(known) => {
                known.times.extend(data.times);
                known.values.extend(data.values);
            }
        }
    }
    by_labels.into_values().map(ascending).collect()
}

fn ascending(data: SeriesData) -> SeriesData {
    if data.times.is_sorted_by(|left, right| left < right) {
        return data;
    }
    let mut samples: Vec<(i64, f64)> = data.times.into_iter().zip(data.values).collect();
    samples.sort_by_key(|(time, _)| *time);
    samples.dedup_by_key(|(time, _)| *time);
    let (times, values) = samples.into_iter().unzip();
    SeriesData { labels: data.labels, times, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_samples_at_one_time_the_first_published_stays() {
        let labels = Labels::from_pairs([("__name__", "up")]);
        let data = |times: &[i64], values: &[f64]| {
            vec![SeriesData {
                labels: labels.clone(),
                times: times.to_vec(),
                values: values.to_vec(),
            }]
        };
        let found =
            merged(vec![data(&[10, 20], &[1.0, 2.0]), data(&[5, 20, 30], &[0.0, 9.0, 3.0])]);
        assert_eq!(found, data(&[5, 10, 20, 30], &[0.0, 1.0, 2.0, 3.0]));
    }
}
