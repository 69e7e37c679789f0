//! Which crate may depend on which, and who alone may name a heavy dependency.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::repository;

/// Members each crate may depend on, tests left aside.
const ARROWS: [(&str, &[&str]); 9] = [
    ("runtime", &[]),
    ("record", &[]),
    ("queue", &["record", "runtime"]),
    ("segment", &["record", "runtime"]),
    ("collector", &["queue", "record", "runtime"]),
    ("indexer", &["queue", "record", "runtime", "segment"]),
    ("query", &["record", "runtime", "segment"]),
    ("bench", &["collector", "indexer", "query", "queue", "record", "runtime", "segment"]),
    ("millrace", &["collector", "indexer", "query", "queue", "record", "runtime", "segment"]),
];

/// Who alone may depend on a crate from outside.
const OWNERS: [(&str, &[&str]); 5] = [
    ("rdkafka", &["queue"]),
    ("tantivy", &["segment", "indexer", "query"]),
    ("parquet", &["segment"]),
    ("inotify", &["collector"]),
    ("metrics-exporter-prometheus", &["runtime"]),
];

/// Every member's dependencies, tests' own left aside, by `cargo metadata`.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut all = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap().to_owned();
        let normal = package["dependencies"].as_array().unwrap().iter();
        let normal = normal.filter(|d| d["kind"].is_null());
        let names = normal.map(|d| d["name"].as_str().unwrap().to_owned()).collect();
        all.insert(name, names);
    }
    all
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let found = dependencies();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let members: BTreeSet<&str> = allowed.keys().copied().collect();
    assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), members);
    for (name, dependencies) in &found {
        for dependency in dependencies.iter().filter(|d| members.contains(d.as_str())) {
            let fine = allowed[name.as_str()].contains(&dependency.as_str());
            assert!(fine, "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn heavy_dependencies_stay_with_their_owners() {
    for (name, dependencies) in dependencies() {
        for (heavy, owners) in OWNERS {
            let fine = !dependencies.contains(heavy) || owners.contains(&name.as_str());
            assert!(fine, "{name} must not depend on {heavy}: only {owners:?} may");
        }
    }
}

#[test]
fn no_code_outside_the_queue_names_rdkafka() {
    let root = repository();
    for folder in ["src", "collector", "indexer", "query", "lib", "bench/src"] {
        visit(&root.join(folder), &mut |path, text| {
            let fine = path.starts_with(root.join("lib/queue")) || !text.contains("rdkafka");
            assert!(fine, "{} names rdkafka", path.display());
        });
    }
}

fn visit(folder: &Path, check: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, check);
        } else if path.extension().is_some_and(|e| e == "rs" || e == "toml") {
            check(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}
