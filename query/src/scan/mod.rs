//! The one scan operator: rows of published segments and recent rows of indexers as one answer.

mod samples;

pub use samples::{SamplePlan, SampleReader, SeriesData};
