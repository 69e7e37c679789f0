//! Whatever is broken in a catalog is found, named, and comes with what to do.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{Audit, audit};
use crate::catalog::testing::{acquire, advance, commit_on, segment, yield_clock};
use crate::catalog::{Catalog, CatalogOptions, Op, PREFIX, envelope};
use crate::meta::SegmentMeta;

/// Versions of the catalog made here; a snapshot is written every fourth.
const VERSIONS: i64 = 11;

fn options() -> CatalogOptions {
    CatalogOptions { snapshot_every: 4, ..CatalogOptions::new(yield_clock(), "test") }
}

/// A sound catalog: one acquisition, then one segment a commit, each with its object.
async fn sound() -> Arc<dyn ObjectStore> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let catalog = Catalog::open(Arc::clone(&store), PREFIX, options()).await.unwrap();
    catalog.commit(vec![acquire("a")]).await.unwrap();
    for from in 0..VERSIONS - 1 {
        let meta = segment_of(from);
        let bytes = vec![0_u8; usize::try_from(meta.bytes).unwrap()];
        store.put(&meta.location(), bytes.into()).await.unwrap();
        let add = Op::AddSegments { segments: vec![meta] };
        catalog.commit(vec![add, advance(1, from, from + 1)]).await.unwrap();
    }
    store
}

fn segment_of(from: i64) -> SegmentMeta {
    segment(from as u128 + 1)
}

async fn audited(store: &Arc<dyn ObjectStore>) -> Audit {
    audit(store, PREFIX, &options()).await.unwrap()
}

fn commit_path(version: u64) -> Path {
    Path::from(format!("{PREFIX}/commits/{version:020}"))
}

fn snapshot_path(version: u64) -> Path {
    Path::from(format!("{PREFIX}/snapshots/{version:020}"))
}

async fn cut(store: &Arc<dyn ObjectStore>, path: &Path) {
    let bytes = store.get(path).await.unwrap().bytes().await.unwrap();
    store.put(path, bytes.slice(..bytes.len() / 2).into()).await.unwrap();
}

/// Asserts the findings: of each, a part of what it says and a part of the advice.
fn expect(audit: &Audit, wanted: &[(&str, &str)]) {
    let found: Vec<(String, String)> =
        audit.findings.iter().map(|finding| (finding.to_string(), finding.advice())).collect();
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for ((says, advises), (say, advise)) in found.iter().zip(wanted) {
        assert!(says.contains(say), "{say}: {says}");
        assert!(advises.contains(advise), "{advise}: {advises}");
    }
}

#[tokio::test]
async fn what_the_queue_lost_is_told_and_is_no_fault() {
    let store = sound().await;
    let catalog = Catalog::open(Arc::clone(&store), PREFIX, options()).await.unwrap();
    let (topic, partition, ranges) = ("logs".to_owned(), 0, vec![(10, 13), (20, 24)]);
    let lose = Op::NoteLost { topic, partition, epoch: 1, ranges };
    // The commit of a snapshot.
    catalog.commit(vec![advance(1, 10, 24), lose]).await.unwrap();
    for forgotten in [0, 8] {
        // From the first commit, then from the snapshots alone.
        for version in 1..=forgotten {
            store.delete(&commit_path(version)).await.unwrap();
        }
        let audit = audited(&store).await;
        expect(&audit, &[]);
        let [(topic, 0, lost)] = &audit.lost[..] else { panic!("{:?}", audit.lost) };
        let ranges: Vec<(i64, i64)> = lost.ranges.iter().map(|lost| (lost.from, lost.to)).collect();
        assert_eq!((topic.as_str(), ranges), ("logs", vec![(10, 13), (20, 24)]));
        assert_eq!(lost.offsets(), 7);
    }
}

#[tokio::test]
async fn a_sound_catalog_has_nothing_to_say_and_counts_orphans() {
    let store = sound().await;
    let orphan = segment(99);
    store.put(&orphan.location(), vec![1_u8; 7].into()).await.unwrap();
    let audit = audited(&store).await;
    expect(&audit, &[]);
    assert_eq!((audit.version, audit.commits, audit.snapshots), (11, 11, 2));
    assert_eq!((audit.segments, audit.orphans, audit.orphan_bytes), (10, 1, 7));
}

