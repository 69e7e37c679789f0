//! Log files.

pub mod checkpoint;
pub mod discover;
pub mod fingerprint;
pub mod glob;
pub mod lines;
pub mod watch;
