//! The Kafka broker of the tests: the one of `KAFKA_BOOTSTRAP_SERVERS`, or our own, which
//! `.ci/kafka` starts and all test processes share.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use queue::{KafkaSection, Queue, QueueSection};
use runtime::clock::SystemClock;

/// Seconds after which the shared broker stops by itself when no test uses it.
const IDLE_STOP_SECS: &str = "300";

/// Returns the address of the shared broker, starting it when it does not run.
pub(crate) fn shared() -> &'static str {
    static SHARED: OnceLock<(String, Option<File>)> = OnceLock::new();
    let (servers, _in_use) = SHARED.get_or_init(|| {
        if let Ok(servers) = std::env::var("KAFKA_BOOTSTRAP_SERVERS") {
            return (servers, None);
        }
        let folder = cache().join("kafka/shared");
        std::fs::create_dir_all(&folder).unwrap();
        // Held until this process ends, so that the broker does not stop under it.
        let in_use = File::options().create(true).append(true).open(folder.join("in-use")).unwrap();
        in_use.lock_shared().unwrap();
        let servers = script(&["start", "--idle-stop", IDLE_STOP_SECS]);
        (servers, Some(in_use))
    });
    servers
}

/// A broker of a test's own, to stop and start again on the same data.
pub(crate) struct Own {
    folder: tempfile::TempDir,
    pub(crate) servers: String,
}

impl Own {
    pub(crate) fn start() -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        let servers = start_in(folder.path());
        Self { folder, servers }
    }

    pub(crate) fn stop(&self) {
        script(&["stop", "--dir", self.folder.path().to_str().unwrap()]);
    }

    pub(crate) fn start_again(&self) {
        assert_eq!(start_in(self.folder.path()), self.servers);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start_in(folder: &Path) -> String {
    script(&["start", "--dir", folder.to_str().unwrap()])
}

/// Runs `.ci/kafka` and returns the address it prints, if it prints one.
fn script(arguments: &[&str]) -> String {
    let output = Command::new(repository().join(".ci/kafka"))
        .args(arguments)
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("run .ci/kafka");
    assert!(output.status.success(), "`.ci/kafka {arguments:?}` failed");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("KAFKA_BOOTSTRAP_SERVERS="));
    line.unwrap_or_default().to_owned()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn cache() -> PathBuf {
    std::env::var_os("MILLRACE_TEST_CACHE")
        .map_or_else(|| repository().join(".cache"), PathBuf::from)
}

/// Settings for a broker at `servers`.
pub(crate) fn section(servers: &str) -> KafkaSection {
    KafkaSection { bootstrap_servers: servers.to_owned(), ..KafkaSection::default() }
}

pub(crate) fn open(section: KafkaSection) -> Queue {
    let section = QueueSection::Kafka(Box::new(section));
    Queue::open(&section, Path::new("."), SystemClock::shared()).unwrap()
}

/// Returns a name no other test run has used: the broker outlives them.
pub(crate) fn fresh(name: &str) -> String {
    format!("{name}-{:016x}", fastrand::u64(..))
}
