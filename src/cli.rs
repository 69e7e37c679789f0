//! What can be asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

/// Where client commands look for a server.
const ADDR_DEFAULT: &str = "http://127.0.0.1:3100";

/// Millrace: logs and metrics from every node to a Grafana panel.
///
/// Without a command it runs every role in this process: it reads this machine's logs and
/// metrics, keeps them under a data folder and answers queries.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, about, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) standalone: ProcessArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every role in this process (the default).
    Standalone(ProcessArgs),
    /// Run the collector: read files, scrape targets, ship to the queue.
    Collector(ProcessArgs),
    /// Run the indexer: turn the queue into segments.
    Indexer(ProcessArgs),
    /// Ask for log lines or values; with --config, run the query role.
    Query(QueryArgs),
    /// Follow log lines as they arrive.
    Tail(TailArgs),
    /// List label names, or the values of one label.
    Labels(LabelsArgs),
    /// Look at the messages that were set aside, or send them again.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Say what is wrong with a configuration file.
    CheckConfig(CheckArgs),
    /// Look after the catalog of published segments.
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Look at published segments: list, inspect, verify, sweep.
    Segments(SegmentsArgs),
    /// Write published log lines into a Parquet file.
    ///
    /// Columns are time, line, labels and attributes. Segments follow each other from old to new;
    /// within a segment rows are ordered by stream, then time. Reads the store, not a server: what
    /// no indexer has published yet is not in the file.
    Export(ExportArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// Check the store and everything in the catalog, and say what to do about what is wrong.
    ///
    /// Probes whether the store creates objects atomically, replays every commit, compares the
    /// snapshots, and looks for the object of every published segment. Changes nothing; may run
    /// beside a running system.
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Configuration file of any role; its `store` section counts.
    #[arg(long, value_name = "FILE", required_unless_present = "data_dir")]
    pub(crate) config: Option<PathBuf>,
    /// Folder that a standalone process keeps everything in.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Report unknown keys of the file but do not fail because of them.
    #[arg(long)]
    pub(crate) ignore_unknown_config: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List dead letters: where each message stood, and why it was set aside.
    Ls(DlqArgs),
    /// Send the messages to where they came from, after what was wrong has been mended.
    ///
    /// Dead letters stay where they are: replaying them twice stores their rows twice. The last
    /// line says where to go on.
    Replay(DlqReplayArgs),
}

/// Which dead letters are meant. They are read from the queue itself, not from a server.
#[derive(Debug, Args)]
pub(crate) struct DlqArgs {
    /// Configuration file of the indexer, for the queue and its topics.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Topic whose messages were set aside, without `.dlq`; without it, every topic configured.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// First offset, in each partition of the dead-letter topic.
    #[arg(long, default_value_t = 0, value_name = "OFFSET")]
    pub(crate) from: i64,
}

#[derive(Debug, Args)]
pub(crate) struct DlqReplayArgs {
    /// Configuration file of the indexer, for the queue and its topics.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Topic whose messages were set aside, without `.dlq`.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: String,
    /// First offset, in each partition of the dead-letter topic.
    #[arg(long, default_value_t = 0, value_name = "OFFSET")]
    pub(crate) from: i64,
    /// Only show what would be sent.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Which store is looked at.
#[derive(Clone, Debug, Args)]
pub(crate) struct StoreArgs {
    /// Configuration file whose `store` section says where segments are [default: a local folder].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder that a local store's path is below [default: ./millrace-data].
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Which store is looked at, and what is asked of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct SegmentsArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(subcommand)]
    pub(crate) command: SegmentsCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SegmentsCommand {
    /// List published segments: whose, which time, how many rows and bytes.
    Ls {
        #[command(flatten)]
        filter: SegmentsFilter,
        #[arg(long, short, value_enum, default_value_t, value_name = "FORM")]
        output: ListForm,
    },
    /// Say what one segment is made of: sections, columns, granules, patterns, tokens.
    Inspect {
        /// Id of the segment, as `ls` shows it.
        id: String,
        #[arg(long, short, value_enum, default_value_t, value_name = "FORM")]
        output: ListForm,
    },
    /// Read every byte of segments, compare every checksum, decode every row.
    Verify {
        /// Ids of the segments; all that pass the filter when none is given.
        ids: Vec<String>,
        #[command(flatten)]
        filter: SegmentsFilter,
    },
    /// List objects that no segment needs any more and whose grace has passed.
    Sweep {
        /// Delete them too.
        #[arg(long)]
        delete: bool,
    },
}

/// Which segments are meant.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SegmentsFilter {
    /// Only this tenant's.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// Only `logs` or `samples`.
    #[arg(long, value_parser = ["logs", "samples"], value_name = "KIND")]
    pub(crate) kind: Option<String>,
}

