//! What recent commits did: read back from the log, newest first.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;

use super::log::ReadError;
use super::op::Op;
use super::{Catalog, CatalogError, TAIL_READS_MAX};
use crate::id::SegmentId;

/// How much the clocks of two writers may differ: reading back stops only at a commit this much
/// older than what is asked for.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);

impl Catalog {
    /// The segments that commits written at or after `since_ms` (Unix milliseconds) retired, as of
    /// the newest state this process knows.
    ///
    /// # Errors
    /// When a commit that may be recent enough is missing, damaged or cannot be read: what it
    /// retired is unknown then.
    pub async fn removed_since(&self, since_ms: i64) -> Result<BTreeSet<SegmentId>, CatalogError> {
        let skew_ms = i64::try_from(CLOCK_SKEW_MAX.as_millis()).unwrap_or(i64::MAX);
        let oldest_ms = since_ms.saturating_sub(skew_ms);
        let newest = self.state().version;
        let log = &self.shared.log;
        let mut reads = futures::stream::iter((1..=newest).rev())
            .map(|version| async move { (version, log.commit(version).await) })
            .buffered(TAIL_READS_MAX as usize);
        let mut removed = BTreeSet::new();
        while let Some((version, read)) = reads.next().await {
            let commit = match read {
                Ok(Some(commit)) => commit,
                Ok(None) => {
                    let path = log.commit_path(version).to_string();
                    let source = object_store::Error::NotFound {
                        path: path.clone(),
                        source: "a commit in the middle of history is gone".into(),
                    };
                    return Err(CatalogError::reading_commit(
                        version,
                        ReadError::Store { path, source },
                    ));
                }
                Err(error) => return Err(CatalogError::reading_commit(version, error)),
            };
            if commit.committed_ms < oldest_ms {
                break;
            }
            for op in commit.ops {
                if let Op::RemoveSegments { ids } = op {
                    removed.extend(ids);
                }
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};
    use runtime::clock::{ManualClock, SharedClock};

    use super::*;
    use crate::catalog::testing::segment;
    use crate::catalog::{CatalogOptions, PREFIX};

    #[tokio::test]
    async fn what_was_removed_lately_is_known_and_a_gap_is_an_error() {
        let clock = ManualClock::new(1_700_000_000_000_000_000);
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let shared = Arc::<ManualClock>::clone(&clock) as SharedClock;
        let options = CatalogOptions::new(shared, "test");
        let catalog = Catalog::open(Arc::clone(&store), PREFIX, options).await.unwrap();
        let start_ms = 1_700_000_000_000;
        for number in 1..=3 {
            catalog
                .commit(vec![Op::AddSegments { segments: vec![segment(number)] }])
                .await
                .unwrap();
            let ids = vec![segment(number).id];
            catalog.commit(vec![Op::RemoveSegments { ids }]).await.unwrap();
            clock.advance(Duration::from_secs(1_000));
        }
        let removed = |numbers: &[u128]| -> BTreeSet<SegmentId> {
            numbers.iter().map(|number| segment(*number).id).collect()
        };
        let since = |secs: i64| catalog.removed_since(start_ms + secs * 1_000);
        assert_eq!(since(0).await.unwrap(), removed(&[1, 2, 3]));
        assert_eq!(since(2_000).await.unwrap(), removed(&[3]));
        assert_eq!(since(1_100).await.unwrap(), removed(&[2, 3]), "clocks may differ");
        assert_eq!(since(4_000).await.unwrap(), removed(&[]));
        store.delete(&catalog.shared.log.commit_path(3)).await.unwrap();
        assert!(since(1_100).await.is_err());
        assert_eq!(since(2_000).await.unwrap(), removed(&[3]), "it is older than asked for");
    }
}
