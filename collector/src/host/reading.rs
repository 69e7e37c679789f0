//! Samples of one reading, and what their families are.

use super::{Labels, METRIC_NAME, MetricMetadata, SampleBatch, SampleBatchBuilder};
use record::TimestampMillis;

/// Collects the samples of one moment.
#[derive(Debug)]
pub struct Reading {
    base: Labels,
    time: TimestampMillis,
    batch: SampleBatchBuilder,
    families: Vec<String>,
}

impl Reading {
    /// `base` are labels of every series.
    pub fn new(base: Labels, now_ns: i64) -> Self {
        let time = TimestampMillis(now_ns.div_euclid(1_000_000));
        Self { base, time, batch: SampleBatchBuilder::new(), families: Vec::new() }
    }

    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.push("gauge", name, help, labels, value);
    }

    /// A value that only grows until the host restarts.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.push("counter", name, help, labels, value);
    }

    /// The batch of all samples.
    pub fn finish(mut self) -> SampleBatch {
        self.batch.finish()
    }

    fn push(&mut self, kind: &str, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        if !self.families.iter().any(|known| known == name) {
            self.families.push(name.to_owned());
            self.batch.push_metadata(MetricMetadata {
                family: name.to_owned(),
                kind: kind.to_owned(),
                help: help.to_owned(),
                unit: String::new(),
            });
        }
        let own = labels.iter().copied().chain([(METRIC_NAME, name)]);
        let series = Labels::from_pairs(self.base.iter().chain(own));
        self.batch.push(self.time, &series, value);
    }
}
