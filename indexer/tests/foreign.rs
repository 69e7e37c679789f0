//! Other people's messages: taken in once, found at once, published once.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use indexer::{LogFormat, LogTopic};
use queue::{Message, Partition, Topic, TopicPartition};
use record::{Limits, LogBatch, TenantId};
use segment::SegmentKind;
use segment::logs::plan::{CompiledPlan, LogPlan};
use segment::logs::{LogSegment, ScanBudget};
use segment::recent::{Ask, LOGS_SCAN, Pin, split_frames};
use support::{Rig, Running, until};

const MOMENT_NS: i64 = 1_764_076_800_123_000_000;

/// A row as a reader sees it: labels, time, line, attributes sorted by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    labels: String,
    time_ns: i64,
    line: String,
    attributes: Vec<(String, String)>,
}

fn found(batches: &[LogBatch]) -> Vec<Found> {
    let mut rows: Vec<Found> = Vec::new();
    for batch in batches {
        rows.extend((0..batch.len()).map(|row| {
            let pairs = batch.attributes(row);
            let mut attributes: Vec<(String, String)> =
                pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            attributes.sort();
            Found {
                labels: batch.stream(row).to_string(),
                time_ns: batch.times()[row],
                line: batch.line(row).to_owned(),
                attributes,
            }
        }));
    }
    rows.sort();
    rows
}

fn at(name: &str) -> TopicPartition {
    TopicPartition::new(&Topic::new(name).unwrap(), Partition(0))
}

/// A rig that reads `topics` too.
fn rig(topics: Vec<LogTopic>) -> Rig {
    let mut rig = Rig::new(1);
    for topic in &topics {
        rig.memory.ensure_topic(&Topic::new(&topic.name).unwrap(), 1);
    }
    rig.section.topics.logs.extend(topics);
    rig
}

fn message(payload: impl Into<Bytes>) -> Message {
    Message { payload: payload.into(), time_ms: Some(MOMENT_NS / 1_000_000), ..Message::default() }
}

async fn recent(running: &Running, tenant: &TenantId, topic: &str, offset: i64) -> Vec<Found> {
    let pinned = vec![Pin { topic: topic.to_owned(), partition: 0, offset }];
    let plan = LogPlan::all(tenant.clone(), i64::MIN, i64::MAX, Vec::new());
    let answer = running.ask(LOGS_SCAN, &Ask { pinned, plan }).await;
    if !answer.status.is_success() {
        return Vec::new();
    }
    let frames = split_frames(answer.body, u32::MAX).unwrap();
    let batches: Vec<LogBatch> =
        frames.iter().map(|frame| LogBatch::decode(frame, &Limits::default()).unwrap()).collect();
    found(&batches)
}

async fn published(rig: &Rig, tenant: &TenantId) -> Vec<Found> {
    let state = rig.state().await;
    let mut rows = Vec::new();
    let logs = state.segments.values().filter(|meta| meta.kind == SegmentKind::Logs);
    for meta in logs.filter(|meta| meta.tenant == *tenant) {
        let segment = LogSegment::open(Arc::clone(&rig.sound_store), meta).await.unwrap();
        let plan = LogPlan::all(tenant.clone(), i64::MIN, i64::MAX, Vec::new());
        let plan = Arc::new(CompiledPlan::new(&plan).unwrap());
        let budget = Arc::new(ScanBudget::unlimited());
        let (batches, _) = segment.scan(&plan, &budget, None).collect().await.unwrap();
        rows.extend(found(&batches));
    }
    rows.sort();
    rows
}

fn attribute<'a>(row: &'a Found, name: &str) -> Option<&'a str> {
    let found = row.attributes.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

