//! What has to be done from time to time: full scans, timeouts, closing what is idle or too dear.

use std::time::Duration;

use metrics::{counter, gauge};
use tracing::{info, warn};

use super::fingerprint::Stat;
use super::read::LogId;
use super::tailer::{Closed, Tailer};
use super::watch::Watch;
use crate::parse::Stream;
use crate::parse::partial::FileSerial;
use crate::telemetry;

/// How long the entry of a file that is gone is kept: folders may be unmounted for a while.
const GONE_KEPT_MS: i64 = 3_600_000;

impl Tailer {
    /// Looks at every folder: the safety net below the watch (C-104).
    pub fn scan(&mut self) {
        (self.over_limit, self.duplicates) = (0, 0);
        self.closed.values_mut().for_each(|closed| closed.seen = false);
        self.copies_before = std::mem::take(&mut self.copies);
        let watch = &mut self.watch;
        let mut failed = 0;
        let found = self.roots.scan(&mut |folder| failed += u64::from(Watch::add(watch, folder)));
        counter!(telemetry::WATCH_ERRORS).increment(failed);
        self.reconcile_all(&found);
        self.copies_before.clear();
        let files = &self.files;
        self.by_path.retain(|_, serial| files.contains_key(serial));
        let aliases = &self.aliases;
        self.watch
            .retain(|folder| found.folders.contains_key(folder) || aliases.contains_key(folder));
        // A log without any name left may have to be given its last turn.
        let all: Vec<LogId> = self.logs.keys().copied().collect();
        all.into_iter().for_each(|id| self.make_ready(id));
        self.forget_gone();
        self.limit_unlinked();
        for (reason, count) in [
            ("name", found.misnamed),
            ("compressed", found.compressed),
            ("limit", self.over_limit),
            ("duplicate", self.duplicates),
        ] {
            gauge!(telemetry::FILES_SKIPPED, "reason" => reason).set(count as f64);
        }
        for (state, count) in [
            ("open", self.files.len() - self.closing.len()),
            ("closing", self.closing.len()),
            ("closed", self.closed.len()),
        ] {
            gauge!(telemetry::FILES, "state" => state).set(count as f64);
        }
        gauge!(telemetry::UNREAD_BYTES).set(self.unread_bytes() as f64);
        self.scans += 1;
    }

    /// Sends what has waited too long for its last piece, and closes idle files. Once a second.
    pub fn tick(&mut self) {
        let now = self.clock.elapsed();
        let timeout = Duration::from_millis(self.section.partial_timeout_ms);
        if let Some(deadline) = now.checked_sub(timeout) {
            self.give_up_overdue(deadline, now);
        }
        let idle = Duration::from_secs(self.section.close_idle_secs);
        let still = |tailer: &Self, serial: &FileSerial| {
            tailer.files.get(serial).is_some_and(|file| file.grown + idle <= now)
        };
        for serial in self.idle_files() {
            if still(self, &serial) {
                self.close_idle(serial);
            }
        }
    }

    fn give_up_overdue(&mut self, deadline: Duration, now: Duration) {
        let overdue: Vec<(FileSerial, Stream)> = self
            .files
            .iter()
            .flat_map(|(serial, file)| {
                let streams = Stream::ALL.into_iter();
                let late = streams.filter(|stream| file.joiner.is_overdue(*stream, deadline));
                late.map(|stream| (*serial, stream)).collect::<Vec<_>>()
            })
            .collect();
        for (serial, stream) in overdue {
            self.give_up(serial, stream, now);
        }
    }

    /// Returns the live files with nothing to read and nothing on its way.
    fn idle_files(&self) -> Vec<FileSerial> {
        let fronts = self.logs.values().filter(|log| log.files.len() == 1 && !log.ready);
        let fronts = fronts.filter_map(|log| log.files.front().copied());
        let idle = |serial: &FileSerial| {
            self.files.get(serial).is_some_and(|file| {
                file.settled()
                    && file.size <= file.read
                    && file.unlinked.is_none()
                    && !file.must_save
            })
        };
        fronts.filter(idle).collect()
    }

