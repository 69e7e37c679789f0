//! What a process says about itself: metrics and logs.
//!
//! Each crate declares its metrics once, as a `METRICS` table in its own `telemetry` module, and
//! emits them with the macros of the `metrics` crate. A process installs one recorder, hands it all
//! tables, and serves what it renders.
//!
//! Always holds:
//! - installing twice is harmless, so tests in one process may each do it;
//! - counters without labels are there from the start, at 0, so that a rate over them is right for
//!   the first increment;
//! - histograms are drained by [`MetricsHandle::upkeep`] even when nobody scrapes, so they do not
//!   grow.
//!
//! The log file is bounded: see [`LogSection`].

mod log_file;
mod logging;
mod reactor;

use std::collections::BTreeSet;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::process;

pub use logging::{LogFormat, LogSection, LoggingError, logging};
pub use reactor::watch_reactor;

/// A metric as its crate declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Full name, `millrace_<role>_<thing>_<unit>`, counters with `_total`.
    pub name: &'static str,
    pub kind: MetricKind,
    /// Base unit (`seconds`, `bytes`), or what is counted (`rows`).
    pub unit: &'static str,
    /// What it tells, one sentence.
    pub help: &'static str,
    /// Names of its labels; each must have few values.
    pub labels: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    /// Returns the word Prometheus uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Metrics of this crate and of every process.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "millrace_build_info",
        kind: MetricKind::Gauge,
        unit: "",
        help: "Always 1; the label says which release runs.",
        labels: &["version"],
    },
    Metric {
        name: "process_resident_memory_bytes",
        kind: MetricKind::Gauge,
        unit: "bytes",
        help: "Memory of this process that is in RAM.",
        labels: &[],
    },
    Metric {
        name: "process_resident_memory_peak_bytes",
        kind: MetricKind::Gauge,
        unit: "bytes",
        help: "Most memory this process ever had in RAM.",
        labels: &[],
    },
    Metric {
        name: "process_cpu_seconds_total",
        kind: MetricKind::Counter,
        unit: "seconds",
        help: "CPU time this process has used, user and system.",
        labels: &[],
    },
    Metric {
        name: "process_open_fds",
        kind: MetricKind::Gauge,
        unit: "files",
        help: "File descriptors this process has open.",
        labels: &[],
    },
    Metric {
        name: "millrace_http_requests_total",
        kind: MetricKind::Counter,
        unit: "requests",
        help: "HTTP requests answered, by route, method and status.",
        labels: &["route", "method", "status"],
    },
    Metric {
        name: "millrace_http_request_seconds",
        kind: MetricKind::Histogram,
        unit: "seconds",
        help: "Time from the request's head to the answer's head.",
        labels: &["route"],
    },
    Metric {
        name: "millrace_http_connections",
        kind: MetricKind::Gauge,
        unit: "connections",
        help: "HTTP connections open now.",
        labels: &[],
    },
    Metric {
        name: "millrace_cpu_queue_seconds",
        kind: MetricKind::Histogram,
        unit: "seconds",
        help: "Time jobs waited for a thread of a CPU pool.",
        labels: &["pool"],
    },
    Metric {
        name: reactor::DELAY_SECONDS,
        kind: MetricKind::Histogram,
        unit: "seconds",
        help: "How much later than asked a timer fired: work blocks the reactor when this is high.",
        labels: &[],
    },
];

/// Upper bounds of histogram buckets in seconds: from an index look-up to a query deadline.
const SECONDS_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Upper bounds of histogram buckets in bytes: 1 KiB to 1 GiB.
const BYTES_BUCKETS: &[f64] = &[
    1024.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];

/// Upper bounds of histogram buckets for anything else: counts of rows, files, series.
const COUNT_BUCKETS: &[f64] =
    &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];

/// How often histograms are drained when nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The process's metrics, ready to be rendered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MetricsHandle {
    prometheus: &'static PrometheusHandle,
}

/// Installs the process's metrics recorder and describes `tables`.
///
/// May be called again, with the same or more tables. This crate's own table is always included.
pub fn install(tables: &[&[Metric]]) -> MetricsHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let prometheus = HANDLE.get_or_init(|| {
        let recorder = recorder();
        let handle = recorder.handle();
        // Fails only when another library installed a recorder; ours then renders nothing.
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed, /metrics will be empty");
        }
        handle
    });
    for table in std::iter::once(&METRICS).chain(tables) {
        for metric in *table {
            describe(metric);
        }
    }
    metrics::gauge!("millrace_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    MetricsHandle { prometheus }
}

