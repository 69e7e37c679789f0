//! The engine against definitions written as plainly as possible, on random data.

use std::collections::BTreeMap;

use proptest::prelude::*;
use query::promql::{Engine, InstantQuery, MemorySamples, Outcome, RangeQuery, Wishes};
use record::{Labels, TenantId};

use crate::run::engine;

const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;
const LOOKBACK_MS: i64 = 300_000;

type Samples = BTreeMap<i64, f64>;
type Data = Vec<(Labels, Samples)>;
type Vector = BTreeMap<Labels, f64>;

/// Two metrics, `m` and `n_total`, of up to four series each, with gaps and ends.
fn data() -> impl Strategy<Value = Data> {
    let value = prop_oneof![
        8 => (0..50_i32).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => Just(f64::from_bits(STALE_BITS)),
    ];
    let samples = prop::collection::btree_map(0..900_000_i64, value, 0..25);
    prop::collection::vec(samples, 8).prop_map(|columns| {
        let names = ["m", "n_total"].iter().flat_map(|name| {
            [("x", "1"), ("x", "2"), ("y", "1"), ("y", "2")]
                .map(|(a, b)| Labels::from_pairs([("__name__", *name), ("a", a), ("b", b)]))
        });
        names.zip(columns).collect()
    })
}

fn stored(data: &Data) -> MemorySamples {
    let mut memory = MemorySamples::new();
    for (labels, samples) in data {
        samples.iter().for_each(|(time, value)| memory.push(labels, *time, *value));
    }
    memory
}

fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

fn metric<'d>(data: &'d Data, name: &'d str) -> impl Iterator<Item = &'d (Labels, Samples)> {
    data.iter().filter(move |(labels, _)| labels.get("__name__") == Some(name))
}

fn instant(data: &Data, name: &str, time: i64) -> Vector {
    let newest = |samples: &Samples| {
        let (_, value) = samples.range(time - LOOKBACK_MS + 1..=time).next_back()?;
        (!is_stale(*value)).then_some(*value)
    };
    metric(data, name).filter_map(|(labels, s)| Some((labels.clone(), newest(s)?))).collect()
}

/// Applies `of` to each series' samples in `(time - range, time]`.
fn over(
    data: &Data,
    name: &str,
    time: i64,
    range: i64,
    of: impl Fn(&[(i64, f64)]) -> Option<f64>,
) -> Vector {
    let window = |samples: &Samples| -> Vec<(i64, f64)> {
        let found = samples.range(time - range + 1..=time).map(|(time, value)| (*time, *value));
        found.filter(|(_, value)| !is_stale(*value)).collect()
    };
    metric(data, name)
        .filter_map(|(labels, samples)| {
            let window = window(samples);
            let value = if window.is_empty() { None } else { of(&window) };
            Some((labels.without("__name__"), value?))
        })
        .collect()
}

fn total(window: &[(i64, f64)]) -> Option<f64> {
    Some(window.iter().map(|(_, value)| value).sum())
}

/// `rate` as its documentation describes it.
fn rate(window: &[(i64, f64)], start: i64, end: i64) -> Option<f64> {
    let (first, last) = (window.first()?, window.last()?);
    if window.len() < 2 {
        return None;
    }
    let mut increase = last.1 - first.1;
    for pair in window.windows(2) {
        if pair[1].1 < pair[0].1 {
            increase += pair[0].1;
        }
    }
    let sampled = (last.0 - first.0) as f64 / 1000.0;
    let average = sampled / (window.len() - 1) as f64;
    let mut before = (first.0 - start) as f64 / 1000.0;
    if before >= average * 1.1 {
        before = average / 2.0;
    }
    if increase > 0.0 && first.1 >= 0.0 {
        before = before.min(sampled * first.1 / increase);
    }
    let mut after = (end - last.0) as f64 / 1000.0;
    if after >= average * 1.1 {
        after = average / 2.0;
    }
    let range = (end - start) as f64 / 1000.0;
    Some(increase * (sampled + before + after) / sampled / range)
}

