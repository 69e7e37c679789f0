//! What every store must do before Millrace may keep anything in it.
//!
//! Public async functions that panic on the first difference, so that any store in any crate can
//! be put through them. Each works below a prefix of its own and cleans up behind itself.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test suite: panicking is how it reports"
)]

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

/// Runs all of them below `prefix`.
pub async fn all(store: &Arc<dyn ObjectStore>, prefix: &str) {
    let folder = Path::from(prefix);
    reads_what_was_written(store, &folder.clone().join("read")).await;
    ranges_are_exact(store, &folder.clone().join("ranges")).await;
    missing_objects_are_not_found(store, &folder.clone().join("missing")).await;
    overwriting_replaces_the_whole_object(store, &folder.clone().join("overwrite")).await;
    create_only_puts_happen_once(store, &folder.clone().join("create")).await;
    racing_creators_have_one_winner(store, &folder.clone().join("race")).await;
    lists_what_is_there_and_nothing_else(store, &folder.clone().join("list")).await;
    deleting_twice_is_harmless(store, &folder.clone().join("delete")).await;
    large_objects_arrive_whole(store, &folder.clone().join("large")).await;
    names_with_odd_characters_work(store, &folder.clone().join("names")).await;
    remove(store, &folder).await;
}

pub async fn reads_what_was_written(store: &Arc<dyn ObjectStore>, folder: &Path) {
    for body in [Bytes::new(), Bytes::from_static(b"\0\xff\r\n"), pattern(70_000)] {
        let path = folder.clone().join(format!("object-{}", body.len()));
        store.put(&path, body.clone().into()).await.unwrap();
        let found = store.get(&path).await.unwrap();
        assert_eq!(found.meta.size, body.len() as u64);
        assert_eq!(found.bytes().await.unwrap(), body);
        assert_eq!(store.head(&path).await.unwrap().size, body.len() as u64);
    }
}

pub async fn ranges_are_exact(store: &Arc<dyn ObjectStore>, folder: &Path) {
    let (path, body) = (folder.clone().join("object"), pattern(10_000));
    store.put(&path, body.clone().into()).await.unwrap();
    for range in [0..1, 9_999..10_000, 5..4_096, 0..10_000] {
        let found = store.get_range(&path, range.start as u64..range.end as u64).await.unwrap();
        assert_eq!(found, body.slice(range));
    }
    let found = store.get_ranges(&path, &[10..20, 9_000..9_001, 20..30]).await.unwrap();
    assert_eq!(found, [body.slice(10..20), body.slice(9_000..9_001), body.slice(20..30)]);

    let tail = GetOptions::new().with_range(Some(object_store::GetRange::Suffix(100)));
    let found = store.get_opts(&path, tail).await.unwrap();
    assert_eq!(found.range, 9_900..10_000);
    assert_eq!(found.bytes().await.unwrap(), body.slice(9_900..));
}

pub async fn missing_objects_are_not_found(store: &Arc<dyn ObjectStore>, folder: &Path) {
    let path = folder.clone().join("nothing");
    assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.head(&path).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.get_range(&path, 0..1).await, Err(Error::NotFound { .. })));
}

pub async fn overwriting_replaces_the_whole_object(store: &Arc<dyn ObjectStore>, folder: &Path) {
    let path = folder.clone().join("object");
    store.put(&path, pattern(500).into()).await.unwrap();
    store.put(&path, Bytes::from_static(b"short").into()).await.unwrap();
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "short");
}

pub async fn create_only_puts_happen_once(store: &Arc<dyn ObjectStore>, folder: &Path) {
    let path = folder.clone().join("object");
    create(store, &path, "first").await.unwrap();
    let second = create(store, &path, "second").await;
    assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "first");
}

pub async fn racing_creators_have_one_winner(store: &Arc<dyn ObjectStore>, folder: &Path) {
    let races = (0..5).map(|round| race(store, folder.clone().join(format!("round-{round}"))));
    join_all(races).await;
}

