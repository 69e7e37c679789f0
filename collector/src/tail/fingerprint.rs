//! Which file is which, while running and over restarts (C-301, C-302).
//!
//! While running a file is its open descriptor; the path is only a label. Over a restart it is
//! (device, inode, birth time) and its content: a hash of its first bytes and a hash of the
//! bytes before the committed offset. Inode numbers are reused within minutes (C-303), and some
//! file systems have no birth time, so the content always has the last word.
//!
//! A [`FileId`] is what the rows of a file carry. It follows from things that never change for a
//! file (birth and first line), so it is the same when a crash comes before the first checkpoint.
//! Where these could repeat (no birth time, or a file emptied and written again) a random salt
//! goes in, and the salt is made durable before the first row leaves: an id that two contents
//! share would make an indexer drop new rows as replays.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;

use record::SourceId;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes at the start of a file that tell it from others. CRI lines begin with a time in
/// nanoseconds, so far fewer would do.
pub const HEAD_BYTES_MAX: usize = 256;

/// Bytes before a position that must still be there when reading goes on.
pub const MARK_BYTES_MAX: usize = 64;

/// What the kernel calls a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileKey {
    pub dev: u64,
    pub ino: u64,
}

/// What can be known of a file without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub key: FileKey,
    /// Birth time in nanoseconds since 1970, where the file system keeps one.
    pub born: Option<i64>,
    pub size: u64,
    /// Time of the last write in nanoseconds since 1970.
    pub modified: i64,
    /// Names the file still has.
    pub links: u64,
}

impl Stat {
    pub fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|since| i64::try_from(since.as_nanos()).ok());
        let seconds = metadata.mtime().saturating_mul(1_000_000_000);
        Self {
            key: FileKey { dev: metadata.dev(), ino: metadata.ino() },
            // Some file systems answer with 1970 for "not kept".
            born: born.filter(|nanos| 0 < *nanos),
            size: metadata.size(),
            modified: seconds.saturating_add(metadata.mtime_nsec()),
            links: metadata.nlink(),
        }
    }

    /// Whether both speak of one file, as far as birth times can tell.
    pub fn born_as(&self, born: Option<i64>) -> bool {
        match (self.born, born) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        }
    }
}

/// A hash of some bytes and how many there were. Zero bytes match every file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub len: u32,
    pub hash: u64,
}

impl Mark {
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        Self { len: u32::try_from(bytes.len()).unwrap_or(u32::MAX), hash: xxh3_64(bytes) }
    }

    /// Marks the first bytes of a file, at most [`HEAD_BYTES_MAX`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn head(file: &File) -> io::Result<Self> {
        let mut buffer = [0; HEAD_BYTES_MAX];
        let read = read_full_at(file, &mut buffer, 0)?;
        Ok(Self::of(buffer.get(..read).unwrap_or(&buffer)))
    }

    /// Marks the bytes before `offset`; `None` when the file is shorter than that.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn before(file: &File, offset: u64) -> io::Result<Option<Self>> {
        let mut buffer = [0; MARK_BYTES_MAX];
        let bytes = bytes_before(file, offset, &mut buffer)?;
        Ok(bytes.map(Self::of))
    }

    /// Whether `file` has these bytes at its start.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_head_of(&self, file: &File) -> io::Result<bool> {
        self.is_at(file, 0)
    }

    /// Whether `file` has these bytes just before `offset`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_before(&self, file: &File, offset: u64) -> io::Result<bool> {
        match offset.checked_sub(u64::from(self.len)) {
            Some(start) => self.is_at(file, start),
            None => Ok(false),
        }
    }

    fn is_at(&self, file: &File, start: u64) -> io::Result<bool> {
        let mut buffer = [0; HEAD_BYTES_MAX];
        let Some(wanted) = buffer.get_mut(..self.len as usize) else {
            return Ok(false);
        };
        let read = read_full_at(file, wanted, start)?;
        Ok(wanted.get(..read).is_some_and(|bytes| Self::of(bytes) == *self))
    }
}

/// Reads up to [`MARK_BYTES_MAX`] bytes before `offset`; `None` when the file is shorter.
///
/// # Errors
/// When the file cannot be read.
pub fn bytes_before<'a>(
    file: &File,
    offset: u64,
    buffer: &'a mut [u8; MARK_BYTES_MAX],
) -> io::Result<Option<&'a [u8]>> {
    let len = usize::try_from(offset).unwrap_or(MARK_BYTES_MAX).min(MARK_BYTES_MAX);
    let bytes = buffer.get_mut(..len).unwrap_or_default();
    let read = read_full_at(file, bytes, offset - len as u64)?;
    Ok(if read == len { Some(bytes) } else { None })
}

