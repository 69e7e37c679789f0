//! One log's turn: read its front file, and go on to the next when it is drained.

use std::time::Duration;

use tracing::{info, warn};

use super::counts::Rotation;
use super::emit::{Continued, Emitter, Origins};
use super::fingerprint::Stat;
use super::read::{Chunk, LogId, TailedFile};
use super::tailer::{Closed, Tailer};
use crate::parse::Stream;
use crate::parse::partial::FileSerial;

/// Pause before a file that could not be read is tried again.
const READ_RETRY: Duration = Duration::from_secs(1);

/// What a turn brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    pub(super) bytes: usize,
    /// Whether the log has more to read right away.
    pub(super) more: bool,
}

/// Whether a file that was read to its end may be left for its successor.
enum AtEnd {
    Leave,
    Wait(Duration),
    Stay,
}

impl Tailer {
    /// Reads up to about `quantum` bytes of a log.
    pub(super) fn turn(
        &mut self,
        id: LogId,
        buffer: &mut [u8],
        quantum: usize,
        now: Duration,
    ) -> Turn {
        let mut turn = Turn::default();
        while turn.bytes < quantum {
            let front = self.logs.get(&id).and_then(|log| log.files.front().copied());
            let Some(serial) = front else { return turn };
            let Some(file) = self.files.get_mut(&serial) else { return turn };
            if file.must_save {
                return turn;
            }
            match file.read_chunk(buffer, &self.node) {
                Ok(Chunk::Bytes { from, to }) => {
                    file.grown = now;
                    turn.bytes += to - from;
                    self.take_bytes(serial, buffer.get(from..to).unwrap_or_default(), now);
                }
                Ok(Chunk::Rewritten) => self.rewritten(serial, now),
                Ok(Chunk::End) => match self.at_end(id, serial, now) {
                    AtEnd::Leave if self.leave(id, serial, now) => {}
                    AtEnd::Leave => {
                        self.recheck(id, now + READ_RETRY);
                        return turn;
                    }
                    AtEnd::Wait(until) => {
                        self.recheck(id, until);
                        return turn;
                    }
                    AtEnd::Stay => return turn,
                },
                Err(error) => {
                    warn!(path = %file.path.display(), %error, "read log file, trying again later");
                    self.counts.read_errors += 1;
                    self.recheck(id, now + READ_RETRY);
                    return turn;
                }
            }
        }
        turn.more = true;
        turn
    }

