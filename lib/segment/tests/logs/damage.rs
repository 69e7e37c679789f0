//! Damage is an error that names the segment and the section; never a panic, never a wrong row.

use bytes::Bytes;
use record::{Labels, MatchOp, Matcher, TenantId};
use segment::SegmentMeta;
use segment::logs::{
    BuildOptions, BuiltSegment, CompiledPlan, LineFilter, LineFilterOp, LogPlan, LogSegment,
    ScanBudget, SegmentError,
};
use std::sync::Arc;

use crate::naive::{Row, build, level, meta, naive, rows_of, store_with};

fn corpus() -> Vec<Row> {
    let streams = ["a", "b"].map(|app| Labels::from_pairs([("app", app)]));
    (0..40)
        .map(|n| {
            let mut row =
                Row::new(&streams[n % 2], n as i64, &format!("user {n} failed a{n}b {n:012x}"));
            row.attributes = vec![level("info"), ("id".to_owned(), format!("{n}"))];
            row
        })
        .collect()
}

fn plans() -> Vec<LogPlan> {
    let all = LogPlan::all(TenantId::default(), 0, 1_000, Vec::new());
    let filter = |op, needle: &str| vec![LineFilter { op, needles: vec![needle.to_owned()] }];
    let mut by_attribute = all.clone();
    by_attribute.attribute_matchers = vec![
        Matcher::new("id", MatchOp::Eq, "17").unwrap(),
        Matcher::new("detected_level", MatchOp::Eq, "info").unwrap(),
    ];
    vec![
        LogPlan { filters: filter(LineFilterOp::Contains, "user 17 "), ..all.clone() },
        LogPlan { filters: filter(LineFilterOp::Contains, "000000000011"), ..all.clone() },
        LogPlan { filters: filter(LineFilterOp::Regex, "(?i)USER .*3b"), ..all.clone() },
        by_attribute,
        all,
    ]
}

/// Opens, scans and asks for volumes; all that comes out must be right or an error.
async fn use_it(bytes: Bytes, meta: &SegmentMeta, rows: &[Row]) -> Result<(), SegmentError> {
    let segment = LogSegment::open(store_with(bytes).await, meta).await?;
    let mut first = Ok(());
    for plan in plans() {
        let compiled = Arc::new(CompiledPlan::new(&plan).unwrap());
        let budget = Arc::new(ScanBudget::unlimited());
        match segment.scan(&compiled, &budget, None).collect().await {
            Ok((batches, _)) => assert_eq!(rows_of(&batches), naive(rows, &plan)),
            Err(error) => first = first.and(Err(error)),
        }
    }
    if let Err(error) = segment.volume(&[], 0, 1_000).await {
        first = first.and(Err(error));
    }
    if let Err(error) = segment.verify().await {
        first = first.and(Err(error));
    }
    first
}

fn built() -> (BuiltSegment, Vec<Row>) {
    let rows = corpus();
    (
        build(&rows, BuildOptions { granule_rows: 8, patterns_free: 0, ..BuildOptions::default() }),
        rows,
    )
}

#[tokio::test]
async fn every_flipped_byte_is_noticed() {
    let (built, rows) = built();
    use_it(built.bytes.clone(), &meta(&built), &rows).await.unwrap();
    // The first eight bytes only tell people what the file is.
    for at in 8..built.bytes.len() {
        let mut bytes = built.bytes.to_vec();
        bytes[at] ^= 1 << (at % 8);
        let error = use_it(bytes.into(), &meta(&built), &rows).await.expect_err("a flipped bit");
        let text = error.to_string();
        assert!(text.contains(&meta(&built).path), "byte {at}: {text}");
        let known = matches!(error, SegmentError::Damaged { .. } | SegmentError::TooNew { .. });
        assert!(known, "byte {at}: {text}");
    }
}

#[tokio::test]
async fn every_section_is_named_when_it_is_damaged() {
    let (built, rows) = built();
    // Sections lie one after another behind the first magic.
    let mut start = 8;
    for (section, bytes) in &built.stats.sections {
        let mut damaged = built.bytes.to_vec();
        damaged[start + *bytes as usize / 2] ^= 0xff;
        let error = use_it(damaged.into(), &meta(&built), &rows).await.expect_err("damage");
        let named = format!("section `{section}");
        assert!(error.to_string().contains(&named), "{section}: {error}");
        start += *bytes as usize;
    }
}

#[tokio::test]
async fn a_shorter_object_is_noticed() {
    let (built, rows) = built();
    for length in (0..built.bytes.len()).step_by(7) {
        let cut = built.bytes.slice(..length);
        assert!(use_it(cut.clone(), &meta(&built), &rows).await.is_err(), "{length} bytes");
        let mut as_if = meta(&built);
        as_if.bytes = length as u64;
        as_if.footer_bytes = as_if.footer_bytes.min(as_if.bytes);
        assert!(use_it(cut, &as_if, &rows).await.is_err(), "{length} bytes");
    }
}

#[tokio::test]
async fn a_wrong_footer_length_is_harmless() {
    let (built, rows) = built();
    for footer_bytes in [0, 1, 100, built.footer_bytes - 1, built.bytes.len() as u64] {
        let wrong = SegmentMeta { footer_bytes, ..meta(&built) };
        use_it(built.bytes.clone(), &wrong, &rows).await.unwrap();
    }
}

#[tokio::test]
async fn something_else_is_not_a_segment() {
    let (built, rows) = built();
    for bytes in [vec![0; 500], b"PAR1".repeat(200)] {
        let as_if = SegmentMeta { bytes: bytes.len() as u64, footer_bytes: 100, ..meta(&built) };
        let error = use_it(bytes.into(), &as_if, &rows).await.unwrap_err();
        assert!(matches!(error, SegmentError::Damaged { .. }), "{error}");
    }
}
