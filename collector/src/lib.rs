//! The node collector: files, pushes and scrapes in, batches on the queue out.

pub mod carry;
pub mod config;
pub mod host;
pub mod level;
pub mod parse;
pub mod push;
pub mod scrape;
pub mod service;
pub mod ship;
pub mod tail;
pub mod telemetry;

pub use config::CollectorSection;
