//! Changes of ownership, as the group decides them and the client asks for them to be answered.
//!
//! Always holds: every decision is answered exactly once, by the session in its own time or, when
//! nobody is left to be asked, at once; without an answer the client would never close.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use crate::{Partition, Topic, TopicPartition};

use super::client::Reporter;
use super::poll::Bell;

/// A change of ownership that the group decided and we have not carried out.
#[derive(Debug)]
pub(super) enum Rebalance {
    Assign(Vec<TopicPartition>),
    Revoke(Vec<TopicPartition>),
}

/// Receives the client's reports, inside its poll.
pub(super) struct Callbacks {
    reporter: Reporter,
    bell: Arc<Bell>,
    /// At most one decision is open at a time: the group waits for each to be carried out.
    decided: Mutex<VecDeque<Rebalance>>,
    /// The session is over; the client is about to be dropped.
    abandoned: AtomicBool,
}

impl Callbacks {
    pub(super) fn new(reporter: Reporter, bell: Arc<Bell>) -> Self {
        Self { reporter, bell, decided: Mutex::default(), abandoned: AtomicBool::new(false) }
    }

    /// Returns the decisions that are not carried out.
    pub(super) fn decided(&self) -> MutexGuard<'_, VecDeque<Rebalance>> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on decisions are answered as they come.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.reporter.log(level, facility, text);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.error(error, reason);
    }
}

impl ConsumerContext for Callbacks {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let assigns = matches!(kind, RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
        if self.bell.closing() || self.abandoned.load(Ordering::Acquire) {
            // Nobody is left to ask; the client waits for this before it closes.
            answer(consumer, assigns, list);
            return;
        }
        let all = partitions_of(list);
        let decision = if assigns { Rebalance::Assign(all) } else { Rebalance::Revoke(all) };
        self.decided().push_back(decision);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "advisory commit failed");
        }
    }
}

/// Does what the group decided, without anyone being told.
pub(super) fn answer(consumer: &BaseConsumer<Callbacks>, assigns: bool, list: &TopicPartitionList) {
    if !assigns {
        give_back(consumer, list);
    } else if let Err(error) = consumer.incremental_assign(list) {
        tracing::debug!(%error, "cannot take partitions over while closing");
    }
}

pub(super) fn give_back(consumer: &BaseConsumer<Callbacks>, list: &TopicPartitionList) {
    let given = match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    };
    if let Err(error) = given {
        tracing::warn!(%error, "cannot give partitions back");
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    let named = elements.iter().filter_map(|element| {
        let topic = Topic::new(element.topic()).ok()?;
        Some(TopicPartition::new(&topic, Partition(element.partition())))
    });
    named.collect()
}

pub(super) fn list_of(all: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(all.len());
    for at in all {
        list.add_partition(at.topic.as_str(), at.partition.0);
    }
    list
}

pub(super) fn list_at(all: &[TopicPartition], offset: KafkaOffset) -> TopicPartitionList {
    let mut list = list_of(all);
    // Only a negative offset is refused, and ours never are.
    list.set_all_offsets(offset).ok();
    list
}
