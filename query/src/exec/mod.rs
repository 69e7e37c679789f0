//! Evaluation of LogQL over what the scan operator yields.
//!
//! Log queries keep the best entries of the chunks they are fed; metric queries fold chunks into
//! counts per series and step. Neither holds the rows it reads. `limits` bounds what they hold:
//! entries, and cells of series times steps.

mod aggregate;
mod binary;
mod filter;
mod grid;
mod labels;
mod metric;
mod number;
mod pipeline;
mod range;
mod run;
mod series;
mod top;

pub use grid::Grid;
pub use labels::Categories;
pub use number::arithmetic;
pub use run::{InstantQuery, LogData, MetricData, QueryData, RangeQuery, instant, range};
pub use series::{Point, Series};
pub use top::Entry;
