//! Samples take the same road: searchable at once, published once, whatever is repeated or killed.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use queue::{Message, Partition, Topic, TopicPartition};
use record::{
    BatchKind, Labels, Limits, MatchOp, Matcher, MetricMetadata, SampleBatch, SampleBatchBuilder,
    TenantId, TimestampMillis,
};
use segment::SegmentKind;
use segment::catalog::CatalogState;
use segment::recent::{
    Ask, MetadataPlan, Pin, SAMPLES_METADATA, SAMPLES_SCAN, SAMPLES_SERIES, split_frames,
};
use segment::samples::{SamplePlan, SampleSegment};
use support::{Rig, Running, headers, until};

const HOUR_MS: i64 = 3_600_000;

/// Series and time to the bits of the value.
type Found = BTreeMap<(Labels, i64), u64>;

fn samples() -> TopicPartition {
    TopicPartition::new(&Topic::samples(), Partition(0))
}

fn labels(series: u8) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("job", &format!("j{series}"))])
}

fn family() -> MetricMetadata {
    MetricMetadata {
        family: "up".to_owned(),
        kind: "gauge".to_owned(),
        help: "is it up".to_owned(),
        unit: String::new(),
    }
}

fn message(samples: &[(u8, i64, f64)]) -> Message {
    let mut builder = SampleBatchBuilder::new();
    for (series, time, value) in samples {
        builder.push(TimestampMillis(*time), &labels(*series), *value);
    }
    builder.push_metadata(family());
    Message {
        headers: headers(BatchKind::Samples, &TenantId::default()),
        payload: builder.finish().encode().unwrap(),
        ..Message::default()
    }
}

fn everything() -> SamplePlan {
    SamplePlan {
        tenant: TenantId::default(),
        start_ms: i64::MIN,
        end_ms: i64::MAX,
        matchers: Vec::new(),
    }
}

fn pins(state: &CatalogState) -> Vec<Pin> {
    let published = state.partition(Topic::SAMPLES, 0).map_or(0, |known| known.published);
    vec![Pin { topic: Topic::SAMPLES.to_owned(), partition: 0, offset: published }]
}

async fn recent(running: &Running, state: &CatalogState) -> Option<Found> {
    let ask = Ask { pinned: pins(state), plan: everything() };
    let answer = running.ask(SAMPLES_SCAN, &ask).await;
    if !answer.status.is_success() {
        return None;
    }
    let mut found = Found::new();
    for payload in split_frames(answer.body, u32::MAX).unwrap() {
        let batch = SampleBatch::decode(&payload, &Limits::default()).unwrap();
        for row in 0..batch.len() {
            let series = batch.series()[batch.series_index()[row] as usize].clone();
            found.insert((series, batch.times()[row]), batch.values()[row].to_bits());
        }
    }
    Some(found)
}

/// What is published. A sample may be in more than one segment, but only with one value.
async fn published(rig: &Rig, state: &CatalogState) -> Found {
    let mut found = Found::new();
    for meta in state.segments.values().filter(|meta| meta.kind == SegmentKind::Samples) {
        let segment = SampleSegment::open(Arc::clone(&rig.sound_store), meta).await.unwrap();
        for series in segment.scan(&everything()).await.unwrap() {
            for (time, value) in series.times.iter().zip(&series.values) {
                let bits = value.to_bits();
                let before = found.insert((series.labels.clone(), *time), bits);
                assert!(before.is_none_or(|before| before == bits));
            }
        }
    }
    found
}

fn expected(sent: &[(u8, i64, f64)]) -> Found {
    let sample =
        |(series, time, value): &(u8, i64, f64)| ((labels(*series), *time), value.to_bits());
    sent.iter().map(sample).collect()
}

#[tokio::test]
async fn samples_are_searchable_at_once_and_published_by_age_with_every_bit() {
    let (rig, clock) = Rig::manual(1);
    let running = rig.start("a").await;
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let sent = [(1, 0, 1.5), (2, 0, f64::NAN), (1, HOUR_MS, stale), (1, 30 * HOUR_MS, -0.0)];
    rig.send(&samples(), message(&sent)).await;
    rig.send(&samples(), message(&sent[..2])).await;
    until("searchable", async || {
        let found = recent(&running, &*rig.state().await).await?;
        (found == expected(&sent)).then_some(())
    })
    .await;

    let job = Matcher::new("job", MatchOp::Eq, "j1").unwrap();
    let plan = SamplePlan { start_ms: 1, matchers: vec![job], ..everything() };
    let pinned = pins(&*rig.state().await);
    let ask = Ask { pinned: pinned.clone(), plan };
    let series: Vec<Labels> = running.ask(SAMPLES_SERIES, &ask).await.json();
    assert_eq!(series, [labels(1)]);
    let ask = Ask { pinned, plan: MetadataPlan { tenant: TenantId::default() } };
    let families: Vec<MetricMetadata> = running.ask(SAMPLES_METADATA, &ask).await.json();
    assert_eq!(families, [family()]);

    clock.advance(Duration::from_secs(599));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(rig.state().await.segments.is_empty(), "younger than ten minutes");
    let state = until("published", async || {
        clock.advance(Duration::from_secs(1));
        let state = rig.state().await;
        (!state.segments.is_empty()).then_some(state)
    })
    .await;
    assert_eq!(published(&rig, &state).await, expected(&sent));
    // A query with the new state asks for nothing below it, and may get it all the same.
    assert!(recent(&running, &state).await.unwrap().len() <= sent.len());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn samples_of_many_days_make_few_segments() {
    let rig = Rig::new(1);
    let sent: Vec<(u8, i64, f64)> = (0..400).map(|n| (1, n * 5 * HOUR_MS, n as f64)).collect();
    for some in sent.chunks(50) {
        rig.send(&samples(), message(some)).await;
    }
    rig.start("a").await.stop().await.unwrap();
    let state = rig.state().await;
    let most = rig.section.samples.windows_max + rig.section.samples.stragglers_max;
    assert!(state.segments.len() <= most, "{} segments", state.segments.len());
    assert_eq!(published(&rig, &state).await, expected(&sent));
}

#[tokio::test]
async fn killed_and_repeated_samples_are_all_there_with_their_first_value() {
    let mut rig = Rig::new(1);
    rig.section.samples.cut_raw_bytes_max = 64;
    let mut sent = Vec::new();
    for round in 0..6_i64 {
        let some: Vec<(u8, i64, f64)> =
            (0..3).map(|n| (n, round * 1_000 + i64::from(n), round as f64)).collect();
        rig.send(&samples(), message(&some)).await;
        rig.send(&samples(), message(&some)).await;
        sent.extend(some);
        let running = rig.start("a").await;
        tokio::time::sleep(Duration::from_millis(3 * round as u64)).await;
        running.crash().await;
    }
    rig.start("a").await.stop().await.unwrap();
    let state = rig.state().await;
    assert_eq!(state.partition(Topic::SAMPLES, 0).unwrap().published, 12);
    assert_eq!(published(&rig, &state).await, expected(&sent));
}
