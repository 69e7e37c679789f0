//! What consumer groups have reported as done, kept across restarts.
//!
//! Retention asks it what may go. Always holds: a group counts from the moment it first joined,
//! even before it reported anything; what is on disk may be older than what was reported, which
//! only keeps more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{Offset, QueueError, Topic, TopicPartition};

use super::disk::sync_folder;

const FILE_NAME: &str = "groups.json";
const VERSION: u32 = 1;
/// A file larger than this is not ours: thousands of groups and partitions fit.
const FILE_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    groups: BTreeMap<String, Group>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Group {
    topics: BTreeSet<String>,
    /// Next offset needed, by `topic/partition`.
    done: BTreeMap<String, Offset>,
}

#[derive(Debug)]
pub(super) struct Reports {
    folder: PathBuf,
    /// False when the file was unreadable: then nobody knows what may go.
    trusted: bool,
    state: Mutex<State>,
    /// Held while the file is replaced: one writer at a time, the newest state last.
    saving: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<String, Group>,
    changed: bool,
}

impl Reports {
    pub(super) fn open(folder: &Path) -> Result<Self, QueueError> {
        let path = folder.join(FILE_NAME);
        let (groups, trusted) = match read(&path) {
            Ok(groups) => (groups, true),
            Err(reason) => {
                let aside = path.with_extension("json.corrupt");
                fs::rename(&path, &aside)
                    .map_err(|error| QueueError::io("put aside", &path, &error))?;
                tracing::error!(file = %aside.display(), %reason, "reports of consumer groups are unreadable; keeping every message");
                (BTreeMap::new(), false)
            }
        };
        Ok(Self {
            folder: folder.to_path_buf(),
            trusted,
            state: Mutex::new(State { groups, changed: false }),
            saving: Mutex::default(),
        })
    }

    /// Remembers durably that `group` reads `topics`.
    pub(super) fn join(&self, group: &str, topics: &[Topic]) -> Result<(), QueueError> {
        {
            let mut state = self.lock();
            let known = state.groups.entry(group.to_owned()).or_default();
            let before = known.topics.len();
            known.topics.extend(topics.iter().map(|topic| topic.as_str().to_owned()));
            if known.topics.len() == before {
                return Ok(());
            }
            state.changed = true;
        }
        self.save()
    }

    /// Notes that `group` needs nothing below `next`; [`Reports::save`] makes it durable.
    pub(super) fn report(&self, group: &str, at: &TopicPartition, next: Offset) {
        let mut state = self.lock();
        let known = state.groups.entry(group.to_owned()).or_default();
        known.topics.insert(at.topic.as_str().to_owned());
        known.done.insert(at.to_string(), next);
        state.changed = true;
    }

    /// Returns the offset below which nobody needs anything.
    pub(super) fn needed_from(&self, at: &TopicPartition) -> Offset {
        if !self.trusted {
            return Offset(0);
        }
        let name = at.to_string();
        let state = self.lock();
        let readers =
            state.groups.values().filter(|group| group.topics.contains(at.topic.as_str()));
        readers
            .map(|group| group.done.get(&name).copied().unwrap_or_default())
            .min()
            .unwrap_or(Offset(i64::MAX))
    }

    /// Returns the highest offset any group is done with: everything below was once durable.
    pub(super) fn highest(&self, at: &TopicPartition) -> Offset {
        let name = at.to_string();
        let state = self.lock();
        let reported = state.groups.values().filter_map(|group| group.done.get(&name));
        reported.copied().max().unwrap_or_default()
    }

    /// Writes what changed since the last call.
    pub(super) fn save(&self) -> Result<(), QueueError> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let groups = {
            let mut state = self.lock();
            if !std::mem::take(&mut state.changed) {
                return Ok(());
            }
            state.groups.clone()
        };
        let path = self.folder.join(FILE_NAME);
        let stored = Stored { version: VERSION, groups };
        let written = write(&self.folder, &path, &stored);
        if written.is_err() {
            self.lock().changed = true;
        }
        written.map_err(|error| QueueError::io("write", &path, &error))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, Group>, String> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.to_string()),
    };
    if FILE_BYTES_MAX < length {
        return Err(format!("{length} bytes are too many"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if stored.version != VERSION {
        return Err(format!("version {} is unknown", stored.version));
    }
    Ok(stored.groups)
}

fn write(folder: &Path, path: &Path, stored: &Stored) -> std::io::Result<()> {
    let part = path.with_extension("json.part");
    let mut file = File::create(&part)?;
    file.write_all(&serde_json::to_vec(stored)?)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&part, path)?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use tempfile::TempDir;

    use super::*;
    use crate::Partition;

    #[test]
    fn saves_from_several_threads_leave_the_newest_state() {
        let folder = TempDir::new().unwrap();
        let reports = Reports::open(folder.path()).unwrap();
        let at = |number| TopicPartition::new(&Topic::logs(), Partition(number));
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (reports, at) = (&reports, at(number));
                scope.spawn(move || {
                    for next in 1..=25 {
                        reports.join(&format!("{number}-{next}"), &[Topic::logs()]).unwrap();
                        reports.report("g", &at, Offset(next));
                        reports.save().unwrap();
                    }
                });
            }
        });
        let again = Reports::open(folder.path()).unwrap();
        for number in 0..4 {
            assert_eq!(again.highest(&at(number)), Offset(25));
        }
    }

    #[test]
    fn an_unreadable_file_keeps_every_message() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join(FILE_NAME), "{\"version\": 1, \"groups\"").unwrap();
        let reports = Reports::open(folder.path()).unwrap();
        let at = TopicPartition::new(&Topic::logs(), Partition(0));
        reports.report("g", &at, Offset(10));
        assert_eq!(reports.needed_from(&at), Offset(0));
        assert!(folder.path().join("groups.json.corrupt").is_file());
    }
}
