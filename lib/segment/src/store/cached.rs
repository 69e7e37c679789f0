//! Ranges of objects kept near: in memory, and on a local disk where one is given.
//!
//! A query asks for the same pages, blocks and tables again and again, and a bucket answers each
//! question in tens of milliseconds. What [`ObjectStore::get_ranges`] delivers is kept under
//! object, start and end; other requests (the catalog's, writes) pass through untouched.
//!
//! What always holds: only segments are read by ranges, and an object that a commit names never
//! changes, so nothing here can be stale. An entry on disk whose checksum does not match is a miss.
//! A cache that fails is a miss too: it never fails a read.
//!
//! On a crash: what was on disk is found again at the next start, except for what was being
//! written.
//!
//! Bounds: [`CacheOptions`]; at most `reads_max` requests to the store at a time.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, Event, EventListener, FsDeviceBuilder, HybridCache,
    HybridCacheBuilder, HybridCachePolicy, PsyncIoEngineConfig, RecoverMode, Source,
};
use futures::future::try_join_all;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Semaphore;

use super::error::StoreError;
use super::ranges::{coalesced, slice};
use crate::telemetry::{
    CACHE_BYTES, CACHE_EVICTIONS, CACHE_FAILURES, CACHE_HITS, CACHE_MISSES, READS_COALESCED,
};

/// What an entry takes in memory beside its bytes: key, bookkeeping.
const ENTRY_BYTES: usize = 200;

/// The file of the disk cache is cut into blocks of this size, which are reused as wholes. No entry
/// may be larger; more would evict more at a time.
const DISK_BLOCK_BYTES: usize = 16 << 20;

/// Bytes waiting to be written to the disk cache; more are not kept.
const DISK_QUEUE_BYTES: usize = 32 << 20;

/// How much is kept, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Bytes kept in memory; 0 keeps next to nothing there.
    pub ram_bytes_max: u64,
    /// Folder and bytes of the disk cache.
    pub disk: Option<(PathBuf, u64)>,
    /// Requests to the store at a time.
    pub reads_max: usize,
}

type Ranges = HybridCache<String, Bytes>;

/// `inner` with its ranges kept near.
#[derive(Clone)]
pub struct CachedStore {
    inner: Arc<dyn ObjectStore>,
    ranges: Ranges,
    reads: Arc<Semaphore>,
}

/// Counts what leaves the memory.
struct CountEvictions;

impl EventListener for CountEvictions {
    type Key = String;
    type Value = Bytes;

    fn on_leave(&self, reason: Event, _: &String, _: &Bytes) {
        if matches!(reason, Event::Evict) {
            metrics::counter!(CACHE_EVICTIONS).increment(1);
        }
    }
}

impl CachedStore {
    /// # Errors
    /// When the folder of the disk cache cannot be used.
    pub async fn open(
        inner: Arc<dyn ObjectStore>,
        options: &CacheOptions,
    ) -> Result<Self, StoreError> {
        let bytes = |key: &String, value: &Bytes| key.len() + value.len() + ENTRY_BYTES;
        let ram_bytes = usize::try_from(options.ram_bytes_max).unwrap_or(usize::MAX);
        let builder = HybridCacheBuilder::new()
            .with_name("ranges")
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .with_flush_on_close(false)
            .with_event_listener(Arc::new(CountEvictions))
            .memory(ram_bytes)
            // Few shards: each holds its part of the bytes, and an entry may be megabytes.
            .with_shards(4)
            .with_weighter(bytes)
            .storage();
        let builder = match &options.disk {
            None => builder,
            Some((folder, disk_bytes)) => {
                let unusable = |source: foyer::Error| StoreError::LocalFolder {
                    path: folder.clone(),
                    source: source.into(),
                };
                let capacity = usize::try_from(*disk_bytes).unwrap_or(usize::MAX);
                let device = FsDeviceBuilder::new(folder).with_capacity(capacity);
                let engine = BlockEngineConfig::new(device.build().map_err(unusable)?)
                    .with_block_size(DISK_BLOCK_BYTES)
                    .with_buffer_pool_size(DISK_QUEUE_BYTES);
                builder
                    .with_io_engine_config(PsyncIoEngineConfig::new())
                    .with_engine_config(engine)
                    .with_recover_mode(RecoverMode::Quiet)
            }
        };
        let folder = options.disk.as_ref().map(|(folder, _)| folder.clone()).unwrap_or_default();
        let ranges = builder
            .build()
            .await
            .map_err(|source| StoreError::LocalFolder { path: folder, source: source.into() })?;
        Ok(Self { inner, ranges, reads: Arc::new(Semaphore::new(options.reads_max.max(1))) })
    }

