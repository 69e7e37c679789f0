//! The queue on the local disk: the suite, restarts, damage, retention, other processes, kill -9.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kill;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use queue::conformance::{self, append_all, assigned, event, message, read_from, take, text};
use queue::{
    Consumer, ConsumerEvent, LocalSection, Message, Offset, Partition, Queue, QueueError,
    QueueSection, Topic, TopicPartition,
};
use runtime::clock::{Clock, SystemClock};
use tempfile::TempDir;

fn open_with(folder: &Path, section: LocalSection) -> Result<Queue, QueueError> {
    Queue::open(&QueueSection::Local(section), folder, SystemClock::shared())
}

fn open(folder: &Path) -> Queue {
    let section = LocalSection { free_bytes_min: 0, ..LocalSection::default() };
    open_with(folder, section).unwrap()
}

fn small_files() -> LocalSection {
    LocalSection {
        file_bytes_max: 4_096,
        free_bytes_min: 0,
        retention_bytes_max: 0,
        ..LocalSection::default()
    }
}

fn at() -> TopicPartition {
    TopicPartition::new(&Topic::logs(), Partition(0))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let folder = folder.join("queue/millrace.logs/0");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    files.sort();
    files
}

fn numbers(range: std::ops::Range<usize>) -> Vec<Message> {
    range.map(|number| message(&format!("message {number}"))).collect()
}

