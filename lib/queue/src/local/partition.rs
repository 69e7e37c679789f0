//! One partition on disk: its files, what of them is durable, reading and retention.
//!
//! The writer thread adds to it, readers look at it; a short lock guards the list of files.
//! Always holds: files are sorted by base; only the last is written to; readers go no further
//! than what is durable.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::embedded::Found;
use crate::{Message, Offset, QueueError, TopicPartition, telemetry};

use super::disk::sync_folder;
use super::scan::{Step, Walker};

/// Most unreadable bytes copied aside for one place. More is named and counted all the same.
const SET_ASIDE_BYTES_MAX: u64 = 64 << 20;

/// Most messages handed out at once, however small: bounds the list, not the bytes.
const READ_MESSAGES_MAX: usize = 4_096;

/// A file of the partition.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    pub(super) base: Offset,
    pub(super) salt: u32,
    pub(super) path: PathBuf,
    /// Bytes up to which readers may go.
    pub(super) durable_bytes: u64,
    /// Time of its newest message, or of its creation.
    pub(super) newest_ms: i64,
}

#[derive(Debug)]
struct State {
    files: Vec<LogFile>,
    /// The offset after the last durable message.
    high: Offset,
}

/// A partition that is open.
#[derive(Debug)]
pub(super) struct PartitionLog {
    pub(super) at: TopicPartition,
    pub(super) folder: PathBuf,
    state: Mutex<State>,
}

/// Where a read stopped: the place of the frame with the next offset.
#[derive(Debug, Default)]
pub(crate) struct Cursor(Option<Place>);

#[derive(Debug)]
struct Place {
    file: Arc<File>,
    base: Offset,
    place: u64,
    next: Offset,
}

/// What retention may do to a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    pub(super) bytes_max: u64,
    /// Messages older than this may go.
    pub(super) oldest_ms: i64,
    /// Nothing from here on may go.
    pub(super) needed_from: Offset,
}

impl PartitionLog {
    pub(super) fn new(
        at: TopicPartition,
        folder: PathBuf,
        files: Vec<LogFile>,
        high: Offset,
    ) -> Self {
        let log = Self { at, folder, state: Mutex::new(State { files, high }) };
        log.show_size();
        log
    }

    /// Returns the oldest readable offset and the one the next message gets.
    pub(super) fn watermarks(&self) -> (Offset, Offset) {
        let state = self.lock();
        let low = state.files.first().map_or(state.high, |file| file.base);
        (low, state.high)
    }

    /// Returns the file that is written to.
    pub(super) fn newest(&self) -> Option<LogFile> {
        self.lock().files.last().cloned()
    }

    /// Adds an empty file, which is written to from now on.
    pub(super) fn add_file(&self, file: LogFile) {
        self.lock().files.push(file);
    }

    /// Puts an empty file in the place of the newest, which never got a message.
    pub(super) fn replace_newest(&self, file: LogFile) {
        let mut state = self.lock();
        state.files.pop();
        state.files.push(file);
    }

    /// Tells readers how far they may go in the newest file.
    pub(super) fn advance(&self, durable_bytes: u64, newest_ms: i64, high: Offset) {
        let mut state = self.lock();
        if let Some(file) = state.files.last_mut() {
            file.durable_bytes = durable_bytes;
            file.newest_ms = newest_ms;
        }
        state.high = high;
        drop(state);
        self.show_size();
    }

    fn show_size(&self) {
        let bytes: u64 = self.lock().files.iter().map(|f| f.durable_bytes).sum();
        metrics::gauge!(
            telemetry::LOCAL_FILE_BYTES,
            "topic" => self.at.topic.to_string(),
            "partition" => self.at.partition.to_string()
        )
        .set(bytes as f64);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what may go and returns the number of files.
    pub(super) fn remove_old(&self, retention: Retention) -> Result<usize, QueueError> {
        let gone = {
            let mut state = self.lock();
            let count = removable(&state.files, retention);
            state.files.drain(..count).collect::<Vec<_>>()
        };
        // Readers that hold a file open finish with it; others find the new low watermark.
        for file in &gone {
            match fs::remove_file(&file.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(QueueError::io("remove", &file.path, &error));
                }
                _ => {}
            }
        }
        if !gone.is_empty() {
            metrics::counter!(telemetry::LOCAL_REMOVED_FILES, "topic" => self.at.topic.to_string())
                .increment(gone.len() as u64);
            self.show_size();
        }
        Ok(gone.len())
    }

