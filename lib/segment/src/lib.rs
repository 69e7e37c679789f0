//! The only definition of what Millrace keeps in the object store.
//!
//! # Life of a segment
//!
//! The indexer builds a segment in memory, writes it as **one object** through [`store`], and
//! publishes it with one [`catalog`] commit that also moves the queue offsets the segment covers.
//! From then on the object never changes: merges write new segments and retire old ones in the
//! catalog, retention removes them.
//!
//! # What always holds
//!
//! - An object that no commit names is garbage, never data: a crash between upload and commit
//!   leaves an orphan and loses nothing, because the offsets did not move.
//! - Every object carries its format version and checksums; what cannot be verified is an error
//!   that names the object, never a wrong answer.
//! - Nothing here knows about Kafka, HTTP or Grafana.
//!
//! The bytes are described in `docs/formats/`.

pub mod bundle;
pub mod catalog;
pub mod id;
pub mod index_files;
pub mod inspect;
pub mod logs;
pub mod meta;
pub mod recent;
pub mod samples;
pub mod store;
pub mod telemetry;
mod wire;

pub use id::{SegmentId, SegmentKind};
pub use meta::{BuiltSegment, OffsetRange, SegmentMeta};
