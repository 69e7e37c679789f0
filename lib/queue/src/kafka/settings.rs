//! The client's own settings, made from ours.
//!
//! What correctness rests on is fixed here and cannot be configured away.

use std::path::Path;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::{Compression, KafkaSection, QueueError, SaslMechanism, SecurityProtocol};

/// What every client of the cluster has in common.
pub(super) fn common(section: &KafkaSection) -> Result<ClientConfig, QueueError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &section.bootstrap_servers)
        .set("client.id", &section.client_id)
        .set("socket.keepalive.enable", "true")
        // A broker that is back should be noticed within seconds, not the default ten.
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "2000")
        // Idle connections are closed by brokers all the time.
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Info);
    secure(section, &mut config)?;
    Ok(config)
}

fn secure(section: &KafkaSection, config: &mut ClientConfig) -> Result<(), QueueError> {
    let security = &section.security;
    let protocol = match security.protocol {
        SecurityProtocol::Plaintext => "plaintext",
        SecurityProtocol::Ssl => "ssl",
        SecurityProtocol::SaslPlaintext => "sasl_plaintext",
        SecurityProtocol::SaslSsl => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    set_path(config, "ssl.ca.location", security.ca_file.as_deref())?;
    set_path(config, "ssl.certificate.location", security.certificate_file.as_deref())?;
    set_path(config, "ssl.key.location", security.key_file.as_deref())?;
    if !security.key_password.is_empty() {
        config.set("ssl.key.password", security.key_password.reveal());
    }
    if security.uses_sasl() {
        let mechanism = match security.sasl_mechanism {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        config
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", &security.sasl_username)
            .set("sasl.password", security.sasl_password.reveal());
    }
    Ok(())
}

fn set_path(config: &mut ClientConfig, key: &str, path: Option<&Path>) -> Result<(), QueueError> {
    let Some(path) = path else { return Ok(()) };
    let text = path
        .to_str()
        .ok_or_else(|| QueueError::config(format!("path `{}` is not UTF-8", path.display())))?;
    config.set(key, text);
    Ok(())
}

/// Settings of the producer.
pub(super) fn producer(section: &KafkaSection) -> Result<ClientConfig, QueueError> {
    let mut config = common(section)?;
    let compression = match section.compression {
        Compression::Zstd => "zstd",
        Compression::None => "none",
    };
    config
        .set("enable.idempotence", "true")
        // A message that failed must not be overtaken: the client stops instead, and we build a
        // new one and send again from there.
        .set("enable.gapless.guarantee", "true")
        .set("acks", "all")
        // Never expire: a finite time is silent loss after an outage.
        .set("message.timeout.ms", "0")
        .set("socket.timeout.ms", "30000")
        .set("retry.backoff.ms", "100")
        .set("retry.backoff.max.ms", "1000")
        .set("linger.ms", section.linger_ms.to_string())
        .set("compression.codec", compression)
        .set("message.max.bytes", section.message_bytes_max.to_string())
        .set("batch.size", section.message_bytes_max.to_string())
        // Our own buffer is the bound; the client's is a little larger, so that it is not met.
        .set(
            "queue.buffering.max.kbytes",
            (section.buffer_bytes_max / 1_024 * 2).max(1_024).to_string(),
        )
        .set("queue.buffering.max.messages", "1000000");
    if section.compression == Compression::Zstd {
        config.set("compression.level", section.compression_level.to_string());
    }
    Ok(config)
}

/// Settings of a member of `group`.
pub(super) fn consumer(
    section: &KafkaSection,
    group: &str,
    instance: Option<&str>,
) -> Result<ClientConfig, QueueError> {
    let mut config = common(section)?;
    let prefetch_kbytes = (section.prefetch_bytes_max / 1_024).max(1);
    config
        .set("group.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Skipping what is gone is for the caller to decide, with both offsets in hand.
        .set("auto.offset.reset", "error")
        .set("session.timeout.ms", section.session_timeout_ms.to_string())
        .set("heartbeat.interval.ms", (section.session_timeout_ms / 10).max(500).to_string())
        .set("max.poll.interval.ms", section.session_timeout_ms.max(300_000).to_string())
        .set("fetch.wait.max.ms", section.fetch_wait_ms.to_string())
        .set("fetch.min.bytes", "1")
        .set("fetch.error.backoff.ms", "100")
        .set("queued.max.messages.kbytes", prefetch_kbytes.to_string())
        .set("check.crcs", "true")
        // New partitions and new topics are noticed this fast.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("allow.auto.create.topics", "false");
    if let Some(instance) = instance {
        config.set("group.instance.id", instance);
    }
    Ok(config)
}
