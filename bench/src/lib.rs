//! What the whole-system tests and the benchmarks share: real log lines, pod logs written the
//! way kubelet and the runtime write them, a naive oracle, and the processes under test.
//!
//! Nothing depends on this crate but tests.

pub mod corpus;
pub mod loki;
pub mod oracle;
pub mod podlog;
pub mod systems;
