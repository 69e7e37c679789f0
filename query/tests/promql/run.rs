//! Runs a script against the engine and says which queries give what they should.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use query::promql::{
    Answer, Engine, Features, InstantQuery, MemorySamples, Outcome, PromqlSection, RangeQuery,
    SeriesSamples, Wishes, parse,
};
use record::{Labels, TenantId};
use runtime::clock::SystemClock;
use runtime::cpu::CpuPool;

use crate::script::{self, Eval, Expected, Step, When};
use crate::series::{Cell, Line};

/// Relative difference that is still the same number.
const TOLERANCE: f64 = 1e-6;
/// Bits of the staleness marker.
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// What became of a script's queries.
#[derive(Debug, Default)]
pub struct Report {
    pub passed: usize,
    /// Where, and why.
    pub failed: Vec<String>,
    /// Queries over native histograms.
    pub histograms: usize,
    /// Queries over start timestamps.
    pub start_times: usize,
}

/// The engine scripts are run with, everything on.
pub fn engine() -> Engine {
    let section = PromqlSection {
        delayed_name_removal: true,
        features: all_features(),
        ..PromqlSection::default()
    };
    let pool = Arc::new(CpuPool::new(1, 8).unwrap());
    Engine::new(section, Duration::from_secs(60), pool, Arc::new(SystemClock::new()))
}

fn all_features() -> Features {
    Features {
        experimental_functions: true,
        extended_range_selectors: true,
        binop_fill_modifiers: true,
    }
}

/// What is loaded.
#[derive(Default)]
struct Loaded {
    samples: MemorySamples,
    histograms: Vec<Labels>,
    start_times: Vec<Labels>,
}

pub async fn run(engine: &Engine, text: &str) -> Result<Report, String> {
    let mut report = Report::default();
    let mut loaded = Loaded::default();
    for step in script::parse(text)? {
        match step {
            Step::Clear => loaded = Loaded::default(),
            Step::Load { step_ms, series } => loaded.load(step_ms, series),
            Step::Eval(eval) if loaded.needs(&loaded.histograms, &eval) || eval.has_histogram() => {
                report.histograms += 1;
            }
            Step::Eval(eval) if loaded.needs(&loaded.start_times, &eval) => {
                report.start_times += 1;
            }
            Step::Eval(eval) => match check(engine, &loaded.samples, &eval).await {
                Ok(()) => report.passed += 1,
                Err(why) => {
                    report.failed.push(format!("line {}: {}: {why}", eval.line, eval.query));
                }
            },
        }
    }
    Ok(report)
}

impl Loaded {
    fn load(&mut self, step_ms: i64, series: Vec<Line>) {
        for line in series {
            if line.start_times {
                self.start_times.push(line.labels);
                continue;
            }
            for (time_ms, cell) in (0..).map(|step| step * step_ms).zip(&line.cells) {
                match cell {
                    Cell::Missing => {}
                    Cell::Value(value) => self.samples.push(&line.labels, time_ms, *value),
                    Cell::Stale => {
                        self.samples.push(&line.labels, time_ms, f64::from_bits(STALE_BITS));
                    }
                    Cell::Histogram => self.histograms.push(line.labels.clone()),
                }
            }
        }
    }

    /// Whether the query selects any of `series`.
    fn needs(&self, series: &[Labels], eval: &Eval) -> bool {
        let Ok(expr) = parse(&eval.query, &all_features()) else { return false };
        expr.selectors().into_iter().map(|selector| selector.all_matchers()).any(|matchers| {
            series.iter().any(|labels| matchers.iter().all(|m| m.matches_labels(labels)))
        })
    }
}

impl Eval {
    fn has_histogram(&self) -> bool {
        self.series.iter().any(|line| line.cells.contains(&Cell::Histogram))
            || self.query.contains("start_timestamp(")
    }
}

async fn check(engine: &Engine, samples: &MemorySamples, eval: &Eval) -> Result<(), String> {
    let tenant = TenantId::default();
    let query = eval.query.as_str();
    let wishes = Wishes::default();
    let answer = match eval.when {
        When::Instant { time_ms } => {
            engine.instant(samples, &tenant, InstantQuery { query, time_ms, wishes }).await
        }
        When::Range { start_ms, end_ms, step_ms } => {
            let range = RangeQuery { query, start_ms, end_ms, step_ms, wishes };
            engine.range(samples, &tenant, range).await
        }
    };
    let answer = match (answer, &eval.expected.fail) {
        (Err(error), Some(expected)) if expected.fits(&error.to_string()) => return Ok(()),
        (Err(error), _) => return Err(error.to_string()),
        (Ok(_), Some(expected)) => return Err(format!("did not fail with {expected:?}")),
        (Ok(answer), None) => answer,
    };
    check_annotations(&eval.expected, &answer)?;
    check_outcome(eval, &answer.outcome)?;
    if let (When::Instant { time_ms }, Outcome::Vector { series, .. }) =
        (eval.when, &answer.outcome)
    {
        return check_as_range(engine, samples, eval, time_ms, series).await;
    }
    Ok(())
}

