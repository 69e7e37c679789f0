//! Restarts, orderly and by kill -9, lose and double nothing (C-302, C-901, C-902, C-1106).
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod rig;

use std::fs;
use std::io::Write;
use std::time::Duration;

use rig::Rig;

#[tokio::test]
async fn c_302_after_a_restart_reading_goes_on_where_it_was_acknowledged() {
    let rig = Rig::new();
    let mut pod = rig.pod("web");
    let mut written = pod.lines(0..100);
    let running = rig.start().await;
    rig.expect("pod", "web", &written).await;
    running.stop().await;
    let messages = rig.queue.messages(&partition_of(&rig)).len();
    written.extend(pod.lines(100..200));
    let running = rig.start().await;
    rig.expect("pod", "web", &written).await;
    running.stop().await;
    let batches = rig.queue.messages(&partition_of(&rig)).split_off(messages);
    let rows: usize = batches.iter().map(|(_, message)| rows_of(message)).sum();
    assert_eq!(rows, 100, "what was acknowledged is not sent again");
}

#[tokio::test]
async fn c_302_files_rotated_while_the_collector_was_down_go_on_in_order() {
    let rig = Rig::new();
    let mut pod = rig.pod("web");
    let mut written = pod.lines(0..50);
    let running = rig.start().await;
    rig.expect("pod", "web", &written).await;
    rig.wait_committed(&pod.live).await;
    running.kill().await;
    written.extend(pod.lines(50..100));
    pod.piece("stdout", "P", "begun-");
    pod.rotate();
    pod.piece("stdout", "F", "ended");
    written.push("begun-ended".to_owned());
    pod.rotate();
    written.extend(pod.lines(100..150));
    let running = rig.start().await;
    rig.expect("pod", "web", &written).await;
    running.stop().await;
}

#[tokio::test]
async fn c_303_another_file_on_the_same_inode_is_read_from_its_beginning() {
    let rig = Rig::new();
    let live = rig.base().join("app.log");
    fs::write(&live, "old one\nold two\n").unwrap();
    let running = rig.start().await;
    let mut written = ["old one", "old two"].map(str::to_owned).to_vec();
    rig.expect("service_name", "app", &written).await;
    rig.wait_committed(&live).await;
    running.stop().await;
    // Rewriting in place keeps inode and birth time, as a reused inode without birth time would.
    fs::write(&live, "new one\nnew two\nnew three\n").unwrap();
    written.extend(["new one", "new two", "new three"].map(str::to_owned));
    let running = rig.start().await;
    rig.expect("service_name", "app", &written).await;
    running.stop().await;
}

#[tokio::test]
async fn c_1106_kill_9_at_any_moment_under_rotation_and_queue_faults() {
    let mut rig = Rig::new();
    rig.section.ship.batch_bytes = 2_048;
    rig.section.tail.quantum_bytes = 4_096;
    let seed = 7_u64;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut pods = [rig.pod("web"), rig.pod("db")];
    let mut plain = fs::File::create(rig.base().join("app.log")).unwrap();
    let mut written: [Vec<String>; 3] = Default::default();
    for _ in 0..25 {
        let running = rig.start().await;
        for _ in 0..random.usize(1..6) {
            let count = random.usize(1..200);
            for (pod, written) in pods.iter_mut().zip(&mut written) {
                let from = written.len();
                written.extend(pod.lines(from..from + count));
                if random.u8(..) < 60 {
                    pod.rotate();
                }
            }
            let from = written[2].len();
            for number in from..from + count {
                written[2].push(format!("plain {number}"));
                writeln!(plain, "plain {number}").unwrap();
            }
            if random.u8(..) < 80 {
                rig.queue.fail_appends(random.u32(1..4));
            }
            rig.queue.delay_appends(Duration::from_millis(random.u64(0..8)));
            rig.clock.sleep(Duration::from_millis(random.u64(0..30))).await;
        }
        running.kill().await;
    }
    rig.queue.fail_appends(0);
    let running = rig.start().await;
    rig.expect("pod", "web", &written[0]).await;
    rig.expect("pod", "db", &written[1]).await;
    rig.expect("job", "files", &written[2]).await;
    running.stop().await;
}

fn partition_of(rig: &Rig) -> queue::TopicPartition {
    let labels = rig.rows().first().unwrap().labels.clone();
    let partition = record::partition_for(labels.hash64(), rig::PARTITIONS);
    queue::TopicPartition::new(
        &queue::Topic::logs(),
        queue::Partition(i32::try_from(partition).unwrap()),
    )
}

fn rows_of(message: &queue::Message) -> usize {
    record::LogBatch::decode(&message.payload, &record::Limits::default()).unwrap().len()
}
