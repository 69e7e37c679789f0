//! What lies in the object store, and where its bytes are.

use std::sync::Arc;

use object_store::ObjectStore;
use runtime::clock::SystemClock;
use segment::SegmentKind;
use segment::catalog::{Catalog, CatalogOptions, PREFIX};
use segment::logs::LogSegment;

use super::alone::add;
use crate::report::{Indexed, Stored};
use crate::stage::Stage;

/// Looks at every object; the times are left 0.
pub(crate) async fn measure(stage: &Stage, raw_bytes: u64) -> anyhow::Result<Indexed> {
    let store = stage.store();
    let options = CatalogOptions::new(SystemClock::shared(), "bench");
    let catalog = Catalog::open(Arc::clone(&store), PREFIX, options).await?;
    let segments = segments(&store, &catalog).await?;
    let stored_bytes = stage.stored_bytes().await?;
    Ok(Indexed {
        index_raw_mb_per_cpu_s: 0.0,
        index_cpu_seconds: 0.0,
        index_wall_seconds: 0.0,
        stored_bytes_per_raw_byte: stored_bytes as f64 / raw_bytes.max(1) as f64,
        stored: Stored { stored_bytes, ..segments },
    })
}

/// The segments of logs that `catalog` names.
pub(crate) async fn segments(
    store: &Arc<dyn ObjectStore>,
    catalog: &Catalog,
) -> anyhow::Result<Stored> {
    let mut stored = Stored::default();
    for meta in catalog.state().segments.values().filter(|meta| meta.kind == SegmentKind::Logs) {
        let sizes = LogSegment::open(Arc::clone(store), meta).await?.sizes();
        add(&mut stored.stored_bytes_by_section, sizes.sections);
        add(&mut stored.stored_bytes_by_column, sizes.columns);
        stored.segments += 1;
        stored.stored_bytes += meta.bytes;
    }
    Ok(stored)
}
