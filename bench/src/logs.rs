//! `bench logs`: a corpus through each stage alone, then through the whole path, then queries.

mod alone;
mod feed;
mod merge;
mod named;
mod stored;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use bench::corpus::Rows;
use clap::{Args, ValueEnum};

use crate::generate::CorpusArguments;
use crate::report::{Collected, Indexed, Report};
use crate::stage::Stage;

use alone::Last;
use feed::Fed;
use named::Runs;

#[derive(Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    corpus: CorpusArguments,
    /// How far to go. The first six are stages in this process, each with those before it;
    /// `index` and `query` start a broker, an S3 server and the released binary.
    #[arg(long, value_enum, default_value_t = StageChoice::All)]
    stage: StageChoice,
    /// How the corpus reaches Kafka: straight, or as pod logs through the collector.
    #[arg(long, value_enum, default_value_t = FeedChoice::Kafka)]
    feed: FeedChoice,
    /// Raw bytes of a segment built alone; the indexer's default.
    #[arg(long, default_value_t = 64 << 20)]
    segment_bytes: u64,
    /// Folder in which segments built alone stay.
    #[arg(long)]
    keep_segments: Option<PathBuf>,
    /// Merges everything the indexer wrote before queries are timed.
    #[arg(long)]
    merge: bool,
    /// YAML added to the configuration of every role.
    #[arg(long)]
    settings: Option<PathBuf>,
    /// Runs of a query after it ran once.
    #[arg(long, default_value_t = 20)]
    warm_runs: usize,
    /// Runs of a query just after the query process started.
    #[arg(long, default_value_t = 3)]
    cold_runs: usize,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StageChoice {
    All,
    Generate,
    Tokenise,
    Decode,
    Segment,
    Publish,
    Merge,
    Index,
    Query,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FeedChoice {
    Kafka,
    Pods,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl StageChoice {
    /// How far to go alone.
    fn alone(self) -> Option<Last> {
        match self {
            Self::Generate => Some(Last::Generate),
            Self::Tokenise => Some(Last::Tokenise),
            Self::Decode => Some(Last::Decode),
            Self::Segment => Some(Last::Segment),
            Self::Publish | Self::All => Some(Last::Publish),
            Self::Merge => Some(Last::Merge),
            Self::Index | Self::Query => None,
        }
    }
}

impl Logs {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let plan = self.corpus.plan();
        let mut report = Report {
            corpus: plan.kind,
            seed: plan.seed,
            rows: 0,
            raw_bytes: 0,
            generated: Rows::new(plan)?.summary(),
            stages: None,
            collected: None,
            indexed: None,
            merged: None,
            peak_rss_bytes: BTreeMap::new(),
            queries: Vec::new(),
        };
        if let Some(last) = self.stage.alone() {
            let keep = self.keep_segments.as_deref();
            let alone = alone::run(plan, last, self.segment_bytes, keep).await?;
            report.generated = alone.summary;
            report.stages = Some(alone.stages);
            report.merged = alone.merged;
        }
        if matches!(self.stage, StageChoice::All | StageChoice::Index | StageChoice::Query) {
            self.whole(&mut report).await?;
        }
        (report.rows, report.raw_bytes) = (report.generated.rows, report.generated.raw_bytes);
        match self.output {
            Format::Table => report.print(),
            Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        }
        Ok(())
    }

    /// The whole path in processes of their own.
    async fn whole(&self, report: &mut Report) -> anyhow::Result<()> {
        let plan = self.corpus.plan();
        let settings = match &self.settings {
            Some(path) => std::fs::read_to_string(path)?,
            None => String::new(),
        };
        let mut stage = Stage::start("logs", &settings).await?;
        stage.stop_indexer().await?;
        let Fed { summary, needles } = self.feed(&stage, report).await?;
        report.generated = summary;
        let started = Instant::now();
        stage.start_indexer().await?;
        let used = stage.publish_all(summary.rows).await?;
        let wall = started.elapsed().as_secs_f64();
        report.indexed = Some(Indexed {
            index_raw_mb_per_cpu_s: summary.raw_bytes as f64 / 1e6 / used.cpu_seconds,
            index_cpu_seconds: used.cpu_seconds,
            index_wall_seconds: wall,
            ..stored::measure(&stage, summary.raw_bytes).await?
        });
        report.peak_rss_bytes.insert("indexer", used.peak_rss_bytes);
        if self.merge {
            report.merged = Some(merge::all(stage.store(), summary.raw_bytes).await?);
        }
        if self.stage != StageChoice::Index {
            let runs = Runs { cold: self.cold_runs, warm: self.warm_runs };
            report.queries =
                named::time_all(&mut stage, &plan, &needles, runs, summary.raw_bytes).await?;
            report.peak_rss_bytes.insert("query", stage.query().usage()?.peak_rss_bytes);
        }
        Ok(())
    }

    async fn feed(&self, stage: &Stage, report: &mut Report) -> anyhow::Result<Fed> {
        let plan = self.corpus.plan();
        match self.feed {
            FeedChoice::Kafka => feed::into_kafka(plan, stage.bootstrap_servers()).await,
            FeedChoice::Pods => {
                let fed = feed::as_pod_logs(plan, stage.pods())?;
                let used = stage.wait_collected(fed.summary.rows).await?;
                report.collected = Some(Collected {
                    collect_raw_mb_per_cpu_s: fed.summary.raw_bytes as f64 / 1e6 / used.cpu_seconds,
                });
                report.peak_rss_bytes.insert("collector", used.peak_rss_bytes);
                Ok(fed)
            }
        }
    }
}