fn recorder() -> PrometheusRecorder {
    let suffix = |end: &str| Matcher::Suffix(end.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(suffix("_seconds"), SECONDS_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(suffix("_bytes"), BYTES_BUCKETS))
        .and_then(|builder| builder.set_buckets(COUNT_BUCKETS))
        .expect("bucket lists are not empty")
        .build_recorder()
}

fn describe(metric: &Metric) {
    static DESCRIBED: RwLock<BTreeSet<&'static str>> = RwLock::new(BTreeSet::new());
    let is_new = DESCRIBED.write().unwrap_or_else(PoisonError::into_inner).insert(metric.name);
    if !is_new {
        return;
    }
    match metric.kind {
        MetricKind::Counter => {
            metrics::describe_counter!(metric.name, metric.help);
            if metric.labels.is_empty() && !metric.name.starts_with("process_") {
                metrics::counter!(metric.name).increment(0);
            }
        }
        MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
        MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
    }
}

impl MetricsHandle {
    /// Renders every metric in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = self.prometheus.render();
        render_process(&mut text);
        text
    }

    /// Drains histograms until `token` is cancelled, so that they stay small unscraped.
    pub async fn upkeep(self, clock: &dyn Clock, token: CancellationToken) {
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                () = clock.sleep(UPKEEP_INTERVAL) => self.prometheus.run_upkeep(),
            }
        }
    }
}

/// Appends what the kernel counts. Read at render time, so never stale.
fn render_process(text: &mut String) {
    let whole = |value: Option<u64>| value.map(|value| value.to_string());
    let values = [
        ("process_resident_memory_bytes", whole(process::resident_bytes())),
        ("process_resident_memory_peak_bytes", whole(process::resident_bytes_peak())),
        (
            "process_cpu_seconds_total",
            process::cpu_seconds().map(|seconds| format!("{seconds:.2}")),
        ),
        ("process_open_fds", whole(process::open_files())),
    ];
    for (name, value) in values {
        let declared = METRICS.iter().find(|metric| metric.name == name);
        let (Some(value), Some(metric)) = (value, declared) else {
            continue;
        };
        let kind = metric.kind.as_str();
        text.push_str(&format!(
            "# HELP {name} {}\n# TYPE {name} {kind}\n{name} {value}\n\n",
            metric.help
        ));
    }
}

/// Renders `docs/metrics.md`: one table for each `(title, metrics)`, sorted by name.
pub fn markdown(sections: &[(&str, &[Metric])]) -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Every metric that Millrace exports on `/metrics`.\n\
         This page is generated from the tables in each crate's `telemetry.rs`; \
         a test fails when it is stale.\n\
         To rewrite it: `UPDATE_DOCS=1 cargo test --test docs`.\n",
    );
    for (title, metrics) in sections {
        let mut sorted: Vec<&Metric> = metrics.iter().collect();
        sorted.sort_by_key(|metric| metric.name);
        page.push_str(&format!("\n## {title}\n\n| Metric | Kind | Unit | Labels | Tells |\n| --- | --- | --- | --- | --- |\n"));
        for metric in sorted {
            let labels: Vec<String> =
                metric.labels.iter().map(|label| format!("`{label}`")).collect();
            page.push_str(&format!(
                "| `{}` | {} | {} | {} | {} |\n",
                metric.name,
                metric.kind.as_str(),
                metric.unit,
                labels.join(", "),
                metric.help.replace('|', "\\|"),
            ));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &[Metric] = &[
        Metric {
            name: "millrace_test_rows_total",
            kind: MetricKind::Counter,
            unit: "rows",
            help: "Rows seen.",
            labels: &[],
        },
        Metric {
            name: "millrace_test_wait_seconds",
            kind: MetricKind::Histogram,
            unit: "seconds",
            help: "Time waited for a | b.",
            labels: &["stage"],
        },
    ];

    #[test]
    fn what_is_declared_and_emitted_is_rendered() {
        let handle = install(&[OWN]);
        let before = handle.render();
        assert!(before.contains("\nmillrace_test_rows_total 0\n"), "{before}");
        install(&[OWN]);
        metrics::counter!("millrace_test_rows_total").increment(2);
        metrics::histogram!("millrace_test_wait_seconds", "stage" => "read").record(0.2);
        let text = handle.render();
        for line in [
            "# HELP millrace_test_rows_total Rows seen.",
            "millrace_test_rows_total 2",
            "millrace_test_wait_seconds_bucket{stage=\"read\",le=\"0.25\"} 1",
            "# TYPE process_cpu_seconds_total counter",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("millrace_build_info{version=\""), "{text}");
    }

    #[test]
    fn the_page_lists_metrics_by_name() {
        let page = markdown(&[("Test", OWN)]);
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(
            rows,
            [
                "| `millrace_test_rows_total` | counter | rows |  | Rows seen. |",
                "| `millrace_test_wait_seconds` | histogram | seconds | `stage` | Time waited for a \\| b. |",
            ]
        );
    }

    #[test]
    fn every_name_is_declared_once() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
    }
}
