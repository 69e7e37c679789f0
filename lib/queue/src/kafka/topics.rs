//! What the cluster says about topics: partitions, limits, watermarks; and making topics.
//!
//! Partition counts are remembered for a while, since every append asks. Nothing here creates a
//! topic by asking for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use runtime::clock::SharedClock;

use crate::{KafkaSection, Offset, QueueError, Topic, TopicPartition};

use super::client::{Reporter, request_error};
use super::settings;

/// How long a partition count is believed. It can only grow, so an old one is safe to use.
const REMEMBER: Duration = Duration::from_secs(30);

/// How long an old count is used before a question that was not answered is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How long an absent partition is believed absent: bounds the questions a wrong number causes.
const REMEMBER_ABSENT: Duration = Duration::from_secs(1);

/// Pause between looks while a new topic becomes known to the brokers.
const APPEAR_PAUSE: Duration = Duration::from_millis(50);

/// What a message's frame may add to it. A broker counts it in: topics are made to take as much more.
const FRAME_BYTES_MAX: usize = 64 << 10;

impl ConsumerContext for Reporter {}

/// What is known about a topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicFacts {
    pub(super) partitions: u32,
    /// Largest message the topic takes, no more than configured.
    pub(super) message_bytes_max: usize,
    asked: Duration,
}

pub(super) struct Topics {
    section: Arc<KafkaSection>,
    clock: SharedClock,
    /// A consumer in no group: the client that asks without creating topics.
    asker: Arc<BaseConsumer<Reporter>>,
    admin: AdminClient<Reporter>,
    known: Mutex<HashMap<Topic, TopicFacts>>,
}

impl fmt::Debug for Topics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Topics")
            .field("bootstrap_servers", &self.section.bootstrap_servers)
            .finish_non_exhaustive()
    }
}

impl Topics {
    pub(super) fn new(section: Arc<KafkaSection>, clock: SharedClock) -> Result<Self, QueueError> {
        let config = settings::common(&section)?;
        let reporter = || Reporter::new("metadata", Arc::clone(&clock));
        let asker = BaseConsumer::from_config_and_context(&config, reporter())
            .map_err(|error| request_error(&error))?;
        let admin = AdminClient::from_config_and_context(&config, reporter())
            .map_err(|error| request_error(&error))?;
        Ok(Self { section, clock, asker: Arc::new(asker), admin, known: Mutex::default() })
    }

    /// Returns what is known about `topic`, asking when that is old.
    pub(super) async fn facts(&self, topic: &Topic) -> Result<TopicFacts, QueueError> {
        if let Some(facts) = self.remembered(topic, REMEMBER) {
            return Ok(facts);
        }
        match (self.ask(topic).await, self.remembered(topic, Duration::MAX)) {
            // Nobody can tell: what was true before will do for a while.
            (Err(QueueError::Unavailable { .. }), Some(old)) => {
                let asked = self.clock.elapsed().saturating_sub(REMEMBER - ASK_AGAIN);
                let facts = TopicFacts { asked, ..old };
                self.remember(topic, facts);
                Ok(facts)
            }
            (told, _) => told,
        }
    }

    /// Returns the facts about the topic of `at`, which must have that partition.
    pub(super) async fn facts_of(&self, at: &TopicPartition) -> Result<TopicFacts, QueueError> {
        let has = |facts: &TopicFacts| {
            u32::try_from(at.partition.0).is_ok_and(|number| number < facts.partitions)
        };
        let mut facts = self.facts(&at.topic).await?;
        if !has(&facts) && self.remembered(&at.topic, REMEMBER_ABSENT).is_none() {
            facts = self.ask(&at.topic).await?;
        }
        if !has(&facts) {
            return Err(QueueError::UnknownPartition { at: at.clone() });
        }
        Ok(facts)
    }

    /// Returns the oldest offset and the next one, as the partition's leader tells them.
    pub(super) async fn watermarks(
        &self,
        at: &TopicPartition,
    ) -> Result<(Offset, Offset), QueueError> {
        self.facts_of(at).await?;
        let (topic, partition, timeout) = (at.topic.clone(), at.partition.0, self.timeout());
        let asked =
            self.asking(move |asker| asker.fetch_watermarks(topic.as_str(), partition, timeout));
        match asked.await {
            Ok((low, high)) => Ok((Offset(low), Offset(high))),
            Err(error) => Err(self.topic_error(&at.topic, &error)),
        }
    }

    /// Asks who is in the cluster. Brokers answer it for any topic, one they do not have too.
    pub(super) async fn check(&self) -> Result<(), QueueError> {
        let timeout = self.timeout();
        let asked = self.asking(move |asker| {
            asker
                .fetch_metadata(Some(Topic::LOGS), timeout)
                .map(|metadata| metadata.brokers().len())
        });
        match asked.await {
            Ok(0) => Err(QueueError::unavailable("no broker is up")),
            Ok(_) => Ok(()),
            Err(error) => Err(request_error(&error)),
        }
    }

    /// Makes sure that `topic` has at least `partitions` partitions, all with a leader.
    pub(super) async fn ensure(&self, topic: &Topic, partitions: u32) -> Result<(), QueueError> {
        let wanted = partitions.max(1);
        let present = match self.ask(topic).await {
            Ok(facts) => facts.partitions,
            Err(QueueError::UnknownTopic { .. }) => {
                self.create(topic, wanted).await?;
                self.appear(topic, 1).await?
            }
            Err(error) => return Err(error),
        };
        if present < wanted {
            self.grow(topic, wanted).await?;
            self.appear(topic, wanted).await?;
        }
        Ok(())
    }

