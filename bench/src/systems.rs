//! The processes a whole-system test or benchmark starts, stops and kills.

pub mod deployment;
pub mod kafka;
pub mod millrace;
pub mod s3;
mod script;
