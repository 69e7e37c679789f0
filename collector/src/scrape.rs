//! Scraping: `/metrics` of targets and of this process, and the metrics of this host.
//!
//! What always holds:
//! - a series that vanishes from a target, or a target that stops answering, gets a staleness
//!   marker, so that its last value is not carried on for five minutes
//!   (`specs/prometheus-api.md` 3.2);
//! - `up`, `scrape_duration_seconds` and `scrape_samples_scraped` exist for every target;
//! - one slow target delays no other: each has its own task and deadline.
//!
//! Samples are not kept over a crash: the next scrape replaces them.

mod exposition;
mod section;
mod target;

pub use exposition::{Exposition, parse};
pub use section::{ScrapeSection, TargetSection};
pub use target::Target;

/// Prometheus' marker for "this series has ended": a NaN known by its bits.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
