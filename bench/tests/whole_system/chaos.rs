//! The same while processes are killed and Kafka is away.

use std::time::Duration;

use fastrand::Rng;

use crate::cluster::{Cluster, lines_from_environment};
use crate::writer::Writer;

/// Moments at which a role is killed.
const KILLS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_a_broker_outage_lose_and_double_nothing() {
    let seed = std::env::var("MILLRACE_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("MILLRACE_TEST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let lines = lines_from_environment();
    let mut cluster = Cluster::start("chaos").await;
    let mut writer = Writer::new(cluster.pods(), cluster.start_ns(), seed);

    for round in 0..KILLS {
        let slices = 20;
        let kill_at = rng.usize(..slices);
        for slice in 0..slices {
            writer.write(lines / KILLS / slices);
            tokio::time::sleep(Duration::from_millis(rng.u64(5..80))).await;
            if slice == kill_at {
                cluster.kill_one(&mut rng).await;
            }
        }
        if round == KILLS / 2 {
            cluster.broker_outage(Duration::from_secs(30), &mut writer, lines / 100).await;
        }
    }
    writer.finish();
    cluster.ready().await;
    cluster.wait_for(&writer.written, writer.range(), Duration::from_secs(300)).await;
    cluster.assert_equal(&writer.written, writer.range()).await;
    cluster.publish_all().await;
    cluster.assert_equal(&writer.written, writer.range()).await;
}
