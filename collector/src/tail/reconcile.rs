//! Brings the open files in line with what the folders hold: new files, renames, rewrites.
//!
//! A look at a folder only lists and stats; a file is opened once, when it is first seen or when
//! a closed one has grown. The listing says in which order a log's files are to be read.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{debug, info, warn};

use super::checkpoint::Entry;
use super::counts::Rotation;
use super::discover::{Found, FoundLog, Origin};
use super::fingerprint::{Mark, Stat, same_ends};
use super::read::{LogId, Start, TailedFile, open};
use super::tailer::{Closed, Log, Tailer};
use super::track::Positions;
use crate::config::ReadFrom;
use crate::parse::partial::FileSerial;

/// A closed file is taken up again under another inode only when this much of it agrees: short
/// beginnings, such as a header line, are the same in many files.
const ADOPT_BYTES_MIN: u64 = 64;

/// What to make of a file that is not open yet.
enum Admission {
    Read(FileSerial),
    /// It is open under this serial already.
    Open(FileSerial),
    /// There is nothing new in it, or nothing for us.
    Nothing,
}

impl Tailer {
    /// Looks at one folder after something in it has changed.
    pub(super) fn look_into(&mut self, folder: &Path) {
        let mut folders: Vec<PathBuf> =
            self.aliases.get(folder).into_iter().flatten().cloned().collect();
        folders.push(folder.to_owned());
        for folder in folders {
            let watch = &mut self.watch;
            let found = self.roots.scan_folder(&folder, &mut |path| watch_folder(watch, path));
            self.reconcile_all(&found);
            // A log whose last name is gone is not found any more, but may have to be left.
            let lost = self.logs.iter().filter(|(_, log)| log.path.parent() == Some(&folder));
            let lost: Vec<LogId> = lost.map(|(id, _)| *id).collect();
            lost.into_iter().for_each(|id| self.make_ready(id));
        }
    }

    /// Looks at a folder that has just appeared, and below it.
    pub(super) fn look_below(&mut self, folder: &Path) {
        let watch = &mut self.watch;
        let found = self.roots.scan_tree(folder, &mut |path| watch_folder(watch, path));
        self.reconcile_all(&found);
    }

    pub(super) fn reconcile_all(&mut self, found: &Found) {
        for log in &found.logs {
            self.reconcile(log);
        }
    }

