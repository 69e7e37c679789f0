//! What lies in the object store after indexing, and where its bytes are.

use std::collections::BTreeMap;
use std::sync::Arc;

use runtime::clock::SystemClock;
use segment::SegmentKind;
use segment::catalog::{Catalog, CatalogOptions, PREFIX};
use segment::logs::LogSegment;

use super::alone::add;
use crate::report::Indexed;
use crate::stage::Stage;

/// Looks at every object; the times are left 0.
pub(crate) async fn measure(stage: &Stage, raw_bytes: u64) -> anyhow::Result<Indexed> {
    let store = stage.store();
    let options = CatalogOptions::new(SystemClock::shared(), "bench");
    let catalog = Catalog::open(Arc::clone(&store), PREFIX, options).await?;
    let (mut sections, mut columns) = (BTreeMap::new(), BTreeMap::new());
    let mut segments = 0;
    for meta in catalog.state().segments.values().filter(|meta| meta.kind == SegmentKind::Logs) {
        let sizes = LogSegment::open(Arc::clone(&store), meta).await?.sizes();
        add(&mut sections, sizes.sections);
        add(&mut columns, sizes.columns);
        segments += 1;
    }
    let stored_bytes = stage.stored_bytes().await?;
    Ok(Indexed {
        index_raw_mb_per_cpu_s: 0.0,
        index_cpu_seconds: 0.0,
        index_wall_seconds: 0.0,
        stored_bytes,
        stored_bytes_per_raw_byte: stored_bytes as f64 / raw_bytes.max(1) as f64,
        segments,
        stored_bytes_by_section: sections,
        stored_bytes_by_column: columns,
    })
}
