//! Queries, and what can be said about their text alone.

use super::encode;
use super::envelope::{ApiError, Data, Reply, json};
use super::form::Form;
use super::params::END_BEFORE_START;
use super::{PrometheusApi, tree as syntax};
use crate::promql::ast::Expr;
use crate::promql::{Answer, InstantQuery, Outcome, QueryError, RangeQuery, pretty};

const TRUNCATED: &str = "results truncated due to limit";

pub(super) async fn instant(api: PrometheusApi, form: Form) -> Result<Reply, ApiError> {
    let limit = form.limit("limit")?;
    let now = api.engine.clock().unix_millis();
    let time_ms = form.time("time")?.unwrap_or(now);
    let wishes = form.wishes()?;
    let query = form.get("query").unwrap_or("");
    parsed(&api, query)?;
    let opened = api.source.open(&form.headers, wishes.timeout).await?;
    let query = InstantQuery { query, time_ms, wishes };
    let answer = api.engine.instant(opened.samples.as_ref(), &opened.tenant, query).await?;
    reply(&api, &form, answer, limit).await
}

pub(super) async fn range(api: PrometheusApi, form: Form) -> Result<Reply, ApiError> {
    let limit = form.limit("limit")?;
    let start_ms = form.required_time("start")?;
    let end_ms = form.required_time("end")?;
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", END_BEFORE_START));
    }
    let step_ms = form.required_duration("step")?;
    if step_ms <= 0 {
        let cause = "zero or negative query resolution step widths are not accepted. Try a \
                     positive integer";
        return Err(ApiError::parameter("step", cause));
    }
    let wishes = form.wishes()?;
    let query = form.get("query").unwrap_or("");
    parsed(&api, query)?;
    let query = RangeQuery { query, start_ms, end_ms, step_ms, wishes };
    // Refused before admission: what can never run should not wait.
    api.engine.check_steps(&query)?;
    let opened = api.source.open(&form.headers, wishes.timeout).await?;
    let answer = api.engine.range(opened.samples.as_ref(), &opened.tenant, query).await?;
    reply(&api, &form, answer, limit).await
}

/// Exemplars are not stored; a query that could have some gets an empty list.
pub(super) async fn exemplars(api: PrometheusApi, form: Form) -> Result<Reply, ApiError> {
    form.times()?;
    let expr = parsed(&api, form.get("query").unwrap_or(""))?;
    if expr.selectors().is_empty() {
        return Ok(Reply::Nothing);
    }
    Ok(Reply::from("[]".to_owned()))
}

pub(super) async fn format(api: PrometheusApi, form: Form) -> Result<Reply, ApiError> {
    let expr = parsed(&api, form.get("query").unwrap_or(""))?;
    Ok(Reply::from(json(&pretty(&expr))))
}

pub(super) async fn tree(api: PrometheusApi, form: Form) -> Result<Reply, ApiError> {
    let expr = parsed(&api, form.get("query").unwrap_or(""))?;
    Ok(Reply::from(json(&syntax::node(&expr))))
}

fn parsed(api: &PrometheusApi, query: &str) -> Result<Expr, ApiError> {
    api.engine.parse(query).map_err(|error| match error {
        QueryError::BadData(cause) => ApiError::parameter("query", cause),
        other => other.into(),
    })
}

async fn reply(
    api: &PrometheusApi,
    form: &Form,
    answer: Answer,
    limit: usize,
) -> Result<Reply, ApiError> {
    let Answer { mut outcome, mut warnings, infos, stats } = answer;
    if truncate(&mut outcome, limit) {
        warnings.push(TRUNCATED.to_owned());
    }
    let wanted = form.get("stats");
    if wanted.is_some_and(|value| value != "true" && value != "all") {
        warnings.push(
            "stats values other than \"true\" and \"all\" are deprecated and taken as \"true\""
                .to_owned(),
        );
    }
    let stats = wanted.map(|_| stats);
    // A large answer takes longer to write than the reactor may be kept waiting.
    let write = move || encode::data(&outcome, stats.as_ref());
    let json = api.engine.compute(write).await?;
    Ok(Reply::Data(Data { json, warnings, infos }))
}

/// Cuts an answer to `limit` series. Returns whether anything was cut.
fn truncate(outcome: &mut Outcome, limit: usize) -> bool {
    match outcome {
        Outcome::Scalar { .. } | Outcome::Text { .. } => false,
        Outcome::Vector { series, .. } => {
            let cut = limit < series.len();
            series.truncate(limit);
            cut
        }
        Outcome::Matrix { series } => {
            let cut = limit < series.len();
            series.truncate(limit);
            cut
        }
    }
}
