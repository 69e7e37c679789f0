//! Whose bytes they are: what each tenant and namespace sends and what keeping it takes.
//!
//! Stored bytes are an estimate: a segment holds rows of many namespaces, and its bytes are shared
//! out by raw bytes, as if all compressed alike. Bytes are counted when a segment is published;
//! merging makes them fewer later.
//!
//! Always holds: the shares of a segment add up to its bytes. Bounded: the first `cost_pairs_max`
//! pairs of tenant and namespace are counted apart, all later ones together as [`OTHER`], so a
//! sender that makes names up costs no memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use record::{Labels, TenantId};

use crate::telemetry;

/// Label that says which namespace rows are of.
const NAMESPACE: &str = "namespace";

/// Namespace of rows without one, and tenant and namespace of pairs beyond the bound. Kubernetes
/// allows no name with brackets.
const NONE: &str = "(none)";
const OTHER: &str = "(other)";

/// Raw bytes by namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares(BTreeMap<Box<str>, u64>);

impl Shares {
    /// Adds raw bytes of a stream or series.
    pub(crate) fn add(&mut self, labels: &Labels, raw_bytes: u64) {
        let namespace = labels.get(NAMESPACE).unwrap_or(NONE);
        match self.0.get_mut(namespace) {
            Some(bytes) => *bytes += raw_bytes,
            None => {
                self.0.insert(namespace.into(), raw_bytes);
            }
        }
    }

    /// Shares out `bytes`; the largest share takes what rounding leaves.
    fn split(&self, bytes: u64) -> Vec<(&str, u64)> {
        let total: u64 = self.0.values().sum();
        let part = |raw: u64| {
            let part = u128::from(bytes) * u128::from(raw) / u128::from(total.max(1));
            u64::try_from(part).unwrap_or(bytes)
        };
        let mut parts: Vec<(&str, u64)> =
            self.0.iter().map(|(namespace, raw)| (namespace.as_ref(), part(*raw))).collect();
        let rest = bytes - parts.iter().map(|(_, part)| part).sum::<u64>().min(bytes);
        if let Some((_, largest)) = parts.iter_mut().max_by_key(|(_, part)| *part) {
            *largest += rest;
        }
        parts
    }
}

/// Counts bytes by tenant and namespace.
#[derive(Debug)]
pub(crate) struct Costs {
    pairs_max: usize,
    /// The pairs that are counted apart.
    pairs: Mutex<BTreeSet<(TenantId, Box<str>)>>,
}

impl Costs {
    pub(crate) fn new(pairs_max: usize) -> Self {
        Self { pairs_max, pairs: Mutex::default() }
    }

    /// Counts rows that were taken in.
    pub(crate) fn received(&self, kind: &'static str, tenant: &TenantId, shares: &Shares) {
        for (namespace, bytes) in &shares.0 {
            self.count(telemetry::COST_RAW_BYTES, kind, tenant, namespace, *bytes);
        }
    }

    /// Counts a segment of `bytes` that was published.
    pub(crate) fn published(
        &self,
        kind: &'static str,
        tenant: &TenantId,
        shares: &Shares,
        bytes: u64,
    ) {
        for (namespace, raw) in &shares.0 {
            self.count(telemetry::COST_PUBLISHED_RAW_BYTES, kind, tenant, namespace, *raw);
        }
        for (namespace, bytes) in shares.split(bytes) {
            self.count(telemetry::COST_STORED_BYTES, kind, tenant, namespace, bytes);
        }
    }

    fn count(
        &self,
        name: &'static str,
        kind: &'static str,
        tenant: &TenantId,
        namespace: &str,
        bytes: u64,
    ) {
        let (tenant, namespace) = self.names(tenant, namespace);
        metrics::counter!(name, "kind" => kind, "tenant" => tenant, "namespace" => namespace)
            .increment(bytes);
    }

    /// Returns the label values under which a pair is counted.
    fn names(&self, tenant: &TenantId, namespace: &str) -> (String, String) {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = (tenant.clone(), Box::from(namespace));
        if pairs.contains(&pair) || pairs.len() < self.pairs_max {
            pairs.insert(pair);
            return (tenant.as_str().to_owned(), namespace.to_owned());
        }
        (OTHER.to_owned(), OTHER.to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn shares(pairs: &[(&str, u64)]) -> Shares {
        let mut shares = Shares::default();
        for (namespace, bytes) in pairs {
            shares.add(&Labels::from_pairs([(NAMESPACE, namespace)]), *bytes);
        }
        shares
    }

    #[test]
    fn bytes_are_shared_out_by_raw_bytes() {
        let shares = shares(&[("a", 600), ("b", 300), ("", 100), ("a", 200)]);
        assert_eq!(shares.split(120), [(NONE, 10), ("a", 80), ("b", 30)]);
    }

    #[test]
    fn pairs_beyond_the_bound_share_a_name() {
        let costs = Costs::new(2);
        let tenant = |name: &str| TenantId::new(name).unwrap();
        let own = |t: &str, n: &str| (t.to_owned(), n.to_owned());
        assert_eq!(costs.names(&tenant("t"), "a"), own("t", "a"));
        assert_eq!(costs.names(&tenant("u"), "a"), own("u", "a"));
        assert_eq!(costs.names(&tenant("t"), "b"), own(OTHER, OTHER));
        assert_eq!(costs.names(&tenant("t"), "a"), own("t", "a"));
    }

    proptest! {
        #[test]
        fn shares_add_up(raw in prop::collection::vec(any::<u32>(), 1..9), bytes in any::<u64>()) {
            let names: Vec<String> = (0..raw.len()).map(|n| format!("n{n}")).collect();
            let pairs: Vec<(&str, u64)> =
                names.iter().map(String::as_str).zip(raw.iter().map(|r| u64::from(*r))).collect();
            let shares = shares(&pairs);
            let split = shares.split(bytes);
            prop_assert_eq!(split.iter().map(|(_, part)| part).sum::<u64>(), bytes);
        }
    }
}