    fn reconcile(&mut self, found: &FoundLog) {
        if found.origin == Origin::Plain && self.leads_to_pods(&found.path) {
            self.duplicates += 1;
            return;
        }
        let mut listed = Vec::new();
        for path in &found.files {
            let live = *path == found.path;
            match self.look_at(found, path, live) {
                Ok(Admission::Read(serial) | Admission::Open(serial)) => listed.push(serial),
                Ok(Admission::Nothing) => {}
                // Renamed or deleted since it was listed: the next look will tell.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    warn!(path = %path.display(), %error, "open log file, trying again later");
                    self.counts.open_errors += 1;
                }
            }
        }
        self.order(&found.path, &listed);
    }

    /// Puts the files of a log into reading order: those without a listed name are the oldest.
    fn order(&mut self, path: &Path, listed: &[FileSerial]) {
        let Some(id) = self.log_by_path.get(path).copied() else { return };
        let Some(log) = self.logs.get_mut(&id) else { return };
        let ours = |serial: &FileSerial| self.files.get(serial).is_some_and(|file| file.log == id);
        let open = |serial: &&FileSerial| ours(serial) && !self.closing.contains(serial);
        let unlisted = log.files.iter().filter(|serial| !listed.contains(serial)).copied();
        let order: VecDeque<FileSerial> =
            unlisted.chain(listed.iter().filter(open).copied()).collect();
        log.files = order;
        self.make_ready(id);
    }

    fn look_at(&mut self, found: &FoundLog, path: &Path, live: bool) -> io::Result<Admission> {
        let stat = Stat::of(&fs::metadata(path)?);
        if let Some(serial) = self.by_key.get(&stat.key).copied() {
            return Ok(self.seen_again(serial, found, path, &stat));
        }
        if let Some(closed) = self.closed.get_mut(&stat.key) {
            closed.seen = true;
            closed.entry.gone_ms = None;
            let unchanged = closed.modified == Some(stat.modified)
                && closed.entry.offset == stat.size
                && stat.born_as(closed.entry.born);
            if unchanged {
                if closed.entry.path != path {
                    closed.entry.path = path.to_owned();
                    self.changed = true;
                }
                return Ok(Admission::Nothing);
            }
        }
        let known = [&self.copies, &self.copies_before].map(|copies| copies.get(&stat.key));
        if known.contains(&Some(&stat)) {
            self.copies.insert(stat.key, stat);
            return Ok(Admission::Nothing);
        }
        if self.section.open_files_max <= self.files.len() && !self.close_one_idle() {
            self.over_limit += 1;
            return Ok(Admission::Nothing);
        }
        self.admit(found, path, live)
    }

    /// Notes a file's new name and size.
    fn seen_again(
        &mut self,
        serial: FileSerial,
        found: &FoundLog,
        path: &Path,
        stat: &Stat,
    ) -> Admission {
        let Some(file) = self.files.get_mut(&serial) else { return Admission::Nothing };
        let of_this_log = self.logs.get(&file.log).is_some_and(|log| log.path == found.path);
        let in_place = fs::metadata(&file.path).is_ok_and(|old| Stat::of(&old).key == stat.key);
        if !of_this_log && in_place {
            // Another name of a file that still has its own: a hard link or a second pattern.
            self.duplicates += 1;
            return Admission::Nothing;
        }
        file.size = file.size.max(stat.size);
        let id = file.log;
        if file.path != path {
            let old = std::mem::replace(&mut file.path, path.to_owned());
            if self.by_path.get(&old) == Some(&serial) {
                self.by_path.remove(&old);
            }
            self.changed = true;
        }
        self.by_path.insert(real_path(path), serial);
        if of_this_log {
            return Admission::Open(serial);
        }
        self.make_ready(id);
        Admission::Nothing
    }

    /// Opens a file and decides where reading starts.
    fn admit(&mut self, found: &FoundLog, path: &Path, live: bool) -> io::Result<Admission> {
        let Some((file, stat)) = open(path)? else { return Ok(Admission::Nothing) };
        if let Some(serial) = self.by_key.get(&stat.key).copied() {
            return Ok(self.seen_again(serial, found, path, &stat));
        }
        let same_inode = self.closed.get(&stat.key).map(|closed| closed.entry.clone());
        // A file born later is another one, and needs no salt to tell it from this one.
        let rewritten = same_inode.as_ref().is_some_and(|entry| stat.born_as(entry.born));
        if let Some(entry) = same_inode {
            if fits(&entry, &file, &stat)? {
                return self.resume(found, path, file, stat, entry).map(Admission::Read);
            }
            info!(path = %path.display(), "log file is not the one the checkpoint knows, reading it from its beginning");
            self.counts.mismatches += 1;
            self.closed.remove(&stat.key);
        }
        if let Some(entry) = self.adoptable(found, &file, &stat, live) {
            info!(path = %path.display(), from = %entry.path.display(), "log file continues another one");
            return self.resume(found, path, file, stat, entry).map(Admission::Read);
        }
        if !live {
            // A copy can only be told while what it was copied from is understood.
            self.notice_rewrites(found);
            if self.by_key.contains_key(&stat.key) || self.closed.contains_key(&stat.key) {
                return self.look_at(found, path, live);
            }
        }
        if !live && self.is_copy(found, &file, &stat)? {
            debug!(path = %path.display(), "copy of a log file that is being read");
            self.copies.insert(stat.key, stat);
            return Ok(Admission::Nothing);
        }
        self.copies.remove(&stat.key);
        // Birth time and first line tell it from every other file, or a durable salt has to.
        let certain = stat.born.is_some() && !rewritten;
        let salt = if certain { 0 } else { fastrand::u64(1..) };
        let at_end = self.first_start && self.scans == 0 && self.section.read_from == ReadFrom::End;
        let log = self.log_for(&found.path, &found.origin);
        let start = Start {
            serial: self.next_id(),
            log,
            path: path.to_owned(),
            positions: Positions::all_at(if at_end { stat.size } else { 0 }),
            salt,
            id: None,
            must_save: !certain,
            grown: self.last_growth(&stat),
        };
        self.track(file, &stat, start).map(Admission::Read)
    }

    /// Goes on where the checkpoint stands.
    fn resume(
        &mut self,
        found: &FoundLog,
        path: &Path,
        file: fs::File,
        stat: Stat,
        entry: Entry,
    ) -> io::Result<FileSerial> {
        // A file renamed while nobody looked keeps the labels its rows had before.
        let origin = self.roots.origin(&entry.log);
        let (log_path, origin) = match origin {
            Some(origin) => (entry.log.clone(), origin),
            None => (found.path.clone(), found.origin.clone()),
        };
        let log = self.log_for(&log_path, &origin);
        let start = Start {
            serial: self.next_id(),
            log,
            path: path.to_owned(),
            positions: entry.positions(),
            salt: entry.salt,
            id: entry.id,
            must_save: false,
            grown: self.last_growth(&stat),
        };
        let serial = self.track(file, &stat, start)?;
        // Only now: an entry that is lost means reading everything again.
        self.closed.remove(&entry.key);
        if log_path != found.path
            && let Some(log) = self.logs.get_mut(&log)
        {
            // It is not in the listing of its own log, so it is the oldest of it.
            log.files.push_front(serial);
            self.make_ready(self.files.get(&serial).map_or(0, |file| file.log));
        }
        Ok(serial)
    }

    fn track(&mut self, file: fs::File, stat: &Stat, start: Start) -> io::Result<FileSerial> {
        let serial = start.serial;
        let path = start.path.clone();
        let tailed = TailedFile::new(file, stat, start, &self.caps)?;
        debug!(path = %path.display(), position = tailed.read, size = stat.size, "opened log file");
        self.by_key.insert(stat.key, serial);
        self.by_path.insert(real_path(&path), serial);
        self.watch_target(&path);
        self.must_save |= tailed.must_save;
        self.files.insert(serial, tailed);
        self.changed = true;
        Ok(serial)
    }

    /// Watches the folder that a link leads to (C-103): there the writes and rotations happen.
    fn watch_target(&mut self, path: &Path) {
        let real = real_path(path);
        let (Some(target), Some(folder)) = (real.parent(), path.parent()) else { return };
        if target != folder && real != path {
            watch_folder(&mut self.watch, target);
            self.aliases.entry(target.to_owned()).or_default().insert(folder.to_owned());
        }
    }

    pub(super) fn log_for(&mut self, path: &Path, origin: &Origin) -> LogId {
        if let Some(id) = self.log_by_path.get(path) {
            return *id;
        }
        let id = self.next_id();
        let log = Log {
            path: path.to_owned(),
            origin: origin.clone(),
            streams: self.labels.streams(path, origin),
            files: VecDeque::new(),
            times: Default::default(),
            last_time: None,
            ready: false,
            recheck: None,
        };
        info!(path = %path.display(), "reading log");
        self.logs.insert(id, log);
        self.log_by_path.insert(path.to_owned(), id);
        id
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// When a file was last written, on the monotonic clock.
    fn last_growth(&self, stat: &Stat) -> std::time::Duration {
        let age = self.clock.unix_nanos().saturating_sub(stat.modified).max(0);
        let age = std::time::Duration::from_nanos(age.unsigned_abs());
        self.clock.elapsed().saturating_sub(age)
    }

    /// Finds the closed file whose content goes on in this one: it was copied and emptied, or
    /// its device got another number, while nobody looked (C-302).
    fn adoptable(
        &self,
        found: &FoundLog,
        file: &fs::File,
        stat: &Stat,
        live: bool,
    ) -> Option<Entry> {
        let candidate = |closed: &Closed| {
            let entry = &closed.entry;
            let same_birth =
                stat.key.ino == entry.key.ino && stat.born.is_some() && stat.born == entry.born;
            // What this process has closed itself is acknowledged to its end.
            let certain = closed.modified.is_some() && 0 < entry.offset;
            let enough =
                ADOPT_BYTES_MIN <= entry.offset && ADOPT_BYTES_MIN <= u64::from(entry.head.len);
            entry.log == found.path && (same_birth || !live && (certain || enough))
        };
        let keys = self.closed.iter().filter(|(_, closed)| candidate(closed)).map(|(key, _)| *key);
        let keys: Vec<_> = keys.collect();
        let key = keys.into_iter().find(|key| {
            let Some(closed) = self.closed.get(key) else { return false };
            has_content(&closed.entry, file, stat).unwrap_or(false) && !is_in_place(&closed.entry)
        })?;
        self.closed.get(&key).map(|closed| closed.entry.clone())
    }

    /// Deals with the open files of a log whose old content is gone.
    fn notice_rewrites(&mut self, found: &FoundLog) {
        let Some(log) = self.log_by_path.get(&found.path).and_then(|id| self.logs.get(id)) else {
            return;
        };
        let rewritten = log.files.iter().filter(|serial| {
            let file = self.files.get(serial);
            file.is_some_and(|file| 0 < file.read && !file.continues_in(&file.file).unwrap_or(true))
        });
        let now = self.clock.elapsed();
        for serial in rewritten.copied().collect::<Vec<_>>() {
            self.rewritten(serial, now);
        }
    }

    /// Whether this file is a copy of the beginning of an open file of the same log.
    fn is_copy(&self, found: &FoundLog, file: &fs::File, stat: &Stat) -> io::Result<bool> {
        let Some(id) = self.log_by_path.get(&found.path) else { return Ok(false) };
        if stat.size == 0 {
            return Ok(false);
        }
        for open in self.files.values().filter(|open| open.log == *id && !open.abandoned) {
            if stat.size <= open.file.metadata()?.len() && same_ends(&open.file, file, stat.size)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a path of a plain pattern is a link to a pod's log, which is read as such.
    fn leads_to_pods(&self, path: &Path) -> bool {
        let real = real_path(path);
        real != path && matches!(self.roots.origin(&real), Some(Origin::Pod(_)))
    }

    /// Deals with a file whose bytes are not those that were read (C-406).
    ///
    /// What was not read of the old content may still be in a copy among the siblings; then
    /// reading goes on there. The path itself starts over as a new file.
    pub(super) fn rewritten(&mut self, serial: FileSerial, now: std::time::Duration) {
        self.counts.rotation(Rotation::Truncate);
        let Some(file) = self.files.get_mut(&serial) else { return };
        let (id, key, path) = (file.log, file.key, file.path.clone());
        let unread = file.size.saturating_sub(file.read);
        let Some(log) = self.logs.get(&id) else { return };
        let (log_path, origin) = (log.path.clone(), log.origin.clone());
        let copy = self.find_copy(serial, &log_path);
        self.by_key.remove(&key);
        self.by_path.remove(&path);
        let Some(file) = self.files.get_mut(&serial) else { return };
        match copy {
            Some((copy, stat, copy_path)) => {
                info!(path = %path.display(), copy = %copy_path.display(), unread, "log file was copied and emptied");
                (file.file, file.key, file.born, file.size) =
                    (copy, stat.key, stat.born, stat.size);
                file.path = copy_path.clone();
                file.saved = None;
                self.copies.remove(&stat.key);
                self.by_key.insert(stat.key, serial);
                self.by_path.insert(copy_path, serial);
            }
            None => {
                warn!(path = %path.display(), lost_bytes = unread, "log file was emptied");
                self.counts.lost_truncated += unread;
                file.abandoned = true;
            }
        }
        self.changed = true;
        self.settle_copies(serial, &log_path);
        self.start_over(id, &path, &log_path, &origin);
        if self.files.get(&serial).is_some_and(|file| file.abandoned) {
            self.leave_abandoned(id, serial, now);
        }
    }

    fn start_over(&mut self, id: LogId, path: &Path, log_path: &Path, origin: &Origin) {
        let opened = open(path);
        let Ok(Some((file, stat))) = opened else { return };
        if self.by_key.contains_key(&stat.key) {
            return;
        }
        let start = Start {
            serial: self.next_id(),
            log: self.log_for(log_path, origin),
            path: path.to_owned(),
            positions: Positions::all_at(0),
            salt: fastrand::u64(1..),
            id: None,
            must_save: true,
            grown: self.clock.elapsed(),
        };
        match self.track(file, &stat, start) {
            Ok(fresh) => {
                if let Some(log) = self.logs.get_mut(&id) {
                    log.files.insert(log.files.len().min(1), fresh);
                }
            }
            Err(error) => {
                warn!(path = %path.display(), %error, "open log file, trying again later");
                self.counts.open_errors += 1;
            }
        }
    }

    /// Looks among the siblings for a copy of a file's old content that holds all that was read.
    fn find_copy(&self, serial: FileSerial, log_path: &Path) -> Option<(fs::File, Stat, PathBuf)> {
        let file = self.files.get(&serial)?;
        let mut unknown = self.unknown_siblings(log_path).into_iter().rev();
        unknown.find(|(copy, ..)| 0 < file.read && file.continues_in(copy).unwrap_or(false))
    }

    /// Opens the rotated siblings of a log that are neither open nor in the checkpoint.
    fn unknown_siblings(&self, log_path: &Path) -> Vec<(fs::File, Stat, PathBuf)> {
        let Some(folder) = log_path.parent() else { return Vec::new() };
        let found = self.roots.scan_folder(folder, &mut |_| {});
        let log = found.logs.into_iter().find(|log| log.path == log_path);
        let siblings = log.into_iter().flat_map(|log| log.files).filter(|path| path != log_path);
        let opened = siblings.filter_map(|path| {
            let (file, stat) = open(&path).ok()??;
            let known = self.by_key.contains_key(&stat.key) || self.closed.contains_key(&stat.key);
            (!known).then_some((file, stat, path))
        });
        opened.collect()
    }

    /// Notes that copies of an emptied file which hold less than was read of it hold nothing
    /// new: some lines came after the copy was made, and were read before the file was emptied.
    fn settle_copies(&mut self, serial: FileSerial, log_path: &Path) {
        let siblings = self.unknown_siblings(log_path);
        let Some(file) = self.files.get(&serial) else { return };
        for (copy, stat, path) in siblings {
            let longer = file.read < stat.size || stat.size == 0;
            let tail_differs = file.saved.as_ref().is_some_and(|saved| {
                saved.offset <= stat.size
                    && !saved.tail.is_before(&copy, saved.offset).unwrap_or(false)
            });
            if longer || tail_differs || !file.head.is_head_of(&copy).unwrap_or(false) {
                continue;
            }
            let marks = (Mark::head(&copy), Mark::before(&copy, stat.size));
            let (Ok(head), Ok(Some(tail))) = marks else { continue };
            let entry = Entry {
                log: log_path.to_owned(),
                path,
                key: stat.key,
                born: stat.born,
                salt: fastrand::u64(1..),
                id: None,
                head,
                offset: stat.size,
                tracks: None,
                tail,
                size: stat.size,
                gone_ms: None,
            };
            let closed = Closed { entry, modified: Some(stat.modified), seen: true };
            self.closed.insert(stat.key, closed);
        }
    }
}

fn watch_folder(watch: &mut super::watch::Watch, folder: &Path) {
    if watch.add(folder) {
        metrics::counter!(crate::telemetry::WATCH_ERRORS).increment(1);
    }
}

/// Returns where a link leads; the path itself when it is no link.
fn real_path(path: &Path) -> PathBuf {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => {
            fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
        }
        _ => path.to_owned(),
    }
}

/// Whether a file is the one the checkpoint means.
fn fits(entry: &Entry, file: &fs::File, stat: &Stat) -> io::Result<bool> {
    Ok(stat.born_as(entry.born) && has_content(entry, file, stat)?)
}

/// Whether a file has the content the checkpoint means.
fn has_content(entry: &Entry, file: &fs::File, stat: &Stat) -> io::Result<bool> {
    Ok(entry.positions().highest() <= stat.size
        && entry.head.is_head_of(file)?
        && entry.tail.is_before(file, entry.offset)?)
}

/// Whether the file of an entry is still where it was last seen.
fn is_in_place(entry: &Entry) -> bool {
    let Ok(Some((file, stat))) = open(&entry.path) else { return false };
    stat.key == entry.key && fits(entry, &file, &stat).unwrap_or(false)
}
