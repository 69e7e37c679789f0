//! The Prometheus API over HTTP: what Grafana and promtool send, and what they must get.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use query::api::prometheus::{Opened, PrometheusApi, Source};
use query::promql::{Engine, MemorySamples, PromqlSection, QueryError};
use record::{Labels, MetricMetadata, TenantId};
use runtime::clock::ManualClock;
use runtime::cpu::CpuPool;
use serde_json::{Value, json};
use tower::ServiceExt;

#[derive(Debug)]
struct Fixed(MemorySamples);

#[async_trait]
impl Source for Fixed {
    async fn open(&self, _: &HeaderMap, _: Option<Duration>) -> Result<Opened, QueryError> {
        Ok(Opened { tenant: TenantId::default(), samples: Box::new(self.0.clone()) })
    }
}

fn samples() -> MemorySamples {
    let mut samples = MemorySamples::new();
    for (instance, step) in [("a", 1.0), ("b", 2.0)] {
        let labels = Labels::from_pairs([("__name__", "up_total"), ("instance", instance)]);
        for minute in 0..=10_i64 {
            samples.push(&labels, minute * 60_000, step * 60.0 * minute as f64);
        }
    }
    let dotted = Labels::from_pairs([("__name__", "other"), ("service.name", "x")]);
    samples.push(&dotted, 0, f64::NAN);
    samples.describe(MetricMetadata {
        family: "up_total".to_owned(),
        kind: "counter".to_owned(),
        help: "Ups.".to_owned(),
        unit: String::new(),
    });
    samples
}

fn app() -> Router {
    let section = PromqlSection { samples_max: 1_000, ..PromqlSection::default() };
    let pool = Arc::new(CpuPool::new(1, 8).unwrap());
    let clock = ManualClock::new(600_000_000_000);
    let engine = Engine::new(section, Duration::from_secs(10), pool, clock);
    PrometheusApi::new(engine, Arc::new(Fixed(samples()))).router()
}

async fn send(request: Request<Body>) -> (u16, String) {
    let response = app().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    if status == 200 {
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(uri: &str) -> (u16, String) {
    send(Request::get(uri).body(Body::empty()).unwrap()).await
}

async fn post(uri: &str, form: &str) -> (u16, String) {
    let request = Request::post(uri)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()));
    send(request.unwrap()).await
}

