//! From the bytes of one physical line to a piece of a record.
//!
//! What always holds: no input panics or fails; a line that fits no grammar is handed back as it
//! is, so that the caller keeps it raw (C-208). Nothing here reads files or clocks, and nothing
//! allocates for a well-formed CRI line.
//!
//! The grammar is decided per line by its first byte (C-202): container runtimes write either
//! CRI, which starts with a digit, or docker's JSON, which starts with `{`.

pub mod cri;
pub mod json;
pub mod partial;
pub mod plain;
pub mod text;

use std::borrow::Cow;

/// Which output of the container a piece came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// Returns the stream with this name in CRI and docker logs.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"stdout" => Some(Self::Stdout),
            b"stderr" => Some(Self::Stderr),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// Returns a dense index, for per-stream arrays.
    pub fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }
}

/// What one line of a container log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The runtime's time, in nanoseconds since 1970-01-01 UTC.
    pub time: i64,
    pub stream: Stream,
    /// Raw bytes, perhaps empty, perhaps not UTF-8.
    pub content: Cow<'a, [u8]>,
    /// Whether the record ends with this piece.
    pub complete: bool,
}

/// The grammar a line should have had: the `parser` label and the `parse_error` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    Cri,
    Json,
}

impl Grammar {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cri => "cri",
            Self::Json => "json",
        }
    }
}

/// Reads one line, without its line feed, of a container log.
///
/// # Errors
/// When the line fits neither grammar; says which one it came closest to.
pub fn container_line(line: &[u8]) -> Result<Piece<'_>, Grammar> {
    if line.first() == Some(&b'{') {
        return json::parse(line).ok_or(Grammar::Json);
    }
    cri::parse(line).ok_or(Grammar::Cri)
}
