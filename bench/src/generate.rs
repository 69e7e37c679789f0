//! `bench generate`: a corpus to standard output or nowhere, its counts and checksum.

use std::io::Write;

use bench::corpus::{CorpusKind, CorpusPlan, Rows};
use bench::cpu::Stopwatch;
use clap::Args;

/// Which corpus; shared by all commands.
#[derive(Args, Clone, Copy)]
pub(crate) struct CorpusArguments {
    /// Which lines.
    #[arg(long, value_enum, default_value_t = CorpusKind::K8s)]
    pub(crate) corpus: CorpusKind,
    /// Bytes of log lines.
    #[arg(long, default_value_t = 1_000_000_000)]
    pub(crate) bytes: u64,
    /// Same seed, same lines.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Unix seconds of the first line; 2025-01-15 06:00 UTC unless given.
    #[arg(long)]
    start: Option<i64>,
}

impl CorpusArguments {
    pub(crate) fn plan(&self) -> CorpusPlan {
        let plan = CorpusPlan::new(self.corpus, self.bytes, self.seed);
        let start_ns = self.start.map_or(plan.start_ns, |start| start * 1_000_000_000);
        CorpusPlan { start_ns, ..plan }
    }
}

#[derive(Args)]
pub(crate) struct Generate {
    #[command(flatten)]
    corpus: CorpusArguments,
    /// Write the lines to standard output.
    #[arg(long)]
    print: bool,
}

impl Generate {
    #[allow(clippy::print_stderr, reason = "standard output is for the lines")]
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let mut watch = Stopwatch::default();
        let mut rows = Rows::new(self.corpus.plan())?;
        watch.time(|| -> anyhow::Result<()> {
            while let Some(row) = rows.next_row() {
                if self.print {
                    out.write_all(row.line.as_bytes())?;
                    out.write_all(b"\n")?;
                }
            }
            Ok(())
        })?;
        out.flush()?;
        let summary = rows.summary();
        eprintln!("{} ({})", summary, rows.origin());
        eprintln!("{:.0} MB for each CPU second", watch.megabytes_per_second(summary.raw_bytes));
        eprintln!("{:?}", rows.needles());
        Ok(())
    }
}
