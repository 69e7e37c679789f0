//! The whole system in separate processes: collector, indexer, query, a real Kafka broker and a
//! real S3 server, fed with pod logs written as kubelet and the runtime write them.
//!
//! Built by the root package, whose binary it starts.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]
#![allow(clippy::print_stdout, reason = "a failure is repeated by the printed seed")]

mod cluster;
mod writer;

mod chaos;
mod filters;
mod no_loss;
mod store_outage;
mod storm;
