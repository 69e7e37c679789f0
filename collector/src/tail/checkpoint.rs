//! How far each file has been acknowledged, on disk (section 11 of the specification).
//!
//! One text file, one entry a line, each with its own checksum, written whole to a temporary
//! file that is synced and renamed over the old one. The format is in
//! `docs/formats/checkpoint.md`.
//!
//! What always holds: the file on disk is the old state or the new one, never a mix; an entry
//! that cannot be read is skipped and counted, and costs only that file's position; a newer
//! format is refused rather than guessed at; two collectors never share a folder.
//!
//! On a crash at most one interval of positions is lost: those rows are sent again, and dropped
//! by the indexers. A full disk keeps the old state and the process runs on (C-1105).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::fingerprint::{FileId, FileKey, Mark};
use super::track::Positions;

/// First word of the file.
const MAGIC: &str = "millrace-checkpoint";

/// Version this build writes; it reads this one only.
const VERSION: u32 = 1;

/// Largest file that is read: some hundred thousand entries.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What is remembered of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path of the live log this file belongs to: its labels come from here, also after a rename.
    pub log: PathBuf,
    /// Where the file was last seen.
    pub path: PathBuf,
    #[serde(flatten)]
    pub key: FileKey,
    /// Birth time in nanoseconds since 1970, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<i64>,
    /// Tells apart what birth time and first line cannot.
    pub salt: u64,
    /// Identity its rows carry; absent while there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<FileId>,
    pub head: Mark,
    /// End of the longest prefix that is acknowledged.
    pub offset: u64,
    /// The same by track, where some track is further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracks: Option<Positions>,
    /// The bytes before `offset`.
    pub tail: Mark,
    /// Size when last seen.
    pub size: u64,
    /// When the file was found to be gone, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_ms: Option<i64>,
}

impl Entry {
    /// Returns how far each track is acknowledged.
    pub fn positions(&self) -> Positions {
        match self.tracks {
            Some(tracks) => Positions::of(|track| tracks.get(track).max(self.offset)),
            None => Positions::all_at(self.offset),
        }
    }
}

/// Why there is no checkpoint to go on from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another collector runs here.
    #[error("checkpoint folder `{}` is in use by another collector; give this one a `data_dir` of its own", .0.display())]
    Locked(PathBuf),
    /// A newer collector wrote it.
    #[error("checkpoint `{}` has format {found}, this build reads {VERSION}; run the newer build, or move the file away to read every log again", path.display())]
    Version { path: PathBuf, found: u32 },
    /// The file is not a checkpoint at all.
    #[error("`{}` is not a checkpoint; move it away to read every log again", .0.display())]
    Foreign(PathBuf),
    #[error("{action} `{}`", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// The folder of the checkpoint, locked.
#[derive(Debug)]
pub struct CheckpointFolder {
    path: PathBuf,
    /// Holds the lock; released by the kernel however the process ends.
    _lock: File,
}

/// What was read at start.
#[derive(Debug, Default)]
pub struct Loaded {
    pub entries: Vec<Entry>,
    /// Whether there was no checkpoint: this collector has never run here.
    pub first_start: bool,
    /// Lines that could not be read.
    pub skipped: u64,
}

