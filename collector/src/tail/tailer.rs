//! The heart of reading log files: which files there are, how far each is read, what is on its
//! way. Synchronous and without tasks of its own; [`super::task`] drives it.
//!
//! A log is a queue of files, oldest first: rotated ones that still hold unread lines, then the
//! live one. The front is read to its end, and only then the next (C-401, C-403). A file that
//! was read to its end stays open until all its rows are acknowledged, then only its checkpoint
//! entry stays.
//!
//! What always holds:
//! - a file's committed position moves only by [`Tailer::resolve`], on acknowledgement;
//! - ready logs take turns of at most `quantum_bytes`, so none starves another (C-703);
//! - between two calls at most one step's worth of rows is held besides the open batches.
//!
//! On a crash everything here is rebuilt from the checkpoint and the files.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::clock::SharedClock;

use super::checkpoint::{Entry, Loaded};
use super::counts::Counts;
use super::discover::{Origin, Roots};
use super::fingerprint::{FileKey, Stat};
use super::glob::GlobError;
use super::read::{CHUNK_BYTES, Caps, LogId, TailedFile};
use super::sink::{Batch, BatchId, Sink};
use super::streams::{LogStreams, NodeLabels};
use super::watch::{Wakes, Watch};
use crate::carry::CarryBudget;
use crate::config::{CollectorSection, TailSection};
use crate::parse::partial::FileSerial;
use crate::parse::plain::ReadTimes;

/// Bytes a step reads: what it holds until the batches have been handed over.
const STEP_BYTES_MAX: usize = 2 << 20;

/// One log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) path: PathBuf,
    pub(super) origin: Origin,
    pub(super) streams: LogStreams,
    /// Oldest first; the front is being read.
    pub(super) files: VecDeque<FileSerial>,
    pub(super) times: ReadTimes,
    pub(super) last_time: Option<i64>,
    /// Whether it waits for its turn.
    pub(super) ready: bool,
    /// When its front file has to be looked at again, although nothing happens to it.
    pub(super) recheck: Option<Duration>,
}

/// A file that is not open because all of it is acknowledged.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) entry: Entry,
    /// Its last change when it was closed; unknown after a start.
    pub(super) modified: Option<i64>,
    /// Whether the current full scan has seen it.
    pub(super) seen: bool,
}

/// All log files of this node.
#[derive(Debug)]
pub struct Tailer {
    pub(super) section: TailSection,
    pub(super) node: String,
    pub(super) roots: Roots,
    pub(super) labels: NodeLabels,
    pub(super) clock: SharedClock,
    pub(super) caps: Caps,
    pub(super) watch: Watch,
    pub(super) sink: Sink,
    pub(super) counts: Counts,
    pub(super) logs: HashMap<LogId, Log>,
    pub(super) log_by_path: HashMap<PathBuf, LogId>,
    pub(super) files: HashMap<FileSerial, TailedFile>,
    pub(super) by_key: HashMap<FileKey, FileSerial>,
    pub(super) by_path: HashMap<PathBuf, FileSerial>,
    pub(super) closed: HashMap<FileKey, Closed>,
    /// Read to their end, waiting for acknowledgements.
    pub(super) closing: HashSet<FileSerial>,
    /// Copies of files that are read under their own name (copytruncate), by what they looked
    /// like when that was found out.
    pub(super) copies: HashMap<FileKey, Stat>,
    /// The same as of before the current full scan.
    pub(super) copies_before: HashMap<FileKey, Stat>,
    /// Folders of link targets, with the folders that the links lie in.
    pub(super) aliases: HashMap<PathBuf, HashSet<PathBuf>>,
    ready: VecDeque<LogId>,
    buffer: Vec<u8>,
    pub(super) next_id: u64,
    /// Full scans so far.
    pub(super) scans: u64,
    pub(super) first_start: bool,
    pub(super) over_limit: u64,
    pub(super) duplicates: u64,
    /// Whether the checkpoint would say something new.
    pub(super) changed: bool,
    /// Whether a file waits for the checkpoint to be written.
    pub(super) must_save: bool,
}

/// What a step brought.
#[derive(Debug, Default)]
pub struct Stepped {
    /// Closed batches, to be handed over in this order.
    pub batches: Vec<Batch>,
    /// Whether more can be read right away.
    pub more: bool,
    /// Whether some file waits for the checkpoint to be written.
    pub must_save: bool,
}

impl Tailer {
    /// Goes on from `loaded`; `partitions` is how many the topic of logs has.
    ///
    /// # Errors
    /// When a configured pattern is none.
    pub fn new(
        section: &CollectorSection,
        partitions: u32,
        loaded: Loaded,
        watch: Watch,
        clock: SharedClock,
    ) -> Result<Self, GlobError> {
        let closed = loaded
            .entries
            .into_iter()
            .map(|entry| (entry.key, Closed { entry, modified: None, seen: false }));
        let linger = Duration::from_millis(section.ship.linger_ms);
        Ok(Self {
            roots: Roots::new(&section.tail)?,
            node: section.node_name(),
            labels: NodeLabels::new(section, partitions),
            clock,
            caps: Caps {
                record_bytes_max: section.tail.record_bytes_max,
                budget: CarryBudget::new(section.tail.carry_bytes_max),
            },
            watch,
            sink: Sink::new(partitions, section.ship.batch_bytes, linger),
            section: section.tail.clone(),
            counts: Counts::default(),
            logs: HashMap::new(),
            log_by_path: HashMap::new(),
            files: HashMap::new(),
            by_key: HashMap::new(),
            by_path: HashMap::new(),
            closed: closed.collect(),
            closing: HashSet::new(),
            copies: HashMap::new(),
            copies_before: HashMap::new(),
            aliases: HashMap::new(),
            ready: VecDeque::new(),
            buffer: vec![0; CHUNK_BYTES],
            next_id: 1,
            scans: 0,
            first_start: loaded.first_start,
            over_limit: 0,
            duplicates: 0,
            changed: true,
            must_save: false,
        })
    }

