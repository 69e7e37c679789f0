//! Merges, retention and the sweep on a real catalog: rows are neither lost nor doubled wherever
//! they are killed, questions get the same answer before and after, and no orphan stays.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use indexer::merge::policy::GridWindow;
use indexer::retention::{RetentionRule, Rules};
use indexer::sweep::{Mode, sweep};
use indexer::{IndexerSection, Upkeep};
use object_store::{ObjectStore, ObjectStoreExt};
use record::{Labels, TenantId};
use segment::catalog::{Catalog, CatalogOptions, CatalogState, Op};
use segment::samples::{SamplePlan, SampleSegment, SampleSegmentBuilder, SeriesData};
use segment::store::faulty::{Fault, Operation};
use segment::{OffsetRange, SegmentId};
use support::{
    Rig, Row, assert_all_published, by_stream, logs, message, message_of, row, segment_rows, until,
};

const HOUR: i64 = 3_600_000_000_000;

/// Merges whatever can be, at once; sweeps without grace.
fn eager() -> IndexerSection {
    let mut section = support::quick_section();
    section.merge.enabled = true;
    section.merge.inputs_min = 2;
    section.merge.settle_secs = 0;
    section.merge.bytes_per_sec_max = u64::MAX;
    section.sweep.enabled = true;
    section.sweep.interval_secs = 0;
    section.sweep.grace_secs = 0;
    section
}

async fn upkeep(rig: &Rig, section: &IndexerSection) -> Upkeep {
    let mut options = CatalogOptions::new(Arc::clone(&rig.clock), "upkeep");
    options.snapshot_every = 1;
    let catalog = Catalog::open(Arc::clone(&rig.store), "catalog", options).await.unwrap();
    Upkeep::new(section, &rig.store, &catalog, &rig.clock, "http://a".to_owned()).unwrap()
}

/// Publishes `rounds` cuts of two partitions.
async fn publish(rig: &Rig, rounds: u8) {
    let running = rig.start("a").await;
    for round in 0..rounds {
        for partition in 0_u8..2 {
            let rows: Vec<Row> = (0_u8..4)
                .map(|number| {
                    let line =
                        format!("round {round} line {number} of {partition}, 192.168.0.{round}");
                    let time = i64::from(number % 2) + i64::from(round % 3) * HOUR;
                    row(partition + 2 * (number % 2), time, &line, None)
                })
                .collect();
            rig.send(&logs(i32::from(partition)), message(&rows)).await;
        }
        rig.until_published(0, i64::from(round)).await;
    }
    running.stop().await.unwrap();
}

async fn answer_now(rig: &Rig) -> Vec<Row> {
    let state = rig.state().await;
    answer(rig, &state).await
}

async fn objects(store: &Arc<dyn ObjectStore>) -> BTreeSet<String> {
    let listing = store.list(Some(&"segments".into()));
    listing.map(|object| object.unwrap().location.to_string()).collect().await
}

fn named(state: &CatalogState) -> BTreeSet<String> {
    state.segments.values().map(|meta| meta.path.clone()).collect()
}

async fn named_now(rig: &Rig) -> BTreeSet<String> {
    let state = rig.state().await;
    named(&state)
}

/// All rows of a state, as a query would see them: segments in the order they came in.
async fn answer(rig: &Rig, state: &CatalogState) -> Vec<Row> {
    let mut segments: Vec<_> = state.segments.values().collect();
    segments.sort_by_key(|meta| (meta.created_ms, meta.id));
    let mut rows = Vec::new();
    for meta in segments {
        rows.extend(segment_rows(&rig.sound_store, meta).await);
    }
    by_stream(rows)
}

