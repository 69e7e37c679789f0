//! One process at a time in the queue's folder.
//!
//! The kernel lets go of the lock when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::QueueError;

/// The lock, for as long as it lives.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    pub(super) fn take(folder: &Path) -> Result<Self, QueueError> {
        let path = folder.join("lock");
        let failed = |error: std::io::Error| QueueError::io("lock", &path, &error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(QueueError::Locked {
                    path: folder.to_path_buf(),
                    holder: holder(&file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        let id = std::process::id().to_string();
        file.write_all(id.as_bytes()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &File) -> String {
    let mut id = String::new();
    match file.take(20).read_to_string(&mut id) {
        Ok(_) if !id.trim().is_empty() => format!("process {}", id.trim()),
        _ => "another process".to_owned(),
    }
}
