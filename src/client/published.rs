//! What is published: the store that the command line names, and the catalog in it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use object_store::ObjectStore;
use runtime::clock::{SharedClock, SystemClock};
use segment::catalog::{Catalog, CatalogOptions, PREFIX};
use segment::store;

use crate::cli::StoreArgs;
use crate::config::{Config, Overrides};

/// A store and the catalog in it.
pub(super) struct Published {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) catalog: Catalog,
    pub(super) clock: SharedClock,
    pub(super) grace: Duration,
}

impl Published {
    /// Opens both; `command` is what commits would name as their writer.
    pub(super) async fn open(args: &StoreArgs, command: &str) -> anyhow::Result<Self> {
        let overrides = Overrides { data_dir: args.data_dir.clone(), listen: None };
        let config = match &args.config {
            Some(path) => Config::read(path, false, &overrides)?,
            None => Config::without_file(&overrides)?,
        };
        let section = &config.file.store;
        let store = store::open(section, &config.file.data_dir).context("open the store")?;
        let clock = SystemClock::shared();
        let options = CatalogOptions::new(Arc::clone(&clock), command);
        let catalog =
            Catalog::open(Arc::clone(&store), PREFIX, options).await.with_context(|| {
                format!("open the catalog in {}", section.target(&config.file.data_dir))
            })?;
        let grace = Duration::from_secs(config.file.indexer.sweep.grace_secs);
        Ok(Self { store, catalog, clock, grace })
    }
}
