//! The logs segment: log rows as columns, patterns and an index over granules.
//!
//! # Why it is shaped like this
//!
//! Nearly all distinct tokens of logs have a digit in them (ids, addresses, numbers), are hardly
//! ever searched, and when they are, exactly. What is left, the shape of the line, repeats. So
//! lines are stored as columns, their shapes ([`pattern`]) are numbered, words are indexed once a
//! granule ([`index`]), and tokens with digits are hashed ([`token_filter`]). Where words change
//! from line to line as identifiers do, shapes leave them out too ([`frame`]).
//!
//! # Writing
//!
//! [`LogSegmentBuilder`] collects and sorts rows; `assemble` goes through them once, granule by
//! granule: [`token`] cuts lines, `tally` collects what a granule holds, [`variables`] takes lines
//! apart, [`columns`] writes pages. [`LogExport`] writes rows as other programs read them.
//!
//! # Reading
//!
//! [`LogSegment`] opens with one read. A [`LogScan`] takes away granules that cannot hold an answer
//! ([`prune`]), decides rows by time, stream, level and pattern ([`verdict`]), and where a variable
//! could still decide it searches variables alone if it can ([`variables`]), of which an identifier
//! needs a part, else whole lines ([`scan`]).
//!
//! # What always holds
//!
//! - A scan finds what a naive scan of the rows finds. Pruning only discards what cannot match,
//!   and every table that is not whole says so and then discards nothing.
//! - Nothing is interpreted before its checksum was compared; damage is a [`SegmentError`].
//! - All CPU work is in synchronous functions over bytes; only [`segment`] and [`scan`] do I/O.
//!
//! The bytes are described in `docs/formats/segment.md`.

mod assemble;
mod bits;
mod budget;
mod build;
mod classes;
mod column_reader;
mod columns;
mod condition;
mod dealt;
mod error;
mod export;
mod frame;
mod grams;
mod granule;
mod index;
mod inspect;
mod intern;
mod lanes;
mod merge;
mod minutes;
mod needle;
mod page;
mod pattern;
mod pattern_table;
mod pieces;
pub mod plan;
mod prune;
mod runs;
mod scan;
mod sections;
mod segment;
mod shelf;
mod short;
mod sizes;
mod streams;
mod tally;
mod terms;
mod token;
mod token_filter;
mod variables;
mod verdict;
mod widened;

pub use budget::{ScanBudget, ScanLimit};
pub use build::{
    BuildOptions, BuildStats, BuiltSegment, LogSegmentBuilder, SEGMENT_BYTES_MAX, ZSTD_LEVEL_FRESH,
    ZSTD_LEVEL_MERGED,
};
pub use error::{BuildError, SegmentError};
pub use export::{ExportError, LogExport};
pub use granule::GRANULE_ROWS;
pub use merge::{GRANULES_AHEAD, LogMerge, MergeError};
pub use minutes::{MinuteCount, MinuteTally};
pub use plan::{
    AttributeColumns, CompiledPlan, Direction, LineFilter, LineFilterOp, LogPlan, PlanError,
};
pub use scan::{Found, LogScan, RowTally, ScanStats, StreamRun};
pub use sections::FORMAT_VERSION;
pub use segment::{LogSegment, VolumeRow};
pub use sizes::{SegmentSizes, TokenCount, count_tokens};
pub use streams::MINUTE_NS;
pub use widened::WidenedFrames;
