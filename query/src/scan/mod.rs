//! The one scan operator: rows of published segments and recent rows of indexers as one answer.
//!
//! A scan pins one catalog state. The segments in it hold everything below each partition's
//! published offset; the partition's owner is asked for everything from there on. The two together
//! hold each row once.
//!
//! What always holds:
//! - an owner that has moved on answers "plan again", and the whole scan starts over on a newer
//!   state, with nothing kept of the first try;
//! - an owner that cannot be reached, a segment that is missing or damaged, and a catalog that
//!   cannot be refreshed each leave a warning that names them, never just a shorter answer.
//!
//! Bounds: segments read at once, footers kept, bytes of an owner's answer, tries to plan, and the
//! query's own budgets.

mod chunks;
mod count;
mod cursor;
mod footers;
mod logs;
mod pins;
mod recent;
mod samples;
mod streams;

use std::sync::Arc;

use object_store::ObjectStore;
use runtime::clock::SharedClock;
use runtime::cpu::{CpuError, CpuPool};
use segment::catalog::Catalog;

pub use chunks::{ChunkRows, LogChunk, LogFold};
pub use samples::{SamplePlan, SampleReader, SeriesData};
pub use streams::StreamRange;

use crate::config::QuerySection;
use crate::error::QueryError;
use footers::{Footers, Opened};
use pins::Pins;
use recent::Recent;

/// Jobs that may wait for a thread of the scan pool, for each query that may run.
const JOBS_PER_QUERY_MAX: usize = 64;

/// Reads logs and samples. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Scanner {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    section: QuerySection,
    store: Arc<dyn ObjectStore>,
    clock: SharedClock,
    cpu: Arc<CpuPool>,
    pins: Pins,
    recent: Recent,
    footers: Arc<Footers<Opened>>,
}

impl Scanner {
    /// # Errors
    /// When a thread of the scan pool cannot be started.
    pub fn new(
        section: &QuerySection,
        catalog: Catalog,
        store: Arc<dyn ObjectStore>,
        clock: SharedClock,
    ) -> std::io::Result<Self> {
        let jobs_max = JOBS_PER_QUERY_MAX * section.concurrency;
        let cpu = CpuPool::named("scan", section.scan_threads_resolved(), jobs_max)?;
        let (footers_max, bytes_max) = (section.footers_max, section.footers_bytes_max);
        Ok(Self {
            shared: Arc::new(Shared {
                section: section.clone(),
                store,
                cpu: Arc::new(cpu),
                pins: Pins::new(catalog, Arc::clone(&clock), section.catalog_refresh()),
                recent: Recent::new(section),
                footers: Arc::new(Footers::new(footers_max, bytes_max, Opened::weigh)),
                clock,
            }),
        })
    }

    /// The pool that decoding runs on, for whoever evaluates what was decoded.
    pub(crate) fn cpu(&self) -> Arc<CpuPool> {
        Arc::clone(&self.shared.cpu)
    }

    /// Runs CPU work on the scan pool.
    async fn on_cpu<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueryError> {
        self.shared.cpu.run(work).await.map_err(QueryError::from)
    }
}

impl From<CpuError> for QueryError {
    fn from(error: CpuError) -> Self {
        match error {
            CpuError::Full { .. } => Self::Busy,
            CpuError::Panicked { .. } => Self::Internal(error.to_string()),
        }
    }
}
