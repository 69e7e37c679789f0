//! The object store: a local folder, S3, Google Cloud Storage, Azure Blob or memory.
//!
//! Everything goes through the `object_store` crate's trait, so a segment or catalog cannot tell
//! them apart; [`conformance`] is what each must pass and [`faulty`] makes any of them fail.
//!
//! What always holds: a put that returned is durable (the local folder syncs file and folder); a
//! put is seen whole or not at all; of several create-only puts of one name one succeeds.
//!
//! What bounds it: every request and every retry has an end ([`RetrySection`]).

mod cached;
pub mod conformance;
mod error;
pub mod faulty;
mod measured;
mod ranges;
mod section;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use runtime::clock::{Clock, SystemClock, within};

use measured::MeasuredStore;

pub use cached::{CacheOptions, CachedStore};
pub use error::StoreError;
pub use section::{AzureSection, GcsSection, LocalSection, RetrySection, S3Section, StoreSection};

/// Opens the store a section describes; a relative local path is below `data_dir`.
///
/// Asks no server anything: see [`check`].
///
/// # Errors
/// When the local folder cannot be made or the section does not describe a store.
pub fn open(section: &StoreSection, data_dir: &Path) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let store: Arc<dyn ObjectStore> = match section {
        StoreSection::Local(local) => open_local(&data_dir.join(&local.path))?,
        StoreSection::Memory => Arc::new(InMemory::new()),
        StoreSection::S3(s3) => {
            let store = s3_builder(s3).build().map_err(|e| invalid(section, data_dir, e))?;
            below(store, &s3.prefix)
        }
        StoreSection::Gcs(gcs) => {
            let store = gcs_builder(gcs).build().map_err(|e| invalid(section, data_dir, e))?;
            below(store, &gcs.prefix)
        }
        StoreSection::Azure(azure) => {
            let store = azure_builder(azure).build().map_err(|e| invalid(section, data_dir, e))?;
            below(store, &azure.prefix)
        }
    };
    Ok(Arc::new(MeasuredStore::new(store, SystemClock::shared())))
}

/// Asks the store for its first object name, so that a wrong endpoint, bucket or key is reported
/// at start, by name, instead of at the first upload.
///
/// # Errors
/// What is wrong and what to do about it; `limit` passing is an error too.
pub async fn check(
    store: &Arc<dyn ObjectStore>,
    section: &StoreSection,
    data_dir: &Path,
    clock: &dyn Clock,
    limit: Duration,
) -> Result<(), StoreError> {
    let target = section.target(data_dir);
    let first = async { store.list(None).next().await };
    match within(clock, limit, first).await {
        Some(None | Some(Ok(_))) => Ok(()),
        Some(Some(Err(source))) => Err(StoreError::of_request(target, source)),
        None => Err(StoreError::Unreachable {
            target,
            source: format!("no answer within {limit:?}").into(),
        }),
    }
}

fn open_local(root: &Path) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::LocalFolder {
        path: root.to_path_buf(),
        source,
    };
    create_durably(root).map_err(|error| unusable(error.into()))?;
    let store = LocalFileSystem::new_with_prefix(root).map_err(|error| unusable(error.into()))?;
    Ok(Arc::new(store.with_fsync(true)))
}

/// Creates a folder and the missing ones above it, syncing each parent, so that a power cut
/// cannot take away the folder of a synced file.
fn create_durably(folder: &Path) -> std::io::Result<()> {
    let missing: Vec<PathBuf> = folder
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && path.metadata().is_err())
        .map(Path::to_path_buf)
        .collect();
    std::fs::create_dir_all(folder)?;
    for made in missing {
        let parent = made.parent().filter(|path| !path.as_os_str().is_empty());
        std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    if !folder.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    Ok(())
}

fn s3_builder(section: &S3Section) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&section.bucket)
        .with_virtual_hosted_style_request(!section.path_style)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(retry(&section.retry))
        .with_client_options(client(&section.retry, section.endpoint.as_deref()));
    if let Some(endpoint) = &section.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    if let Some(region) = &section.region {
        builder = builder.with_region(region);
    }
    if let (Some(id), Some(secret)) = (&section.access_key_id, &section.secret_access_key) {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret.reveal());
    }
    builder
}

fn gcs_builder(section: &GcsSection) -> GoogleCloudStorageBuilder {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(&section.bucket)
        .with_retry(retry(&section.retry))
        .with_client_options(client(&section.retry, section.endpoint.as_deref()));
    if let Some(endpoint) = &section.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    if let Some(path) = &section.service_account_path {
        builder = builder.with_service_account_path(path.to_string_lossy());
    }
    builder
}

fn azure_builder(section: &AzureSection) -> MicrosoftAzureBuilder {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_account(&section.account)
        .with_container_name(&section.container)
        .with_retry(retry(&section.retry))
        .with_client_options(client(&section.retry, section.endpoint.as_deref()));
    if let Some(endpoint) = &section.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    if let Some(key) = &section.access_key {
        builder = builder.with_access_key(key.reveal());
    }
    builder
}

fn retry(section: &RetrySection) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: section.retries_max,
        retry_timeout: Duration::from_secs(section.timeout_secs),
    }
}

/// Plain HTTP is spoken only where the configured endpoint says `http://`.
fn client(section: &RetrySection, endpoint: Option<&str>) -> ClientOptions {
    let plain = endpoint.is_some_and(|url| url.starts_with("http://"));
    ClientOptions::new()
        .with_allow_http(plain)
        .with_connect_timeout(Duration::from_secs(section.connect_timeout_secs))
        .with_timeout(Duration::from_secs(section.request_timeout_secs))
}

fn below(store: impl ObjectStore, prefix: &str) -> Arc<dyn ObjectStore> {
    if prefix.is_empty() {
        return Arc::new(store);
    }
    Arc::new(PrefixStore::new(store, prefix))
}

fn invalid(section: &StoreSection, data_dir: &Path, source: object_store::Error) -> StoreError {
    StoreError::Invalid { target: section.target(data_dir), source: source.into() }
}

#[cfg(test)]
mod tests;
