//! The queue on the local disk: our own log, for one process.
//!
//! `docs/formats/queue.md` describes the bytes. One writer thread per partition, one thread that
//! saves reports and applies retention, and readers that read files where they lie.
//!
//! Always holds: acknowledged means synced; only synced messages are read; nothing a group still
//! needs is removed; one process at a time.
//!
//! On a crash, or a power cut: opening cuts the torn end of the newest file, and every
//! acknowledged message is there. On a full disk appends wait, or `submit` fails with a retryable
//! error, by `on_full`; it goes on by itself when there is room.
//!
//! Bounds: `buffer_bytes_max` of messages not yet written, one group of writes per partition,
//! `fetch_bytes_max` per read.

mod disk;
mod frame;
mod groups;
mod keeper;
mod lock;
mod partition;
mod recovery;
mod scan;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use runtime::clock::{SharedClock, within};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::embedded::{self, EmbeddedConsumer, Found, Hub, Logs};
use crate::producer::Lanes;
use crate::{
    Ack, Consumer, LocalSection, Message, Offset, OnFull, Partition, Producer, QueueError, Topic,
    TopicPartition, telemetry,
};
use disk::{Disk, RealDisk, sync_folder};
use groups::Reports;
use keeper::Keeper;
use lock::FolderLock;
use partition::{Cursor, PartitionLog};
use writer::{Append, Writer};

/// Partitions of one topic: each costs a thread and a file.
const PARTITIONS_MAX: u32 = 256;

/// Messages between `submit` and the writer, per partition; bytes are bounded by the buffer.
const WRITER_QUEUE_MESSAGES_MAX: usize = 4_096;

/// The buffer is counted in pieces of this size, since a semaphore counts to 2^32 at most.
const ROOM_BYTES: usize = 1_024;

/// The local queue; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct LocalQueue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    writing: Arc<writer::Shared>,
    reports: Arc<Reports>,
    lanes: Lanes,
    room: Arc<Semaphore>,
    room_total: u32,
    topics: Mutex<BTreeMap<Topic, Vec<Open>>>,
    keeper: Keeper,
    /// Last, so that it is let go after every thread has ended.
    _lock: FolderLock,
}

/// A partition and its writer.
#[derive(Debug)]
struct Open {
    log: Arc<PartitionLog>,
    appends: Option<mpsc::Sender<Append>>,
    thread: Option<JoinHandle<()>>,
}

impl LocalQueue {
    pub(crate) fn open(
        section: &LocalSection,
        folder: &Path,
        clock: SharedClock,
    ) -> Result<Self, QueueError> {
        Self::open_on(section, folder, clock, Arc::new(RealDisk))
    }

