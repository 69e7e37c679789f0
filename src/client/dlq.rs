//! `millrace dlq`: the messages that were set aside, listed or sent again.
//!
//! Talks to the queue, not to a server: letters must be readable when no indexer runs. Listing and
//! a dry run change nothing; a replay writes to the original topics and removes no letter.

use std::io::{self, Write};

use anyhow::{Context, bail};
use indexer::dead_letter::{DeadLetter, DeadLetters, Fate, Replay, ReplayError, Replayed};
use queue::{Offset, Queue, QueueError, Topic};
use runtime::clock::SystemClock;

use crate::cli::{DlqArgs, DlqCommand, DlqReplayArgs};
use crate::config::{Config, Overrides};

/// Letters between two words on how far a replay has come.
const PROGRESS_EVERY: u64 = 1_000;

pub(crate) async fn dlq(command: DlqCommand) -> anyhow::Result<()> {
    match command {
        DlqCommand::Ls(args) => list(&args).await,
        DlqCommand::Replay(args) => replay(&args).await,
    }
}

async fn list(args: &DlqArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config, false, &Overrides::default())?;
    let topics: Vec<&str> = match &args.topic {
        Some(topic) => vec![topic],
        None => config.file.indexer.topics.names().collect(),
    };
    let queue = open(&config)?;
    let mut total = 0;
    for topic in topics {
        total += show(&queue, &Topic::new(topic)?, Offset(args.from)).await?;
    }
    note(&format!("{total} dead letters"))
}

async fn replay(args: &DlqReplayArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config, false, &Overrides::default())?;
    let queue = open(&config)?;
    let (topic, from) = (Topic::new(&args.topic)?, Offset(args.from));
    if args.dry_run {
        let total = show(&queue, &topic, from).await?;
        return note(&format!("{total} dead letters would be sent; nothing was"));
    }
    let mut replay = match Replay::open(&queue, &topic, from).await {
        Ok(replay) => replay,
        Err(error) if nothing_there(&error) => return note("no dead letters"),
        Err(error) => return Err(error.into()),
    };
    let mut letters = 0_u64;
    loop {
        match replay.step().await {
            Ok(None) => return note(&summary(replay.done())),
            Ok(Some((letter, fate))) => {
                print(&letter, word(fate))?;
                letters += 1;
                if letters.is_multiple_of(PROGRESS_EVERY) {
                    note(&format!("{letters} letters read, {} sent", replay.done().sent))?;
                }
            }
            Err(error) => {
                note(&summary(replay.done()))?;
                return Err(error.into());
            }
        }
    }
}

fn open(config: &Config) -> anyhow::Result<Queue> {
    let opened = Queue::open(&config.file.queue, &config.file.data_dir, SystemClock::shared());
    match opened {
        Ok(queue) => Ok(queue),
        Err(error @ QueueError::Locked { .. }) => bail!("{error}; stop it first"),
        Err(error) => Err(error).context("open the queue"),
    }
}

/// Prints every letter of a topic; returns how many there are.
async fn show(queue: &Queue, topic: &Topic, from: Offset) -> anyhow::Result<u64> {
    let mut letters = match DeadLetters::open(queue, topic, from).await {
        Ok(letters) => letters,
        Err(QueueError::UnknownTopic { .. }) => return Ok(0),
        Err(error) => return Err(error).context("read dead letters"),
    };
    let mut count = 0;
    while let Some(letter) = letters.next().await.context("read dead letters")? {
        print(&letter, "")?;
        count += 1;
    }
    if 0 < letters.strangers() {
        let strangers = letters.strangers();
        note(&format!("{strangers} messages of `{topic}.dlq` are no dead letters"))?;
    }
    Ok(count)
}

/// One line: where the letter and its message stand, the size, why, and what became of it.
fn print(letter: &DeadLetter, fate: &str) -> anyhow::Result<()> {
    let DeadLetter { partition, offset, from, from_offset, reason, error, .. } = letter;
    let bytes = match letter.cut_from_bytes {
        Some(all) => format!("{} of {all} bytes", letter.payload_bytes()),
        None => format!("{} bytes", letter.payload_bytes()),
    };
    let mut out = io::stdout().lock();
    write!(out, "{partition}/{offset}  {from}@{from_offset}  {bytes}  {reason}: {error}")?;
    if !fate.is_empty() {
        write!(out, "  [{fate}]")?;
    }
    writeln!(out)?;
    Ok(())
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Sent => "sent",
        Fate::Repeated => "passed over: sent before",
        Fate::Cut => "passed over: only its beginning was kept",
    }
}

fn summary(done: &Replayed) -> String {
    let Replayed { sent, repeated, cut, next } = done;
    let next: Vec<String> =
        next.iter().map(|(partition, offset)| format!("{partition}/{offset}")).collect();
    let go_on = if next.is_empty() {
        String::new()
    } else {
        format!("; later letters begin at {}", next.join(", "))
    };
    format!("{sent} sent, {repeated} repeated, {cut} incomplete{go_on}")
}

fn nothing_there(error: &ReplayError) -> bool {
    matches!(error, ReplayError::Read(QueueError::UnknownTopic { .. }))
}

/// Says something that is no dead letter, apart from what a pipe reads.
fn note(text: &str) -> anyhow::Result<()> {
    writeln!(io::stderr().lock(), "{text}")?;
    Ok(())
}
