//! What the whole-system tests and the benchmarks share: log lines of four corpora, pod logs
//! written the way kubelet and the runtime write them, a naive oracle, and the processes under
//! test.
//!
//! Nothing depends on this crate but tests.

pub mod batches;
pub mod checker;
pub mod corpus;
pub mod cpu;
mod digits;
pub mod loki;
pub mod oracle;
pub mod podlog;
pub mod questions;
mod stamp;
pub mod systems;
pub mod timing;