    fn recheck(&mut self, id: LogId, at: Duration) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.recheck = Some(at);
        }
    }

    /// Cuts bytes of a file into lines and sends them on their way.
    fn take_bytes(&mut self, serial: FileSerial, bytes: &[u8], now: Duration) {
        self.emit(serial, now, |emitter, file| {
            emitter.counts.read(emitter.streams.input, bytes.len());
            let mut at = 0;
            while let Some(line) = file.cutter.next(bytes, &mut at) {
                let sources =
                    file.sources.expect("reading identifies a file before its first line ends");
                let (resumed, joiner, ledger) = (file.resumed, &mut file.joiner, &mut file.ledger);
                emitter.line(line, &mut Origins { serial, sources, resumed, joiner, ledger });
            }
            emitter.counts.skipped_bytes += file.cutter.take_skipped();
        });
    }

    /// Lets `make` make rows of a file, and notes in earlier files which of their records ended.
    fn emit(
        &mut self,
        serial: FileSerial,
        now: Duration,
        make: impl FnOnce(&mut Emitter<'_>, &mut TailedFile),
    ) {
        let mut continued = Vec::new();
        let Some(file) = self.files.get_mut(&serial) else { return };
        let Some(log) = self.logs.get_mut(&file.log) else { return };
        let mut emitter = Emitter {
            streams: &log.streams,
            origin: &log.origin,
            times: &mut log.times,
            last_time: &mut log.last_time,
            sink: &mut self.sink,
            counts: &mut self.counts,
            continued: &mut continued,
            record_bytes_max: self.section.record_bytes_max,
            now,
            wall: self.clock.unix_nanos(),
        };
        make(&mut emitter, file);
        self.changed = true;
        self.note_continued(&continued);
    }

    fn note_continued(&mut self, continued: &[Continued]) {
        for Continued { file, stream, batch } in continued {
            if let Some(file) = self.files.get_mut(file) {
                file.ledger.continued_into(*stream, *batch);
            }
        }
    }

    /// Decides what to do with a front file that has been read to its end (C-401, C-405).
    fn at_end(&mut self, id: LogId, serial: FileSerial, now: Duration) -> AtEnd {
        let Some(log) = self.logs.get(&id) else { return AtEnd::Stay };
        let later = log.files.iter().filter(|later| **later != serial);
        let later = later.filter_map(|later| self.files.get(later));
        let (mut has_later, mut later_has_bytes) = (false, false);
        for file in later {
            has_later = true;
            later_has_bytes |=
                0 < file.size || file.file.metadata().is_ok_and(|metadata| 0 < metadata.len());
        }
        let Some(file) = self.files.get_mut(&serial) else { return AtEnd::Stay };
        let Ok(metadata) = file.file.metadata() else { return AtEnd::Stay };
        let stat = Stat::of(&metadata);
        let unlinked = stat.links == 0;
        if unlinked && file.unlinked.is_none() {
            file.unlinked = Some(now);
        }
        let done = if has_later { later_has_bytes } else { unlinked };
        if !done {
            return AtEnd::Stay;
        }
        let quiet = file.grown + Duration::from_millis(self.section.rotate_quiet_ms);
        if now < quiet { AtEnd::Wait(quiet) } else { AtEnd::Leave }
    }

    /// Leaves a drained file: its unfinished line is a line now, its open records go on in the
    /// next file or are given up. Returns whether that worked.
    pub(super) fn leave(&mut self, id: LogId, serial: FileSerial, now: Duration) -> bool {
        if !self.take_last_line(serial, now) {
            return false;
        }
        let Some(log) = self.logs.get_mut(&id) else { return false };
        log.files.retain(|known| *known != serial);
        let next = log.files.front().copied();
        match self.files.get(&serial) {
            Some(file) if file.abandoned => {}
            Some(file) if file.unlinked.is_some() => self.counts.rotation(Rotation::Delete),
            _ => self.counts.rotation(Rotation::Rename),
        }
        match next {
            Some(next) => self.hand_over(serial, next, now),
            None => self.give_up_all(serial, now),
        }
        self.closing.insert(serial);
        self.changed = true;
        self.try_close(serial);
        true
    }

    /// Sends the unfinished last line of a drained file; `false` when the file, whose first line
    /// it may be, could not be read.
    fn take_last_line(&mut self, serial: FileSerial, now: Duration) -> bool {
        let Some(file) = self.files.get_mut(&serial) else { return false };
        if let Err(error) = file.identify(&self.node, true) {
            warn!(path = %file.path.display(), %error, "read first line of log file");
            self.counts.read_errors += 1;
            return false;
        }
        self.emit(serial, now, |emitter, file| {
            if let (Some(line), Some(sources)) = (file.cutter.finish(), file.sources) {
                let (resumed, joiner, ledger) = (file.resumed, &mut file.joiner, &mut file.ledger);
                emitter.line(line, &mut Origins { serial, sources, resumed, joiner, ledger });
            }
        });
        true
    }

    /// Moves the open records of a drained file to its successor (C-206). Where that has been
    /// read before, their ends are not to come there any more.
    fn hand_over(&mut self, from: FileSerial, to: FileSerial, now: Duration) {
        for stream in Stream::ALL {
            if !self.files.get(&to).is_some_and(|next| next.is_untouched(stream)) {
                self.give_up(from, stream, now);
            }
        }
        let [Some(from), Some(to)] = self.files.get_disjoint_mut([&from, &to]) else { return };
        to.joiner.take_over(&mut from.joiner, from.serial, |stream, start| {
            to.ledger.waits_for(&from.ledger, stream);
            from.ledger.continues(stream, start);
            from.successor = Some(to.serial);
        });
    }

    fn give_up_all(&mut self, serial: FileSerial, now: Duration) {
        for stream in Stream::ALL {
            self.give_up(serial, stream, now);
        }
    }

    /// Sends a file's open record of one stream as far as it came.
    pub(super) fn give_up(&mut self, serial: FileSerial, stream: Stream, now: Duration) {
        self.emit(serial, now, |emitter, file| {
            if let Some(record) = file.joiner.give_up(stream) {
                emitter.given_up(&record, &mut file.ledger, serial);
            }
        });
    }

    /// Closes a drained file once everything of it is acknowledged.
    pub(super) fn try_close(&mut self, serial: FileSerial) {
        let Some(file) = self.files.get_mut(&serial) else { return };
        if !file.abandoned && !file.settled() || file.abandoned && !file.ledger.is_empty() {
            return;
        }
        let stat = file.file.metadata().map(|metadata| Stat::of(&metadata));
        let log = file.log;
        if let Ok(stat) = &stat
            && !file.abandoned
            && file.read < stat.size
        {
            // Somebody wrote to it after all: read on, before what came later.
            self.closing.remove(&serial);
            if let Some(log) = self.logs.get_mut(&log) {
                log.files.push_front(serial);
            }
            self.make_ready(log);
            return;
        }
        let entry = self.logs.get(&log).and_then(|log| file.entry(&log.path));
        let modified = stat.as_ref().ok().map(|stat| stat.modified);
        let unlinked = stat.is_ok_and(|stat| stat.links == 0);
        self.forget(serial);
        if let Some(entry) = entry.filter(|_| !unlinked) {
            self.closed.insert(entry.key, Closed { entry, modified, seen: true });
        }
        self.drop_empty_log(log);
    }

    /// Drops an open file from every index.
    pub(super) fn forget(&mut self, serial: FileSerial) {
        let Some(file) = self.files.remove(&serial) else { return };
        self.closing.remove(&serial);
        if self.by_key.get(&file.key) == Some(&serial) {
            self.by_key.remove(&file.key);
        }
        if self.by_path.get(&file.path) == Some(&serial) {
            self.by_path.remove(&file.path);
        }
        if let Some(log) = self.logs.get_mut(&file.log) {
            log.files.retain(|known| *known != serial);
        }
        self.changed = true;
    }

    pub(super) fn drop_empty_log(&mut self, id: LogId) {
        let Some(log) = self.logs.get(&id) else { return };
        let used = !log.files.is_empty() || self.files.values().any(|file| file.log == id);
        if used {
            return;
        }
        if let Some(log) = self.logs.remove(&id) {
            info!(path = %log.path.display(), "log is read and closed");
            self.log_by_path.remove(&log.path);
        }
    }
}
