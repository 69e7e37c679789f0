//! `bench latency` and `bench logs`: the figures we report, measured on the released binary in
//! separate processes, with a real broker. `docs/benchmarks.md` says how to repeat them.

#![allow(clippy::print_stdout, reason = "a command that prints its result")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]

mod latency;
mod logs;
mod stage;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measure Millrace, all roles in separate processes")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Time from a line written to the line returned by a query, under load.
    Latency(latency::Latency),
    /// Cost of a corpus from pod log to published segment, and bytes stored.
    Logs(logs::Logs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Latency(command) => command.run().await,
        Command::Logs(command) => command.run().await,
    }
}
