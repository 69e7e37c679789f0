//! The durable log: commit and snapshot objects in a store.
//!
//! Nothing here knows what operations mean. Every call ends by the clock even when the store
//! does not answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use runtime::clock::{SharedClock, within};

use super::envelope::{self, Damage, Kind};
use super::op::Commit;
use super::snapshot::SnapshotBody;

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("object `{path}` is damaged: {damage}")]
    Damaged { path: String, damage: Damage },
    #[error("object `{path}` cannot be read")]
    Store { path: String, source: object_store::Error },
    #[error("object `{path}` was not answered for within {after:?}")]
    Timeout { path: String, after: Duration },
}

/// What a create-only put came to.
#[derive(Debug)]
pub(crate) enum Put {
    /// The object is durable and ours.
    Created,
    /// Anything else: it exists, or the store failed or did not answer. Only reading tells.
    Unsure(String),
}

/// The objects below one prefix.
#[derive(Clone, Debug)]
pub(crate) struct CommitLog {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    clock: SharedClock,
    request_timeout: Duration,
}

impl CommitLog {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        clock: SharedClock,
        request_timeout: Duration,
    ) -> Self {
        Self { store, prefix: Path::from(prefix), clock, request_timeout }
    }

    /// The commit of that number, or `None` when there is none yet.
    pub(crate) async fn commit(&self, version: u64) -> Result<Option<Commit>, ReadError> {
        let path = self.commit_path(version);
        let Some(bytes) = self.read(&path, Kind::Commit.bytes_max()).await? else {
            return Ok(None);
        };
        let damaged = |damage| ReadError::Damaged { path: path.to_string(), damage };
        let commit: Commit = envelope::decode(Kind::Commit, &bytes).map_err(damaged)?;
        if commit.version != version {
            return Err(damaged(Damage::Misnamed { found: commit.version }));
        }
        Ok(Some(commit))
    }

    /// Creates the object of that number from bytes made by [`envelope::encode`].
    pub(crate) async fn create_commit(&self, version: u64, bytes: Bytes) -> Put {
        self.create(&self.commit_path(version), bytes).await
    }

    pub(crate) async fn snapshot(&self, version: u64) -> Result<SnapshotBody, ReadError> {
        let path = self.snapshot_path(version);
        let Some(bytes) = self.read(&path, Kind::Snapshot.bytes_max()).await? else {
            let damage = Damage::Malformed("it was listed but does not exist".to_owned());
            return Err(ReadError::Damaged { path: path.to_string(), damage });
        };
        let damaged = |damage| ReadError::Damaged { path: path.to_string(), damage };
        let body: SnapshotBody = envelope::decode(Kind::Snapshot, &bytes).map_err(damaged)?;
        if body.version != version {
            return Err(damaged(Damage::Misnamed { found: body.version }));
        }
        Ok(body)
    }

    /// Creates a snapshot object and points the hint at it.
    pub(crate) async fn create_snapshot(&self, version: u64, bytes: Bytes) -> Put {
        let put = self.create(&self.snapshot_path(version), bytes).await;
        if matches!(put, Put::Created) {
            let hint = Bytes::from(format!("{version:020}"));
            let path = self.hint_path();
            let written = self.in_time(self.store.put(&path, hint.into())).await;
            if !matches!(written, Some(Ok(_))) {
                tracing::debug!(%path, "snapshot hint not written; openers list instead");
            }
        }
        put
    }

    /// Versions of the snapshots there are, newest first.
    ///
    /// The hint saves listing years of snapshots; those older than it are not looked at unless
    /// `all` is set.
    pub(crate) async fn snapshot_versions(&self, all: bool) -> Result<Vec<u64>, ReadError> {
        let folder = self.prefix.clone().join("snapshots");
        let hint = if all { None } else { self.hint().await };
        let listing = async {
            let mut listed = match hint {
                Some(version) => {
                    self.store.list_with_offset(Some(&folder), &self.snapshot_path(version))
                }
                None => self.store.list(Some(&folder)),
            };
            let mut versions: Vec<u64> = hint.into_iter().collect();
            while let Some(object) = listed.next().await {
                let location = object?.location;
                versions.extend(location.filename().and_then(version_of));
            }
            versions.sort_unstable_by(|a, b| b.cmp(a));
            Ok(versions)
        };
        match self.in_time(listing).await {
            Some(versions) => {
                versions.map_err(|source| ReadError::Store { path: folder.to_string(), source })
            }
            None => {
                Err(ReadError::Timeout { path: folder.to_string(), after: self.request_timeout })
            }
        }
    }

    /// Versions of the commits there are, oldest first. Eight bytes each.
    pub(crate) async fn commit_versions(&self) -> Result<Vec<u64>, ReadError> {
        let folder = self.prefix.clone().join("commits");
        let listing = async {
            let mut versions = Vec::new();
            let mut listed = self.store.list(Some(&folder));
            while let Some(object) = listed.next().await {
                versions.extend(object?.location.filename().and_then(version_of));
            }
            versions.sort_unstable();
            Ok(versions)
        };
        listing.await.map_err(|source| ReadError::Store { path: folder.to_string(), source })
    }

    async fn hint(&self) -> Option<u64> {
        let bytes = self.read(&self.hint_path(), HINT_BYTES_MAX).await.ok()??;
        version_of(std::str::from_utf8(&bytes).ok()?)
    }

    async fn create(&self, path: &Path, bytes: Bytes) -> Put {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.in_time(self.store.put_opts(path, bytes.into(), options)).await {
            Some(Ok(_)) => Put::Created,
            Some(Err(error)) => Put::Unsure(error.to_string()),
            None => Put::Unsure(format!("no answer within {:?}", self.request_timeout)),
        }
    }

    async fn read(&self, path: &Path, bytes_max: u64) -> Result<Option<Bytes>, ReadError> {
        let fetch = async {
            let found = self.store.get(path).await?;
            if bytes_max < found.meta.size {
                return Ok(Err(Damage::TooLarge { bytes_max }));
            }
            found.bytes().await.map(Ok)
        };
        match self.in_time(fetch).await {
            Some(Ok(Ok(bytes))) => Ok(Some(bytes)),
            Some(Ok(Err(damage))) => Err(ReadError::Damaged { path: path.to_string(), damage }),
            Some(Err(object_store::Error::NotFound { .. })) => Ok(None),
            Some(Err(source)) => Err(ReadError::Store { path: path.to_string(), source }),
            None => Err(ReadError::Timeout { path: path.to_string(), after: self.request_timeout }),
        }
    }

    /// What `request` gives, or `None` when it takes longer than a request may.
    async fn in_time<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        within(&*self.clock, self.request_timeout, request).await
    }

    pub(crate) fn commit_path(&self, version: u64) -> Path {
        self.prefix.clone().join("commits").join(format!("{version:020}"))
    }

    pub(crate) fn snapshot_path(&self, version: u64) -> Path {
        self.prefix.clone().join("snapshots").join(format!("{version:020}"))
    }

    fn hint_path(&self) -> Path {
        self.prefix.clone().join("snapshots").join("latest")
    }
}

/// A hint is 20 digits; anything much longer is not one.
const HINT_BYTES_MAX: u64 = 64;

/// The number in a name of exactly 20 digits.
fn version_of(name: &str) -> Option<u64> {
    if name.len() != 20 || !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    name.parse().ok()
}
