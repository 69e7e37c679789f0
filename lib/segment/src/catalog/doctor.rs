//! Whether a store can hold a catalog, and whether the catalog in it is sound.
//!
//! [`probe`] asks whether the store's create-only put is really atomic; [`audit()`] reads everything.
//!
//! The catalog's safety rests on it: of any number of writers creating one object exactly one
//! succeeds, and the object is the winner's. Some gateways accept the condition and ignore it, or
//! check it without locking. Probe before trusting a bucket with a catalog; it takes a few seconds.

mod audit;
mod finding;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use runtime::clock::{SharedClock, within};

pub use audit::{Audit, audit};
pub use finding::Finding;

use super::CatalogOptions;
use crate::id::CommitId;

/// Races run, each for an object of its own. A gateway that checks without locking loses most
/// races of eight, so a few rounds find it; each costs ten requests.
const ROUNDS: usize = 6;

/// Writers in each race.
const WRITERS: usize = 8;

/// What the probe saw on a store that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub rounds: usize,
    pub writers: usize,
}

/// Why the store must not hold a catalog, or could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// Several writers created one object, or a created object was overwritten.
    #[error(
        "{store} does not create objects atomically: {what}; Millrace would lose or double data \
         on it, use a store whose conditional put (`If-None-Match: *`) is atomic"
    )]
    NotAtomic { store: String, what: String },

    /// The store failed while being probed; nothing is known.
    #[error("probe {store}: {action}")]
    Store { store: String, action: &'static str, source: object_store::Error },

    /// The store did not answer in time; nothing is known.
    #[error("probe {store}: no answer to {action}")]
    Timeout { store: String, action: &'static str },
}

/// Races writers for objects below `<prefix>/doctor/` and removes the objects again.
///
/// # Errors
/// [`DoctorError::NotAtomic`] when the store must not be used; otherwise the store could not be
/// asked.
pub async fn probe(
    store: &Arc<dyn ObjectStore>,
    prefix: &str,
    options: &CatalogOptions,
) -> Result<Report, DoctorError> {
    let doctor = Doctor { store, name: store.to_string(), clock: &options.clock, options };
    let run = CommitId::generate(options.clock.unix_nanos());
    let folder = Path::from(prefix).join("doctor").join(run.to_string());
    // All races at once: some servers make losers of a race wait for seconds.
    let races = (0..ROUNDS).map(|round| {
        let path = folder.clone().join(round.to_string());
        let doctor = &doctor;
        async move {
            let verdict = doctor.race(&path).await;
            if let Err(error) = store.delete(&path).await {
                tracing::debug!(%path, %error, "probe object not removed");
            }
            verdict
        }
    });
    join_all(races).await.into_iter().collect::<Result<(), DoctorError>>()?;
    Ok(Report { rounds: ROUNDS, writers: WRITERS })
}

struct Doctor<'a> {
    store: &'a Arc<dyn ObjectStore>,
    name: String,
    clock: &'a SharedClock,
    options: &'a CatalogOptions,
}

impl Doctor<'_> {
    async fn race(&self, path: &Path) -> Result<(), DoctorError> {
        let bodies: Vec<Bytes> =
            (0..WRITERS).map(|writer| Bytes::from(format!("writer {writer}"))).collect();
        let creations = bodies.iter().map(|body| self.create(path, body));
        let mut winners = Vec::new();
        for (writer, created) in join_all(creations).await.into_iter().enumerate() {
            if created? {
                winners.push(writer);
            }
        }
        let [winner] = winners[..] else {
            return Err(self.not_atomic(format!(
                "{} of {WRITERS} writers were told that they created `{path}`",
                winners.len()
            )));
        };
        self.expect_content(path, &bodies[winner]).await?;
        if self.create(path, &Bytes::from_static(b"late writer")).await? {
            return Err(self.not_atomic(format!("`{path}` was created a second time")));
        }
        self.expect_content(path, &bodies[winner]).await
    }

    /// Whether this put created the object.
    async fn create(&self, path: &Path, body: &Bytes) -> Result<bool, DoctorError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.store.put_opts(path, body.clone().into(), options);
        match self.in_time("a conditional put", put).await? {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(source) => Err(self.failed("put an object on condition", source)),
        }
    }

    async fn expect_content(&self, path: &Path, body: &Bytes) -> Result<(), DoctorError> {
        let fetch = async { self.store.get(path).await?.bytes().await };
        let found = self
            .in_time("a read", fetch)
            .await?
            .map_err(|source| self.failed("read the object back", source))?;
        if found != *body {
            return Err(self.not_atomic(format!("`{path}` does not hold what its creator wrote")));
        }
        Ok(())
    }

    async fn in_time<T>(
        &self,
        action: &'static str,
        request: impl Future<Output = T>,
    ) -> Result<T, DoctorError> {
        match within(&**self.clock, self.options.request_timeout, request).await {
            Some(answer) => Ok(answer),
            None => Err(DoctorError::Timeout { store: self.name.clone(), action }),
        }
    }

    fn not_atomic(&self, what: String) -> DoctorError {
        DoctorError::NotAtomic { store: self.name.clone(), what }
    }

    fn failed(&self, action: &'static str, source: object_store::Error) -> DoctorError {
        DoctorError::Store { store: self.name.clone(), action, source }
    }
}
