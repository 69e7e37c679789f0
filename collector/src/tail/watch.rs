//! Wakes the reader at once when a log folder changes.
//!
//! A wrapper of inotify on the folders of the logs. It only ever says *look there*: what is true
//! is found by looking, and the reconcile scan looks at everything every few seconds. So a lost
//! event costs time, never lines.
//!
//! Bounds: one watch per folder; where the kernel grants no more, the folder is scanned instead
//! and [`Watch::degraded`] says so.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use futures::FutureExt;
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::warn;

/// Bytes of events taken from the kernel at once, some 400 events.
const EVENT_BYTES: usize = 16 << 10;

/// Rounds of reading events per wake; a storm is then continued at the next one.
const ROUNDS_MAX: usize = 16;

/// What changed since the last time.
#[derive(Debug, Default)]
pub struct Wakes {
    /// Files that were written to.
    pub written: HashSet<PathBuf>,
    /// Folders in which a file appeared, vanished or was renamed.
    pub changed: HashSet<PathBuf>,
    /// Folders that appeared.
    pub appeared: HashSet<PathBuf>,
    /// Events were lost: look at everything.
    pub overflow: bool,
}

impl Wakes {
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
            && self.changed.is_empty()
            && self.appeared.is_empty()
            && !self.overflow
    }
}

/// The folders under watch. Adding is done where folders are looked at; waiting elsewhere.
#[derive(Debug, Default)]
pub struct Watch {
    watches: Option<Watches>,
    folders: HashMap<WatchDescriptor, PathBuf>,
    watched: HashMap<PathBuf, WatchDescriptor>,
    failed: HashSet<PathBuf>,
}

/// The waiting side.
#[derive(Debug)]
pub struct WatchEvents {
    inotify: AsyncFd<Inotify>,
}

/// Opens a watch; without one (no inotify, or too many instances) everything is scanned.
pub fn open() -> (Watch, Option<WatchEvents>) {
    #[allow(
        deprecated,
        reason = "the replacement is unsafe; `Inotify` keeps one descriptor for all its life"
    )]
    let opened =
        Inotify::init().and_then(|inotify| AsyncFd::with_interest(inotify, Interest::READABLE));
    match opened {
        Ok(inotify) => {
            let watches = Some(inotify.get_ref().watches());
            (Watch { watches, ..Watch::default() }, Some(WatchEvents { inotify }))
        }
        Err(error) => {
            warn!(%error, "no inotify, log folders are only scanned");
            (Watch::default(), None)
        }
    }
}

impl Watch {
    /// Watches a folder; returns whether that failed for the first time.
    pub fn add(&mut self, folder: &Path) -> bool {
        if self.watched.contains_key(folder) {
            return false;
        }
        let Some(watches) = &mut self.watches else { return false };
        let mask = WatchMask::MODIFY
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        match watches.add(folder, mask) {
            Ok(descriptor) => {
                self.failed.remove(folder);
                self.watched.insert(folder.to_owned(), descriptor.clone());
                self.folders.insert(descriptor, folder.to_owned());
                false
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                let first = self.failed.insert(folder.to_owned());
                if first {
                    warn!(folder = %folder.display(), %error, "folder cannot be watched, it is scanned instead");
                }
                first
            }
        }
    }

    /// Whether some folders have to be scanned for lack of watches.
    pub fn degraded(&self) -> bool {
        self.watches.is_none() || !self.failed.is_empty()
    }

    /// Forgets folders that a full scan did not find.
    pub fn retain(&mut self, exists: impl Fn(&Path) -> bool) {
        self.failed.retain(|folder| exists(folder));
        let gone: Vec<PathBuf> =
            self.watched.keys().filter(|folder| !exists(folder)).cloned().collect();
        for folder in gone {
            self.remove(&folder);
        }
    }

    fn remove(&mut self, folder: &Path) {
        let Some(descriptor) = self.watched.remove(folder) else { return };
        self.folders.remove(&descriptor);
        if let Some(watches) = &mut self.watches {
            // The kernel has removed the watch itself when the folder is gone.
            drop(watches.remove(descriptor));
        }
    }

