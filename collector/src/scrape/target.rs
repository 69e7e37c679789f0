//! One target, scraped again and again.

use std::collections::HashSet;
use std::time::Duration;

use metrics::counter;
use record::{Labels, METRIC_NAME, SampleBatch, SampleBatchBuilder, TimestampMillis};
use runtime::clock::SharedClock;
use runtime::http::{Client, ClientOptions, Outgoing};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::exposition::{self, Exposition};
use super::{STALE, ScrapeSection, TargetSection};
use crate::sampling::SampleOutput;
use crate::telemetry;

/// What Prometheus sends, so that targets choose the text format.
const ACCEPT: &str = "text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// A target and what it exposed last.
#[derive(Debug)]
pub struct Target {
    url: String,
    job: String,
    labels: Labels,
    interval: Duration,
    samples_max: usize,
    client: Client,
    clock: SharedClock,
    /// Series of the last scrape; those that do not come again are marked stale.
    last: HashSet<Labels>,
    failing: bool,
}

impl Target {
    /// A target whose series get `job`, `instance` (host and port of the URL) and its labels.
    pub fn new(target: &TargetSection, section: &ScrapeSection, clock: SharedClock) -> Self {
        let options = ClientOptions {
            deadline: Duration::from_secs(section.timeout_secs),
            response_bytes_max: section.body_bytes_max,
            ..ClientOptions::default()
        };
        let instance = target.url.trim_start_matches("http://").split('/').next().unwrap_or("");
        let labels =
            Labels::from_pairs(&target.labels).with("job", &target.job).with("instance", instance);
        Self {
            url: target.url.clone(),
            job: target.job.clone(),
            labels,
            interval: Duration::from_secs(section.interval_secs),
            samples_max: section.samples_max,
            client: Client::new(options),
            clock,
            last: HashSet::new(),
            failing: false,
        }
    }

    /// Scrapes until stopped; `output` gets each batch. At the end every series is marked stale.
    pub(crate) async fn run(mut self, stop: CancellationToken, output: &SampleOutput) {
        loop {
            let started = self.clock.elapsed();
            let batch = tokio::select! {
                batch = self.scrape() => batch,
                () = stop.cancelled() => break,
            };
            output.send(batch).await;
            let rest = self.interval.saturating_sub(self.clock.elapsed().saturating_sub(started));
            tokio::select! {
                () = self.clock.sleep(rest) => {}
                () = stop.cancelled() => break,
            }
        }
        let now = self.now();
        output.send(self.batch(&Exposition::default(), now, None).finish()).await;
    }

    async fn scrape(&mut self) -> SampleBatch {
        let (time, started) = (self.now(), self.clock.elapsed());
        let fetched = self.fetch().await;
        let seconds = self.clock.elapsed().saturating_sub(started).as_secs_f64();
        let result = if fetched.is_ok() { "ok" } else { "failed" };
        counter!(telemetry::SCRAPES, "job" => self.job.clone(), "result" => result).increment(1);
        self.report(fetched.as_ref().err());
        let up = if fetched.is_ok() { 1.0 } else { 0.0 };
        self.batch(&fetched.unwrap_or_default(), time, Some((up, seconds))).finish()
    }

    /// Says so when a target begins to fail and when it is back, not on every scrape between.
    fn report(&mut self, error: Option<&String>) {
        match (error, self.failing) {
            (Some(error), false) => warn!(url = self.url, error, "scrape failed"),
            (Some(error), true) => debug!(url = self.url, error, "scrape failed again"),
            (None, true) => info!(url = self.url, "scrape works again"),
            (None, false) => {}
        }
        self.failing = error.is_some();
    }

    async fn fetch(&self) -> Result<Exposition, String> {
        let request = Outgoing::get(&self.url).header("accept", ACCEPT);
        let response = self.client.send(request).await.map_err(|error| error.to_string())?;
        if response.status != 200 {
            return Err(format!("status {}", response.status));
        }
        let text = std::str::from_utf8(&response.body).map_err(|_| "not UTF-8".to_owned())?;
        let read = exposition::parse(text).map_err(|error| error.to_string())?;
        if self.samples_max < read.samples.len() {
            let found = read.samples.len();
            return Err(format!(
                "{found} samples, the limit `samples_max` is {}",
                self.samples_max
            ));
        }
        Ok(read)
    }