    fn open_on(
        section: &LocalSection,
        folder: &Path,
        clock: SharedClock,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, QueueError> {
        fs::create_dir_all(folder).map_err(|error| QueueError::io("create", folder, &error))?;
        let lock = FolderLock::take(folder)?;
        let reports = Arc::new(Reports::open(folder)?);
        let pieces = section.buffer_bytes_max.max(section.message_bytes_max) / ROOM_BYTES;
        let room_total = u32::try_from(pieces)
            .unwrap_or(u32::MAX)
            .clamp(2, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let inner = Inner {
            folder: folder.to_path_buf(),
            keeper: Keeper::start(Arc::clone(&reports), section, Arc::clone(&clock))?,
            writing: Arc::new(writer::Shared {
                section: section.clone(),
                clock,
                disk,
                hub: Arc::new(Hub::new()),
                full: AtomicBool::new(false),
                closing: AtomicBool::new(false),
            }),
            reports,
            lanes: Lanes::default(),
            room: Arc::new(Semaphore::new(room_total as usize)),
            room_total,
            topics: Mutex::default(),
            _lock: lock,
        };
        for topic in topics_in(folder)? {
            inner.open_topic(&topic, 0)?;
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn producer(&self) -> Arc<dyn Producer> {
        Arc::new(LocalProducer { inner: Arc::clone(&self.inner) })
    }

    pub(crate) fn consumer(
        &self,
        group: &str,
        topics: &[Topic],
    ) -> Result<Box<dyn Consumer>, QueueError> {
        self.inner.reports.join(group, topics)?;
        let logs = Arc::clone(&self.inner);
        Ok(Box::new(EmbeddedConsumer::join(logs, group, topics)))
    }

    pub(crate) fn watermarks(&self, at: &TopicPartition) -> Result<(Offset, Offset), QueueError> {
        self.inner.watermarks(at)
    }

    pub(crate) async fn read(
        &self,
        at: &TopicPartition,
        next: Offset,
    ) -> Result<Vec<(Offset, Message)>, QueueError> {
        embedded::peek(&*self.inner, at, next).await
    }

    pub(crate) async fn ensure_topic(
        &self,
        topic: &Topic,
        partitions: u32,
    ) -> Result<(), QueueError> {
        if PARTITIONS_MAX < partitions {
            return Err(QueueError::config(format!(
                "topic `{topic}` wants {partitions} partitions, at most {PARTITIONS_MAX} are allowed"
            )));
        }
        let (inner, topic) = (Arc::clone(&self.inner), topic.clone());
        blocking(move || inner.open_topic(&topic, partitions)).await?;
        self.inner.writing.hub.ring();
        Ok(())
    }
}

/// Runs file work where it does not hold up other tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, QueueError> + Send + 'static,
) -> Result<T, QueueError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(QueueError::Closed))
}

/// Returns the topics that have a folder.
fn topics_in(folder: &Path) -> Result<Vec<Topic>, QueueError> {
    let failed = |error: std::io::Error| QueueError::io("list", folder, &error);
    let mut topics = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_type().map_err(failed)?.is_dir() {
            continue;
        }
        let name = entry.file_name();
        topics.extend(name.to_str().and_then(|name| Topic::new(name).ok()));
    }
    Ok(topics)
}

impl Inner {
    fn topics(&self) -> MutexGuard<'_, BTreeMap<Topic, Vec<Open>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, at: &TopicPartition) -> Result<Arc<PartitionLog>, QueueError> {
        let number = usize::try_from(at.partition.0).unwrap_or(usize::MAX);
        let topics = self.topics();
        let open = topics.get(&at.topic).and_then(|all| all.get(number));
        open.map(|open| Arc::clone(&open.log))
            .ok_or_else(|| QueueError::UnknownPartition { at: at.clone() })
    }

    fn appends(&self, at: &TopicPartition) -> Result<mpsc::Sender<Append>, QueueError> {
        let number = usize::try_from(at.partition.0).unwrap_or(usize::MAX);
        let topics = self.topics();
        let open = topics.get(&at.topic).and_then(|all| all.get(number));
        open.and_then(|open| open.appends.clone())
            .ok_or_else(|| QueueError::UnknownPartition { at: at.clone() })
    }

    /// Opens the partitions `topic` has on disk and makes those it lacks. Blocks.
    fn open_topic(&self, topic: &Topic, partitions: u32) -> Result<(), QueueError> {
        // Held throughout, so that two callers do not make the same partition.
        let mut topics = self.topics();
        let open = topics.entry(topic.clone()).or_default();
        let folder = self.folder.join(topic.as_str());
        loop {
            let number = u32::try_from(open.len()).unwrap_or(u32::MAX);
            let folder = folder.join(number.to_string());
            if !folder.is_dir() {
                if partitions <= number {
                    return Ok(());
                }
                make_folder(&folder)?;
            }
            let number = Partition(i32::try_from(number).unwrap_or(i32::MAX));
            let at = TopicPartition::new(topic, number);
            open.push(self.open_partition(at, &folder)?);
        }
    }

    fn open_partition(&self, at: TopicPartition, folder: &Path) -> Result<Open, QueueError> {
        let reported = self.reports.highest(&at);
        let log = Arc::new(recovery::open_partition(at, folder, reported)?);
        let writer = Writer::new(Arc::clone(&log), Arc::clone(&self.writing))
            .map_err(|error| QueueError::io("open", folder, &error))?;
        let (appends, queue) = mpsc::channel(WRITER_QUEUE_MESSAGES_MAX);
        let thread = std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|error| QueueError::io("start the writer of", folder, &error))?;
        self.keeper.watch(Arc::clone(&log));
        Ok(Open { log, appends: Some(appends), thread: Some(thread) })
    }
}