/// Reads to the end: what was read, and the ranges reported as lost.
async fn read_all(queue: &Queue) -> (Vec<(i64, String)>, Vec<(i64, i64)>) {
    let mut reader = read_from(queue, "all", &at(), Offset(0)).await;
    let (_, high) = reader.watermarks(&at()).await.unwrap();
    let (mut got, mut lost, mut next) = (Vec::new(), Vec::new(), Offset(0));
    while next < high {
        match event(&mut *reader).await {
            ConsumerEvent::Messages(_, messages) => {
                got.extend(messages.iter().map(|(offset, m)| (offset.0, text(m))));
                next = messages.last().unwrap().0.next();
            }
            ConsumerEvent::Lost { first, last, .. } => {
                assert_eq!(first, next);
                lost.push((first.0, last.0));
                next = last.next();
            }
            other => panic!("{other:?}"),
        }
    }
    (got, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_suite() {
    let folder = TempDir::new().unwrap();
    conformance::all(&open(folder.path()), "t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_offsets_survive_a_restart() {
    let folder = TempDir::new().unwrap();
    let queue = open(folder.path());
    queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
    append_all(&queue, &Topic::logs(), 0, &numbers(0..10)).await;
    drop(queue);
    let queue = open(folder.path());
    let offsets = append_all(&queue, &Topic::logs(), 0, &numbers(10..20)).await;
    assert_eq!(offsets[0], Offset(10));
    let (got, lost) = read_all(&queue).await;
    let wanted: Vec<(i64, String)> = (0..20).map(|n| (n, format!("message {n}"))).collect();
    assert_eq!((got, lost), (wanted, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_cannot_share_a_folder() {
    let folder = TempDir::new().unwrap();
    let queue = open(folder.path());
    // The lock belongs to the open file, so a second open in this process is refused alike.
    let refused = open_with(folder.path(), LocalSection::default()).unwrap_err();
    let QueueError::Locked { holder, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(holder, &format!("process {}", std::process::id()));
    drop(queue);
    open(folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_waits_for_every_group_and_then_reports_the_range() {
    let folder = TempDir::new().unwrap();
    let queue = open_with(folder.path(), small_files()).unwrap();
    queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
    let topics = [Topic::logs()];
    let mut fast = queue.consumer("fast", &topics).unwrap();
    let slow = queue.consumer("slow", &topics).unwrap();
    for batch in 0..20 {
        append_all(&queue, &Topic::logs(), 0, &numbers(batch * 100..batch * 100 + 100)).await;
    }
    let before = files(folder.path()).len();
    assert!(10 < before, "{before} files");
    assigned(&mut *fast, 1).await;
    fast.commit_advisory(&at(), Offset(2_000)).await.unwrap();
    let clock = SystemClock::new();
    clock.sleep(Duration::from_millis(500)).await;
    assert_eq!(files(folder.path()).len(), before, "the slow group needs them");

    // A group that is not connected counts as well, also after a restart.
    drop((fast, slow, queue));
    let queue = open_with(folder.path(), small_files()).unwrap();
    let mut slow = queue.consumer("slow", &topics).unwrap();
    assigned(&mut *slow, 1).await;
    slow.commit_advisory(&at(), Offset(1_000)).await.unwrap();
    let low = wait_for_low(&mut *slow).await;
    assert!(0 < low.0 && low.0 <= 1_000, "{low}");
    drop(slow);
    conformance::removed_offsets_name_the_range(&queue, &at(), low).await;
}

async fn wait_for_low(reader: &mut dyn Consumer) -> Offset {
    let clock = SystemClock::new();
    loop {
        let (low, _) = reader.watermarks(&at()).await.unwrap();
        if low != Offset(0) {
            // Once the first is gone, all that may go are gone in the same pass.
            clock.sleep(Duration::from_millis(200)).await;
            return reader.watermarks(&at()).await.unwrap().0;
        }
        assert!(clock.elapsed() < Duration::from_secs(20), "nothing was removed");
        clock.sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_nobody_reads_is_bounded_by_size_alone() {
    let folder = TempDir::new().unwrap();
    let queue = open_with(folder.path(), small_files()).unwrap();
    queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
    for batch in 0..20 {
        append_all(&queue, &Topic::logs(), 0, &numbers(batch * 50..batch * 50 + 50)).await;
    }
    drop(queue);
    // Looked at when the queue is closed, at the latest.
    assert_eq!(files(folder.path()).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_someone_is_done_with_are_never_given_out_again() {
    let folder = TempDir::new().unwrap();
    let queue = open(folder.path());
    queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
    append_all(&queue, &Topic::logs(), 0, &numbers(0..10)).await;
    let mut reader = read_from(&queue, "g", &at(), Offset(0)).await;
    reader.commit_advisory(&at(), Offset(10)).await.unwrap();
    drop((reader, queue));
    for file in files(folder.path()) {
        fs::remove_file(file).unwrap();
    }
    let queue = open(folder.path());
    let offsets = append_all(&queue, &Topic::logs(), 0, &numbers(0..1)).await;
    assert_eq!(offsets, [Offset(10)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_refuses_to_open_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let queue = open(folder.path());
    queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
    append_all(&queue, &Topic::logs(), 0, &numbers(0..3)).await;
    drop(queue);
    let path = files(folder.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..36]).to_le_bytes();
    bytes[36..40].copy_from_slice(&crc);
    fs::write(&path, &bytes).unwrap();
    let refused = open_with(folder.path(), LocalSection::default()).unwrap_err();
    assert!(refused.to_string().contains("version 9"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_header_costs_that_file_only() {
    let folder = TempDir::new().unwrap();
    let queue = open_with(folder.path(), small_files()).unwrap();
    queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
    let _reader = queue.consumer("keeps", &[Topic::logs()]).unwrap();
    for batch in 0..6 {
        append_all(&queue, &Topic::logs(), 0, &numbers(batch * 50..batch * 50 + 50)).await;
    }
    drop((_reader, queue));
    let all = files(folder.path());
    assert!(3 <= all.len(), "{all:?}");
    let victim = fs::OpenOptions::new().write(true).open(&all[1]).unwrap();
    victim.write_all_at(b"oops", 10).unwrap();
    let base =
        |path: &Path| -> i64 { path.file_stem().unwrap().to_str().unwrap().parse().unwrap() };
    let queue = open_with(folder.path(), small_files()).unwrap();
    let (got, lost) = read_all(&queue).await;
    assert_eq!(lost, [(base(&all[1]), base(&all[2]) - 1)]);
    assert_eq!(got.len(), 300 - (base(&all[2]) - base(&all[1])) as usize);
    assert!(all[1].with_extension("log.corrupt").is_file());
}

/// Version 1 as it was first written must stay readable.
#[tokio::test(flavor = "multi_thread")]
async fn the_golden_file_of_version_1_reads_the_same() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/queue-v1.log");
    let folder = TempDir::new().unwrap();
    let header = |name: &str, value: &'static [u8]| (name.to_owned(), value.into());
    let wanted = [
        Message::default(),
        Message {
            key: Some("key".into()),
            headers: vec![header("a", b"1"), header("a", b""), header("ä", b"\xff\x00")],
            payload: "short".into(),
            time_ms: None,
        },
        Message {
            key: Some("".into()),
            headers: vec![],
            payload: "a long payload that repeats, ".repeat(100).into(),
            time_ms: None,
        },
    ];
    if std::env::var_os("MILLRACE_WRITE_GOLDEN").is_some() {
        let queue = open(folder.path());
        queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
        append_all(&queue, &Topic::logs(), 0, &wanted).await;
        drop(queue);
        fs::create_dir_all(golden.parent().unwrap()).unwrap();
        fs::copy(&files(folder.path())[0], &golden).unwrap();
    }
    let partition = folder.path().join("queue/millrace.logs/0");
    fs::create_dir_all(&partition).unwrap();
    fs::copy(&golden, partition.join(format!("{:020}.log", 0))).unwrap();
    let queue = open(folder.path());
    let mut reader = read_from(&queue, "golden", &at(), Offset(0)).await;
    let got = take(&mut *reader, &at(), wanted.len()).await;
    let got: Vec<Message> = got.into_iter().map(|(_, message)| message).collect();
    assert_eq!(got, wanted);
}

/// How a file was damaged between two runs.
#[derive(Clone, Debug)]
enum Damage {
    /// The file ends early.
    Cut(prop::sample::Index),
    /// Bytes follow that a crash left behind.
    Tail(Vec<u8>),
    /// One byte changed, after the header.
    Flip(prop::sample::Index, u8),
}

fn damages() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Damage::Cut),
        prop::collection::vec(any::<u8>(), 1..100).prop_map(Damage::Tail),
        (any::<prop::sample::Index>(), 1..=255u8).prop_map(|(at, by)| Damage::Flip(at, by)),
    ]
}

/// Where each frame ends, found by the format's length field alone.
fn frame_ends(bytes: &[u8]) -> Vec<usize> {
    let (mut ends, mut place) = (Vec::new(), 40);
    while place < bytes.len() {
        let length: [u8; 4] = bytes[place + 4..place + 8].try_into().unwrap();
        place += 12 + u32::from_le_bytes(length) as usize;
        ends.push(place);
    }
    ends
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens to one file, every other message is read, in order; what is missing is
    /// named exactly, or was at the end and is simply not there.
    #[test]
    fn damage_costs_only_what_it_touches(
        sizes in prop::collection::vec(0..2_000usize, 1..12),
        damage in damages(),
        appended in 0..3usize,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let folder = TempDir::new().unwrap();
            let section = LocalSection {
                compression: queue::Compression::None,
                free_bytes_min: 0,
                ..LocalSection::default()
            };
            let queue = open_with(folder.path(), section.clone()).unwrap();
            queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
            let sent: Vec<Message> = sizes
                .iter()
                .enumerate()
                .map(|(number, size)| message(&format!("{number} FRM1 {}", "x".repeat(*size))))
                .collect();
            append_all(&queue, &Topic::logs(), 0, &sent).await;
            drop(queue);

            let path = files(folder.path()).remove(0);
            let mut bytes = fs::read(&path).unwrap();
            let ends = frame_ends(&bytes);
            // What must still be readable: whole frames that were not touched.
            let mut whole: Vec<usize> = (0..sent.len()).collect();
            match damage {
                Damage::Cut(at) => {
                    let length = 40 + at.index(bytes.len() - 40);
                    bytes.truncate(length);
                    whole.retain(|number| ends[*number] <= length);
                }
                Damage::Tail(tail) => bytes.extend(tail),
                Damage::Flip(at, by) => {
                    let place = 40 + at.index(bytes.len() - 40);
                    bytes[place] ^= by;
                    let touched = ends.partition_point(|end| *end <= place);
                    whole.retain(|number| *number != touched);
                }
            }
            fs::write(&path, &bytes).unwrap();

            let queue = open_with(folder.path(), section).unwrap();
            let next = whole.last().map_or(0, |last| last + 1);
            let more: Vec<Message> = (0..appended).map(|n| message(&format!("more {n}"))).collect();
            let offsets = append_all(&queue, &Topic::logs(), 0, &more).await;
            if let Some(first) = offsets.first() {
                assert_eq!(first.0, next as i64);
            }
            let (got, lost) = read_all(&queue).await;
            let mut wanted: Vec<(i64, String)> = whole
                .iter()
                .map(|number| (*number as i64, text(&sent[*number])))
                .collect();
            wanted.extend(more.iter().enumerate().map(|(n, m)| ((next + n) as i64, text(m))));
            assert_eq!(got, wanted);
            let missing: Vec<i64> = (0..next as i64).filter(|n| !whole.contains(&(*n as usize))).collect();
            let told: Vec<i64> = lost.iter().flat_map(|(first, last)| *first..=*last).collect();
            assert_eq!(told, missing);
        });
    }
}
