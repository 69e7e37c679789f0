//! Reading messages without being a member of any group, for tools.
//!
//! A client of its own per question: nothing it does is seen by groups, and nothing is committed.
//! Blocks its thread; bounded by `MESSAGES_MAX`, by about `BYTES_MAX` and by the request timeout.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::Offset as KafkaOffset;
use runtime::clock::SharedClock;

use crate::{KafkaSection, Message, Offset, QueueError, TopicPartition};

use super::client::{Reporter, request_error};
use super::rebalance::list_at;
use super::session::copy;
use super::settings;

/// Messages and bytes of one answer.
const MESSAGES_MAX: usize = 1_000;
const BYTES_MAX: usize = 8 << 20;

/// Longest wait for the client's next word before the deadline is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Returns messages from `next` on, up to below `high`. `low <= next < high` as the leader told.
pub(super) fn read(
    section: &KafkaSection,
    clock: &SharedClock,
    at: &TopicPartition,
    next: Offset,
    high: Offset,
) -> Result<Vec<(Offset, Message)>, QueueError> {
    let mut config = settings::common(section)?;
    // The client wants a name for the group it never joins.
    config.set("group.id", &section.client_id);
    config.set("enable.auto.commit", "false").set("auto.offset.reset", "error");
    config.set("enable.partition.eof", "true").set("allow.auto.create.topics", "false");
    let reporter = Reporter::new("consumer", Arc::clone(clock));
    let consumer: BaseConsumer<Reporter> = BaseConsumer::from_config_and_context(&config, reporter)
        .map_err(|error| request_error(&error))?;
    let start = KafkaOffset::Offset(next.0.max(0));
    consumer
        .assign(&list_at(std::slice::from_ref(at), start))
        .map_err(|error| request_error(&error))?;
    let limit = Duration::from_millis(section.request_timeout_ms);
    let deadline = clock.elapsed().saturating_add(limit);
    let (mut found, mut bytes) = (Vec::new(), 0);
    while found.len() < MESSAGES_MAX && bytes < BYTES_MAX {
        match consumer.poll(TICK) {
            Some(Ok(message)) => {
                let offset = Offset(message.offset());
                let copied = copy(&message);
                bytes += copied.bytes();
                found.push((offset, copied));
                if high <= offset.next() {
                    break;
                }
            }
            // What is left up to `high` are marks of transactions, which are no messages.
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => break,
            // The client tries again by itself until the deadline.
            Some(Err(error)) => tracing::debug!(%error, "kafka client recovers from an error"),
            None => {}
        }
        if deadline <= clock.elapsed() {
            if found.is_empty() {
                return Err(QueueError::unavailable(format!(
                    "no message of `{at}` within {limit:?}"
                )));
            }
            break;
        }
    }
    Ok(found)
}
