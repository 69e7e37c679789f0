//! One deployment for one test, and the assertions about what it returns.

use std::path::Path;
use std::time::{Duration, Instant};

use bench::loki::Loki;
use bench::oracle::{Entry, StreamKey, Written};
use bench::systems::deployment::Deployment;
use bench::systems::kafka::Kafka;
use bench::systems::millrace::Role;
use fastrand::Rng;
use queue::{KafkaSection, Queue, QueueSection, Topic};
use runtime::clock::SystemClock;
use segment::catalog::{Catalog, CatalogOptions, PREFIX, doctor};

use crate::writer::Writer;

/// Lines a test writes; the variable makes a trial run short.
pub(crate) fn lines_from_environment() -> usize {
    let given = std::env::var("MILLRACE_TEST_LINES").ok();
    given.map_or(100_000, |text| text.parse().expect("MILLRACE_TEST_LINES is a number"))
}

/// Seconds a test may take for what its variable says, `default` without it.
pub(crate) fn seconds_from_environment(variable: &str, default: u64) -> Duration {
    let given = std::env::var(variable).ok();
    let seconds = given.map(|text| text.parse().expect("the variable is a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(default))
}

/// Longest time in which answers are partial because an indexer was just started.
const TAKEOVER_DEADLINE: Duration = Duration::from_secs(30);

/// Many small segments, so that cutting and publishing happen all the time.
const SETTINGS: &str = "
indexer:
  recent_grace_secs: 5
  logs:
    cut_raw_bytes_max: 16000000
    cut_age_secs_max: 20
";

pub(crate) struct Cluster {
    deployment: Deployment,
    start_ns: i64,
    // After the processes that use it.
    _folder: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_with(name, SETTINGS, None).await
    }

    /// With settings of its own, and as many partitions of the logs topic as wanted.
    pub(crate) async fn start_with(name: &str, settings: &str, partitions: Option<u32>) -> Self {
        let folder =
            tempfile::Builder::new().prefix(&format!("millrace-{name}-")).tempdir().unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_millrace"));
        let kafka = Kafka::start(&folder.path().join("kafka")).unwrap();
        if let Some(partitions) = partitions {
            let bootstrap_servers = kafka.bootstrap_servers.clone();
            let section = KafkaSection { bootstrap_servers, ..KafkaSection::default() };
            let section = QueueSection::Kafka(Box::new(section));
            let queue = Queue::open(&section, folder.path(), SystemClock::shared()).unwrap();
            queue.ensure_topic(&Topic::logs(), partitions).await.unwrap();
        }
        let deployment =
            Deployment::start_on(kafka, binary, folder.path(), settings).await.unwrap();
        // A quarter of an hour back: a million lines advance each pod by about 90 s.
        let start_ns = unix_nanos() - 900_000_000_000;
        Self { deployment, start_ns, _folder: folder }
    }

    pub(crate) fn pods(&self) -> &Path {
        self.deployment.pods()
    }

    pub(crate) fn loki(&self) -> &Loki {
        self.deployment.loki()
    }

    pub(crate) fn start_ns(&self) -> i64 {
        self.start_ns
    }

    pub(crate) fn deployment(&mut self) -> &mut Deployment {
        &mut self.deployment
    }

    /// The catalog as anyone sees it.
    pub(crate) async fn catalog(&self) -> Catalog {
        let options = CatalogOptions::new(SystemClock::shared(), "test");
        Catalog::open(self.deployment.store(), PREFIX, options).await.unwrap()
    }

    /// Asserts that nothing is wrong with the catalog and with the objects it names.
    pub(crate) async fn assert_sound_catalog(&self) {
        let options = CatalogOptions::new(SystemClock::shared(), "test");
        let audit = doctor::audit(&self.deployment.store(), PREFIX, &options).await.unwrap();
        assert!(audit.findings.is_empty(), "{:?}", audit.findings);
    }

    /// A metric of a role, summed over its labels; 0 when it does not answer.
    pub(crate) async fn metric(role: &Role, name: &str) -> f64 {
        let url = format!("{}/metrics", role.address());
        let answer = runtime::http::Client::default().get(&url).await;
        answer.map_or(0.0, |answer| sum(&answer.text(), name))
    }

    pub(crate) async fn ready(&mut self) {
        self.deployment.ready().await.unwrap();
    }

    pub(crate) async fn publish_all(&mut self) {
        self.deployment.publish_all().await.unwrap();
    }

    /// Kills one of the three roles without warning and starts it again.
    pub(crate) async fn kill_one(&mut self, rng: &mut Rng) {
        let role = match rng.u8(..3) {
            0 => &mut self.deployment.collector,
            1 => &mut self.deployment.indexer,
            _ => &mut self.deployment.query,
        };
        role.kill();
        tokio::time::sleep(Duration::from_millis(rng.u64(..500))).await;
        role.restart().unwrap();
    }

    /// Stops the broker, goes on writing meanwhile, and starts it again.
    pub(crate) async fn broker_outage(
        &mut self,
        length: Duration,
        writer: &mut Writer,
        lines: usize,
    ) {
        assert!(self.deployment.kafka.stop().unwrap(), "a broker of our own is needed");
        for _ in 0..10 {
            writer.write(lines / 10);
            tokio::time::sleep(length / 10).await;
        }
        self.deployment.kafka.start_again().unwrap();
    }

    /// Waits until as many lines as were written can be counted, and no more.
    pub(crate) async fn wait_for(&self, written: &Written, range: (i64, i64), deadline: Duration) {
        let seconds = (range.1 - range.0) / 1_000_000_000 + 2;
        let query = format!(r#"sum(count_over_time({{namespace=~".+"}}[{seconds}s]))"#);
        let started = now();
        let mut last = String::new();
        while started.elapsed() < deadline {
            match self.loki().number(&query, range.1).await {
                Ok(found) if found == written.len() as f64 => return,
                Ok(found) => last = format!("{found} lines"),
                Err(error) => last = format!("{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{} lines written, after {deadline:?}: {last}\n{}", written.len(), self.logs());
    }

    /// For every stream the lines returned are the lines written, in order.
    pub(crate) async fn assert_equal(&self, written: &Written, range: (i64, i64)) {
        for (key, expected) in &written.streams {
            let got = self.returned(key, range).await;
            if &got != expected {
                panic!("{}", difference(key, &got, expected));
            }
        }
    }

    /// The lines of a stream, asked for again while an indexer that was just started takes its
    /// partitions over: until then answers are partial and say so.
    async fn returned(&self, key: &StreamKey, range: (i64, i64)) -> Vec<Entry> {
        let started = now();
        loop {
            match self.loki().all(key, range).await {
                Ok(got) => return got,
                Err(error) if started.elapsed() < TAKEOVER_DEADLINE => {
                    let text = format!("{error:#}");
                    assert!(text.contains("partial answer"), "{key:?}: {text}\n{}", self.logs());
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => panic!("{key:?}: {error:#}\n{}", self.logs()),
            }
        }
    }

    /// The counters by which loss would show agree with what was written.
    pub(crate) async fn assert_counters_agree(&self, written: &Written) {
        let metrics = scrape(self.deployment.collector.address()).await;
        let name = "millrace_collector_acknowledged_records_total{topic=\"millrace.logs\"}";
        assert_eq!(sum(&metrics, name), written.len() as f64, "{name}");
    }

    fn logs(&self) -> String {
        let Deployment { collector, indexer, query, .. } = &self.deployment;
        let tail = |log: String| -> String {
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(15)..].join("\n")
        };
        let logs = [collector, indexer, query].map(|role| tail(role.log()));
        format!("collector:\n{}\nindexer:\n{}\nquery:\n{}", logs[0], logs[1], logs[2])
    }
}

/// Says how two lists of entries differ without printing a million lines.
fn difference(key: &StreamKey, got: &[(i64, String)], expected: &[(i64, String)]) -> String {
    let at = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    format!(
        "{key:?}: {} lines written, {} returned, first difference at {at}:\nwritten  {:?}\nreturned {:?}",
        expected.len(),
        got.len(),
        expected.get(at),
        got.get(at),
    )
}

async fn scrape(address: &str) -> String {
    let url = format!("{address}/metrics");
    runtime::http::Client::default().get(&url).await.unwrap().text()
}

/// Sum of a metric over its labels in the text format.
fn sum(metrics: &str, name: &str) -> f64 {
    let of_name = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    };
    let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    metrics.lines().filter(of_name).filter_map(value).sum()
}

fn unix_nanos() -> i64 {
    use runtime::clock::Clock;
    SystemClock::new().unix_nanos()
}

#[allow(clippy::disallowed_methods, reason = "a test waits for real processes in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
