#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::time::Duration;

use queue::{MemoryQueue, MemorySection, Message, Partition, TopicPartition};
use record::{BatchHeaders, Labels, Limits, LogBatchBuilder, SourceId, TimestampNanos};
use runtime::clock::SystemClock;

use super::*;

struct Rig {
    queue: MemoryQueue,
    shipper: Shipper,
    stopping: Stopping,
    task: Option<futures::future::BoxFuture<'static, ()>>,
}

fn rig(section: ShipSection, memory: MemorySection) -> Rig {
    let clock = SystemClock::shared();
    let queue = MemoryQueue::new(memory, Arc::clone(&clock));
    queue.ensure_topic(&Topic::logs(), 2);
    queue.ensure_topic(&Topic::samples(), 1);
    let sender = Sender { collector: "node".to_owned(), boot_epoch: 1 };
    let (shipper, task) = shipper(&section, queue.producer(), sender, clock);
    let stopping = Stopping::default();
    let task = Box::pin(task.run(stopping.clone()));
    Rig { queue, shipper, stopping, task: Some(task) }
}

impl Rig {
    /// Runs `work` beside the sending task, then drains it.
    async fn run<T>(&mut self, work: impl Future<Output = T>) -> T {
        let task = self.task.take().unwrap();
        let drain = self.stopping.drain.clone();
        let (done, ()) = futures::join!(
            async {
                let done = work.await;
                drain.cancel();
                done
            },
            task
        );
        done
    }

    fn lines(&self) -> Vec<Vec<String>> {
        (0..2)
            .map(|partition| self.messages(partition).iter().flat_map(lines_of).collect())
            .collect()
    }

    fn messages(&self, partition: i32) -> Vec<Message> {
        let at = TopicPartition::new(&Topic::logs(), Partition(partition));
        self.queue.messages(&at).into_iter().map(|(_, message)| message).collect()
    }
}

fn lines_of(message: &Message) -> Vec<String> {
    let batch = LogBatch::decode(&message.payload, &Limits::default()).unwrap();
    (0..batch.len()).map(|row| batch.line(row).to_owned()).collect()
}

fn batch(app: &str, lines: &[String]) -> LogBatch {
    let labels = Labels::from_pairs([("app", app)]);
    let mut builder = LogBatchBuilder::new();
    let none: [(&str, &str); 0] = [];
    for (at, line) in lines.iter().enumerate() {
        let source = Some((SourceId([1; 16]), at as u64 + 1));
        builder.push(TimestampNanos(at as i64), &labels, line, &none, source);
    }
    builder.finish()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

/// A stream whose partition, of two, is `wanted`.
fn app_in(wanted: u32) -> String {
    let fits = |app: &String| {
        let labels = Labels::from_pairs([("app", app.as_str())]);
        partition_for(labels.hash64(), 2) == wanted
    };
    (0..100).map(|number| format!("app{number}")).find(fits).unwrap()
}

#[tokio::test]
async fn rows_go_to_the_partition_of_their_stream_with_their_ranges() {
    let mut rig = rig(ShipSection::default(), MemorySection::default());
    let shipper = rig.shipper.clone();
    let tenant = TenantId::new("shop").unwrap();
    let both =
        LogBatch::concat(&[batch(&app_in(0), &numbered(0..3)), batch(&app_in(1), &numbered(3..5))]);
    rig.run(async { shipper.logs(&tenant, both.unwrap()).await.unwrap().await.unwrap() }).await;
    assert_eq!(rig.lines(), [numbered(0..3), numbered(3..5)]);
    let message = rig.messages(0).pop().unwrap();
    let headers = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
    let headers = BatchHeaders::from_pairs(headers).unwrap();
    assert_eq!((headers.tenant, headers.collector.as_str()), (tenant, "node"));
    assert_eq!((headers.ranges[0].first, headers.ranges[0].last), (1, 3));
}

#[tokio::test]
async fn a_failed_batch_and_all_behind_it_are_sent_again_in_order() {
    let mut rig = rig(ShipSection::default(), MemorySection::default());
    let (shipper, queue) = (rig.shipper.clone(), rig.queue.clone());
    let app = app_in(0);
    rig.run(async {
        let tenant = TenantId::default();
        let mut receipts = Vec::new();
        for number in 0..40 {
            if number % 7 == 0 {
                queue.fail_appends(2);
            }
            let one = batch(&app, &numbered(number..number + 1));
            receipts.push(shipper.logs(&tenant, one).await.unwrap());
            tokio::task::yield_now().await;
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
    })
    .await;
    assert_eq!(rig.lines()[0], numbered(0..40));
    assert_eq!(shipper.in_flight_bytes(), 0);
}

#[tokio::test]
async fn c_1005_what_is_too_large_is_split_and_a_single_row_is_cut() {
    let memory = MemorySection { message_bytes_max: 4_096, ..MemorySection::default() };
    let mut rig = rig(ShipSection::default(), memory);
    let shipper = rig.shipper.clone();
    let app = app_in(1);
    let mut lines = numbered(0..300);
    lines.push("é".repeat(10_000));
    lines.push("last".to_owned());
    let all = batch(&app, &lines);
    rig.run(async { shipper.logs(&TenantId::default(), all).await.unwrap().await.unwrap() }).await;
    let stored = rig.lines().remove(1);
    assert_eq!(stored.len(), 302);
    assert_eq!(stored[..300], lines[..300]);
    assert!(lines[300].starts_with(&stored[300]) && 200 < stored[300].len());
    assert_eq!(stored[301], "last");
}

#[tokio::test]
async fn inputs_wait_when_the_budget_is_used_up_and_go_on_after_acknowledgement() {
    let section = ShipSection { in_flight_bytes_max: 2_048, ..ShipSection::default() };
    let mut rig = rig(section, MemorySection::default());
    let (shipper, queue) = (rig.shipper.clone(), rig.queue.clone());
    queue.hold_appends();
    let app = app_in(0);
    rig.run(async {
        let tenant = TenantId::default();
        let large = || batch(&app, &["x".repeat(1_500)]);
        let first = shipper.logs(&tenant, large()).await.unwrap();
        let waits = shipper.logs(&tenant, large());
        let limit = Duration::from_millis(50);
        assert!(tokio::time::timeout(limit, waits).await.is_err());
        queue.release_appends();
        first.await.unwrap();
        shipper.logs(&tenant, large()).await.unwrap().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn after_the_drain_inputs_are_told_that_the_collector_stops() {
    let mut rig = rig(ShipSection::default(), MemorySection::default());
    let shipper = rig.shipper.clone();
    let app = app_in(0);
    let tenant = TenantId::default();
    let first = batch(&app, &numbered(0..1));
    let accepted = rig.run(async { Ok::<_, ShipError>((shipper.logs(&tenant, first).await?,)) });
    let (receipt,) = accepted.await.unwrap();
    assert_eq!(receipt.await, Ok(()));
    let late = shipper.logs(&TenantId::default(), batch(&app, &numbered(1..2))).await;
    assert_eq!(late.map(|_| ()), Err(ShipError::Closed));
}
