//! Recording in the catalog that partitions are ours.
//!
//! Always holds: one commit takes over all partitions of a request, and each one's epoch rises by
//! one, which fences whoever owned it before.
//!
//! A stage of its own and not a part of the source, because a commit under way holds up every other
//! commit of this process: it must go on while the source waits for something else.
//!
//! On a crash between the commit and our hearing of it, the next acquisition raises the epoch once
//! more; nothing else happened. Bounded: one request at a time.

use std::sync::Arc;

use queue::TopicPartition;
use segment::catalog::{Catalog, CatalogState, CommitError, Op};
use tokio::sync::mpsc;

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Acquired {
    pub(crate) partitions: Vec<TopicPartition>,
    /// The state just after the commit, in which the partitions are ours.
    pub(crate) outcome: Result<Arc<CatalogState>, CommitError>,
}

/// Acquires partitions, one request after the other.
#[derive(Debug)]
pub(crate) struct Acquirer {
    pub(crate) catalog: Catalog,
    /// Recorded as where our recent rows are asked for.
    pub(crate) url: String,
    pub(crate) requests: mpsc::Receiver<Vec<TopicPartition>>,
    pub(crate) outcomes: mpsc::Sender<Acquired>,
}

impl Acquirer {
    /// Runs until no more requests come.
    pub(crate) async fn run(mut self) {
        while let Some(partitions) = self.requests.recv().await {
            let acquire = |at: &TopicPartition| Op::Acquire {
                topic: at.topic.as_str().to_owned(),
                partition: at.partition.0,
                owner: self.url.clone(),
            };
            let ops = partitions.iter().map(acquire).collect();
            let outcome = self.catalog.commit(ops).await;
            if self.outcomes.send(Acquired { partitions, outcome }).await.is_err() {
                return;
            }
        }
    }
}
