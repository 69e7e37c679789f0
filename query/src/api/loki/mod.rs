//! The Loki API, as far as Grafana, Logs Drilldown and `logcli` use it.
//!
//! Errors are plain text with the status codes and words those clients know.

mod encode;
mod error;
mod handlers;
mod metadata;
mod number;
mod time;
mod volume;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use segment::logs::plan::Direction;

use super::{ApiState, Params};
use crate::config::LimitsSection;
use crate::error::{LimitHit, QueryError};
use crate::logql::{format_duration, parse_prometheus_duration};
use error::ApiError;

pub use time::parse_time;

/// Version that gates in clients compare with: what is spoken here is this Loki's API.
const LOKI_VERSION: &str = "3.8.0";

/// Header by which Grafana asks for labels by category.
const ENCODING_FLAGS: &str = "x-loki-response-encoding-flags";
const CATEGORIZE_LABELS: &str = "categorize-labels";

/// Header in which clients say who they are; Logs Drilldown wants partial results.
const QUERY_TAGS: &str = "x-query-tags";
const DRILLDOWN_TAG: &str = "Source=grafana-lokiexplore-app";

/// Range a request without `start` looks back.
const SINCE_DEFAULT_NS: i64 = 3_600 * NANOS_PER_SECOND;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

const LIMIT_DEFAULT: u64 = 100;

/// Most points a series may be asked for.
const POINTS_MAX: i64 = 11_000;

/// The routes below `/loki/api/v1`.
pub fn router(state: ApiState) -> Router {
    let api = Router::new()
        .route("/query_range", get(handlers::query_range).post(handlers::query_range))
        .route("/query", get(handlers::query).post(handlers::query))
        .route("/labels", get(metadata::labels).post(metadata::labels))
        .route("/label", get(metadata::labels).post(metadata::labels))
        .route("/label/{name}/values", get(metadata::values).post(metadata::values))
        .route("/series", get(metadata::series).post(metadata::series))
        .route("/index/stats", get(volume::stats).post(volume::stats))
        .route("/index/volume", get(volume::volume).post(volume::volume))
        .route("/index/volume_range", get(volume::volume_range).post(volume::volume_range))
        .route("/format_query", get(handlers::format_query).post(handlers::format_query))
        .route("/status/buildinfo", get(handlers::buildinfo))
        .with_state(state);
    Router::new().nest("/loki/api/v1", api)
}

/// Whether the client asked for labels by category.
fn wants_categories(headers: &HeaderMap) -> bool {
    let flags = headers.get_all(ENCODING_FLAGS).iter().filter_map(|value| value.to_str().ok());
    flags.flat_map(|flags| flags.split(',')).any(|flag| flag.trim() == CATEGORIZE_LABELS)
}

/// Whether the client prefers the first series and a warning to an error.
fn wants_partial_series(headers: &HeaderMap) -> bool {
    let tags = headers.get_all(QUERY_TAGS).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|tags| tags.split(',')).any(|tag| tag.trim() == DRILLDOWN_TAG)
}

/// The time range of a request, in Unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TimeRange {
    start_ns: i64,
    end_ns: i64,
}

fn time_range(params: &Params, now_ns: i64) -> Result<TimeRange, ApiError> {
    let read = |name: &str| -> Result<Option<i64>, ApiError> {
        let Some(text) = params.get(name) else { return Ok(None) };
        let parsed = time::parse_time(text);
        parsed.map(Some).map_err(|why| bad(format!("could not parse '{name}' parameter: {why}")))
    };
    let end_ns = read("end")?.unwrap_or(now_ns);
    let since_ns = match params.get("since") {
        None => SINCE_DEFAULT_NS,
        Some(text) => parse_prometheus_duration(text)
            .map_err(|why| bad(format!("could not parse 'since' parameter: {why}")))?,
    };
    let start_ns = read("start")?.unwrap_or_else(|| end_ns.min(now_ns).saturating_sub(since_ns));
    if end_ns < start_ns {
        return Err(bad("end timestamp must not be before or equal to start time"));
    }
    Ok(TimeRange { start_ns, end_ns })
}

