//! The logs segment: log rows as columns, patterns and an index over granules.

pub mod plan;
