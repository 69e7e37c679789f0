//! Stopping: one token that says stop, and the tasks one waits for.
//!
//! Always holds:
//! - a task spawned through [`Tasks`] has a name and is either awaited or reported as unfinished;
//! - a task that panics or fails stops the process in order instead of leaving it half alive;
//! - a second signal does not wait: the operator who presses Ctrl-C twice wants out.
//!
//! Bounded by what is spawned; nothing here queues.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

/// Exit code of a process that was told to stop twice: 128 + SIGINT, as shells expect.
const EXIT_CODE_FORCED: i32 = 130;

/// The wish that a process, or a part of it, stops.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the token that is cancelled once the stop is wished for.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Returns a shutdown that this one triggers, but which does not trigger this one.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }

    pub fn trigger(&self) {
        self.token.cancel();
    }

    pub fn triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Triggers on SIGINT or SIGTERM; a second signal ends the process at once.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals(&self, tasks: &Tasks) -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let shutdown = self.clone();
        let listener = async move {
            let mut received: u32 = 0;
            loop {
                let name = tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                };
                received += 1;
                if 1 < received {
                    warn!(signal = name, "second signal, leaving without draining");
                    std::process::exit(EXIT_CODE_FORCED);
                }
                info!(signal = name, "stopping; a second signal leaves at once");
                shutdown.trigger();
            }
        };
        tasks.spawn_background("signals", listener);
        Ok(())
    }
}

/// Named tasks that one waits for.
///
/// Clones share the same set.
#[derive(Clone, Debug)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shutdown: Shutdown,
    tracker: TaskTracker,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    running: BTreeMap<u64, Running>,
    failures: Vec<Failure>,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    abort: Option<AbortHandle>,
    /// Runs for as long as the process does; [`Tasks::join`] ends it instead of waiting for it.
    background: bool,
}

/// A task that ended in a way nobody planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task `{task}` ended: {reason}")]
pub struct Failure {
    pub task: &'static str,
    pub reason: String,
}

/// Why joining did not end well.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// These tasks were still running at the deadline and have been aborted.
    #[error("tasks still running after {deadline:?}: {}", names.join(", "))]
    Unfinished { names: Vec<&'static str>, deadline: Duration },
    /// Every task ended, one of them by failing.
    #[error(transparent)]
    Failed(Failure),
}

impl Tasks {
    /// Returns an empty set; a task that fails triggers `shutdown`.
    pub fn new(shutdown: &Shutdown) -> Self {
        Self {
            inner: Arc::new(Inner {
                shutdown: shutdown.clone(),
                tracker: TaskTracker::new(),
                state: Mutex::new(State::default()),
            }),
        }
    }

    pub fn shutdown(&self) -> &Shutdown {
        &self.inner.shutdown
    }