impl CheckpointFolder {
    /// Makes and locks the folder.
    ///
    /// # Errors
    /// When another collector holds it, or the folder cannot be made.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        fs::create_dir_all(path).map_err(io_error("create folder", path))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(io_error("open lock file", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(CheckpointError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(io_error("lock", &lock_path)(error)),
        }
    }

    /// Reads the last checkpoint.
    ///
    /// # Errors
    /// When it is of a newer format, is something else, or cannot be read.
    pub fn load(&self) -> Result<Loaded, CheckpointError> {
        let path = self.file();
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Loaded { first_start: true, ..Loaded::default() });
            }
            Err(error) => return Err(io_error("look at checkpoint", &path)(error)),
        };
        if FILE_BYTES_MAX < size {
            return Err(CheckpointError::Foreign(path));
        }
        let bytes = fs::read(&path).map_err(io_error("read checkpoint", &path))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let header = lines.next().and_then(|line| line.strip_prefix(MAGIC));
        let version = header.and_then(|version| version.trim().parse().ok());
        let Some(found) = version else { return Err(CheckpointError::Foreign(path)) };
        if found != VERSION {
            return Err(CheckpointError::Version { path, found });
        }
        let mut loaded = Loaded::default();
        for line in lines {
            match read_line(line) {
                Some(entry) => loaded.entries.push(entry),
                None => loaded.skipped += 1,
            }
        }
        Ok(loaded)
    }

    /// Replaces the checkpoint by these entries; durable when it returns.
    ///
    /// # Errors
    /// When any step fails; the old checkpoint is then still in place.
    pub fn save(&self, entries: &[Entry]) -> io::Result<()> {
        let mut text = format!("{MAGIC} {VERSION}\n");
        for entry in entries {
            write_line(entry, &mut text)?;
        }
        let temporary = self.path.join("checkpoint.tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, self.file())?;
        File::open(&self.path)?.sync_all()
    }

    fn file(&self) -> PathBuf {
        self.path.join("checkpoint")
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |source| CheckpointError::Io { action, path, source }
}

fn write_line(entry: &Entry, text: &mut String) -> io::Result<()> {
    let json = serde_json::to_string(entry)?;
    text.push_str(&format!("{:016x} {json}\n", xxh3_64(json.as_bytes())));
    Ok(())
}

fn read_line(line: &str) -> Option<Entry> {
    let (checksum, json) = line.split_once(' ')?;
    if u64::from_str_radix(checksum, 16).ok()? != xxh3_64(json.as_bytes()) {
        return None;
    }
    serde_json::from_str(json).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::super::track::Track;
    use super::*;
    use crate::parse::Stream;

    fn entry(offset: u64) -> Entry {
        let key = FileKey { dev: 1, ino: offset };
        Entry {
            log: "/var/log/a b.log".into(),
            path: "/var/log/a b.log.1".into(),
            key,
            born: Some(5),
            salt: u64::MAX,
            id: Some(FileId::of("node", key, None, 0, b"x")),
            head: Mark::of(b"head"),
            offset,
            tracks: None,
            tail: Mark::of(b"tail"),
            size: offset + 1,
            gone_ms: None,
        }
    }

    /// A checkpoint that a collector wrote; what it says must never change its meaning.
    const GOLDEN: &str = include_str!("../../tests/golden/checkpoint-1");

    #[test]
    fn c_1102_the_format_is_frozen() {
        let stdout_ahead = Positions::of(|track| match track {
            Track::Output(Stream::Stdout) => 900,
            _ => 7,
        });
        let entries = [
            entry(7),
            Entry { id: None, born: None, gone_ms: Some(1), ..entry(8) },
            Entry { tracks: Some(stdout_ahead), ..entry(7) },
        ];
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = CheckpointFolder::open(folder.path()).unwrap();
        checkpoint.save(&entries).unwrap();
        assert_eq!(fs::read_to_string(checkpoint.file()).unwrap(), GOLDEN);
        fs::write(checkpoint.file(), GOLDEN).unwrap();
        let loaded = checkpoint.load().unwrap();
        assert_eq!((loaded.entries.as_slice(), loaded.skipped), (entries.as_slice(), 0));
        let ends = Track::ALL.map(|track| loaded.entries[2].positions().get(track));
        assert_eq!(ends, [7, 900, 7]);
    }

    #[test]
    fn c_1102_what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = CheckpointFolder::open(folder.path()).unwrap();
        assert!(checkpoint.load().unwrap().first_start);
        let entries = vec![entry(7), Entry { id: None, born: None, ..entry(8) }];
        checkpoint.save(&entries).unwrap();
        let loaded = checkpoint.load().unwrap();
        assert_eq!((loaded.entries, loaded.first_start, loaded.skipped), (entries, false, 0));
    }

    #[test]
    fn c_1102_damage_costs_only_the_damaged_entries() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = CheckpointFolder::open(folder.path()).unwrap();
        let entries: Vec<Entry> = (0..5).map(entry).collect();
        checkpoint.save(&entries).unwrap();
        let whole = fs::read(checkpoint.file()).unwrap();
        let header = whole.iter().position(|byte| *byte == b'\n').unwrap();
        for at in (header + 1..whole.len()).step_by(13) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(checkpoint.file(), &damaged).unwrap();
            let loaded = checkpoint.load().unwrap();
            assert!(3 <= loaded.entries.len() && 0 < loaded.skipped, "byte {at}");
            assert!(loaded.entries.iter().all(|entry| entries.contains(entry)));
            fs::write(checkpoint.file(), whole.get(..at).unwrap()).unwrap();
            let loaded = checkpoint.load().unwrap();
            assert!(loaded.entries.iter().zip(&entries).all(|(one, other)| one == other));
        }
    }

    #[test]
    fn c_1101_a_newer_format_and_a_second_collector_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = CheckpointFolder::open(folder.path()).unwrap();
        fs::write(checkpoint.file(), "millrace-checkpoint 2\n").unwrap();
        let error = checkpoint.load().unwrap_err().to_string();
        assert!(error.contains("has format 2, this build reads 1"), "{error}");
        fs::write(checkpoint.file(), "something else").unwrap();
        assert!(matches!(checkpoint.load(), Err(CheckpointError::Foreign(_))));
        let second = CheckpointFolder::open(folder.path());
        assert!(matches!(second, Err(CheckpointError::Locked(_))));
        drop(checkpoint);
        CheckpointFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn c_1105_a_failed_write_keeps_the_old_state() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = CheckpointFolder::open(folder.path()).unwrap();
        checkpoint.save(&[entry(1)]).unwrap();
        // A folder in the place of the temporary file makes the write fail, also for root.
        fs::create_dir(folder.path().join("checkpoint.tmp")).unwrap();
        assert!(checkpoint.save(&[entry(2)]).is_err());
        assert_eq!(checkpoint.load().unwrap().entries, [entry(1)]);
    }
}
