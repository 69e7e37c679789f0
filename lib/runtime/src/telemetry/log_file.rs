//! The process's own log file, bounded by rotation.
//!
//! Always holds: file and predecessor together take at most twice `bytes_max` plus one line. A line
//! is written with one call, so readers see whole lines. A write that fails is dropped: logging
//! must never stop the process, and standard error has the line as well.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// A log file that starts over when it is large. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    open: Arc<Mutex<Open>>,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl LogFile {
    /// Opens or creates `path` and the folders above it, to append.
    pub(super) fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = append_to(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            open: Arc::new(Mutex::new(Open { path: path.to_owned(), file, bytes, bytes_max })),
        })
    }
}

impl Open {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes_max < self.bytes + line.len() as u64 && 0 < self.bytes {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut previous = self.path.clone().into_os_string();
        previous.push(".1");
        fs::rename(&self.path, previous)?;
        self.file = append_to(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter { file: self }
    }
}

/// Writes lines into a shared [`LogFile`].
#[derive(Debug)]
pub(super) struct LineWriter<'a> {
    file: &'a LogFile,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut open = self.file.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.append(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_stays_bounded_and_the_newest_lines_stay() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("log").join("millrace.log");
        let log = LogFile::open(&path, 100).expect("opens");
        for number in 0..50 {
            let line = format!("line {number:03}\n");
            log.make_writer().write_all(line.as_bytes()).expect("writes");
        }
        let newest = fs::read_to_string(&path).expect("is there");
        let previous = fs::read_to_string(path.with_extension("log.1")).expect("is there");
        assert!(newest.ends_with("line 049\n"), "{newest}");
        assert!(newest.len() <= 100 && previous.len() <= 100);
        let reopened = LogFile::open(&path, 100).expect("opens");
        reopened.make_writer().write_all(b"more\n").expect("writes");
        assert!(fs::read_to_string(&path).expect("is there").ends_with("049\nmore\n"));
    }
}