/// Whether two files are equal in their first `length` bytes, judged by both ends of that range.
///
/// # Errors
/// When either cannot be read.
pub fn same_ends(left: &File, right: &File, length: u64) -> io::Result<bool> {
    let head = length.min(HEAD_BYTES_MAX as u64);
    let (mut one, mut two) = ([0; HEAD_BYTES_MAX], [0; HEAD_BYTES_MAX]);
    for start in [0, length - head] {
        let size = usize::try_from(head).unwrap_or(HEAD_BYTES_MAX);
        let (one, two) = (one.get_mut(..size), two.get_mut(..size));
        let (Some(one), Some(two)) = (one, two) else { return Ok(false) };
        let read = (read_full_at(left, one, start)?, read_full_at(right, two, start)?);
        if read != (size, size) || one != two {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The identity that rows of a file carry, the same over restarts and renames.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId(SourceId);

impl FileId {
    /// Derives the identity of a file on `node`.
    ///
    /// `anchor` is the file's first line ([`anchor`]); `salt` is 0 where birth time and anchor
    /// cannot repeat.
    pub fn of(node: &str, key: FileKey, born: Option<i64>, salt: u64, anchor: &[u8]) -> Self {
        Self(SourceId::of(&[
            node.as_bytes(),
            &key.dev.to_le_bytes(),
            &key.ino.to_le_bytes(),
            &born.unwrap_or_default().to_le_bytes(),
            &salt.to_le_bytes(),
            anchor,
        ]))
    }

    /// Returns the source of the rows that carry `tag`.
    pub fn source(&self, tag: &str) -> SourceId {
        SourceId::of(&[&self.0.0, tag.as_bytes()])
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for FileId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FileId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SourceId::deserialize(deserializer).map(Self)
    }
}

/// Returns the part of a file that stays the same while it grows: its first line, or the first
/// [`HEAD_BYTES_MAX`] bytes of a longer one.
///
/// `None` while there is not that much; with `finished`, whatever there is.
///
/// # Errors
/// When the file cannot be read.
pub fn anchor(file: &File, finished: bool) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; HEAD_BYTES_MAX];
    let read = read_full_at(file, &mut buffer, 0)?;
    let head = buffer.get(..read).unwrap_or(&buffer);
    if let Some(feed) = memchr::memchr(b'\n', head) {
        return Ok(head.get(..=feed).map(<[u8]>::to_vec));
    }
    let whole = finished || read == HEAD_BYTES_MAX;
    Ok(whole.then(|| head.to_vec()))
}

/// Reads until `buffer` is full or the file ends.
///
/// # Errors
/// When the file cannot be read.
pub fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn c_302_marks_survive_growth_and_notice_rewriting() {
        let mut log = file(b"first line\nsecond line\n");
        let head = Mark::head(&log).unwrap();
        let mark = Mark::before(&log, 11).unwrap().unwrap();
        log.write_all(b"third line\n").unwrap();
        assert!(head.is_head_of(&log).unwrap());
        assert!(mark.is_before(&log, 11).unwrap());
        assert!(!mark.is_before(&log, 12).unwrap());
        let other = file(b"other line\nsecond line\n");
        assert!(!head.is_head_of(&other).unwrap());
        assert!(!mark.is_before(&other, 11).unwrap());
        assert_eq!(Mark::before(&other, 1000).unwrap(), None);
        assert!(Mark::default().is_before(&other, 0).unwrap());
    }

    #[test]
    fn an_anchor_does_not_change_while_the_file_grows() {
        let mut log = file(b"unfinished");
        assert_eq!(anchor(&log, false).unwrap(), None);
        assert_eq!(anchor(&log, true).unwrap().unwrap(), b"unfinished");
        log.write_all(b" line\nmore\n").unwrap();
        assert_eq!(anchor(&log, false).unwrap().unwrap(), b"unfinished line\n");
        let long = file(&[b'x'; 1000]);
        assert_eq!(anchor(&long, false).unwrap().unwrap().len(), HEAD_BYTES_MAX);
    }

    #[test]
    fn c_304_files_with_equal_heads_have_different_ids() {
        let key = FileKey { dev: 1, ino: 2 };
        let id = FileId::of("node", key, None, 7, b"line\n");
        assert_eq!(id, FileId::of("node", key, None, 7, b"line\n"));
        assert_ne!(id, FileId::of("node", key, None, 8, b"line\n"));
        assert_ne!(id, FileId::of("node", key, Some(9), 7, b"line\n"));
        assert_ne!(id.source("stdout"), id.source("stderr"));
    }

    #[test]
    fn a_copy_is_told_by_both_its_ends() {
        let live = file(&[&[b'h'; 300][..], b"tail of the copy", b"more"].concat());
        let copy = file(&[&[b'h'; 300][..], b"tail of the copy"].concat());
        let other = file(&[&[b'h'; 300][..], b"tail of the COPY"].concat());
        assert!(same_ends(&live, &copy, 316).unwrap());
        assert!(!same_ends(&live, &other, 316).unwrap());
        assert!(!same_ends(&live, &copy, 317).unwrap());
    }
}
