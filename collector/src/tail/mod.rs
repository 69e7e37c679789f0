//! Log files: found, read to the byte, remembered.
//!
//! | file | what it does |
//! | --- | --- |
//! | `discover` | which logs there are, by name |
//! | `watch` | wakes at once when something changes |
//! | `reconcile` | new files, renames, rewrites |
//! | `read`, `lines` | bytes of one file to lines |
//! | `turn` | one log's turn; rotation |
//! | `emit`, `streams` | lines to rows with labels |
//! | `sink` | rows to batches |
//! | `track`, `ledger`, `checkpoint` | what is acknowledged, in memory and on disk |
//! | `fingerprint` | which file is which over restarts |
//! | `tailer`, `upkeep`, `task` | the whole: state, upkeep, and the task that drives it |
//!
//! What always holds: a committed position never passes a record that is not acknowledged; rows
//! carry the same source and offset however often they are read; memory is bounded by
//! `carry_bytes_max`, one step's batches and the shipper's budget.

pub mod checkpoint;
mod counts;
pub mod discover;
mod emit;
pub mod fingerprint;
pub mod glob;
pub mod ledger;
pub mod lines;
pub mod read;
mod reconcile;
pub mod sink;
pub mod streams;
pub mod tailer;
pub mod task;
mod track;
mod turn;
mod upkeep;
pub mod watch;

#[cfg(test)]
mod model_tests;
