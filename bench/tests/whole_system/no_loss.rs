//! Every line that was written is returned once, in order.

use std::time::Duration;

use crate::cluster::{Cluster, lines_from_environment};
use crate::writer::Writer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_rotating_pod_logs_is_returned_once_and_in_order() {
    let lines = lines_from_environment();
    let mut cluster = Cluster::start("no-loss").await;
    let mut writer = Writer::new(cluster.pods(), cluster.start_ns(), 1);
    // In slices, so that rotation happens while the collector reads.
    for _ in 0..100 {
        writer.write(lines / 100);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    writer.finish();
    cluster.wait_for(&writer.written, writer.range(), Duration::from_secs(300)).await;
    cluster.assert_equal(&writer.written, writer.range()).await;
    // Once more when everything is published and nothing is left in memory.
    cluster.publish_all().await;
    cluster.assert_equal(&writer.written, writer.range()).await;
    cluster.assert_counters_agree(&writer.written).await;
}
