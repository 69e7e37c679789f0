//! The few disk operations that fail when a disk is full or broken, so that tests can fail them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Writing, syncing, and how much room is left.
pub(super) trait Disk: Send + Sync + std::fmt::Debug {
    /// Returns the bytes an ordinary user may still write to the disk of `folder`.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;

    fn write_all_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Makes everything written to `file` durable.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The machine's disks.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn write_all_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// Makes names created, renamed or removed in `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Returns whether `error` means that the disk is full, or the user's share of it.
pub(super) fn means_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