#[tokio::test]
async fn each_shippers_shape_is_recent_and_then_published() {
    let rig = rig(vec![LogTopic::foreign("apps.json", LogFormat::Json)]);
    let shapes = [
        include_str!("fixtures/filebeat.json"),
        include_str!("fixtures/fluent-bit.json"),
        include_str!("fixtures/vector.json"),
    ];
    for shape in shapes {
        rig.send(&at("apps.json"), message(shape)).await;
    }
    let running = rig.start("a").await;
    let tenant = TenantId::default();
    let rows = until("three recent rows", async || {
        let rows = recent(&running, &tenant, "apps.json", 0).await;
        (rows.len() == 3).then_some(rows)
    })
    .await;
    let labels = |app: &str, pod: &str, node: &str, stream: &str| {
        format!(
            r#"{{app="{app}", container="{app}", namespace="shop", node="{node}", pod="{pod}", service_name="{app}", stream="{stream}"}}"#
        )
    };
    let [filebeat, fluent_bit, vector] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(filebeat.labels, labels("cart", "cart-7d9f", "worker-3", "stderr"));
    assert_eq!(fluent_bit.labels, labels("orders", "orders-0", "worker-1", "stdout"));
    assert_eq!(vector.labels, labels("search", "search-5c6b", "worker-2", "stderr"));
    assert_eq!(filebeat.line, "GET /cart 502 upstream timed out");
    assert_eq!(fluent_bit.line, "level=warn msg=\"slow query\" took=1.7s");
    assert_eq!(vector.line, r#"{"level":"error","msg":"index is read-only"}"#);
    assert_eq!(filebeat.time_ns, MOMENT_NS);
    assert_eq!(fluent_bit.time_ns, MOMENT_NS);
    assert_eq!(vector.time_ns, MOMENT_NS + 456_789);
    for (row, name, value) in [
        (filebeat, "detected_level", "unknown"),
        (filebeat, "kubernetes_deployment_name", "cart"),
        (filebeat, "log_offset", "88213"),
        (filebeat, "filename", "/var/log/containers/cart-7d9f_shop_cart-1f2e.log"),
        (fluent_bit, "detected_level", "warn"),
        (fluent_bit, "kubernetes_container_image", "registry.example/orders:3"),
        (vector, "detected_level", "error"),
        (vector, "kubernetes_pod_owner", "ReplicaSet/search"),
        (vector, "source_type", "kubernetes_logs"),
    ] {
        assert_eq!(attribute(row, name), Some(value), "{name} of {row:?}");
    }
    assert!(attribute(filebeat, "_metadata_beat").is_none());
    running.stop().await.unwrap();
    assert_eq!(published(&rig, &tenant).await, rows);
    assert_eq!(rig.state().await.partition("apps.json", 0).unwrap().published, 3);
}

#[tokio::test]
async fn each_message_is_a_row_or_a_dead_letter_through_a_crash() {
    let mut json = LogTopic::foreign("json", LogFormat::Json);
    json.tenant = TenantId::new("shop").unwrap();
    let otlp = LogTopic::foreign("otlp", LogFormat::OtlpProto);
    let raw = LogTopic::foreign("raw", LogFormat::Raw);
    let rig = rig(vec![json, otlp, raw]);
    for number in 0..20_u8 {
        rig.send(&at("json"), message(format!("{{\"message\":\"json {number}\"}}"))).await;
        rig.send(&at("json"), message(format!("no json {number}"))).await;
        rig.send(&at("raw"), message(format!("raw {number}\n"))).await;
        // A field of a type no OTLP message has.
        rig.send(&at("otlp"), message(vec![0x0b, number])).await;
    }
    let letters = TopicPartition::new(&at("otlp").topic.dead_letters().unwrap(), Partition(0));
    let running = rig.start("a").await;
    until("some are set aside", async || (3 < rig.memory.messages(&letters).len()).then_some(()))
        .await;
    running.crash().await;
    rig.start("b").await.stop().await.unwrap();

    let lines = |rows: Vec<Found>| rows.into_iter().map(|row| row.line).collect::<Vec<_>>();
    let mut expected: Vec<String> = (0..20)
        .flat_map(|number| [format!("json {number}"), format!("no json {number}")])
        .collect();
    let mut of_shop = lines(published(&rig, &TenantId::new("shop").unwrap()).await);
    expected.sort();
    of_shop.sort();
    assert_eq!(of_shop, expected);
    let mut raws = lines(published(&rig, &TenantId::default()).await);
    let mut expected: Vec<String> = (0..20).map(|number| format!("raw {number}")).collect();
    expected.sort();
    raws.sort();
    assert_eq!(raws, expected);
    let set_aside: std::collections::BTreeSet<Bytes> =
        rig.memory.messages(&letters).into_iter().map(|(_, letter)| letter.payload).collect();
    assert_eq!(set_aside.len(), 20);
}
