//! One open log file and how far it has been read.
//!
//! What always holds: bytes are read in order, and each read first checks that the bytes before
//! it are still those that were read last. A file that was emptied and written again is noticed
//! even when it has grown past the old position (C-406). The committed positions are where each
//! track's first record starts that is not acknowledged; they only follow from the ledger, never
//! from reading. What a track had acknowledged before the start is not taken again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use record::SourceId;

use super::checkpoint::Entry;
use super::fingerprint::{
    FileId, FileKey, HEAD_BYTES_MAX, MARK_BYTES_MAX, Mark, Stat, anchor, bytes_before,
};
use super::ledger::Ledger;
use super::lines::LineCutter;
use super::track::{Positions, Track};
use crate::carry::CarryBudget;
use crate::parse::Stream;
use crate::parse::partial::{FileSerial, Joiner};

/// Bytes of a container log line beside its content, at most: time, stream and tags.
const LINE_PREFIX_BYTES: usize = 1_024;

/// Bytes read at once.
pub const CHUNK_BYTES: usize = 64 << 10;

/// Names a log while this process runs.
pub type LogId = u64;

/// Sources of a file's rows.
#[derive(Clone, Copy, Debug)]
pub struct Sources {
    pub raw: SourceId,
    pub outputs: [SourceId; 2],
}

/// One file.
#[derive(Debug)]
pub struct TailedFile {
    pub serial: FileSerial,
    pub log: LogId,
    pub file: File,
    pub key: FileKey,
    pub born: Option<i64>,
    pub salt: u64,
    pub id: Option<FileId>,
    pub sources: Option<Sources>,
    /// Where the file was last seen; a label, not its identity.
    pub path: PathBuf,
    pub head: Mark,
    /// Next byte to read.
    pub read: u64,
    /// The bytes just before `read`, at most [`MARK_BYTES_MAX`].
    before: Vec<u8>,
    pub cutter: LineCutter,
    pub joiner: Joiner,
    pub ledger: Ledger,
    /// What was acknowledged when reading started.
    pub resumed: Positions,
    /// The file in which a record goes on that began here.
    pub successor: Option<FileSerial>,
    pub size: u64,
    /// When it was last seen to grow, on the collector's monotonic clock.
    pub grown: Duration,
    /// Since when it has had no name.
    pub unlinked: Option<Duration>,
    /// Its identity is not durable yet: no row may leave before it is.
    pub must_save: bool,
    /// Its content is gone, so there is nothing to come back to.
    pub abandoned: bool,
    /// What the next checkpoint says of it, as long as nothing has moved.
    pub saved: Option<Entry>,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// New bytes, at this range of the buffer.
    Bytes {
        from: usize,
        to: usize,
    },
    End,
    /// What was read before is not there any more.
    Rewritten,
}

/// Sizes that every file's buffers keep to.
#[derive(Clone, Debug)]
pub struct Caps {
    pub record_bytes_max: usize,
    pub budget: CarryBudget,
}

/// Opens a regular file for reading; `None` when the path is something else.
///
/// # Errors
/// When it cannot be opened.
pub fn open(path: &Path) -> io::Result<Option<(File, Stat)>> {
    // Opening a named pipe would wait for a writer, so look first and never block.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let stat = Stat::of(&file.metadata()?);
    Ok(Some((file, stat)))
}

/// What is known of a file when reading of it starts.
#[derive(Debug)]
pub struct Start {
    pub serial: FileSerial,
    pub log: LogId,
    pub path: PathBuf,
    pub positions: Positions,
    pub salt: u64,
    pub id: Option<FileId>,
    pub must_save: bool,
    /// When it last grew, on the collector's monotonic clock.
    pub grown: Duration,
}

impl TailedFile {
    /// # Errors
    /// When the file cannot be read.
    pub fn new(file: File, stat: &Stat, start: Start, caps: &Caps) -> io::Result<Self> {
        let line_bytes_max = caps.record_bytes_max + LINE_PREFIX_BYTES;
        let position = start.positions.lowest();
        let mut buffer = [0; MARK_BYTES_MAX];
        let before = bytes_before(&file, position, &mut buffer)?.unwrap_or_default().to_vec();
        let mut tailed = Self {
            serial: start.serial,
            log: start.log,
            key: stat.key,
            born: stat.born,
            salt: start.salt,
            id: start.id,
            sources: None,
            path: start.path,
            head: Mark::head(&file)?,
            file,
            read: position,
            before,
            cutter: LineCutter::new(position, line_bytes_max, &caps.budget),
            joiner: Joiner::new(caps.record_bytes_max, &caps.budget),
            ledger: Ledger::default(),
            resumed: start.positions,
            successor: None,
            size: stat.size,
            grown: start.grown,
            unlinked: None,
            must_save: start.must_save,
            abandoned: false,
            saved: None,
        };
        tailed.sources = tailed.id.as_ref().map(Sources::of);
        Ok(tailed)
    }

