//! A scan finds what a naive scan finds, whatever is asked and however the rows lie.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use record::{Labels, MatchOp, Matcher, TenantId};
use segment::logs::{
    BuildOptions, GRANULE_ROWS, LineFilter, LineFilterOp, LogPlan, ScanStats, WidenedFrames,
};

use crate::corpus;
use crate::naive::{
    Row, build, build_after, check, check_counts, check_counts_by_minute, check_minutes, level,
    open, scan,
};

fn options(granule_rows: usize) -> BuildOptions {
    BuildOptions { granule_rows, patterns_free: 0, ..BuildOptions::fresh() }
}

/// Fresh and merged segments, in granules of a few sizes, with words kept apart early or never.
fn any_options() -> impl Strategy<Value = BuildOptions> {
    let kind = prop::sample::select(vec![BuildOptions::fresh(), BuildOptions::merged()]);
    let patterns_free = prop::sample::select(vec![0, 20, 2_048]);
    (kind, prop::sample::select(vec![1_usize, 3, 8, 50, 200]), patterns_free).prop_map(
        |(kind, granule_rows, patterns_free)| BuildOptions { granule_rows, patterns_free, ..kind },
    )
}

/// Segments, and questions to each.
const CASES: u32 = 60;
const QUESTIONS: usize = 40;

#[test]
fn random_questions_get_the_naive_answer() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut pruned = ScanStats::default();
    let mut runner = TestRunner::new(Config { cases: CASES, ..Config::default() });
    let cases = (corpus::rows(120), corpus::rows(60), any_options());
    let cases = cases.prop_flat_map(|(rows, before, options)| {
        let plans = prop::collection::vec(corpus::plan(&rows), QUESTIONS);
        (Just(rows), Just(before), Just(options), plans)
    });
    let totals = std::cell::RefCell::new(&mut pruned);
    let (tallies, by_pattern) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    runner
        .run(&cases, |(rows, before, options, plans)| {
            let frames = WidenedFrames::default();
            build_after(&frames, &before, options);
            runtime.block_on(async {
                let segment = open(&build_after(&frames, &rows, options)).await;
                for plan in &plans {
                    let stats = check(&segment, &rows, plan).await;
                    totals.borrow_mut().add(&stats);
                    tallies.set(tallies.get() + check_counts(&segment, &rows, plan).await);
                    check_minutes(&segment, &rows, plan).await;
                    let granules = check_counts_by_minute(&segment, &rows, plan).await;
                    by_pattern.set(by_pattern.get() + granules);
                }
            });
            Ok(())
        })
        .unwrap();
    // The rules were at work, or the test shows nothing.
    assert!(0 < tallies.get());
    assert!(0 < by_pattern.get());
    assert!(0 < pruned.granules_pruned_by_levels, "{pruned:?}");
    assert!(0 < pruned.granules_pruned_by_fragments, "{pruned:?}");
    assert!(0 < pruned.granules_pruned_by_token_lengths, "{pruned:?}");
    assert!(0 < pruned.granules_pruned_by_attributes, "{pruned:?}");
    assert!(0 < pruned.granules_pruned_by_patterns, "{pruned:?}");
    assert!(0 < pruned.granules_pruned_by_time, "{pruned:?}");
    assert!(0 < pruned.granules_pruned_by_streams, "{pruned:?}");
    assert!(0 < pruned.granules_pruned_by_words, "{pruned:?}");
    assert!(0 < pruned.granules_pruned_by_tokens, "{pruned:?}");
    assert!(0 < pruned.granules_skipped_by_limit, "{pruned:?}");
    assert!(0 < pruned.groups_read, "{pruned:?}");
}

