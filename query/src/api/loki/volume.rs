//! Volume: how many streams, lines and bytes there are, without reading rows.
//!
//! Counted by whole minutes: what lies in a minute that overlaps the range counts.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use record::{Labels, MatchOp, Matcher};
use segment::logs::VolumeRow;
use serde_json::json;

use super::super::ApiState;
use super::error::ApiError;
use super::handlers::{Request, answer};
use super::number::{format_seconds, format_value};
use super::{NANOS_PER_MILLI, TimeRange, bad, encode, step, time_range, within_limits};
use crate::admission::Admitted;
use crate::error::{LimitHit, QueryError};
use crate::logql::{check_selector, parse_matchers};
use crate::scan::StreamRange;

/// Volumes returned when no limit is given, or 0.
const VOLUMES_DEFAULT: usize = 100;

pub(super) async fn stats(
    State(state): State<ApiState>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer("loki_index_stats", state, (uri, headers, body), |request| async move {
        let matchers = parse_matchers(request.query_text())?;
        check_selector(&matchers)?;
        let admitted = request.admitted().await?;
        let range = time_range(&request.params, request.now_ns)?;
        let (rows, segments) = rows(&request, matchers, range, &admitted).await?;
        let streams: BTreeSet<&Labels> = rows.iter().map(|row| &row.stream).collect();
        Ok(Json(json!({
            "streams": streams.len(),
            "chunks": segments,
            "bytes": rows.iter().map(|row| row.bytes).sum::<u64>(),
            "entries": rows.iter().map(|row| row.lines).sum::<u64>(),
        }))
        .into_response())
    })
    .await
}

pub(super) async fn volume(
    State(state): State<ApiState>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer("loki_volume", state, (uri, headers, body), |request| async move {
        let range = time_range(&request.params, request.now_ns)?;
        volumes(&request, range, None).await
    })
    .await
}

pub(super) async fn volume_range(
    State(state): State<ApiState>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer("loki_volume_range", state, (uri, headers, body), |request| async move {
        let range = time_range(&request.params, request.now_ns)?;
        let step_ns = step(&request.params, range)?;
        volumes(&request, range, Some(step_ns)).await
    })
    .await
}

/// What the request asks to sum bytes by.
struct Wanted {
    matchers: Vec<Matcher>,
    /// Label names that are kept; `None` keeps all.
    names: Option<BTreeSet<String>>,
    /// One sum per label name instead of per label set.
    by_name: bool,
    limit: usize,
}

