//! What there is: series, label names, label values, metric families. No samples are read.

use std::collections::{BTreeMap, BTreeSet};

use record::{Labels, Matcher};
use serde::Serialize;

use super::PrometheusApi;
use super::envelope::{ApiError, Data, Reply, json};
use super::form::Form;
use super::params::Times;
use super::source::Opened;
use crate::promql::{Found, SamplesError, Select};

const TRUNCATED: &str = "results truncated due to limit";

pub(super) async fn series(api: PrometheusApi, form: Form) -> Result<Reply, ApiError> {
    let limit = form.limit("limit")?;
    let times = form.times()?;
    let sets = form.selectors()?;
    if sets.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let opened = api.source.open(&form.headers, None).await?;
    let mut found: BTreeSet<Labels> = BTreeSet::new();
    let mut warnings = Vec::new();
    for matchers in sets {
        let select = select(&api, &opened, matchers, times);
        let Found { items, warnings: missing } =
            opened.samples.series(&select).await.map_err(refused)?;
        found.extend(items);
        warnings.extend(missing);
    }
    Ok(limited(found, limit, warnings))
}

pub(super) async fn labels(api: PrometheusApi, form: Form) -> Result<Reply, ApiError> {
    let limit = form.limit("limit")?;
    let times = form.times()?;
    let sets = at_least_one(form.selectors()?);
    let opened = api.source.open(&form.headers, None).await?;
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut warnings = Vec::new();
    for matchers in sets {
        let select = select(&api, &opened, matchers, times);
        let names = opened.samples.label_names(&select).await.map_err(refused)?;
        found.extend(names.items);
        warnings.extend(names.warnings);
    }
    Ok(limited(found, limit, warnings))
}

pub(super) async fn label_values(
    api: PrometheusApi,
    form: Form,
    name: String,
) -> Result<Reply, ApiError> {
    let name = decode_name(&name)
        .ok_or_else(|| ApiError::bad_data(format!("invalid label name: {name:?}")))?;
    let limit = form.limit("limit")?;
    let times = form.times()?;
    let sets = at_least_one(form.selectors()?);
    let opened = api.source.open(&form.headers, None).await?;
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut warnings = Vec::new();
    for matchers in sets {
        let select = select(&api, &opened, matchers, times);
        let values = opened.samples.label_values(&name, &select).await.map_err(refused)?;
        found.extend(values.items);
        warnings.extend(values.warnings);
    }
    Ok(limited(found, limit, warnings))
}

#[derive(Serialize)]
struct Description {
    r#type: String,
    help: String,
    unit: String,
}

pub(super) async fn metadata(api: PrometheusApi, form: Form) -> Result<Reply, ApiError> {
    let limit = form.limit("limit")?;
    let per_metric = form.limit("limit_per_metric")?;
    let wanted = form.get("metric");
    let opened = api.source.open(&form.headers, None).await?;
    let Found { items, warnings } =
        opened.samples.metadata(&opened.tenant).await.map_err(refused)?;
    let mut families: BTreeMap<String, Vec<Description>> = BTreeMap::new();
    for item in items {
        if wanted.is_some_and(|wanted| wanted != item.family) {
            continue;
        }
        if families.len() >= limit && !families.contains_key(&item.family) {
            continue;
        }
        let descriptions = families.entry(item.family).or_default();
        if descriptions.len() < per_metric {
            let (r#type, help, unit) = (item.kind, item.help, item.unit);
            descriptions.push(Description { r#type, help, unit });
        }
    }
    Ok(Reply::Data(Data { json: json(&families), warnings, infos: Vec::new() }))
}

/// Without `match[]`, everything.
fn at_least_one(sets: Vec<Vec<Matcher>>) -> Vec<Vec<Matcher>> {
    if sets.is_empty() { vec![Vec::new()] } else { sets }
}

fn select(api: &PrometheusApi, opened: &Opened, matchers: Vec<Matcher>, times: Times) -> Select {
    let section = api.engine.section();
    Select {
        tenant: opened.tenant.clone(),
        matchers,
        start_ms: times.start_ms,
        end_ms: times.end_ms,
        series_max: section.series_max,
        samples_max: section.samples_max,
    }
}

fn limited<T: Serialize>(found: BTreeSet<T>, limit: usize, mut warnings: Vec<String>) -> Reply {
    warnings.sort();
    warnings.dedup();
    if limit < found.len() {
        warnings.push(TRUNCATED.to_owned());
    }
    let items: Vec<&T> = found.iter().take(limit).collect();
    Reply::Data(Data { json: json(&items), warnings, infos: Vec::new() })
}

fn refused(error: SamplesError) -> ApiError {
    crate::promql::QueryError::from(error).into()
}

/// Undoes the escaping of names that a URL path cannot carry: `U__a_2e_b` is `a.b`.
fn decode_name(name: &str) -> Option<String> {
    let Some(escaped) = name.strip_prefix("U__") else {
        return (!name.is_empty()).then(|| name.to_owned());
    };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some((plain, after)) = rest.split_once('_') {
        out.push_str(plain);
        if let Some(after) = after.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let (code, after) = after.split_once('_')?;
        out.push(u32::from_str_radix(code, 16).ok().and_then(char::from_u32)?);
        rest = after;
    }
    out.push_str(rest);
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_decoded() {
        let cases = [
            ("job", Some("job")),
            ("U__service_2e_name", Some("service.name")),
            ("U__a__b", Some("a_b")),
            ("U___1f600_", Some("\u{1f600}")),
            ("U__a_zz_", None),
            ("U__a_d800_", None),
            ("U__a_2e", None),
            ("U__", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(decode_name(name).as_deref(), expected, "{name}");
        }
    }
}
