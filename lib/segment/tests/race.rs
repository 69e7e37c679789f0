//! Writers race on one catalog: history stays linear, and every commit that was acknowledged is in
//! it once, on local files and on S3.
//!
//! `MILLRACE_TEST_RACE_COMMITS` sets how many commits are made; a few hundred without it.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "a long run says what it took")]

mod server;

use std::sync::Arc;

use futures::StreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use record::TenantId;
use runtime::clock::{Clock, SystemClock};
use segment::catalog::{Catalog, CatalogOptions, Op, PREFIX, doctor};
use segment::store::{self, StoreSection};
use segment::{SegmentId, SegmentKind, SegmentMeta};
use serde_json::Value;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_on_local_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = store::open(&StoreSection::default(), folder.path()).unwrap();
    race(&store, 2, commits(400)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_writers_on_local_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = store::open(&StoreSection::default(), folder.path()).unwrap();
    race(&store, 4, commits(400)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_on_s3() {
    let (store, _section) = server::open("race-2").await;
    race(&store, 2, commits(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_writers_on_s3() {
    let (store, _section) = server::open("race-4").await;
    race(&store, 4, commits(200)).await;
}

fn commits(default: i64) -> i64 {
    let given = std::env::var("MILLRACE_TEST_RACE_COMMITS").ok();
    given.map_or(default, |text| text.parse().expect("MILLRACE_TEST_RACE_COMMITS is a number"))
}

/// A commit its writer was told is made.
struct Acknowledged {
    version: u64,
    segment: SegmentId,
}

async fn race(store: &Arc<dyn ObjectStore>, writers: i32, commits: i64) {
    let clock = SystemClock::new();
    // Each has a share of its own: whoever loses a number waits a little, so that from a common
    // pot a fast winner would take all.
    let share = commits / i64::from(writers);
    let commits = share * i64::from(writers);
    let ready = Arc::new(Barrier::new(writers as usize));
    let mut racing = JoinSet::new();
    for partition in 0..writers {
        racing.spawn(write(Arc::clone(store), partition, share, Arc::clone(&ready)));
    }
    let mut acknowledged = Vec::new();
    let mut catalogs = Vec::new();
    while let Some(ended) = racing.join_next().await {
        let (catalog, made) = ended.unwrap();
        assert_eq!(made.len() as i64, share);
        catalogs.push(catalog);
        acknowledged.extend(made);
    }
    println!("{commits} commits by {writers} writers on {store}: {:?}", clock.elapsed());

    let versions = (i64::from(writers) + commits) as u64;
    acknowledged.sort_unstable_by_key(|made| made.version);
    let mut told: Vec<u64> = acknowledged.iter().map(|made| made.version).collect();
    told.dedup();
    assert_eq!(told.len() as i64, commits, "each was told a number of its own");
    assert_history(store, versions, &acknowledged).await;

    let audit = doctor::audit(store, PREFIX, &options("auditor")).await.unwrap();
    let objects_missing =
        |finding: &doctor::Finding| matches!(finding, doctor::Finding::SegmentMissing { .. });
    let wrong: Vec<_> = audit.findings.iter().filter(|one| !objects_missing(one)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!((audit.version, audit.commits), (versions, versions));
    assert_eq!(audit.snapshots, versions / options("").snapshot_every);
    let opened = Catalog::open(Arc::clone(store), PREFIX, options("reader")).await.unwrap().state();
    assert_eq!(opened.segments.len(), writers as usize, "the last of each writer");
    let published: i64 = opened.partitions.values().map(|partition| partition.published).sum();
    assert_eq!(published, commits);
    for catalog in catalogs {
        assert_eq!(catalog.refresh().await.unwrap(), opened);
    }
}

/// Takes a partition and, once all have theirs, publishes one message a commit, each time replacing
/// its last segment.
async fn write(
    store: Arc<dyn ObjectStore>,
    partition: i32,
    share: i64,
    ready: Arc<Barrier>,
) -> (Catalog, Vec<Acknowledged>) {
    let topic = || "logs".to_owned();
    let writer = format!("http://indexer-{partition}:3100");
    let catalog = Catalog::open(store, PREFIX, options(&writer)).await.unwrap();
    let take = Op::Acquire { topic: topic(), partition, owner: writer };
    let epoch =
        catalog.commit(vec![take]).await.unwrap().partition("logs", partition).unwrap().epoch;
    let mut made: Vec<Acknowledged> = Vec::new();
    ready.wait().await;
    for from in 0..share {
        let meta = segment(partition, from);
        let segment = meta.id;
        let mut ops = vec![Op::AddSegments { segments: vec![meta] }];
        if let Some(last) = made.last() {
            ops.push(Op::RemoveSegments { ids: vec![last.segment] });
        }
        let (to, sources) = (from + 1, Vec::new());
        ops.push(Op::Advance { topic: topic(), partition, epoch, from, to, sources });
        let state = catalog.commit(ops).await.unwrap();
        assert!(state.segments.contains_key(&segment), "the state just after the commit");
        made.push(Acknowledged { version: state.version, segment });
    }
    (catalog, made)
}

/// Reads every commit object: numbers without a gap, each following the one before it, and each
/// acknowledged segment added by the commit its writer was told.
async fn assert_history(store: &Arc<dyn ObjectStore>, versions: u64, made: &[Acknowledged]) {
    let commits = object_store::path::Path::from(format!("{PREFIX}/commits"));
    let listed = store.list(Some(&commits)).count().await;
    assert_eq!(listed as u64, versions, "as many commits as were acknowledged");
    let mut previous = Value::Null;
    let mut made = made.iter().peekable();
    for version in 1..=versions {
        let path = commits.clone().join(format!("{version:020}"));
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let body = &document["body"];
        assert_eq!(body["previous"], previous, "commit {version}");
        previous = body["id"].clone();
        if let Some(known) = made.next_if(|made| made.version == version) {
            assert_eq!(body["ops"][0]["segments"][0]["id"], known.segment.to_string());
        } else {
            assert_eq!(
                body["ops"][0]["op"], "acquire",
                "commit {version} was acknowledged to none"
            );
        }
    }
    assert!(made.next().is_none());
}

fn segment(partition: i32, from: i64) -> SegmentMeta {
    let id = SegmentId::generate(from * 1_000_000 + i64::from(partition));
    let tenant = TenantId::default();
    SegmentMeta {
        id,
        kind: SegmentKind::Logs,
        path: SegmentMeta::object_path(SegmentKind::Logs, &tenant, id, 0),
        tenant,
        bytes: 1_000,
        raw_bytes: 5_000,
        rows: 1,
        time_min_ns: 0,
        time_max_ns: 1,
        ranges: Vec::new(),
        created_ms: 1,
        footer_bytes: 100,
        level: 0,
        class: String::new(),
    }
}

fn options(writer: &str) -> CatalogOptions {
    CatalogOptions { snapshot_every: 32, ..CatalogOptions::new(SystemClock::shared(), writer) }
}
