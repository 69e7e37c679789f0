//! A segment and its oracle: the same rows as a plain list, searched one by one.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use record::{DETECTED_LEVEL, Labels, LogBatch, LogBatchBuilder, TenantId, TimestampNanos};
use segment::logs::{
    AttributeColumns, BuildOptions, BuiltSegment, CompiledPlan, Found, LogPlan, LogSegment,
    LogSegmentBuilder, MINUTE_NS, ScanBudget, ScanStats, WidenedFrames,
};
use segment::{SegmentId, SegmentKind, SegmentMeta};

/// One row, as pushed or as found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) stream: Labels,
    pub(crate) time: i64,
    pub(crate) line: String,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Row {
    pub(crate) fn new(stream: &Labels, time: i64, line: &str) -> Self {
        let (stream, line) = (stream.clone(), line.to_owned());
        Self { stream, time, line, attributes: Vec::new() }
    }
}

pub(crate) fn batch(rows: &[Row]) -> LogBatch {
    let mut builder = LogBatchBuilder::new();
    for row in rows {
        builder.push(TimestampNanos(row.time), &row.stream, &row.line, &row.attributes, None);
    }
    builder.finish()
}

pub(crate) fn rows_of(batches: &[LogBatch]) -> Vec<Row> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let row = |batch: &LogBatch, at: usize| Row {
        stream: batch.stream(at).clone(),
        time: batch.times()[at],
        line: batch.line(at).to_owned(),
        attributes: batch.attributes(at).map(owned).collect(),
    };
    batches.iter().flat_map(|batch| (0..batch.len()).map(move |at| row(batch, at))).collect()
}

pub(crate) fn build(rows: &[Row], options: BuildOptions) -> BuiltSegment {
    build_after(&WidenedFrames::default(), rows, options)
}

/// Builds after other segments.
pub(crate) fn build_after(
    frames: &WidenedFrames,
    rows: &[Row],
    options: BuildOptions,
) -> BuiltSegment {
    let mut builder = LogSegmentBuilder::new(options).with_frames(frames);
    // Several batches, so that sorting has something to do.
    for part in rows.chunks(rows.len().div_ceil(3).max(1)) {
        builder.push_batch(&batch(part), None).unwrap();
    }
    builder.finish().unwrap()
}

pub(crate) fn meta(built: &BuiltSegment) -> SegmentMeta {
    SegmentMeta {
        id: SegmentId::from_bits(7),
        kind: SegmentKind::Logs,
        tenant: TenantId::default(),
        path: "segments/one".to_owned(),
        bytes: built.bytes.len() as u64,
        raw_bytes: built.raw_bytes,
        rows: built.rows,
        time_min_ns: built.time_min,
        time_max_ns: built.time_max,
        ranges: Vec::new(),
        created_ms: 0,
        footer_bytes: built.footer_bytes,
        level: 0,
        class: String::new(),
    }
}

pub(crate) async fn store_with(bytes: bytes::Bytes) -> Arc<dyn ObjectStore> {
    let store = Arc::new(InMemory::new());
    store.put(&Path::from("segments/one"), bytes.into()).await.unwrap();
    store
}

pub(crate) async fn open(built: &BuiltSegment) -> LogSegment {
    LogSegment::open(store_with(built.bytes.clone()).await, &meta(built)).await.unwrap()
}

pub(crate) async fn scan(segment: &LogSegment, plan: &LogPlan) -> (Vec<Row>, ScanStats) {
    let compiled = Arc::new(CompiledPlan::new(plan).unwrap());
    let budget = Arc::new(ScanBudget::unlimited());
    let (batches, stats) = segment.scan(&compiled, &budget, None).collect().await.unwrap();
    for batch in &batches {
        let keys: Vec<_> =
            (0..batch.len()).map(|at| (batch.stream(at), batch.times()[at])).collect();
        assert!(keys.is_sorted(), "rows of a batch are sorted by stream and time");
    }
    let rows = rows_of(&batches);
    assert!(rows.len() as u64 <= stats.rows_matched);
    (rows, stats)
}