/// What an identifier reads of a granule: a part of its variables, and no times where it is not.
#[tokio::test]
async fn an_identifier_reads_its_group_alone() {
    let app = stream("a");
    let random = |n: usize| (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let rows: Vec<Row> = (0..6_000)
        .map(|n| {
            let word = ["got", "put", "deleted"][n % 3];
            // Texts shorter than the identifier, enough for a group of each pattern.
            let [a, b] = [8 * n, 8 * n + 1].map(|n| format!("{:016x}Q", random(n)));
            let id = u128::from(random(n)) << 64;
            Row::new(&app, n as i64, &format!("{word} {a} {b} for {id:032x}"))
        })
        .collect();
    let segment = open(&build(&rows, BuildOptions::default())).await;
    let id = format!("{:032x}", u128::from(random(1_234)) << 64);
    let whole = check(&segment, &rows, &filtered(LineFilterOp::Regex, &id)).await;
    let found = check(&segment, &rows, &filtered(LineFilterOp::Contains, &id)).await;
    assert_eq!((found.groups_considered, found.groups_read), (3, 1), "{found:?}");
    assert!(3 * found.bytes_read < 2 * whole.bytes_read, "{found:?} {whole:?}");
    // With a limit, and counted.
    let plan = LogPlan { limit: Some(10), ..filtered(LineFilterOp::Contains, &id) };
    assert_eq!(check(&segment, &rows, &plan).await.groups_read, 1);
    check_counts(&segment, &rows, &plan).await;
}

fn all() -> LogPlan {
    LogPlan::all(TenantId::default(), i64::MIN, i64::MAX, Vec::new())
}

fn filtered(op: LineFilterOp, needle: &str) -> LogPlan {
    LogPlan { filters: vec![LineFilter { op, needles: vec![needle.to_owned()] }], ..all() }
}

fn stream(app: &str) -> Labels {
    Labels::from_pairs([("app", app)])
}

/// Rows of several full granules with what pruning lives on: words, ids and levels that are in few
/// of them.
fn large_corpus() -> Vec<Row> {
    let streams = [stream("a"), stream("b"), stream("c")];
    let rows = 3 * GRANULE_ROWS + 100;
    (0..rows)
        .map(|n| {
            let mut line = format!("GET /item/{n} took {}ms trace={:032x}", n % 97, n * n);
            if n % 10_007 == 0 {
                line.push_str(" panicked at the disco");
            }
            let mut row = Row::new(&streams[n * 3 / rows], n as i64 * 1_000_000, &line);
            row.attributes.push(level(if n % 500 == 0 { "error" } else { "info" }));
            row.attributes.push(("trace_id".to_owned(), format!("{:016x}", n / 3)));
            row
        })
        .collect()
}

#[tokio::test]
async fn patterns_are_read_only_for_granules_that_words_leave() {
    let rows = large_corpus();
    let built = build(&rows, BuildOptions::default());
    let segment = open(&built).await;
    let sizes = segment.sizes().sections;
    let stored = |wanted: &[&str]| -> u64 {
        sizes.iter().filter(|(name, _)| wanted.contains(&name.as_str())).map(|(_, b)| b).sum()
    };
    let stats = check(&segment, &rows, &filtered(LineFilterOp::Contains, "no such word")).await;
    assert_eq!(stats.bytes_read, stored(&["index", "streams", "levels"]));
    let stats = check(&segment, &rows, &filtered(LineFilterOp::Contains, "disco")).await;
    assert!(stored(&["patterns"]) < stats.bytes_read, "{stats:?}");
}

#[tokio::test]
async fn full_granules_are_exact_and_pruned() {
    let rows = large_corpus();
    let segment = open(&build(&rows, BuildOptions::default())).await;
    let granules = 4;

    let stats = check(&segment, &rows, &all()).await;
    assert_eq!(stats.granules_read, granules);

    let stats = check(&segment, &rows, &filtered(LineFilterOp::Contains, "no such word")).await;
    assert_eq!((stats.granules_pruned_by_words, stats.granules_read), (granules, 0));

    let id = format!("trace={:032x}", 9_999 * 9_999);
    let stats = check(&segment, &rows, &filtered(LineFilterOp::Contains, &id)).await;
    assert_eq!(stats.granules_read, 1, "one granule has the id: {stats:?}");

    let absent = format!("{:032x}", u128::MAX);
    let stats = check(&segment, &rows, &filtered(LineFilterOp::Contains, &absent)).await;
    assert_eq!(stats.granules_read, 0, "{stats:?}");

    let stats = check(&segment, &rows, &filtered(LineFilterOp::Contains, " took ")).await;
    assert_eq!(stats.lines_searched, 0, "the pattern says yes");
    let stats = check(&segment, &rows, &filtered(LineFilterOp::NotContains, "GET /")).await;
    assert_eq!(stats.granules_read, 0, "every pattern says no");
    let stats = check(&segment, &rows, &filtered(LineFilterOp::Regex, "(?i)PANICKED at")).await;
    assert_eq!(stats.lines_searched, 0, "no variable is in sight");

    let mut by_trace = all();
    by_trace.attribute_matchers =
        vec![Matcher::new("trace_id", MatchOp::Eq, format!("{:016x}", 17)).unwrap()];
    let stats = check(&segment, &rows, &by_trace).await;
    assert_eq!((stats.granules_read, stats.rows_matched), (1, 3));
    assert_eq!(stats.granules_pruned_by_attributes, granules - 1);

    let label = |name: &str, op, value: &str| {
        let label_matchers = vec![Matcher::new(name, op, value).unwrap()];
        LogPlan { label_matchers, ..all() }
    };
    let stats =
        check(&segment, &rows, &label("trace_id", MatchOp::Eq, &format!("{:016x}", 17))).await;
    assert_eq!((stats.granules_read, stats.rows_matched), (1, 3));
    let stats = check(&segment, &rows, &label("app", MatchOp::Eq, "c")).await;
    assert_eq!(stats.granules_pruned_by_attributes, 2, "no attribute has the stream's label");
    let stats = check(&segment, &rows, &label("detected_level", MatchOp::Eq, "warn")).await;
    assert_eq!(stats.granules_pruned_by_levels, granules);

    let counted =
        check_counts(&segment, &rows, &label("detected_level", MatchOp::Ne, "info")).await;
    assert_eq!(counted as u64, granules - 1, "no row is made only to be counted");
    let counted = check_counts(&segment, &rows, &filtered(LineFilterOp::Regex, "[0-9]7ms")).await;
    assert_eq!(counted as u64, granules);

    let one_stream = vec![Matcher::new("app", MatchOp::Eq, "c").unwrap()];
    let stats = check(&segment, &rows, &LogPlan { matchers: one_stream, ..all() }).await;
    assert!(0 < stats.granules_pruned_by_streams, "{stats:?}");
}

/// Whole minutes are counted exactly, the rows at their very ends too, and only once from rows.
#[tokio::test]
async fn minutes_are_counted_without_rows() {
    let streams = [stream("a"), stream("b")];
    let rows: Vec<Row> = (0..500)
        .map(|n| {
            let mut row = Row::new(&streams[n % 2], n as i64 * 20_000_000_000, "line");
            if n % 3 != 0 {
                row.attributes.push(level(["info", "error"][n % 2]));
            }
            row
        })
        .collect();
    let segment = open(&build(&rows, options(50))).await;
    let label = |name: &str, value: &str| {
        let label_matchers = vec![Matcher::new(name, MatchOp::Eq, value).unwrap()];
        LogPlan { label_matchers, ..all() }
    };
    for plan in [all(), label("detected_level", "error"), label("app", "a"), label("absent", "")] {
        assert!(check_minutes(&segment, &rows, &plan).await);
    }
    // An attribute that few rows have may be any label: minutes do not know it.
    let mut rows = rows;
    rows[7].attributes.push(("app".to_owned(), "c".to_owned()));
    let segment = open(&build(&rows, options(50))).await;
    assert!(!check_minutes(&segment, &rows, &all()).await);
}

#[tokio::test]
async fn a_limit_reads_the_newest_granules_only() {
    let rows = large_corpus();
    let segment = open(&build(&rows, BuildOptions::default())).await;
    let plan = LogPlan { limit: Some(10), ..filtered(LineFilterOp::Contains, "took 5ms") };
    let stats = check(&segment, &rows, &plan).await;
    assert!(stats.granules_read < 4, "{stats:?}");
    assert!(0 < stats.granules_skipped_by_limit, "{stats:?}");
    assert!(stats.lines_searched < GRANULE_ROWS as u64, "{stats:?}");
}

#[tokio::test]
async fn rows_of_one_time_keep_their_order() {
    let app = stream("a");
    let rows: Vec<Row> = (0..100).map(|n| Row::new(&app, 5, &format!("{n}"))).collect();
    let segment = open(&build(&rows, options(7))).await;
    let (found, _) = scan(&segment, &all()).await;
    assert_eq!(found, rows);
}

#[tokio::test]
async fn times_at_the_ends_of_the_range_are_kept() {
    let app = stream("a");
    let rows = vec![Row::new(&app, i64::MIN, "first"), Row::new(&app, i64::MAX - 1, "last")];
    let segment = open(&build(&rows, options(1))).await;
    check(&segment, &rows, &all()).await;
    let (found, _) = scan(&segment, &all()).await;
    assert_eq!(found.len(), 2);
}

/// Lines whose tokens overflow every side table are still found.
#[tokio::test]
async fn blobs_are_scanned_not_lost() {
    let app = stream("a");
    let mut state = 7_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        char::from(LETTERS[(state >> 58) as usize])
    };
    let rows: Vec<Row> = (0..9_000)
        .map(|n| Row::new(&app, n, &(0..120).map(|_| letter()).collect::<String>()))
        .collect();
    let built = build(&rows, BuildOptions::default());
    assert!(0 < built.stats.granules_incomplete);
    let segment = open(&built).await;
    for at in [0_usize, 4_000, 8_999] {
        for cut in [0..10, 50..60, 110..120] {
            let needle = rows[at].line.get(cut).unwrap();
            check(&segment, &rows, &filtered(LineFilterOp::Contains, needle)).await;
        }
    }
}

