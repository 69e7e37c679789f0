//! Objects written by every past version are read, byte for byte as they were published.
//!
//! `UPDATE_GOLDEN=1` writes a file that does not exist yet; existing ones are never rewritten.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use record::{Labels, MatchOp, Matcher, MetricMetadata, SourceId, TenantId};
use runtime::clock::{ManualClock, SharedClock};
use segment::catalog::{Catalog, CatalogOptions, CatalogState, Op, PREFIX};
use segment::samples::{SamplePlan, SampleSegment, SampleSegmentBuilder, SeriesData};
use segment::{OffsetRange, SegmentId, SegmentKind, SegmentMeta};

const COMMITS: [&str; 3] = [
    "commits/00000000000000000001",
    "commits/00000000000000000002",
    "commits/00000000000000000003",
];
const SNAPSHOT: &str = "snapshots/00000000000000000003";

#[tokio::test]
async fn every_catalog_format_reads_from_commits_and_from_a_snapshot() {
    for (format, lost) in [("catalog-1", &[][..]), ("catalog-2", &[(4_000, 4_010), (4_400, 4_500)])]
    {
        let folder = golden(format);
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !folder.join(SNAPSHOT).is_file() {
            write_catalog(&folder, lost).await;
        }
        let from_commits = open(&folder, &COMMITS).await;
        expect_catalog(&from_commits, lost);
        let from_snapshot = open(&folder, &[SNAPSHOT]).await;
        assert_eq!(from_snapshot, from_commits, "{format}");
    }
}

#[tokio::test]
async fn samples_format_1_reads_bit_for_bit() {
    let file = golden("samples-1").join("segment");
    let expected = samples();
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !file.is_file() {
        let mut builder = SampleSegmentBuilder::new();
        expected.iter().cloned().for_each(|data| builder.push(data));
        builder.push_metadata(&[description()]);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, builder.finish().unwrap().bytes).unwrap();
    }
    let bytes = Bytes::from(std::fs::read(&file).unwrap());
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mut meta = logs_segment(9, 0, 1);
    (meta.kind, meta.bytes, meta.footer_bytes) = (SegmentKind::Samples, bytes.len() as u64, 100);
    store.put(&meta.location(), bytes.into()).await.unwrap();
    let segment = SampleSegment::open(store, &meta).await.unwrap();
    assert_eq!(segment.metadata(), [description()]);
    let (tenant, matchers) = (TenantId::default(), Vec::new());
    let everything = SamplePlan { tenant, start_ms: i64::MIN, end_ms: i64::MAX, matchers };
    let found = segment.scan(&everything).await.unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!((&found.labels, &found.times), (&expected.labels, &expected.times));
        let bits = |data: &SeriesData| data.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(found), bits(expected), "{}", expected.labels);
    }
    let counters = [Matcher::new("__name__", MatchOp::Re, "counter.*").unwrap()];
    assert_eq!(segment.series(&counters, 0, i64::MAX).unwrap(), [expected[1].labels.clone()]);
}