/// What the segment should find, limit aside: in order of stream and time, ties as pushed.
pub(crate) fn naive(rows: &[Row], plan: &LogPlan) -> Vec<Row> {
    let compiled = CompiledPlan::new(plan).unwrap();
    let first = |row: &Row, name: &str| {
        let found = row.attributes.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.clone())
    };
    let mut found: Vec<Row> =
        rows.iter()
            .filter(|row| {
                compiled.stream_matches(&row.stream)
                    && compiled.row_matches(row.time, &row.line)
                    && plan.attribute_matchers.iter().all(|matcher| {
                        matcher.matches(&first(row, matcher.name()).unwrap_or_default())
                    })
                    && plan.label_matchers.iter().all(|m| m.matches(label(row, m.name())))
            })
            .map(|row| {
                let mut row = row.clone();
                row.attributes = match &plan.attributes {
                    AttributeColumns::None => Vec::new(),
                    AttributeColumns::All => row.attributes,
                    AttributeColumns::Named(names) => {
                        let mut filled: Vec<String> = Vec::new();
                        row.attributes.retain(|(name, value)| {
                            let kept = names.contains(name) && !filled.contains(name);
                            if kept && !value.is_empty() {
                                filled.push(name.clone());
                            }
                            kept
                        });
                        row.attributes
                    }
                };
                row.attributes.sort_by(|a, b| a.0.cmp(&b.0));
                if !plan.lines {
                    row.line.clear();
                }
                row
            })
            .collect();
    found.sort_by(|a, b| (&a.stream, a.time).cmp(&(&b.stream, b.time)));
    found
}

/// A row's label: its first attribute that has a value, else its stream's.
fn label<'a>(row: &'a Row, name: &str) -> &'a str {
    let filled = row.attributes.iter().find(|(found, value)| found == name && !value.is_empty());
    filled.map(|(_, value)| value.as_str()).or_else(|| row.stream.get(name)).unwrap_or("")
}

/// A counted row: stream, time and level.
type Counted = (Labels, i64, Option<String>);

/// What counting the plan gives, sorted; of rows that come whole as much as of the others.
async fn count(segment: &LogSegment, plan: &LogPlan) -> (Vec<Counted>, usize) {
    let compiled = Arc::new(CompiledPlan::new(plan).unwrap());
    let budget = Arc::new(ScanBudget::unlimited());
    let mut scan = segment.scan_counting(&compiled, &budget, None);
    let (mut counted, mut tallies) = (Vec::new(), 0);
    while let Some(found) = scan.next().await.unwrap() {
        match found {
            Found::Rows { rows, .. } => counted.extend(rows_of(&[rows]).iter().map(counted_row)),
            Found::Minutes(_) => panic!("minutes were not asked for"),
            Found::Tally(tally) => {
                tallies += 1;
                let level = |at: usize| {
                    let number = tally.level_numbers().get(at)?;
                    tally.levels()[*number as usize].clone()
                };
                for run in tally.streams() {
                    let times = &tally.times()[run.rows.clone()];
                    assert!(times.is_sorted());
                    let rows = run.rows.zip(times);
                    counted.extend(rows.map(|(at, time)| (run.stream.clone(), *time, level(at))));
                }
            }
        }
    }
    counted.sort();
    (counted, tallies)
}

fn counted_row(row: &Row) -> Counted {
    let level = row.attributes.iter().find(|(name, _)| name == DETECTED_LEVEL);
    (row.stream.clone(), row.time, level.map(|(_, level)| level.clone()))
}

/// Counts without lines and with no attribute but the level, and compares with the oracle.
pub(crate) async fn check_counts(segment: &LogSegment, rows: &[Row], plan: &LogPlan) -> usize {
    let levels = AttributeColumns::Named(vec![DETECTED_LEVEL.to_owned()]);
    let plan = LogPlan { limit: None, lines: false, attributes: levels, ..plan.clone() };
    let (counted, tallies) = count(segment, &plan).await;
    let mut expected: Vec<Counted> = naive(rows, &plan).iter().map(counted_row).collect();
    expected.sort();
    assert_eq!(counted, expected, "{plan:?}");
    tallies
}

