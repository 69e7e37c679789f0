//! Samples segments and heads against a plain map.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use record::{
    Labels, MatchOp, Matcher, MetricMetadata, SampleBatch, SampleBatchBuilder, TenantId,
    TimestampMillis,
};

use super::*;
use crate::bundle::BundleError;
use crate::id::SegmentId;
use crate::meta::{BuiltSegment, SegmentMeta};

const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Values in the shapes metrics have, and in none.
pub(super) fn values(count: Range<usize>) -> impl Strategy<Value = Vec<f64>> {
    let odd = prop_oneof![
        Just(STALE),
        Just(f64::NAN),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::MIN_POSITIVE),
        Just(f64::MAX),
        any::<u64>().prop_map(f64::from_bits),
    ];
    let shape = prop_oneof![Just(0_u8), Just(1), Just(2), Just(3), Just(4), Just(5)];
    let steps = prop::collection::vec((any::<u32>(), prop::option::weighted(0.03, odd)), count);
    (shape, any::<f64>(), steps).prop_map(|(shape, start, steps)| {
        let mut counter = 0.0;
        let value = |(step, odd): (u32, Option<f64>)| {
            counter = if step % 50 == 0 { 0.0 } else { counter + f64::from(step % 1_000) };
            odd.unwrap_or(match shape {
                0 => start,
                1 => counter,
                2 => f64::from(step % 10_000) / 100.0,
                3 => counter / 1e3 + 1.7e9,
                4 => f64::from(step).sqrt(),
                _ => f64::from_bits(u64::from(step).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            })
        };
        steps.into_iter().map(value).collect()
    })
}

/// What must come out: the first value for each series and time.
#[derive(Clone, Debug, Default)]
struct Oracle(BTreeMap<Labels, BTreeMap<i64, u64>>);

impl Oracle {
    fn insert(&mut self, labels: &Labels, time: i64, value: f64) {
        self.0.entry(labels.clone()).or_default().entry(time).or_insert(value.to_bits());
    }