/// One series for each encoding, sorted as a segment sorts them.
fn samples() -> Vec<SeriesData> {
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let noise = |n: u32| f64::from_bits(u64::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let columns: [(&str, &dyn Fn(u32) -> f64); 5] = [
        ("constant", &|_| -0.0),
        ("counter_total", &|n| f64::from(n * 15) / 100.0),
        ("gauge", &|n| if n % 40 == 39 { stale } else { f64::from(n % 9) * 4096.0 }),
        ("noise", &noise),
        ("ratio", &|n| f64::from(n / 4 + 1).recip()),
    ];
    let series = |(name, value): (&str, &dyn Fn(u32) -> f64)| SeriesData {
        labels: Labels::from_pairs([("__name__", name), ("instance", "a:9100")]),
        times: (0..1_100).map(|n| 1_700_000_000_000 + n * 15_000 + n % 3).collect(),
        values: (0..1_100).map(value).collect(),
    };
    columns.into_iter().map(series).collect()
}

fn description() -> MetricMetadata {
    MetricMetadata {
        family: "counter".to_owned(),
        kind: "counter".to_owned(),
        help: "Counts.".to_owned(),
        unit: "seconds".to_owned(),
    }
}

fn expect_catalog(state: &CatalogState, lost: &[(i64, i64)]) {
    assert_eq!(state.version, 3);
    let kept = state.segments.values().map(|segment| (**segment).clone()).collect::<Vec<_>>();
    assert_eq!(kept, [logs_segment(2, 1_000, 4_000)]);
    let partition = state.partition("millrace.logs", 0).unwrap();
    let published = lost.last().map_or(4_000, |(_, to)| *to);
    assert_eq!((partition.epoch, partition.published), (1, published));
    assert_eq!(partition.owner, "http://indexer-0:3100");
    let marks: Vec<_> = partition.sources.iter().map(|(id, mark)| (*id, mark.high)).collect();
    assert_eq!(marks, [(SourceId([1; 16]), 900), (SourceId([2; 16]), u64::MAX)]);
    let named: Vec<_> = partition.lost.ranges.iter().map(|lost| (lost.from, lost.to)).collect();
    assert_eq!(named, lost);
}

async fn write_catalog(folder: &Path, lost: &[(i64, i64)]) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let catalog = catalog(Arc::clone(&store)).await;
    let topic = || "millrace.logs".to_owned();
    let owner = "http://indexer-0:3100".to_owned();
    catalog.commit(vec![Op::Acquire { topic: topic(), partition: 0, owner }]).await.unwrap();
    let publish = |id, from, to, sources| {
        vec![
            Op::AddSegments { segments: vec![logs_segment(id, from, to)] },
            Op::Advance { topic: topic(), partition: 0, epoch: 1, from, to, sources },
        ]
    };
    catalog.commit(publish(1, 0, 1_000, vec![(SourceId([1; 16]), 900)])).await.unwrap();
    let mut ops = publish(2, 1_000, 4_000, vec![(SourceId([2; 16]), u64::MAX)]);
    ops.push(Op::RemoveSegments { ids: vec![SegmentId::from_bits(1)] });
    if let Some((_, to)) = lost.last() {
        let (partition, epoch, sources) = (0, 1, Vec::new());
        ops.push(Op::Advance { topic: topic(), partition, epoch, from: 4_000, to: *to, sources });
        ops.push(Op::NoteLost { topic: topic(), partition, epoch, ranges: lost.to_vec() });
    }
    catalog.commit(ops).await.unwrap();
    for name in COMMITS.iter().chain(&[SNAPSHOT]) {
        let object = format!("{PREFIX}/{name}").into();
        let bytes = store.get(&object).await.unwrap().bytes().await.unwrap();
        let file = folder.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
}

async fn open(folder: &Path, names: &[&str]) -> CatalogState {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for name in names {
        let bytes = Bytes::from(std::fs::read(folder.join(name)).unwrap());
        store.put(&format!("{PREFIX}/{name}").into(), bytes.into()).await.unwrap();
    }
    (*catalog(store).await.state()).clone()
}

async fn catalog(store: Arc<dyn ObjectStore>) -> Catalog {
    let clock = ManualClock::new(1_700_000_000_000_000_000) as SharedClock;
    let options = CatalogOptions { snapshot_every: 3, ..CatalogOptions::new(clock, "golden") };
    Catalog::open(store, PREFIX, options).await.unwrap()
}

fn logs_segment(id: u128, from: i64, to: i64) -> SegmentMeta {
    let (kind, tenant) = (SegmentKind::Logs, TenantId::default());
    let id = SegmentId::from_bits(id);
    let time_min_ns = 1_700_000_000_000_000_000 + from;
    SegmentMeta {
        id,
        kind,
        path: SegmentMeta::object_path(kind, &tenant, id, time_min_ns),
        tenant,
        bytes: 123_456,
        raw_bytes: 654_321,
        rows: (to - from) as u64,
        time_min_ns,
        time_max_ns: time_min_ns + 1_000_000_000,
        ranges: vec![OffsetRange { topic: "millrace.logs".to_owned(), partition: 0, from, to }],
        created_ms: 1_700_000_000_000,
        footer_bytes: 4_096,
        level: 0,
        class: String::new(),
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}