    /// Reads messages from `next` on, at least one and then up to `bytes_max` bytes. Blocks.
    pub(super) fn read(
        &self,
        next: Offset,
        cursor: Cursor,
        bytes_max: usize,
    ) -> Result<Found<Cursor>, QueueError> {
        let mut cursor = cursor;
        let mut damaged = None;
        loop {
            let (low, high) = self.watermarks();
            if next < low || high < next {
                return Ok(Found::OutOfRange { low, high });
            }
            if next == high {
                return Ok(Found::Nothing(cursor));
            }
            let Some((file, end)) = self.file_for(next) else {
                return Ok(Found::OutOfRange { low, high });
            };
            let place = match open_at(&file, next, cursor) {
                Ok(place) => place,
                // Retention was faster: look again.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && low < self.watermarks().0 =>
                {
                    cursor = Cursor::default();
                    continue;
                }
                Err(error) => return Err(QueueError::io("open", &file.path, &error)),
            };
            let read = self.read_file(&file, place, end, bytes_max, &mut damaged);
            return read.map_err(|error| QueueError::io("read", &file.path, &error));
        }
    }

    /// Returns the file in which `next` lies, and the offset at which its part of the log ends.
    fn file_for(&self, next: Offset) -> Option<(LogFile, Offset)> {
        let state = self.lock();
        let after = state.files.partition_point(|file| file.base <= next);
        let file = state.files.get(after.checked_sub(1)?)?.clone();
        let end = state.files.get(after).map_or(state.high, |file| file.base);
        Some((file, end))
    }

    fn read_file(
        &self,
        file: &LogFile,
        from: Place,
        end: Offset,
        bytes_max: usize,
        damaged: &mut Option<String>,
    ) -> io::Result<Found<Cursor>> {
        let next = from.next;
        let mut found: Vec<(Offset, Message)> = Vec::new();
        let mut bytes = 0;
        let mut walker = Walker::new(&from.file, file.salt, from.place, file.durable_bytes);
        // The offset that must come next, and where its frame must begin.
        let (mut expected, mut place) = (next, walker.place());
        let upto = loop {
            if bytes_max <= bytes || READ_MESSAGES_MAX <= found.len() {
                break expected;
            }
            let before = walker.place();
            match walker.step()? {
                Step::Frame(frame) if end <= frame.offset => break end,
                Step::Frame(frame) if frame.offset < expected => {}
                Step::Frame(frame) if expected < frame.offset => {
                    place = before;
                    break frame.offset;
                }
                Step::Frame(frame) => match frame.message() {
                    Some(message) => {
                        bytes += message.bytes();
                        found.push((expected, message));
                        expected = expected.next();
                        place = walker.place();
                    }
                    None if !found.is_empty() => break expected,
                    None => {
                        let range = before..walker.place();
                        *damaged = Some(self.set_aside(&from.file, file, range));
                    }
                },
                // Handed out first, so that the next read begins with the damage.
                Step::Damage(_) if !found.is_empty() => break expected,
                Step::Damage(range) => {
                    *damaged = Some(self.set_aside(&from.file, file, range));
                }
                Step::End => break end,
            }
        };
        if !found.is_empty() {
            let cursor = Cursor(Some(Place {
                file: Arc::clone(&from.file),
                base: from.base,
                place,
                next: expected,
            }));
            return Ok(Found::Messages(found, cursor));
        }
        let reason = damaged.take().unwrap_or_else(|| {
            let name = file.path.display();
            format!("they are missing from `{name}`")
        });
        tracing::error!(
            topic = %self.at.topic, partition = self.at.partition.0,
            first = next.0, last = upto.0 - 1, %reason, "messages of the local queue are lost"
        );
        Ok(Found::Lost { last: Offset(upto.0 - 1), reason })
    }