    /// Reads the next bytes into `buffer`, which holds at least twice [`MARK_BYTES_MAX`].
    ///
    /// Identifies the file before the end of its first line is handed out.
    ///
    /// # Errors
    /// When the file cannot be read; nothing has happened then.
    pub fn read_chunk(&mut self, buffer: &mut [u8], node: &str) -> io::Result<Chunk> {
        let from = self.before.len();
        let filled = self.file.read_at(buffer, self.read - from as u64)?;
        let bytes = buffer.get(..filled).unwrap_or_default();
        if filled < from || !bytes.starts_with(&self.before) {
            return Ok(Chunk::Rewritten);
        }
        if filled == from {
            return Ok(Chunk::End);
        }
        let ends_line = bytes.get(from..).is_some_and(|new| memchr::memchr(b'\n', new).is_some());
        if !self.identify(node, false)? && ends_line {
            // The line was there a moment ago, so the file is being rewritten.
            return Ok(Chunk::Rewritten);
        }
        if self.read == 0 {
            // Before this, its content may have changed unnoticed.
            self.head = Mark::of(bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes));
            self.saved = None;
        }
        self.read += (filled - from) as u64;
        self.size = self.size.max(self.read);
        let last = bytes.get(filled.saturating_sub(MARK_BYTES_MAX)..).unwrap_or(bytes);
        self.before.clear();
        self.before.extend_from_slice(last);
        Ok(Chunk::Bytes { from, to: filled })
    }

    /// Whether `other` has the bytes that were read last, at the same place.
    ///
    /// # Errors
    /// When `other` cannot be read.
    pub fn continues_in(&self, other: &File) -> io::Result<bool> {
        let mut buffer = [0; MARK_BYTES_MAX];
        let there = bytes_before(other, self.read, &mut buffer)?;
        Ok(there == Some(self.before.as_slice()) && self.head.is_head_of(other)?)
    }

    /// Gives the file the identity its rows carry; `false` while its first line is unfinished.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn identify(&mut self, node: &str, finished: bool) -> io::Result<bool> {
        if self.sources.is_some() {
            return Ok(true);
        }
        let Some(first) = anchor(&self.file, finished)? else { return Ok(false) };
        let id = FileId::of(node, self.key, self.born, self.salt, &first);
        self.id = Some(id);
        self.sources = Some(Sources::of(&id));
        Ok(true)
    }

    /// Returns how far each track is fully acknowledged.
    pub fn committed(&self) -> Positions {
        let read = self.cutter.position();
        Positions::of(|track| {
            let open = match track {
                Track::Raw => None,
                Track::Output(stream) => self.joiner.floor(stream),
            };
            let held = [self.ledger.floor(track), open].into_iter().flatten().min();
            held.map_or(read, |floor| floor.min(read)).max(self.resumed.get(track))
        })
    }

    /// Whether no record of `stream` was ever taken from it, so that one which began in the file
    /// before can go on here.
    pub fn is_untouched(&self, stream: Stream) -> bool {
        self.read == 0 && self.resumed.get(Track::Output(stream)) == 0
    }

    /// Whether everything read so far is acknowledged and nothing is held in memory.
    pub fn settled(&self) -> bool {
        self.committed().lowest() == self.read
    }

    /// Returns what the checkpoint has to say of this file; the last answer when the file cannot
    /// be read at the moment.
    pub fn entry(&mut self, log: &Path) -> Option<Entry> {
        if self.abandoned {
            return None;
        }
        let positions = self.committed();
        let unchanged = self.saved.as_ref().is_some_and(|saved| {
            let grows =
                (saved.head.len as usize) < HEAD_BYTES_MAX && u64::from(saved.head.len) < self.size;
            saved.positions() == positions
                && saved.path == self.path
                && saved.id == self.id
                && saved.key == self.key
                && !grows
        });
        if !unchanged && let Ok(Some(entry)) = self.describe(log, positions) {
            self.saved = Some(entry);
        }
        self.saved.clone()
    }

    fn describe(&mut self, log: &Path, positions: Positions) -> io::Result<Option<Entry>> {
        // Marks of a file that was rewritten meanwhile would vouch for the wrong content. While
        // nothing has been read of it, any content will do.
        if 0 < self.read && !self.continues_in(&self.file)? {
            return Ok(None);
        }
        self.head = Mark::head(&self.file)?;
        let offset = positions.lowest();
        let Some(tail) = Mark::before(&self.file, offset)? else { return Ok(None) };
        Ok(Some(Entry {
            log: log.to_owned(),
            path: self.path.clone(),
            key: self.key,
            born: self.born,
            salt: self.salt,
            id: self.id,
            head: self.head,
            offset,
            tracks: (positions != Positions::all_at(offset)).then_some(positions),
            tail,
            size: self.size,
            gone_ms: None,
        }))
    }
}

impl Sources {
    fn of(id: &FileId) -> Self {
        Self { raw: id.source("raw"), outputs: [id.source("stdout"), id.source("stderr")] }
    }
}