impl Wanted {
    fn read(request: &Request) -> Result<Self, ApiError> {
        let mut matchers = parse_matchers(request.query_text())?;
        if !matchers.is_empty() {
            check_selector(&matchers)?;
        }
        let by_name = match request.params.get("aggregateBy") {
            None | Some("series") => false,
            Some("labels") => true,
            Some(_) => return Err(bad("invalid aggregation option")),
        };
        let targets: BTreeSet<String> = request
            .params
            .all("targetLabels")
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        let limit = match request.params.get("limit") {
            None => 0,
            Some(text) => text.parse().map_err(|_not_a_number| {
                bad(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            })?,
        };
        let limit = if limit == 0 { VOLUMES_DEFAULT } else { limit };
        let of_matchers: BTreeSet<String> =
            matchers.iter().map(|matcher| matcher.name().to_owned()).collect();
        for target in targets.difference(&of_matchers) {
            let implied = Matcher::new(target.clone(), MatchOp::Re, ".+");
            matchers.push(implied.map_err(|error| bad(error.to_string()))?);
        }
        let names = if !targets.is_empty() {
            Some(targets)
        } else if of_matchers.is_empty() || by_name {
            None
        } else {
            Some(of_matchers)
        };
        Ok(Self { matchers, names, by_name, limit })
    }

    /// The sums a stream counts towards.
    fn keys(&self, stream: &Labels) -> Vec<Labels> {
        let kept = |name: &str| self.names.as_ref().is_none_or(|names| names.contains(name));
        if self.by_name {
            let names = stream.iter().map(|(name, _)| name).filter(|name| kept(name));
            return names.map(label_name_only).collect();
        }
        vec![Labels::from_pairs(stream.iter().filter(|(name, _)| kept(name)))]
    }
}

/// Stands for `{name=""}`, which a label set cannot hold: the name as its own value. See
/// [`metric_json`].
fn label_name_only(name: &str) -> Labels {
    Labels::from_pairs([(name, name)])
}

/// Bytes of one key by bucket.
type Sums = BTreeMap<Labels, BTreeMap<i64, u64>>;

async fn volumes(
    request: &Request,
    range: TimeRange,
    step_ns: Option<i64>,
) -> Result<Response, ApiError> {
    let wanted = Wanted::read(request)?;
    let admitted = request.admitted().await?;
    let (rows, _) = rows(request, wanted.matchers.clone(), range, &admitted).await?;
    let mut sums = Sums::new();
    for row in rows {
        let bucket = match step_ns {
            // A row counts into the bucket its minute begins in, or into the first.
            Some(step_ns) => row.minute_ns.max(range.start_ns).div_euclid(step_ns),
            None => 0,
        };
        for key in wanted.keys(&row.stream) {
            *sums.entry(key).or_default().entry(bucket).or_default() += row.bytes;
        }
    }
    let series_max = request.state.section.limits.volume_series_max;
    if series_max < sums.len() as u64 {
        return Err(QueryError::from(LimitHit::VolumeSeries { max: series_max }).into());
    }
    Ok(respond(&wanted, sums, range, step_ns, &admitted))
}

async fn rows(
    request: &Request,
    matchers: Vec<Matcher>,
    range: TimeRange,
    admitted: &Admitted,
) -> Result<(Vec<VolumeRow>, u64), ApiError> {
    let limits = &request.state.section.limits;
    let Some(range) = within_limits(range, limits, request.now_ns)? else {
        return Ok((Vec::new(), 0));
    };
    let range = StreamRange { matchers, start_ns: range.start_ns, end_ns: range.end_ns };
    Ok(request.state.scanner.volume(&range, admitted).await?)
}

/// One series of the answer: its key's JSON and its samples.
struct VolumeSeries {
    name: String,
    metric: String,
    samples: Vec<(i64, u64)>,
}

fn respond(
    wanted: &Wanted,
    sums: Sums,
    range: TimeRange,
    step_ns: Option<i64>,
    admitted: &Admitted,
) -> Response {
    let top = top_keys(&sums, wanted.limit);
    let mut series: Vec<VolumeSeries> = Vec::new();
    for (labels, buckets) in sums {
        let in_top = |bucket: &i64| top.get(bucket).is_some_and(|keys| keys.contains(&labels));
        let kept = buckets.iter().filter(|(bucket, _)| in_top(bucket));
        let samples: Vec<(i64, u64)> =
            kept.map(|(bucket, bytes)| (shown_at(*bucket, range, step_ns), *bytes)).collect();
        if !samples.is_empty() {
            let metric = metric_json(&labels, wanted.by_name);
            series.push(VolumeSeries { name: labels.to_string(), metric, samples });
        }
    }
    let first = |series: &VolumeSeries| series.samples.first().map_or(0, |(_, bytes)| *bytes);
    series.sort_by(|a, b| first(b).cmp(&first(a)).then_with(|| a.name.cmp(&b.name)));
    let matrix = step_ns.is_some() && series.iter().any(|series| series.samples.len() != 1);
    let written: Vec<String> = series.iter().map(|series| series_json(series, matrix)).collect();
    let kind = if matrix { "matrix" } else { "vector" };
    let warnings = admitted.warnings();
    let warnings = if warnings.is_empty() {
        String::new()
    } else {
        format!(r#""warnings":{},"#, json!(warnings))
    };
    let body = format!(
        r#"{{"status":"success",{warnings}"data":{{"resultType":"{kind}","result":[{}],"stats":{}}}}}"#,
        written.join(","),
        encode::stats(admitted, 0)
    );
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The keys that are among the first `limit` of each bucket, by bytes and then by name.
fn top_keys(sums: &Sums, limit: usize) -> BTreeMap<i64, BTreeSet<Labels>> {
    let mut by_bucket: BTreeMap<i64, Vec<(u64, &Labels)>> = BTreeMap::new();
    for (labels, buckets) in sums {
        for (bucket, bytes) in buckets {
            by_bucket.entry(*bucket).or_default().push((*bytes, labels));
        }
    }
    let top = by_bucket.into_iter().map(|(bucket, mut keys)| {
        keys.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        (bucket, keys.into_iter().take(limit).map(|(_, labels)| labels.clone()).collect())
    });
    top.collect()
}

/// A bucket's sample stands 1 ms before the bucket ends, the last one at the end of the request.
fn shown_at(bucket: i64, range: TimeRange, step_ns: Option<i64>) -> i64 {
    let Some(step_ns) = step_ns else { return range.end_ns };
    let end_ns = (bucket + 1).saturating_mul(step_ns);
    if range.end_ns < end_ns { range.end_ns } else { end_ns - NANOS_PER_MILLI }
}

fn metric_json(labels: &Labels, by_name: bool) -> String {
    if !by_name {
        return labels.to_json();
    }
    let names: BTreeMap<&str, &str> = labels.iter().map(|(name, _)| (name, "")).collect();
    json!(names).to_string()
}

fn series_json(series: &VolumeSeries, matrix: bool) -> String {
    let sample = |(time_ns, bytes): &(i64, u64)| {
        format!(r#"[{},"{}"]"#, format_seconds(*time_ns), format_value(*bytes as f64))
    };
    let samples: Vec<String> = series.samples.iter().map(sample).collect();
    let metric = &series.metric;
    if matrix {
        return format!(r#"{{"metric":{metric},"values":[{}]}}"#, samples.join(","));
    }
    format!(r#"{{"metric":{metric},"value":{}}}"#, samples.concat())
}