/// Makes a folder durable, with those above it that are missing.
fn make_folder(folder: &Path) -> Result<(), QueueError> {
    fs::create_dir_all(folder).map_err(|error| QueueError::io("create", folder, &error))?;
    for parent in folder.ancestors().skip(1).take(2) {
        sync_folder(parent).map_err(|error| QueueError::io("sync", parent, &error))?;
    }
    Ok(())
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.writing.closing.store(true, Ordering::Release);
        let topics = self.topics.get_mut().unwrap_or_else(PoisonError::into_inner);
        for open in topics.values_mut().flatten() {
            open.appends = None;
        }
        for open in topics.values_mut().flatten() {
            // A writer that panicked has nothing left to say; its senders were told.
            drop(open.thread.take().map(JoinHandle::join));
        }
    }
}

#[async_trait]
impl Logs for Inner {
    type Cursor = Cursor;

    fn clock(&self) -> &SharedClock {
        &self.writing.clock
    }

    fn hub(&self) -> &Hub {
        &self.writing.hub
    }

    fn partitions(&self, topic: &Topic) -> u32 {
        let count = self.topics().get(topic).map_or(0, Vec::len);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(Offset, Offset), QueueError> {
        Ok(self.log(at)?.watermarks())
    }

    async fn read(
        &self,
        at: &TopicPartition,
        next: Offset,
        cursor: Cursor,
    ) -> Result<Found<Cursor>, QueueError> {
        let log = self.log(at)?;
        if log.watermarks().1 == next {
            return Ok(Found::Nothing(cursor));
        }
        let bytes_max = self.writing.section.fetch_bytes_max;
        blocking(move || log.read(next, cursor, bytes_max)).await
    }

    fn commit(&self, group: &str, at: &TopicPartition, next: Offset) -> Result<(), QueueError> {
        self.reports.report(group, at, next);
        self.keeper.wake();
        Ok(())
    }
}

#[derive(Debug)]
struct LocalProducer {
    inner: Arc<Inner>,
}

#[async_trait]
impl Producer for LocalProducer {
    async fn partitions(&self, topic: &Topic) -> Result<u32, QueueError> {
        match self.inner.partitions(topic) {
            0 => Err(QueueError::UnknownTopic { topic: topic.to_string() }),
            count => Ok(count),
        }
    }

    async fn submit(
        &self,
        topic: &Topic,
        partition: Partition,
        message: Message,
    ) -> Result<Ack, QueueError> {
        let inner = &self.inner;
        let at = TopicPartition::new(topic, partition);
        let (bytes, max) = (message.bytes(), inner.writing.section.message_bytes_max);
        if max < bytes {
            return Err(QueueError::TooLarge { at, bytes, max });
        }
        if let Err(error) = frame::check(&message) {
            let reason = error.to_string();
            return Err(QueueError::Rejected { at, reason });
        }
        let appends = inner.appends(&at)?;
        if inner.writing.section.on_full == OnFull::Error
            && inner.writing.full.load(Ordering::Acquire)
        {
            return Err(QueueError::Full { reason: format!("no room for `{at}`") });
        }
        let pieces = u32::try_from(bytes.div_ceil(ROOM_BYTES)).unwrap_or(u32::MAX);
        let room = Arc::clone(&inner.room)
            .acquire_many_owned(pieces.min(inner.room_total))
            .await
            .map_err(|_| QueueError::Closed)?;
        let place = appends.reserve().await.map_err(|_| QueueError::Closed)?;
        let lane = inner.lanes.enter(&at)?;
        metrics::gauge!(telemetry::BUFFERED_BYTES).increment(bytes as f64);
        let (ack, outcome) = oneshot::channel();
        place.send(Append { message, ack, room });
        Ok(Ack::from_channel(lane, outcome))
    }

    async fn flush(&self, limit: Duration) -> Result<(), QueueError> {
        // Whoever holds the whole buffer knows that nothing else is in it.
        let everything = self.inner.room.acquire_many(self.inner.room_total);
        match within(&*self.inner.writing.clock, limit, everything).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) => Err(QueueError::Closed),
            None => Err(QueueError::Deadline { limit }),
        }
    }
}
