//! A Millrace role as a process of its own.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use runtime::http::{Client, ClientOptions, Outgoing};

/// A running role; killed when dropped.
#[derive(Debug)]
pub struct Role {
    binary: PathBuf,
    role: String,
    config: PathBuf,
    log: PathBuf,
    address: String,
    child: Child,
}

/// What the kernel says a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time, in seconds.
    pub cpu_seconds: f64,
    /// Largest resident size so far, in bytes.
    pub peak_rss_bytes: u64,
}

impl Role {
    /// Starts `<binary> <role> --config <config>`, whose HTTP port is `port`; its output goes
    /// to `<folder>/<role>.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        binary: &Path,
        role: &str,
        config: &Path,
        port: u16,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{role}-{port}.log"));
        let child = spawn(binary, role, config, &log)?;
        Ok(Self {
            binary: binary.to_owned(),
            role: role.to_owned(),
            config: config.to_owned(),
            log,
            address: format!("http://127.0.0.1:{port}"),
            child,
        })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Base URL of its HTTP port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until `/ready` says so.
    ///
    /// # Errors
    /// When it exits first or the deadline passes; the end of its log is in the error.
    pub async fn ready(&mut self, deadline: Duration) -> anyhow::Result<()> {
        let client = Client::new(ClientOptions::default());
        let url = format!("{}/ready", self.address);
        let started = now();
        loop {
            if let Ok(response) = client.send(Outgoing::get(&url)).await
                && response.status == 200
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().context("wait")? {
                bail!("{} exited with {status}:\n{}", self.role, self.log_tail());
            }
            if deadline < started.elapsed() {
                bail!("{} not ready after {deadline:?}:\n{}", self.role, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills it like the kernel out of memory would, and starts it again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.restart()
    }

    /// Kills it: no signal handler runs.
    pub fn kill(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Stops it where it stands, as a machine that hangs would; it keeps its connections.
    ///
    /// # Errors
    /// When it is gone.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(rustix::process::Signal::STOP)
    }

    /// Lets a frozen one go on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal(rustix::process::Signal::CONT)
    }

    fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).context("signal")
    }

    /// Starts it again with the same configuration.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.binary, &self.role, &self.config, &self.log)?;
        Ok(())
    }

    /// Asks it to stop as Kubernetes would, and waits. Also returns what it had used shortly
    /// before it ended.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn terminate(&mut self, deadline: Duration) -> anyhow::Result<(ExitStatus, Usage)> {
        let mut used = self.usage()?;
        self.signal(rustix::process::Signal::TERM)?;
        let started = now();
        loop {
            if let Some(status) = self.child.try_wait().context("wait")? {
                return Ok((status, used));
            }
            used = self.usage().unwrap_or(used);
            if deadline < started.elapsed() {
                bail!("{} still runs {deadline:?} after SIGTERM:\n{}", self.role, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        usage(self.child.id())
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(binary: &Path, role: &str, config: &Path, log: &Path) -> anyhow::Result<Child> {
    let out = File::options().create(true).append(true).open(log).context("open log")?;
    let err = out.try_clone().context("open log")?;
    Command::new(binary)
        .args([role, "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .with_context(|| format!("start {}", binary.display()))
}

/// What any process has used so far.
///
/// # Errors
/// When it is gone.
pub fn usage(pid: u32) -> anyhow::Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read stat")?;
    // Fields 14 and 15, counted after the name, which is in parentheses and may hold spaces.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read status")?;
    let peak_kib: u64 = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .context("VmHWM")?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    Ok(Usage {
        cpu_seconds: ticks as f64 / ticks_per_second as f64,
        peak_rss_bytes: peak_kib * 1024,
    })
}

/// A port nobody listens on at the moment.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").context("find a free port")?.local_addr()?.port())
}

#[allow(clippy::disallowed_methods, reason = "a test waits for a real process in real time")]
fn now() -> Instant {
    Instant::now()
}
