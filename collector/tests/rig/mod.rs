//! A collector on a temporary folder with a queue in memory, and writers that log as kubelet and
//! logrotate do.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of it")]
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use collector::config::{CheckpointSection, ShipSection, TailSection};
use collector::host::HostSection;
use collector::{Collector, CollectorSection, Dependencies};
use queue::{MemoryQueue, MemorySection, Partition, Topic, TopicPartition};
use record::{Labels, Limits, LogBatch, SourceId};
use runtime::clock::{SharedClock, SystemClock};
use runtime::shutdown::{Shutdown, Tasks};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// No condition takes longer, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

pub const PARTITIONS: u32 = 3;

pub struct Rig {
    pub folder: tempfile::TempDir,
    pub queue: MemoryQueue,
    pub clock: SharedClock,
    pub section: CollectorSection,
}

/// A row as an indexer keeps it.
#[derive(Clone, Debug)]
pub struct Row {
    pub time: i64,
    pub labels: Labels,
    pub line: String,
    pub attributes: HashMap<String, String>,
}

pub struct Running {
    /// What it serves.
    pub router: Router,
    tasks: Tasks,
    pub stop: CancellationToken,
    kill: CancellationToken,
}

impl Rig {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("log");
        fs::create_dir_all(base.join("pods")).unwrap();
        let clock = SystemClock::shared();
        let queue = MemoryQueue::new(MemorySection::default(), Arc::clone(&clock));
        queue.ensure_topic(&Topic::logs(), PARTITIONS);
        queue.ensure_topic(&Topic::samples(), 1);
        let section = CollectorSection {
            node: "node".to_owned(),
            tail: TailSection {
                files: vec![format!("{}/**/*.log", base.display())],
                pods: base.join("pods"),
                scan_interval_ms: 200,
                rotate_quiet_ms: 50,
                ..TailSection::default()
            },
            ship: ShipSection { linger_ms: 10, ..ShipSection::default() },
            checkpoint: CheckpointSection { interval_ms: 20, ..CheckpointSection::default() },
            host: HostSection { enabled: false, ..HostSection::default() },
            shutdown_grace_secs: 20,
            ..CollectorSection::default()
        };
        Self { folder, queue, clock, section }
    }

    pub fn base(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Starts a collector; one killed a moment ago may still hold the checkpoint's lock.
    pub async fn start(&self) -> Running {
        let needs = || Dependencies {
            producer: self.queue.producer(),
            clock: Arc::clone(&self.clock),
            data_dir: self.folder.path().join("data"),
            own_metrics_url: None,
        };
        let started = self.clock.elapsed();
        let collector = loop {
            match Collector::new(self.section.clone(), needs()) {
                Ok(collector) => break collector,
                Err(error) => assert!(self.clock.elapsed() - started < DEADLINE, "{error}"),
            }
            self.clock.sleep(Duration::from_millis(2)).await;
        };
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(&shutdown);
        let (stop, kill) = (shutdown.token(), CancellationToken::new());
        let router = collector.router();
        let (run, killed) = (collector.run(stop.clone()), kill.clone());
        tasks.spawn("collector", async move {
            tokio::select! {
                ended = run => ended.unwrap(),
                () = killed.cancelled() => {}
            }
        });
        Running { router, tasks, stop, kill }
    }

    /// Everything an indexer would keep: partition by partition, replays dropped.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for partition in 0..PARTITIONS {
            let at =
                TopicPartition::new(&Topic::logs(), Partition(i32::try_from(partition).unwrap()));
            let mut highest: HashMap<SourceId, u64> = HashMap::new();
            for (_, message) in self.queue.messages(&at) {
                let batch = LogBatch::decode(&message.payload, &Limits::default()).unwrap();
                for row in 0..batch.len() {
                    let Some((source, offset)) = batch.source(row) else { continue };
                    let highest = highest.entry(source).or_default();
                    if offset <= *highest {
                        continue;
                    }
                    *highest = offset;
                    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
                    rows.push(Row {
                        time: batch.times()[row],
                        labels: batch.stream(row).clone(),
                        line: batch.line(row).to_owned(),
                        attributes: batch.attributes(row).map(owned).collect(),
                    });
                }
            }
        }
        rows
    }

    /// The lines of all pushes, which carry no source.
    pub fn pushed(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for partition in 0..PARTITIONS {
            let at =
                TopicPartition::new(&Topic::logs(), Partition(i32::try_from(partition).unwrap()));
            for (_, message) in self.queue.messages(&at) {
                let batch = LogBatch::decode(&message.payload, &Limits::default()).unwrap();
                let rows = (0..batch.len()).filter(|row| batch.source(*row).is_none());
                lines.extend(rows.map(|row| batch.line(row).to_owned()));
            }
        }
        lines
    }

    /// The lines of the streams with this label.
    pub fn lines(&self, name: &str, value: &str) -> Vec<String> {
        let rows = self.rows().into_iter();
        rows.filter(|row| row.labels.get(name) == Some(value)).map(|row| row.line).collect()
    }

    /// Waits until the lines of the streams with this label are `expected`, and stay so.
    pub async fn expect(&self, name: &str, value: &str, expected: &[String]) {
        let enough = || expected.len() <= self.lines(name, value).len();
        self.wait_until(&format!("{} lines", expected.len()), enough).await;
        self.clock.sleep(Duration::from_millis(60)).await;
        let found = self.lines(name, value);
        if found != expected {
            let differs = found.iter().zip(expected).position(|(one, other)| one != other);
            panic!(
                "{} lines, expected {}, first difference at {differs:?}: {:?} instead of {:?}",
                found.len(),
                expected.len(),
                differs.and_then(|at| found.get(at)),
                differs.and_then(|at| expected.get(at)),
            );
        }
    }

    pub async fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let started = self.clock.elapsed();
        loop {
            let asked = self.clock.elapsed();
            if condition() {
                return;
            }
            assert!(self.clock.elapsed() - started < DEADLINE, "no {what} in time");
            // The collector runs on this thread: asking what takes long must not take its time.
            let pause = (self.clock.elapsed() - asked) * 4;
            self.clock.sleep(pause.max(Duration::from_millis(5))).await;
        }
    }

    /// The checkpoint as it is on disk.
    pub fn checkpoint(&self) -> String {
        fs::read_to_string(self.folder.path().join("data/collector/checkpoint")).unwrap_or_default()
    }

    /// Waits until every entry of the checkpoint with this path says that all is acknowledged.
    pub async fn wait_committed(&self, path: &Path) {
        let size = fs::metadata(path).unwrap().len();
        let path = path.to_str().unwrap().to_owned();
        let committed = || {
            let checkpoint = self.checkpoint();
            let mut entries =
                checkpoint.lines().filter(|line| line.contains(&format!("\"path\":\"{path}\"")));
            entries.any(|line| line.contains(&format!("\"offset\":{size},")))
        };
        self.wait_until("checkpoint", committed).await;
    }

    pub fn pod(&self, pod: &str) -> PodWriter {
        let folder = self.base().join(format!("pods/shop_{pod}_0a-1b/app"));
        fs::create_dir_all(&folder).unwrap();
        PodWriter::new(folder.join("0.log"))
    }
}