    /// Runs a task that ends by itself or on the shutdown token.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.start(name, false, async move {
            task.await;
            Ok(())
        });
    }

    /// Runs a task whose error stops the process.
    pub fn spawn_fallible<E: Display>(
        &self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.start(name, false, async move { task.await.map_err(|error| error.to_string()) });
    }

    /// Runs a task that never ends by itself and holds nothing worth waiting for.
    pub fn spawn_background(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.start(name, true, async move {
            task.await;
            Ok(())
        });
    }

    /// Waits until every task has ended, at most `deadline`; then aborts what is left.
    ///
    /// # Errors
    /// When tasks had to be aborted, or when one of them failed.
    pub async fn join(&self, deadline: Duration) -> Result<(), JoinError> {
        self.inner.tracker.close();
        self.abort_running(|task| task.background);
        let in_time = tokio::time::timeout(deadline, self.inner.tracker.wait()).await.is_ok();
        if !in_time {
            let names = self.abort_running(|_| true);
            return Err(JoinError::Unfinished { names, deadline });
        }
        match self.lock().failures.first() {
            Some(failure) => Err(JoinError::Failed(failure.clone())),
            None => Ok(()),
        }
    }

    /// Returns the tasks that failed so far, first failure first.
    pub fn failures(&self) -> Vec<Failure> {
        self.lock().failures.clone()
    }

    /// Returns how many tasks run.
    pub fn len(&self) -> usize {
        self.lock().running.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that spawns; it tracks what it spawns"
    )]
    fn start(
        &self,
        name: &'static str,
        background: bool,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        let id = {
            let mut state = self.lock();
            state.next_id += 1;
            let id = state.next_id;
            let running = Running { name, abort: None, background };
            state.running.insert(id, running);
            id
        };
        let guard = Guard { tasks: self.clone(), id };
        let handle = self.inner.tracker.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            let reason = match ended {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(panic) => Some(format!("panicked: {}", panic_text(&*panic))),
            };
            if let Some(reason) = reason {
                guard.tasks.fail(Failure { task: name, reason });
            }
            drop(guard);
        });
        if let Some(running) = self.lock().running.get_mut(&id) {
            running.abort = Some(handle.abort_handle());
        }
    }

    fn fail(&self, failure: Failure) {
        error!(task = failure.task, reason = %failure.reason, "task failed, stopping");
        self.lock().failures.push(failure);
        self.inner.shutdown.trigger();
    }

    fn abort_running(&self, which: impl Fn(&Running) -> bool) -> Vec<&'static str> {
        let mut names = Vec::new();
        for task in self.lock().running.values() {
            if !which(task) {
                continue;
            }
            names.push(task.name);
            if let Some(abort) = &task.abort {
                abort.abort();
            }
        }
        names
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a task off the list however it ends, an abort included.
struct Guard {
    tasks: Tasks,
    id: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.tasks.lock().running.remove(&self.id);
    }
}

/// Returns what a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return text;
    }
    match panic.downcast_ref::<String>() {
        Some(text) => text,
        None => "no message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> (Shutdown, Tasks) {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(&shutdown);
        (shutdown, tasks)
    }

    #[tokio::test]
    async fn join_waits_for_every_task() {
        let (shutdown, tasks) = tasks();
        let token = shutdown.token();
        tasks.spawn("drain", async move { token.cancelled().await });
        tasks.spawn_background("forever", std::future::pending());
        assert_eq!(tasks.len(), 2);
        shutdown.trigger();
        assert_eq!(tasks.join(Duration::from_secs(10)).await, Ok(()));
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn a_panicking_task_stops_the_process_and_is_reported() {
        let (shutdown, tasks) = tasks();
        tasks.spawn("reader", async { panic!("ring broken") });
        shutdown.token().cancelled().await;
        let failure = Failure { task: "reader", reason: "panicked: ring broken".to_owned() };
        assert_eq!(tasks.join(Duration::from_secs(10)).await, Err(JoinError::Failed(failure)));
    }

    #[tokio::test]
    async fn a_failing_task_stops_the_process_and_is_reported() {
        let (shutdown, tasks) = tasks();
        tasks.spawn_fallible("ship", async { Err("no broker") });
        shutdown.token().cancelled().await;
        assert_eq!(
            tasks.failures().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["task `ship` ended: no broker"]
        );
    }

    #[tokio::test]
    async fn tasks_that_overstay_are_named_and_aborted() {
        let (_shutdown, tasks) = tasks();
        tasks.spawn("stuck", std::future::pending());
        let joined = tasks.join(Duration::from_millis(20)).await;
        assert_eq!(
            joined.map_err(|error| error.to_string()),
            Err("tasks still running after 20ms: stuck".to_owned())
        );
        assert_eq!(tasks.join(Duration::from_secs(10)).await, Ok(()));
    }

    #[test]
    fn a_child_stops_alone() {
        let shutdown = Shutdown::new();
        let child = shutdown.child();
        child.trigger();
        assert!(!shutdown.triggered());
        let sibling = shutdown.child();
        shutdown.trigger();
        assert!(sibling.triggered());
    }
}
