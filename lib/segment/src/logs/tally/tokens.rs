//! The tokens of a granule, by their hashes.

/// Hashes that a granule has met lately, by their upper bits.
const RECENT_BITS: u32 = 12;

/// The hashes of a granule's tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    /// In the order they came. What repeats soon is in here once.
    hashes: Vec<u64>,
    recent: Vec<u64>,
}

impl Default for Tokens {
    fn default() -> Self {
        let mut tokens = Self { hashes: Vec::new(), recent: vec![0; 1 << RECENT_BITS] };
        tokens.clear();
        tokens
    }
}

impl Tokens {
    /// The hashes, each at least once.
    pub(super) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// False when the hash is known to be in already.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64) -> bool {
        let recent = &mut self.recent[(hash >> (u64::BITS - RECENT_BITS)) as usize];
        if *recent == hash {
            return false;
        }
        *recent = hash;
        self.hashes.push(hash);
        true
    }

    /// Leaves each hash in once.
    pub(super) fn distinct(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
    }

    pub(super) fn clear(&mut self) {
        self.hashes.clear();
        // Hashes that belong elsewhere stand for "none".
        self.recent.fill(0);
        self.recent[0] = u64::MAX;
    }
}
