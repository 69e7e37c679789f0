//! A query sees each row exactly once through every transition: open, publishing, published,
//! dropped, revoked, taken over.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use object_store::ObjectStore;
use queue::Topic;
use record::{Labels, MatchOp, Matcher, TenantId};
use segment::catalog::{CatalogState, Op};
use segment::logs::VolumeRow;
use segment::logs::plan::{LineFilter, LineFilterOp, LogPlan};
use segment::recent::{Ask, LOGS_SCAN, LOGS_STREAMS, LOGS_VOLUME, StreamPlan};
use segment::store::faulty::{Fault, Operation};
use support::metrics::Seen;
use support::{
    Rig, Row, Running, assert_all_published, by_stream, log_batch, logs, message, message_of, pin,
    pins, row, until,
};

/// What a query that pinned `state` finds: rows in its segments and recent rows beyond them.
async fn query(rig: &Rig, running: &Running, state: &CatalogState) -> Result<Vec<Row>, StatusCode> {
    let (recent, _) = running.recent(state).await?;
    let mut rows = rig.published(state).await;
    rows.extend(recent);
    Ok(by_stream(rows))
}

/// As [`query`], planning again as often as it takes.
async fn query_until_planned(rig: &Rig, running: &Running) -> Vec<Row> {
    until("a plan that holds", async || {
        let state = rig.state().await;
        query(rig, running, &state).await.ok()
    })
    .await
}

async fn until_found(rig: &Rig, running: &Running, rows: usize) {
    until("rows found", async || {
        let state = rig.state().await;
        let found = query(rig, running, &state).await.ok()?;
        (found.len() == rows).then_some(())
    })
    .await;
}

fn hang_commits(operation: Operation, path: &object_store::path::Path) -> Option<Fault> {
    let commit = operation == Operation::Put && path.as_ref().contains("commits/");
    commit.then_some(Fault::Hang)
}

#[tokio::test]
async fn rows_are_found_once_in_every_stage_and_by_old_plans_within_the_grace() {
    let (mut rig, clock) = Rig::manual(1);
    rig.section.logs.cut_raw_bytes_max = 1 << 20;
    rig.section.recent_grace_secs = 15;
    rig.section.logs.cut_age_secs_max = 30;
    let running = rig.start("a").await;
    let mut sent = Vec::new();
    for number in 0..5 {
        let row = row(0, number, &format!("first {number}"), Some((1, number as u64)));
        sent.push(row.clone());
        rig.send(&logs(0), message(&[row])).await;
    }
    until_found(&rig, &running, 5).await;
    let before = rig.state().await;
    assert!(before.segments.is_empty());

    // Publishing: uploaded, not committed.
    rig.faults.choose(hang_commits);
    clock.advance(Duration::from_secs(30));
    until("uploaded", async || {
        (0 < rig.faults.requests(Operation::Put, "commits/000000000000000000")).then_some(())
    })
    .await;
    until("waiting to commit", async || {
        (0 < rig.faults.requests(Operation::Put, "segments/")).then_some(())
    })
    .await;
    let next = row(0, 2, "second", Some((1, 9)));
    rig.send(&logs(0), message(std::slice::from_ref(&next))).await;
    sent.push(next);
    until_found(&rig, &running, 6).await;
    assert!(rig.state().await.segments.is_empty());

    // Published: the commit goes through at the next attempt.
    rig.faults.clear();
    until("published", async || {
        clock.advance(Duration::from_secs(1));
        (!rig.state().await.segments.is_empty()).then_some(())
    })
    .await;
    let after = rig.state().await;
    assert_eq!(query(&rig, &running, &after).await.unwrap(), by_stream(sent.clone()));
    assert_eq!(rig.published(&after).await.len(), 5, "the sixth row came after the cut");
    assert_eq!(query(&rig, &running, &before).await.unwrap(), by_stream(sent.clone()));

    // Dropped: the old plan is refused, the new one is not.
    clock.advance(Duration::from_secs(16));
    until("the old plan refused", async || {
        query(&rig, &running, &before).await.is_err().then_some(())
    })
    .await;
    assert_eq!(query(&rig, &running, &before).await, Err(StatusCode::CONFLICT));
    assert_eq!(query(&rig, &running, &after).await.unwrap(), by_stream(sent));
}

