//! The thread that writes one partition.
//!
//! It takes everything that waits, writes it, syncs once, and then acknowledges all of it: under
//! load a sync costs each message little, and alone a message waits for nobody.
//!
//! Always holds: an acknowledged message is synced; when writing fails nothing is acknowledged,
//! and the same messages are written again, in the same order, until it works.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime::backoff::Backoff;
use runtime::clock::SharedClock;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::embedded::Hub;
use crate::{LocalSection, Message, Offset, QueueError, telemetry};

use super::disk::{Disk, means_full};
use super::frame::{Encoder, HEADER_BYTES, Header};
use super::partition::{LogFile, PartitionLog};
use super::recovery::create_file;

/// Bytes written under one sync: bounds the wait of the first in line and the writer's buffer.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Messages under one sync.
const GROUP_MESSAGES_MAX: usize = 4_096;

/// Pauses between attempts on a full or broken disk.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_LAST: Duration = Duration::from_millis(500);

/// A checked message on its way to disk.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) message: Message,
    pub(super) ack: oneshot::Sender<Result<Offset, QueueError>>,
    /// Its share of the buffer, free again when it is acknowledged.
    pub(super) room: OwnedSemaphorePermit,
}

/// What writers of one queue share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) section: LocalSection,
    pub(super) clock: SharedClock,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) hub: Arc<Hub>,
    /// Set while a writer waits for room on the disk.
    pub(super) full: AtomicBool,
    /// Set when the queue goes away: writers that cannot write give up.
    pub(super) closing: AtomicBool,
}

#[derive(Debug)]
struct Active {
    file: File,
    salt: u32,
    end: u64,
}

/// The writer of one partition.
#[derive(Debug)]
pub(super) struct Writer {
    log: Arc<PartitionLog>,
    shared: Arc<Shared>,
    encoder: Encoder,
    /// The newest file, while it can be trusted.
    active: Option<Active>,
    next: Offset,
    frames: Vec<u8>,
}

impl Writer {
    pub(super) fn new(log: Arc<PartitionLog>, shared: Arc<Shared>) -> io::Result<Self> {
        let section = &shared.section;
        let encoder = Encoder::new(section.compression, section.compression_level)?;
        let (_, next) = log.watermarks();
        let active = match log.newest() {
            Some(newest) => Some(Active {
                file: File::options().read(true).write(true).open(&newest.path)?,
                salt: newest.salt,
                end: newest.durable_bytes,
            }),
            None => None,
        };
        Ok(Self { log, encoder, active, next, frames: Vec::new(), shared })
    }

    /// Writes until all senders are gone.
    pub(super) fn run(mut self, mut appends: mpsc::Receiver<Append>) {
        while let Some(first) = appends.blocking_recv() {
            let mut bytes = first.message.bytes();
            let mut group = vec![first];
            while bytes < GROUP_BYTES_MAX
                && group.len() < GROUP_MESSAGES_MAX
                && let Ok(append) = appends.try_recv()
            {
                bytes += append.message.bytes();
                group.push(append);
            }
            if !self.write_until_done(&group) {
                // Dropping the group tells its senders that the queue is closed.
                return;
            }
            self.acknowledge(group, bytes);
        }
    }

    /// Returns false when the queue closes before it worked.
    fn write_until_done(&mut self, group: &[Append]) -> bool {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        loop {
            let Err(error) = self.write(group) else {
                if 0 < backoff.attempts() {
                    self.shared.full.store(false, Ordering::Release);
                    tracing::info!(topic = %self.log.at.topic, partition = self.log.at.partition.0, "local queue writes again");
                }
                return true;
            };
            let full = means_full(&error);
            if backoff.attempts() == 0 {
                tracing::warn!(topic = %self.log.at.topic, partition = self.log.at.partition.0, %error, full, "cannot write the local queue; will try again");
            }
            let reason = if full { "full" } else { "error" };
            metrics::counter!(telemetry::LOCAL_WRITE_WAITS, "reason" => reason).increment(1);
            self.shared.full.store(full, Ordering::Release);
            if self.shared.closing.load(Ordering::Acquire) {
                return false;
            }
            std::thread::sleep(backoff.delay());
        }
    }