#[tokio::test]
async fn answers_are_the_same_before_and_after_and_on_an_old_state() {
    let rig = Rig::new(2);
    publish(&rig, 12).await;
    let before = rig.state().await;
    let expected = answer(&rig, &before).await;
    let mut section = eager();
    section.sweep.grace_secs = 10_800;
    upkeep(&rig, &section).await.turn().await;
    let after = rig.state().await;
    assert!(after.segments.len() < before.segments.len());
    assert_eq!(after.segments.len(), 3, "one for each window");
    assert_eq!(answer(&rig, &after).await, expected);
    assert_eq!(answer(&rig, &before).await, expected, "a query that pinned the old state goes on");
    for meta in after.segments.values() {
        assert!(0 < meta.level);
        assert_eq!(OffsetRange::coalesce(meta.ranges.clone()), meta.ranges);
    }
    assert_all_published(&rig).await;
    assert!(named(&before).is_subset(&objects(&rig.sound_store).await), "grace");
    upkeep(&rig, &eager()).await.turn().await;
    assert_eq!(objects(&rig.sound_store).await, named_now(&rig).await, "no orphan is left");
}

/// Where upkeep is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    Read,
    BeforeUpload,
    AfterUpload,
    BeforeCommit,
    AfterCommit,
    BeforeSnapshot,
    BeforeDelete,
    AfterDelete,
}

const POINTS: [Point; 8] = [
    Point::Read,
    Point::BeforeUpload,
    Point::AfterUpload,
    Point::BeforeCommit,
    Point::AfterCommit,
    Point::BeforeSnapshot,
    Point::BeforeDelete,
    Point::AfterDelete,
];

fn stop_at(rig: &Rig, point: Point) -> Arc<AtomicUsize> {
    let arrived = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&arrived);
    let mut stopped = false;
    rig.faults.choose(move |operation, path| {
        if stopped {
            // A dead process asks nothing more.
            counter.fetch_add(1, Ordering::SeqCst);
            return Some(Fault::Hang);
        }
        let segments = path.as_ref().starts_with("segments/");
        let here = match point {
            Point::Read => operation == Operation::Get && segments,
            Point::BeforeUpload | Point::AfterUpload => operation == Operation::Put && segments,
            Point::BeforeCommit | Point::AfterCommit => {
                operation == Operation::Put && path.as_ref().contains("commits/")
            }
            Point::BeforeSnapshot => {
                operation == Operation::Put && path.as_ref().contains("snapshots/")
            }
            Point::BeforeDelete | Point::AfterDelete => operation == Operation::Delete && segments,
        };
        if !here {
            return None;
        }
        stopped = true;
        match point {
            Point::AfterUpload | Point::AfterCommit | Point::AfterDelete => Some(Fault::LoseAnswer),
            _ => {
                counter.fetch_add(1, Ordering::SeqCst);
                Some(Fault::Hang)
            }
        }
    });
    arrived
}

/// Runs upkeep until it is killed at `point`.
async fn killed_at(rig: &Rig, section: &IndexerSection, point: Point) {
    let mut doomed = upkeep(rig, section).await;
    let arrived = stop_at(rig, point);
    let here =
        until("the point or the end", async || (0 < arrived.load(Ordering::SeqCst)).then_some(()));
    tokio::select! {
        () = doomed.turn() => {}
        () = here => {}
    }
    assert!(0 < arrived.load(Ordering::SeqCst), "never came to {point:?}");
    rig.faults.clear();
}

#[tokio::test]
async fn merges_and_sweeps_killed_anywhere_lose_nothing_and_leave_nothing() {
    for point in POINTS {
        let rig = Rig::new(2);
        publish(&rig, 6).await;
        killed_at(&rig, &eager(), point).await;
        assert_all_published(&rig).await;
        for _ in 0..2 {
            upkeep(&rig, &eager()).await.turn().await;
        }
        assert_all_published(&rig).await;
        let state = rig.state().await;
        assert_eq!(state.segments.len(), 3, "{point:?}");
        assert_eq!(objects(&rig.sound_store).await, named(&state), "{point:?}: no orphan is left");
    }
}

