//! Random writing, rotating, reading, sending and crashing against the lines that were written:
//! after the indexer's replay rule nothing is lost, nothing is doubled, all is in order.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use record::SourceId;
use runtime::clock::ManualClock;

use super::checkpoint::{Entry, Loaded};
use super::fingerprint::Stat;
use super::sink::{Batch, BatchId};
use super::tailer::Tailer;
use super::watch::Watch;
use crate::config::{CollectorSection, ShipSection, TailSection};
use crate::parse::Stream;

const PARTITIONS: u32 = 3;

#[derive(Clone, Debug)]
enum Op {
    /// A whole line of this many bytes beside its number.
    Line {
        log: usize,
        stream: usize,
        bytes: usize,
    },
    /// A piece of a CRI record; the next whole line of the stream ends it.
    Piece {
        log: usize,
        stream: usize,
    },
    /// The first half of a line; the rest comes with whatever is next done to the log.
    Half {
        log: usize,
    },
    /// Rename; with `late`, a line still goes to the renamed file; without `create` it is renamed
    /// back, as kubelet does when reopening fails.
    Rotate {
        log: usize,
        late: bool,
        create: bool,
    },
    CopyTruncate {
        log: usize,
    },
    DeleteOldest {
        log: usize,
    },
    Read,
    /// Some batches of one partition reach the queue; partitions do not wait for one another.
    Send {
        count: usize,
        partition: u32,
    },
    /// One batch is acknowledged, not always the oldest.
    Ack(usize),
    Save,
    Advance,
    Crash,
}

/// One log as its writer knows it.
struct Writer {
    live: PathBuf,
    container: bool,
    file: File,
    rotated: VecDeque<PathBuf>,
    rotations: u32,
    /// Text of each stream's open record.
    open: [String; 2],
    half: Option<String>,
}

