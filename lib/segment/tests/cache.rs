//! What a cached store promises: the same bytes as without, fewer requests, a bounded disk, and
//! nothing wrong after its files were damaged.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use runtime::clock::SystemClock;
use segment::store::faulty::{Faults, FaultyStore, Operation};
use segment::store::{CacheOptions, CachedStore};

const OBJECT_BYTES: usize = 8 << 20;

fn content() -> Bytes {
    (0..OBJECT_BYTES as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A store with one object, and what counts its requests.
async fn store() -> (Arc<dyn ObjectStore>, Faults) {
    let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    inner.put(&Path::from("one"), content().into()).await.unwrap();
    FaultyStore::new(inner, SystemClock::shared())
}

fn options(disk: Option<&FilePath>) -> CacheOptions {
    let disk = disk.map(|folder| (folder.to_path_buf(), 128 << 20));
    CacheOptions { ram_bytes_max: 16 << 20, disk, reads_max: 4 }
}

async fn check(store: &CachedStore, ranges: &[Range<u64>]) {
    let got = store.get_ranges(&Path::from("one"), ranges).await.unwrap();
    let content = content();
    for (range, bytes) in ranges.iter().zip(&got) {
        assert!(*bytes == content.slice(range.start as usize..range.end as usize), "{range:?}");
    }
    assert_eq!(got.len(), ranges.len());
}

fn ranges() -> Vec<Range<u64>> {
    (0..64).map(|n| n * 100_000..n * 100_000 + 1_000 + n).collect()
}

#[tokio::test]
async fn a_range_is_read_once_and_near_ranges_together() {
    let (inner, faults) = store().await;
    let cached = CachedStore::open(inner, &options(None)).await.unwrap();
    check(&cached, &ranges()).await;
    let requests = faults.requests(Operation::Get, "one");
    assert!((1..8).contains(&requests), "{requests} requests for 64 ranges in 6.4 MB");
    check(&cached, &ranges()).await;
    check(&cached, &ranges()[7..9]).await;
    assert_eq!(faults.requests(Operation::Get, "one"), requests);
    check(&cached, std::slice::from_ref(&(5..6))).await;
    assert_eq!(faults.requests(Operation::Get, "one"), requests + 1);
}

#[tokio::test]
async fn an_object_that_is_missing_stays_an_error() {
    let (inner, _) = store().await;
    let cached = CachedStore::open(inner, &options(None)).await.unwrap();
    let path = Path::from("two");
    let error = cached.get_ranges(&path, std::slice::from_ref(&(0..5))).await.unwrap_err();
    assert!(matches!(error, object_store::Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn what_was_on_disk_is_found_again_and_damage_is_a_miss() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, faults) = store().await;
    let options = options(Some(folder.path()));
    let open = || CachedStore::open(Arc::clone(&inner), &options);
    let cached = open().await.unwrap();
    check(&cached, &ranges()).await;
    cached.close().await;
    drop(cached);

    let before = faults.requests(Operation::Get, "one");
    let cached = open().await.unwrap();
    check(&cached, &ranges()).await;
    assert_eq!(faults.requests(Operation::Get, "one"), before, "all of it was on disk");
    cached.close().await;
    drop(cached);

    let mut damaged = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() <= 128 << 20);
        for byte in bytes.iter_mut().skip(100).step_by(97) {
            *byte ^= 0x55;
        }
        damaged += 1;
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(0 < damaged);
    let cached = open().await.unwrap();
    check(&cached, &ranges()).await;
    assert!(before < faults.requests(Operation::Get, "one"), "damaged entries were read anew");
}
