//! The logs segment: log rows as columns, patterns and an index over granules.

mod assemble;
mod best;
mod bits;
mod budget;
mod build;
mod columns;
mod condition;
mod decide;
mod error;
mod granule;
mod index;
mod intern;
mod needle;
mod pattern;
pub mod plan;
mod prune;
mod scan;
mod scan_core;
mod sections;
mod segment;
mod streams;
mod tally;
mod token;
mod token_filter;
mod verdict;
use crate::wire;

pub use budget::{ScanBudget, ScanLimit};
pub use build::{BuildOptions, BuildStats, BuiltSegment, LogSegmentBuilder, SEGMENT_BYTES_MAX};
pub use columns::ZSTD_LEVEL_DEFAULT;
pub use error::{BuildError, SegmentError};
pub use granule::GRANULE_ROWS;
pub use plan::{
    AttributeColumns, CompiledPlan, Direction, LineFilter, LineFilterOp, LogPlan, PlanError,
};
pub use scan::{LogScan, ScanStats};
pub use sections::FORMAT_VERSION;
pub use segment::{LogSegment, VolumeRow};
pub use streams::MINUTE_NS;
