//! `millrace catalog doctor`, and roles that refuse a store which would lose rows.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use runtime::clock::SystemClock;
use runtime::http::{HttpSection, bind, serve};
use segment::catalog::{Catalog, CatalogOptions, Op, PREFIX};
use segment::store::{self, StoreSection};
use tokio_util::sync::CancellationToken;

use crate::support::{Site, eventually, files_below, run, text};

/// Runs the doctor; returns whether it was content, and all it said.
fn doctor(config: &Path) -> (bool, String) {
    let checked = run(&["catalog", "doctor", "--config", &config.display().to_string()]);
    let said = format!("{}{}", text(&checked.stdout), text(&checked.stderr));
    (checked.status.success(), said)
}

/// The only file below a folder of the store whose name holds `part`, the last one by name.
fn stored(site: &Site, part: &str) -> PathBuf {
    let mut files = files_below(&site.path("data").join("store"));
    files.retain(|file| file.display().to_string().contains(part));
    files.sort();
    files.pop().expect("there is one")
}

#[test]
fn doctor_is_content_with_a_sound_catalog_and_names_what_is_broken() {
    let site = Site::new();
    let config = site.path("millrace.yaml");
    site.log("a.log", (0..100).map(|number| format!("line {number:03}")));
    let server = site.start();
    let selector = "{filename=~\".+/a.log\"}";
    eventually("lines are there", || server.query(selector).len(), |count| *count == 100);
    server.stop("TERM");

    let (content, said) = doctor(&config);
    assert!(content, "{said}");
    assert!(said.contains("creates objects atomically") && said.ends_with("ok\n"), "{said}");

    let segment = stored(&site, "segments/logs");
    let kept = fs::read(&segment).expect("a segment");
    fs::remove_file(&segment).expect("a segment");
    let (content, said) = doctor(&config);
    let id = segment.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(!content && said.contains(&id) && said.contains("is missing"), "{said}");
    assert!(said.contains("to do   restore"), "{said}");
    fs::write(&segment, kept).expect("a segment");

    let commit = stored(&site, "catalog/commits");
    let kept = fs::read(&commit).expect("a commit");
    fs::write(&commit, kept.get(..kept.len() / 2).expect("half")).expect("a commit");
    let (content, said) = doctor(&config);
    assert!(!content && said.contains("is damaged") && said.contains("error: 1 problem"), "{said}");
    fs::write(&commit, kept).expect("a commit");
    let (content, said) = doctor(&config);
    assert!(content, "{said}");
}

#[test]
fn a_store_that_ignores_the_condition_of_a_put_is_refused_by_roles_and_named_by_doctor() {
    let address = lying_s3();
    let site = Site::new();
    let config = site.path("millrace.yaml");
    let mut text_of = fs::read_to_string(&config).expect("a configuration");
    text_of += &format!(
        "store:\n  type: s3\n  bucket: lies\n  endpoint: http://{address}\n  region: us-east-1\n  \
         access_key_id: a\n  secret_access_key: b\n"
    );
    fs::write(&config, text_of).expect("a configuration");
    for role in ["standalone", "indexer"] {
        let started = run(&[role, "--config", &config.display().to_string()]);
        let err = text(&started.stderr);
        assert!(!started.status.success(), "{role}: {err}");
        assert!(err.contains("does not create objects atomically"), "{role}: {err}");
        assert!(err.contains("use a store whose conditional put"), "{role}: {err}");
    }
    let (content, said) = doctor(&config);
    assert!(!content && said.contains("does not create objects atomically"), "{said}");
}

#[test]
fn doctor_lists_what_the_queue_had_lost() {
    let site = Site::new();
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    tokio.block_on(async {
        let store = store::open(&StoreSection::default(), &site.path("data")).expect("a store");
        let options = CatalogOptions::new(SystemClock::shared(), "test");
        let catalog = Catalog::open(store, PREFIX, options).await.expect("a catalog");
        let (topic, owner) = (|| "millrace.logs".to_owned(), "http://indexer-0:3100".to_owned());
        let take = Op::Acquire { topic: topic(), partition: 3, owner };
        catalog.commit(vec![take]).await.expect("a commit");
        let (partition, epoch, sources) = (3, 1, Vec::new());
        let pass = Op::Advance { topic: topic(), partition, epoch, from: 0, to: 900, sources };
        let ranges = vec![(0, 100), (250, 251)];
        let lose = Op::NoteLost { topic: topic(), partition, epoch, ranges };
        catalog.commit(vec![pass, lose]).await.expect("a commit");
    });
    let (content, said) = doctor(&site.path("millrace.yaml"));
    assert!(content, "it is no fault: {said}");
    let told = "lost      101 offsets of millrace.logs/3 were gone from the queue before they were";
    assert!(said.contains(told), "{said}");
    assert!(said.contains("\n          0 to 99, noted 20"), "{said}");
    assert!(said.contains("\n          250 to 250, noted 20"), "{said}");
}

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// An S3 server that takes `If-None-Match` and overwrites all the same, as some gateways do.
fn lying_s3() -> SocketAddr {
    let (said, address) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("the runtime starts").block_on(async {
            let listener = bind("127.0.0.1:0").await.expect("a port");
            said.send(listener.local_addr().expect("an address")).expect("a test waits");
            let app = Router::new().fallback(answer).with_state(Objects::default());
            serve(listener, app, HttpSection::default(), CancellationToken::new()).await
        })
    });
    address.recv().expect("it listens")
}

async fn answer(State(objects): State<Objects>, method: Method, uri: Uri, body: Bytes) -> Response {
    let mut objects = objects.lock().expect("not poisoned");
    let name = uri.path().trim_start_matches("/lies").trim_matches('/').to_owned();
    let found = [("etag", "\"1\""), ("last-modified", "Wed, 01 Jan 2025 00:00:00 GMT")];
    let xml = |root: &str, inside: &str| {
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><{root}>{inside}</{root}>")
    };
    match method {
        Method::PUT => {
            objects.insert(name, body);
            (found, "").into_response()
        }
        Method::DELETE => {
            objects.remove(&name);
            StatusCode::NO_CONTENT.into_response()
        }
        Method::POST => xml("DeleteResult", "").into_response(),
        _ if name.is_empty() => {
            let inside = "<Name>lies</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>";
            xml("ListBucketResult", inside).into_response()
        }
        _ => match objects.get(&name) {
            Some(bytes) => (found, bytes.clone()).into_response(),
            None => (StatusCode::NOT_FOUND, xml("Error", "<Code>NoSuchKey</Code>")).into_response(),
        },
    }
}
