//! CPU time used, which unlike wall time means something on a busy machine.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// CPU time of the calling thread so far.
pub fn of_this_thread() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

fn duration(time: Timespec) -> Duration {
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// CPU time of every thread of another process, to the nanosecond.
#[derive(Clone, Debug, Default)]
pub struct ThreadTimes(BTreeMap<u32, u64>);

impl ThreadTimes {
    /// Reads `/proc/<pid>/task/*/schedstat`.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let folder = format!("/proc/{pid}/task");
        let mut times = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).with_context(|| format!("read {folder}"))? {
            let path = entry?.path();
            let thread = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            // A thread may end while we look.
            let Ok(text) = std::fs::read_to_string(path.join("schedstat")) else { continue };
            let ran = text.split_whitespace().next().and_then(|word| word.parse().ok());
            if let (Some(thread), Some(ran)) = (thread, ran) {
                times.insert(thread, ran);
            }
        }
        Ok(Self(times))
    }

    /// CPU time from `before` to this. A thread that ended in between is not counted.
    pub fn since(&self, before: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, ran)| {
            ran.saturating_sub(before.0.get(thread).copied().unwrap_or_default())
        });
        Duration::from_nanos(used.sum())
    }
}

/// Adds up CPU time of parts of one thread's work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stopwatch {
    /// So far.
    pub total: Duration,
}

impl Stopwatch {
    /// Does `work` and adds its CPU time.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = of_this_thread();
        let result = work();
        self.total += of_this_thread().saturating_sub(before);
        result
    }

    /// Megabytes for each CPU second, when this time was spent on `bytes`.
    pub fn megabytes_per_second(&self, bytes: u64) -> f64 {
        bytes as f64 / 1e6 / self.total.as_secs_f64().max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn work_is_counted_in_this_thread_and_from_outside() {
        let before = ThreadTimes::of(std::process::id()).unwrap();
        let mut watch = Stopwatch::default();
        let mut mixed = 1_u64;
        while watch.total < Duration::from_millis(20) {
            watch.time(|| (0..100_000).for_each(|n| mixed = mixed.wrapping_mul(31) ^ n));
        }
        assert_ne!(mixed, 0);
        let seen = ThreadTimes::of(std::process::id()).unwrap().since(&before);
        assert!(Duration::from_millis(10) < seen, "{seen:?}");
    }
}
