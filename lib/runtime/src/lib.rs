//! What every Millrace process stands on: configuration, HTTP, telemetry, shutdown, time, CPU.
//!
//! Nothing here knows logs, samples, queues or segments; every other crate may depend on this one
//! and this one depends on none of them.
//!
//! Always holds:
//! - no buffer, queue, connection count or body is without a bound, and each bound has a name;
//! - no task runs untracked: [`shutdown::Tasks`] knows its name and waits for it;
//! - time is read only in [`clock`], so tests can own it.
//!
//! There is no state on disk here except the optional log file of [`telemetry::LogSection`]; after
//! a crash nothing needs repair.

pub mod admin;
pub mod backoff;
pub mod body;
pub mod clock;
pub mod config;
pub mod cpu;
pub mod http;
pub mod process;
pub mod shutdown;
pub mod telemetry;