    /// Copies unreadable bytes next to their file, once, and returns what to say about it.
    fn set_aside(&self, file: &File, of: &LogFile, range: Range<u64>) -> String {
        let name = format!("{:020}.{}.corrupt", of.base.0, range.start);
        let path = self.folder.join(name);
        let length = range.end - range.start;
        let said = format!(
            "{length} bytes at {} of `{}` are unreadable, copied to `{}`",
            range.start,
            of.path.display(),
            path.display()
        );
        match copy_aside(file, &path, range) {
            Ok(true) => {
                metrics::counter!(
                    telemetry::LOCAL_SET_ASIDE_BYTES, "topic" => self.at.topic.to_string()
                )
                .increment(length);
                tracing::error!(topic = %self.at.topic, partition = self.at.partition.0, %said, "found damage in the local queue");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot copy damage aside");
            }
        }
        said
    }
}

/// Returns how many of the oldest files may go.
fn removable(files: &[LogFile], retention: Retention) -> usize {
    let mut bytes: u64 = files.iter().map(|file| file.durable_bytes).sum();
    let mut count = 0;
    for pair in files.windows(2) {
        let [file, following] = pair else { break };
        let done = following.base <= retention.needed_from;
        let over = retention.bytes_max < bytes.saturating_sub(file.durable_bytes);
        let old = file.newest_ms < retention.oldest_ms;
        if !done || !(over || old) {
            break;
        }
        bytes -= file.durable_bytes;
        count += 1;
    }
    count
}

/// Returns where to begin in `file` for `next`: at the cursor when it is there, else at its start.
fn open_at(file: &LogFile, next: Offset, cursor: Cursor) -> io::Result<Place> {
    if let Cursor(Some(place)) = cursor
        && place.base == file.base
        && place.next == next
    {
        return Ok(place);
    }
    Ok(Place { file: Arc::new(File::open(&file.path)?), base: file.base, place: 0, next })
}

/// Copies `range` of `file` to a new file at `path`; false when that exists already.
fn copy_aside(file: &File, path: &Path, range: Range<u64>) -> io::Result<bool> {
    let mut copy = match File::create_new(path) {
        Ok(copy) => copy,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    };
    let end = range.end.min(range.start.saturating_add(SET_ASIDE_BYTES_MAX));
    let mut bytes = vec![0; 64 << 10];
    let mut place = range.start;
    while place < end {
        let count = usize::try_from(end - place).unwrap_or(bytes.len()).min(bytes.len());
        file.read_exact_at(&mut bytes[..count], place)?;
        copy.write_all(&bytes[..count])?;
        place += count as u64;
    }
    copy.sync_all()?;
    if let Some(folder) = path.parent() {
        sync_folder(folder)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(base: i64, newest_ms: i64) -> LogFile {
        LogFile { base: Offset(base), salt: 0, path: PathBuf::new(), durable_bytes: 100, newest_ms }
    }

    #[test]
    fn retention_keeps_the_newest_file_and_what_is_needed() {
        let files = [file(0, 10), file(10, 20), file(20, 30), file(30, 40)];
        let check = |bytes_max, oldest_ms, needed_from, count| {
            let retention = Retention { bytes_max, oldest_ms, needed_from: Offset(needed_from) };
            assert_eq!(removable(&files, retention), count, "{retention:?}");
        };
        check(1_000, 0, 100, 0);
        check(0, 0, 100, 3);
        check(200, 0, 100, 1);
        check(199, 0, 100, 2);
        check(0, 0, 10, 1);
        check(0, 0, 9, 0);
        check(0, 0, 0, 0);
        check(1_000, 25, 100, 2);
        check(1_000, 25, 15, 1);
    }
}
