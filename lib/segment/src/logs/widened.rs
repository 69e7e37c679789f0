//! Frames that segments built before have widened.
//!
//! One segment after the other has lines of the same frames ([`super::frame`]), and each would find
//! out anew which of their places change: it would learn a pattern for every word it saw until then,
//! thousands a segment, hardly any of which another line has. So a builder begins with what those
//! before it have widened.
//!
//! What always holds: this changes size and speed alone. A frame is forgotten between
//! [`SEGMENTS_KEPT`] and twice as many segments after a place of it was last found to change, so
//! words that have stopped changing get into patterns again, where they are found without reading
//! lines.
//!
//! On a crash all of it is gone, and the next segment finds out anew.
//!
//! Bounds: twice [`FRAMES_KEPT_MAX`]; the places of one are those of a pattern.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Segments after which what was widened meanwhile is only kept for as many more.
const SEGMENTS_KEPT: usize = 64;

/// Frames after which the same happens, however few segments they come from.
const FRAMES_KEPT_MAX: usize = 4_096;

/// By the hash of a frame: whether each of its places is widened, a bit each.
type Frames = HashMap<u64, Vec<u64>>;

/// Frames that segments before have widened, for those to come. Clones are of one memory, which
/// builders on several threads share.
#[derive(Clone, Debug, Default)]
pub struct WidenedFrames {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    newer: Frames,
    older: Frames,
    /// Since `newer` was empty.
    segments: usize,
}

impl WidenedFrames {
    /// Every frame that is known, once.
    pub(crate) fn all(&self) -> Frames {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = kept.older.clone();
        all.extend(kept.newer.iter().map(|(hash, wide)| (*hash, wide.clone())));
        all
    }

    /// Keeps the frames in which a segment has found more places that change.
    pub(crate) fn keep<'a>(&self, widened: impl Iterator<Item = (u64, &'a [u64])>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (hash, wide) in widened {
            if kept.newer.len() == FRAMES_KEPT_MAX {
                kept.grow_old();
            }
            kept.newer.insert(hash, wide.to_vec());
        }
        kept.segments += 1;
        if kept.segments == SEGMENTS_KEPT {
            kept.grow_old();
        }
    }
}

impl Kept {
    fn grow_old(&mut self) {
        self.older = std::mem::take(&mut self.newer);
        self.segments = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_widened_long_ago_is_forgotten() {
        let frames = WidenedFrames::default();
        frames.keep([(7, &[1][..])].into_iter());
        frames.clone().keep([(8, &[2][..]), (7, &[3])].into_iter());
        assert_eq!(frames.all(), Frames::from([(7, vec![3]), (8, vec![2])]));
        let segments = |count: usize| (0..count).for_each(|_| frames.keep([].into_iter()));
        segments(SEGMENTS_KEPT - 2);
        frames.keep([(8, &[6][..])].into_iter());
        assert_eq!(frames.all(), Frames::from([(7, vec![3]), (8, vec![6])]), "the newer one");
        segments(SEGMENTS_KEPT - 1);
        assert_eq!(frames.all(), Frames::from([(8, vec![6])]));
        segments(SEGMENTS_KEPT);
        assert_eq!(frames.all(), Frames::new());
    }

    #[test]
    fn no_more_are_kept_than_the_bound() {
        let frames = WidenedFrames::default();
        for hash in 0..3 * FRAMES_KEPT_MAX as u64 {
            frames.keep([(hash, &[1][..])].into_iter());
            assert!(frames.all().len() <= 2 * FRAMES_KEPT_MAX);
        }
        let hashes = 0..4 * FRAMES_KEPT_MAX as u64;
        frames.keep(hashes.map(|hash| (hash, &[1][..])));
        assert!(frames.all().len() <= 2 * FRAMES_KEPT_MAX);
    }
}
