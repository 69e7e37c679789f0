//! A bounded pool of threads for work that would block the reactor.
//!
//! Parsing large batches, building segments, searching and inflating take milliseconds; on a
//! reactor thread they would stall every connection. They run here instead.
//!
//! Always holds:
//! - at most `threads` jobs run and at most `queue_max` wait; further callers are turned away;
//! - a job that panics fails its caller only, the thread lives on;
//! - a job whose caller is gone before it starts is not run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use tokio::sync::oneshot;

use crate::clock::{Clock, SystemClock};
use crate::shutdown::panic_text;

/// Why a job has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuError {
    /// `queue_max` jobs wait already: try later or refuse the request.
    #[error("cpu pool `{pool}` is full: {queue_max} jobs wait")]
    Full { pool: &'static str, queue_max: usize },
    /// The job panicked; a bug.
    #[error("job in cpu pool `{pool}` panicked: {message}")]
    Panicked { pool: &'static str, message: String },
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads that run jobs in order of arrival. Dropping the pool lets running jobs finish.
#[derive(Debug)]
pub struct CpuPool {
    name: &'static str,
    jobs: mpsc::SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
    queue_max: usize,
    clock: Arc<SystemClock>,
}

impl CpuPool {
    /// Returns a pool named `cpu`; see [`CpuPool::named`].
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new(threads: usize, queue_max: usize) -> std::io::Result<Self> {
        Self::named("cpu", threads, queue_max)
    }

    /// Returns a pool of `threads` (at least one) in which at most `queue_max` jobs wait.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn named(name: &'static str, threads: usize, queue_max: usize) -> std::io::Result<Self> {
        // `waiting` turns callers away before the channel is full, so sending never blocks.
        let (jobs, queue) = mpsc::sync_channel::<Job>(queue_max.saturating_add(threads.max(1)));
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || work(&queue))?;
        }
        Ok(Self {
            name,
            jobs,
            waiting: Arc::new(AtomicUsize::new(0)),
            queue_max,
            clock: Arc::new(SystemClock::new()),
        })
    }

    /// Runs `job` on a thread of the pool and returns its result.
    ///
    /// Dropping the future before the job starts cancels it; a job that runs is never interrupted.
    ///
    /// # Errors
    /// [`CpuError::Full`] when too many jobs wait, [`CpuError::Panicked`] when the job panicked.
    pub async fn run<T, F>(&self, job: F) -> Result<T, CpuError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let slot = self.slot()?;
        let (sender, receiver) = oneshot::channel();
        let clock = Arc::clone(&self.clock);
        let queued_at = clock.elapsed();
        let name = self.name;
        let boxed: Job = Box::new(move || {
            drop(slot);
            if sender.is_closed() {
                return;
            }
            let waited = clock.elapsed().saturating_sub(queued_at);
            metrics::histogram!("millrace_cpu_queue_seconds", "pool" => name)
                .record(waited.as_secs_f64());
            let result = catch_unwind(AssertUnwindSafe(job));
            // The caller may have gone meanwhile; then the result has no taker.
            drop(sender.send(result));
        });
        if self.jobs.send(boxed).is_err() {
            return Err(self.panicked("every thread of the pool is gone"));
        }
        match receiver.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(panic)) => Err(self.panicked(panic_text(&*panic))),
            Err(_) => Err(self.panicked("the job was dropped")),
        }
    }

    /// Returns how many jobs wait for a thread.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn slot(&self) -> Result<Slot, CpuError> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let slot = Slot { waiting: Arc::clone(&self.waiting) };
        if self.queue_max < before + 1 {
            return Err(CpuError::Full { pool: self.name, queue_max: self.queue_max });
        }
        Ok(slot)
    }

    fn panicked(&self, message: &str) -> CpuError {
        CpuError::Panicked { pool: self.name, message: message.to_owned() }
    }
}

/// A place in the queue, given back when the job starts or is turned away.
struct Slot {
    waiting: Arc<AtomicUsize>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else {
            return;
        };
        job();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[tokio::test]
    async fn jobs_return_their_results() {
        let pool = CpuPool::new(2, 64).expect("threads start");
        let jobs = (0..50_u64).map(|number| pool.run(move || number * number));
        let squares = futures::future::join_all(jobs).await;
        assert_eq!(squares.into_iter().flatten().sum::<u64>(), 40_425);
        assert_eq!(pool.waiting(), 0);
    }

    #[tokio::test]
    async fn a_full_pool_turns_callers_away() {
        let pool = CpuPool::new(1, 1).expect("threads start");
        let (started, when_started) = sync_channel(0);
        let (release, released) = sync_channel::<()>(0);
        let mut busy = Box::pin(pool.run(move || {
            started.send(()).expect("the test waits");
            released.recv().expect("the test releases");
        }));
        assert!(futures::poll!(&mut busy).is_pending());
        when_started.recv().expect("the job starts");
        let mut waiting = Box::pin(pool.run(|| ()));
        assert!(futures::poll!(&mut waiting).is_pending());
        let refused = pool.run(|| ()).await;
        assert_eq!(refused, Err(CpuError::Full { pool: "cpu", queue_max: 1 }));
        release.send(()).expect("the job waits");
        assert_eq!(busy.await, Ok(()));
        assert_eq!(waiting.await, Ok(()));
    }

    #[tokio::test]
    async fn a_panic_fails_its_caller_only() {
        let pool = CpuPool::new(1, 8).expect("threads start");
        let failed = pool.run(|| -> u8 { panic!("odd row") }).await;
        assert_eq!(
            failed.map_err(|error| error.to_string()),
            Err("job in cpu pool `cpu` panicked: odd row".to_owned())
        );
        assert_eq!(pool.run(|| 3).await, Ok(3));
    }

    #[tokio::test]
    async fn a_job_nobody_waits_for_is_not_run() {
        let pool = CpuPool::new(1, 8).expect("threads start");
        let (release, released) = sync_channel::<()>(0);
        let mut busy = Box::pin(pool.run(move || released.recv().is_ok()));
        assert!(futures::poll!(&mut busy).is_pending());
        let (ran, when_ran) = sync_channel(1);
        let mut abandoned = Box::pin(pool.run(move || ran.send(()).is_ok()));
        assert!(futures::poll!(&mut abandoned).is_pending());
        drop(abandoned);
        release.send(()).expect("the job waits");
        assert_eq!(busy.await, Ok(true));
        assert_eq!(pool.run(|| ()).await, Ok(()));
        assert!(when_ran.try_recv().is_err());
    }
}
