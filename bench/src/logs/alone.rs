//! Each stage alone: in this process, on this thread, by the CPU time it takes.
//!
//! One pass over the corpus, a batch at a time; rows are gathered to segments the way the indexer
//! does (raw bytes or the end of a time window), so memory stays that of one segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use bench::batches::{BATCH_BYTES, Batches, message};
use bench::corpus::{CorpusPlan, Summary};
use bench::cpu::{Stopwatch, of_this_thread};
use object_store::{ObjectStore, ObjectStoreExt};
use queue::Topic;
use record::{Limits, LogBatch, SourceId, TenantId};
use runtime::clock::SystemClock;
use segment::catalog::{Catalog, CatalogOptions, Op, PREFIX};
use segment::logs::{BuildOptions, LogSegment, LogSegmentBuilder, WidenedFrames, count_tokens};
use segment::{BuiltSegment, SegmentId, SegmentKind};

use super::merge;
use crate::report::{Merged, Stages};
use crate::stage::unix_nanos;

/// The indexer's default window.
const WINDOW_NS: i64 = 3_600_000_000_000;

/// Kafka's default number of partitions for logs.
const PARTITIONS: u32 = 4;

/// How far the pass goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Last {
    Generate,
    Tokenise,
    Decode,
    Segment,
    Publish,
    Merge,
}

/// What came of it.
pub(crate) struct Alone {
    pub(crate) summary: Summary,
    pub(crate) stages: Stages,
    pub(crate) merged: Option<Merged>,
}

/// Runs every stage up to `last`. Segments are cut at `segment_bytes` of lines; with `keep`, they
/// are left in that folder.
pub(crate) async fn run(
    plan: CorpusPlan,
    last: Last,
    segment_bytes: u64,
    keep: Option<&std::path::Path>,
) -> anyhow::Result<Alone> {
    let mut pass = Pass::open(last, keep).await?;
    let mut batches = Batches::new(plan, PARTITIONS, BATCH_BYTES)?;
    let frames = WidenedFrames::default();
    let fresh = || LogSegmentBuilder::new(BuildOptions::default()).with_frames(&frames);
    let mut pending = fresh();
    let mut window: Option<i64> = None;
    while let Some((_, batch)) = pass.generate.time(|| batches.next_batch()) {
        let Some(batch) = pass.through_the_queue(batch)? else { continue };
        let of = |row: usize| batch.times()[row].div_euclid(WINDOW_NS);
        let full = segment_bytes <= pending.raw_bytes();
        if !pending.is_empty() && (full || window.is_some_and(|window| window != of(0))) {
            pass.segment(std::mem::replace(&mut pending, fresh())).await?;
        }
        window = Some(of(0));
        pass.build.time(|| pending.push_batch(&batch, None))?;
    }
    if !pending.is_empty() {
        pass.segment(pending).await?;
    }
    let summary = batches.summary();
    let merged = match last {
        Last::Merge => Some(merge::all(Arc::clone(&pass.store), summary.raw_bytes).await?),
        _ => None,
    };
    Ok(Alone { summary, stages: pass.figures(summary.raw_bytes), merged })
}

struct Pass {
    last: Last,
    generate: Stopwatch,
    encode: Stopwatch,
    tokenise: Stopwatch,
    decode: Stopwatch,
    build: Stopwatch,
    publish: Stopwatch,
    figures: Stages,
    store: Arc<dyn ObjectStore>,
    catalog: Catalog,
    published: i64,
    // After what lies in it.
    _folder: Option<tempfile::TempDir>,
}

