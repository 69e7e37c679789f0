//! The `millrace` binary: every role in one process, each role alone, and the client commands.
//!
//! This file only dispatches; [`cli`] says what can be asked for.

use std::process::ExitCode;

use clap::Parser;

mod allocator;
mod catalog;
mod check;
mod cli;
mod client;
mod config;
mod guide;
mod process;
mod roles;
mod stage;
mod standalone;

use cli::{Ask, CatalogCommand, Cli, Command};
use process::Role;

/// Exit code for a wrong command line or configuration, as clap uses it.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => process::start(Role::Standalone, &cli.standalone),
        Some(Command::Standalone(args)) => process::start(Role::Standalone, &args),
        Some(Command::Collector(args)) => process::start(Role::Collector, &args),
        Some(Command::Indexer(args)) => process::start(Role::Indexer, &args),
        Some(Command::Query(args)) => match args.ask() {
            Ok(Ask::Role(process)) => process::start(Role::Query, &process),
            Ok(Ask::Server(ask)) => client::start(client::query(ask)),
            Err(usage) => usage.exit(),
        },
        Some(Command::Tail(args)) => client::start(client::tail(args)),
        Some(Command::Labels(args)) => client::start(client::labels(args)),
        Some(Command::Dlq(command)) => client::start(client::dlq(command)),
        Some(Command::CheckConfig(args)) => check::run(&args),
        Some(Command::Catalog(CatalogCommand::Doctor(args))) => {
            client::start(catalog::doctor(args))
        }
        Some(Command::Segments(args)) => client::start(client::segments(args)),
        Some(Command::Export(args)) => client::start(client::export(args)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            let usage = error.is::<config::Invalid>();
            if usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

#[allow(clippy::print_stderr, reason = "the last words of a command")]
fn report(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
