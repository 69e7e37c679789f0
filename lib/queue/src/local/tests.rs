//! The local queue on a disk that fails as a test says.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use runtime::clock::{Clock, SystemClock};
use tempfile::TempDir;

use super::LocalQueue;
use super::disk::{Disk, RealDisk};
use crate::conformance::{append_all, message, read_from, take, text};
use crate::{
    Implementation, LocalSection, Offset, OnFull, Partition, Queue, QueueError, Topic,
    TopicPartition,
};

/// A disk with `room` bytes left, whose syncs can be made to fail.
#[derive(Debug)]
struct SmallDisk {
    room: AtomicU64,
    sync_fails: AtomicBool,
}

impl SmallDisk {
    fn new(room: u64) -> Arc<Self> {
        Arc::new(Self { room: AtomicU64::new(room), sync_fails: AtomicBool::new(false) })
    }
}

impl Disk for SmallDisk {
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        // As a disk that fills between asking and writing.
        Ok(u64::MAX)
    }

    fn write_all_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let room = self.room.load(Ordering::SeqCst);
        if room < bytes.len() as u64 {
            // What fits is written: a torn frame.
            let fits = usize::try_from(room).unwrap();
            file.write_all_at(&bytes[..fits], at)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room.fetch_sub(bytes.len() as u64, Ordering::SeqCst);
        file.write_all_at(bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is broken"));
        }
        RealDisk.sync(file)
    }
}

fn open(folder: &TempDir, section: &LocalSection, disk: &Arc<SmallDisk>) -> Queue {
    let disk: Arc<dyn Disk> = Arc::<SmallDisk>::clone(disk);
    let local = LocalQueue::open_on(section, folder.path(), SystemClock::shared(), disk).unwrap();
    Queue { implementation: Implementation::Local(local) }
}

fn at() -> TopicPartition {
    TopicPartition::new(&Topic::logs(), Partition(0))
}

fn numbers(range: std::ops::Range<usize>) -> Vec<crate::Message> {
    range.map(|number| message(&number.to_string())).collect()
}

async fn check_all(queue: &Queue, count: usize) {
    let mut reader = read_from(queue, "check", &at(), Offset(0)).await;
    let got = take(&mut *reader, &at(), count).await;
    let got: Vec<String> = got.iter().map(|(_, message)| text(message)).collect();
    let wanted: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(got, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_delays_and_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let disk = SmallDisk::new(1_000);
    let queue = open(&folder, &LocalSection::default(), &disk);
    queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
    let clock = SystemClock::new();
    let (topic, sent) = (Topic::logs(), numbers(0..200));
    let append = append_all(&queue, &topic, 0, &sent);
    let relief = async {
        clock.sleep(Duration::from_millis(300)).await;
        disk.room.store(1 << 20, Ordering::SeqCst);
        clock.elapsed()
    };
    let done = async {
        let offsets = append.await;
        (offsets, clock.elapsed())
    };
    let ((offsets, done), relieved) = futures::join!(done, relief);
    assert!(relieved <= done, "acknowledged before there was room");
    let wanted: Vec<Offset> = (0..200).map(Offset).collect();
    assert_eq!(offsets, wanted);
    check_all(&queue, 200).await;

    drop(queue);
    check_all(&open(&folder, &LocalSection::default(), &disk), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_where_that_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let disk = SmallDisk::new(100);
    let section = LocalSection { on_full: OnFull::Error, ..LocalSection::default() };
    let queue = open(&folder, &section, &disk);
    queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
    let producer = queue.producer().unwrap();
    let clock = SystemClock::new();
    let topic = Topic::logs();
    let mut acks = Vec::new();
    let told = loop {
        let text = acks.len().to_string();
        match producer.submit(&topic, Partition(0), message(&text)).await {
            Ok(ack) => acks.push(ack),
            Err(error) => break error,
        }
        clock.sleep(Duration::from_millis(5)).await;
        assert!(clock.elapsed() < Duration::from_secs(30));
    };
    assert!(matches!(told, QueueError::Full { .. }) && told.retryable());

    disk.room.store(1 << 20, Ordering::SeqCst);
    let submitted = acks.len();
    futures::future::try_join_all(acks).await.unwrap();
    producer.flush(Duration::from_secs(10)).await.unwrap();
    let again = producer.append(&topic, Partition(0), message(&submitted.to_string()));
    assert_eq!(again.await.unwrap().0, submitted as i64);
    check_all(&queue, submitted + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_writing_goes_on_in_another_file() {
    let folder = TempDir::new().unwrap();
    let disk = SmallDisk::new(1 << 20);
    let queue = open(&folder, &LocalSection::default(), &disk);
    queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
    append_all(&queue, &Topic::logs(), 0, &numbers(0..10)).await;
    disk.sync_fails.store(true, Ordering::SeqCst);
    let clock = SystemClock::new();
    let producer = queue.producer().unwrap();
    let topic = Topic::logs();
    let ack = producer.submit(&topic, Partition(0), message("10")).await;
    let mut ack = ack.unwrap();
    clock.sleep(Duration::from_millis(200)).await;
    assert!(futures::poll!(&mut ack).is_pending());
    disk.sync_fails.store(false, Ordering::SeqCst);
    assert_eq!(ack.await.unwrap(), Offset(10));
    append_all(&queue, &Topic::logs(), 0, &numbers(11..20)).await;
    check_all(&queue, 20).await;
    drop((queue, producer));
    let queue = open(&folder, &LocalSection::default(), &disk);
    check_all(&queue, 20).await;
    let files = std::fs::read_dir(folder.path().join("millrace.logs/0")).unwrap();
    assert_eq!(files.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_while_the_disk_is_full_ends() {
    let folder = TempDir::new().unwrap();
    let disk = SmallDisk::new(100);
    let queue = open(&folder, &LocalSection::default(), &disk);
    queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
    let producer = queue.producer().unwrap();
    let topic = Topic::logs();
    let ack = producer.submit(&topic, Partition(0), message(&"x".repeat(500)));
    let ack = ack.await.unwrap();
    let ack_small = producer.submit(&topic, Partition(0), message("x")).await.unwrap();
    drop((queue, producer));
    // The payload compresses; what cannot be written is told as closed, never as stored.
    for ack in [ack, ack_small] {
        match ack.await {
            Ok(_) | Err(QueueError::Closed) => {}
            Err(other) => panic!("{other}"),
        }
    }
}
