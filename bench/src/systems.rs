//! The processes a whole-system test or benchmark starts, stops and kills, and other systems by
//! address.

pub mod deployment;
mod elasticsearch;
pub mod kafka;
mod loki;
pub mod millrace;
pub mod rival;
pub mod s3;
mod script;
mod victorialogs;