impl Running {
    /// Pushes a body; returns the answer's status and text.
    #[allow(clippy::disallowed_methods, reason = "the test reads its own small answer")]
    pub async fn push(
        &self,
        content_type: &str,
        encoding: &str,
        body: impl Into<Body>,
    ) -> (u16, String) {
        let request = Request::post("/loki/api/v1/push").header("content-type", content_type);
        let request = request.header("content-encoding", encoding).body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(text.to_vec()).unwrap())
    }

    /// Stops in order.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.join(DEADLINE).await.unwrap();
    }

    /// Ends as kill -9 would: nothing is flushed, nothing is saved.
    pub async fn kill(self) {
        self.kill.cancel();
        self.tasks.join(DEADLINE).await.unwrap();
    }
}

/// Writes a container's log as the runtime does, and rotates it as kubelet does.
pub struct PodWriter {
    pub live: PathBuf,
    file: File,
    pub rotated: Vec<PathBuf>,
    clock: u64,
    stamp: u64,
}

impl PodWriter {
    fn new(live: PathBuf) -> Self {
        Self { file: File::create(&live).unwrap(), live, rotated: Vec::new(), clock: 0, stamp: 0 }
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).unwrap();
    }

    pub fn piece(&mut self, stream: &str, tag: &str, text: &str) {
        self.clock += 1;
        let line = format!("2024-05-06T07:08:09.{:09}Z {stream} {tag} {text}\n", self.clock);
        self.raw(line.as_bytes());
    }

    pub fn line(&mut self, text: &str) {
        self.piece("stdout", "F", text);
    }

    pub fn lines(&mut self, range: std::ops::Range<usize>) -> Vec<String> {
        let lines: Vec<String> = range.map(|number| format!("line {number}")).collect();
        lines.iter().for_each(|line| self.line(line));
        lines
    }

    /// Renames; the writer keeps writing to the renamed file until [`PodWriter::reopen`].
    pub fn rename(&mut self) {
        self.stamp += 1;
        let target = self.live.with_file_name(format!("0.log.20240506-{:06}", self.stamp));
        fs::rename(&self.live, &target).unwrap();
        self.rotated.push(target);
    }

    pub fn rename_back(&mut self) {
        fs::rename(self.rotated.pop().unwrap(), &self.live).unwrap();
    }

    pub fn reopen(&mut self) {
        self.file = File::create(&self.live).unwrap();
    }

    pub fn rotate(&mut self) {
        self.rename();
        self.reopen();
    }
}
