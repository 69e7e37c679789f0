//! The catalog over real (in-memory) stores that fail and race.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use runtime::clock::{ManualClock, SharedClock};

use super::testing::{acquire, advance, segment, yield_clock};
use super::*;
use crate::store::faulty::{Fault, Faults, FaultyStore, Operation};

fn options(clock: SharedClock) -> CatalogOptions {
    CatalogOptions { snapshot_every: 4, ..CatalogOptions::new(clock, "test") }
}

async fn open(store: &Arc<dyn ObjectStore>) -> Catalog {
    Catalog::open(Arc::clone(store), PREFIX, options(yield_clock())).await.unwrap()
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

fn faulty() -> (Arc<dyn ObjectStore>, Faults) {
    FaultyStore::new(memory(), yield_clock())
}

fn commit_path(version: u64) -> Path {
    Path::from(format!("{PREFIX}/commits/{version:020}"))
}

async fn publish(catalog: &Catalog, epoch: u64, from: i64, to: i64) -> Arc<CatalogState> {
    let ops = vec![
        Op::AddSegments { segments: vec![segment(from as u128 + 1)] },
        advance(epoch, from, to),
    ];
    catalog.commit(ops).await.unwrap()
}

#[tokio::test]
async fn a_new_store_is_an_empty_catalog_and_what_is_committed_is_read_back() {
    let store = memory();
    let catalog = open(&store).await;
    assert_eq!(*catalog.state(), CatalogState::default());
    assert_eq!(catalog.commit(vec![acquire("a")]).await.unwrap().version, 1);
    let published = publish(&catalog, 1, 0, 10).await;
    assert_eq!(published.partition("logs", 0).unwrap().published, 10);
    assert_eq!(open(&store).await.state(), published);
    assert_eq!(catalog.commit(Vec::new()).await.unwrap().version, 2);
}

#[tokio::test]
async fn a_reader_follows_with_refresh() {
    let store = memory();
    let (writer, reader) = (open(&store).await, open(&store).await);
    writer.commit(vec![acquire("a")]).await.unwrap();
    for n in 0..40 {
        publish(&writer, 1, n, n + 1).await;
    }
    assert_eq!(reader.state().version, 0);
    assert_eq!(reader.refresh().await.unwrap(), writer.state());
    assert_eq!(reader.state(), writer.state());
}

#[tokio::test]
async fn opening_reads_the_newest_snapshot_and_the_tail_only() {
    let (store, faults) = faulty();
    let writer = open(&store).await;
    writer.commit(vec![acquire("a")]).await.unwrap();
    for n in 0..9 {
        publish(&writer, 1, n, n + 1).await;
    }
    let before = faults.requests(Operation::Get, "commits/");
    assert_eq!(open(&store).await.state(), writer.state());
    let commits_read = faults.requests(Operation::Get, "commits/") - before;
    assert!(commits_read <= 2 + 2, "snapshot 8, commits 9 and 10, then the end: {commits_read}");
}

#[tokio::test]
async fn the_loser_checks_again_and_takes_the_next_number() {
    let store = memory();
    let (a, b) = (open(&store).await, open(&store).await);
    a.commit(vec![acquire("a")]).await.unwrap();
    let state = b.commit(vec![acquire("b")]).await.unwrap();
    assert_eq!(state.version, 2);
    assert_eq!(state.partition("logs", 0).unwrap().epoch, 2);
    let zombie = a.commit(vec![advance(1, 0, 5)]).await;
    assert!(
        matches!(zombie, Err(CommitError::Refused(Refusal::Fenced { current: 2, .. }))),
        "{zombie:?}"
    );
    assert_eq!(a.state().version, 2, "being refused taught it the newest state");
}

#[tokio::test]
async fn a_lost_answer_is_found_to_be_ours() {
    for fault in [Fault::LoseAnswer, Fault::ArriveLate { requests: 1 }] {
        let (store, faults) = faulty();
        let catalog = open(&store).await;
        catalog.commit(vec![acquire("a")]).await.unwrap();
        faults.once(Operation::Put, "commits/", fault);
        assert_eq!(publish(&catalog, 1, 0, 10).await.version, 2);
        assert_eq!(open(&store).await.state(), catalog.state());
    }
}

#[tokio::test]
async fn a_put_that_arrives_after_it_was_tried_again_is_applied_once() {
    for requests in 2..6 {
        let (store, faults) = faulty();
        let catalog = open(&store).await;
        catalog.commit(vec![acquire("a")]).await.unwrap();
        faults.once(Operation::Put, "commits/", Fault::ArriveLate { requests });
        let state = publish(&catalog, 1, 0, 10).await;
        assert_eq!((state.version, state.segments.len()), (2, 1));
        for _ in 0..requests {
            assert_eq!(catalog.refresh().await.unwrap().version, 2);
        }
        assert_eq!(open(&store).await.state(), catalog.state());
    }
}

#[tokio::test]
async fn a_lost_answer_while_another_wins_the_next_number_is_still_ours() {
    let (store, faults) = faulty();
    let (a, b) = (open(&store).await, open(&store).await);
    a.commit(vec![acquire("a")]).await.unwrap();
    b.refresh().await.unwrap();
    faults.once(Operation::Put, "commits/", Fault::LoseAnswer);
    let (mine, theirs) = tokio::join!(
        a.commit(vec![advance(1, 0, 10)]),
        b.commit(vec![Op::AddSegments { segments: vec![segment(5)] }]),
    );
    let (mine, theirs) = (mine.unwrap(), theirs.unwrap());
    assert_ne!(mine.version, theirs.version);
    assert_eq!(mine.partition("logs", 0).unwrap().published, 10);
    assert_eq!(open(&store).await.state().version, 3);
}

#[tokio::test]
async fn an_undecided_commit_says_so_and_can_be_resumed() {
    let (store, faults) = faulty();
    let clock = ManualClock::new(0);
    let short = CatalogOptions {
        request_timeout: Duration::from_secs(1),
        commit_timeout: Duration::from_secs(5),
        ..options(Arc::clone(&clock) as SharedClock)
    };
    let catalog = Catalog::open(Arc::clone(&store), PREFIX, short).await.unwrap();
    faults.once(Operation::Put, "commits/", Fault::LoseAnswer);
    faults.choose(|_, _| Some(Fault::Hang));
    let commit = catalog.commit(vec![acquire("a")]);
    tokio::pin!(commit);
    let undecided = loop {
        tokio::select! {
            biased;
            outcome = &mut commit => break outcome.unwrap_err(),
            () = tokio::task::yield_now() => clock.advance(Duration::from_millis(500)),
        }
    };
    let CommitError::Undecided { pending, last_error } = undecided else { panic!("{undecided}") };
    assert_eq!(pending.version(), 1);
    assert!(
        last_error.contains("not answered") || last_error.contains("no answer"),
        "{last_error}"
    );

    faults.clear();
    let state = catalog.resume(pending).await.unwrap();
    assert_eq!(state.version, 1);
    assert_eq!(state.partition("logs", 0).unwrap().epoch, 1, "made once, not twice");
}

#[tokio::test]
async fn a_damaged_commit_stops_at_the_version_before_and_is_named() {
    let store = memory();
    let catalog = open(&store).await;
    catalog.commit(vec![acquire("a")]).await.unwrap();
    publish(&catalog, 1, 0, 1).await;
    let reader = open(&store).await;
    publish(&catalog, 1, 1, 2).await;
    damage(&store, &commit_path(3)).await;

    let error = reader.refresh().await.unwrap_err();
    assert!(matches!(error, CatalogError::CorruptCommit { version: 3, .. }), "{error}");
    assert!(!error.retryable());
    let message = error.to_string();
    for part in ["stops at version 2", "commits/00000000000000000003", "restore", "snapshot"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(reader.state().version, 2, "what was known stays usable");
    let refused = reader.commit(vec![advance(1, 1, 2)]).await.unwrap_err();
    assert!(matches!(refused, CommitError::Undecided { .. }), "{refused}");
    let opened = Catalog::open(Arc::clone(&store), PREFIX, options(yield_clock())).await;
    assert!(opened.is_err());
}

#[tokio::test]
async fn a_snapshot_beyond_a_damaged_commit_lets_the_catalog_open() {
    let store = memory();
    let catalog = open(&store).await;
    catalog.commit(vec![acquire("a")]).await.unwrap();
    for n in 0..4 {
        publish(&catalog, 1, n, n + 1).await;
    }
    damage(&store, &commit_path(2)).await;
    assert_eq!(open(&store).await.state(), catalog.state());
}

#[tokio::test]
async fn damaged_snapshots_fall_back_to_older_ones_and_then_to_commits() {
    let store = memory();
    let catalog = open(&store).await;
    catalog.commit(vec![acquire("a")]).await.unwrap();
    for n in 0..12 {
        publish(&catalog, 1, n, n + 1).await;
    }
    for version in [12, 8, 4] {
        damage(&store, &Path::from(format!("{PREFIX}/snapshots/{version:020}"))).await;
        assert_eq!(open(&store).await.state(), catalog.state(), "without snapshot {version}");
    }
    for hint in ["00000000000000000099", "rubbish", ""] {
        let path = Path::from(format!("{PREFIX}/snapshots/latest"));
        store.put(&path, Bytes::from(hint).into()).await.unwrap();
        assert_eq!(open(&store).await.state(), catalog.state(), "hint {hint:?}");
    }
}

#[tokio::test]
async fn a_torn_commit_is_an_error_not_a_state() {
    let (store, faults) = faulty();
    let catalog = open(&store).await;
    faults.once(Operation::Put, "commits/", Fault::TornPut { bytes: 50 });
    let error = catalog.commit(vec![acquire("a")]).await.unwrap_err();
    assert!(error.to_string().contains("commits/00000000000000000001"), "{error}");
    assert_eq!(*catalog.state(), CatalogState::default());
}

#[tokio::test]
async fn a_store_that_overwrites_is_found_out_by_doctor_and_by_readers() {
    let inner = memory();
    let store: Arc<dyn ObjectStore> = Arc::new(Overwriting(Arc::clone(&inner)));
    let clock = yield_clock();
    let verdict = doctor::probe(&store, PREFIX, &options(clock)).await.unwrap_err();
    assert!(matches!(verdict, doctor::DoctorError::NotAtomic { .. }), "{verdict}");
    assert!(verdict.to_string().contains("not create objects atomically"), "{verdict}");

    let (a, b) = (open(&store).await, open(&store).await);
    a.commit(vec![acquire("a")]).await.unwrap();
    b.commit(vec![acquire("b")]).await.unwrap();
    b.commit(vec![acquire("b")]).await.unwrap();
    let error = a.refresh().await.unwrap_err();
    assert!(matches!(error, CatalogError::Misfit { version: 2, .. }), "{error}");
    assert!(error.to_string().contains("not atomic"), "{error}");
}

#[tokio::test]
async fn doctor_passes_memory_and_leaves_nothing_behind() {
    let store = memory();
    let report = doctor::probe(&store, PREFIX, &options(yield_clock())).await.unwrap();
    assert!(8 <= report.writers);
    assert!(futures::StreamExt::next(&mut store.list(None)).await.is_none());
}

async fn damage(store: &Arc<dyn ObjectStore>, path: &Path) {
    let mut bytes = store.get(path).await.unwrap().bytes().await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    store.put(path, bytes.into()).await.unwrap();
}

/// A store that takes the condition of a create-only put and ignores it.
#[derive(Debug)]
struct Overwriting(Arc<dyn ObjectStore>);

impl std::fmt::Display for Overwriting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("overwriting store")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Overwriting {
    async fn put_opts(
        &self,
        location: &Path,
        payload: object_store::PutPayload,
        options: object_store::PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        let mode = object_store::PutMode::Overwrite;
        self.0.put_opts(location, payload, object_store::PutOptions { mode, ..options }).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: object_store::GetOptions,
    ) -> object_store::Result<object_store::GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: futures::stream::BoxStream<'static, object_store::Result<Path>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(
        &self,
        prefix: Option<&Path>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(
        &self,
        prefix: Option<&Path>,
    ) -> object_store::Result<object_store::ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: object_store::CopyOptions,
    ) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

/// What one racing writer does.
#[derive(Clone, Debug)]
enum Step {
    /// Takes the partition over and goes on from its published offset.
    Acquire,
    /// Publishes so many messages with the epoch and offset it believes in.
    Publish(i64),
    /// Reads forward without changing what it believes.
    Refresh,
    /// Opens the catalog anew, as after a crash, but keeps its beliefs: a zombie.
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Acquire),
        6 => (1_i64..20).prop_map(Step::Publish),
        1 => Just(Step::Refresh),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..12)
}