fn key(labels: &Labels, names: &[&str]) -> Labels {
    Labels::from_pairs(names.iter().map(|name| (*name, labels.get(name).unwrap_or(""))))
}

fn sum_by(vector: Vector, names: &[&str]) -> Vector {
    let mut sums = Vector::new();
    for (labels, value) in vector {
        *sums.entry(key(&labels, names)).or_default() += value;
    }
    sums
}

fn paired(left: Vector, right: Vector, of: impl Fn(f64, f64) -> f64) -> Vector {
    let names = ["a", "b"];
    let of_key: BTreeMap<Labels, f64> =
        right.into_iter().map(|(labels, value)| (key(&labels, &names), value)).collect();
    let pair = |(labels, value): (Labels, f64)| {
        let key = key(&labels, &names);
        let other = of_key.get(&key)?;
        Some((key, of(value, *other)))
    };
    left.into_iter().filter_map(pair).collect()
}

fn only_where(left: Vector, right: &Vector, wanted: bool) -> Vector {
    let there = |labels: &Labels| right.keys().any(|k| key(k, &["a"]) == key(labels, &["a"]));
    left.into_iter().filter(|(labels, _)| there(labels) == wanted).collect()
}

/// Queries and what they mean.
fn naive(query: usize, data: &Data, time: i64) -> (&'static str, Vector) {
    let m = |time| instant(data, "m", time);
    let n = |time| instant(data, "n_total", time);
    match query {
        0 => ("m", m(time)),
        1 => ("m offset 90s", m(time - 90_000)),
        2 => ("m @ 400", m(400_000)),
        3 => ("sum by (a) (m)", sum_by(m(time), &["a"])),
        4 => ("sum_over_time(m[100s])", over(data, "m", time, 100_000, total)),
        5 => (
            "count_over_time(m[7m] offset 1m)",
            over(data, "m", time - 60_000, 420_000, |window| Some(window.len() as f64)),
        ),
        6 => (
            "rate(n_total[4m])",
            over(data, "n_total", time, 240_000, |window| rate(window, time - 240_000, time)),
        ),
        7 => ("m * on (a, b) n_total", paired(m(time), n(time), |a, b| a * b)),
        8 => ("m and on (a) n_total", only_where(m(time), &n(time), true)),
        9 => ("m unless on (a) n_total", only_where(m(time), &n(time), false)),
        10 => {
            let mut all = only_where(n(time), &m(time), false);
            all.extend(m(time));
            ("m or on (a) n_total", all)
        }
        11 => ("m > 20", m(time).into_iter().filter(|(_, value)| *value > 20.0).collect()),
        _ => {
            let mut found = Vector::new();
            let times = (time - 200_000 + 1..=time).filter(|time| time.rem_euclid(30_000) == 0);
            for (labels, value) in times.flat_map(m) {
                *found.entry(labels.without("__name__")).or_default() += value;
            }
            ("sum_over_time(m[200s:30s])", found)
        }
    }
}

const QUERIES: usize = 13;

