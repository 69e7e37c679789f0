//! Records that the runtime cut come back whole (C-203, C-206).
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod rig;

use std::fs;

use rig::Rig;

#[tokio::test]
async fn c_203_interleaved_pieces_of_both_streams_join_by_stream() {
    let rig = Rig::new();
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    pod.piece("stdout", "P", "out1 ");
    pod.piece("stderr", "P", "err1 ");
    pod.piece("stdout", "P", "out2 ");
    pod.piece("stderr", "F", "err2");
    pod.piece("stdout", "F", "out3");
    rig.expect("stream", "stdout", &["out1 out2 out3".to_owned()]).await;
    rig.expect("stream", "stderr", &["err1 err2".to_owned()]).await;
    let row = rig.rows().into_iter().find(|row| row.line.starts_with("out")).unwrap();
    assert_eq!(row.time % 1_000_000_000, 1, "time of the first piece");
    running.stop().await;
}

#[tokio::test]
async fn c_206_a_rotation_between_pieces_does_not_split_the_record() {
    let rig = Rig::new();
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    pod.piece("stdout", "P", "a");
    pod.rotate();
    pod.piece("stderr", "F", "between");
    pod.piece("stdout", "P", "b");
    pod.rotate();
    pod.piece("stdout", "F", "c");
    pod.line("next");
    rig.expect("stream", "stdout", &["abc", "next"].map(str::to_owned)).await;
    rig.expect("stream", "stderr", &["between".to_owned()]).await;
    running.stop().await;
}

#[tokio::test]
async fn c_206_what_never_completes_is_sent_as_it_is_and_says_so() {
    let mut rig = Rig::new();
    rig.section.tail.partial_timeout_ms = 300;
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    pod.piece("stdout", "P", "only a beginning");
    rig.expect("pod", "web", &["only a beginning".to_owned()]).await;
    assert_eq!(rig.rows()[0].attributes["partial"], "true");
    pod.line("later");
    rig.expect("pod", "web", &["only a beginning", "later"].map(str::to_owned)).await;
    running.stop().await;
}

#[tokio::test]
async fn c_410_the_end_of_a_container_ends_its_open_record_and_its_last_line() {
    let rig = Rig::new();
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    pod.line("whole");
    pod.piece("stderr", "P", "open");
    pod.raw(b"2024-05-06T07:08:10Z stdout F no line feed");
    rig.expect("stream", "stdout", &["whole".to_owned()]).await;
    fs::remove_dir_all(pod.live.parent().unwrap()).unwrap();
    rig.expect("stream", "stdout", &["whole", "no line feed"].map(str::to_owned)).await;
    rig.expect("stream", "stderr", &["open".to_owned()]).await;
    running.stop().await;
}
