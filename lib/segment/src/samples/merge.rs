//! Several samples segments into one, or into one per stretch of time.
//!
//! What always holds: every (series, time) of the inputs is in exactly one output; of two samples
//! for one series and time that of the earlier input stays, as it would in one head.
//!
//! Bounds: all samples of the inputs are in memory, 16 bytes each and a few hundred a series, and
//! those of one input twice while they are taken in. Callers bound the samples they merge.

use record::MetricMetadata;

use super::{BuildError, SampleSegmentBuilder, SeriesData};
use crate::meta::BuiltSegment;

/// A merge under way.
#[derive(Debug)]
pub struct SampleMerge {
    cuts_ms: Vec<i64>,
    outputs: Vec<SampleSegmentBuilder>,
}

impl SampleMerge {
    /// Starts with nothing. Samples are spread over outputs at the times `cuts_ms`, which ascend:
    /// one output below the first, one from each on.
    pub fn new(cuts_ms: Vec<i64>) -> Self {
        let outputs = (0..=cuts_ms.len()).map(|_| SampleSegmentBuilder::new()).collect();
        Self { cuts_ms, outputs }
    }

    /// Takes in one input; earlier inputs come first. CPU work.
    pub fn push(&mut self, series: Vec<SeriesData>, metadata: &[MetricMetadata]) {
        for output in &mut self.outputs {
            output.push_metadata(metadata);
        }
        for data in series {
            self.push_series(data);
        }
    }

    /// Writes the outputs that have samples, in order of time. CPU work.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn finish(self) -> Result<Vec<BuiltSegment>, BuildError> {
        let filled = self.outputs.into_iter().filter(|output| 0 < output.rows());
        filled.map(SampleSegmentBuilder::finish).collect()
    }

    fn push_series(&mut self, mut data: SeriesData) {
        // From the last cut back, so that what is split off is a tail.
        for (number, cut) in self.cuts_ms.iter().enumerate().rev() {
            let from = data.times.partition_point(|time| time < cut);
            if from == data.times.len() {
                continue;
            }
            let later = SeriesData {
                labels: data.labels.clone(),
                times: data.times.split_off(from),
                values: data.values.split_off(from),
            };
            self.outputs[number + 1].push(later);
        }
        if !data.times.is_empty() {
            self.outputs[0].push(data);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};
    use proptest::prelude::*;
    use record::{Labels, TenantId};

    use super::*;
    use crate::id::SegmentId;
    use crate::samples::{SamplePlan, SampleSegment};

    type Samples = BTreeMap<(Labels, i64), u64>;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(future)
    }

    async fn read(built: &BuiltSegment) -> (Samples, Vec<MetricMetadata>) {
        let id = SegmentId::from_bits(1);
        let meta = built.meta(id, TenantId::default(), Vec::new(), 0);
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        store.put(&meta.location(), built.bytes.clone().into()).await.unwrap();
        let segment = SampleSegment::open(store, &meta).await.unwrap();
        let plan = SamplePlan {
            tenant: TenantId::default(),
            start_ms: i64::MIN,
            end_ms: i64::MAX,
            matchers: Vec::new(),
        };
        let mut samples = Samples::new();
        for series in segment.scan(&plan).await.unwrap() {
            for (time, value) in series.times.iter().zip(&series.values) {
                let known = samples.insert((series.labels.clone(), *time), value.to_bits());
                assert_eq!(known, None, "a sample is there once");
            }
        }
        assert_eq!(samples.len() as u64, built.rows);
        (samples, segment.metadata().to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn outputs_are_the_union_of_the_inputs_and_keep_to_their_stretch(
            inputs in prop::collection::vec(
                prop::collection::vec((0_u8..4, -50_i64..200, any::<f64>()), 1..60),
                1..5,
            ),
            cuts in prop::collection::btree_set(-60_i64..210, 0..4),
        ) {
            let cuts: Vec<i64> = cuts.into_iter().collect();
            let mut expected = Samples::new();
            let mut merge = SampleMerge::new(cuts.clone());
            let mut rows = 0;
            for input in inputs {
                let mut builder = SampleSegmentBuilder::new();
                for (series, time, value) in input {
                    let labels = Labels::from_pairs([("__name__", format!("s{series}"))]);
                    expected.entry((labels.clone(), time)).or_insert(value.to_bits());
                    builder.push(SeriesData { labels, times: vec![time], values: vec![value] });
                }
                let built = builder.finish().unwrap();
                rows += built.rows;
                let (samples, metadata) = block_on(read(&built));
                let series = samples.into_iter().map(|((labels, time), value)| SeriesData {
                    labels,
                    times: vec![time],
                    values: vec![f64::from_bits(value)],
                });
                merge.push(series.collect(), &metadata);
            }
            prop_assert!(expected.len() as u64 <= rows);
            let mut found = Samples::new();
            for built in merge.finish().unwrap() {
                let first_ms = built.time_min_ns / 1_000_000;
                let last_ms = built.time_max_ns / 1_000_000;
                prop_assert!(!cuts.iter().any(|cut| first_ms < *cut && *cut <= last_ms));
                found.extend(block_on(read(&built)).0);
            }
            prop_assert_eq!(found, expected);
        }
    }
}
