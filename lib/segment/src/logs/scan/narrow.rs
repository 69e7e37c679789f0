//! From all granules to those that can hold an answer: the first two steps of a scan.
//!
//! What always holds: a granule with a row that satisfies the plan is left.

use std::collections::BTreeMap;

use bytes::Bytes;
use record::DETECTED_LEVEL;
use roaring::RoaringBitmap;

use super::core::{ScanCore, WantedBlock};
use crate::logs::error::SegmentError;
use crate::logs::prune::{self, TextPruner, TokenHits};
use crate::logs::sections::{INDEX, TOKENS};
use crate::logs::segment::{Fetched, Part, checked};
use crate::logs::streams::matching_streams;
use crate::logs::verdict::{CombinationId, PatternVerdicts, Verdict};

impl ScanCore {
    /// The parts this plan needs that no one has read yet.
    pub(super) fn parts(&self) -> Vec<Part> {
        let levels = self.leaves.level_decides() || self.leaves.level_wanted();
        let needed = [
            (Part::Streams, true),
            (Part::Levels, levels),
            (Part::Patterns, self.leaves.patterns()),
            (Part::Index, self.needs_index()),
        ];
        let missing = |(part, needed): &&(Part, bool)| *needed && !self.segment.loaded(*part);
        needed.iter().filter(missing).map(|(part, _)| *part).collect()
    }

    fn needs_index(&self) -> bool {
        0 < self.plan.needles() || self.leaves.level_decides()
    }

    pub(super) fn blocks(&self) -> Vec<WantedBlock> {
        let mut blocks: BTreeMap<u64, WantedBlock> = BTreeMap::new();
        for hash in prune::token_hashes(&self.plan) {
            let range = self.segment.token_directory().block(hash);
            let start = range.bytes.start;
            let block = blocks.entry(start).or_insert(WantedBlock { range, hashes: Vec::new() });
            block.hashes.push(hash);
        }
        blocks.into_values().collect()
    }

    /// Keeps the parts that were read and takes away every granule that no rule lets through.
    pub(super) fn prune(
        &mut self,
        candidates: RoaringBitmap,
        parts: &[Part],
        blocks: &[WantedBlock],
        fetched: &Fetched,
    ) -> Result<RoaringBitmap, SegmentError> {
        for (part, sections) in parts.iter().zip(&fetched.parts) {
            self.segment.keep(*part, sections)?;
        }
        let hits = self.look_up(blocks, &fetched.tokens)?;
        let before = candidates.len();
        let candidates = self.prune_by_streams(candidates)?;
        self.stats.granules_pruned_by_streams = before - candidates.len();
        let text = self.look_up_text(&hits)?;
        let before = candidates.len();
        let candidates = self.prune_by_words(text.as_ref(), candidates)?;
        self.stats.granules_pruned_by_words = before - candidates.len();
        let before = candidates.len();
        let granules = &self.segment.granules().granules;
        let mut candidates = prune::by_attributes(&self.plan, granules, &hits, candidates);
        if let Some(text) = &text {
            candidates = text.by_tokens(&self.plan, candidates);
        }
        self.stats.granules_pruned_by_tokens = before - candidates.len();
        Ok(candidates)
    }

    fn look_up(
        &self,
        blocks: &[WantedBlock],
        fetched: &[Bytes],
    ) -> Result<TokenHits, SegmentError> {
        let granules = self.segment.granules().granules.len() as u32;
        let damaged = |cause| self.segment.damaged(TOKENS, cause);
        let mut hits = TokenHits::new();
        for (block, bytes) in blocks.iter().zip(fetched) {
            checked(block.range.crc, bytes).map_err(damaged)?;
            for hash in &block.hashes {
                let directory = self.segment.token_directory();
                let found = directory.lookup(bytes, *hash, granules).map_err(damaged)?;
                hits.insert(*hash, found);
            }
        }
        Ok(hits)
    }

    fn prune_by_streams(
        &mut self,
        mut candidates: RoaringBitmap,
    ) -> Result<RoaringBitmap, SegmentError> {
        let damaged = |cause| self.segment.damaged(INDEX, cause);
        let plan = self.plan.plan();
        if self.needs_index() {
            let index = self.segment.index()?;
            candidates = prune::by_labels(index, &plan.matchers, candidates).map_err(damaged)?;
        }
        if candidates.is_empty() {
            return Ok(candidates);
        }
        let wanted = matching_streams(self.segment.stream_table()?, &plan.matchers);
        candidates &= prune::by_streams(&self.segment.granules().granules, &wanted);
        if self.leaves.level_decides() {
            let (index, levels) = (self.segment.index()?, self.segment.level_table()?);
            let matchers = &plan.attribute_matchers;
            candidates = prune::by_levels(index, levels, matchers, candidates).map_err(damaged)?;
            let accepts = |level: &Option<String>| {
                let level = level.as_deref().unwrap_or("");
                let of_level = matchers.iter().filter(|m| m.name() == DETECTED_LEVEL);
                of_level.into_iter().all(|matcher| matcher.matches(level))
            };
            self.decider.levels = Some(levels.iter().map(accepts).collect());
        }
        self.decider.streams = wanted;
        Ok(candidates)
    }

    fn look_up_text(&self, hits: &TokenHits) -> Result<Option<TextPruner>, SegmentError> {
        if self.plan.needles() == 0 {
            return Ok(None);
        }
        let (index, granules) = (self.segment.index()?, &self.segment.granules().granules);
        let pruner = TextPruner::new(&self.plan, index, granules, hits);
        pruner.map(Some).map_err(|cause| self.segment.damaged(INDEX, cause))
    }

    /// Takes away granules that no line filter lets through, by words, fragments and patterns; what
    /// is left gets the verdicts that go with the variables it may have.
    fn prune_by_words(
        &mut self,
        text: Option<&TextPruner>,
        candidates: RoaringBitmap,
    ) -> Result<RoaringBitmap, SegmentError> {
        let filters = self.plan.filters();
        if filters.is_empty() {
            return Ok(candidates);
        }
        let granules = &self.segment.granules().granules;
        let patterns = self.segment.pattern_table()?;
        let mut verdicts = PatternVerdicts::new(patterns);
        let candidates = match text {
            Some(text) => text.by_words(&self.plan, candidates),
            None => candidates,
        };
        let mut left = RoaringBitmap::new();
        let mut possible: Vec<(CombinationId, bool)> = Vec::new();
        for granule in candidates {
            let touches = text.map(|text| text.touches(granule)).unwrap_or_default();
            let combination = verdicts.combination(touches);
            let known = possible.iter().find(|(known, _)| *known == combination);
            let some_pattern = known.map(|(_, possible)| *possible).unwrap_or_else(|| {
                let some = (1..=patterns.len() as u32).any(|number| {
                    verdicts.verdict(filters, patterns, combination, number) != Verdict::No
                });
                possible.push((combination, some));
                some
            });
            // Where words are incomplete there may be lines without a pattern.
            if some_pattern || !granules[granule as usize].complete.words {
                left.insert(granule);
                self.decider.combinations.insert(granule, combination);
            }
        }
        self.decider.verdicts = Some(verdicts);
        Ok(left)
    }
}