#[tokio::test]
async fn retention_killed_anywhere_takes_what_is_old_and_nothing_else() {
    let mut section = eager();
    // Rows of 1970 are older than a year, those of now are not.
    section.retention.age_secs = 365 * 86_400;
    for point in [Point::BeforeCommit, Point::AfterCommit, Point::BeforeDelete, Point::AfterDelete]
    {
        let rig = Rig::new(2);
        publish(&rig, 3).await;
        let now = rig.clock.unix_nanos();
        let young = [row(0, now, "young", None), row(1, now, "young too", None)];
        rig.send(&logs(0), message(&young[..1])).await;
        rig.send(&logs(1), message(&young[1..])).await;
        rig.start("a").await.stop().await.unwrap();
        killed_at(&rig, &section, point).await;
        for _ in 0..2 {
            upkeep(&rig, &section).await.turn().await;
        }
        let state = rig.state().await;
        assert_eq!(answer(&rig, &state).await, by_stream(young), "{point:?}");
        assert_eq!(objects(&rig.sound_store).await, named(&state), "{point:?}");
    }
}

#[tokio::test]
async fn classes_are_never_mixed_and_expire_apart() {
    let mut rig = Rig::new(1);
    let rule = |name: &str, selector: &str, age_secs| RetentionRule {
        name: name.to_owned(),
        tenant: None,
        selector: selector.to_owned(),
        age_secs,
    };
    // Rows of 1970: the one rule keeps them, the default does not.
    let mut section = eager();
    section.logs.cut_raw_bytes_max = 1;
    section.retention.rules =
        vec![rule("short", r#"{stream=~"s[01]"}"#, 86_400), rule("audit", r#"{stream="s1"}"#, 0)];
    rig.section.logs.cut_raw_bytes_max = 1;
    rig.section.retention = section.retention.clone();
    let rules = Rules::new(&section.retention);
    let running = rig.start("a").await;
    for number in 0..4 {
        let rows: Vec<Row> =
            (0..3).map(|stream| row(stream, number, &format!("{stream} {number}"), None)).collect();
        rig.send(&logs(0), message(&rows)).await;
        rig.until_published(0, number + 1).await;
    }
    running.stop().await.unwrap();
    let before = rig.state().await;
    assert_eq!(before.segments.len(), 12, "each cut has three classes");
    upkeep(&rig, &section).await.turn().await;
    let state = rig.state().await;
    let left: BTreeMap<&str, u64> =
        state.segments.values().map(|meta| (meta.class.as_str(), meta.rows)).collect();
    assert_eq!(
        left,
        BTreeMap::from([("", 4), ("audit", 4)]),
        "`short` is gone, the rest is merged"
    );
    for meta in state.segments.values() {
        for row in segment_rows(&rig.sound_store, meta).await {
            let labels = Labels::from_pairs([("stream", format!("s{}", row.stream))]);
            assert_eq!(rules.class(&meta.tenant, &labels), meta.class);
        }
    }
}

#[tokio::test]
async fn a_tenant_with_too_many_bytes_loses_its_oldest() {
    let mut rig = Rig::new(1);
    rig.section.logs.cut_raw_bytes_max = 1;
    let running = rig.start("a").await;
    let (big, small) = (TenantId::new("big").unwrap(), TenantId::new("small").unwrap());
    for hour in 0..6_i64 {
        for tenant in [&big, &small] {
            let rows = [row(0, hour * HOUR, &format!("hour {hour}"), None)];
            rig.send(&logs(0), message_of(tenant, &rows)).await;
        }
        rig.until_published(0, 2 * (hour + 1)).await;
    }
    running.stop().await.unwrap();
    let before = rig.state().await;
    let of = |state: &CatalogState, tenant: &TenantId| -> Vec<(i64, u64)> {
        let of_tenant = state.segments.values().filter(|meta| meta.tenant == *tenant);
        let mut found: Vec<_> =
            of_tenant.map(|meta| (meta.time_min_ns / HOUR, meta.bytes)).collect();
        found.sort_unstable();
        found
    };
    let newest: u64 = of(&before, &big).iter().rev().take(2).map(|(_, bytes)| bytes).sum();
    let mut section = eager();
    section.merge.enabled = false;
    section.retention.tenant_bytes_max = BTreeMap::from([("big".to_owned(), newest)]);
    upkeep(&rig, &section).await.turn().await;
    let after = rig.state().await;
    let hours: Vec<i64> = of(&after, &big).iter().map(|(hour, _)| *hour).collect();
    assert_eq!(hours, [4, 5]);
    assert_eq!(of(&after, &small), of(&before, &small));
}

#[tokio::test]
async fn the_sweep_leaves_what_is_young_named_or_not_a_segment() {
    let rig = Rig::new(2);
    publish(&rig, 2).await;
    let before = objects(&rig.sound_store).await;
    let orphan = "segments/logs/fake/1970-01-01/01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let foreign = "segments/logs/fake/README";
    for name in [orphan, foreign] {
        rig.sound_store.put(&name.into(), "x".into()).await.unwrap();
    }
    let catalog = rig.catalog().await;
    let run = async |grace, mode| {
        sweep(&rig.store, &catalog, &rig.clock, Duration::from_secs(grace), mode).await.unwrap()
    };
    assert_eq!(run(600, Mode::Delete).await.orphans, [], "it is young");
    let dry = run(0, Mode::DryRun).await;
    assert_eq!(dry.orphans, [(orphan.to_owned(), 1)]);
    assert_eq!(dry.unknown, 1);
    assert_eq!(objects(&rig.sound_store).await.len(), before.len() + 2);
    assert_eq!(run(0, Mode::Delete).await, dry);
    let mut left = before;
    left.insert(foreign.to_owned());
    assert_eq!(objects(&rig.sound_store).await, left);
}

#[tokio::test]
async fn a_damaged_segment_is_set_aside_and_the_others_are_merged() {
    let rig = Rig::new(2);
    publish(&rig, 9).await;
    let before = rig.state().await;
    let damaged = before.segments.values().next().unwrap();
    rig.sound_store.put(&damaged.location(), vec![7; damaged.bytes as usize].into()).await.unwrap();
    upkeep(&rig, &eager()).await.turn().await;
    let after = rig.state().await;
    assert!(after.segments.contains_key(&damaged.id), "nothing of it is given up");
    assert!(after.segments.len() < before.segments.len());
    let rows = |state: &CatalogState| state.segments.values().map(|meta| meta.rows).sum::<u64>();
    assert_eq!(rows(&after), rows(&before));
}

#[tokio::test]
async fn two_that_merge_the_same_at_once_do_it_once() {
    let rig = Rig::new(2);
    publish(&rig, 8).await;
    let expected = answer_now(&rig).await;
    let mut section = eager();
    section.sweep.grace_secs = 10_800;
    let (mut one, mut other) = (upkeep(&rig, &section).await, upkeep(&rig, &section).await);
    futures::future::join(one.turn(), other.turn()).await;
    assert_eq!(answer_now(&rig).await, expected);
    upkeep(&rig, &eager()).await.turn().await;
    let state = rig.state().await;
    assert_eq!(answer(&rig, &state).await, expected);
    assert_eq!(objects(&rig.sound_store).await, named(&state));
}

/// Publishes a segment of samples of one series without an indexer.
async fn publish_samples(rig: &Rig, created_ms: i64, samples: &[(i64, f64)]) {
    let mut builder = SampleSegmentBuilder::new();
    let (times, values) = samples.iter().copied().unzip();
    let labels = Labels::from_pairs([("__name__", "up")]);
    builder.push(SeriesData { labels, times, values });
    let built = builder.finish().unwrap();
    let id = SegmentId::generate(rig.clock.unix_nanos());
    let meta = built.meta(id, TenantId::default(), Vec::new(), created_ms);
    rig.sound_store.put(&meta.location(), built.bytes.into()).await.unwrap();
    rig.catalog().await.commit(vec![Op::AddSegments { segments: vec![meta] }]).await.unwrap();
}

#[tokio::test]
async fn samples_are_merged_within_their_windows_and_the_first_of_two_stays() {
    const HOUR_MS: i64 = 3_600_000;
    let rig = Rig::new(1);
    publish_samples(&rig, 1, &[(0, 1.0), (10, 2.0)]).await;
    publish_samples(&rig, 2, &[(10, 99.0), (20, 3.0)]).await;
    // Late: it spans several windows of two hours.
    publish_samples(&rig, 3, &[(15, 2.5), (3 * HOUR_MS, 4.0), (20 * HOUR_MS, 5.0)]).await;
    let mut upkeep = upkeep(&rig, &eager()).await;
    upkeep.turn().await;
    let state = rig.state().await;
    let mut found = Vec::new();
    for meta in state.segments.values() {
        let segment = SampleSegment::open(Arc::clone(&rig.sound_store), meta).await.unwrap();
        let everything = SamplePlan {
            tenant: TenantId::default(),
            start_ms: i64::MIN,
            end_ms: i64::MAX,
            matchers: Vec::new(),
        };
        for series in segment.scan(&everything).await.unwrap() {
            found.extend(series.times.into_iter().zip(series.values));
        }
        let window = |time_ns: i64| time_ns.div_euclid(2 * HOUR);
        assert_eq!(window(meta.time_min_ns), window(meta.time_max_ns));
    }
    found.sort_by_key(|(time, _)| *time);
    let expected =
        [(0, 1.0), (10, 2.0), (15, 2.5), (20, 3.0), (3 * HOUR_MS, 4.0), (20 * HOUR_MS, 5.0)];
    assert_eq!(found, expected);
    assert_eq!(state.segments.len(), 3);
    assert_eq!(objects(&rig.sound_store).await, named(&state));
}

/// A day of logs of which 5 % are days late and 1 % ahead of time.
#[tokio::test]
async fn late_and_early_rows_neither_stretch_windows_nor_make_a_segment_each() {
    let mut rig = Rig::new(1);
    rig.section.logs.cut_raw_bytes_max = 2_000;
    rig.section.logs.stragglers_max = 2;
    let running = rig.start("a").await;
    let start = 480_000 * HOUR;
    let (mut rows, mut odd) = (0_u64, 0_u64);
    for hour in 0..24_i64 {
        for part in 0..4 {
            let batch: Vec<Row> = (0..25_i64)
                .map(|number| {
                    rows += 1;
                    let time = start + hour * HOUR + (part * 25 + number) * 30_000_000_000;
                    let time = match rows % 100 {
                        0 => time + (rows as i64 % 7 + 2) * 24 * HOUR,
                        20 | 40 | 60 | 80 | 90 => time - (rows as i64 % 3 + 2) * 24 * HOUR,
                        _ => time,
                    };
                    odd += u64::from(matches!(rows % 100, 0 | 20 | 40 | 60 | 80 | 90));
                    row((rows % 3) as u8, time, &format!("request {rows} took {number} ms"), None)
                })
                .collect();
            rig.send(&logs(0), message(&batch)).await;
        }
        rig.until_published(0, 4 * hour).await;
    }
    running.stop().await.unwrap();
    assert_eq!((rows, odd), (2_400, 144));
    let length = Duration::from_secs(3_600);
    let home = |meta: &segment::SegmentMeta| {
        GridWindow::holding(meta.time_min_ns..=meta.time_max_ns, length)
    };
    let published = rig.state().await;
    let tight = published.segments.values().filter(|meta| home(meta).level == 0);
    let in_window: u64 = tight.map(|meta| meta.rows).sum();
    assert!(rows - odd <= in_window, "{in_window} of {rows}");
    assert!(published.segments.values().any(|meta| 0 < home(meta).level), "some are wide");
    let expected = answer(&rig, &published).await;
    assert_eq!(expected, by_stream(rig.expected()));
    let mut merged = published;
    let mut upkeep = upkeep(&rig, &eager()).await;
    loop {
        let before = merged.version;
        upkeep.turn().await;
        merged = rig.state().await;
        if merged.version == before {
            break;
        }
    }
    assert_eq!(answer(&rig, &merged).await, expected, "counts are exact");
    for meta in merged.segments.values() {
        assert_eq!(home(meta).level, 0, "{meta:?} keeps to its window");
    }
    let windows: BTreeSet<i64> = expected.iter().map(|row| row.time.div_euclid(HOUR)).collect();
    assert!(merged.segments.len() <= windows.len() * 2, "{} segments", merged.segments.len());
}
