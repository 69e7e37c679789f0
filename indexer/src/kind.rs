//! What differs between log records and samples; everything else in this crate is written once.
//!
//! Rows are handles: cloning one is cheap and shares what it holds. One task appends, any number of
//! questions read, and a reader sees each batch wholly or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use record::{BatchError, BatchKind, Limits, LogBatch, SampleBatch, TenantId};
use segment::samples::Head;

use crate::build::{self, Job, Windows};
use crate::cost::Shares;
use crate::label_pool::LabelPool;
use crate::open::CutPart;
use crate::replay::Replays;

/// What a batch amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) rows: u64,
    /// Line bytes; 16 per sample.
    pub(crate) raw_bytes: u64,
}

/// A kind of row.
pub(crate) trait Kind: Clone + Debug + Send + Sync + Sized + 'static {
    /// The `kind` label of every metric, and part of the consumer group's name.
    const NAME: &'static str;
    const BATCH: BatchKind;
    type Batch: Debug + Send + 'static;
    type Rows: Clone + Debug + Default + Send + Sync + 'static;

    fn decode(payload: &Bytes, limits: &Limits) -> Result<Self::Batch, BatchError>;

    /// Returns rows made of somebody else's message as a batch; `None` where this kind has none.
    fn adopt(rows: LogBatch) -> Option<Self::Batch>;

    fn weigh(batch: &Self::Batch) -> Weight;

    /// Lets the batch have its label sets in common with others; returns the bytes they take all
    /// the same.
    fn share_labels(batch: &mut Self::Batch, pool: &LabelPool) -> usize;

    /// Returns the raw bytes of each namespace in the batch.
    fn shares(batch: &Self::Batch) -> Shares;

    /// Returns `batch` without the rows taken before, and remembers the others.
    fn take(batch: Self::Batch, replays: &mut Replays) -> Self::Batch;

    /// Appends the batch that came at queue offset `offset`. May block on a reader.
    fn append(rows: &Self::Rows, offset: i64, tenant: &TenantId, batch: Self::Batch);

    /// Returns how many tenants have rows.
    fn tenants(rows: &Self::Rows) -> usize;

    /// Tells whether `built` rows in segments can be all of the `taken` rows of a cut.
    fn agree(taken: u64, built: u64) -> bool;

    /// Says which segments the parts of a cut make. Reads rows; run it where CPU work belongs.
    fn jobs(parts: &[CutPart<Self>], windows: Windows) -> Vec<Job>;
}

/// Log records.
#[derive(Clone, Debug)]
pub(crate) struct Logs;

/// Batches of log records, in order of their offsets.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogRows {
    inner: Arc<RwLock<LogRowsInner>>,
}

#[derive(Debug, Default)]
struct LogRowsInner {
    batches: Vec<Arc<HeldBatch>>,
    tenants: BTreeSet<TenantId>,
}

/// One message's rows.
#[derive(Debug)]
pub(crate) struct HeldBatch {
    pub(crate) offset: i64,
    pub(crate) tenant: TenantId,
    /// Not empty.
    pub(crate) batch: LogBatch,
    pub(crate) time_min_ns: i64,
    pub(crate) time_max_ns: i64,
}

impl LogRows {
    /// Returns the batches at `offset` and beyond.
    pub(crate) fn since(&self, offset: i64) -> Vec<Arc<HeldBatch>> {
        let inner = read(&self.inner);
        let first = inner.batches.partition_point(|held| held.offset < offset);
        inner.batches.iter().skip(first).map(Arc::clone).collect()
    }
}

impl Kind for Logs {
    const NAME: &'static str = "logs";
    const BATCH: BatchKind = BatchKind::Logs;
    type Batch = LogBatch;
    type Rows = LogRows;

    fn decode(payload: &Bytes, limits: &Limits) -> Result<LogBatch, BatchError> {
        LogBatch::decode(payload, limits)
    }

    fn adopt(rows: LogBatch) -> Option<LogBatch> {
        Some(rows)
    }

    fn weigh(batch: &LogBatch) -> Weight {
        Weight { rows: batch.len() as u64, raw_bytes: batch.raw_bytes() }
    }

    fn share_labels(batch: &mut LogBatch, pool: &LabelPool) -> usize {
        let (streams, bytes) = pool.share(batch.streams());
        batch.replace_streams(streams);
        bytes + size_of_val(batch.streams())
    }

