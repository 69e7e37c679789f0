//! The store and the catalog on a real S3 server.
//!
//! `MILLRACE_TEST_S3_ENDPOINT`, `_ACCESS_KEY`, `_SECRET_KEY`, `_BUCKET` name a server; otherwise
//! `.ci/s3` starts one. Each test works below a prefix of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use runtime::clock::SystemClock;
use runtime::config::Secret;
use segment::catalog::{Catalog, CatalogOptions, CommitError, Op, PREFIX, Refusal, doctor};
use segment::store::{self, S3Section, StoreError, StoreSection};
use server::open;

#[tokio::test]
async fn s3_conforms() {
    let (store, _section) = open("conformance").await;
    store::conformance::all(&store, "conformance").await;
}

#[tokio::test]
async fn doctor_finds_conditional_puts_atomic() {
    let (store, _section) = open("doctor").await;
    doctor::probe(&store, PREFIX, &options("doctor")).await.unwrap();
}

#[tokio::test]
async fn racing_catalogs_agree_and_fence_each_other() {
    const WRITERS: i64 = 4;
    const PUBLISHES: i64 = 8;
    let (store, _section) = open("race").await;
    let runs = (0..WRITERS).map(|partition| {
        let store = Arc::clone(&store);
        async move {
            let topic = || "logs".to_owned();
            let partition = partition as i32;
            let catalog = Catalog::open(store, PREFIX, options("writer")).await.unwrap();
            let owner = format!("http://indexer-{partition}:3100");
            let take = Op::Acquire { topic: topic(), partition, owner };
            let state = catalog.commit(vec![take]).await.unwrap();
            let epoch = state.partition("logs", partition).unwrap().epoch;
            for from in 0..PUBLISHES {
                let sources = Vec::new();
                let to = from + 1;
                let advance = Op::Advance { topic: topic(), partition, epoch, from, to, sources };
                catalog.commit(vec![advance.clone()]).await.unwrap();
                let again = catalog.commit(vec![advance]).await.unwrap_err();
                assert!(matches!(again, CommitError::Refused(Refusal::Offset { .. })), "{again}");
            }
            catalog
        }
    });
    let catalogs = join_all(runs).await;
    let opened = Catalog::open(store, PREFIX, options("reader")).await.unwrap().state();
    assert_eq!(opened.version, (WRITERS * (1 + PUBLISHES)) as u64);
    assert!(opened.partitions.values().all(|p| p.published == PUBLISHES && p.epoch == 1));
    for catalog in catalogs {
        assert_eq!(catalog.refresh().await.unwrap(), opened);
    }
}

#[tokio::test]
async fn a_wrong_bucket_and_wrong_keys_are_said_by_name() {
    let (_store, section) = open("errors").await;
    let missing = S3Section { bucket: "no-such-bucket".to_owned(), ..section.clone() };
    let error = check(missing).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("no-such-bucket"), "{error}");

    let denied = S3Section { secret_access_key: Some(Secret::new("wrong")), ..section.clone() };
    let error = check(denied).await.unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    check(section).await.unwrap();
}

async fn check(section: S3Section) -> Result<(), StoreError> {
    let section = StoreSection::S3(section);
    let store = store::open(&section, Path::new("")).unwrap();
    let clock = SystemClock::new();
    store::check(&store, &section, Path::new(""), &clock, Duration::from_secs(30)).await
}

fn options(writer: &str) -> CatalogOptions {
    CatalogOptions { snapshot_every: 8, ..CatalogOptions::new(SystemClock::shared(), writer) }
}
