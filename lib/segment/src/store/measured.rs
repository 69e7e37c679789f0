//! Counts and times every request to a store, so that a slow or failing bucket shows.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use runtime::clock::SharedClock;

use crate::telemetry::{STORE_BYTES, STORE_REQUEST_SECONDS, STORE_REQUESTS};

/// `inner`, measured.
#[derive(Clone, Debug)]
pub(super) struct MeasuredStore {
    inner: Arc<dyn ObjectStore>,
    clock: SharedClock,
}

impl MeasuredStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, clock: SharedClock) -> Self {
        Self { inner, clock }
    }

    async fn measure<T>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let started = self.clock.elapsed();
        let answer = request.await;
        let took = self.clock.elapsed().saturating_sub(started);
        count(operation, outcome(&answer), took);
        answer
    }
}

fn count(operation: &'static str, outcome: &'static str, took: Duration) {
    let labels = [("operation", operation), ("outcome", outcome)];
    metrics::counter!(STORE_REQUESTS, &labels).increment(1);
    metrics::histogram!(STORE_REQUEST_SECONDS, "operation" => operation).record(took.as_secs_f64());
}

/// Conditions that do not hold and names that do not exist are answers, not failures.
fn outcome<T>(answer: &Result<T>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(Error::NotFound { .. }) => "not_found",
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => "exists",
        Err(_) => "failed",
    }
}

fn count_bytes(direction: &'static str, bytes: u64) {
    metrics::counter!(STORE_BYTES, "direction" => direction).increment(bytes);
}

impl fmt::Display for MeasuredStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, formatter)
    }
}

#[async_trait]
impl ObjectStore for MeasuredStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let bytes = payload.content_length() as u64;
        let put = self.inner.put_opts(location, payload, options);
        let answer = self.measure("put", put).await?;
        count_bytes("written", bytes);
        Ok(answer)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.measure("put", self.inner.put_multipart_opts(location, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let found = self.measure("get", self.inner.get_opts(location, options)).await?;
        if !head {
            count_bytes("read", found.range.end - found.range.start);
        }
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let found = self.measure("get", self.inner.get_ranges(location, ranges)).await?;
        count_bytes("read", found.iter().map(|bytes| bytes.len() as u64).sum());
        Ok(found)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let deleted = self.inner.delete_stream(locations);
        let counted = deleted.inspect(|answer| {
            let labels = [("operation", "delete"), ("outcome", outcome(answer))];
            metrics::counter!(STORE_REQUESTS, &labels).increment(1);
        });
        counted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        metrics::counter!(STORE_REQUESTS, "operation" => "list", "outcome" => "ok").increment(1);
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        metrics::counter!(STORE_REQUESTS, "operation" => "list", "outcome" => "ok").increment(1);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.measure("list", self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.measure("copy", self.inner.copy_opts(from, to, options)).await
    }
}
