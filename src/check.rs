//! `millrace check-config FILE`: what is wrong, where, and what to do; run it before a rollout.

use std::io::{self, Write};

use crate::cli::CheckArgs;
use crate::config::{Config, Overrides};

/// Prints `FILE: ok`, or fails with every problem found.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.file, args.ignore_unknown_config, &Overrides::default())?;
    let mut out = io::stdout().lock();
    if args.show {
        out.write_all(config.effective.as_bytes())?;
        return Ok(());
    }
    for key in &config.ignored_keys {
        writeln!(out, "{}: key `{key}`: unknown, ignored", args.file.display())?;
    }
    writeln!(out, "{}: ok", args.file.display())?;
    Ok(())
}