struct World {
    folder: tempfile::TempDir,
    section: CollectorSection,
    clock: Arc<ManualClock>,
    tailer: Option<Tailer>,
    saved: Option<Vec<Entry>>,
    writers: Vec<Writer>,
    /// By log and stream.
    written: BTreeMap<(usize, usize), Vec<String>>,
    stored: BTreeMap<(usize, usize), Vec<String>>,
    highest: HashMap<(u32, SourceId), u64>,
    replays: usize,
    unsent: VecDeque<Batch>,
    unacked: VecDeque<(BatchId, Vec<u64>)>,
    next_line: usize,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().to_owned();
        let container = base.join("pods/ns_web_0-1/app");
        fs::create_dir_all(&container).unwrap();
        let writer = |live: PathBuf, container| Writer {
            file: File::create(&live).unwrap(),
            live,
            container,
            rotated: VecDeque::new(),
            rotations: 0,
            open: Default::default(),
            half: None,
        };
        let writers =
            vec![writer(container.join("0.log"), true), writer(base.join("plain.log"), false)];
        let section = CollectorSection {
            node: "node".to_owned(),
            tail: TailSection {
                files: vec![format!("{}/*.log", base.display())],
                pods: base.join("pods"),
                partial_timeout_ms: 3_600_000,
                close_idle_secs: 2,
                quantum_bytes: 4_096,
                ..TailSection::default()
            },
            ship: ShipSection { batch_bytes: 1_024, linger_ms: 50, ..ShipSection::default() },
            ..CollectorSection::default()
        };
        let now = Stat::of(&fs::metadata(&base).unwrap()).modified;
        let mut world = Self {
            folder,
            section,
            clock: ManualClock::new(now),
            tailer: None,
            saved: None,
            writers,
            written: BTreeMap::new(),
            stored: BTreeMap::new(),
            highest: HashMap::new(),
            replays: 0,
            unsent: VecDeque::new(),
            unacked: VecDeque::new(),
            next_line: 0,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let loaded = Loaded {
            entries: self.saved.clone().unwrap_or_default(),
            first_start: self.saved.is_none(),
            skipped: 0,
        };
        let clock = Arc::clone(&self.clock);
        let tailer = Tailer::new(&self.section, PARTITIONS, loaded, Watch::default(), clock);
        self.tailer = Some(tailer.unwrap());
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Line { log, stream, bytes } => {
                self.finish_half(log);
                self.line(log, stream, bytes, true);
            }
            Op::Piece { log, stream } => {
                self.finish_half(log);
                self.line(log, stream, 10, false);
            }
            Op::Half { log } => self.half(log),
            Op::Rotate { log, late, create } => self.rotate(log, late, create),
            Op::CopyTruncate { log } => self.copy_truncate(log),
            Op::DeleteOldest { log } => self.delete_oldest(log),
            Op::Read => self.read(),
            Op::Send { count, partition } => self.send(count, |batch| batch.partition == partition),
            Op::Ack(count) => self.ack(count),
            Op::Save => self.save(),
            Op::Advance => self.clock.advance(Duration::from_millis(700)),
            Op::Crash => {
                self.tailer = None;
                self.unsent.clear();
                self.unacked.clear();
                self.start();
            }
        }
    }

    fn line(&mut self, log: usize, stream: usize, bytes: usize, complete: bool) {
        let number = self.next_line;
        self.next_line += 1;
        let text = format!("{number}:{}", "x".repeat(bytes));
        let writer = &mut self.writers[log];
        if !writer.container {
            self.written.entry((log, 0)).or_default().push(text.clone());
            writer.file.write_all(format!("{text}\n").as_bytes()).unwrap();
            return;
        }
        let name = Stream::ALL[stream].name();
        let tag = if complete { "F" } else { "P" };
        let line = format!("2024-01-01T00:00:00.{number:09}Z {name} {tag} {text}\n");
        writer.file.write_all(line.as_bytes()).unwrap();
        writer.open[stream].push_str(&text);
        if complete {
            let record = std::mem::take(&mut writer.open[stream]);
            self.written.entry((log, stream)).or_default().push(record);
        }
    }

    fn half(&mut self, log: usize) {
        self.finish_half(log);
        let number = self.next_line;
        self.next_line += 1;
        let writer = &mut self.writers[log];
        let text = format!("{number}:half");
        let (line, stream) = if writer.container {
            (format!("2024-01-01T00:00:00.{number:09}Z stderr F {text}\n"), 1)
        } else {
            (format!("{text}\n"), 0)
        };
        let (first, rest) = line.split_at(line.len() / 2);
        writer.file.write_all(first.as_bytes()).unwrap();
        writer.half = Some(rest.to_owned());
        let record = std::mem::take(&mut writer.open[stream]) + &text;
        self.written.entry((log, stream)).or_default().push(record);
    }

    fn finish_half(&mut self, log: usize) {
        let writer = &mut self.writers[log];
        if let Some(rest) = writer.half.take() {
            writer.file.write_all(rest.as_bytes()).unwrap();
        }
    }

    fn rotate(&mut self, log: usize, late: bool, create: bool) {
        self.finish_half(log);
        let writer = &mut self.writers[log];
        writer.rotations += 1;
        let name = writer.live.file_name().unwrap().to_str().unwrap().to_owned();
        let stamp = format!("{name}.20240101-{:06}", writer.rotations);
        let target = writer.live.with_file_name(stamp);
        fs::rename(&writer.live, &target).unwrap();
        writer.rotated.push_back(target.clone());
        if late {
            self.read();
            self.line(log, 0, 5, true);
        }
        let writer = &mut self.writers[log];
        if create {
            writer.file = File::create(&writer.live).unwrap();
        } else {
            // Reopening failed: kubelet renames back.
            fs::rename(&target, &writer.live).unwrap();
            writer.rotated.pop_back();
        }
    }

    /// Copies and empties in one go, as far as the reader can tell.
    ///
    /// The reader has caught up to one line, and does not crash until it has looked again: what
    /// is copied while nobody looks can only be told by its content, which here is too short.
    fn copy_truncate(&mut self, log: usize) {
        self.finish_half(log);
        for _ in 0..6 {
            self.read();
            self.clock.advance(Duration::from_millis(300));
        }
        self.line(log, 0, 1, true);
        let writer = &mut self.writers[log];
        writer.rotations += 1;
        let name = writer.live.file_name().unwrap().to_str().unwrap().to_owned();
        let copy = writer.live.with_file_name(format!("{name}.20240101-{:06}", writer.rotations));
        fs::copy(&writer.live, &copy).unwrap();
        writer.file.set_len(0).unwrap();
        writer.file = OpenOptions::new().append(true).open(&writer.live).unwrap();
        writer.rotated.push_back(copy);
        self.read();
        self.save();
    }

    /// Deletes a rotated file that has been sent, acknowledged and checkpointed.
    ///
    /// A record whose first piece is only in a deleted file cannot be read again after a crash.
    fn delete_oldest(&mut self, log: usize) {
        self.finish_half(log);
        if self.writers[log].open.iter().any(|open| !open.is_empty()) {
            return;
        }
        self.settle();
        let Some(path) = self.writers[log].rotated.pop_front() else { return };
        // A file that gets its inode in the same tick of the file system's clock looks the same.
        let born = |path: &Path| Stat::of(&fs::metadata(path).unwrap()).born;
        let probe = self.folder.path().join("probe");
        while File::create(&probe).is_ok() && born(&probe).is_some() && born(&probe) == born(&path)
        {
            fs::remove_file(&probe).unwrap();
        }
        fs::remove_file(&probe).unwrap();
        fs::remove_file(path).unwrap();
    }

    fn read(&mut self) {
        let tailer = self.tailer.as_mut().unwrap();
        tailer.scan();
        tailer.tick();
        for _ in 0..3 {
            let stepped = tailer.step(true);
            self.unsent.extend(stepped.batches);
            if stepped.must_save {
                let entries = tailer.checkpoint().unwrap_or_default();
                tailer.saved(&entries, true);
                self.saved = Some(entries);
            }
        }
    }

    /// Stores batches as the queue and the indexer would.
    fn send(&mut self, count: usize, which: impl Fn(&Batch) -> bool) {
        let (mut sent, mut kept) = (Vec::new(), VecDeque::new());
        for batch in self.unsent.drain(..) {
            if sent.len() < count && which(&batch) {
                sent.push(batch);
            } else {
                kept.push_back(batch);
            }
        }
        self.unsent = kept;
        for batch in sent {
            for row in 0..batch.rows.len() {
                let (source, offset) = batch.rows.source(row).unwrap();
                let highest = self.highest.entry((batch.partition, source)).or_default();
                if offset <= *highest {
                    self.replays += 1;
                    continue;
                }
                *highest = offset;
                let labels = batch.rows.stream(row);
                let stream = labels
                    .get("stream")
                    .map_or(0, |name| Stream::from_name(name.as_bytes()).unwrap().index());
                let log = usize::from(labels.get("filename").is_some());
                let line = batch.rows.line(row).to_owned();
                let attributes: Vec<_> = batch.rows.attributes(row).collect();
                assert!(
                    attributes.iter().all(|(name, _)| *name == "detected_level"),
                    "{attributes:?} {line}"
                );
                self.stored.entry((log, stream)).or_default().push(line);
            }
            self.unacked.push_back((batch.id, batch.files));
        }
    }

    fn ack(&mut self, place: usize) {
        if let Some((batch, files)) = self.unacked.remove(place.min(self.unacked.len().max(1) - 1))
        {
            self.tailer.as_mut().unwrap().resolve(batch, &files);
        }
    }

    fn save(&mut self) {
        let tailer = self.tailer.as_mut().unwrap();
        if let Some(entries) = tailer.checkpoint() {
            tailer.saved(&entries, true);
            self.saved = Some(entries);
        }
    }

    /// Reads, sends, acknowledges and saves all there is.
    fn settle(&mut self) {
        for _ in 0..12 {
            self.read();
            self.clock.advance(Duration::from_millis(300));
            self.read();
            self.send(usize::MAX, |_| true);
            while !self.unacked.is_empty() {
                self.ack(0);
            }
        }
        self.save();
    }

    fn finish(&mut self) {
        for log in 0..self.writers.len() {
            self.finish_half(log);
            for stream in 0..2 {
                if !self.writers[log].open[stream].is_empty() {
                    self.line(log, stream, 1, true);
                }
            }
        }
        self.settle();
    }
}

