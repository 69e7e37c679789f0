//! Generated line filters return exactly what a naive scan returns.

use std::time::Duration;

use bench::loki::RangeQuery;
use bench::oracle::{Entry, Filter, Written};
use fastrand::Rng;

use crate::cluster::Cluster;
use crate::writer::Writer;

const QUERIES_EACH: usize = 120;
const LINES: usize = 100_000;
const LIMIT: usize = 5000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_filters_agree_with_a_naive_scan_over_recent_mixed_and_published_rows() {
    let seed = std::env::var("MILLRACE_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("MILLRACE_TEST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut cluster = Cluster::start("filters").await;
    let mut writer = Writer::new(cluster.pods(), cluster.start_ns(), seed);

    add(&mut cluster, &mut writer).await;
    let recent = check(&cluster, &writer, &mut rng, "recent").await;
    cluster.publish_all().await;
    add(&mut cluster, &mut writer).await;
    let mixed = check(&cluster, &writer, &mut rng, "mixed").await;
    cluster.publish_all().await;
    let published = check(&cluster, &writer, &mut rng, "published").await;
    println!("queries with entries: {recent} recent, {mixed} mixed, {published} published");
    assert!(QUERIES_EACH / 2 < recent.min(mixed).min(published), "too many queries found nothing");
}

async fn add(cluster: &mut Cluster, writer: &mut Writer) {
    writer.write(LINES / 2);
    writer.finish();
    cluster.wait_for(&writer.written, writer.range(), Duration::from_secs(120)).await;
}

/// Runs the queries of one layout; returns how many found something.
async fn check(cluster: &Cluster, writer: &Writer, rng: &mut Rng, layout: &str) -> usize {
    let mut found = 0;
    for _ in 0..QUERIES_EACH {
        let filter = Filter::random(&writer.written, rng);
        let (start_ns, end_ns) = some_range(writer.range(), rng);
        let forward = rng.bool();
        let mut expected = naive(&writer.written, &filter, start_ns, end_ns);
        if !forward {
            expected.reverse();
        }
        let total = expected.len();
        expected.truncate(LIMIT);

        let query = format!(r#"{{namespace=~".+", pod=~".+"}} {}"#, filter.logql);
        let ask = RangeQuery { query: &query, start_ns, end_ns, limit: LIMIT, forward };
        let mut got: Vec<Entry> = cluster
            .loki()
            .query_range(&ask)
            .await
            .unwrap()
            .into_iter()
            .flat_map(|(_, e)| e)
            .collect();
        got.sort();
        expected.sort();
        // Lines of different pods may share a time at the edge of the limit: compare times there.
        if total <= LIMIT {
            assert_eq!(got.len(), expected.len(), "{layout}: {query} in {start_ns}..{end_ns}");
            assert!(got == expected, "{layout}: {query} in {start_ns}..{end_ns}");
        } else {
            let times = |e: &[Entry]| e.iter().map(|(t, _)| *t).collect::<Vec<_>>();
            assert_eq!(times(&got), times(&expected), "{layout}: {query} in {start_ns}..{end_ns}");
            assert!(got.iter().all(|(_, line)| filter.passes(line)), "{layout}: {query}");
        }
        found += usize::from(total != 0);
    }
    found
}

fn some_range(whole: (i64, i64), rng: &mut Rng) -> (i64, i64) {
    if rng.bool() {
        return whole;
    }
    let (a, b) = (rng.i64(whole.0..whole.1), rng.i64(whole.0..whole.1));
    (a.min(b), a.max(b))
}

/// Every entry in the range that passes, oldest first.
fn naive(written: &Written, filter: &Filter, start_ns: i64, end_ns: i64) -> Vec<Entry> {
    let mut entries: Vec<Entry> = written
        .streams
        .values()
        .flatten()
        .filter(|(time, line)| (start_ns..end_ns).contains(time) && filter.passes(line))
        .cloned()
        .collect();
    entries.sort();
    entries
}
