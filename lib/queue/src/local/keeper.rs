//! The thread that saves reports and applies retention.
//!
//! Reports come in with every publish; saving each with a sync of its own would cost more than it
//! is worth, so they are saved at most once a second, and once more at the end.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use runtime::clock::SharedClock;

use crate::{LocalSection, QueueError};

use super::groups::Reports;
use super::partition::{PartitionLog, Retention};

/// Time between two saves when reports are few.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// A rest ends after so many reports at the latest.
const REST_SLICES: u32 = 10;

/// Time after which retention looks even when nobody reported anything: messages age by themselves.
const LOOK_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Keeper {
    /// Room for one: a second wake-up adds nothing to one that waits.
    bell: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    logs: Arc<Mutex<Vec<Arc<PartitionLog>>>>,
}

#[derive(Debug)]
struct Work {
    reports: Arc<Reports>,
    clock: SharedClock,
    bytes_max: u64,
    age_ms: i64,
    logs: Arc<Mutex<Vec<Arc<PartitionLog>>>>,
}

impl Keeper {
    pub(super) fn start(
        reports: Arc<Reports>,
        section: &LocalSection,
        clock: SharedClock,
    ) -> Result<Self, QueueError> {
        let logs = Arc::new(Mutex::default());
        let work = Work {
            reports,
            clock,
            bytes_max: section.retention_bytes_max,
            age_ms: i64::try_from(section.retention_age_secs.saturating_mul(1_000))
                .unwrap_or(i64::MAX),
            logs: Arc::clone(&logs),
        };
        let (bell, rings) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("queue-keeper".to_owned())
            .spawn(move || work.run(&rings))
            .map_err(|error| QueueError::io("start the keeper of", &section.path, &error))?;
        Ok(Self { bell: Some(bell), thread: Some(thread), logs })
    }

    pub(super) fn watch(&self, log: Arc<PartitionLog>) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.push(log);
    }

    /// Asks for a save and a look soon.
    pub(super) fn wake(&self) {
        if let Some(bell) = &self.bell {
            // Full means that it is rung already.
            bell.try_send(()).ok();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.bell = None;
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Work {
    fn run(&self, rings: &Receiver<()>) {
        loop {
            let rung = rings.recv_timeout(LOOK_EVERY);
            self.look();
            if rung == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            if rung.is_ok() {
                self.rest(rings);
            }
        }
    }

    /// Lets reports gather for a while, unless the queue closes.
    fn rest(&self, rings: &Receiver<()>) {
        let mut gathered = false;
        for _ in 0..REST_SLICES {
            match rings.recv_timeout(SAVE_EVERY / REST_SLICES) {
                Ok(()) => gathered = true,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        if gathered {
            self.look();
        }
    }

    fn look(&self) {
        if let Err(error) = self.reports.save() {
            tracing::warn!(%error, "cannot save what consumer groups reported");
        }
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for log in logs {
            let retention = Retention {
                bytes_max: self.bytes_max,
                oldest_ms: self.clock.unix_millis().saturating_sub(self.age_ms),
                needed_from: self.reports.needed_from(&log.at),
            };
            if let Err(error) = log.remove_old(retention) {
                tracing::warn!(%error, "cannot remove an old file of the local queue");
            }
        }
    }
}