    fn shares(batch: &LogBatch) -> Shares {
        let mut shares = Shares::default();
        for (stream, bytes) in batch.streams().iter().zip(batch.raw_bytes_by_stream(None)) {
            shares.add(stream, bytes);
        }
        shares
    }

    fn take(batch: LogBatch, replays: &mut Replays) -> LogBatch {
        match replays.take(&batch) {
            Some(new) => batch.filter(&new),
            None => batch,
        }
    }

    fn append(rows: &LogRows, offset: i64, tenant: &TenantId, batch: LogBatch) {
        let times = batch.times();
        let (Some(&time_min_ns), Some(&time_max_ns)) = (times.iter().min(), times.iter().max())
        else {
            return;
        };
        let held = HeldBatch { offset, tenant: tenant.clone(), batch, time_min_ns, time_max_ns };
        let mut inner = write(&rows.inner);
        if !inner.tenants.contains(tenant) {
            inner.tenants.insert(tenant.clone());
        }
        inner.batches.push(Arc::new(held));
    }

    fn tenants(rows: &LogRows) -> usize {
        read(&rows.inner).tenants.len()
    }

    fn agree(taken: u64, built: u64) -> bool {
        taken == built
    }

    fn jobs(parts: &[CutPart<Self>], windows: Windows) -> Vec<Job> {
        build::logs::jobs(parts, windows)
    }
}

/// Samples of metrics.
#[derive(Clone, Debug)]
pub(crate) struct Samples;

/// Samples by tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct SampleRows {
    heads: Arc<RwLock<BTreeMap<TenantId, Arc<RwLock<Head>>>>>,
}

impl SampleRows {
    /// Returns every tenant with its samples.
    pub(crate) fn heads(&self) -> Vec<(TenantId, Arc<RwLock<Head>>)> {
        let heads = read(&self.heads);
        heads.iter().map(|(tenant, head)| (tenant.clone(), Arc::clone(head))).collect()
    }

    /// Returns the samples of one tenant.
    pub(crate) fn head(&self, tenant: &TenantId) -> Option<Arc<RwLock<Head>>> {
        read(&self.heads).get(tenant).map(Arc::clone)
    }
}

impl Kind for Samples {
    const NAME: &'static str = "samples";
    const BATCH: BatchKind = BatchKind::Samples;
    type Batch = SampleBatch;
    type Rows = SampleRows;

    fn decode(payload: &Bytes, limits: &Limits) -> Result<SampleBatch, BatchError> {
        SampleBatch::decode(payload, limits)
    }

    fn adopt(_rows: LogBatch) -> Option<SampleBatch> {
        None
    }

    fn weigh(batch: &SampleBatch) -> Weight {
        let rows = batch.len() as u64;
        Weight { rows, raw_bytes: rows.saturating_mul(SAMPLE_BYTES) }
    }

    fn share_labels(batch: &mut SampleBatch, pool: &LabelPool) -> usize {
        let (series, bytes) = pool.share(batch.series());
        batch.replace_series(series);
        bytes + size_of_val(batch.series())
    }

    fn shares(batch: &SampleBatch) -> Shares {
        let mut bytes = vec![0; batch.series().len()];
        for series in batch.series_index() {
            bytes[*series as usize] += SAMPLE_BYTES;
        }
        let mut shares = Shares::default();
        for (series, bytes) in batch.series().iter().zip(bytes) {
            shares.add(series, bytes);
        }
        shares
    }

    /// Samples need no positions: one that comes twice is the same sample.
    fn take(batch: SampleBatch, _replays: &mut Replays) -> SampleBatch {
        batch
    }

    fn append(rows: &SampleRows, _offset: i64, tenant: &TenantId, batch: SampleBatch) {
        let head = match rows.head(tenant) {
            Some(head) => head,
            None => Arc::clone(write(&rows.heads).entry(tenant.clone()).or_default()),
        };
        write(&head).append(&batch);
    }

    fn tenants(rows: &SampleRows) -> usize {
        read(&rows.heads).len()
    }

    /// A sample that came twice is one.
    fn agree(taken: u64, built: u64) -> bool {
        built <= taken && (built == 0) == (taken == 0)
    }

    fn jobs(parts: &[CutPart<Self>], windows: Windows) -> Vec<Job> {
        build::samples::jobs(parts, windows)
    }
}

/// A time and a value.
pub(crate) const SAMPLE_BYTES: u64 = 16;

/// A writer that panicked left whole batches behind, so its lock is still good.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
