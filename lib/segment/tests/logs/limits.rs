//! A scan ends at its limits and says which.

use std::sync::Arc;
use std::time::Duration;

use record::{Labels, TenantId};
use runtime::clock::ManualClock;
use runtime::cpu::CpuPool;
use segment::logs::{
    BuildOptions, CompiledPlan, LogPlan, LogSegment, ScanBudget, ScanLimit, SegmentError,
};

use crate::naive::{Row, build, open, rows_of};

async fn segment() -> LogSegment {
    let app = Labels::from_pairs([("app", "a")]);
    let rows: Vec<Row> =
        (0..1_000).map(|n| Row::new(&app, n, &format!("line {n} of many"))).collect();
    open(&build(&rows, BuildOptions { granule_rows: 50, ..BuildOptions::default() })).await
}

fn plan() -> Arc<CompiledPlan> {
    let plan = LogPlan::all(TenantId::default(), 0, i64::MAX, Vec::new());
    Arc::new(CompiledPlan::new(&plan).unwrap())
}

async fn limit_hit(budget: ScanBudget) -> ScanLimit {
    let error = segment().await.scan(&plan(), &Arc::new(budget), None).collect().await.unwrap_err();
    match error {
        SegmentError::Limit(limit) => limit,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_limit_is_named() {
    assert_eq!(limit_hit(ScanBudget::new(100, u64::MAX)).await, ScanLimit::Bytes { max: 100 });
    assert_eq!(limit_hit(ScanBudget::new(u64::MAX, 120)).await, ScanLimit::Rows { max: 120 });
    let cancelled = ScanBudget::unlimited();
    cancelled.cancel();
    assert_eq!(limit_hit(cancelled).await, ScanLimit::Cancelled);
    let clock = ManualClock::new(0);
    let late = ScanBudget::unlimited()
        .with_deadline(Arc::<ManualClock>::clone(&clock), Duration::from_secs(1));
    clock.advance(Duration::from_secs(2));
    assert_eq!(limit_hit(late).await, ScanLimit::Deadline);
}

#[tokio::test]
async fn one_budget_counts_all_scans_of_a_query() {
    let (segment, budget) = (segment().await, Arc::new(ScanBudget::new(u64::MAX, 1_500)));
    assert!(segment.scan(&plan(), &budget, None).collect().await.is_ok());
    let second = segment.scan(&plan(), &budget, None).collect().await;
    assert!(matches!(second, Err(SegmentError::Limit(ScanLimit::Rows { max: 1_500 }))));
    assert!(1_000 <= budget.rows());
}

#[tokio::test]
async fn a_pool_gives_the_same_answer() {
    let segment = segment().await;
    let budget = Arc::new(ScanBudget::unlimited());
    let pool = Arc::new(CpuPool::new(1, 4).unwrap());
    let (here, _) = segment.scan(&plan(), &budget, None).collect().await.unwrap();
    let (there, stats) = segment.scan(&plan(), &budget, Some(pool)).collect().await.unwrap();
    assert_eq!(rows_of(&here), rows_of(&there));
    assert_eq!(stats.rows_matched, 1_000);
}

#[tokio::test]
async fn a_scan_dropped_halfway_is_never_short_in_silence() {
    let segment = segment().await;
    let pool = Arc::new(CpuPool::new(1, 4).unwrap());
    let mut scan = segment.scan(&plan(), &Arc::new(ScanBudget::unlimited()), Some(pool));
    let mut next = Box::pin(scan.next());
    assert!(futures::poll!(&mut next).is_pending());
    drop(next);
    assert!(matches!(scan.next().await, Err(SegmentError::Limit(ScanLimit::Cancelled))));
}