/// Which rows are exported, from where and to where.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// LogQL stream selector, such as '{namespace="shop"}'; without it, every stream.
    pub(crate) selector: Option<String>,
    /// Parquet file to write; it gets this name once it is whole.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Replace the file where there is one.
    #[arg(long)]
    pub(crate) force: bool,
    /// Only this tenant's; needed where several have rows.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListForm {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON object per line.
    Json,
}

/// How a process is started.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ProcessArgs {
    /// Configuration file; every key has a default.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder for everything this process keeps [default: ./millrace-data].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:3100].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Start although the file has unknown keys: for going back to an older release.
    #[arg(long, requires = "config")]
    pub(crate) ignore_unknown_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    pub(crate) file: PathBuf,
    /// Print the effective configuration, defaults filled in and secrets hidden.
    #[arg(long)]
    pub(crate) show: bool,
    /// Report unknown keys but do not fail because of them.
    #[arg(long)]
    pub(crate) ignore_unknown_config: bool,
}

/// Which server is asked, and how answers are shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// Base URL of the server.
    #[arg(long, env = "MILLRACE_ADDR", default_value = ADDR_DEFAULT, value_name = "URL")]
    pub(crate) addr: String,
    /// Tenant to ask for, where the server has several.
    #[arg(long, env = "MILLRACE_TENANT", value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// How to print.
    #[arg(long, short, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Time, labels and line; coloured on a terminal.
    #[default]
    Default,
    /// The lines alone.
    Raw,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// LogQL, such as '{namespace="shop"} |= "timeout"'.
    #[arg(conflicts_with_all = ["config", "data_dir", "listen", "ignore_unknown_config"])]
    logql: Option<String>,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    range: RangeArgs,
    /// Most log lines to print, the newest of the range.
    #[arg(long, default_value_t = 100, value_name = "LINES")]
    limit: u32,
    /// Seconds or duration between the values of a metric query.
    #[arg(long, value_name = "DURATION")]
    step: Option<String>,
    /// Print what the query did instead of what it found: what was read, what was not and why.
    #[arg(long, requires = "logql")]
    explain: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The time range of a question.
#[derive(Clone, Debug, Args)]
pub(crate) struct RangeArgs {
    /// How far back to look, such as 30s, 15m, 1h, 7d, 1h30m.
    #[arg(long, default_value = "1h", value_parser = duration, value_name = "DURATION")]
    pub(crate) since: Duration,
    /// First moment, RFC 3339 or Unix time, instead of --since.
    #[arg(long, conflicts_with = "since", value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Last moment, RFC 3339 or Unix time [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
}

/// What `millrace query` turns out to mean.
#[derive(Debug)]
pub(crate) enum Ask {
    Role(ProcessArgs),
    Server(QueryAsk),
}

/// A question for a server.
#[derive(Debug)]
pub(crate) struct QueryAsk {
    pub(crate) logql: String,
    pub(crate) range: RangeArgs,
    pub(crate) limit: u32,
    pub(crate) step: Option<String>,
    pub(crate) explain: bool,
    pub(crate) server: ServerArgs,
}

impl QueryArgs {
    /// Tells the client command from the role: the one has a query, the other a file.
    pub(crate) fn ask(self) -> Result<Ask, clap::Error> {
        if let Some(logql) = self.logql {
            return Ok(Ask::Server(QueryAsk {
                logql,
                range: self.range,
                limit: self.limit,
                step: self.step,
                explain: self.explain,
                server: self.server,
            }));
        }
        if self.process.config.is_some() {
            return Ok(Ask::Role(self.process));
        }
        let usage = "say what to ask, such as millrace query '{job=~\".+\"}', \
                     or run the query role with --config FILE";
        Err(Cli::command().error(ErrorKind::MissingRequiredArgument, usage))
    }
}

