#![allow(clippy::unwrap_used, reason = "tests")]

use runtime::clock::SystemClock;

use super::faulty::{Fault, FaultyStore, Operation};
use super::*;
use object_store::ObjectStoreExt;

#[tokio::test]
async fn memory_conforms() {
    let store = open(&StoreSection::Memory, Path::new("unused")).unwrap();
    conformance::all(&store, "conformance").await;
}

#[tokio::test]
async fn a_local_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&StoreSection::default(), folder.path()).unwrap();
    conformance::all(&store, "conformance").await;
    assert!(folder.path().join("store").is_dir());
}

#[tokio::test]
async fn a_faulty_store_without_faults_conforms() {
    let (store, _faults) = FaultyStore::new(Arc::new(InMemory::new()), SystemClock::shared());
    conformance::all(&store, "conformance").await;
}

#[tokio::test]
async fn faults_do_what_they_say() {
    let (store, faults) = FaultyStore::new(Arc::new(InMemory::new()), SystemClock::shared());
    let path = object_store::path::Path::from("a");
    let put = || store.put(&path, bytes::Bytes::from_static(b"0123456789").into());

    faults.once(Operation::Put, "a", Fault::Refuse);
    assert!(put().await.is_err());
    assert!(store.get(&path).await.is_err());

    faults.once(Operation::Put, "a", Fault::ArriveLate { requests: 2 });
    assert!(put().await.is_err());
    assert!(store.get(&path).await.is_err());
    assert!(store.get(&path).await.is_ok());

    faults.once(Operation::Put, "a", Fault::TornPut { bytes: 3 });
    assert!(put().await.is_err());
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "012");

    faults.once(Operation::Put, "a", Fault::LoseAnswer);
    assert!(put().await.is_err());
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "0123456789");

    faults.once(Operation::Get, "a", Fault::BreakOff { bytes: 4 });
    assert!(store.get(&path).await.unwrap().bytes().await.is_err());
    assert_eq!(faults.requests(Operation::Put, "a"), 4);
}

#[test]
fn a_local_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("store"), "a file is in the way").unwrap();
    let error = open(&StoreSection::default(), folder.path()).unwrap_err();
    assert!(error.to_string().contains(&*folder.path().join("store").to_string_lossy()), "{error}");
}

#[tokio::test]
async fn a_server_that_is_away_is_named_with_bucket_and_endpoint() {
    let text = r#"{"type":"s3","bucket":"logs","endpoint":"http://127.0.0.1:9","region":"r",
        "access_key_id":"a","secret_access_key":"topsecret","retry":{"retries_max":0}}"#;
    let section: StoreSection = serde_json::from_str(text).unwrap();
    let store = open(&section, Path::new("")).unwrap();
    let clock = SystemClock::new();
    let checked = check(&store, &section, Path::new(""), &clock, Duration::from_secs(20)).await;
    let message = checked.unwrap_err().to_string();
    for part in ["`logs`", "http://127.0.0.1:9", "cannot be reached", "store.endpoint"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!format!("{section:?}").contains("topsecret"));
    assert!(!serde_json::to_string(&section).unwrap().contains("topsecret"));
}

#[test]
fn sections_are_checked_key_by_key() {
    use runtime::config::Validate;
    let check = |text: &str, keys: &[&str]| {
        let section: StoreSection = serde_json::from_str(text).unwrap();
        let found: Vec<String> = section.problems("store").into_iter().map(|p| p.key).collect();
        assert_eq!(found, keys, "{text}");
    };
    check(r#"{"type":"local"}"#, &[]);
    check(r#"{"type":"memory"}"#, &[]);
    check(r#"{"type":"local","path":""}"#, &["store.path"]);
    check(r#"{"type":"s3","bucket":"b"}"#, &[]);
    check(
        r#"{"type":"s3","bucket":"","endpoint":"s3.local","access_key_id":"x"}"#,
        &["store.bucket", "store.endpoint", "store.access_key_id"],
    );
    check(
        r#"{"type":"gcs","bucket":"b","prefix":"/a//b","retry":{"timeout_secs":0}}"#,
        &["store.prefix", "store.retry.timeout_secs"],
    );
    check(r#"{"type":"azure","account":"a","container":""}"#, &["store.container"]);
    for unknown in [r#"{"type":"s3","bucket":"b","buket":"c"}"#, r#"{"type":"floppy"}"#] {
        assert!(serde_json::from_str::<StoreSection>(unknown).is_err(), "{unknown}");
    }
}