    fn scan(&self, plan: &SamplePlan) -> Vec<(Labels, Vec<(i64, u64)>)> {
        if plan.end_ms < plan.start_ms {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (labels, samples) in &self.0 {
            let inside = samples.range(plan.start_ms..=plan.end_ms);
            let inside: Vec<_> = inside.map(|(time, bits)| (*time, *bits)).collect();
            if !inside.is_empty() && plan.matchers.iter().all(|m| m.matches_labels(labels)) {
                found.push((labels.clone(), inside));
            }
        }
        found
    }
}

/// Answers in the oracle's form.
fn plain(found: Vec<SeriesData>) -> Vec<(Labels, Vec<(i64, u64)>)> {
    let mut plain: Vec<_> = found
        .into_iter()
        .map(|data| {
            let bits = data.values.iter().map(|value| value.to_bits());
            (data.labels, data.times.into_iter().zip(bits).collect())
        })
        .collect();
    plain.sort();
    plain
}

fn labels() -> impl Strategy<Value = Labels> {
    let name = prop_oneof![Just("up"), Just("node_cpu_seconds_total"), Just("a:b"), Just("")];
    let value = prop_oneof![Just(""), Just("0"), Just("1"), Just("api"), Just("ü.x"), Just("api2")];
    (name, value.clone(), value).prop_map(|(name, job, cpu)| {
        Labels::from_pairs([("__name__", name), ("job", job), ("cpu", cpu)])
    })
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let name = prop_oneof![Just("__name__"), Just("job"), Just("cpu"), Just("absent")];
    let test = prop_oneof![
        (
            prop_oneof![Just(MatchOp::Eq), Just(MatchOp::Ne)],
            prop_oneof![
                Just(""),
                Just("up"),
                Just("api"),
                Just("0"),
                Just("node_cpu_seconds_total")
            ]
        ),
        (
            prop_oneof![Just(MatchOp::Re), Just(MatchOp::Nre)],
            prop_oneof![
                Just("api.*"),
                Just(".+"),
                Just(".*"),
                Just("0|1"),
                Just("|api"),
                Just("ü.x")
            ]
        ),
    ];
    (name, test).prop_map(|(name, (op, value))| Matcher::new(name, op, value).unwrap())
}

fn plan() -> impl Strategy<Value = SamplePlan> {
    let bound = prop_oneof![3 => -100_i64..40_000, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    (bound.clone(), bound, prop::collection::vec(matcher(), 0..3)).prop_map(
        |(start_ms, end_ms, matchers)| SamplePlan {
            tenant: TenantId::default(),
            start_ms,
            end_ms,
            matchers,
        },
    )
}

/// Runs of samples: series, first time, step, values.
fn runs() -> impl Strategy<Value = Vec<(Labels, i64, i64, Vec<f64>)>> {
    let start = prop_oneof![Just(0_i64), -50_i64..20_000];
    let step = prop_oneof![Just(15_i64), 1_i64..40];
    prop::collection::vec((labels(), start, step, values(1..40)), 1..12)
}

fn batches(runs: &[(Labels, i64, i64, Vec<f64>)]) -> Vec<SampleBatch> {
    let mut batches = Vec::new();
    for pair in runs.chunks(2) {
        let mut builder = SampleBatchBuilder::new();
        for (labels, start, step, values) in pair {
            for (at, value) in values.iter().enumerate() {
                let time = TimestampMillis(start + step * at as i64);
                builder.push(time, labels, *value);
            }
        }
        batches.push(builder.finish());
    }
    batches
}

async fn store_segment(built: &BuiltSegment) -> (Arc<dyn ObjectStore>, SegmentMeta) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let meta = built.meta(SegmentId::from_bits(7), TenantId::default(), Vec::new(), 0);
    store.put(&meta.location(), built.bytes.clone().into()).await.unwrap();
    (store, meta)
}

async fn open(built: &BuiltSegment) -> SampleSegment {
    let (store, meta) = store_segment(built).await;
    SampleSegment::open(store, &meta).await.unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Head and segment answer as a plain map does, for any samples, repeats and plans.
    #[test]
    fn heads_and_segments_answer_as_a_map_does(
        runs in runs(),
        plans in prop::collection::vec(plan(), 1..6),
        replayed in any::<prop::sample::Index>(),
    ) {
        let mut oracle = Oracle::default();
        for (labels, start, step, values) in &runs {
            for (at, value) in values.iter().enumerate() {
                oracle.insert(labels, start + step * at as i64, *value);
            }
        }
        let mut head = Head::new();
        let batches = batches(&runs);
        for batch in &batches {
            head.append(batch);
        }
        let held = head.len();
        let again = head.append(replayed.get(&batches));
        prop_assert_eq!(again.added, 0);
        prop_assert_eq!(head.len(), held);
        prop_assert_eq!(held, oracle.0.values().map(BTreeMap::len).sum::<usize>());

        let built = SampleSegmentBuilder::of(head.clone()).finish().unwrap();
        prop_assert_eq!(built.rows, held as u64);
        let segment = block_on(open(&built));
        for plan in &plans {
            let expected = oracle.scan(plan);
            prop_assert_eq!(&plain(head.scan(plan)), &expected);
            prop_assert_eq!(&plain(block_on(segment.scan(plan)).unwrap()), &expected);
            let names: Vec<Labels> = expected.into_iter().map(|(labels, _)| labels).collect();
            let mut in_head = head.series(&plan.matchers, plan.start_ms, plan.end_ms);
            in_head.sort();
            prop_assert_eq!(&in_head, &names);
            let in_segment = segment.series(&plan.matchers, plan.start_ms, plan.end_ms).unwrap();
            prop_assert!(names.iter().all(|labels| in_segment.contains(labels)));
        }
    }

    /// Whatever byte is flipped, a segment gives the same answer or an error naming it.
    #[test]
    fn a_flipped_byte_is_an_error_or_changes_nothing(
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let mut built = small_segment();
        let expected = plain(block_on(async { open(&built).await.scan(&everything()).await }).unwrap());
        let mut bytes = built.bytes.to_vec();
        bytes[at.index(built.bytes.len())] ^= 1 << bit;
        built.bytes = Bytes::from(bytes);
        let outcome: Result<_, BundleError> = block_on(async {
            let (store, meta) = store_segment(&built).await;
            SampleSegment::open(store, &meta).await?.scan(&everything()).await
        });
        match outcome {
            Ok(found) => prop_assert_eq!(plain(found), expected),
            Err(error) => prop_assert!(error.to_string().contains("segments/samples/"), "{}", error),
        }
    }
}

fn everything() -> SamplePlan {
    let (tenant, matchers) = (TenantId::default(), Vec::new());
    SamplePlan { tenant, start_ms: i64::MIN, end_ms: i64::MAX, matchers }
}

fn small_segment() -> BuiltSegment {
    let mut builder = SampleSegmentBuilder::new();
    for cpu in 0..3 {
        builder.push(SeriesData {
            labels: Labels::from_pairs([("__name__", "cpu"), ("cpu", &cpu.to_string())]),
            times: (0..50).map(|n| n * 15_000).collect(),
            values: (0..50).map(|n| f64::from(n * n * (cpu + 1)) / 100.0).collect(),
        });
    }
    builder.finish().unwrap()
}

#[tokio::test]
async fn a_cut_off_object_is_an_error() {
    let built = small_segment();
    for length in [0, 1, built.bytes.len() / 2, built.bytes.len() - 1] {
        let cut = BuiltSegment { bytes: built.bytes.slice(..length), ..built.clone() };
        let (store, meta) = store_segment(&cut).await;
        let meta = SegmentMeta { bytes: built.bytes.len() as u64, ..meta };
        let error = SampleSegment::open(store, &meta).await.unwrap_err();
        assert!(error.to_string().contains("segments/samples/"), "{error}");
    }
}

#[tokio::test]
async fn series_longer_than_a_chunk_read_only_the_chunks_they_need() {
    let labels = Labels::from_pairs([("__name__", "ticks")]);
    let count = CHUNK_SAMPLES_MAX as i64 * 5 + 17;
    let times: Vec<i64> = (0..count).map(|n| n * 1_000).collect();
    let values: Vec<f64> = (0..count).map(|n| (n as f64).sqrt()).collect();
    let mut builder = SampleSegmentBuilder::new();
    builder.push(SeriesData { labels: labels.clone(), times: times.clone(), values });
    let segment = open(&builder.finish().unwrap()).await;

    let middle = SamplePlan { start_ms: 2_000_500, end_ms: 2_100_000, ..everything() };
    let selection = segment.select(&middle).unwrap();
    assert_eq!(selection.samples(), CHUNK_SAMPLES_MAX as u64 * 2, "chunks 1 and 2");
    let found = segment.read(&selection).await.unwrap();
    assert_eq!(found[0].times, times[2_001..=2_100]);

    let selection = segment.select(&everything()).unwrap();
    let (_, stats) = segment.chunk_stats(&selection).next().unwrap();
    let stats: Vec<&ChunkStats> = stats.collect();
    assert_eq!(stats.len(), 6);
    assert_eq!(stats[5].samples, 17);
    assert_eq!(stats[0].numbers.unwrap().increase, stats[0].last - stats[0].first);
}

#[tokio::test]
async fn statistics_are_those_of_the_values() {
    let columns: [&[f64]; 5] =
        [&[3.0, 3.0, 3.0], &[1.0, 5.0, 2.0, 2.5], &[5.0, 1.0, 9.0, 0.5], &[1.0, STALE], &[STALE]];
    let mut builder = SampleSegmentBuilder::new();
    for (number, values) in columns.iter().enumerate() {
        builder.push(SeriesData {
            labels: Labels::from_pairs([("n", number.to_string())]),
            times: (0..values.len() as i64).collect(),
            values: values.to_vec(),
        });
    }
    let segment = open(&builder.finish().unwrap()).await;
    let selection = segment.select(&everything()).unwrap();
    for ((_, mut stats), values) in segment.chunk_stats(&selection).zip(columns) {
        let stats = stats.next().unwrap();
        assert_eq!(stats.first.to_bits(), values[0].to_bits());
        assert_eq!(stats.last.to_bits(), values[values.len() - 1].to_bits());
        assert_eq!(stats.numbers, NumberStats::of(values));
    }
}

#[tokio::test]
async fn labels_too_long_for_the_index_are_still_found() {
    let long = "x".repeat(70_000);
    let mut builder = SampleSegmentBuilder::new();
    for value in [long.as_str(), "short"] {
        let labels = Labels::from_pairs([("__name__", "m"), ("v", value)]);
        builder.push(SeriesData { labels, times: vec![1], values: vec![1.0] });
    }
    let segment = open(&builder.finish().unwrap()).await;
    for (op, value, found) in [
        (MatchOp::Eq, long.as_str(), 1),
        (MatchOp::Eq, "short", 1),
        (MatchOp::Re, "x+", 1),
        (MatchOp::Re, ".+", 2),
        (MatchOp::Eq, "other", 0),
    ] {
        let matchers = [Matcher::new("v", op, value).unwrap()];
        assert_eq!(segment.series(&matchers, 0, 10).unwrap().len(), found, "{op:?}");
    }
}

#[tokio::test]
async fn metadata_comes_back_and_the_last_description_of_a_family_wins() {
    let metadata = |family: &str, help: &str| MetricMetadata {
        family: family.to_owned(),
        kind: "counter".to_owned(),
        help: help.to_owned(),
        unit: String::new(),
    };
    let mut builder = SampleSegmentBuilder::new();
    let labels = Labels::from_pairs([("__name__", "up")]);
    builder.push(SeriesData { labels, times: vec![1], values: vec![1.0] });
    builder.push_metadata(&[metadata("up", "old"), metadata("b", "b"), metadata("up", "new")]);
    let segment = open(&builder.finish().unwrap()).await;
    assert_eq!(segment.metadata(), [metadata("b", "b"), metadata("up", "new")]);
}

#[test]
fn nothing_makes_no_segment() {
    assert!(matches!(SampleSegmentBuilder::new().finish(), Err(BuildError::Empty)));
}

#[test]
fn a_head_counts_repeats_and_conflicts_and_keeps_the_first() {
    let labels = Labels::from_pairs([("__name__", "up")]);
    let data = |times: &[i64], values: &[f64]| SeriesData {
        labels: labels.clone(),
        times: times.to_vec(),
        values: values.to_vec(),
    };
    let mut head = Head::new();
    head.insert(&data(&[10, 30], &[1.0, STALE]));
    let appended = head.insert(&data(&[20, 10, 30, 30], &[2.0, 9.0, STALE, 3.0]));
    assert_eq!(appended, Appended { added: 1, repeated: 1, conflicting: 2 });
    let found = head.scan(&everything());
    assert_eq!(found[0].times, [10, 20, 30]);
    assert_eq!(found[0].values[2].to_bits(), STALE.to_bits());
    let taken = head.take();
    assert!(head.is_empty());
    assert_eq!(taken.len(), 3);
}

/// Node metrics as node_exporter gives them: mostly constants, counters and gauges of whole
/// bytes, all of a target scraped at one moment.
#[test]
fn node_metrics_take_less_than_a_byte_a_sample() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut builder = SampleSegmentBuilder::new();
    for node in 0..4 {
        let mut time = 1_700_000_000_000 + node * 1_234;
        let times: Vec<i64> = std::iter::repeat_with(|| {
            time += 15_000 + rng.i64(-3..3);
            time
        })
        .take(480)
        .collect();
        for series in 0..300_i64 {
            let mut value = rng.i64(0..1_000_000_000);
            let busy = rng.i64(1..400);
            let next = || match series % 6 {
                0..=2 => value as f64,
                3 => {
                    value += rng.i64(0..busy);
                    value as f64 / 100.0
                }
                4 => {
                    if rng.u8(..4) == 0 {
                        value += rng.i64(0..busy);
                    }
                    value as f64
                }
                _ => {
                    if rng.u8(..8) == 0 {
                        value += rng.i64(-busy..busy);
                    }
                    (value * 4_096) as f64
                }
            };
            let values = std::iter::repeat_with(next).take(times.len()).collect();
            let labels = Labels::from_pairs([
                ("__name__", format!("node_metric_{series}")),
                ("instance", format!("10.0.0.{node}:9100")),
                ("job", "node".to_owned()),
            ]);
            builder.push(SeriesData { labels, times: times.clone(), values });
        }
    }
    let built = builder.finish().unwrap();
    let bytes_per_sample = built.bytes.len() as f64 / built.rows as f64;
    assert!(bytes_per_sample < 1.0, "{bytes_per_sample} bytes a sample");
}