    fn batch(
        &mut self,
        read: &Exposition,
        time: TimestampMillis,
        scraped: Option<(f64, f64)>,
    ) -> SampleBatchBuilder {
        let mut batch = SampleBatchBuilder::new();
        let mut seen = HashSet::with_capacity(read.samples.len());
        for (exposed, value, at) in &read.samples {
            let series = self.series(exposed);
            batch.push(at.map_or(time, TimestampMillis), &series, *value);
            seen.insert(series);
        }
        counter!(telemetry::SCRAPED_SAMPLES, "job" => self.job.clone())
            .increment(batch.len() as u64);
        for gone in self.last.difference(&seen) {
            batch.push(time, gone, STALE);
        }
        self.last = seen;
        let (up, seconds) = scraped.unwrap_or((STALE, STALE));
        let count = scraped.map_or(STALE, |_| read.samples.len() as f64);
        let own =
            [("up", up), ("scrape_duration_seconds", seconds), ("scrape_samples_scraped", count)];
        for (name, value) in own {
            batch.push(time, &self.labels.with(METRIC_NAME, name), value);
        }
        for family in &read.metadata {
            batch.push_metadata(family.clone());
        }
        batch
    }

    /// The exposed labels with ours; where both have a name ours wins and the exposed one is
    /// kept as `exported_<name>`.
    fn series(&self, exposed: &Labels) -> Labels {
        let renamed = exposed.iter().map(|(name, value)| {
            let name = match self.labels.get(name) {
                Some(_) => format!("exported_{name}"),
                None => name.to_owned(),
            };
            (name, value)
        });
        let ours = self.labels.iter().map(|(name, value)| (name.to_owned(), value));
        Labels::from_pairs(renamed.chain(ours))
    }

    fn now(&self) -> TimestampMillis {
        TimestampMillis(self.clock.unix_nanos().div_euclid(1_000_000))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use runtime::clock::ManualClock;

    use super::*;

    fn target(clock: SharedClock) -> Target {
        let target = TargetSection {
            url: "http://127.0.0.1:1/metrics".to_owned(),
            job: "app".to_owned(),
            ..TargetSection::default()
        };
        Target::new(&target, &ScrapeSection::default(), clock)
    }

    fn shown(batch: &SampleBatch) -> Vec<String> {
        let row = |i: usize| {
            let series = &batch.series()[batch.series_index()[i] as usize];
            let value = batch.values()[i];
            let stale = value.to_bits() == STALE.to_bits();
            let value = if stale { "stale".to_owned() } else { value.to_string() };
            format!("{} {value}", series.without("instance").without("job"))
        };
        (0..batch.len()).map(row).collect()
    }

    #[tokio::test]
    async fn vanished_series_and_dead_targets_are_marked_stale() {
        let clock = ManualClock::new(1_700_000_000_000_000_000);
        let mut target = target(clock);
        let time = target.now();
        let first = exposition::parse("a 1\nb{job=\"x\"} 2\n").unwrap();
        let batch = target.batch(&first, time, Some((1.0, 0.0))).finish();
        assert_eq!(batch.times()[0], 1_700_000_000_000);
        assert_eq!(
            shown(&batch)[..3],
            [
                r#"{__name__="a"} 1"#,
                r#"{__name__="b", exported_job="x"} 2"#,
                r#"{__name__="up"} 1"#
            ]
        );
        let second = exposition::parse("a 1\n").unwrap();
        let batch = target.batch(&second, time, Some((1.0, 0.0))).finish();
        assert_eq!(
            shown(&batch)[..2],
            [r#"{__name__="a"} 1"#, r#"{__name__="b", exported_job="x"} stale"#]
        );
        // Nobody listens on port 1.
        let batch = target.scrape().await;
        assert_eq!(shown(&batch)[..2], [r#"{__name__="a"} stale"#, r#"{__name__="up"} 0"#]);
    }
}
