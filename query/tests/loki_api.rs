//! The Loki API as its clients see it: shapes, texts, codes, and what happens when parts fail.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod world;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use query::QuerySection;
use record::{Labels, TenantId};
use segment::catalog::{Op, PREFIX};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use world::{FakeIndexer, Row, SECOND, World, encoded};

fn rows() -> Vec<Row> {
    vec![
        Row::new(10, r#"{app="a", pod="1"}"#, "first \"quoted\"", &[("trace", "t1")]),
        Row::new(20, r#"{app="a", pod="1"}"#, "second", &[]),
        Row::new(30, r#"{app="b", pod="2"}"#, "third", &[("detected_level", "info")]),
    ]
}

fn range_path(query: &str) -> String {
    let (start, end) = (format!("{:019}", 0), format!("{:019}", 60 * SECOND));
    format!(
        "/loki/api/v1/query_range?query={}&start={start}&end={end}&direction=forward",
        encoded(query)
    )
}

/// The answer's text up to the figures, which differ from run to run.
fn without_stats(text: &str) -> &str {
    text.split_once(r#","stats":"#).unwrap().0
}

#[tokio::test]
async fn save_and_test_needs_no_data() {
    let world = World::new().await;
    let query = encoded("vector(1)+vector(1)");
    let answer = world.get(&format!("/loki/api/v1/query?query={query}&time=4000000000")).await;
    assert_eq!(answer.status, 200);
    // 10 digits are seconds by the rules of parameters.
    let expected = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[4000000000,"2"]}]"#;
    assert_eq!(without_stats(&answer.text()), expected);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(world.indexer.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn streams_in_both_encodings() {
    let mut world = World::new().await;
    world.publish(&rows()[..2]).await;
    world.hold(&rows()[2..]);
    let path = range_path(r#"{app=~".+"}"#);
    let answer = world.get(&path).await;
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
    assert_eq!(
        without_stats(&answer.text()),
        concat!(
            r#"{"status":"success","data":{"resultType":"streams","result":["#,
            r#"{"stream":{"app":"a","pod":"1","trace":"t1"},"values":[["10000000000","first \"quoted\""]]},"#,
            r#"{"stream":{"app":"a","pod":"1"},"values":[["20000000000","second"]]},"#,
            r#"{"stream":{"app":"b","detected_level":"info","pod":"2"},"values":[["30000000000","third"]]}]"#
        )
    );
    let flags = [("x-loki-response-encoding-flags", "categorize-labels")];
    let answer = world.get_with(&path, &flags).await;
    assert_eq!(
        without_stats(&answer.text()),
        concat!(
            r#"{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":["#,
            r#"{"stream":{"app":"a","pod":"1"},"values":["#,
            r#"["10000000000","first \"quoted\"",{"structuredMetadata":{"trace":"t1"}}],["20000000000","second",{}]]},"#,
            r#"{"stream":{"app":"b","pod":"2"},"values":[["30000000000","third",{"structuredMetadata":{"detected_level":"info"}}]]}]"#
        )
    );
    assert!(answer.text().ends_with("}}\n"));
    let summary = &answer.json()["data"]["stats"]["summary"];
    assert_eq!(summary["totalEntriesReturned"], 3);
    for integer in ["bytesProcessedPerSecond", "totalBytesProcessed", "totalLinesProcessed"] {
        assert!(summary[integer].is_u64(), "{integer}: {summary}");
    }
}

#[tokio::test]
async fn an_empty_answer_is_an_empty_list() {
    let world = World::new().await;
    let logs = world.get(&range_path(r#"{app="a"}"#)).await.text();
    assert!(logs.contains(r#""resultType":"streams","result":[]"#), "{logs}");
    let matrix = world.get(&range_path(r#"rate({app="a"}[1m])"#)).await.text();
    assert!(matrix.contains(r#""resultType":"matrix","result":[]"#), "{matrix}");
}

#[tokio::test]
async fn get_and_form_posts_answer_alike() {
    let mut world = World::new().await;
    world.publish(&rows()).await;
    let path = range_path(r#"{app="a"} |= "second""#);
    let (path_only, form) = path.split_once('?').unwrap();
    let got = world.get(&path).await.text();
    let posted = world.post_form(path_only, form).await.text();
    assert_eq!(without_stats(&got), without_stats(&posted));
    assert!(got.contains("second"));
    let mixed = form.split_once('&').unwrap();
    let posted = world.post_form(&format!("{path_only}?{}", mixed.0), mixed.1).await.text();
    assert_eq!(without_stats(&got), without_stats(&posted));
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_take_it() {
    let mut world = World::new().await;
    world.publish(&rows()).await;
    let path = range_path(r#"{app="a"}"#);
    let plain = world.get(&path).await;
    let packed = world.get_with(&path, &[("accept-encoding", "gzip")]).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.body.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(without_stats(&text), without_stats(&plain.text()));
}

#[tokio::test]
async fn errors_are_plain_text_with_the_known_words() {
    let world = World::new().await;
    let start = "/loki/api/v1/query_range?query=";
    let a = encoded(r#"{app="a"}"#);
    let cases = [
        (start.to_owned(), 400, "parse error at line 1, col 1: syntax error: unexpected $end"),
        (format!("{start}{a}&limit=0"), 400, "limit must be a positive value"),
        (
            format!("{start}{a}&limit=6000"),
            400,
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (6000 > 5000)",
        ),
        (format!("{start}{a}&direction=up"), 400, "invalid direction 'up'"),
        (
            format!("{start}{a}&start=20&end=10"),
            400,
            "end timestamp must not be before or equal to start time",
        ),
        (
            format!("{start}{a}&start=0&end=3000000&step=1h"),
            400,
            "the query time range exceeds the limit (query length: 833h20m, limit: 721h)",
        ),
        (
            format!("{start}{a}&start=0&end=11001&step=1"),
            400,
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ),
        (
            format!("{start}{a}&step=0"),
            400,
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            format!("/loki/api/v1/query?query={a}"),
            400,
            "log queries are not supported as an instant query type, please change your query to a range query type",
        ),
        (
            "/loki/api/v1/labels?query=rate({a%3D%22b%22}[1m])".to_owned(),
            400,
            "parse error : only label matchers are supported",
        ),
        (
            "/loki/api/v1/index/volume?query={}&aggregateBy=x".to_owned(),
            400,
            "invalid aggregation option",
        ),
    ];
    for (path, status, text) in cases {
        let answer = world.get(&path).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{path}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(world.get("/loki/api/v1/rules").await.status, 404);
    assert_eq!(world.get("/api/prom/query").await.status, 404);
}

#[tokio::test]
async fn labels_values_and_series() {
    let mut world = World::new().await;
    world.publish(&rows()[..2]).await;
    world.hold(&rows()[2..]);
    let range = format!("start={:019}&end={:019}", 0, 60 * SECOND);
    let names = world.get(&format!("/loki/api/v1/labels?{range}")).await;
    assert_eq!(names.json(), json!({"status": "success", "data": ["app", "pod"]}));
    let values = world.get(&format!("/loki/api/v1/label/app/values?{range}")).await;
    assert_eq!(values.json(), json!({"status": "success", "data": ["a", "b"]}));
    let query = encoded(r#"{app="b"}"#);
    let values = world.get(&format!("/loki/api/v1/label/pod/values?{range}&query={query}")).await;
    assert_eq!(values.json(), json!({"status": "success", "data": ["2"]}));
    let none = world.get(&format!("/loki/api/v1/label/trace/values?{range}")).await;
    assert_eq!(none.json(), json!({"status": "success"}));
    let all =
        json!({"status": "success", "data": [{"app": "a", "pod": "1"}, {"app": "b", "pod": "2"}]});
    for selection in ["", "&match[]={}", "&match={pod%3D%221%22}&match[]={pod%3D%222%22}"] {
        let series = world.get(&format!("/loki/api/v1/series?{range}{selection}")).await;
        assert_eq!(series.json(), all, "{selection}");
    }
    let none = world.get(&format!("/loki/api/v1/series?{range}&match[]={{app%3D%22x%22}}")).await;
    assert_eq!(none.json(), json!({"status": "success", "data": []}));
}

#[tokio::test]
async fn volume_and_stats_count_without_reading_rows() {
    let mut world = World::new().await;
    world.publish(&rows()[..2]).await;
    world.hold(&rows()[2..]);
    let range = format!("start={:019}&end={:019}", 0, 120 * SECOND);
    let query = encoded(r#"{app=~".+"}"#);
    let stats = world.get(&format!("/loki/api/v1/index/stats?{range}&query={query}")).await;
    assert_eq!(stats.json(), json!({"streams": 2, "chunks": 1, "bytes": 25, "entries": 3}));
    let volume = async |more: &str| {
        let answer = world.get(&format!("/loki/api/v1/index/{more}&{range}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json = answer.json();
        (json["data"]["resultType"].clone(), json["data"]["result"].clone())
    };
    let sample =
        |metric: serde_json::Value, value: &str| json!({"metric": metric, "value": [120, value]});
    let (kind, by_app) = volume(&format!("volume?query={query}")).await;
    assert_eq!(kind, "vector");
    let expected = json!([sample(json!({"app": "a"}), "20"), sample(json!({"app": "b"}), "5")]);
    assert_eq!(by_app, expected);
    let (_, all) = volume("volume?query={}&limit=1").await;
    assert_eq!(all, json!([sample(json!({"app": "a", "pod": "1"}), "20")]));
    let (_, target) = volume("volume?query={}&targetLabels=pod").await;
    let expected = json!([sample(json!({"pod": "1"}), "20"), sample(json!({"pod": "2"}), "5")]);
    assert_eq!(target, expected);
    let (_, by_label) = volume("volume?query={}&aggregateBy=labels").await;
    let expected = json!([sample(json!({"app": ""}), "25"), sample(json!({"pod": ""}), "25")]);
    assert_eq!(by_label, expected);
    let (kind, ranged) = volume(&format!("volume_range?query={query}&step=60")).await;
    assert_eq!(kind, "vector", "every series has one point");
    assert_eq!(ranged[0]["value"], json!([59.999, "20"]));
}

#[tokio::test]
async fn a_query_explains_what_it_read_and_what_not() {
    let mut world = World::new().await;
    let stream = r#"{app="a"}"#;
    let line = |second: i64| format!("GET /item/{second}x{} took long", second * 7_919);
    let early: Vec<Row> = (0..20).map(|s| Row::new(s, stream, &line(s), &[])).collect();
    let late: Vec<Row> = (100..120).map(|s| Row::new(s, stream, &line(s), &[])).collect();
    world.publish_in_granules(&early, 5).await;
    world.publish(&late).await;
    world.hold(&[Row::new(30, stream, "recent", &[])]);

    let path = range_path(r#"{app="a"}"#);
    assert!(world.get(&path).await.json()["data"]["explain"].is_null(), "only when asked");
    let ask = |logql: &str| format!("{}&explain=1", range_path(logql));

    let path = ask(r#"{app="a"} |= "item/7x55433 ""#);
    let first = world.get(&path).await.json();
    let explain = &first["data"]["explain"];
    assert_eq!(explain["segments"]["published"], 2, "{explain}");
    assert_eq!(explain["segments"]["considered"], 1, "the late one lies outside of the range");
    assert_eq!(explain["segments"]["opened"], 0, "the first question opened it");
    assert_eq!(explain["granules"]["considered"], 4);
    assert_eq!(explain["granules"]["read"], 1);
    let pruned = explain["granules"]["pruned_by"].as_object().unwrap();
    let sum: u64 = pruned.values().map(|granules| granules.as_u64().unwrap()).sum();
    assert_eq!(sum, 3, "{explain}");
    assert_eq!(pruned["token hash"], 3);
    assert_eq!(explain["rows"]["considered"], 5);
    assert_eq!(explain["rows"]["matched"], 1);
    assert_eq!(explain["rows"]["recent"], 0, "the indexer filters too");
    assert!(0 < explain["bytes_read"].as_u64().unwrap());
    assert_eq!(explain["plans"], 1);

    let explain = &world.get(&ask(r#"{app="a"} |= "absent word""#)).await.json()["data"]["explain"];
    assert_eq!(explain["granules"]["pruned_by"]["word"], 4, "{explain}");
    assert_eq!(explain["rows"]["considered"], 0);

    let explain = &world.get(&ask(r#"{app="b"}"#)).await.json()["data"]["explain"];
    assert_eq!(explain["granules"]["pruned_by"]["stream"], 4, "{explain}");

    let path = ask(r#"sum(count_over_time({app="a"} [1m]))"#);
    let counted = world.get(&format!("{path}&step=60")).await.json();
    let explain = &counted["data"]["explain"];
    assert_eq!(explain["segments"]["counted_by_tables"], 1, "{explain}");
    assert_eq!(explain["rows"]["recent"], 1);
}

#[tokio::test]
async fn buildinfo_and_format_query() {
    let world = World::new().await;
    let info = world.get("/loki/api/v1/status/buildinfo").await.json();
    for key in ["version", "revision", "branch", "buildUser", "buildDate", "goVersion"] {
        assert!(info[key].is_string(), "{key}");
    }
    let query = encoded(r#"{a="b"}|="x""#);
    let formatted = world.get(&format!("/loki/api/v1/format_query?query={query}")).await;
    assert_eq!(formatted.json(), json!({"status": "success", "data": r#"{a="b"} |= "x""#}));
    let refused = world.get("/loki/api/v1/format_query?query={").await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["status"], "invalid-query");
}

#[tokio::test]
async fn tenants_see_their_own_rows_only() {
    let section =
        QuerySection { tenant_required: true, catalog_refresh_ms: 0, ..QuerySection::default() };
    let mut world = World::with(section).await;
    world.publish_for(&TenantId::new("team").unwrap(), &rows()).await;
    let path = range_path(r#"{app="a"}"#);
    let nobody = world.get(&path).await;
    assert_eq!((nobody.status, nobody.text().as_str()), (401, "no org id"));
    let team = world.get_with(&path, &[("x-scope-orgid", "team")]).await.text();
    assert!(team.contains("second"));
    let other = world.get_with(&path, &[("x-scope-orgid", "other")]).await.text();
    assert!(other.contains(r#""result":[]"#), "{other}");
}

#[tokio::test]
async fn an_unreachable_indexer_makes_the_answer_partial() {
    // Port 1 is closed on any machine that runs tests.
    let indexer = Arc::new(FakeIndexer::default());
    let section = QuerySection { catalog_refresh_ms: 0, ..QuerySection::default() };
    let stop = CancellationToken::new();
    let mut world = World::owned_by(section, "http://127.0.0.1:1", indexer, stop).await;
    world.publish(&rows()).await;
    let answer = world.get(&range_path(r#"{app="a"}"#)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("second"), "what is published is there");
    assert!(answer.warnings().contains("http://127.0.0.1:1"), "{}", answer.warnings());
}

#[tokio::test]
async fn a_broken_or_behind_indexer_is_named() {
    let mut world = World::new().await;
    world.hold(&rows());
    *world.indexer.catching_up.lock().unwrap() = true;
    let answer = world.get(&range_path(r#"{app="a"}"#)).await;
    assert!(answer.text().contains("second"));
    assert!(answer.warnings().contains("millrace.logs/0"), "{}", answer.warnings());
    *world.indexer.broken.lock().unwrap() = true;
    let answer = world.get(&range_path(r#"{app="a"}"#)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.warnings().contains("500"), "{}", answer.warnings());
}

#[tokio::test]
async fn an_indexer_that_moved_on_is_asked_again_on_a_newer_state() {
    // A state that is never refreshed by age: only "plan again" can bring the new segment in.
    let section = QuerySection { catalog_refresh_ms: 3_600_000, ..QuerySection::default() };
    let mut world = World::with(section).await;
    world.hold(&rows());
    let path = range_path(r#"{app="a"} |= "second""#);
    assert!(world.get(&path).await.text().contains("second"));
    world.publish(&rows()).await;
    world.indexer.plan_again.store(2, Ordering::Relaxed);
    let answer = world.get(&path).await;
    assert_eq!(answer.text().matches("second").count(), 1, "neither lost nor doubled");
    assert_eq!(answer.warnings(), "");
}

/// One that was just started has not taken its partitions over, and the catalog does not change
/// until it has.
#[tokio::test]
async fn an_indexer_that_holds_nothing_yet_is_left_out_with_a_warning() {
    let mut world = World::new().await;
    world.publish(&rows()).await;
    world.indexer.plan_again.store(100, Ordering::Relaxed);
    for query in [r#"{app="a"} |= "second""#, r#"sum(count_over_time({app="a"}[1m]))"#] {
        let answer = world.get(&range_path(query)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let warnings = answer.warnings();
        assert!(warnings.contains("it may have just started"), "{warnings}");
    }
    let labels = world.get(&format!("/loki/api/v1/labels?start=0&end={:019}", 60 * SECOND)).await;
    assert_eq!(labels.status, 200, "{}", labels.text());
    assert!(labels.warnings().contains("it may have just started"), "{}", labels.warnings());
}

#[tokio::test]
async fn a_query_without_another_try_says_that_its_plan_grew_old() {
    let section = QuerySection { plan_attempts_max: 1, ..QuerySection::default() };
    let mut world = World::with(section).await;
    world.publish(&rows()).await;
    world.indexer.plan_again.store(1, Ordering::Relaxed);
    let path = range_path(r#"{app="a"} |= "second""#);
    let answer = world.get(&path).await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("while the query was being planned"), "{}", answer.text());
    assert_eq!(world.get(&path).await.status, 200);
}

#[tokio::test]
async fn a_corrupt_and_a_missing_segment_are_set_aside_by_name() {
    let mut world = World::new().await;
    let corrupt = world.publish(&rows()[..1]).await;
    let missing = world.publish(&rows()[1..2]).await;
    world.publish(&rows()[2..]).await;
    let garbage = vec![7_u8; usize::try_from(corrupt.bytes).unwrap()];
    world.store.put(&corrupt.location(), garbage.into()).await.unwrap();
    world.store.delete(&missing.location()).await.unwrap();
    for query in [r#"{app=~".+"}"#, r#"sum(count_over_time({app=~".+"}[1m]))"#] {
        let answer = world.get(&range_path(query)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let warnings = answer.warnings();
        assert!(warnings.contains(&corrupt.id.to_string()), "{warnings}");
        assert!(warnings.contains(&missing.id.to_string()), "{warnings}");
    }
    assert!(world.get(&range_path(r#"{app=~".+"}"#)).await.text().contains("third"));
    let labels = world.get(&format!("/loki/api/v1/labels?start=0&end={:019}", 60 * SECOND)).await;
    assert_eq!(labels.json()["data"], json!(["app", "pod"]));
    assert!(labels.warnings().contains(&corrupt.id.to_string()), "{}", labels.warnings());
}

#[tokio::test]
async fn a_damaged_commit_leaves_the_last_sound_state_answering_with_a_warning() {
    let mut world = World::new().await;
    world.publish(&rows()[..1]).await;
    world.publish(&rows()[1..2]).await;
    let path = Path::from(format!("{PREFIX}/commits/{:020}", 3));
    let sound = world.store.get(&path).await.unwrap().bytes().await.unwrap();
    world.store.put(&path, sound.slice(..sound.len() / 2).into()).await.unwrap();
    // The indexer has published the second row and forgotten it.
    world.indexer.plan_again.store(100, Ordering::Relaxed);

    // One that starts now cannot get past the first row, and says so.
    let router = world.another_query().await;
    let path_of = range_path(r#"{app=~".+"}"#);
    let answer = world.get_from(&router, &path_of).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let warnings = answer.warnings();
    assert!(warnings.contains("commits/00000000000000000003` is damaged"), "{warnings}");
    assert!(warnings.contains("beyond the catalog version that can be read"), "{warnings}");
    assert!(answer.text().contains("first") && !answer.text().contains("second"));

    // Restored, it goes on by itself.
    world.store.put(&path, sound.into()).await.unwrap();
    world.indexer.plan_again.store(0, Ordering::Relaxed);
    let answer = world.get_from(&router, &path_of).await;
    assert_eq!(answer.warnings(), "");
    assert!(answer.text().contains("second"), "{}", answer.text());
}

#[tokio::test]
async fn a_segment_retired_under_a_query_is_planned_around() {
    let section = QuerySection { catalog_refresh_ms: 3_600_000, ..QuerySection::default() };
    let mut world = World::with(section).await;
    let old = world.publish(&rows()).await;
    let path = range_path(r#"{app="a"} |= "second""#);
    assert!(world.get(&path).await.text().contains("second"));
    // A merge: the same rows in another segment, and the old object is gone.
    let new = world.publish(&rows()).await;
    world.catalog.commit(vec![Op::RemoveSegments { ids: vec![old.id] }]).await.unwrap();
    world.store.delete(&old.location()).await.unwrap();
    let answer = world.get(&path).await;
    assert_eq!(answer.warnings(), "");
    assert_eq!(answer.text().matches("second").count(), 1, "{new:?}");
}

#[tokio::test]
async fn every_limit_is_named_when_it_is_hit() {
    let limited = async |change: fn(&mut QuerySection), query: &str| {
        let mut section = QuerySection { catalog_refresh_ms: 0, ..QuerySection::default() };
        change(&mut section);
        let mut world = World::with(section).await;
        world.publish(&rows()).await;
        world.hold(&rows());
        let answer = world.get(&range_path(query)).await;
        format!("{} {}", answer.status, answer.text())
    };
    let all = r#"{app=~".+"}"#;
    let counted = r#"count_over_time({app=~".+"}[1m])"#;
    let bytes = limited(|section| section.limits.bytes_read_max = 10, all).await;
    assert!(bytes.starts_with("400 the query would read too many bytes"), "{bytes}");
    let rows = limited(|section| section.limits.rows_max = 1, all).await;
    assert!(rows.starts_with("400 the query reads too many rows (limit: 1 rows"), "{rows}");
    let series = limited(|section| section.limits.series_max = 1, counted).await;
    assert!(series.starts_with("400 maximum number of series (1) reached"), "{series}");
    let cells = limited(|section| section.limits.cells_max = 10, counted).await;
    assert!(cells.starts_with("400 the query needs more than 10 cells"), "{cells}");
    let window = limited(|section| section.limits.range_max_secs = 30, counted).await;
    assert!(window.contains("(range: 1m, limit: 30s)"), "{window}");
    let recent = limited(|section| section.recent_bytes_max = 100, all).await;
    assert!(recent.contains("query.recent_bytes_max"), "{recent}");
}

#[tokio::test]
async fn drilldown_gets_the_first_series_and_a_warning() {
    let mut section = QuerySection { catalog_refresh_ms: 0, ..QuerySection::default() };
    section.limits.series_max = 1;
    let mut world = World::with(section).await;
    world.publish(&rows()).await;
    let path = range_path(r#"sum by (app) (count_over_time({app=~".+"}[1m]))"#);
    assert_eq!(world.get(&path).await.status, 400);
    let tags = [("x-query-tags", "Source=grafana-lokiexplore-app")];
    let answer = world.get_with(&path, &tags).await;
    assert_eq!(answer.json()["data"]["result"].as_array().unwrap().len(), 1);
    assert!(answer.warnings().contains("returning partial results"), "{}", answer.warnings());
}

#[tokio::test]
async fn queries_beyond_the_permits_and_the_waiting_room_are_turned_away() {
    let section = QuerySection {
        concurrency: 1,
        waiting_max: 0,
        catalog_refresh_ms: 0,
        ..QuerySection::default()
    };
    let clock = runtime::clock::SystemClock::shared();
    let admission = query::admission::Admission::new(&section, clock);
    let running = admission.admit(TenantId::default(), None).await.unwrap();
    let refused = admission.admit(TenantId::default(), None).await.unwrap_err();
    assert_eq!(refused.to_string(), "too many outstanding requests");
    drop(running);
    let admitted = admission.admit(TenantId::default(), None).await.unwrap();
    admitted.check().unwrap();
    let context: query::admission::QueryContext = (*admitted).clone();
    drop(admitted);
    assert!(context.check().is_err(), "whatever still runs for it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_of_segments_and_indexers_are_one() {
    use query::scan::{SamplePlan, SampleReader, Scanner};
    let mut world = World::new().await;
    let up = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
    world.publish_samples(&up, &[(1_000, 1.0), (2_000, 2.0)]).await;
    world.publish_samples(&up, &[(2_000, 9.0), (3_000, 3.0)]).await;
    world.hold_samples(&up, &[(3_000, 9.0), (4_000, 4.0)]);
    let section = QuerySection { catalog_refresh_ms: 0, ..QuerySection::default() };
    let clock = Arc::clone(&world.clock);
    let scanner =
        Scanner::new(&section, world.catalog.clone(), Arc::clone(&world.store), Arc::clone(&clock))
            .unwrap();
    let admission = query::admission::Admission::new(&section, clock);
    let context = admission.admit(TenantId::default(), None).await.unwrap();
    let plan = SamplePlan {
        tenant: TenantId::default(),
        start_ms: 1_500,
        end_ms: 10_000,
        matchers: Vec::new(),
    };
    let found = scanner.samples(&plan, &context).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].times, [2_000, 3_000, 4_000]);
    assert_eq!(found[0].values, [2.0, 3.0, 4.0]);
    assert_eq!(scanner.label_names(&plan, &context).await.unwrap(), ["__name__", "job"]);
    assert_eq!(scanner.label_values("job", &plan, &context).await.unwrap(), ["a"]);
}
