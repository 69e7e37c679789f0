//! The collector role: log files, pushes and metrics of this node, sent to the queue.
//!
//! `tail` finds and reads files, `parse` understands their lines; `push` takes what others send;
//! `scrape` and `host` read metrics; `ship` sends all of it and carries acknowledgements back.
//! `pipeline` shows how they are joined.
//!
//! What always holds:
//! - a file's position moves only when the queue has acknowledged everything before it;
//! - every row carries the identity of its file and its offset there, the same however often it
//!   is read, so that an indexer drops exactly the replays;
//! - no line is dropped for what is in it; whatever is lost is counted with its reason.
//!
//! On a crash, at any instruction: the rows since the last checkpoint are sent again.
//! Bounds are in [`config`], each with what raising it costs.

mod blocking;
pub mod carry;
pub mod config;
pub mod host;
pub mod parse;
pub mod pipeline;
pub mod push;
mod sampling;
pub mod scrape;
pub mod ship;
pub mod tail;
pub mod telemetry;

pub use config::CollectorSection;
pub use pipeline::{Collector, CollectorError, Dependencies};
