//! Bringing a built segment into the store.
//!
//! Always holds: an object's name holds an id that is made once, so putting it again writes the same
//! bytes, whatever became of the attempt before. A crash after the put leaves an object no commit
//! names, which costs space and nothing else.
//! Bounded: one attempt by `upload_timeout_secs`; attempts go on until the stop gives up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, PutOptions, PutPayload};
use runtime::backoff::Backoff;
use runtime::clock::{SharedClock, within};
use tracing::warn;

use crate::telemetry;

/// Puts objects until the store takes them.
#[derive(Clone, Debug)]
pub(crate) struct Uploader {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) clock: SharedClock,
    pub(crate) timeout: Duration,
    pub(crate) pauses: Backoff,
    pub(crate) kind: &'static str,
}

impl Uploader {
    /// Puts `bytes` at `path`, however long that takes: drop the call to give up.
    pub(crate) async fn upload(&self, path: &Path, bytes: &Bytes) {
        let started = self.clock.elapsed();
        let mut pauses = self.pauses.clone();
        while let Err(error) = self.attempt(path, bytes).await {
            let pause = pauses.delay();
            warn!(%path, error, ?pause, "segment not uploaded, trying again");
            metrics::counter!(telemetry::PUBLISH_RETRIES, "kind" => self.kind, "step" => "upload")
                .increment(1);
            self.clock.sleep(pause).await;
        }
        let seconds = self.clock.elapsed().saturating_sub(started).as_secs_f64();
        metrics::histogram!(telemetry::UPLOAD_SECONDS, "kind" => self.kind).record(seconds);
    }

    async fn attempt(&self, path: &Path, bytes: &Bytes) -> Result<(), String> {
        // Overwriting on purpose: it also repairs what a broken store kept of a failed put.
        let payload = PutPayload::from_bytes(bytes.clone());
        let put = self.store.put_opts(path, payload, PutOptions::default());
        match within(&*self.clock, self.timeout, put).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err(format!("no answer within {:?}", self.timeout)),
        }
    }
}
