//! The generated page of metrics says what the crates declare.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use runtime::telemetry::{Metric, MetricKind, markdown};

/// Every crate that exports metrics, under the title it has on the page.
const SECTIONS: &[(&str, &[Metric])] = &[
    ("Every process", runtime::telemetry::METRICS),
    ("Collector", collector::telemetry::METRICS),
    ("Indexer", indexer::telemetry::METRICS),
    ("Query", query::telemetry::METRICS),
    ("Queue", queue::telemetry::METRICS),
    ("Segments, store and catalog", segment::telemetry::METRICS),
];

#[test]
fn the_page_of_metrics_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join("metrics.md");
    let expected = markdown(SECTIONS);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).expect("docs/metrics.md can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/metrics.md is stale, rewrite it with: UPDATE_DOCS=1 cargo test --test docs"
    );
}

#[test]
fn each_metric_is_declared_once() {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (title, metrics) in SECTIONS {
        for metric in *metrics {
            let earlier = owners.insert(metric.name, title);
            assert_eq!(earlier, None, "`{}` is declared by {title} as well", metric.name);
        }
    }
}

#[test]
fn names_say_unit_and_kind() {
    for (title, metrics) in SECTIONS {
        for metric in *metrics {
            let name = metric.name;
            let ours = name.starts_with("millrace_") || name.starts_with("process_");
            assert!(ours, "{title}: `{name}` lacks the prefix `millrace_`");
            let is_total = name.ends_with("_total");
            assert_eq!(is_total, metric.kind == MetricKind::Counter, "{title}: `{name}`");
            assert!(metric.help.ends_with('.'), "{title}: help of `{name}` is no sentence");
        }
    }
}
