//! Every bound of a query stops it, by name.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use query::promql::{
    Engine, Found, InstantQuery, MemorySamples, PromqlSection, QueryError, RangeQuery, Samples,
    SamplesError, Select, SeriesSamples, Wishes,
};
use record::{Labels, MetricMetadata, TenantId};
use runtime::clock::{ManualClock, SystemClock};
use runtime::cpu::CpuPool;

fn engine(section: PromqlSection) -> Engine {
    let pool = Arc::new(CpuPool::new(1, 8).unwrap());
    Engine::new(section, Duration::from_secs(60), pool, Arc::new(SystemClock::new()))
}

fn hundred_series() -> MemorySamples {
    let mut samples = MemorySamples::new();
    for number in 0..100 {
        let labels = Labels::from_pairs([("__name__", "m"), ("n", &number.to_string())]);
        samples.push(&labels, 0, f64::from(number));
    }
    samples
}

async fn instant(engine: &Engine, samples: &dyn Samples, query: &str) -> Result<(), QueryError> {
    let query = InstantQuery { query, time_ms: 0, wishes: Wishes::default() };
    engine.instant(samples, &TenantId::default(), query).await.map(|_| ())
}

fn limit(result: Result<(), QueryError>) -> (&'static str, String) {
    match result {
        Err(QueryError::Limit { name, message }) => (name, message),
        other => panic!("no limit was hit: {other:?}"),
    }
}

#[tokio::test]
async fn samples_held_are_bounded_at_every_place_they_are_made() {
    let section = PromqlSection { samples_max: 150, ..PromqlSection::default() };
    let engine = engine(section);
    let samples = hundred_series();
    assert_eq!(instant(&engine, &samples, "m{n=~\"1.\"} + on (n) m{n=~\"1.\"}").await, Ok(()));
    for query in ["m", "m + 1", "sum_over_time(m[1m:1s])", "vector(1)[1d:1ms]"] {
        let (name, message) = limit(instant(&engine, &samples, query).await);
        assert_eq!(name, "samples", "{query}");
        assert!(message.contains("`samples_max` is 150"), "{message}");
    }
}

#[tokio::test]
async fn series_of_a_selector_are_bounded() {
    let engine = engine(PromqlSection { series_max: 99, ..PromqlSection::default() });
    let (name, message) = limit(instant(&engine, &hundred_series(), "sum(m)").await);
    assert_eq!(
        (name, message.as_str()),
        ("series", "selector finds more than 99 series (`series_max`)")
    );
    assert_eq!(instant(&engine, &hundred_series(), "sum(m{n!=\"1\"})").await, Ok(()));
}

#[tokio::test]
async fn points_are_bounded_inclusively() {
    let engine = engine(PromqlSection { points_max: 10, ..PromqlSection::default() });
    let range = |end_ms| RangeQuery {
        query: "1",
        start_ms: 0,
        end_ms,
        step_ms: 1_000,
        wishes: Wishes::default(),
    };
    assert_eq!(engine.check_steps(&range(10_999)), Ok(()));
    let refused = engine.check_steps(&range(11_000)).unwrap_err();
    assert!(refused.to_string().starts_with("exceeded maximum resolution of 10 points"));
}

/// Storage so slow that every selection takes ten seconds of the clock.
#[derive(Debug)]
struct Slow(Arc<ManualClock>);

#[async_trait]
impl Samples for Slow {
    async fn select(&self, _: &Select) -> Result<Found<SeriesSamples>, SamplesError> {
        self.0.advance(Duration::from_secs(10));
        Ok(Found::default())
    }

    async fn series(&self, _: &Select) -> Result<Found<Labels>, SamplesError> {
        Ok(Found::default())
    }

    async fn metadata(&self, _: &TenantId) -> Result<Found<MetricMetadata>, SamplesError> {
        Ok(Found::default())
    }
}

#[tokio::test]
async fn the_deadline_stops_a_query_and_a_wish_can_only_shorten_it() {
    let clock = ManualClock::new(0);
    let pool = Arc::new(CpuPool::new(1, 8).unwrap());
    let timeout = Duration::from_secs(15);
    let engine = Engine::new(PromqlSection::default(), timeout, pool, Arc::clone(&clock) as _);
    let slow = Slow(clock);
    let run = async |query: &str, timeout: Option<Duration>| {
        let wishes = Wishes { timeout, lookback_ms: None };
        let query = InstantQuery { query, time_ms: 0, wishes };
        engine.instant(&slow, &TenantId::default(), query).await.map(|_| ())
    };
    assert_eq!(run("a", None).await, Ok(()));
    let timed_out = Err(QueryError::Timeout { phase: "expression evaluation" });
    assert_eq!(run("a + b", None).await, timed_out);
    assert_eq!(run("a", Some(Duration::from_secs(5))).await, timed_out);
    assert_eq!(run("a + b", Some(Duration::from_secs(3600))).await, timed_out);
}

#[tokio::test]
async fn the_longest_chain_is_evaluated_on_a_pool_thread() {
    let engine = engine(PromqlSection::default());
    let chain = vec!["m"; 500].join(" + on (n) ");
    assert_eq!(instant(&engine, &hundred_series(), &chain).await, Ok(()));
    let nested = format!("{}m{}", "abs(".repeat(45), ")".repeat(45));
    assert_eq!(instant(&engine, &hundred_series(), &nested).await, Ok(()));
}
