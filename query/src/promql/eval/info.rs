//! `info`: adds the labels of info series, `target_info` unless told otherwise.
//!
//! An info series belongs to every series with the same `instance` and `job`. Where several with
//! the same name do, the one with the newest sample counts.

use std::collections::{BTreeMap, HashMap};

use record::{Labels, Matcher};

use super::Evaluator;
use super::value::{NAME, Series, Steps};
use crate::promql::error::QueryError;
use crate::promql::plan::{Call, Grid, Info, Instant};

/// The labels that identify what is measured.
const IDENTITY: [&str; 2] = ["instance", "job"];

/// Info series by name, then by identity: where they are in the fetch.
type Index = BTreeMap<String, HashMap<Labels, Vec<usize>>>;

impl Evaluator<'_> {
    pub(super) fn info(&self, call: &Call, grid: Grid) -> Result<Vec<Series>, QueryError> {
        let Some(info) = &call.info else {
            return Err(QueryError::Internal("info without its series".to_owned()));
        };
        let base = self.vector(&call.args[0], grid)?;
        let selector = Instant { fetch: info.fetch, shift: info.shift, smoothed: false };
        let infos = self.sample_times(&selector, grid)?;
        let index = index(&infos);
        let mut found = Vec::new();
        for series in base {
            let name = series.labels.get(NAME).unwrap_or("");
            if info.names.iter().all(|matcher| matcher.matches(name)) {
                // An info series itself.
                found.push(series);
                continue;
            }
            self.enrich(series, info, &infos, &index, grid, &mut found)?;
        }
        self.settled(found)
    }

    fn enrich(
        &self,
        series: Series,
        info: &Info,
        infos: &[Series],
        index: &Index,
        grid: Grid,
        found: &mut Vec<Series>,
    ) -> Result<(), QueryError> {
        let identity = identity(&series.labels);
        let candidates: Vec<&Vec<usize>> = if identity.is_empty() {
            Vec::new()
        } else {
            index.values().filter_map(|of_name| of_name.get(&identity)).collect()
        };
        let optional = info.data.iter().all(Matcher::matches_empty);
        let mut by_labels: HashMap<Labels, Steps> = HashMap::new();
        let mut order = Vec::new();
        for (step, value) in series.steps.present() {
            let mut sources = Vec::new();
            for of_name in &candidates {
                sources.extend(newest(of_name, infos, step)?);
            }
            if sources.is_empty() && !optional {
                continue;
            }
            let labels = joined(&series.labels, &sources, infos, info)?;
            if !by_labels.contains_key(&labels) {
                self.hold(grid.steps)?;
                order.push(labels.clone());
            }
            let steps = by_labels.entry(labels).or_insert_with(|| Steps::absent(grid.steps));
            steps.set(step, value);
        }
        let drop_name = series.drop_name;
        found.extend(order.into_iter().filter_map(|labels| {
            let steps = by_labels.remove(&labels)?;
            Some(Series { labels, drop_name, steps })
        }));
        Ok(())
    }
}

fn index(infos: &[Series]) -> Index {
    let mut index = Index::new();
    for (at, series) in infos.iter().enumerate() {
        let name = series.labels.get(NAME).unwrap_or("").to_owned();
        let of_name = index.entry(name).or_default();
        of_name.entry(identity(&series.labels)).or_default().push(at);
    }
    index
}

fn identity(labels: &Labels) -> Labels {
    Labels::from_pairs(labels.iter().filter(|(name, _)| IDENTITY.contains(name)))
}

/// The info series with the newest sample at this step. Its values are sample times.
fn newest(of_name: &[usize], infos: &[Series], step: usize) -> Result<Option<usize>, QueryError> {
    let mut newest: Option<(usize, f64)> = None;
    for at in of_name {
        let Some(time) = infos[*at].steps.get(step) else { continue };
        match newest {
            Some((other, known)) if known == time => {
                return Err(QueryError::Execution(format!(
                    "found duplicate series for info metric: existing {} @ {}, new {} @ {}",
                    infos[other].labels,
                    (known * 1000.0) as i64,
                    infos[*at].labels,
                    (time * 1000.0) as i64,
                )));
            }
            Some((_, known)) if time < known => {}
            _ => newest = Some((*at, time)),
        }
    }
    Ok(newest.map(|(at, _)| at))
}

/// `base` with the data labels of the info series that it does not have.
fn joined(
    base: &Labels,
    sources: &[usize],
    infos: &[Series],
    info: &Info,
) -> Result<Labels, QueryError> {
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in sources.iter().flat_map(|at| infos[*at].labels.iter()) {
        let asked = info.data.is_empty() || info.data.iter().any(|m| m.name() == name);
        if name == NAME || !asked || base.get(name).is_some() {
            continue;
        }
        if added.insert(name, value).is_some_and(|other| other != value) {
            return Err(QueryError::Execution(format!("conflicting label: {name}")));
        }
    }
    Ok(Labels::from_pairs(base.iter().chain(added)))
}