#[tokio::test]
async fn an_empty_store_is_sound() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let audit = audited(&store).await;
    expect(&audit, &[]);
    assert_eq!(audit.version, 0);
}

#[tokio::test]
async fn commits_deleted_below_a_snapshot_are_no_gap() {
    let store = sound().await;
    for version in 1..=4 {
        store.delete(&commit_path(version)).await.unwrap();
    }
    let audit = audited(&store).await;
    expect(&audit, &[]);
    assert_eq!((audit.version, audit.commits), (11, 7));
}

#[tokio::test]
async fn a_gap_a_later_snapshot_covers_loses_nothing_and_one_behind_it_does() {
    let store = sound().await;
    for version in [6, 7, 10] {
        store.delete(&commit_path(version)).await.unwrap();
    }
    let audit = audited(&store).await;
    let wanted = [
        ("commits 6 to 7 are missing", "nothing is lost: snapshot 8"),
        ("commit 10 is missing", "restore `commits/00000000000000000010`"),
    ];
    expect(&audit, &wanted);
}

#[tokio::test]
async fn every_damaged_commit_is_named() {
    let store = sound().await;
    for version in [2, 3, 9] {
        cut(&store, &commit_path(version)).await;
    }
    let audit = audited(&store).await;
    let wanted = [
        ("commits/00000000000000000002` is damaged", "nothing is lost: snapshot 4"),
        ("commits/00000000000000000003` is damaged", "nothing is lost: snapshot 4"),
        ("commits/00000000000000000009` is damaged", "indexers publish nothing more"),
    ];
    expect(&audit, &wanted);
    assert_eq!((audit.version, audit.segments, audit.orphans), (8, 7, 3));
}

#[tokio::test]
async fn a_fork_and_a_snapshot_of_another_history_are_told_apart() {
    let store = sound().await;
    // Another writer's commit 10, which the sound commit 11 does not follow.
    let state = Catalog::open(Arc::clone(&store), PREFIX, options()).await.unwrap().state();
    let mut other = commit_on(&state, vec![acquire("b")]);
    other.version = 10;
    let bytes = store.get(&commit_path(9)).await.unwrap().bytes().await.unwrap();
    let ninth: crate::catalog::Commit = envelope::decode(envelope::Kind::Commit, &bytes).unwrap();
    other.previous = Some(ninth.id);
    let bytes = envelope::encode(envelope::Kind::Commit, &other);
    store.put(&commit_path(10), bytes.into()).await.unwrap();
    // And a snapshot that holds an older one's state would be misnamed; one that is cut is damaged.
    cut(&store, &snapshot_path(4)).await;
    let audit = audited(&store).await;
    let wanted = [
        ("snapshots/00000000000000000004` is damaged", "an older snapshot and the commits"),
        ("commits/00000000000000000011` does not fit", "stop every indexer"),
    ];
    expect(&audit, &wanted);
}

#[tokio::test]
async fn a_snapshot_that_says_something_else_than_the_commits_is_found() {
    let store = sound().await;
    let lying = Catalog::open(Arc::clone(&store), PREFIX, options()).await.unwrap().state();
    let mut lying = (*lying).clone();
    lying.version = 8;
    let body = crate::catalog::snapshot::SnapshotBody::of(&lying);
    let bytes = envelope::encode(envelope::Kind::Snapshot, &body);
    store.put(&snapshot_path(8), bytes.into()).await.unwrap();
    let audit = audited(&store).await;
    expect(&audit, &[("snapshots/00000000000000000008` differs", "the commits are what counts")]);
}

#[tokio::test]
async fn missing_and_resized_segments_are_named_with_their_rows() {
    let store = sound().await;
    store.delete(&segment_of(3).location()).await.unwrap();
    store.put(&segment_of(5).location(), vec![0_u8; 3].into()).await.unwrap();
    let audit = audited(&store).await;
    let wanted = [
        ("has 3 bytes, it was published with 1000", "was changed or cut"),
        ("is missing", "leave its 10 rows out"),
    ];
    expect(&audit, &wanted);
    assert!(audit.findings[1].to_string().contains(&segment_of(3).id.to_string()));
}