    async fn create(&self, topic: &Topic, partitions: u32) -> Result<(), QueueError> {
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let replicas = TopicReplication::Fixed(self.section.topic_replicas);
        // Brokers take 1 MiB by default, and the longest record is a little larger as a batch.
        let message_bytes_max = (self.section.message_bytes_max + FRAME_BYTES_MAX).to_string();
        let new = NewTopic::new(topic.as_str(), count, replicas)
            .set("max.message.bytes", &message_bytes_max);
        let results = self.admin.create_topics([&new], &self.options()).await;
        match results.map_err(|error| request_error(&error))?.pop() {
            // Another process may have been faster.
            Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(request_error(&KafkaError::Global(code))),
            None => Err(QueueError::unavailable("the broker said nothing of the topic")),
        }
    }

    async fn grow(&self, topic: &Topic, partitions: u32) -> Result<(), QueueError> {
        let count = usize::try_from(partitions).unwrap_or(usize::MAX);
        let new = NewPartitions::new(topic.as_str(), count);
        let results = self.admin.create_partitions([&new], &self.options()).await;
        match results.map_err(|error| request_error(&error))?.pop() {
            // Refused when another process has added as many already; `appear` finds out.
            Some(Ok(_) | Err((_, RDKafkaErrorCode::InvalidPartitions))) => Ok(()),
            Some(Err((_, code))) => Err(request_error(&KafkaError::Global(code))),
            None => Err(QueueError::unavailable("the broker said nothing of the topic")),
        }
    }

    /// Waits until `topic` is known with so many partitions; returns how many it has.
    async fn appear(&self, topic: &Topic, partitions: u32) -> Result<u32, QueueError> {
        let started = self.clock.elapsed();
        loop {
            let seen = self.ask(topic).await;
            match seen {
                Ok(facts) if partitions <= facts.partitions => return Ok(facts.partitions),
                Ok(_) | Err(QueueError::UnknownTopic { .. } | QueueError::Unavailable { .. }) => {}
                Err(error) => return Err(error),
            }
            if self.timeout() <= self.clock.elapsed().saturating_sub(started) {
                let reason = format!("topic `{topic}` was created and does not appear");
                return Err(QueueError::unavailable(reason));
            }
            self.clock.sleep(APPEAR_PAUSE).await;
        }
    }

    fn remembered(&self, topic: &Topic, age_max: Duration) -> Option<TopicFacts> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = known.get(topic).copied()?;
        let age = self.clock.elapsed().saturating_sub(facts.asked);
        (age < age_max).then_some(facts)
    }

    async fn ask(&self, topic: &Topic) -> Result<TopicFacts, QueueError> {
        let (name, timeout) = (topic.clone(), self.timeout());
        let asked = self.asking(move |asker| {
            let metadata = asker.fetch_metadata(Some(name.as_str()), timeout)?;
            let Some(topic) = metadata.topics().first() else {
                return Ok(0);
            };
            if let Some(error) = topic.error() {
                return Err(KafkaError::MetadataFetch(error.into()));
            }
            // A partition without a leader takes nothing yet.
            let led = topic.partitions().iter().filter(|one| 0 <= one.leader());
            Ok(if led.count() == topic.partitions().len() { topic.partitions().len() } else { 0 })
        });
        let partitions = asked.await.map_err(|error| self.topic_error(topic, &error))?;
        let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
        if partitions == 0 {
            let reason = format!("topic `{topic}` has partitions without a leader");
            return Err(QueueError::unavailable(reason));
        }
        let facts = TopicFacts {
            partitions,
            message_bytes_max: self.limit(topic).await,
            asked: self.clock.elapsed(),
        };
        self.remember(topic, facts);
        Ok(facts)
    }

    fn remember(&self, topic: &Topic, facts: TopicFacts) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(topic.clone(), facts);
    }

    /// Returns the largest message `topic` takes: what is configured here, or less when the
    /// topic's own limit is lower and we may see it.
    async fn limit(&self, topic: &Topic) -> usize {
        let resource = ResourceSpecifier::Topic(topic.as_str());
        let asked = self.admin.describe_configs([&resource], &self.options()).await;
        let told = asked.ok().and_then(|mut all| all.pop()?.ok());
        let told = told.and_then(|config| {
            let value = config.get("max.message.bytes")?.value.as_ref()?;
            value.parse::<usize>().ok()
        });
        told.map_or(self.section.message_bytes_max, |topic_max| {
            topic_max.min(self.section.message_bytes_max)
        })
    }

    /// Runs a question that blocks its thread.
    async fn asking<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<Reporter>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let asker = Arc::clone(&self.asker);
        let asked = tokio::task::spawn_blocking(move || {
            // Serves the client's log lines, which nothing else does here.
            drop(asker.poll(Duration::ZERO));
            question(&asker)
        });
        asked.await.unwrap_or(Err(KafkaError::Canceled))
    }

    fn topic_error(&self, topic: &Topic, error: &KafkaError) -> QueueError {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.remove(topic);
                QueueError::UnknownTopic { topic: topic.to_string() }
            }
            _ => request_error(error),
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.section.request_timeout_ms)
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.timeout()))
            .operation_timeout(Some(self.timeout()))
    }
}