    fn note(
        &mut self,
        descriptor: &WatchDescriptor,
        mask: EventMask,
        name: Option<&OsStr>,
        wakes: &mut Wakes,
    ) {
        if mask.contains(EventMask::Q_OVERFLOW) {
            wakes.overflow = true;
            return;
        }
        let Some(folder) = self.folders.get(descriptor).cloned() else { return };
        if mask.contains(EventMask::IGNORED) {
            self.folders.remove(descriptor);
            self.watched.remove(&folder);
            return;
        }
        if mask.contains(EventMask::MOVE_SELF) {
            // Its watch goes on under a path that is no longer right.
            self.remove(&folder);
            wakes.changed.insert(folder);
            return;
        }
        let Some(name) = name else { return };
        let path = folder.join(name);
        let new = mask.intersects(EventMask::CREATE | EventMask::MOVED_TO);
        if mask.contains(EventMask::ISDIR) && new {
            wakes.appeared.insert(path);
        } else if mask.contains(EventMask::MODIFY) {
            wakes.written.insert(path);
        } else {
            wakes.changed.insert(folder);
        }
    }
}

impl WatchEvents {
    /// Waits until there are events. Cancel-safe.
    pub async fn ready(&self) {
        match self.inotify.readable().await {
            // Readiness is cleared by `take` once the kernel has nothing more.
            Ok(mut guard) => guard.retain_ready(),
            Err(error) => {
                warn!(%error, "waiting for file events, scanning only");
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes the events there are.
    pub fn take(&mut self, watch: &mut Watch) -> Wakes {
        let mut wakes = Wakes::default();
        // The guard comes first: readiness that arrives after it survives the clearing below.
        let Some(Ok(mut guard)) = self.inotify.readable_mut().now_or_never() else { return wakes };
        let mut buffer = vec![0; EVENT_BYTES];
        for _ in 0..ROUNDS_MAX {
            match guard.get_inner_mut().read_events(&mut buffer) {
                Ok(events) => {
                    for event in events {
                        watch.note(&event.wd, event.mask, event.name, &mut wakes);
                    }
                }
                Err(error) => {
                    guard.clear_ready();
                    if error.kind() != io::ErrorKind::WouldBlock {
                        warn!(%error, "read file events, looking at everything");
                        wakes.overflow = true;
                    }
                    break;
                }
            }
        }
        wakes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    async fn next(events: &mut WatchEvents, watch: &mut Watch) -> Wakes {
        tokio::time::timeout(Duration::from_secs(10), events.ready()).await.unwrap();
        events.take(watch)
    }

    #[tokio::test]
    async fn c_104_says_where_to_look() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        let (mut watch, events) = open();
        let mut events = events.unwrap();
        assert!(!watch.add(base) && !watch.add(base));
        fs::write(base.join("a.log"), "x").unwrap();
        let wakes = next(&mut events, &mut watch).await;
        assert!(wakes.changed.contains(base) && wakes.written.contains(&base.join("a.log")));
        fs::rename(base.join("a.log"), base.join("a.log.1")).unwrap();
        assert!(next(&mut events, &mut watch).await.changed.contains(base));
        fs::create_dir(base.join("sub")).unwrap();
        assert!(next(&mut events, &mut watch).await.appeared.contains(&base.join("sub")));
        let nothing = tokio::time::timeout(Duration::from_millis(30), events.ready()).await;
        assert!(nothing.is_err(), "all events have been taken");
        fs::remove_dir(base.join("sub")).unwrap();
        assert!(next(&mut events, &mut watch).await.changed.contains(base));
    }

    #[test]
    fn folders_that_are_gone_are_forgotten() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let folder = tempfile::tempdir().unwrap();
        let (mut watch, _events) = open();
        watch.add(folder.path());
        assert!(!watch.add(&folder.path().join("missing")) && !watch.degraded());
        assert_eq!(watch.watched.len(), 1);
        watch.retain(|_| false);
        assert_eq!((watch.watched.len(), watch.folders.len()), (0, 0));
    }
}