fn limit(params: &Params) -> Result<u64, ApiError> {
    let Some(text) = params.get("limit") else { return Ok(LIMIT_DEFAULT) };
    let parsed: i64 = text.parse().map_err(|_not_a_number| {
        bad(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
    })?;
    match u64::try_from(parsed) {
        Ok(limit) if limit != 0 => Ok(limit),
        _ => Err(bad("limit must be a positive value")),
    }
}

fn direction(params: &Params) -> Result<Direction, ApiError> {
    match params.get("direction").map(str::to_lowercase).as_deref() {
        None | Some("backward") => Ok(Direction::Backward),
        Some("forward") => Ok(Direction::Forward),
        Some(other) => Err(bad(format!("invalid direction '{other}'"))),
    }
}

/// The step in nanoseconds, whole milliseconds.
fn step(params: &Params, range: TimeRange) -> Result<i64, ApiError> {
    let length_ns = range.end_ns.saturating_sub(range.start_ns);
    let step_ns = match params.get("step") {
        Some(text) => time::parse_step(text).map_err(bad)?,
        None => (length_ns / NANOS_PER_SECOND / 250).max(1) * NANOS_PER_SECOND,
    };
    let step_ns = step_ns / NANOS_PER_MILLI * NANOS_PER_MILLI;
    if step_ns <= 0 {
        return Err(bad(
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if POINTS_MAX < length_ns / step_ns {
        return Err(bad(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the \
             value of the step parameter",
        ));
    }
    Ok(step_ns)
}

fn interval(params: &Params) -> Result<i64, ApiError> {
    let Some(text) = params.get("interval") else { return Ok(0) };
    let interval_ns = time::parse_step(text).map_err(bad)?;
    if interval_ns < 0 {
        return Err(bad("interval must be >= 0"));
    }
    Ok(interval_ns)
}

/// Holds a range against the limits: too long is refused, too far back is cut. `None` when nothing
/// of it is left.
fn within_limits(
    range: TimeRange,
    limits: &LimitsSection,
    now_ns: i64,
) -> Result<Option<TimeRange>, ApiError> {
    let nanos =
        |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(NANOS_PER_SECOND);
    let mut range = range;
    if limits.lookback_max_secs != 0 {
        let oldest_ns = now_ns.saturating_sub(nanos(limits.lookback_max_secs));
        if range.end_ns < oldest_ns {
            return Ok(None);
        }
        range.start_ns = range.start_ns.max(oldest_ns);
    }
    let length_ns = range.end_ns.saturating_sub(range.start_ns);
    let max_ns = nanos(limits.length_max_secs);
    if limits.length_max_secs != 0 && max_ns < length_ns {
        let (length, max) = (format_duration(length_ns), format_duration(max_ns));
        return Err(ApiError::from(QueryError::from(LimitHit::Length { length, max })));
    }
    Ok(Some(range))
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::from(QueryError::Invalid(message.into()))
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;

    const NOW: i64 = 10_000 * NANOS_PER_SECOND;

    fn params(query: &str) -> Params {
        let uri = format!("/?{query}").parse().expect("a test's query string is valid");
        Params::read(&uri, &HeaderMap::new(), &Bytes::new()).expect("valid form encoding")
    }

    fn outcome<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        match result {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("{} {}", error.status().as_u16(), error.text()),
        }
    }

    #[test]
    fn ranges_have_defaults_and_named_faults() {
        let range = |query| time_range(&params(query), NOW);
        let secs = |start: i64, end: i64| {
            let (start_ns, end_ns) = (start * NANOS_PER_SECOND, end * NANOS_PER_SECOND);
            format!("{:?}", TimeRange { start_ns, end_ns })
        };
        assert_eq!(outcome(range("")), secs(6_400, 10_000));
        assert_eq!(outcome(range("since=1m")), secs(9_940, 10_000));
        assert_eq!(outcome(range("start=5&end=9")), secs(5, 9));
        assert_eq!(outcome(range("start=9&end=9")), secs(9, 9));
        assert_eq!(outcome(range("end=99999&since=1m")), secs(9_940, 99_999));
        assert_eq!(
            outcome(range("start=9&end=5")),
            "400 end timestamp must not be before or equal to start time"
        );
        assert!(outcome(range("start=x")).starts_with("400 could not parse 'start' parameter: "));
        assert!(outcome(range("since=x")).starts_with("400 could not parse 'since' parameter: "));
    }

    #[test]
    fn limits_directions_and_steps() {
        let cases = [
            (outcome(limit(&params(""))), "100"),
            (outcome(limit(&params("limit=7"))), "7"),
            (outcome(limit(&params("limit=0"))), "400 limit must be a positive value"),
            (outcome(limit(&params("limit=-1"))), "400 limit must be a positive value"),
            (outcome(direction(&params(""))), "Backward"),
            (outcome(direction(&params("direction=FORWARD"))), "Forward"),
            (outcome(direction(&params("direction=up"))), "400 invalid direction 'up'"),
            (outcome(interval(&params("interval=-1"))), "400 interval must be >= 0"),
        ];
        for (got, expected) in cases {
            assert_eq!(got, expected);
        }
        let range = TimeRange { start_ns: 0, end_ns: 11_000 * NANOS_PER_SECOND };
        let step = |query| outcome(step(&params(query), range));
        assert_eq!(step(""), (44 * NANOS_PER_SECOND).to_string());
        assert_eq!(step("step=1"), NANOS_PER_SECOND.to_string());
        assert_eq!(step("step=30000ms"), (30 * NANOS_PER_SECOND).to_string());
        assert!(step("step=0.9").starts_with("400 exceeded maximum resolution of 11,000 points"));
        assert!(step("step=0").starts_with("400 zero or negative query resolution"));
        assert_eq!(step("step=1.5s"), r#"400 cannot parse "1.5s" to a valid duration"#);
    }
}