/// Counts by minute, and as rows, without attributes, and compares with the oracle; says how many
/// granules gave minutes.
pub(crate) async fn check_counts_by_minute(
    segment: &LogSegment,
    rows: &[Row],
    plan: &LogPlan,
) -> usize {
    let attributes = AttributeColumns::None;
    let plan = LogPlan { limit: None, lines: false, attributes, ..plan.clone() };
    let naive = naive(rows, &plan);
    let mut expected: Vec<Counted> =
        naive.iter().map(|row| (row.stream.clone(), row.time, None)).collect();
    expected.sort();
    assert_eq!(count(segment, &plan).await.0, expected, "{plan:?}");
    let minute = |time: i64| (time - 1).div_euclid(MINUTE_NS) * MINUTE_NS;
    let mut expected: Vec<(Labels, i64)> =
        naive.into_iter().map(|row| (row.stream, minute(row.time))).collect();
    expected.sort();

    let compiled = Arc::new(CompiledPlan::new(&plan).unwrap());
    let budget = Arc::new(ScanBudget::unlimited());
    let mut scan = segment.scan_counting_minutes(&compiled, &budget, None);
    let mut counted: Vec<(Labels, i64)> = Vec::new();
    let mut granules = 0;
    while let Some(found) = scan.next().await.unwrap() {
        match found {
            Found::Rows { rows, .. } => counted
                .extend(rows_of(&[rows]).into_iter().map(|row| (row.stream, minute(row.time)))),
            Found::Tally(tally) => {
                for run in tally.streams() {
                    let times = tally.times()[run.rows].iter();
                    counted.extend(times.map(|time| (run.stream.clone(), minute(*time))));
                }
            }
            Found::Minutes(minutes) => {
                granules += 1;
                for count in minutes.counts() {
                    let row = (count.stream.clone(), count.minute_ns);
                    counted.extend(std::iter::repeat_n(row, count.rows as usize));
                }
            }
        }
    }
    counted.sort();
    assert_eq!(counted, expected, "{plan:?}");
    granules
}

/// Counts by minute without line filters, and compares with the oracle; says whether minutes could
/// answer.
pub(crate) async fn check_minutes(segment: &LogSegment, rows: &[Row], plan: &LogPlan) -> bool {
    let plan = LogPlan {
        start_ns: i64::MIN,
        end_ns: i64::MAX,
        limit: None,
        lines: false,
        filters: Vec::new(),
        attribute_matchers: Vec::new(),
        attributes: AttributeColumns::Named(vec![DETECTED_LEVEL.to_owned()]),
        ..plan.clone()
    };
    let compiled = Arc::new(CompiledPlan::new(&plan).unwrap());
    let budget = Arc::new(ScanBudget::unlimited());
    let Some(tally) = segment.count_minutes(&compiled, &budget, None).await.unwrap() else {
        return false;
    };
    let mut counted: Vec<Counted> = Vec::new();
    for count in tally.counts() {
        let level = count.level.map(str::to_owned);
        let row = (count.stream.clone(), count.minute_ns, level);
        counted.extend(std::iter::repeat_n(row, count.rows as usize));
    }
    let minute = |time: i64| (time - 1).div_euclid(MINUTE_NS) * MINUTE_NS;
    let counted_in = |(stream, time, level): Counted| (stream, minute(time), level);
    let mut expected: Vec<Counted> =
        naive(rows, &plan).iter().map(counted_row).map(counted_in).collect();
    counted.sort();
    expected.sort();
    assert_eq!(counted, expected, "{plan:?}");
    true
}

/// Scans and compares with the oracle; with a limit, by what a limit promises.
pub(crate) async fn check(segment: &LogSegment, rows: &[Row], plan: &LogPlan) -> ScanStats {
    let all = naive(rows, &LogPlan { limit: None, ..plan.clone() });
    let (mut found, stats) = scan(segment, plan).await;
    found.sort_by(|a, b| (&a.stream, a.time).cmp(&(&b.stream, b.time)));
    let Some(limit) = plan.limit else {
        assert_eq!(found, all, "{plan:?}");
        return stats;
    };
    let mut times: Vec<i64> = all.iter().map(|row| row.time).collect();
    times.sort_unstable();
    if plan.direction == segment::logs::Direction::Backward {
        times.reverse();
    }
    times.truncate(limit);
    times.sort_unstable();
    let mut found_times: Vec<i64> = found.iter().map(|row| row.time).collect();
    found_times.sort_unstable();
    assert_eq!(found_times, times, "{plan:?}");
    let mut left = all;
    for row in &found {
        let at = left.iter().position(|candidate| candidate == row);
        left.remove(at.unwrap_or_else(|| panic!("{row:?} was made up or doubled: {plan:?}")));
    }
    stats
}

pub(crate) fn level(name: &str) -> (String, String) {
    (DETECTED_LEVEL.to_owned(), name.to_owned())
}
