//! Labels, label values and series: what streams there are.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use record::{Labels, Matcher};
use serde_json::{Value, json};

use super::super::ApiState;
use super::error::ApiError;
use super::handlers::{Request, answer};
use super::{time_range, within_limits};
use crate::admission::{Admitted, QueryContext};
use crate::logql::{check_selector, parse_matchers};
use crate::scan::StreamRange;

pub(super) async fn labels(
    State(state): State<ApiState>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer("loki_labels", state, (uri, headers, body), |request| async move {
        let (streams, admitted) = selected_streams(&request).await?;
        let names = streams.iter().flat_map(Labels::iter).map(|(name, _)| name.to_owned());
        Ok(strings(names.collect(), &admitted))
    })
    .await
}

pub(super) async fn values(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer("loki_label_values", state, (uri, headers, body), |request| async move {
        let (streams, admitted) = selected_streams(&request).await?;
        let values = streams.iter().filter_map(|stream| stream.get(&name)).map(str::to_owned);
        Ok(strings(values.collect(), &admitted))
    })
    .await
}

pub(super) async fn series(
    State(state): State<ApiState>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer("loki_series", state, (uri, headers, body), |request| async move {
        let texts: BTreeSet<&str> =
            request.params.all("match").chain(request.params.all("match[]")).collect();
        let alone = texts.len() <= 1;
        let mut selectors: Vec<Vec<Matcher>> = Vec::new();
        for text in texts.into_iter().filter(|text| !text.is_empty()) {
            let matchers = parse_matchers(text)?;
            // A lone `{}` asks for all streams; beside others it is a slip.
            if !(alone && matchers.is_empty()) {
                check_selector(&matchers)?;
            }
            selectors.push(matchers);
        }
        if selectors.is_empty() {
            selectors.push(Vec::new());
        }
        let admitted = request.admitted().await?;
        let mut found = BTreeSet::new();
        for matchers in selectors {
            found.extend(streams(&request, matchers, &admitted).await?);
        }
        Ok(listed(json!(found), &admitted))
    })
    .await
}

/// The streams of the optional parameter `query`.
async fn selected_streams(request: &Request) -> Result<(Vec<Labels>, Admitted), ApiError> {
    let matchers = match request.params.get("query") {
        None => Vec::new(),
        Some(text) => {
            let matchers = parse_matchers(text)?;
            check_selector(&matchers)?;
            matchers
        }
    };
    let admitted = request.admitted().await?;
    let found = streams(request, matchers, &admitted).await?;
    Ok((found, admitted))
}

async fn streams(
    request: &Request,
    matchers: Vec<Matcher>,
    context: &QueryContext,
) -> Result<Vec<Labels>, ApiError> {
    let range = time_range(&request.params, request.now_ns)?;
    let limits = &request.state.section.limits;
    let Some(range) = within_limits(range, limits, request.now_ns)? else {
        return Ok(Vec::new());
    };
    // The end is inclusive here, unlike for log lines.
    let (start_ns, end_ns) = (range.start_ns, range.end_ns.saturating_add(1));
    let range = StreamRange { matchers, start_ns, end_ns };
    Ok(request.state.scanner.streams(&range, context).await?)
}

/// A list of strings; Loki leaves the key out when there are none.
fn strings(found: BTreeSet<String>, context: &QueryContext) -> Response {
    listed(if found.is_empty() { Value::Null } else { json!(found) }, context)
}

/// The envelope of lists. Warnings are there only when the list may be short.
fn listed(data: Value, context: &QueryContext) -> Response {
    let mut body = json!({"status": "success"});
    if !data.is_null() {
        body["data"] = data;
    }
    let warnings = context.warnings();
    if !warnings.is_empty() {
        body["warnings"] = json!(warnings);
    }
    Json(body).into_response()
}