fn check_annotations(expected: &Expected, answer: &Answer) -> Result<(), String> {
    let kinds = [
        (&expected.warn, expected.no_warn, &answer.warnings),
        (&expected.info, expected.no_info, &answer.infos),
    ];
    for (wanted, unwanted, found) in kinds {
        if unwanted && !found.is_empty() {
            return Err(format!("unexpected annotations {found:?}"));
        }
        if let Some(wanted) = wanted
            && (found.is_empty() || !found.iter().all(|text| wanted.fits(text)))
        {
            return Err(format!("annotations {found:?} instead of {wanted:?}"));
        }
    }
    Ok(())
}

fn check_outcome(eval: &Eval, outcome: &Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Text { text, .. } => match &eval.expected.text {
            Some(expected) if expected == text => Ok(()),
            expected => Err(format!("{text:?} instead of {expected:?}")),
        },
        Outcome::Scalar { value, .. } => match eval.scalar {
            Some(expected) if same(expected, *value) => Ok(()),
            expected => Err(format!("{value} instead of {expected:?}")),
        },
        Outcome::Vector { series, .. } => check_vector(eval, series),
        Outcome::Matrix { series } => {
            let (start_ms, step_ms) = match (eval.when, eval.expected.range_vector) {
                (_, Some(times)) => times,
                (When::Range { start_ms, step_ms, .. }, None) => (start_ms, step_ms),
                (When::Instant { .. }, None) => return Err("an unexpected range vector".to_owned()),
            };
            check_matrix(eval, series, start_ms, step_ms)
        }
    }
}

fn check_vector(eval: &Eval, series: &[(Labels, f64)]) -> Result<(), String> {
    let expected: Vec<(&Labels, f64)> = eval
        .series
        .iter()
        .filter_map(|line| match line.cells[..] {
            [Cell::Value(value)] => Some((&line.labels, value)),
            _ => None,
        })
        .collect();
    if expected.len() != series.len() {
        return Err(format!("{series:?} instead of {expected:?}"));
    }
    for (at, (labels, value)) in series.iter().enumerate() {
        let place = if eval.expected.ordered { at..at + 1 } else { 0..expected.len() };
        if !expected[place].iter().any(|(known, v)| *known == labels && same(*v, *value)) {
            return Err(format!("{labels} {value} is not expected in {expected:?}"));
        }
    }
    Ok(())
}

fn check_matrix(
    eval: &Eval,
    series: &[SeriesSamples],
    start_ms: i64,
    step_ms: i64,
) -> Result<(), String> {
    let mut expected: BTreeMap<&Labels, BTreeMap<i64, f64>> = BTreeMap::new();
    for line in &eval.series {
        let points = expected.entry(&line.labels).or_default();
        for (time_ms, cell) in (0..).map(|step| start_ms + step * step_ms).zip(&line.cells) {
            if let Cell::Value(value) = cell {
                points.insert(time_ms, *value);
            }
        }
    }
    expected.retain(|_, points| !points.is_empty());
    let fits = |series: &SeriesSamples, points: &BTreeMap<i64, f64>| {
        points.len() == series.times.len()
            && points.iter().zip(series.times.iter().zip(&series.values)).all(
                |((time, value), (found_time, found))| time == found_time && same(*value, *found),
            )
    };
    for series in series {
        match expected.remove(&series.labels) {
            Some(points) if fits(series, &points) => {}
            points => return Err(format!("{series:?} instead of {points:?}")),
        }
    }
    if expected.is_empty() { Ok(()) } else { Err(format!("missing {expected:?}")) }
}

/// An instant query gives what a range query gives at that time.
async fn check_as_range(
    engine: &Engine,
    samples: &MemorySamples,
    eval: &Eval,
    time_ms: i64,
    expected: &[(Labels, f64)],
) -> Result<(), String> {
    const MINUTE_MS: i64 = 60_000;
    let by_query_times = ["start(", "end(", "step(", "range("];
    if by_query_times.iter().any(|function| eval.query.contains(function)) {
        return Ok(());
    }
    let query = RangeQuery {
        query: &eval.query,
        start_ms: time_ms - MINUTE_MS,
        end_ms: time_ms + MINUTE_MS,
        step_ms: MINUTE_MS,
        wishes: Wishes::default(),
    };
    let answer = engine.range(samples, &TenantId::default(), query).await;
    let answer = answer.map_err(|error| format!("as range query: {error}"))?;
    let Outcome::Matrix { series } = answer.outcome else {
        return Err("as range query: no matrix".to_owned());
    };
    let at_time: Vec<(Labels, f64)> = series
        .into_iter()
        .filter_map(|series| {
            let at = series.times.binary_search(&time_ms).ok()?;
            Some((series.labels, series.values[at]))
        })
        .collect();
    let known = |(labels, value): &(Labels, f64)| {
        expected.iter().any(|(other, v)| other == labels && same(*v, *value))
    };
    if at_time.len() != expected.len() || !at_time.iter().all(known) {
        return Err(format!("as range query: {at_time:?} instead of {expected:?}"));
    }
    Ok(())
}

fn same(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).min(f64::MAX)
}
