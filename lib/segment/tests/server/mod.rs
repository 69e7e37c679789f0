//! The S3 server of the tests: the one of `MILLRACE_TEST_S3_ENDPOINT`, or our own, which `.ci/s3`
//! starts and all test processes share.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use object_store::ObjectStore;
use runtime::config::Secret;
use segment::SegmentId;
use segment::store::{self, S3Section, StoreSection};

/// The test server's bucket below a prefix nobody used before.
pub(crate) async fn open(test: &str) -> (Arc<dyn ObjectStore>, S3Section) {
    let server = tokio::task::spawn_blocking(server).await.unwrap();
    let setting = |name: &str| server[&format!("MILLRACE_TEST_S3_{name}")].clone();
    let section = S3Section {
        bucket: setting("BUCKET"),
        prefix: format!("test-{test}-{}", SegmentId::generate(0)),
        endpoint: Some(setting("ENDPOINT")),
        region: Some("us-east-1".to_owned()),
        access_key_id: Some(setting("ACCESS_KEY")),
        secret_access_key: Some(Secret::new(setting("SECRET_KEY"))),
        path_style: true,
        retry: store::RetrySection::default(),
    };
    let store = store::open(&StoreSection::S3(section.clone()), Path::new("")).unwrap();
    (store, section)
}

/// The server's settings: from the environment, or from the script that starts one.
fn server() -> HashMap<String, String> {
    let set: HashMap<String, String> =
        std::env::vars().filter(|(name, _)| name.starts_with("MILLRACE_TEST_S3_")).collect();
    if set.contains_key("MILLRACE_TEST_S3_ENDPOINT") {
        return set;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/s3");
    let started = Command::new(script).arg("start").output().unwrap();
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let printed = String::from_utf8(started.stdout).unwrap();
    let pairs = printed.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
