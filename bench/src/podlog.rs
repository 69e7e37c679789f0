//! Pod logs as kubelet and a CRI runtime leave them on a node.
//!
//! Facts from `specs/collector.md`: the path grammar (C-101), the line grammar with partial
//! pieces (C-201, C-203, C-204), rotation by rename with a one-second stamp (section 4).

use std::fs::{File, OpenOptions, create_dir_all, rename};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use fastrand::Rng;

/// containerd's piece size in bytes (C-204).
const PIECE_BYTES: usize = 16_384;

/// Which of a container's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Output {
    /// `stdout`
    Stdout,
    /// `stderr`
    Stderr,
}

impl Output {
    /// As in the file and in the label `stream`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A container's log file being written.
#[derive(Debug)]
pub struct PodLog {
    folder: PathBuf,
    file: File,
    bytes: u64,
    /// Size in bytes at which the file is rotated.
    rotate_bytes: u64,
    rotations: u64,
    time_ns: i64,
    rng: Rng,
    /// Rest of a record whose first pieces are already in the file.
    unfinished: Option<(Output, String, i64)>,
}

impl PodLog {
    /// Creates `<root>/<namespace>_<pod>_<uid>/app/0.log`; times start at `start_ns`.
    ///
    /// # Errors
    /// When the folder or file cannot be made.
    pub fn create(
        root: &Path,
        namespace: &str,
        pod: &str,
        start_ns: i64,
        rotate_bytes: u64,
        mut rng: Rng,
    ) -> anyhow::Result<Self> {
        let uid = format!("{:08x}-1111-4222-8333-{:012x}", rng.u32(..), rng.u64(..1 << 48));
        let folder = root.join(format!("{namespace}_{pod}_{uid}")).join("app");
        create_dir_all(&folder).with_context(|| format!("create {folder:?}"))?;
        let file = open(&folder)?;
        Ok(Self {
            folder,
            file,
            bytes: 0,
            rotate_bytes,
            rotations: 0,
            time_ns: start_ns,
            rng,
            unfinished: None,
        })
    }

    /// Writes one line and returns its time: strictly increasing, so that order is defined.
    ///
    /// Long lines are split as the runtime does, one in fifty short ones too; pieces of the
    /// two outputs interleave.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&mut self, output: Output, line: &str) -> anyhow::Result<i64> {
        self.time_ns += self.rng.i64(1..2_000_000);
        let time_ns = self.time_ns;
        let mut text = String::new();
        if self.unfinished.as_ref().is_some_and(|(held, _, _)| *held == output) {
            self.finish_record(&mut text);
        }
        let mut rest = line;
        while PIECE_BYTES < rest.len() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            push_piece(&mut text, time_ns, output, "P", piece);
            rest = after;
        }
        let split = 2 < rest.len() && self.unfinished.is_none() && self.rng.u8(..50) == 0;
        if split {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(rest.len() / 2));
            push_piece(&mut text, time_ns, output, "P", piece);
            self.unfinished = Some((output, after.to_owned(), time_ns));
        } else {
            push_piece(&mut text, time_ns, output, "F", rest);
        }
        self.append(&text)?;
        Ok(time_ns)
    }

    /// Writes what is still owed of a split record.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        let mut text = String::new();
        self.finish_record(&mut text);
        self.append(&text)
    }

    /// Sets the clock of the following lines, if it lies ahead.
    pub fn advance_to(&mut self, time_ns: i64) {
        self.time_ns = self.time_ns.max(time_ns);
    }

    fn finish_record(&mut self, text: &mut String) {
        if let Some((output, rest, time_ns)) = self.unfinished.take() {
            push_piece(text, time_ns, output, "F", &rest);
        }
    }

    fn append(&mut self, text: &str) -> anyhow::Result<()> {
        self.file.write_all(text.as_bytes()).context("write pod log")?;
        self.bytes += text.len() as u64;
        if self.rotate_bytes <= self.bytes {
            self.rotate()?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> anyhow::Result<()> {
        self.rotations += 1;
        let (date, _) = civil(self.time_ns.div_euclid(1_000_000_000));
        let stamp = format!("{}-{:06}", date.replace('-', ""), self.rotations);
        let live = self.folder.join("0.log");
        rename(&live, self.folder.join(format!("0.log.{stamp}"))).context("rotate")?;
        self.file = open(&self.folder)?;
        self.bytes = 0;
        Ok(())
    }
}

fn open(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("0.log");
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open {path:?}"))
}

fn push_piece(text: &mut String, time_ns: i64, output: Output, tag: &str, content: &str) {
    let (date, time) = civil(time_ns.div_euclid(1_000_000_000));
    let nanos = time_ns.rem_euclid(1_000_000_000);
    text.push_str(&format!("{date}T{time}.{nanos:09}Z {} {tag} {content}\n", output.name()));
}

/// Date and time of day, UTC, of Unix seconds. Howard Hinnant, "chrono-compatible low-level
/// date algorithms", `civil_from_days`.
fn civil(seconds: i64) -> (String, String) {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    (format!("{year:04}-{month:02}-{day:02}"), format!("{hour:02}:{minute:02}:{:02}", second % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        let of = |seconds| civil(seconds);
        assert_eq!(of(0), ("1970-01-01".to_owned(), "00:00:00".to_owned()));
        assert_eq!(of(951_782_400), ("2000-02-29".to_owned(), "00:00:00".to_owned()));
        assert_eq!(of(1_700_000_000), ("2023-11-14".to_owned(), "22:13:20".to_owned()));
    }
}
