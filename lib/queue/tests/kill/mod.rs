//! kill -9: a child process appends as fast as it can and says what was acknowledged; whatever
//! the moment it is killed at, all of that is there afterwards, once and in order.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use queue::conformance::message;
use queue::{Partition, Topic};
use runtime::clock::{Clock, SystemClock};
use tempfile::TempDir;

use super::{open, read_all};

/// Tells the child which folder to use.
const FOLDER: &str = "MILLRACE_TEST_KILL_FOLDER";
const ROUNDS: u64 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        append_forever(Path::new(&folder)).await;
    }
    let folder = TempDir::new().unwrap();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut acknowledged = 0;
    for _ in 0..ROUNDS {
        let moment = Duration::from_millis(random.u64(5..250));
        acknowledged = run_and_kill(folder.path(), acknowledged, moment).await;
        let queue = open(folder.path());
        let (got, lost) = read_all(&queue).await;
        assert_eq!(lost, [], "seed {seed}");
        assert!(
            acknowledged <= got.len() as u64,
            "seed {seed}: {acknowledged} were acknowledged, {} are there",
            got.len()
        );
        for (place, (offset, text)) in got.iter().enumerate() {
            assert_eq!(*offset, place as i64);
            assert_eq!(text.split(' ').next().unwrap(), place.to_string());
        }
        acknowledged = got.len() as u64;
    }
    assert!(0 < acknowledged);
}

/// Returns how many messages the child said were acknowledged.
async fn run_and_kill(folder: &Path, known: u64, moment: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::what_was_acknowledged_survives_kill_9", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let counts = lines.filter_map(|line| line.strip_prefix("ack ")?.parse::<u64>().ok());
        counts.max()
    });
    SystemClock::new().sleep(moment + Duration::from_millis(150)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    reading.join().unwrap().map_or(known, |last| last + 1)
}

async fn append_forever(folder: &Path) -> ! {
    let queue = open(folder);
    queue.ensure_topic(&Topic::logs(), 1).await.unwrap();
    let producer = queue.producer().unwrap();
    let topic = Topic::logs();
    let (got, _) = read_all(&queue).await;
    let mut number = got.len();
    let mut out = std::io::stdout();
    loop {
        let mut acks = Vec::new();
        for _ in 0..20 {
            let text = format!("{number} {}", "x".repeat(fastrand::usize(..5_000)));
            let ack = producer.submit(&topic, Partition(0), message(&text));
            acks.push(ack.await.unwrap());
            number += 1;
        }
        for ack in acks {
            let offset = ack.await.unwrap();
            writeln!(out, "\nack {offset}").unwrap();
        }
        out.flush().unwrap();
    }
}
