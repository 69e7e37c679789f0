//! The corpus on its way to the indexer: straight into Kafka, or as pod logs through the collector.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bench::batches::{BATCH_BYTES, Batches, message};
use bench::corpus::{CorpusPlan, Needles, Rows, Summary};
use bench::podlog::{Output, PodLog};
use fastrand::Rng;
use queue::{Ack, KafkaSection, Partition, Queue, QueueSection, Topic};
use runtime::clock::SystemClock;

/// Messages sent and not yet acknowledged.
const ACKS_MAX: usize = 64;

/// Pod logs are rotated at this size.
const ROTATE_BYTES: u64 = 64 << 20;

/// What was fed.
pub(crate) struct Fed {
    pub(crate) summary: Summary,
    pub(crate) needles: Needles,
}

/// Sends the corpus as batches, the way the collector does. Returns when Kafka has all.
pub(crate) async fn into_kafka(plan: CorpusPlan, bootstrap_servers: &str) -> anyhow::Result<Fed> {
    let section =
        KafkaSection { bootstrap_servers: bootstrap_servers.to_owned(), ..KafkaSection::default() };
    let section = QueueSection::Kafka(Box::new(section));
    let partitions = section.partitions_default(&Topic::logs());
    let queue = Queue::open(&section, Path::new("."), SystemClock::shared())?;
    queue.ensure_topic(&Topic::logs(), partitions).await?;
    let producer = queue.producer()?;
    let mut batches = Batches::new(plan, partitions, BATCH_BYTES)?;
    let mut open: std::collections::VecDeque<Ack> = std::collections::VecDeque::new();
    while let Some((partition, batch)) = batches.next_batch() {
        let to = Partition(i32::try_from(partition)?);
        open.push_back(producer.submit(&Topic::logs(), to, message(&batch)?).await?);
        if ACKS_MAX < open.len()
            && let Some(ack) = open.pop_front()
        {
            ack.await.context("send to Kafka")?;
        }
    }
    for ack in open {
        ack.await.context("send to Kafka")?;
    }
    Arc::clone(&producer).flush(Duration::from_secs(60)).await?;
    Ok(Fed { summary: batches.summary(), needles: batches.rows().needles().clone() })
}

/// Writes the corpus as pod logs, one pod a stream.
pub(crate) fn as_pod_logs(plan: CorpusPlan, root: &Path) -> anyhow::Result<Fed> {
    let mut rows = Rows::new(plan)?;
    let mut pods = Vec::new();
    for labels in rows.streams() {
        let label = |name: &str| labels.get(name).unwrap_or("default");
        let output = if label("stream") == "stderr" { Output::Stderr } else { Output::Stdout };
        let rng = Rng::with_seed(plan.seed);
        let (namespace, pod) = (label("namespace"), label("pod"));
        let log = PodLog::create(root, namespace, pod, plan.start_ns, ROTATE_BYTES, rng)?;
        pods.push((log, output));
    }
    while let Some(row) = rows.next_row() {
        let (log, output) = &mut pods[row.stream];
        log.write_at(row.time_ns, *output, row.line)?;
    }
    for (log, _) in &mut pods {
        log.finish()?;
    }
    Ok(Fed { summary: rows.summary(), needles: rows.needles().clone() })
}
