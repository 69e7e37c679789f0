//! Pod logs as kubelet and a CRI runtime leave them on a node.
//!
//! Facts from `specs/collector.md`: the path grammar (C-101), the line grammar with partial
//! pieces (C-201, C-203, C-204), rotation by rename with a one-second stamp (section 4).

use std::fs::{File, OpenOptions, create_dir_all, rename};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use fastrand::Rng;

use crate::stamp::{Form, Stamps};

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
    stamps: Stamps,
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
            stamps: Stamps::new(),
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
        let time_ns = self.time_ns + self.rng.i64(1..2_000_000);
        self.write_at(time_ns, output, line)?;
        Ok(time_ns)
    }

    /// Writes one line with this time; the rest as [`PodLog::write`].
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_at(&mut self, time_ns: i64, output: Output, line: &str) -> anyhow::Result<()> {
        self.time_ns = time_ns;
        let mut text = String::new();
        if self.unfinished.as_ref().is_some_and(|(held, _, _)| *held == output) {
            self.finish_record(&mut text);
        }
        let mut rest = line;
        while PIECE_BYTES < rest.len() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            push_piece(&mut self.stamps, &mut text, (time_ns, output), "P", piece);
            rest = after;
        }
        let split = 2 < rest.len() && self.unfinished.is_none() && self.rng.u8(..50) == 0;
        if split {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(rest.len() / 2));
            push_piece(&mut self.stamps, &mut text, (time_ns, output), "P", piece);
            self.unfinished = Some((output, after.to_owned(), time_ns));
        } else {
            push_piece(&mut self.stamps, &mut text, (time_ns, output), "F", rest);
        }
        self.append(&text)
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
            push_piece(&mut self.stamps, text, (time_ns, output), "F", &rest);
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
        let mut date = String::new();
        self.stamps.set(self.time_ns);
        self.stamps.push(Form::MillisZ, &mut date);
        let day: String = date.chars().take(10).filter(char::is_ascii_digit).collect();
        let stamp = format!("{day}-{:06}", self.rotations);
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

fn push_piece(
    stamps: &mut Stamps,
    text: &mut String,
    (time_ns, output): (i64, Output),
    tag: &str,
    content: &str,
) {
    stamps.set(time_ns);
    stamps.push(Form::NanosZ, text);
    text.extend([" ", output.name(), " ", tag, " ", content, "\n"]);
}