    /// Writes and syncs `group` at the end of the newest file, or changes nothing that counts.
    fn write(&mut self, group: &[Append]) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let bytes: usize = group.iter().map(|append| append.message.bytes()).sum();
        let free = shared.disk.free_bytes(&self.log.folder)?;
        if free < shared.section.free_bytes_min.saturating_add(bytes as u64) {
            let free = format!("only {free} bytes are free");
            return Err(io::Error::new(io::ErrorKind::StorageFull, free));
        }
        let now_ms = shared.clock.unix_millis();
        let active = match self.active.take() {
            Some(active) if active.end < shared.section.file_bytes_max => active,
            _ => self.begin_file(now_ms)?,
        };
        self.encode(active.salt, now_ms, group)?;
        let written = shared.disk.write_all_at(&active.file, &self.frames, active.end);
        if let Err(error) = written {
            // What was written is not synced and not seen by anyone; without it the file is as
            // good as before.
            if active.file.set_len(active.end).is_ok() {
                self.active = Some(active);
            }
            return Err(error);
        }
        let started = shared.clock.elapsed();
        if let Err(error) = shared.disk.sync(&active.file) {
            // The kernel may have dropped pages it could not write, so this file's end is unknown.
            // Cut it for tidiness; the next attempt begins another file.
            drop(active.file.set_len(active.end));
            return Err(error);
        }
        let took = shared.clock.elapsed().saturating_sub(started);
        metrics::histogram!(telemetry::LOCAL_SYNC_SECONDS).record(took.as_secs_f64());
        let active = Active { end: active.end + self.frames.len() as u64, ..active };
        self.next = self.next.plus(group.len());
        self.log.advance(active.end, now_ms, self.next);
        self.active = Some(active);
        Ok(())
    }

    fn begin_file(&self, now_ms: i64) -> io::Result<Active> {
        let header = Header { salt: fastrand::u32(..), base: self.next, created_ms: now_ms };
        // A file that never got a message has the base of the one that replaces it.
        let replaces = self.log.newest().is_some_and(|newest| newest.base == self.next);
        let (file, path) = create_file(&self.log.folder, &header)?;
        let added = LogFile {
            base: header.base,
            salt: header.salt,
            path,
            durable_bytes: HEADER_BYTES as u64,
            newest_ms: now_ms,
        };
        if replaces {
            self.log.replace_newest(added);
        } else {
            self.log.add_file(added);
        }
        Ok(Active { file, salt: header.salt, end: HEADER_BYTES as u64 })
    }

    fn encode(&mut self, salt: u32, now_ms: i64, group: &[Append]) -> io::Result<()> {
        self.frames.clear();
        self.frames.shrink_to(GROUP_BYTES_MAX);
        for (index, append) in group.iter().enumerate() {
            let offset = self.next.plus(index);
            self.encoder
                .encode(salt, offset, now_ms, &append.message, &mut self.frames)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        }
        Ok(())
    }

    fn acknowledge(&self, group: Vec<Append>, bytes: usize) {
        self.shared.hub.ring();
        let topic = self.log.at.topic.to_string();
        metrics::counter!(telemetry::APPENDED_MESSAGES, "topic" => topic.clone())
            .increment(group.len() as u64);
        metrics::counter!(telemetry::APPENDED_BYTES, "topic" => topic).increment(bytes as u64);
        metrics::gauge!(telemetry::BUFFERED_BYTES).decrement(bytes as f64);
        let first = self.next.0.saturating_sub_unsigned(group.len() as u64);
        for (offset, append) in (first..).map(Offset).zip(group) {
            // The sender may have stopped listening; the message stays.
            drop(append.ack.send(Ok(offset)));
            drop(append.room);
        }
    }
}
