//! Looking into a segment: what it is made of adds up, and a verified one has no flipped bit.

use record::Labels;
use segment::inspect::{inspect, verify};
use segment::logs::BuildOptions;

use crate::naive::{Row, build, level, meta, store_with};

fn corpus() -> Vec<Row> {
    let stream = Labels::from_pairs([("app", "a")]);
    (0..50)
        .map(|n| {
            let mut row = Row::new(&stream, n, &format!("user {n} did {}", n % 3));
            row.attributes = vec![level("info"), ("trace_id".to_owned(), format!("t{n}"))];
            row
        })
        .collect()
}

#[tokio::test]
async fn what_a_segment_is_made_of_adds_up() {
    let built = build(&corpus(), BuildOptions { granule_rows: 8, ..BuildOptions::default() });
    let meta = meta(&built);
    let found = inspect(&store_with(built.bytes.clone()).await, &meta).await.unwrap();
    let count = |name: &str| found.counts.iter().find(|(what, _)| *what == name).unwrap().1;
    assert_eq!((count("rows"), count("granules"), count("streams")), (50, 7, 1));
    assert_eq!(count("patterns"), 1);
    assert!(built.stats.tokens <= count("token_entries"));
    let sections: u64 = found.sections.iter().map(|(_, bytes)| bytes).sum();
    assert!(sections < meta.bytes && meta.bytes < sections + 2_000);
    let mut columns: Vec<u64> = found.columns.iter().map(|(_, bytes)| *bytes).collect();
    let mut expected: Vec<u64> = built.stats.columns.iter().map(|(_, bytes)| *bytes).collect();
    columns.sort_unstable();
    expected.sort_unstable();
    assert_eq!(columns, expected);
}

#[tokio::test]
async fn verifying_finds_damage_and_rows_that_are_not_what_the_catalog_says() {
    let built = build(&corpus(), BuildOptions { granule_rows: 8, ..BuildOptions::default() });
    let sound = meta(&built);
    let store = store_with(built.bytes.clone()).await;
    let verified = verify(&store, &sound).await.unwrap();
    assert_eq!((verified.rows, verified.bytes), (50, sound.bytes));
    for at in (8..built.bytes.len()).step_by(97) {
        let mut bytes = built.bytes.to_vec();
        bytes[at] ^= 0x10;
        let damaged = store_with(bytes.into()).await;
        let error = verify(&damaged, &sound).await.unwrap_err();
        assert!(error.to_string().contains(&sound.path), "byte {at}: {error}");
    }
    let mut other = sound.clone();
    other.rows += 1;
    assert!(verify(&store, &other).await.unwrap_err().to_string().contains("50 rows"));
}
