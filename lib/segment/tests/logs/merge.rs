//! Merging changes where rows are and nothing else.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use record::{Labels, TenantId};
use runtime::cpu::CpuPool;
use segment::logs::{BuildOptions, BuiltSegment, LogMerge, LogPlan, LogSegment, MergeError};

use crate::corpus;
use crate::naive::{Row, build, check, meta, naive, scan};

async fn open_at(built: &BuiltSegment, number: usize) -> LogSegment {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mut meta = meta(built);
    meta.path = format!("segments/{number}");
    store.put(&Path::from(meta.path.as_str()), built.bytes.clone().into()).await.unwrap();
    LogSegment::open(store, &meta).await.unwrap()
}

async fn merged(
    layout: &[Vec<Row>],
    cuts: Vec<i64>,
    granule_rows: [usize; 2],
) -> Result<Vec<BuiltSegment>, MergeError> {
    let [of_inputs, of_output] = granule_rows.map(|granule_rows| BuildOptions {
        granule_rows,
        patterns_free: 4,
        ..BuildOptions::default()
    });
    merged_as(layout, cuts, of_inputs, of_output).await
}

async fn merged_as(
    layout: &[Vec<Row>],
    cuts: Vec<i64>,
    of_inputs: BuildOptions,
    of_output: BuildOptions,
) -> Result<Vec<BuiltSegment>, MergeError> {
    let mut inputs = Vec::new();
    for (number, rows) in layout.iter().enumerate() {
        inputs.push(open_at(&build(rows, of_inputs), number).await);
    }
    let cpu = Arc::new(CpuPool::named("merge", 1, 8).unwrap());
    LogMerge::new(inputs, cuts, of_output, cpu).finish().await
}

fn everything() -> LogPlan {
    LogPlan::all(TenantId::default(), i64::MIN, i64::MAX, Vec::new())
}

/// The rows of all inputs cut into segments at random places.
fn layout() -> impl Strategy<Value = Vec<Vec<Row>>> {
    prop::collection::vec(corpus::rows(40), 1..5)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Rows, order and attributes are those of the inputs one after another.
    #[test]
    fn a_merged_segment_is_the_union_of_its_inputs(
        layout in layout(),
        cuts in prop::collection::btree_set(0_i64..400, 0..4),
        of_inputs in 1_usize..20,
        of_output in 1_usize..20,
    ) {
        block_on(async {
            let cuts: Vec<i64> = cuts.into_iter().map(|second| second * 1_000_000_000).collect();
            let built = merged(&layout, cuts.clone(), [of_inputs, of_output]).await.unwrap();
            let all = layout.concat();
            let mut seen = 0;
            for (number, one) in built.iter().enumerate() {
                let stretch = cuts.partition_point(|cut| *cut <= one.time_min);
                assert_eq!(stretch, cuts.partition_point(|cut| *cut <= one.time_max));
                let inside = |row: &&Row| cuts.partition_point(|cut| *cut <= row.time) == stretch;
                let expected: Vec<Row> = all.iter().filter(inside).cloned().collect();
                let segment = open_at(one, number).await;
                segment.verify().await.unwrap();
                let (found, _) = scan(&segment, &everything()).await;
                assert_eq!(found, naive(&expected, &everything()));
                assert_eq!(one.rows, expected.len() as u64);
                let lines = expected.iter().map(|row| row.line.len() as u64);
                assert_eq!(one.raw_bytes, lines.sum::<u64>());
                seen += found.len();
            }
            assert_eq!(seen, all.len());
        });
    }

    /// Whatever is asked, a merged segment answers as the rows would.
    #[test]
    fn a_merged_segment_answers_every_question(
        (layout, plan) in layout().prop_flat_map(|layout| {
            let plan = corpus::plan(&layout.concat());
            (Just(layout), plan)
        }),
        granule_rows in 1_usize..20,
    ) {
        block_on(async {
            let built = merged(&layout, Vec::new(), [7, granule_rows]).await.unwrap();
            let segment = open_at(&built[0], 0).await;
            check(&segment, &layout.concat(), &plan).await;
        });
    }
}

#[tokio::test]
async fn merging_a_merged_segment_again_changes_nothing() {
    let stream = |app: &str| record::Labels::from_pairs([("app", app)]);
    let rows = |from: i64| -> Vec<Row> {
        let apps = ["a", "b", "c"];
        (from..from + 30)
            .map(|n| Row::new(&stream(apps[n as usize % 3]), n / 4, &format!("row {n}")))
            .collect()
    };
    let layout = [rows(0), rows(20), rows(40)];
    let once = merged(&layout, Vec::new(), [8, 8]).await.unwrap();
    let cpu = Arc::new(CpuPool::named("merge", 1, 8).unwrap());
    let options = BuildOptions { granule_rows: 8, ..BuildOptions::default() };
    let again = LogMerge::new(vec![open_at(&once[0], 0).await], Vec::new(), options, cpu);
    let again = again.finish().await.unwrap();
    let (first, _) = scan(&open_at(&once[0], 0).await, &everything()).await;
    let (second, _) = scan(&open_at(&again[0], 1).await, &everything()).await;
    assert_eq!(first, naive(&layout.concat(), &everything()));
    assert_eq!(first, second);
}

/// Three times the rows of a fresh segment have up to three times its patterns.
#[tokio::test]
async fn merging_leaves_no_granule_that_cannot_say_what_it_holds() {
    let stream = Labels::from_pairs([("app", "a")]);
    // Separators of their own keep frames apart, so that each line is a pattern.
    let line = |n: i64| {
        let frame = |bit: i64| if n >> bit & 1 == 0 { "w," } else { "w;" };
        (0..12).map(frame).collect::<String>() + &"word ".repeat(780)
    };
    let inputs = (0..3).map(|input| {
        let rows = (0..1_000).map(|n| input * 1_000 + n);
        rows.map(|n| Row::new(&stream, n, &line(n))).collect()
    });
    let inputs: Vec<Vec<Row>> = inputs.collect();
    let (fresh, hard) = (BuildOptions::fresh(), BuildOptions::merged());
    let built = merged_as(&inputs, Vec::new(), fresh, hard).await.unwrap();
    let stats = &built[0].stats;
    assert_eq!((stats.patterns, stats.rows_without_pattern), (3_000, 0));
    assert_eq!(stats.granules_incomplete, 0);
}