fn op() -> impl Strategy<Value = Op> {
    let log = 0_usize..2;
    let stream = 0_usize..2;
    prop_oneof![
        12 => (log.clone(), stream.clone(), 0_usize..300)
            .prop_map(|(log, stream, bytes)| Op::Line { log, stream, bytes }),
        4 => stream.prop_map(|stream| Op::Piece { log: 0, stream }),
        2 => log.clone().prop_map(|log| Op::Half { log }),
        4 => (log.clone(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(log, late, create)| Op::Rotate { log, late, create }),
        1 => Just(Op::CopyTruncate { log: 1 }),
        1 => log.prop_map(|log| Op::DeleteOldest { log }),
        8 => Just(Op::Read),
        8 => (1_usize..4, 0..PARTITIONS)
            .prop_map(|(count, partition)| Op::Send { count, partition }),
        8 => (0_usize..4).prop_map(Op::Ack),
        4 => Just(Op::Save),
        4 => Just(Op::Advance),
        2 => Just(Op::Crash),
    ]
}

fn check(ops: &[Op]) {
    let mut world = World::new();
    for op in ops {
        world.apply(op);
    }
    world.finish();
    assert_eq!(world.stored, world.written, "in {}", world.folder.path().display());
}

/// Stderr is acknowledged and stdout is not, so the file is read again from before a piece of
/// stderr whose record has ended in the next file.
#[test]
fn c_206_a_piece_whose_record_is_acknowledged_is_not_carried_over_a_rotation_again() {
    let mut world = World::new();
    let read_all = |world: &mut World| {
        for _ in 0..6 {
            world.read();
            world.clock.advance(Duration::from_millis(300));
        }
    };
    world.line(0, 0, 1, true);
    read_all(&mut world);
    world.line(0, 1, 1, false);
    world.rotate(0, false, true);
    world.line(0, 1, 1, true);
    read_all(&mut world);
    let of_stderr = |batch: &Batch| batch.rows.stream(0).get("stream") == Some("stderr");
    world.send(usize::MAX, of_stderr);
    world.ack(0);
    assert_eq!(world.stored.keys().copied().collect::<Vec<_>>(), [(0, 1)]);
    world.save();
    world.apply(&Op::Crash);
    world.line(0, 1, 1, true);
    world.finish();
    assert_eq!(world.stored, world.written);
}

/// The same with one stream alone: its batches are acknowledged out of order.
#[test]
fn c_206_a_piece_is_not_passed_while_something_before_it_is_not_acknowledged() {
    let line = |stream| Op::Line { log: 0, stream, bytes: 0 };
    check(&[
        line(1),
        Op::Read,
        Op::Advance,
        Op::Piece { log: 0, stream: 1 },
        Op::Rotate { log: 0, late: false, create: true },
        line(0),
        line(1),
        Op::CopyTruncate { log: 1 },
        Op::Send { count: 2, partition: 2 },
        Op::Ack(1),
        Op::Save,
        Op::Crash,
    ]);
}

/// As many cases as `PROPTEST_CASES` says, else as many as fit into a few seconds.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return config;
    }
    ProptestConfig { cases: 150, ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_history_gives_every_line_once_and_in_order(ops in prop::collection::vec(op(), 1..80)) {
        check(&ops);
    }
}
