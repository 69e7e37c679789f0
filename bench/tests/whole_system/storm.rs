//! Indexers join, stop, hang and are killed every few seconds under load, with twelve partitions
//! among them.
//!
//! `MILLRACE_TEST_STORM_SECS` sets how long it storms.

use std::collections::BTreeMap;
use std::time::Duration;

use bench::systems::deployment::ROLE_DEADLINE;
use bench::systems::millrace::Role;
use fastrand::Rng;
use queue::Topic;
use segment::catalog::CatalogState;

use crate::cluster::{Cluster, now, seconds_from_environment};
use crate::writer::Writer;

const PARTITIONS: u32 = 12;

/// Small segments, and rows that wait long enough to be unpublished when something happens.
const SETTINGS: &str = "
indexer:
  recent_grace_secs: 5
  logs:
    cut_raw_bytes_max: 2000000
    cut_age_secs_max: 3
";

/// Lines a tenth of a second: five minutes of them can still be compared one by one.
const LINES: usize = 150;

/// Longest wait for a rebalance: a session of 6 s has to run out first.
const SETTLE: Duration = Duration::from_secs(60);

/// Writes load for a while.
async fn load(writer: &mut Writer, length: Duration) {
    let started = now();
    while started.elapsed() < length {
        writer.write(LINES);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Owner and epoch of every logs partition.
fn owners(state: &CatalogState) -> BTreeMap<i32, (String, u64)> {
    let logs = state.partitions.iter().filter(|((topic, _), _)| topic == Topic::LOGS);
    logs.map(|((_, number), known)| (*number, (known.owner.clone(), known.epoch))).collect()
}

/// Writes load until the owners of the partitions are as wanted.
async fn load_until(
    cluster: &Cluster,
    writer: &mut Writer,
    what: &str,
    wanted: impl Fn(&BTreeMap<i32, (String, u64)>) -> bool,
) -> BTreeMap<i32, (String, u64)> {
    let catalog = cluster.catalog().await;
    let started = now();
    loop {
        let found = owners(&catalog.refresh().await.unwrap());
        if wanted(&found) {
            return found;
        }
        assert!(started.elapsed() < SETTLE, "never: {what}: {found:?}");
        load(writer, Duration::from_millis(200)).await;
    }
}

fn owned_by(owners: &BTreeMap<i32, (String, u64)>, role: &Role) -> usize {
    owners.values().filter(|(owner, _)| owner == role.address()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_hangs_and_kills_lose_and_double_nothing_and_move_only_what_they_must() {
    let length = seconds_from_environment("MILLRACE_TEST_STORM_SECS", 30);
    let seed = std::env::var("MILLRACE_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("MILLRACE_TEST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut cluster = Cluster::start_with("storm", SETTINGS, Some(PARTITIONS)).await;
    let mut writer = Writer::new(cluster.pods(), cluster.start_ns(), seed);

    // A join moves a share to the new member; what stays is not even taken over anew.
    let second = cluster.deployment().another_indexer("indexer-2").unwrap();
    let before = load_until(&cluster, &mut writer, "two share the partitions", |owners| {
        owned_by(owners, &second) == 6 && owners.len() == PARTITIONS as usize
    })
    .await;
    let third = cluster.deployment().another_indexer("indexer-3").unwrap();
    let after = load_until(&cluster, &mut writer, "three share the partitions", |owners| {
        owned_by(owners, &third) == 4
    })
    .await;
    for (partition, (owner, epoch)) in &after {
        let (old_owner, old_epoch) = &before[partition];
        let expected = if owner == old_owner { *old_epoch } else { old_epoch + 1 };
        assert_eq!(*epoch, expected, "partition {partition}: {before:?} {after:?}");
    }

    zombie(&cluster, &mut writer, &third).await;

    let mut others = [second, third];
    let started = now();
    while started.elapsed() < length {
        let quiet = Duration::from_millis(rng.u64(1_000..4_000));
        load(&mut writer, quiet).await;
        let at = rng.usize(..3);
        let role = if at == 2 { &mut cluster.deployment().indexer } else { &mut others[at] };
        match rng.u8(..4) {
            // Back before the group notices; the partitions come back to it.
            0 => role.kill_and_restart().unwrap(),
            // Away for longer than a session, or not.
            1 | 2 => {
                role.kill();
                load(&mut writer, Duration::from_millis(rng.u64(2_000..9_000))).await;
                role.restart().unwrap();
            }
            // In order: what it holds is published.
            _ => {
                let (status, _) = role.terminate(ROLE_DEADLINE).await.unwrap();
                assert!(status.success(), "{status}:\n{}", role.log());
                role.restart().unwrap();
            }
        }
    }
    writer.finish();
    cluster.ready().await;
    for role in &mut others {
        role.ready(ROLE_DEADLINE).await.unwrap();
    }
    cluster.wait_for(&writer.written, writer.range(), Duration::from_secs(120)).await;
    cluster.assert_equal(&writer.written, writer.range()).await;
    println!("{} lines, {:?} of storm", writer.written.len(), started.elapsed());
    // Published, and counted once more with nothing left in memory of those that stopped.
    for role in &mut others {
        let (status, _) = role.terminate(ROLE_DEADLINE).await.unwrap();
        assert!(status.success(), "{status}:\n{}", role.log());
    }
    cluster.publish_all().await;
    cluster.wait_for(&writer.written, writer.range(), Duration::from_secs(120)).await;
    cluster.assert_equal(&writer.written, writer.range()).await;
    cluster.assert_sound_catalog().await;
}

/// One hangs until the group has given its partitions away, with rows it has not published. When
/// it goes on, it does not publish them: others have.
async fn zombie(cluster: &Cluster, writer: &mut Writer, role: &Role) {
    let started = now();
    while Cluster::metric(role, "millrace_indexer_held_rows").await == 0.0 {
        assert!(started.elapsed() < SETTLE, "it never held a row");
        load(writer, Duration::from_millis(100)).await;
    }
    role.freeze().unwrap();
    load_until(cluster, writer, "its partitions have other owners", |owners| {
        owned_by(owners, role) == 0
    })
    .await;
    // The others publish what it held.
    load(writer, Duration::from_secs(4)).await;
    role.thaw().unwrap();
    load_until(cluster, writer, "it has partitions again", |owners| owned_by(owners, role) == 4)
        .await;
    let given_up = Cluster::metric(role, "millrace_indexer_rows_given_up_total").await;
    assert!(0.0 < given_up, "it held rows it could not publish:\n{}", role.log());
}