    /// Looks where the wakes point.
    pub fn wake(&mut self, wakes: Wakes) {
        if wakes.overflow {
            metrics::counter!(crate::telemetry::WATCH_OVERFLOWS).increment(1);
            self.scan();
            return;
        }
        for folder in &wakes.appeared {
            self.look_below(folder);
        }
        for folder in &wakes.changed {
            self.look_into(folder);
        }
        for path in &wakes.written {
            let log = self.by_path.get(path).and_then(|serial| self.files.get(serial));
            match log.map(|file| file.log) {
                Some(log) => self.make_ready(log),
                // A closed file that grows, or one not seen yet.
                None if self.roots.log_of(path).is_some() => {
                    path.parent().into_iter().for_each(|folder| self.look_into(folder));
                }
                None => {
                    let folder = path.parent().filter(|folder| self.aliases.contains_key(*folder));
                    if let Some(folder) = folder.map(Path::to_owned) {
                        self.look_into(&folder);
                    }
                }
            }
        }
    }

    /// Reads ready logs in turn, up to a step's worth, and closes batches that are due.
    pub fn step(&mut self, read: bool) -> Stepped {
        let now = self.clock.elapsed();
        self.wake_rechecks(now);
        if read {
            self.take_turns(now);
        }
        self.sink.close_due(self.clock.elapsed());
        self.counts.publish();
        Stepped {
            batches: self.sink.take(),
            more: !self.ready.is_empty(),
            must_save: self.must_save,
        }
    }

    /// Closes all batches, however small.
    pub fn flush(&mut self) -> Vec<Batch> {
        self.sink.close_all();
        self.sink.take()
    }

    /// Returns when [`Tailer::step`] has something to do although nothing happens.
    pub fn next_due(&self) -> Option<Duration> {
        let rechecks = self.logs.values().filter_map(|log| log.recheck);
        rechecks.chain(self.sink.next_due()).min()
    }

    /// Notes that a batch is acknowledged, or refused for good: positions may move.
    pub fn resolve(&mut self, batch: BatchId, files: &[FileSerial]) {
        for serial in files {
            // Files in which its records go on wait for what came before them, too.
            let mut waiting = Some(*serial);
            while let Some(serial) = waiting {
                let Some(file) = self.files.get_mut(&serial) else { break };
                file.ledger.resolve(batch);
                waiting = file.successor;
                self.changed = true;
                if self.closing.contains(&serial) {
                    self.try_close(serial);
                }
            }
        }
    }

    /// Returns what the checkpoint has to say now; `None` when nothing has changed.
    ///
    /// A file that waited to be saved is released by [`Tailer::saved`] with the same list.
    pub fn checkpoint(&mut self) -> Option<Vec<Entry>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut entries: Vec<Entry> =
            self.closed.values().map(|closed| closed.entry.clone()).collect();
        for file in self.files.values_mut() {
            let Some(log) = self.logs.get(&file.log) else { continue };
            entries.extend(file.entry(&log.path));
        }
        entries.sort_by(|left, right| left.path.cmp(&right.path));
        Some(entries)
    }

    /// Notes that writing these entries has ended, well or not: files that waited for it may be
    /// read. Where it failed, a crash may cost doubles but never lines (C-1105).
    pub fn saved(&mut self, entries: &[Entry], well: bool) {
        self.changed |= !well;
        let durable: HashSet<_> = entries.iter().map(|entry| (entry.key, entry.salt)).collect();
        let mut released = Vec::new();
        self.must_save = false;
        for file in self.files.values_mut().filter(|file| file.must_save) {
            file.must_save = well && !durable.contains(&(file.key, file.salt));
            self.must_save |= file.must_save;
            if !file.must_save {
                released.push(file.log);
            }
        }
        for log in released {
            self.make_ready(log);
        }
    }

    /// Returns the bytes of open files that have not been read, as far as is known.
    pub fn unread_bytes(&self) -> u64 {
        self.files.values().map(|file| file.size.saturating_sub(file.read)).sum()
    }

    /// Whether folders must be scanned often for lack of watches.
    pub fn degraded(&self) -> bool {
        self.watch.degraded()
    }

    pub fn watch_mut(&mut self) -> &mut Watch {
        &mut self.watch
    }

    pub(super) fn make_ready(&mut self, id: LogId) {
        let Some(log) = self.logs.get_mut(&id) else { return };
        if !std::mem::replace(&mut log.ready, true) {
            self.ready.push_back(id);
        }
    }

    fn wake_rechecks(&mut self, now: Duration) {
        let due = |log: &Log| log.recheck.is_some_and(|recheck| recheck <= now);
        let due: Vec<LogId> =
            self.logs.iter().filter(|(_, log)| due(log)).map(|(id, _)| *id).collect();
        for id in due {
            if let Some(log) = self.logs.get_mut(&id) {
                log.recheck = None;
            }
            self.make_ready(id);
        }
    }

    fn take_turns(&mut self, now: Duration) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut budget = STEP_BYTES_MAX;
        while 0 < budget {
            let Some(id) = self.ready.pop_front() else { break };
            if let Some(log) = self.logs.get_mut(&id) {
                log.ready = false;
            }
            let quantum = budget.min(self.section.quantum_bytes);
            let turn = self.turn(id, &mut buffer, quantum, now);
            budget = budget.saturating_sub(turn.bytes);
            if turn.more {
                self.make_ready(id);
            }
        }
        self.buffer = buffer;
    }
}