async fn race(store: &Arc<dyn ObjectStore>, path: Path) {
    let bodies: Vec<String> = (0..8).map(|writer| format!("writer {writer}")).collect();
    let results = join_all(bodies.iter().map(|body| create(store, &path, body))).await;
    let winners: Vec<&String> =
        bodies.iter().zip(&results).filter(|(_, r)| r.is_ok()).map(|(b, _)| b).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    let losers_know =
        |r: &Result<_, Error>| r.is_ok() || matches!(r, Err(Error::AlreadyExists { .. }));
    assert!(results.iter().all(losers_know), "{results:?}");
    let found = store.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(found, winners[0].as_bytes());
}

pub async fn lists_what_is_there_and_nothing_else(store: &Arc<dyn ObjectStore>, folder: &Path) {
    let inside = folder.clone().join("inside");
    for name in ["a", "b", "c"] {
        store.put(&inside.clone().join(name), Bytes::from_static(b"x").into()).await.unwrap();
    }
    let sibling = folder.clone().join("inside-not").join("a");
    store.put(&sibling, Bytes::from_static(b"x").into()).await.unwrap();
    assert_eq!(names(store.list(Some(&inside))).await, ["a", "b", "c"]);
    let after_a = store.list_with_offset(Some(&inside), &inside.clone().join("a"));
    assert_eq!(names(after_a).await, ["b", "c"]);
    let folders = store.list_with_delimiter(Some(folder)).await.unwrap();
    assert_eq!(folders.common_prefixes.len(), 2);
    let empty = folder.clone().join("empty");
    assert_eq!(names(store.list(Some(&empty))).await, [""; 0]);
}

pub async fn deleting_twice_is_harmless(store: &Arc<dyn ObjectStore>, folder: &Path) {
    let path = folder.clone().join("object");
    create(store, &path, "x").await.unwrap();
    store.delete(&path).await.unwrap();
    let again = store.delete(&path).await;
    assert!(matches!(again, Ok(()) | Err(Error::NotFound { .. })), "{again:?}");
    assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
    create(store, &path, "anew").await.unwrap();
}

pub async fn large_objects_arrive_whole(store: &Arc<dyn ObjectStore>, folder: &Path) {
    let (path, body) = (folder.clone().join("object"), pattern(12 << 20));
    store.put(&path, body.clone().into()).await.unwrap();
    assert!(store.get(&path).await.unwrap().bytes().await.unwrap() == body);
    let middle = store.get_range(&path, 6_000_000..6_000_100).await.unwrap();
    assert_eq!(middle, body.slice(6_000_000..6_000_100));
}

pub async fn names_with_odd_characters_work(store: &Arc<dyn ObjectStore>, folder: &Path) {
    for name in ["tenant (1)'!", "a*b", "x_y.z-1", "100%"] {
        let path = folder.clone().join(name);
        store.put(&path, Bytes::from(name).into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), name);
    }
    assert_eq!(store.list(Some(folder)).count().await, 4);
}

async fn create(store: &Arc<dyn ObjectStore>, path: &Path, body: &str) -> Result<(), Error> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(path, Bytes::from(body.to_owned()).into(), options).await.map(drop)
}

async fn names(
    listed: futures::stream::BoxStream<'_, Result<object_store::ObjectMeta, Error>>,
) -> Vec<String> {
    let mut names: Vec<String> = listed
        .map_ok(|object| object.location.filename().unwrap_or_default().to_owned())
        .try_collect()
        .await
        .unwrap();
    names.sort_unstable();
    names
}

async fn remove(store: &Arc<dyn ObjectStore>, folder: &Path) {
    let paths = store.list(Some(folder)).map_ok(|object| object.location).boxed();
    store.delete_stream(paths).try_collect::<Vec<Path>>().await.unwrap();
}

/// Bytes in which no two places look alike for long.
fn pattern(length: usize) -> Bytes {
    let mut rng = fastrand::Rng::with_seed(length as u64);
    (0..length).map(|_| rng.u8(..)).collect()
}
