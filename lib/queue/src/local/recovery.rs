//! Opening a partition: what of its files is whole, and what the next offset is.
//!
//! Only the newest file is read through, since only it can have been torn by a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::{Offset, QueueError, TopicPartition, telemetry};

use super::disk::sync_folder;
use super::frame::{BadHeader, HEADER_BYTES, Header};
use super::partition::{LogFile, PartitionLog};
use super::scan::{Step, Walker};

const SUFFIX: &str = ".log";
const BASE_DIGITS: usize = 20;

/// Returns the path of the file whose first message is `base`.
pub(super) fn file_path(folder: &Path, base: Offset) -> PathBuf {
    folder.join(format!("{:0BASE_DIGITS$}{SUFFIX}", base.0))
}

/// Opens the partition in `folder`. `reported` is the highest offset anyone was ever done with.
pub(super) fn open_partition(
    at: TopicPartition,
    folder: &Path,
    reported: Offset,
) -> Result<PartitionLog, QueueError> {
    let bases = list_bases(folder).map_err(|error| QueueError::io("list", folder, &error))?;
    let mut files = Vec::with_capacity(bases.len());
    for (index, base) in bases.iter().enumerate() {
        let newest = index + 1 == bases.len();
        if let Some(file) = open_file(&at, folder, *base, newest)? {
            files.push(file);
        }
    }
    let mut high = reported;
    if let Some(file) = files.last_mut() {
        let scanned = cut_tail(&at, file)?;
        high = high.max(scanned);
    }
    Ok(PartitionLog::new(at, folder.to_path_buf(), files, high))
}

fn list_bases(folder: &Path) -> io::Result<Vec<Offset>> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let base = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .filter(|digits| digits.len() == BASE_DIGITS)
            .and_then(|digits| digits.parse::<i64>().ok());
        bases.extend(base.map(Offset));
    }
    bases.sort_unstable();
    Ok(bases)
}

/// Checks a file's header. `None` when the file is unusable and was taken out of the way.
fn open_file(
    at: &TopicPartition,
    folder: &Path,
    base: Offset,
    newest: bool,
) -> Result<Option<LogFile>, QueueError> {
    let path = file_path(folder, base);
    let failed = |action| {
        let path = path.clone();
        move |error: io::Error| QueueError::io(action, &path, &error)
    };
    let mut file = File::open(&path).map_err(failed("open"))?;
    let metadata = file.metadata().map_err(failed("look at"))?;
    let mut bytes = [0; HEADER_BYTES];
    let whole = HEADER_BYTES as u64 <= metadata.len();
    let header = if whole {
        file.read_exact(&mut bytes).map_err(failed("read"))?;
        Header::decode(&bytes)
    } else {
        Err(BadHeader::Damaged)
    };
    let modified = metadata.modified().map_err(failed("look at"))?;
    let modified_ms = modified
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    match header {
        Ok(header) if header.base == base => Ok(Some(LogFile {
            base,
            salt: header.salt,
            path,
            durable_bytes: metadata.len(),
            newest_ms: modified_ms.max(header.created_ms),
        })),
        Err(BadHeader::Version(version)) => Err(QueueError::Corrupt {
            path,
            reason: format!("format version {version} is newer than this program"),
        }),
        // Nothing is acknowledged before the header is durable.
        Err(BadHeader::Damaged) if newest && metadata.len() <= HEADER_BYTES as u64 => {
            fs::remove_file(&path).map_err(failed("remove"))?;
            count_cut(at, &path, metadata.len());
            Ok(None)
        }
        Ok(_) | Err(BadHeader::Damaged) => {
            let aside = path.with_extension("log.corrupt");
            fs::rename(&path, &aside).map_err(failed("put aside"))?;
            sync_folder(folder).map_err(failed("put aside"))?;
            metrics::counter!(
                telemetry::LOCAL_SET_ASIDE_BYTES, "topic" => at.topic.to_string()
            )
            .increment(metadata.len());
            tracing::error!(topic = %at.topic, partition = at.partition.0, file = %aside.display(), "header of a queue file is unreadable; file put aside");
            Ok(None)
        }
    }
}

/// Cuts what follows the last valid frame of the newest file; returns the offset after that frame.
fn cut_tail(at: &TopicPartition, log: &mut LogFile) -> Result<Offset, QueueError> {
    let path = log.path.clone();
    let failed = |action| {
        let path = path.clone();
        move |error: io::Error| QueueError::io(action, &path, &error)
    };
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed("open"))?;
    let length = file.metadata().map_err(failed("look at"))?.len();
    let mut walker = Walker::new(&file, log.salt, 0, length);
    let mut high = log.base;
    let mut whole = HEADER_BYTES as u64;
    loop {
        let newest_ms = match walker.step().map_err(failed("read"))? {
            Step::Frame(frame) if frame.offset < high => continue,
            Step::Frame(frame) => {
                high = frame.offset.next();
                frame.appended_ms
            }
            // Damage before a valid frame is dealt with when it is read.
            Step::Damage(_) => continue,
            Step::End => break,
        };
        whole = walker.place();
        log.newest_ms = newest_ms;
    }
    if whole < length {
        file.set_len(whole).map_err(failed("cut"))?;
        file.sync_all().map_err(failed("cut"))?;
        count_cut(at, &path, length - whole);
    }
    log.durable_bytes = whole;
    Ok(high)
}

fn count_cut(at: &TopicPartition, path: &Path, bytes: u64) {
    metrics::counter!(telemetry::LOCAL_TAIL_CUT_BYTES, "topic" => at.topic.to_string())
        .increment(bytes);
    tracing::warn!(topic = %at.topic, partition = at.partition.0, file = %path.display(), bytes, "cut an unfinished write off the local queue");
}

/// Makes the file whose first message will be `header.base`, durable before it returns.
pub(super) fn create_file(folder: &Path, header: &Header) -> io::Result<(File, PathBuf)> {
    let path = file_path(folder, header.base);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
    file.write_all_at(&header.encode(), 0)?;
    file.sync_all()?;
    sync_folder(folder)?;
    Ok((file, path))
}
