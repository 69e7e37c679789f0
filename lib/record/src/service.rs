//! The `service_name` label that every log stream carries.
//!
//! Grafana's log views group by it, so a stream without one gets it from the most telling label
//! it has.

use crate::labels::Labels;

/// Name of the label.
pub const SERVICE_NAME: &str = "service_name";

/// Value of the label when nothing says what the service is.
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// Labels that may name the service, most telling first.
const CANDIDATES: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// Returns the labels with a `service_name`; one that is there already stays as it is.
pub fn with_service_name(labels: &Labels) -> Labels {
    if labels.get(SERVICE_NAME).is_some() {
        return labels.clone();
    }
    let name = CANDIDATES.iter().find_map(|candidate| labels.get(candidate));
    labels.with(SERVICE_NAME, name.unwrap_or(UNKNOWN_SERVICE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(labels: &[(&str, &str)], expected: &str) {
        let labels = with_service_name(&Labels::from_pairs(labels.iter().copied()));
        assert_eq!(labels.get(SERVICE_NAME), Some(expected), "{labels}");
    }

    #[test]
    fn the_most_telling_label_names_the_service() {
        check(&[("container", "web"), ("job", "x")], "web");
        check(&[("container", "web"), ("app", "shop")], "shop");
        check(&[("service_name", "mine"), ("service", "other")], "mine");
        check(&[("k8s_job_name", "nightly")], "nightly");
        check(&[("namespace", "default")], UNKNOWN_SERVICE);
    }
}
