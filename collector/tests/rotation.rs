//! Rotation never loses, doubles or reorders a line (section 4 of `specs/collector.md`).
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod rig;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use rig::Rig;

#[tokio::test]
async fn c_401_lines_before_during_and_after_a_rename_come_once_and_in_order() {
    let rig = Rig::new();
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    let mut written = pod.lines(0..10);
    rig.expect("pod", "web", &written).await;
    for round in 1..=5 {
        pod.rename();
        written.extend(pod.lines(round * 10..round * 10 + 5));
        pod.reopen();
        written.extend(pod.lines(round * 10 + 5..round * 10 + 10));
    }
    rig.expect("pod", "web", &written).await;
    running.stop().await;
}

#[tokio::test]
async fn c_402_a_file_renamed_back_is_the_same_file() {
    let rig = Rig::new();
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    let mut written = pod.lines(0..10);
    rig.expect("pod", "web", &written).await;
    pod.rename();
    written.extend(pod.lines(10..20));
    rig.expect("pod", "web", &written).await;
    pod.rename_back();
    written.extend(pod.lines(20..30));
    rig.expect("pod", "web", &written).await;
    running.stop().await;
}

#[tokio::test]
async fn c_403_every_generation_is_read_although_reading_is_far_behind() {
    let mut rig = Rig::new();
    rig.section.ship.batch_bytes = 1_024;
    rig.section.tail.quantum_bytes = 4_096;
    rig.queue.hold_appends();
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    let mut written = Vec::new();
    for round in 0..8 {
        written.extend(pod.lines(round * 1_000..(round + 1) * 1_000));
        pod.rotate();
    }
    rig.queue.release_appends();
    rig.expect("pod", "web", &written).await;
    running.stop().await;
}

#[tokio::test]
async fn c_106_rotated_siblings_found_at_start_are_read_first() {
    let rig = Rig::new();
    let mut pod = rig.pod("web");
    let mut written = Vec::new();
    for round in 0..3 {
        written.extend(pod.lines(round * 10..round * 10 + 10));
        pod.rotate();
    }
    written.extend(pod.lines(30..35));
    let base = rig.base();
    fs::write(base.join("app.log.2"), "a\n").unwrap();
    fs::write(base.join("app.log.1"), "b\n").unwrap();
    fs::write(base.join("app.log"), "c\n").unwrap();
    let running = rig.start().await;
    rig.expect("pod", "web", &written).await;
    rig.expect("job", "files", &["a", "b", "c"].map(str::to_owned)).await;
    running.stop().await;
}

#[tokio::test]
async fn c_405_a_file_deleted_while_open_is_read_to_its_end() {
    let rig = Rig::new();
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    let mut written = pod.lines(0..10);
    rig.expect("pod", "web", &written).await;
    written.extend(pod.lines(10..2_000));
    fs::remove_dir_all(pod.live.parent().unwrap()).unwrap();
    rig.expect("pod", "web", &written).await;
    running.stop().await;
}

#[tokio::test]
async fn c_409_a_pod_that_lives_for_200_ms_is_read_whole() {
    let mut rig = Rig::new();
    rig.section.tail.scan_interval_ms = 60_000;
    let running = rig.start().await;
    rig.wait_until("checkpoint", || !rig.checkpoint().is_empty()).await;
    for round in 0..5 {
        let name = format!("job-{round}");
        let mut pod = rig.pod(&name);
        let mut written = pod.lines(0..10);
        rig.clock.sleep(Duration::from_millis(200)).await;
        written.extend(pod.lines(10..20));
        fs::remove_dir_all(pod.live.parent().unwrap().parent().unwrap()).unwrap();
        rig.expect("pod", &name, &written).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn c_406_copytruncate_reads_on_in_the_copy_and_starts_over() {
    let mut rig = Rig::new();
    rig.section.tail.scan_interval_ms = 60_000;
    let running = rig.start().await;
    let live = rig.base().join("app.log");
    let mut file = OpenOptions::new().create(true).append(true).open(&live).unwrap();
    let mut written = Vec::new();
    for round in 0..4 {
        for line in 0..500 {
            let text = format!("round {round} line {line}");
            writeln!(file, "{text}").unwrap();
            written.push(text);
        }
        if round % 2 == 0 {
            rig.expect("service_name", "app", &written).await;
        }
        // As logrotate does: shift, copy, empty. Nothing is written in between.
        for age in (1..4).rev() {
            let from = rig.base().join(format!("app.log.{age}"));
            if fs::metadata(&from).is_ok() {
                fs::rename(&from, rig.base().join(format!("app.log.{}", age + 1))).unwrap();
            }
        }
        fs::copy(&live, rig.base().join("app.log.1")).unwrap();
        file.set_len(0).unwrap();
        rig.expect("service_name", "app", &written).await;
    }
    running.stop().await;
    let running = rig.start().await;
    writeln!(file, "after").unwrap();
    written.push("after".to_owned());
    rig.expect("service_name", "app", &written).await;
    running.stop().await;
}

#[tokio::test]
async fn c_407_trouble_with_some_files_stops_no_other() {
    let rig = Rig::new();
    let base = rig.base();
    fs::create_dir(base.join("folder.log")).unwrap();
    std::os::unix::fs::symlink("/nowhere", base.join("dangling.log")).unwrap();
    std::os::unix::fs::symlink(base.join("ring.log"), base.join("ring.log")).unwrap();
    fs::write(base.join("real.log"), "one\n").unwrap();
    fs::hard_link(base.join("real.log"), base.join("zz-same.log")).unwrap();
    let running = rig.start().await;
    rig.expect("job", "files", &["one".to_owned()]).await;
    fs::remove_file(base.join("real.log")).unwrap();
    fs::write(base.join("other.log"), "two\n").unwrap();
    rig.expect("service_name", "other", &["two".to_owned()]).await;
    running.stop().await;
}

#[tokio::test]
async fn c_103_a_link_is_followed_and_its_new_target_is_a_rotation() {
    let mut rig = Rig::new();
    rig.section.tail.scan_interval_ms = 60_000;
    let docker = rig.folder.path().join("docker");
    fs::create_dir(&docker).unwrap();
    let (old, new) = (docker.join("old-json.log"), docker.join("new-json.log"));
    let mut file = OpenOptions::new().create(true).append(true).open(&old).unwrap();
    let json = |text: &str| {
        format!(
            "{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2024-01-01T00:00:00.1Z\"}}\n"
        )
    };
    let folder = rig.base().join("pods/shop_web_0a-1b/app");
    fs::create_dir_all(&folder).unwrap();
    let running = rig.start().await;
    std::os::unix::fs::symlink(&old, folder.join("0.log")).unwrap();
    file.write_all(json("one").as_bytes()).unwrap();
    rig.expect("pod", "web", &["one".to_owned()]).await;
    file.write_all(json("two").as_bytes()).unwrap();
    rig.expect("pod", "web", &["one", "two"].map(str::to_owned)).await;
    fs::write(&new, json("three")).unwrap();
    fs::remove_file(folder.join("0.log")).unwrap();
    std::os::unix::fs::symlink(&new, folder.join("0.log")).unwrap();
    rig.expect("pod", "web", &["one", "two", "three"].map(str::to_owned)).await;
    running.stop().await;
}
