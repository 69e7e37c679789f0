//! Every metric and label that a dashboard or an alert names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use regex::Regex;
use runtime::telemetry::{Metric, MetricKind};
use serde_json::Value;

use crate::repository;

/// Labels that come from scraping and from histograms, not from a metric's declaration.
const GIVEN_LABELS: [&str; 3] = ["job", "instance", "le"];

/// Labels and metadata of log streams (`specs/loki-api.md` 8.3, `collector`).
const STREAM_LABELS: [&str; 9] = [
    "namespace",
    "pod",
    "container",
    "stream",
    "node",
    "cluster",
    "filename",
    "service_name",
    "detected_level",
];

/// Host metrics used, with their labels; `collector/src/host` tests that they are written.
const HOST: [(&str, &[&str]); 1] = [("node_cpu_seconds_total", &["cpu", "mode"])];

/// Exported names, as PromQL sees them, with their labels.
fn exported() -> BTreeMap<String, BTreeSet<&'static str>> {
    let all: [&[Metric]; 6] = [
        collector::telemetry::METRICS,
        indexer::telemetry::METRICS,
        query::telemetry::METRICS,
        queue::telemetry::METRICS,
        segment::telemetry::METRICS,
        runtime::telemetry::METRICS,
    ];
    let mut names = BTreeMap::new();
    for metric in all.into_iter().flatten() {
        let labels: BTreeSet<&str> = metric.labels.iter().copied().chain(GIVEN_LABELS).collect();
        if metric.kind == MetricKind::Histogram {
            for suffix in ["_bucket", "_sum", "_count"] {
                names.insert(format!("{}{suffix}", metric.name), labels.clone());
            }
        }
        names.insert(metric.name.to_owned(), labels);
    }
    for (name, labels) in HOST {
        names.insert(name.to_owned(), labels.iter().copied().chain(GIVEN_LABELS).collect());
    }
    names
}

/// Data source type and expression of every panel, with the file and panel title.
fn expressions() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(repository().join("dashboards")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let dashboard: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            let place = format!("{}: {}", path.display(), panel["title"].as_str().unwrap());
            for target in panel["targets"].as_array().unwrap() {
                let kind = target["datasource"]["type"].as_str().unwrap().to_owned();
                found.push((place.clone(), kind, target["expr"].as_str().unwrap().to_owned()));
            }
        }
    }
    assert!(found.len() > 20, "only {} expressions: are the dashboards there?", found.len());
    found
}

/// Every alert rule, with its place.
fn rules() -> Vec<(String, Value)> {
    let text = fs::read_to_string(repository().join("dashboards/alerts.yaml")).unwrap();
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    let mut found = Vec::new();
    for group in file["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            let name = rule["alert"].as_str().unwrap();
            found.push((format!("alerts.yaml: {name}"), rule.clone()));
        }
    }
    assert!(found.len() > 8, "only {} alerts: are they there?", found.len());
    found
}

/// What PromQL asks, in dashboards and alerts, with its place.
fn questions() -> Vec<(String, String)> {
    let panels = expressions().into_iter().filter(|(_, kind, _)| kind == "prometheus");
    let panels = panels.map(|(place, _, expression)| (place, expression));
    let rules = rules().into_iter();
    let rules = rules.map(|(place, rule)| (place, rule["expr"].as_str().unwrap().to_owned()));
    panels.chain(rules).collect()
}

#[test]
fn every_metric_asked_for_is_exported_with_its_labels() {
    let exported = exported();
    let name = Regex::new(r"\b(?:millrace|process|node)_[a-z0-9_]+").unwrap();
    let grouping = Regex::new(r"\b(?:by|without) \(([^)]*)\)").unwrap();
    let matcher = Regex::new(r"\b((?:millrace|process|node)_[a-z0-9_]+)\{([^}]*)\}").unwrap();
    let mut seen = 0;
    for (place, expression) in questions() {
        let mut labels: BTreeSet<&str> = BTreeSet::new();
        for found in name.find_iter(&expression) {
            let known = exported.get(found.as_str());
            labels.extend(
                known.unwrap_or_else(|| panic!("{place}: {} is not exported", found.as_str())),
            );
            seen += 1;
        }
        for found in matcher.captures_iter(&expression) {
            let known = &exported[&found[1]];
            for label in found[2].split(',').filter_map(|one| one.split(['=', '!']).next()) {
                let label = label.trim();
                assert!(known.contains(label), "{place}: {} has no label `{label}`", &found[1]);
            }
        }
        for found in grouping.captures_iter(&expression) {
            for label in found[1].split(',').map(str::trim) {
                assert!(labels.contains(label), "{place}: no metric has the label `{label}`");
            }
        }
    }
    assert!(seen > 20, "only {seen} metrics found");
}

/// An alert is of use when it says what is wrong, how bad it is and where to look; what it says of
/// its labels must be among those its expression keeps.
#[test]
fn every_alert_says_what_is_wrong_and_where_to_look() {
    let grouping = Regex::new(r"\bby \(([^)]*)\)").unwrap();
    let mention = Regex::new(r"\$labels\.([a-z_]+)").unwrap();
    let mut names = BTreeSet::new();
    for (place, rule) in rules() {
        assert!(names.insert(rule["alert"].as_str().unwrap().to_owned()), "{place} twice");
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("critical" | "warning")), "{place}: {severity:?}");
        let kept: BTreeSet<String> = grouping
            .captures_iter(rule["expr"].as_str().unwrap())
            .flat_map(|found| {
                found[1].split(',').map(|label| label.trim().to_owned()).collect::<Vec<_>>()
            })
            .collect();
        for text in ["summary", "description"] {
            let text = rule["annotations"][text].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{place} lacks a text");
            for found in mention.captures_iter(text) {
                assert!(kept.contains(&found[1]), "{place}: `{}` is not kept", &found[1]);
            }
        }
    }
}

#[test]
fn every_label_of_a_log_query_exists() {
    let label = Regex::new(r#"([a-z_]+)\s*(?:=~|!~|!=|=)\s*["`]|by \(([^)]*)\)"#).unwrap();
    for (place, kind, expression) in expressions() {
        if kind != "loki" {
            continue;
        }
        for found in label.captures_iter(&expression) {
            let names = found.get(1).or(found.get(2)).unwrap().as_str();
            for name in names.split(',').map(str::trim) {
                assert!(STREAM_LABELS.contains(&name), "{place}: no stream has the label `{name}`");
            }
        }
    }
}

#[test]
fn dashboards_use_the_provisioned_data_sources() {
    let uid = Regex::new(r#""uid": "(millrace-(?:logs|metrics))""#).unwrap();
    let folder = repository().join("dashboards/provisioning/datasources/millrace.yaml");
    let provisioned = fs::read_to_string(folder).unwrap();
    for entry in fs::read_dir(repository().join("dashboards")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for found in uid.captures_iter(&text) {
            assert!(provisioned.contains(&format!("uid: {}", &found[1])), "{}", path.display());
        }
    }
}
