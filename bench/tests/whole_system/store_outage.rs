//! The object store goes away under load: Kafka is the buffer, nothing is restarted, nothing is
//! lost.
//!
//! `MILLRACE_TEST_OUTAGE_SECS` sets how long it is away.

use std::time::Duration;

use crate::cluster::{Cluster, lines_from_environment, now, seconds_from_environment};
use crate::writer::Writer;

/// So little memory that an outage of seconds fills it.
const SETTINGS: &str = "
indexer:
  recent_grace_secs: 5
  publish_retry_ms_max: 2000
  logs:
    cut_raw_bytes_max: 1000000
    cut_age_secs_max: 5
    memory_bytes_max: 4000000
";

/// What a delivery of the queue may add to that, and what else is in a row set: 16 MB are plenty
/// below what was written.
const HELD_BYTES_MAX: f64 = 4_000_000.0 + 16_000_000.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_delays_and_loses_nothing() {
    let length = seconds_from_environment("MILLRACE_TEST_OUTAGE_SECS", 10);
    let lines = lines_from_environment();
    let mut cluster = Cluster::start_with("store-outage", SETTINGS, None).await;
    let mut writer = Writer::new(cluster.pods(), cluster.start_ns(), 7);
    for _ in 0..20 {
        writer.write(lines / 100);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A record that waits too long for its last piece, as for a server to stop, is sent in two.
    writer.finish();
    // Partitions are acquired in the catalog, so the indexer must have its own by then.
    cluster.wait_for(&writer.written, writer.range(), Duration::from_secs(60)).await;
    assert!(cluster.deployment().s3.stop().unwrap(), "a server of our own is needed");
    let started = now();
    let mut held_max: f64 = 0.0;
    while started.elapsed() < length {
        if writer.written.len() < lines {
            writer.write(lines / 40);
            writer.finish();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let held = Cluster::metric(&cluster.deployment().indexer, "millrace_indexer_held_bytes");
        held_max = held_max.max(held.await);
    }
    let paused = Cluster::metric(&cluster.deployment().indexer, "millrace_indexer_pauses_total");
    let paused = paused.await;
    cluster.deployment().s3.start_again().unwrap();
    cluster.wait_for(&writer.written, writer.range(), Duration::from_secs(120)).await;
    cluster.assert_equal(&writer.written, writer.range()).await;
    println!("away for {length:?}: held at most {held_max} bytes, paused {paused} times");
    assert!(held_max < HELD_BYTES_MAX, "held {held_max}");
    assert!(1.0 <= paused, "more was written than fits, so reading paused");
    cluster.publish_all().await;
    cluster.assert_equal(&writer.written, writer.range()).await;
    cluster.assert_sound_catalog().await;
}
