//! `bench check`: a running system against the oracle, on random questions.

use bench::checker::check;
use bench::loki::Loki;
use bench::oracle::{LogQuestion, Table};
use bench::systems::rival::{Rival, RivalKind};
use clap::Args;
use fastrand::Rng;

use crate::generate::CorpusArguments;

/// Rows the oracle may hold: it keeps every line in memory.
const BYTES_MAX: u64 = 1 << 30;

#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    corpus: CorpusArguments,
    /// Base URL of the system's Loki API, `http://host:port`.
    #[arg(long)]
    addr: String,
    /// Push the corpus first, to the same address or to `--push-addr`; otherwise the system has
    /// it already, and nothing else.
    #[arg(long)]
    feed: bool,
    /// Base URL of the push API where it is another one, as for Millrace's collector.
    #[arg(long)]
    push_addr: Option<String>,
    /// Random questions.
    #[arg(long, default_value_t = 1000)]
    questions: u64,
    /// Seed of the questions; each is made of its own seed, counted up from here.
    #[arg(long, default_value_t = 1)]
    question_seed: u64,
}

impl Check {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let plan = self.corpus.plan();
        anyhow::ensure!(plan.bytes <= BYTES_MAX, "the oracle holds at most {BYTES_MAX} bytes");
        let table = Table::of(plan)?;
        let loki = Loki::new(&self.addr);
        if self.feed {
            let push = self.push_addr.as_deref();
            let (summary, _) = Rival::new(RivalKind::Loki, &self.addr, push).feed(plan).await?;
            println!("fed {summary}");
        }
        let mut wrong = 0;
        for seed in self.question_seed..self.question_seed + self.questions {
            let question = LogQuestion::random(&table, &mut Rng::with_seed(seed));
            if let Err(error) = check(&loki, &table, &question).await {
                println!("question {seed}: {error:#}");
                wrong += 1;
            }
        }
        let (rows, questions) = (table.len(), self.questions);
        println!("{questions} questions about {rows} rows, {wrong} answered differently");
        anyhow::ensure!(wrong == 0, "{wrong} answers differ from the oracle's");
        Ok(())
    }
}