    /// Closes one idle file to make room for another; returns whether there was one.
    pub(super) fn close_one_idle(&mut self) -> bool {
        let grown = |serial: &FileSerial| self.files.get(serial).map(|file| file.grown);
        match self.idle_files().into_iter().min_by_key(grown) {
            Some(serial) => self.close_idle(serial),
            None => false,
        }
    }

    fn close_idle(&mut self, serial: FileSerial) -> bool {
        let Some(file) = self.files.get_mut(&serial) else { return false };
        let Ok(metadata) = file.file.metadata() else { return false };
        let stat = Stat::of(&metadata);
        // Its last bytes may have come since the last look.
        if stat.links == 0 || stat.size != file.read {
            return false;
        }
        let id = file.log;
        let Some(log) = self.logs.get(&id) else { return false };
        let Some(entry) = file.entry(&log.path) else { return false };
        self.forget(serial);
        self.closed.insert(stat.key, Closed { entry, modified: Some(stat.modified), seen: true });
        self.drop_empty_log(id);
        true
    }

    /// Forgets entries of files that have been gone for long.
    fn forget_gone(&mut self) {
        let now_ms = self.clock.unix_millis();
        let first_scan = self.scans == 0;
        let mut changed = false;
        let mut lost = 0;
        self.closed.retain(|_, closed| {
            let entry = &mut closed.entry;
            if closed.seen {
                return true;
            }
            if first_scan && entry.gone_ms.is_none() && entry.offset < entry.size {
                let bytes = entry.size - entry.offset;
                warn!(path = %entry.path.display(), bytes, "log file vanished before it was read");
                lost += bytes;
            }
            changed |= entry.gone_ms.is_none();
            let gone = *entry.gone_ms.get_or_insert(now_ms);
            let keep = now_ms.saturating_sub(gone) < GONE_KEPT_MS;
            changed |= !keep;
            keep
        });
        self.changed |= changed;
        self.counts.lost_deleted += lost;
    }

    /// Gives up deleted files that pin too much disk space for too long, oldest first (C-405).
    fn limit_unlinked(&mut self) {
        let now = self.clock.elapsed();
        let age_max = Duration::from_secs(self.section.deleted_open_age_max_secs);
        let mut deleted = Vec::new();
        let mut pinned: u64 = 0;
        for file in self.files.values_mut() {
            let Ok(metadata) = file.file.metadata() else { continue };
            let stat = Stat::of(&metadata);
            file.size = file.size.max(stat.size);
            if stat.links != 0 {
                file.unlinked = None;
                continue;
            }
            let since = *file.unlinked.get_or_insert(now);
            if !self.closing.contains(&file.serial) {
                deleted.push((since, file.serial, file.log));
                pinned += file.size.saturating_sub(file.read);
            }
        }
        deleted.sort_unstable();
        for (since, serial, log) in deleted {
            let Some(file) = self.files.get_mut(&serial) else { continue };
            let unread = file.size.saturating_sub(file.read);
            let too_old = age_max < now.saturating_sub(since);
            if unread == 0 || !too_old && pinned <= self.section.deleted_open_bytes_max {
                continue;
            }
            warn!(path = %file.path.display(), lost_bytes = unread, "deleted log file given up");
            pinned -= unread;
            file.abandoned = true;
            self.counts.lost_deleted += unread;
            self.leave_abandoned(log, serial, now);
        }
    }

    /// Leaves a file whose content is gone or given up, with what was read of it.
    pub(super) fn leave_abandoned(&mut self, id: LogId, serial: FileSerial, now: Duration) {
        if !self.leave(id, serial, now) {
            // Without an identity there are no rows of it either.
            info!(serial, "log file had no whole line");
            self.forget(serial);
        }
    }
}
