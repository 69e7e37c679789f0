//! A file that gets its name when it is whole.
//!
//! Until then it stands beside it under a name of its own that ends in `.incomplete`, so that it
//! can be given its name in one step and nobody takes it for what it is not yet.
//!
//! What always holds: no file of another process is written to, and without `force` none replaced.
//! Dropping it removes the file; a crash leaves it.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Leftovers of crashes that are passed over; with more, someone should look.
const LEFTOVERS_MAX: u32 = 100;

/// The file, removed when it is dropped.
#[derive(Debug)]
pub(super) struct Unfinished {
    file: File,
    path: PathBuf,
    removes: bool,
}

impl Unfinished {
    /// Creates an empty file beside `target`.
    pub(super) fn beside(target: &Path) -> anyhow::Result<Self> {
        for number in 0..LEFTOVERS_MAX {
            let mut name = target.as_os_str().to_owned();
            if number != 0 {
                name.push(format!(".{number}"));
            }
            name.push(".incomplete");
            let path = PathBuf::from(name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { file, path, removes: true }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("create `{}`", path.display()));
                }
            }
        }
        bail!("{LEFTOVERS_MAX} unfinished files stand beside `{}`, remove them", target.display())
    }

    /// A handle to write with.
    pub(super) fn file(&self) -> anyhow::Result<File> {
        self.file.try_clone().with_context(|| format!("open `{}`", self.path.display()))
    }

    /// What was being done when writing failed.
    pub(super) fn context(&self) -> String {
        format!("write `{}`", self.path.display())
    }

    /// Leaves the file under the unfinished name, which is returned.
    pub(super) fn keep(mut self) -> anyhow::Result<PathBuf> {
        self.sync()?;
        self.removes = false;
        Ok(self.path.clone())
    }

    /// Gives the file its name, on disk for good; returns its size.
    ///
    /// # Errors
    /// Also when a file of that name has appeared, unless `force` says to replace it.
    pub(super) fn publish(mut self, target: &Path, force: bool) -> anyhow::Result<u64> {
        self.sync()?;
        check_target(target, force)?;
        let bytes = self.file.metadata().context("look at the file")?.len();
        fs::rename(&self.path, target).with_context(|| {
            format!("rename `{}` to `{}`", self.path.display(), target.display())
        })?;
        self.removes = false;
        Ok(bytes)
    }

    fn sync(&self) -> anyhow::Result<()> {
        self.file.sync_all().with_context(|| self.context())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.removes {
            // What ended the export is being said already.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Checks that `target` may be written: there is nothing, or a file that `force` replaces.
pub(super) fn check_target(target: &Path, force: bool) -> anyhow::Result<()> {
    let shown = target.display();
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("look for `{shown}`")),
        Ok(found) if !found.is_file() => bail!("`{shown}` is there and no regular file"),
        Ok(_) if !force => bail!("file `{shown}` exists; --force replaces it"),
        Ok(_) => Ok(()),
    }
}