#[tokio::test]
async fn a_reader_that_never_stops_asking_sees_each_row_once_and_none_disappear() {
    let mut rig = Rig::new(2);
    // Published rows leave at once, so that plans are refused all the time.
    rig.section.recent_grace_secs = 0;
    let running = rig.start("a").await;
    let mut seen = 0;
    for number in 0_i64..120 {
        let partition = (number % 2) as i32;
        let rows: Vec<Row> = (0..3)
            .map(|part| {
                let source = Some((partition as u8, (number * 3 + part) as u64));
                row(partition as u8, number / 7, &format!("line {number}.{part}"), source)
            })
            .collect();
        rig.send(&logs(partition), message(&rows)).await;
        if number % 3 == 0 {
            // What a crashed collector sends again.
            rig.send(&logs(partition), message(&rows[1..])).await;
        }
        let found = query_until_planned(&rig, &running).await;
        let mut lines: Vec<&String> = found.iter().map(|row| &row.line).collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), found.len(), "a row was found twice");
        assert!(seen <= found.len(), "a row disappeared");
        seen = found.len();
    }
    until_found(&rig, &running, 360).await;
    let expected = by_stream(rig.expected());
    assert_eq!(query_until_planned(&rig, &running).await, expected);
    running.stop().await.unwrap();
    assert_all_published(&rig).await;
}

#[tokio::test]
async fn partitions_of_others_and_unknown_topics_are_refused() {
    let rig = Rig::new(1);
    let running = rig.start("a").await;
    until("owned", async || running.recent_at(vec![pin(0, 0)]).await.ok()).await;
    assert_eq!(running.recent_at(vec![pin(7, 0)]).await, Err(StatusCode::CONFLICT));
    assert_eq!(running.recent_at(vec![pin(0, 0), pin(0, 1)]).await, Err(StatusCode::BAD_REQUEST));
    let mut foreign = pin(0, 0);
    foreign.topic = Topic::SAMPLES.to_owned();
    assert_eq!(running.recent_at(vec![foreign]).await, Err(StatusCode::CONFLICT));
    let mut plan = LogPlan::all(TenantId::default(), 0, 1, Vec::new());
    plan.filters = vec![LineFilter { op: LineFilterOp::Regex, needles: vec!["(".to_owned()] }];
    let answer = running.ask(LOGS_SCAN, &Ask { pinned: vec![pin(0, 0)], plan }).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.json::<serde_json::Value>()["error"].as_str().unwrap().contains("line filter"));
}

#[tokio::test]
async fn a_plan_selects_by_tenant_stream_time_and_line() {
    let mut rig = Rig::new(1);
    rig.section.logs.cut_raw_bytes_max = 1 << 20;
    let running = rig.start("a").await;
    rig.send(&logs(0), message(&[row(1, 5, "get /a", None), row(2, 5, "get /a", None)])).await;
    rig.send(&logs(0), message(&[row(1, 6, "put /a", None), row(1, 9, "get /b", None)])).await;
    let other = TenantId::new("other").unwrap();
    rig.send(&logs(0), message_of(&other, &[row(1, 5, "get /a", None)])).await;
    until_found(&rig, &running, 4).await;

    let matchers = vec![Matcher::new("stream", MatchOp::Eq, "s1").unwrap()];
    let mut plan = LogPlan::all(TenantId::default(), 5, 9, matchers.clone());
    plan.filters = vec![LineFilter { op: LineFilterOp::Contains, needles: vec!["get".to_owned()] }];
    let pinned = pins(&*rig.state().await);
    let answer = running.ask(LOGS_SCAN, &Ask { pinned: pinned.clone(), plan }).await;
    let stats = answer.stats.unwrap();
    assert_eq!((stats.rows_returned, stats.catching_up.len()), (1, 0));

    let plan = StreamPlan { tenant: other, matchers: Vec::new(), start_ns: 0, end_ns: 10 };
    let ask = Ask { pinned: pinned.clone(), plan };
    let streams: Vec<Labels> = running.ask(LOGS_STREAMS, &ask).await.json();
    assert_eq!(streams, [log_batch(&[row(1, 0, "", None)]).stream(0).clone()]);

    let plan = StreamPlan { tenant: TenantId::default(), matchers, start_ns: 0, end_ns: 9 };
    let volume: Vec<VolumeRow> = running.ask(LOGS_VOLUME, &Ask { pinned, plan }).await.json();
    assert_eq!(volume.len(), 1);
    assert_eq!((volume[0].lines, volume[0].bytes, volume[0].level.as_str()), (2, 12, "info"));
}

