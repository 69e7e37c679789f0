//! Every role in one process: the queue and the store are folders, everything answers on one port.
//!
//! Always holds: it stops in the direction of the data. The collector sends what it has read and
//! writes its checkpoint; then the indexer reads the queue to its end and publishes; then open
//! queries finish; then the port closes. Nothing acknowledged is left unpublished.
//!
//! On a crash the next start reads what was not published from the queue again, and the files from
//! the last checkpoint; replays are dropped by their source position.

use std::path::PathBuf;

use anyhow::Context;
use indexer::Drain;

use crate::config::Config;
use crate::guide;
use crate::process::Process;
use crate::roles::{self, Published};

/// The process's own log, below the data folder.
const OWN_LOG: &str = "log/millrace.log";

/// Fills in what a process with every role knows by itself: where its own log is, and that it is
/// worth reading.
pub(crate) fn fill_in(config: Config) -> anyhow::Result<Config> {
    let mut file = config.file.clone();
    let own_log = match &file.log.file {
        Some(path) => path.clone(),
        None => file.data_dir.join(OWN_LOG),
    };
    let own_log = absolute(own_log)?;
    file.log.file = Some(own_log.clone());
    if file.collector.tail.own_log.as_os_str().is_empty() {
        file.collector.tail.own_log = own_log;
    }
    // What this process's indexer holds is asked for too, without saying it twice.
    for topic in file.indexer.topics.logs.iter().map(|topic| &topic.name) {
        if !file.query.topics.logs.contains(topic) {
            file.query.topics.logs.push(topic.clone());
        }
    }
    config.with_file(file)
}

fn absolute(path: PathBuf) -> anyhow::Result<PathBuf> {
    std::path::absolute(&path).with_context(|| format!("find the folder of `{}`", path.display()))
}

/// Runs every role until the process is told to stop.
pub(crate) async fn run(process: &Process) -> anyhow::Result<()> {
    let port = process.listen().await?;
    let url = port.url.clone();
    let published = Published::open(process, "standalone").await?;
    published.require_atomic_puts(process).await?;
    let queue = roles::open_queue(process).await?;

    let collector = roles::new_collector(process, &queue, &url)?;
    let indexer = roles::new_indexer(process, &queue, &published, &url, Drain::ToHighWatermark)?;
    let query = roles::new_query(process, &published).await?;
    let routes = collector.router().merge(indexer.router()).merge(query.router());

    let server = process.serve(port, routes);
    let query = roles::run_query(process, query);
    let indexer = roles::run_indexer(process, indexer);
    let collector = roles::run_collector(process, collector);
    guide::print(&process.config, &url)?;

    tokio::select! {
        () = process.stop_wanted() => {}
        () = collector.ended() => process.shutdown.trigger(),
        () = indexer.ended() => process.shutdown.trigger(),
        () = query.ended() => process.shutdown.trigger(),
    }
    for stage in [&collector, &indexer, &query, &server] {
        stage.drain(&*process.clock).await;
    }
    Ok(())
}
