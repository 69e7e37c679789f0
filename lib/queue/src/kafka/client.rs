//! What the client reports by itself: log lines and errors it recovers from.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use runtime::clock::SharedClock;

use crate::{QueueError, telemetry};

/// The same trouble is logged once in this time: an outage repeats it several times a second.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// Receives reports of one client.
#[derive(Debug)]
pub(super) struct Reporter {
    /// `producer`, `consumer` or `metadata`: a metric label.
    client: &'static str,
    clock: SharedClock,
    /// When each kind of trouble was last logged; the kinds are few.
    logged: Mutex<HashMap<String, Duration>>,
}

impl Reporter {
    pub(super) fn new(client: &'static str, clock: SharedClock) -> Self {
        Self { client, clock, logged: Mutex::default() }
    }

    /// Returns whether trouble of this `kind` is due to be logged.
    fn due(&self, kind: &str) -> bool {
        let now = self.clock.elapsed();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = logged.get(kind)
            && now.saturating_sub(*last) < REPEAT_AFTER
        {
            return false;
        }
        logged.insert(kind.to_owned(), now);
        true
    }
}

impl ClientContext for Reporter {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let client = self.client;
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(client, facility, text, "kafka client");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning if self.due(facility) => {
                tracing::warn!(client, facility, text, "kafka client");
            }
            _ => tracing::debug!(client, facility, text, "kafka client"),
        }
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        metrics::counter!(telemetry::CLIENT_ERRORS, "client" => self.client).increment(1);
        let kind = format!("{:?}", error.rdkafka_error_code());
        if self.due(&kind) {
            tracing::warn!(client = self.client, %error, reason, "kafka client recovers from an error");
        }
    }
}

/// Tells our error for a failed request of any kind.
pub(super) fn request_error(error: &KafkaError) -> QueueError {
    match error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => {
            QueueError::config(error.to_string())
        }
        _ if error.rdkafka_error_code().is_some_and(needs_someone) => {
            QueueError::config(error.to_string())
        }
        _ => QueueError::unavailable(error),
    }
}

/// Returns whether only a change of configuration or permissions helps.
pub(super) fn needs_someone(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::InvalidReplicationFactor
            | RDKafkaErrorCode::InvalidPartitions
            | RDKafkaErrorCode::InvalidConfig
    )
}
