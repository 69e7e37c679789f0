//! Client commands: asking a running Millrace from a terminal, the queue's dead letters, and what
//! is published.

mod api;
mod dlq;
mod entries;
mod explain;
mod export;
mod follow;
mod print;
mod published;
mod segments;
pub(crate) mod time;
mod unfinished;

use std::future::Future;
use std::io;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cli::{LabelsArgs, Output, QueryAsk, TailArgs};
use api::Api;
pub(crate) use dlq::dlq;
use entries::Entry;
use follow::Follow;
use print::Printer;

pub(crate) use export::run as export;
pub(crate) use segments::run as segments;

/// Runs a client command to its end. A reader that went away (`| head`) is no error.
pub(crate) fn start(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let done = runtime.block_on(command);
    // Nothing is waited for any more, such as a read that a signal has made needless.
    runtime.shutdown_background();
    match done {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        other => other,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// `millrace query`: one range query, printed oldest first.
pub(crate) async fn query(ask: QueryAsk) -> anyhow::Result<()> {
    let api = Api::new(&ask.server);
    let mut parameters = vec![
        ("query", ask.logql.clone()),
        ("limit", ask.limit.to_string()),
        ("direction", "backward".to_owned()),
    ];
    parameters.extend(range(&ask.range));
    parameters.extend(ask.step.map(|step| ("step", step)));
    if ask.explain {
        parameters.push(("explain", "1".to_owned()));
    }
    let answer = api.get("/loki/api/v1/query_range", &parameters).await?;
    let printer = Printer::new(ask.server.output);
    for warning in texts(&answer["warnings"]) {
        printer.note(&warning);
    }
    let data = &answer["data"];
    if ask.explain {
        if data["explain"].is_null() {
            bail!("the server does not explain queries; is it an older Millrace, or Loki?");
        }
        return match ask.server.output {
            Output::Json => printer.line(&data["explain"].to_string()),
            Output::Default | Output::Raw => printer.line(&explain::table(&data["explain"])),
        };
    }
    match data["resultType"].as_str() {
        Some("streams") => {
            let mut found = entries::read(&data["result"])?;
            entries::sort(&mut found);
            printer.entries(&found, true)
        }
        Some("matrix" | "vector" | "scalar") => printer.values(data),
        other => bail!("server answered with the unknown result type `{}`", other.unwrap_or("")),
    }
}

/// `millrace tail`: the newest lines, then new ones as they arrive, until interrupted.
pub(crate) async fn tail(args: TailArgs) -> anyhow::Result<()> {
    let printer = Printer::new(args.server.output);
    let follow = Follow::new(Api::new(&args.server), args.logql, args.lines);
    follow.run(&printer).await
}

/// `millrace labels`: names, or the values of one.
pub(crate) async fn labels(args: LabelsArgs) -> anyhow::Result<()> {
    let api = Api::new(&args.server);
    let path = match &args.name {
        None => "/loki/api/v1/labels".to_owned(),
        Some(name) => format!("/loki/api/v1/label/{}/values", api::encode(name)),
    };
    let answer = api.get(&path, &range(&args.range)).await?;
    let found = texts(&answer["data"]);
    let printer = Printer::new(args.server.output);
    if args.server.output == Output::Json {
        return printer.line(&Value::from(found).to_string());
    }
    for text in found {
        printer.line(&text)?;
    }
    Ok(())
}

/// Returns the texts of a JSON array; none when it is absent.
fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn range(range: &crate::cli::RangeArgs) -> Vec<(&'static str, String)> {
    let start = match &range.from {
        Some(from) => ("start", from.clone()),
        None => ("since", format!("{}s", range.since.as_secs().max(1))),
    };
    let end = range.to.clone().map(|to| ("end", to));
    std::iter::once(start).chain(end).collect()
}
