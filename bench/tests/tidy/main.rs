//! What must hold of the repository itself: the arrows between crates, dashboards that ask only
//! for metrics that exist, no large files, and ports of its own for each server of the tests.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod arrows;
mod dashboards;
mod files;
mod ports;

use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    // This file is built by the root package.
    assert!(manifest.join("ARCHITECTURE.md").is_file(), "{manifest:?} is not the repository");
    manifest.to_owned()
}
