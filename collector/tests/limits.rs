//! Hostile and outsized input: kept, cut or counted, and the next line is intact.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod rig;

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use rig::Rig;

#[tokio::test]
async fn c_205_a_record_of_many_pieces_is_cut_too() {
    let mut rig = Rig::new();
    rig.section.tail.record_bytes_max = 10_000;
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    for _ in 0..100 {
        pod.piece("stdout", "P", &"x".repeat(1_000));
    }
    pod.piece("stdout", "F", "end");
    pod.line("next");
    rig.wait_until("both records", || rig.rows().len() == 2).await;
    let rows = rig.rows();
    assert_eq!((rows[0].line.len(), rows[1].line.as_str()), (10_000, "next"));
    assert_eq!(rows[0].attributes["original_bytes"], "100003");
    running.stop().await;
}

#[tokio::test]
async fn c_208_what_fits_no_grammar_is_kept_raw() {
    let rig = Rig::new();
    let running = rig.start().await;
    let mut pod = rig.pod("web");
    pod.line("good");
    pod.raw(b"not a container line, level=error\n{\"json\":1}\n\n");
    pod.raw(b"2024-05-06T07:08:10Z stdout F \xff\xfebytes\n");
    pod.raw(b"\0\0\0\0");
    pod.line("after holes");
    let expected = ["good", "\u{fffd}\u{fffd}bytes", "after holes"].map(str::to_owned);
    rig.expect("stream", "stdout", &expected).await;
    let rows = rig.rows();
    let raw: Vec<_> = rows.iter().filter(|row| row.labels.get("stream").is_none()).collect();
    let found: Vec<_> =
        raw.iter().map(|row| (row.line.as_str(), row.attributes["parse_error"].as_str())).collect();
    let expected =
        [("not a container line, level=error", "cri"), ("{\"json\":1}", "json"), ("", "cri")];
    assert_eq!(found, expected);
    assert_eq!(raw[0].attributes["detected_level"], "error");
    assert_eq!(raw[0].labels.get("pod"), Some("web"));
    running.stop().await;
}

#[tokio::test]
async fn c_408_more_files_than_may_be_open_are_read_in_turn() {
    let mut rig = Rig::new();
    rig.section.tail.open_files_max = 16;
    rig.section.tail.close_idle_secs = 1;
    for number in 0..60 {
        fs::write(rig.base().join(format!("app{number}.log")), format!("{number}\n")).unwrap();
    }
    let running = rig.start().await;
    rig.wait_until("all lines", || rig.rows().len() == 60).await;
    for number in 0..60 {
        let path = rig.base().join(format!("app{number}.log"));
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        writeln!(file, "more {number}").unwrap();
    }
    rig.wait_until("all further lines", || rig.rows().len() == 120).await;
    running.stop().await;
}

#[tokio::test]
async fn c_703_one_loud_file_does_not_delay_the_quiet_ones() {
    let mut rig = Rig::new();
    rig.section.tail.quantum_bytes = 64 << 10;
    let loud = "x".repeat(200);
    let mut file = File::create(rig.base().join("aa-loud.log")).unwrap();
    let text: String = (0..150_000).map(|number| format!("{number} {loud}\n")).collect();
    file.write_all(text.as_bytes()).unwrap();
    for number in 0..50 {
        fs::write(rig.base().join(format!("quiet{number}.log")), "hello\n").unwrap();
    }
    let running = rig.start().await;
    let quiet = |rows: &[rig::Row]| rows.iter().filter(|row| row.line == "hello").count();
    rig.wait_until("the quiet lines", || quiet(&rig.rows()) == 50).await;
    let loud = rig.rows().len() - 50;
    assert!(loud < 150_000, "the quiet ones came first");
    running.stop().await;
}

#[tokio::test]
async fn c_104_lines_are_on_the_queue_well_within_100_ms_without_any_scan() {
    let mut rig = Rig::new();
    rig.section.tail.scan_interval_ms = 600_000;
    let running = rig.start().await;
    rig.wait_until("checkpoint", || !rig.checkpoint().is_empty()).await;
    let mut slow = 0;
    for number in 0..40 {
        // A new file now and then, else one more line.
        let path = rig.base().join(format!("app{}.log", number / 4));
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "line {number}").unwrap();
        let written = rig.clock.elapsed();
        rig.wait_until("the line", || rig.rows().len() == number + 1).await;
        slow += usize::from(Duration::from_millis(100) < rig.clock.elapsed() - written);
    }
    assert!(slow <= 4, "{slow} of 40 lines took longer than 100 ms");
    running.stop().await;
}