    /// Writes what waits for the disk and stops.
    pub async fn close(&self) {
        if self.ranges.close().await.is_err() {
            metrics::counter!(CACHE_FAILURES).increment(1);
        }
    }

    /// A range that is near.
    async fn near(&self, key: &String) -> Option<Bytes> {
        let found = match self.ranges.get(key).await {
            Ok(found) => found,
            Err(_) => {
                metrics::counter!(CACHE_FAILURES).increment(1);
                None
            }
        };
        let Some(entry) = found else {
            metrics::counter!(CACHE_MISSES).increment(1);
            return None;
        };
        let tier = if entry.source() == Source::Disk { "disk" } else { "ram" };
        metrics::counter!(CACHE_HITS, "tier" => tier).increment(1);
        metrics::counter!(CACHE_BYTES, "tier" => tier).increment(entry.value().len() as u64);
        Some(entry.value().clone())
    }

    /// One range from the store.
    async fn one(&self, location: &Path, range: &Range<u64>) -> Result<Bytes> {
        // The semaphore is never closed.
        let _permit = self.reads.acquire().await;
        let one = self.inner.get_ranges(location, std::slice::from_ref(range)).await?;
        Ok(one.into_iter().next().unwrap_or_default())
    }

    /// Ranges from the store, near ones in one request, requests side by side.
    async fn far(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let requests = coalesced(ranges);
        metrics::counter!(READS_COALESCED).increment((ranges.len() - requests.len()) as u64);
        let reading = requests.iter().map(|request| self.one(location, request));
        let read: Vec<Bytes> = try_join_all(reading).await?;
        Ok(ranges.iter().map(|range| slice(&requests, &read, range)).collect())
    }
}

fn key(location: &Path, range: &Range<u64>) -> String {
    format!("{location}:{}-{}", range.start, range.end)
}

impl fmt::Debug for CachedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CachedStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl fmt::Display for CachedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, formatter)
    }
}

#[async_trait]
impl ObjectStore for CachedStore {
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let keys: Vec<String> = ranges.iter().map(|range| key(location, range)).collect();
        let mut found = Vec::with_capacity(ranges.len());
        for key in &keys {
            found.push(self.near(key).await);
        }
        let missing: Vec<Range<u64>> = ranges
            .iter()
            .zip(&found)
            .filter(|(_, found)| found.is_none())
            .map(|(range, _)| range.clone())
            .collect();
        if missing.is_empty() {
            return Ok(found.into_iter().flatten().collect());
        }
        let mut read = self.far(location, &missing).await?.into_iter();
        let mut all = Vec::with_capacity(ranges.len());
        for ((key, range), found) in keys.into_iter().zip(ranges).zip(found) {
            let bytes = match found {
                Some(bytes) => bytes,
                None => {
                    let bytes = read.next().unwrap_or_default();
                    // Cut short is damage, which whoever asked will name; it is not kept.
                    if bytes.len() as u64 == range.end - range.start {
                        // A copy, so that a small range does not hold its whole request.
                        drop(self.ranges.insert(key, Bytes::copy_from_slice(&bytes)));
                    }
                    bytes
                }
            };
            all.push(bytes);
        }
        Ok(all)
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