#[tokio::test]
async fn a_partition_on_its_way_to_another_owner_stays_searchable() {
    let mut rig = Rig::new(2);
    rig.section.logs.cut_raw_bytes_max = 1 << 20;
    let first = rig.start("a").await;
    for partition in 0..2 {
        let line = format!("line {partition}");
        rig.send(&logs(partition), message(&[row(partition as u8, 1, &line, None)])).await;
    }
    until_found(&rig, &first, 2).await;
    let before = rig.state().await;

    let second = rig.start("b").await;
    let after = until("taken over", async || {
        let state = rig.state().await;
        let owners: Vec<&str> =
            state.partitions.values().map(|known| known.owner.as_str()).collect();
        owners.contains(&"http://b").then_some(Arc::clone(&state))
    })
    .await;
    // Who planned before the change still finds every row at the old owner.
    assert_eq!(first.recent(&before).await.unwrap().0.len(), 2);
    // Who planned after it asks each owner for its own.
    let mut found = Vec::new();
    for (running, owner) in [(&first, "http://a"), (&second, "http://b")] {
        let of_owner = |pin: &segment::recent::Pin| {
            after.partition(&pin.topic, pin.partition).unwrap().owner == owner
        };
        let pinned: Vec<_> = pins(&after).into_iter().filter(of_owner).collect();
        assert_eq!(pinned.len(), 1);
        let rows = until("caught up", async || {
            let (rows, stats) = running.recent_at(pinned.clone()).await.ok()?;
            stats.catching_up.is_empty().then_some(rows)
        })
        .await;
        found.extend(rows);
    }
    assert_eq!(by_stream(found).len(), 2);
    second.stop().await.unwrap();
    first.stop().await.unwrap();
    assert_all_published(&rig).await;
}

#[tokio::test]
async fn a_fenced_partition_is_left_out_of_the_publish_and_taken_back_later() {
    let (mut rig, clock) = Rig::manual(2);
    rig.section.logs.cut_raw_bytes_max = 1 << 20;
    rig.section.logs.cut_age_secs_max = 30;
    let running = rig.start("a").await;
    for partition in 0..2 {
        let line = format!("line {partition}");
        rig.send(&logs(partition), message(&[row(partition as u8, 1, &line, Some((1, 5)))])).await;
    }
    until_found(&rig, &running, 2).await;

    // Between upload and commit, someone else acquires partition 0.
    rig.faults.once(Operation::Put, "commits/", Fault::Hang);
    let uploads = rig.faults.requests(Operation::Put, "segments/");
    clock.advance(Duration::from_secs(30));
    until("uploaded", async || {
        (uploads < rig.faults.requests(Operation::Put, "segments/")).then_some(())
    })
    .await;
    let thief = Op::Acquire {
        topic: Topic::LOGS.to_owned(),
        partition: 0,
        owner: "http://thief".to_owned(),
    };
    rig.catalog().await.commit(vec![thief]).await.unwrap();
    let state = until("published without it", async || {
        clock.advance(Duration::from_millis(500));
        let state = rig.state().await;
        (!state.segments.is_empty()).then_some(Arc::clone(&state))
    })
    .await;
    assert_eq!(state.partition(Topic::LOGS, 0).unwrap().published, 0);
    assert_eq!(state.partition(Topic::LOGS, 1).unwrap().published, 1);
    assert_eq!(rig.published(&state).await.len(), 1);
    assert_eq!(running.recent_at(vec![pin(0, 0)]).await, Err(StatusCode::CONFLICT));

    // The queue still gives it to us, so it is acquired back and read from what is published.
    until("taken back", async || {
        clock.advance(Duration::from_secs(1));
        running
            .recent_at(vec![pin(0, 0)])
            .await
            .is_ok_and(|(rows, _)| rows.len() == 1)
            .then_some(())
    })
    .await;
    running.stop().await.unwrap();
    assert_all_published(&rig).await;
}

