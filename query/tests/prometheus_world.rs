//! The Prometheus API over real segments and a real indexer's answers.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod world;

use query::QuerySection;
use record::Labels;
use serde_json::json;
use world::World;

/// Two minutes of a counter, the first published and the second recent, with an overlap.
async fn counting(section: QuerySection) -> World {
    let mut world = World::with(section).await;
    let labels = Labels::from_pairs([("__name__", "requests_total"), ("job", "a")]);
    let samples: Vec<(i64, f64)> =
        (0..=12).map(|tick| (tick * 10_000, f64::from(tick as i32) * 20.0)).collect();
    world.publish_samples(&labels, &samples[..8]).await;
    world.hold_samples(&labels, &samples[6..]);
    world
}

fn section() -> QuerySection {
    QuerySection { catalog_refresh_ms: 0, ..QuerySection::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn published_and_recent_samples_are_one_answer() {
    let world = counting(section()).await;
    let answer = world.get("/api/v1/query?query=rate(requests_total%5B2m%5D)&time=120").await;
    let expected = json!({
        "status": "success",
        "data": {"resultType": "vector", "result": [
            {"metric": {"job": "a"}, "value": [120, "2"]},
        ]},
    });
    assert_eq!(answer.json(), expected);
    let range = "query=count_over_time(requests_total%5B1m%5D)&start=60&end=120&step=30";
    let answer = world.post_form("/api/v1/query_range", range).await;
    let values = &answer.json()["data"]["result"][0]["values"];
    assert_eq!(*values, json!([[60, "6"], [90, "6"], [120, "6"]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_series_are_found_without_a_time_range() {
    let world = counting(section()).await;
    let names = world.get("/api/v1/label/__name__/values").await;
    assert_eq!(names.json()["data"], json!(["requests_total"]));
    let series = world.get("/api/v1/series?match[]=%7B__name__!%3D%22%22%7D").await;
    assert_eq!(series.json()["data"], json!([{"__name__": "requests_total", "job": "a"}]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_tenant_is_refused_where_one_is_required() {
    let world = counting(QuerySection { tenant_required: true, ..section() }).await;
    let refused = world.get("/api/v1/query?query=1").await;
    assert_eq!((refused.status, &refused.json()["error"]), (401, &json!("no org id")));
    let named = [("x-scope-orgid", "team")];
    assert_eq!(world.get_with("/api/v1/query?query=1", &named).await.status, 200);
}