/// Every kind of query there is, to compare its range form with its instant form.
const SHAPES: &[&str] = &[
    "avg_over_time(m[3m])",
    "stddev_over_time(m[3m])",
    "quantile_over_time(0.3, m[3m])",
    "min_over_time(m[2m:20s])",
    "last_over_time(m[10m] offset 1m)",
    "increase(n_total[5m])",
    "irate(n_total[5m])",
    "delta(m[5m])",
    "idelta(m[5m])",
    "changes(m[5m])",
    "resets(n_total[5m])",
    "deriv(m[5m])",
    "predict_linear(m[5m], 60)",
    "increase(n_total[2m] anchored)",
    "rate(n_total[2m] smoothed)",
    "m smoothed",
    "absent(m{a=\"x\"})",
    "absent_over_time(m{a=\"x\"}[1m])",
    "present_over_time(m[1m])",
    "timestamp(m)",
    "clamp(m, 5, time() / 20)",
    "round(m, 7)",
    "topk(2, m)",
    "bottomk(1, m) by (a)",
    "quantile(0.7, m)",
    "count_values(\"v\", m)",
    "stdvar by (b) (m)",
    "group(m)",
    "limitk(1, m)",
    "limit_ratio(0.5, m)",
    "m + on (a, b) group_left n_total",
    "m == bool on (a, b) n_total",
    "m + on (a, b) fill (3) n_total",
    "scalar(m{a=\"x\",b=\"1\"}) + vector(1)",
    "-m",
    "2 - m",
    "m % 3 ^ 2",
    "label_replace(m, \"c\", \"$1\", \"a\", \"(.)\")",
    "label_join(m, \"c\", \"-\", \"a\", \"b\")",
    "minute() + hour(m * 10000)",
    "sum(m @ 300) / sum(m)",
    "max_over_time(sum(rate(n_total[2m]))[4m:1m])",
    "histogram_quantile(0.5, label_replace(m, \"le\", \"$1\", \"b\", \"(.)\"))",
    "double_exponential_smoothing(m[5m], 0.5, 0.5)",
    "mad_over_time(m[5m])",
];

fn same(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

fn same_vectors(a: &Vector, b: &Vector) -> bool {
    a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|other| same(*v, *other)))
}

async fn at(engine: &Engine, samples: &MemorySamples, query: &str, time_ms: i64) -> Vector {
    let query = InstantQuery { query, time_ms, wishes: Wishes::default() };
    let answer = engine.instant(samples, &TenantId::default(), query).await;
    match answer.map(|answer| answer.outcome) {
        Ok(Outcome::Vector { series, .. }) => series.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

async fn along(
    engine: &Engine,
    samples: &MemorySamples,
    query: &str,
    (start_ms, step_ms, steps): (i64, i64, i64),
) -> BTreeMap<i64, Vector> {
    let end_ms = start_ms + step_ms * (steps - 1);
    let query = RangeQuery { query, start_ms, end_ms, step_ms, wishes: Wishes::default() };
    let answer = engine.range(samples, &TenantId::default(), query).await.unwrap();
    let Outcome::Matrix { series } = answer.outcome else { panic!("no matrix") };
    let mut found: BTreeMap<i64, Vector> = BTreeMap::new();
    for series in series {
        for (time, value) in series.times.iter().zip(&series.values) {
            found.entry(*time).or_default().insert(series.labels.clone(), *value);
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_what_the_definitions_say(
        data in data(),
        start in 0..900_000_i64,
        step in 1_000..100_000_i64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (engine, samples) = (engine(), stored(&data));
        runtime.block_on(async {
            for query in 0..QUERIES {
                let (text, _) = naive(query, &data, start);
                let found = along(&engine, &samples, text, (start, step, 8)).await;
                for time in (0..8).map(|number| start + number * step) {
                    let (_, expected) = naive(query, &data, time);
                    let found = found.get(&time).cloned().unwrap_or_default();
                    assert!(
                        same_vectors(&found, &expected),
                        "{text} at {time}: {found:?} instead of {expected:?}"
                    );
                }
            }
        });
    }

    #[test]
    fn a_range_is_its_instants(
        data in data(),
        start in 0..900_000_i64,
        step in 1_000..100_000_i64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (engine, samples) = (engine(), stored(&data));
        runtime.block_on(async {
            for query in SHAPES {
                let found = along(&engine, &samples, query, (start, step, 6)).await;
                for time in (0..6).map(|number| start + number * step) {
                    let expected = at(&engine, &samples, query, time).await;
                    let found = found.get(&time).cloned().unwrap_or_default();
                    assert!(
                        same_vectors(&found, &expected),
                        "{query} at {time}: {found:?} in the range, {expected:?} alone"
                    );
                }
            }
        });
    }
}
