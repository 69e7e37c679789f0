//! The figures we report: each stage alone in this process, and the released binary in separate
//! processes with a real broker. `docs/benchmarks.md` says how to repeat them.

#![allow(clippy::print_stdout, reason = "a command that prints its result")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]

mod check;
mod compare;
mod generate;
mod latency;
mod logs;
mod report;
mod stage;

use clap::{Parser, Subcommand};

/// As in the released binary, for the stages in this process.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(about = "Measure Millrace, and other systems beside it")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A running system against the naive oracle, on random questions.
    Check(check::Check),
    /// Another system, fed the same lines and asked the same questions.
    Compare(compare::Compare),
    /// A corpus: counts, checksum, and the lines if wanted.
    Generate(generate::Generate),
    /// Time from a line written to the line returned by a query, under load.
    Latency(latency::Latency),
    /// Cost of a corpus in every stage from batch to query, and bytes stored.
    Logs(logs::Logs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Check(command) => command.run().await,
        Command::Compare(command) => command.run().await,
        Command::Generate(command) => command.run(),
        Command::Latency(command) => command.run().await,
        Command::Logs(command) => command.run().await,
    }
}