#[tokio::test]
async fn reading_pauses_while_the_store_is_down_and_memory_stays_bounded() {
    let (mut rig, clock) = Rig::manual(1);
    let line = "x".repeat(10_000);
    rig.section.logs.cut_raw_bytes_max = 50_000;
    rig.section.logs.memory_bytes_max = 400_000;
    let running = rig.start("a").await;
    until("owned", async || running.recent_at(vec![pin(0, 0)]).await.ok()).await;
    rig.faults.choose(|operation, path| {
        let upload = operation == Operation::Put && path.as_ref().starts_with("segments");
        upload.then_some(Fault::Refuse)
    });
    const ROWS: i64 = 200;
    for number in 0..ROWS {
        let row = row(0, number, &format!("{number} {line}"), Some((1, number as u64)));
        rig.send(&logs(0), message(&[row])).await;
    }
    let mut most = 0;
    for _ in 0..100 {
        clock.advance(Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(1)).await;
        most = most.max(running.recent_at(vec![pin(0, 0)]).await.unwrap().0.len());
    }
    // 64 messages come in one delivery, beyond the 400 kB that are held.
    assert!(0 < most && most < 120, "{most} rows held");
    rig.faults.clear();
    let catalog = rig.catalog().await;
    until("published", async || {
        clock.advance(Duration::from_secs(1));
        let state = catalog.refresh().await.unwrap();
        let published = state.partition(Topic::LOGS, 0).map_or(0, |known| known.published);
        (ROWS - 10 < published).then_some(())
    })
    .await;
    running.stop().await.unwrap();
    assert_all_published(&rig).await;
}

#[tokio::test]
async fn offsets_the_queue_lost_are_passed_over_and_the_rest_is_published() {
    let rig = Rig::new(1);
    for number in 0..10 {
        rig.send(&logs(0), message(&[row(0, number, &format!("line {number}"), None)])).await;
    }
    rig.memory.trim(&logs(0), queue::Offset(3));
    rig.memory.lose(&logs(0), queue::Offset(6), queue::Offset(7));
    rig.start("a").await.stop().await.unwrap();
    let state = rig.state().await;
    assert_eq!(state.partition(Topic::LOGS, 0).unwrap().published, 10);
    let lines: Vec<i64> = rig.published(&state).await.into_iter().map(|row| row.time).collect();
    assert_eq!(lines, [3, 4, 5, 8, 9]);
    // No segment claims what nobody has read.
    let ranges = state.segments.values().flat_map(|meta| &meta.ranges);
    let covered: Vec<(i64, i64)> = ranges.map(|range| (range.from, range.to)).collect();
    assert_eq!(covered, [(3, 6), (8, 10)]);
    assert_eq!(lost(&state), [(0, 3), (6, 8)]);
}

/// Offsets of the partition that the catalog names as lost: first, and next after the last.
fn lost(state: &CatalogState) -> Vec<(i64, i64)> {
    let known = state.partition(Topic::LOGS, 0).unwrap();
    known.lost.ranges.iter().map(|lost| (lost.from, lost.to)).collect()
}

/// Retention passes a reader that was stopped for too long: nothing else is lost, and what is lost
/// is counted exactly.
#[tokio::test]
async fn a_position_below_the_start_of_the_log_is_counted_and_reading_goes_on_from_there() {
    let rig = Rig::new(1);
    let send = async |range: std::ops::Range<i64>| {
        for number in range {
            rig.send(&logs(0), message(&[row(0, number, &format!("line {number}"), None)])).await;
        }
    };
    send(0..4).await;
    rig.start("a").await.stop().await.unwrap();
    send(4..20).await;
    rig.memory.trim(&logs(0), queue::Offset(11));

    let seen = Seen::default();
    let watching = seen.watch();
    let running = rig.start("b").await;
    send(20..25).await;
    running.stop().await.unwrap();
    drop(watching);
    assert_eq!(seen.last("millrace_indexer_offsets_lost_total{kind=logs}"), 7.0);
    let state = rig.state().await;
    let lines: Vec<i64> = rig.published(&state).await.into_iter().map(|row| row.time).collect();
    assert_eq!(lines, (0..4).chain(11..25).collect::<Vec<i64>>());
    let ranges = state.segments.values().flat_map(|meta| &meta.ranges);
    assert!(ranges.clone().all(|range| range.to <= 4 || 11 <= range.from), "4..11 is covered");
    assert_eq!(lost(&state), [(4, 11)]);
}

#[tokio::test]
async fn a_queue_made_anew_under_an_old_catalog_stops_the_indexer() {
    let rig = Rig::new(1);
    for number in 0..3 {
        rig.send(&logs(0), message(&[row(0, number, "x", None)])).await;
    }
    rig.start("a").await.stop().await.unwrap();
    let mut anew = Rig::new(1);
    anew.store = Arc::clone(&rig.store) as Arc<dyn ObjectStore>;
    let mut running = anew.start("a").await;
    let ended = until("ended", async || running.has_ended()).await;
    let message = ended.unwrap_err().to_string();
    assert!(message.contains("millrace.logs/0") && message.contains("up to 3"), "{message}");
}
