//! Metrics of this host, under node_exporter's names, read from `/proc`.
//!
//! A file that cannot be read leaves its metrics out and is counted; it never fails the others.
//! Nothing is kept between two readings.

mod cpu;
mod disk;
mod filesystem;
mod memory;
mod network;
mod reading;
mod section;

use std::path::Path;

use metrics::counter;
use record::{Labels, METRIC_NAME, MetricMetadata, SampleBatch, SampleBatchBuilder};

use crate::telemetry;
pub use section::HostSection;

pub use reading::Reading;

/// Reads everything `section` asks for; `base` are labels of every series.
pub fn read(section: &HostSection, base: &Labels, now_ns: i64) -> SampleBatch {
    let mut reading = Reading::new(base.clone(), now_ns);
    let proc = section.proc.as_path();
    collect("cpu", &mut reading, |r| cpu::read(proc, r));
    collect("memory", &mut reading, |r| memory::read(proc, r));
    collect("disk", &mut reading, |r| disk::read(proc, r));
    collect("filesystem", &mut reading, |r| filesystem::read(proc, section, r));
    collect("network", &mut reading, |r| network::read(proc, r));
    reading.gauge("node_time_seconds", "Time of this host.", &[], now_ns as f64 / 1e9);
    reading.finish()
}

fn collect(
    name: &'static str,
    reading: &mut Reading,
    read: impl FnOnce(&mut Reading) -> std::io::Result<()>,
) {
    if let Err(error) = read(reading) {
        counter!(telemetry::HOST_ERRORS, "collector" => name).increment(1);
        tracing::debug!(collector = name, %error, "could not read host metrics");
    }
}

/// A file below `/proc`, as text.
fn text(proc: &Path, file: &str) -> std::io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(proc.join(file))?).into_owned())
}

#[cfg(test)]
mod tests;