#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// LogQL of the lines to follow.
    pub(crate) logql: String,
    /// Lines to print that are there already.
    #[arg(long, default_value_t = 10, value_name = "LINES")]
    pub(crate) lines: u32,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LabelsArgs {
    /// Label whose values to list; without it, the names of all labels.
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Longest duration accepted: a century, so that arithmetic on it stays within range.
const DURATION_SECS_MAX: f64 = 100.0 * 365.0 * 86_400.0;

/// Reads `1h`, `90s`, `1h30m`, `7d`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration, write it like 30s, 15m, 1h or 7d");
    let mut total = 0.0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| letter.is_alphabetic()).ok_or_else(wrong)?;
        let (number, behind) = rest.split_at(digits);
        let unit_end = behind.find(|letter: char| !letter.is_alphabetic()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(unit_end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return Err(wrong()),
        };
        let number: u32 = number.parse().map_err(|_| wrong())?;
        total += f64::from(number) * seconds;
        rest = next;
    }
    if DURATION_SECS_MAX < total {
        return Err(format!("`{text}` is longer than a century"));
    }
    Ok(Duration::from_secs_f64(total))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_means_standalone() {
        let cli = parse("millrace --data-dir d --listen 127.0.0.1:0").unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.standalone.listen.as_deref(), Some("127.0.0.1:0"));
        assert_eq!(cli.standalone.data_dir, Some(PathBuf::from("d")));
    }

    #[test]
    fn query_is_a_question_or_a_role() {
        let ask = |line: &str| match parse(line).unwrap().command {
            Some(Command::Query(args)) => args.ask(),
            other => panic!("{other:?}"),
        };
        let Ok(Ask::Server(question)) = ask("millrace query {a=\"b\"} --since 90m --limit 5")
        else {
            panic!("a question");
        };
        assert_eq!(question.logql, "{a=\"b\"}");
        assert_eq!(question.range.since, Duration::from_secs(5_400));
        assert_eq!((question.limit, question.server.addr.as_str()), (5, ADDR_DEFAULT));
        assert!(matches!(ask("millrace query --config q.yaml"), Ok(Ask::Role(_))));
        let usage = ask("millrace query").unwrap_err().to_string();
        assert!(usage.contains("--config FILE"), "{usage}");
        assert!(parse("millrace query {} --config q.yaml").is_err());
    }

    #[test]
    fn segments_take_their_store_from_a_file_before_or_after_the_command() {
        for line in [
            "millrace segments ls --config i.yaml --kind logs -o json",
            "millrace segments --config i.yaml ls --kind logs -o json",
        ] {
            let Some(Command::Segments(args)) = parse(line).unwrap().command else {
                panic!("segments");
            };
            assert_eq!(args.store.config, Some(PathBuf::from("i.yaml")));
            let SegmentsCommand::Ls { filter, output } = args.command else { panic!("ls") };
            assert_eq!((filter.kind.as_deref(), output), (Some("logs"), ListForm::Json));
        }
        assert!(parse("millrace segments").is_err());
        assert!(parse("millrace segments ls --kind traces").is_err());
    }

    #[test]
    fn an_export_needs_a_file_and_may_do_without_a_selector() {
        let Some(Command::Export(args)) =
            parse("millrace export --out a.parquet --config i.yaml").unwrap().command
        else {
            panic!("export");
        };
        assert_eq!((args.selector, args.force), (None, false));
        assert_eq!(args.range.since, Duration::from_secs(3_600));
        assert!(parse("millrace export {a=\"b\"} --since 1h").is_err());
        assert!(parse("millrace export --out a.parquet --since 1h --from 0").is_err());
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("30s", 30.0),
            ("1h30m", 5_400.0),
            ("7d", 604_800.0),
            ("500ms", 0.5),
            ("2w", 1_209_600.0),
        ] {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for text in ["", "1", "h", "1x", "-1h", "1.5h", "99999999999s", "4000000000w"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