#[tokio::test]
async fn more_shapes_than_the_table_holds_are_scanned_not_lost() {
    let app = stream("a");
    let letters = |n: usize| -> String {
        (0..4).map(|digit| char::from(b'a' + (n >> (4 * digit) & 15) as u8)).collect()
    };
    // By separators: words alone would share a pattern before long.
    let shape = |n: usize| -> String {
        (0..17).map(|bit| if n >> bit & 1 == 0 { "w," } else { "w;" }).collect()
    };
    let mut rows: Vec<Row> = (0..66_000)
        .map(|n| Row::new(&app, n as i64, &format!("{}{}", shape(n), letters(n >> 4))))
        .collect();
    rows.extend((0..3_000).map(|n| {
        Row::new(&app, 70_000 + n as i64, &format!("{} late {}", letters(n * 7), letters(n)))
    }));
    let built = build(&rows, BuildOptions::default());
    assert!(0 < built.stats.rows_without_pattern, "{:?}", built.stats);
    let segment = open(&built).await;
    for needle in ["late", "ab late", "bbbb late b", "aaaa", "no such", "late p"] {
        check(&segment, &rows, &filtered(LineFilterOp::Contains, needle)).await;
        check(&segment, &rows, &filtered(LineFilterOp::NotContains, needle)).await;
    }
}
