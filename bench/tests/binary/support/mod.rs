//! Starting the real binary and talking to it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses what it needs")]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use runtime::clock::{Clock, SystemClock};
use tempfile::TempDir;

/// Longest wait for something that should take moments; a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(90);

/// Lines kept of one process's output; a test prints far less, and a full pipe only makes it wait.
const LINES_MAX: usize = 100_000;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Returns a command that runs the binary, with nothing of the caller's settings.
pub fn millrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command
        .args(arguments)
        .env_remove("MILLRACE_ADDR")
        .env_remove("MILLRACE_TENANT")
        .stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub fn run(arguments: &[&str]) -> Output {
    millrace(arguments).output().expect("the binary starts")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks until `wanted` likes the answer.
pub fn eventually<T: std::fmt::Debug>(
    what: &str,
    ask: impl Fn() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let clock = SystemClock::new();
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(clock.elapsed() < PATIENCE, "{what}: last answer was {answer:?}");
        thread::sleep(PAUSE);
    }
}

/// A folder with a data folder, a folder of logs and a configuration that reads only those.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
}

impl Site {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::create_dir(folder.path().join("logs")).expect("temporary folder");
        let site = Self { folder };
        let logs = site.path("logs").join("*.log");
        site.configure(&format!("[{:?}]", logs.display().to_string()));
        site
    }

    /// Writes the configuration; `files` is a YAML list of patterns.
    pub fn configure(&self, files: &str) {
        let text = format!(
            "data_dir: {:?}\n\
             http:\n  listen: 127.0.0.1:0\n\
             collector:\n  tail:\n    files: {files}\n    pods: \"\"\n",
            self.path("data").display().to_string()
        );
        fs::write(self.path("millrace.yaml"), text).expect("temporary folder");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Appends lines to one log file.
    pub fn log(&self, name: &str, lines: impl IntoIterator<Item = String>) {
        let path = self.path("logs").join(name);
        let mut file =
            OpenOptions::new().create(true).append(true).open(path).expect("temporary folder");
        for line in lines {
            writeln!(file, "{line}").expect("temporary folder");
        }
    }

    pub fn start(&self) -> Server {
        let config = self.path("millrace.yaml");
        Server::start(&["standalone", "--config", &config.display().to_string()])
    }
}

/// A running server, killed when the test is over.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub url: String,
    /// What it printed before it said where it listens, that line included.
    pub banner: Vec<String>,
    rest: Receiver<String>,
    log: Receiver<String>,
}

impl Server {
    /// Starts every role in one process, which says where it listens in its guide.
    pub fn start(arguments: &[&str]) -> Self {
        let (child, output, log) = spawn(arguments);
        let (url, banner) = Self::first_url(&output, &log);
        Self { child, url, banner, rest: output, log }
    }

    /// Starts one role, which says where it listens in its log.
    pub fn start_role(arguments: &[&str]) -> Self {
        let (child, output, log) = spawn(arguments);
        let (url, banner) = Self::first_url(&log, &output);
        Self { child, url, banner, rest: output, log }
    }

    fn first_url(said: &Receiver<String>, other: &Receiver<String>) -> (String, Vec<String>) {
        let mut banner = Vec::new();
        loop {
            let Ok(line) = said.recv_timeout(PATIENCE) else {
                let other: Vec<String> = other.try_iter().collect();
                panic!("no address printed: {banner:#?}, beside it: {other:#?}");
            };
            let found = line.split([' ', '"', '=']).find(|word| word.starts_with("http://"));
            let url = found.map(str::to_owned);
            banner.push(line);
            if let Some(url) = url {
                return (url, banner);
            }
        }
    }

    /// Starts a client command that goes on until it is killed.
    pub fn follow(url: &str, arguments: &[&str]) -> Follower {
        let mut child = millrace(arguments)
            .env("MILLRACE_ADDR", url)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = lines(child.stdout.take().expect("piped"));
        Follower { child, lines }
    }

    /// Runs a client command against this server.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        millrace(arguments).env("MILLRACE_ADDR", &self.url).output().expect("the binary starts")
    }

    /// Returns the lines a query answers, oldest first.
    pub fn query(&self, logql: &str) -> Vec<String> {
        let answer = self.ask(&["query", logql, "--limit", "5000", "-o", "raw"]);
        assert!(answer.status.success(), "{}", text(&answer.stderr));
        text(&answer.stdout).lines().map(str::to_owned).collect()
    }

    /// Asks for a path and returns status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.url);
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the runtime starts")
            .block_on(async {
                let answer = runtime::http::Client::default().get(&url).await.expect("answers");
                (answer.status.as_u16(), answer.text())
            })
    }

    /// Sends a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .expect("kill is there");
        assert!(sent.success());
    }

    /// Waits for the end and returns how it ended and what it logged.
    pub fn wait(mut self) -> (ExitStatus, Vec<String>) {
        let clock = SystemClock::new();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return (status, self.log.iter().collect());
            }
            if PATIENCE < clock.elapsed() {
                drop(self.child.kill());
                panic!("still running: {:#?}", self.log.iter().collect::<Vec<_>>());
            }
            thread::sleep(PAUSE);
        }
    }

    /// Stops in order and checks that nothing went wrong.
    pub fn stop(self, signal: &str) -> Vec<String> {
        self.signal(signal);
        let (status, log) = self.wait();
        assert!(status.success(), "{status}: {log:#?}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(arguments: &[&str]) -> (Child, Receiver<String>, Receiver<String>) {
    let mut child = millrace(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let output = lines(child.stdout.take().expect("piped"));
    let log = lines(child.stderr.take().expect("piped"));
    (child, output, log)
}

/// A client command that goes on, killed when the test is over.
#[derive(Debug)]
pub struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    pub fn next_lines(&self, count: usize) -> Vec<String> {
        let next = || self.lines.recv_timeout(PATIENCE).expect("another line");
        (0..count).map(|_| next()).collect()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES_MAX);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Returns every file below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        if entry.path().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}
