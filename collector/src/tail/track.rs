//! The tracks of a file, one for each source of its rows, and how far each is acknowledged.
//!
//! Stdout and stderr interleave in one file and go to partitions of their own, so one may be
//! acknowledged far ahead of the other. With one position for both, a file would be read again
//! from the lower one, and a piece whose record is acknowledged would find itself without its
//! end: that end lies before the position, perhaps in the next file. It would be taken for the
//! beginning of a later record.
//!
//! What always holds: a track's position is the start of a record of that track, or the end of
//! what was read; so what lies before it is wholly acknowledged, and nothing behind it is.

use serde::{Deserialize, Serialize};

use crate::parse::Stream;

/// Rows of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// Lines of no grammar, and all lines of plain files.
    Raw,
    /// Records a container wrote.
    Output(Stream),
}

impl Track {
    pub const ALL: [Self; 3] =
        [Self::Raw, Self::Output(Stream::Stdout), Self::Output(Stream::Stderr)];

    pub fn index(self) -> usize {
        match self {
            Self::Raw => 0,
            Self::Output(stream) => 1 + stream.index(),
        }
    }
}

/// For every track, the end of its acknowledged prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions([u64; 3]);

impl Positions {
    pub fn all_at(offset: u64) -> Self {
        Self([offset; 3])
    }

    pub fn of(mut position: impl FnMut(Track) -> u64) -> Self {
        Self(Track::ALL.map(&mut position))
    }

    pub fn get(self, track: Track) -> u64 {
        self.0[track.index()]
    }

    /// Returns where reading has to start.
    pub fn lowest(self) -> u64 {
        let [raw, stdout, stderr] = self.0;
        raw.min(stdout).min(stderr)
    }

    pub fn highest(self) -> u64 {
        let [raw, stdout, stderr] = self.0;
        raw.max(stdout).max(stderr)
    }
}