#[tokio::test]
async fn save_and_test_of_grafana() {
    let (status, body) = post("/api/v1/query", "query=1%2B1&time=4").await;
    assert_eq!(status, 200);
    assert_eq!(body, r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#);
    let (status, body) = get("/api/v1/status/buildinfo").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert!(body["data"]["version"].as_str().unwrap().starts_with("3."));
    assert_eq!(body["data"].get("features"), None);
    assert_eq!(get("/api/v1/rules").await.1, r#"{"status":"success","data":{"groups":[]}}"#);
    let probe = "/api/v1/query_exemplars?query=test&start=1600096945479&end=1600096975479";
    assert_eq!(get(probe).await, (200, r#"{"status":"success","data":[]}"#.to_owned()));
    assert_eq!(get("/api/v1/query_exemplars?query=1").await, (204, String::new()));
}

#[tokio::test]
async fn a_panel_query_byte_for_byte() {
    let form = "query=sum+by+(instance)+(rate(up_total%5B5m%5D))&start=300&end=360&step=30";
    let expected = concat!(
        r#"{"status":"success","data":{"resultType":"matrix","result":["#,
        r#"{"metric":{"instance":"a"},"values":[[300,"1"],[330,"1"],[360,"1"]]},"#,
        r#"{"metric":{"instance":"b"},"values":[[300,"2"],[330,"2"],[360,"2"]]}]}}"#,
    );
    assert_eq!(post("/api/v1/query_range", form).await, (200, expected.to_owned()));
    assert_eq!(get(&format!("/api/v1/query_range?{form}")).await, (200, expected.to_owned()));
    // Parameters of the URL and of the body are one set.
    let (url, body) = form.split_once('&').unwrap();
    let (status, found) = post(&format!("/api/v1/query_range?{url}"), body).await;
    assert_eq!((status, found), (200, expected.to_owned()));
}

#[tokio::test]
async fn every_result_type() {
    let cases = [
        (
            "query=up_total&time=1970-01-01T00:01:00Z",
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up_total","instance":"a"},"value":[60,"60"]},{"metric":{"__name__":"up_total","instance":"b"},"value":[60,"120"]}]}"#,
        ),
        (
            "query=up_total%7Binstance%3D%22a%22%7D%5B90s%5D&time=60.5",
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up_total","instance":"a"},"values":[[0,"0"],[60,"60"]]}]}"#,
        ),
        ("query=%22text%22&time=0.001", r#"{"resultType":"string","result":[0.001,"text"]}"#),
        ("query=other", r#"{"resultType":"vector","result":[]}"#),
        (
            "query=other&time=1",
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"other","service.name":"x"},"value":[1,"NaN"]}]}"#,
        ),
    ];
    for (params, data) in cases {
        let expected = format!(r#"{{"status":"success","data":{data}}}"#);
        assert_eq!(get(&format!("/api/v1/query?{params}")).await, (200, expected), "{params}");
    }
}

#[tokio::test]
async fn errors_have_the_references_form() {
    let range = "query_range?query=up_total&start=0&end=10&step=1";
    let cases = [
        (
            "query?query=",
            400,
            "bad_data",
            "invalid parameter \"query\": 1:1: parse error: no expression found in input",
        ),
        (
            "query?query=foo%7B",
            400,
            "bad_data",
            "invalid parameter \"query\": 1:5: parse error: unexpected end of input in label matching, expected identifier or \"}\"",
        ),
        (
            "query?query=1&time=x",
            400,
            "bad_data",
            "invalid parameter \"time\": cannot parse \"x\" to a valid timestamp",
        ),
        (
            "query?query=1&timeout=x",
            400,
            "bad_data",
            "invalid parameter \"timeout\": cannot parse \"x\" to a valid duration",
        ),
        (
            "query?query=1&limit=-1",
            400,
            "bad_data",
            "invalid parameter \"limit\": limit must be non-negative",
        ),
        (
            "query?query=1&limit=x",
            400,
            "bad_data",
            "invalid parameter \"limit\": cannot parse \"x\" to an integer",
        ),
        (
            "query_range?query=1&start=2&end=1&step=1",
            400,
            "bad_data",
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        (
            "query_range?query=1&start=0&end=1&step=0",
            400,
            "bad_data",
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "query_range?query=1&start=0&end=1",
            400,
            "bad_data",
            "invalid parameter \"step\": cannot parse \"\" to a valid duration",
        ),
        (
            "query_range?query=1&end=1&step=1",
            400,
            "bad_data",
            "invalid parameter \"start\": cannot parse \"\" to a valid timestamp",
        ),
        (
            "query_range?query=1&start=0&end=11001&step=1",
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "query_range?query=up%5B5m%5D&start=0&end=1&step=1",
            400,
            "bad_data",
            "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
        ),
        (
            "query?query=up_total+%2B+on()+up_total&time=60",
            422,
            "execution",
            "found duplicate series for the match group {} on the right hand-side of the operation: [{__name__=\"up_total\", instance=\"b\"}, {__name__=\"up_total\", instance=\"a\"}];many-to-many matching not allowed: matching labels must be unique on one side",
        ),
        (
            "query_range?query=time()&start=0&end=5000&step=1",
            422,
            "execution",
            "query processing would load too many samples into memory in expression evaluation (`samples_max` is 1000)",
        ),
        ("series", 400, "bad_data", "no match[] parameter provided"),
        (
            "series?match[]=%7B%7D",
            400,
            "bad_data",
            "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher",
        ),
        ("label/U__a_zz_/values", 400, "bad_data", "invalid label name: \"U__a_zz_\""),
        (
            "labels?start=2&end=1",
            400,
            "bad_data",
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
    ];
    for (request, status, kind, text) in cases {
        let (found, body) = get(&format!("/api/v1/{request}")).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        let expected = json!({"status": "error", "errorType": kind, "error": text});
        assert_eq!((found, body), (status, expected), "{request}");
    }
    assert_eq!(get(&format!("/api/v1/{range}&namespace=ignored")).await.0, 200);
    assert_eq!(post("/api/v1/metadata", "").await.0, 405);
}

#[tokio::test]
async fn what_the_metrics_browser_asks() {
    let cases = [
        ("labels", json!(["__name__", "instance", "service.name"])),
        ("labels?match[]=up_total", json!(["__name__", "instance"])),
        ("label/__name__/values?limit=40000", json!(["other", "up_total"])),
        ("label/U__service_2e_name/values", json!(["x"])),
        ("label/instance/values?match[]=up_total&match[]=other", json!(["a", "b"])),
        ("label/nope/values", json!([])),
        ("labels?start=-10&end=-5", json!([])),
        (
            "series?match[]=%7B__name__!%3D%22%22%7D&match[]=other",
            json!([
                {"__name__": "other", "service.name": "x"},
                {"__name__": "up_total", "instance": "a"},
                {"__name__": "up_total", "instance": "b"},
            ]),
        ),
        ("metadata", json!({"up_total": [{"type": "counter", "help": "Ups.", "unit": ""}]})),
        ("metadata?metric=nope", json!({})),
    ];
    for (request, data) in cases {
        let (status, body) = get(&format!("/api/v1/{request}")).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["data"]), (200, &data), "{request}");
    }
}

#[tokio::test]
async fn limits_cut_and_say_so() {
    let warned = json!(["results truncated due to limit"]);
    for request in ["query?query=up_total&time=60&limit=1", "label/instance/values?limit=1"] {
        let (_, body) = get(&format!("/api/v1/{request}")).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        let items = if body["data"].is_array() { &body["data"] } else { &body["data"]["result"] };
        assert_eq!((items.as_array().unwrap().len(), &body["warnings"]), (1, &warned), "{request}");
    }
    let (_, body) = get("/api/v1/query?query=up_total&time=60&limit=2").await;
    assert!(!body.contains("warnings"), "{body}");
}

#[tokio::test]
async fn annotations_and_stats_come_with_the_answer() {
    let uri = "/api/v1/query?query=quantile(2,up_total)&time=60&stats=true&lookback_delta=1m";
    let (_, body) = get(uri).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let warning = "PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)";
    assert_eq!(body["warnings"], json!([warning]));
    assert_eq!(body["data"]["stats"]["samples"]["totalQueryableSamples"], json!(2));
    assert_eq!(body["data"]["result"][0]["value"], json!([60, "+Inf"]));
    let (_, body) = get("/api/v1/query?query=rate(other%5B1m%5D)&time=1").await;
    assert!(!body.contains("infos"), "no result, no info: {body}");
}

#[tokio::test]
async fn text_of_queries() {
    let (_, body) = get("/api/v1/format_query?query=sum(foo)by(a)").await;
    assert_eq!(body, r#"{"status":"success","data":"sum by (a) (foo)"}"#);
    let (_, body) = get("/api/v1/parse_query?query=-foo%5B5m%5D").await;
    assert!(body.contains("unary expression only allowed"), "{body}");
    let (_, body) = get("/api/v1/parse_query?query=rate(foo%5B5m%5D)").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["data"]["type"], "call");
    assert_eq!(body["data"]["args"][0]["range"], 300_000);
}