/// One writer's run; returns the publishes it was told were made: (epoch, from, to).
async fn run_writer(
    store: Arc<dyn ObjectStore>,
    name: usize,
    steps: Vec<Step>,
    ids: Arc<std::sync::atomic::AtomicU64>,
) -> Vec<(u64, i64, i64)> {
    let mut catalog = open_patiently(&store).await;
    let (mut epoch, mut next) = (0, 0);
    let mut made = Vec::new();
    for step in steps {
        match step {
            Step::Acquire => {
                let ops = vec![acquire(&name.to_string())];
                let state = commit_patiently(&catalog, ops).await.unwrap();
                let partition = state.partition("logs", 0).unwrap();
                assert_eq!(partition.owner, name.to_string(), "the state just after the commit");
                (epoch, next) = (partition.epoch, partition.published);
            }
            Step::Publish(count) => {
                let id = ids.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let mut entry = segment(u128::from(id));
                entry.rows = count as u64;
                let ops = vec![
                    Op::AddSegments { segments: vec![entry] },
                    advance(epoch, next, next + count),
                ];
                match commit_patiently(&catalog, ops).await {
                    Ok(_) => {
                        made.push((epoch, next, next + count));
                        next += count;
                    }
                    Err(CommitError::Refused(
                        Refusal::Fenced { .. } | Refusal::NotAcquired { .. },
                    )) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Refresh => drop(catalog.refresh().await),
            Step::Reopen => catalog = open_patiently(&store).await,
        }
    }
    made
}

async fn commit_patiently(
    catalog: &Catalog,
    ops: Vec<Op>,
) -> Result<Arc<CatalogState>, CommitError> {
    loop {
        match catalog.commit(ops.clone()).await {
            Err(CommitError::Catalog(error)) if error.retryable() => {}
            outcome => return outcome,
        }
    }
}

async fn open_patiently(store: &Arc<dyn ObjectStore>) -> Catalog {
    loop {
        match Catalog::open(Arc::clone(store), PREFIX, options(yield_clock())).await {
            Ok(catalog) => return catalog,
            Err(error) => assert!(error.retryable(), "{error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However writers interleave and whatever the store does short of lying, history is linear,
    /// everyone ends with the same state, every offset is published exactly once by the epoch
    /// that owned it, and every writer was told the truth.
    #[test]
    fn racing_writers_publish_every_offset_exactly_once(
        writers in prop::collection::vec(steps(), 1..5),
        seed in any::<u64>(),
        fault_percent in 0_u32..30,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (store, faults) = faulty();
            let mut rng = fastrand::Rng::with_seed(seed);
            faults.choose(move |operation, _| {
                if fault_percent <= rng.u32(..100) {
                    // Another scheduling point, so that writers interleave inside requests.
                    return rng.bool().then_some(Fault::Delay(Duration::ZERO));
                }
                Some(match (operation, rng.u32(..4)) {
                    (Operation::Put, 0) => Fault::LoseAnswer,
                    (Operation::Put, 1) => Fault::ArriveLate { requests: rng.u32(1..8) },
                    (Operation::Put | Operation::Get, 2) => Fault::Hang,
                    _ => Fault::Refuse,
                })
            });
            let ids = Arc::new(std::sync::atomic::AtomicU64::new(1));
            let runs = writers.into_iter().enumerate().map(|(name, steps)| {
                run_writer(Arc::clone(&store), name, steps, Arc::clone(&ids))
            });
            let made: Vec<_> = join_all(runs).await.into_iter().flatten().collect();
            faults.clear();

            let end = open(&store).await.state();
            prop_assert_eq!(&replayed(&store, end.version).await, &*end);
            let mut made_by_offset = made.clone();
            made_by_offset.sort_unstable_by_key(|&(_, from, _)| from);
            let mut published = 0;
            let mut last_epoch = 0;
            for (epoch, from, to) in made_by_offset {
                prop_assert_eq!(from, published, "a gap or a double");
                prop_assert!(last_epoch <= epoch, "a zombie published");
                (published, last_epoch) = (to, epoch);
            }
            let partition = end.partition("logs", 0);
            prop_assert_eq!(partition.map_or(0, |p| p.published), published);
            prop_assert_eq!(end.segments.len(), made.len());
            let rows: u64 = end.segments.values().map(|segment| segment.rows).sum();
            prop_assert_eq!(rows, published as u64);
            Ok(())
        })?;
    }
}

/// The state that the commit objects alone add up to.
async fn replayed(store: &Arc<dyn ObjectStore>, version: u64) -> CatalogState {
    let mut state = CatalogState::default();
    for number in 1..=version {
        let bytes = store.get(&commit_path(number)).await.unwrap().bytes().await.unwrap();
        let commit: Commit = envelope::decode(envelope::Kind::Commit, &bytes).unwrap();
        state = state.after(&commit).unwrap();
    }
    state
}