impl Pass {
    async fn open(last: Last, keep: Option<&std::path::Path>) -> anyhow::Result<Self> {
        let (path, folder) = match keep {
            Some(path) => (path.to_owned(), None),
            None => {
                let folder = tempfile::tempdir()?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        std::fs::create_dir_all(&path)?;
        let store = object_store::local::LocalFileSystem::new_with_prefix(&path)?;
        let store: Arc<dyn ObjectStore> = Arc::new(store);
        let options = CatalogOptions::new(SystemClock::shared(), "bench");
        let catalog = Catalog::open(Arc::clone(&store), PREFIX, options).await?;
        let watch = Stopwatch::default;
        let mut pass = Self {
            last,
            generate: watch(),
            encode: watch(),
            tokenise: watch(),
            decode: watch(),
            build: watch(),
            publish: watch(),
            figures: Stages::default(),
            store,
            catalog,
            published: 0,
            _folder: folder,
        };
        pass.acquire().await?;
        Ok(pass)
    }

    async fn acquire(&mut self) -> anyhow::Result<()> {
        let acquire = |partition| Op::Acquire {
            topic: Topic::LOGS.to_owned(),
            partition,
            // No one to ask for recent rows.
            owner: String::new(),
        };
        self.catalog.commit((0..PARTITIONS as i32).map(acquire).collect()).await?;
        self.published = self.catalog.state().partition(Topic::LOGS, 0).map_or(0, |p| p.published);
        Ok(())
    }

    /// Encodes, tokenises and decodes a batch, as far as wanted.
    fn through_the_queue(&mut self, batch: LogBatch) -> anyhow::Result<Option<LogBatch>> {
        if self.last < Last::Tokenise {
            return Ok(None);
        }
        let figures = &mut self.figures;
        self.tokenise.time(|| {
            for row in 0..batch.len() {
                let count = count_tokens(batch.line(row));
                figures.tokens += count.tokens;
                figures.variables += count.variables;
            }
        });
        if self.last < Last::Decode {
            return Ok(None);
        }
        let sent = self.encode.time(|| message(&batch))?;
        drop(batch);
        figures.batch_bytes += sent.payload.len() as u64;
        let limits = Limits::default();
        let read = self.decode.time(|| LogBatch::decode(&sent.payload, &limits))?;
        Ok((Last::Segment <= self.last).then_some(read))
    }

    async fn segment(&mut self, builder: LogSegmentBuilder) -> anyhow::Result<()> {
        let built = self.build.time(|| builder.finish())?;
        let figures = &mut self.figures.built;
        figures.stored.segments += 1;
        figures.stored.stored_bytes += built.bytes.len() as u64;
        figures.granules += built.stats.granules;
        figures.granules_incomplete += built.stats.granules_incomplete;
        figures.patterns += built.stats.patterns;
        figures.rows_without_pattern += built.stats.rows_without_pattern;
        figures.filter_tokens += built.stats.tokens;
        let segment = BuiltSegment {
            kind: SegmentKind::Logs,
            bytes: built.bytes,
            rows: built.rows,
            raw_bytes: built.raw_bytes,
            time_min_ns: built.time_min,
            time_max_ns: built.time_max,
            footer_bytes: built.footer_bytes,
        };
        let id = SegmentId::generate(unix_nanos());
        let meta = segment.meta(id, TenantId::default(), Vec::new(), unix_nanos() / 1_000_000);
        self.store.put(&meta.location(), segment.bytes.into()).await?;
        let opened = LogSegment::open(Arc::clone(&self.store), &meta).await?;
        let sizes = opened.sizes();
        add(&mut figures.stored.stored_bytes_by_section, sizes.sections);
        add(&mut figures.stored.stored_bytes_by_column, sizes.columns);
        if self.last < Last::Publish {
            return Ok(());
        }
        let mut ops = vec![Op::AddSegments { segments: vec![meta] }];
        let state = self.catalog.state();
        for partition in 0..PARTITIONS as i32 {
            let epoch = state.partition(Topic::LOGS, partition).map_or(0, |p| p.epoch);
            ops.push(Op::Advance {
                topic: Topic::LOGS.to_owned(),
                partition,
                epoch,
                from: self.published,
                to: self.published + 1,
                sources: (0..50_u8).map(|n| (SourceId::of(&[&[n]]), 1)).collect(),
            });
        }
        self.published += 1;
        // The store's own thread is not counted, only what the catalog does.
        let before = of_this_thread();
        self.catalog.commit(ops).await?;
        self.publish.total += of_this_thread().saturating_sub(before);
        Ok(())
    }

    fn figures(self, raw_bytes: u64) -> Stages {
        let Self { last, figures, .. } = self;
        let rate = |watch: Stopwatch, stage: Last| {
            if stage <= last { watch.megabytes_per_second(raw_bytes) } else { 0.0 }
        };
        let commits = figures.built.stored.segments.max(1) as f64;
        Stages {
            generate_raw_mb_per_cpu_s: rate(self.generate, Last::Generate),
            tokenise_raw_mb_per_cpu_s: rate(self.tokenise, Last::Tokenise),
            encode_raw_mb_per_cpu_s: rate(self.encode, Last::Decode),
            decode_raw_mb_per_cpu_s: rate(self.decode, Last::Decode),
            build_raw_mb_per_cpu_s: rate(self.build, Last::Segment),
            publish_cpu_ms: self.publish.total.as_secs_f64() * 1e3 / commits,
            ..figures
        }
    }
}

/// Adds named counts.
pub(crate) fn add(sum: &mut BTreeMap<String, u64>, parts: Vec<(String, u64)>) {
    for (name, bytes) in parts {
        *sum.entry(name).or_default() += bytes;
    }
}
