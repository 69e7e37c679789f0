//! From all granules to those that can hold an answer: the first two steps of a scan.
//!
//! What always holds: a granule with a row that satisfies the plan is left.

use std::collections::BTreeMap;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::core::{ScanCore, WantedBlock};
use crate::logs::error::SegmentError;
use crate::logs::prune::{self, TextPruner, TextRule, TokenHits};
use crate::logs::sections::{INDEX, TOKENS};
use crate::logs::segment::{Fetched, Part, checked};
use crate::logs::streams::matching_streams;
use crate::logs::verdict::{CombinationId, PatternVerdicts, Verdict};

impl ScanCore {
    /// The parts this plan needs first that no one has read yet. Patterns take more room than all
    /// others together, and a needle mostly leaves no granule for which they are needed.
    pub(super) fn parts(&self) -> Vec<Part> {
        let needed = [
            (Part::Streams, true),
            (Part::Levels, self.leaves.level_read() || self.by_minute),
            (Part::Patterns, self.leaves.patterns_read() && self.plan.needles() == 0),
            (Part::Index, self.needs_index()),
            (Part::Volume, self.by_minute),
        ];
        let missing = |(part, needed): &&(Part, bool)| *needed && !self.segment.loaded(*part);
        needed.iter().filter(missing).map(|(part, _)| *part).collect()
    }

    fn needs_index(&self) -> bool {
        0 < self.plan.needles()
            || self.leaves.level_decides()
            || !self.plan.plan().label_matchers.is_empty()
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

    /// Whether patterns have to be read for the granules that are left.
    pub(super) fn patterns_missing(&self, left: &RoaringBitmap) -> bool {
        let read = self.leaves.patterns_read() && !self.segment.loaded(Part::Patterns);
        read && !left.is_empty()
    }

    /// Keeps the parts that were read and takes away every granule that no rule lets through, but
    /// for [`ScanCore::prune_by_patterns`].
    pub(super) fn prune(
        &mut self,
        candidates: RoaringBitmap,
        parts: &[Part],
        blocks: &[WantedBlock],
        fetched: &Fetched,
    ) -> Result<(RoaringBitmap, Option<TextPruner>), SegmentError> {
        for (part, sections) in parts.iter().zip(&fetched.parts) {
            self.segment.keep(*part, sections)?;
        }
        let hits = self.look_up(blocks, &fetched.tokens)?;
        let candidates = self.prune_by_streams(candidates)?;
        let candidates = self.prune_by_levels(candidates)?;
        let text = self.look_up_text(&hits)?;
        let candidates = self.prune_by_text(text.as_ref(), candidates);
        let candidates = self.prune_by_attributes(&hits, candidates)?;
        Ok((candidates, text))
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
        let before = candidates.len();
        let plan = self.plan.plan();
        if self.needs_index() {
            let index = self.segment.index()?;
            candidates = prune::by_labels(index, &plan.matchers, candidates).map_err(damaged)?;
        }
        if !candidates.is_empty() {
            let wanted = matching_streams(self.segment.stream_table()?, &plan.matchers);
            candidates &= prune::by_streams(&self.segment.granules().granules, &wanted);
            self.decider.streams = wanted;
        }
        self.stats.granules_pruned_by_streams = before - candidates.len();
        Ok(candidates)
    }

    fn prune_by_levels(
        &mut self,
        candidates: RoaringBitmap,
    ) -> Result<RoaringBitmap, SegmentError> {
        if candidates.is_empty() || !self.leaves.level_decides() {
            return Ok(candidates);
        }
        let before = candidates.len();
        let plan = self.plan.plan();
        let (index, levels) = (self.segment.index()?, self.segment.level_table()?);
        let left = prune::by_levels(index, levels, plan, candidates)
            .map_err(|cause| self.segment.damaged(INDEX, cause))?;
        let verdict = |level: &Option<String>| prune::level_verdict(level.as_deref(), plan);
        self.decider.levels = Some(levels.iter().map(verdict).collect());
        self.stats.granules_pruned_by_levels = before - left.len();
        Ok(left)
    }

    fn prune_by_attributes(
        &mut self,
        hits: &TokenHits,
        candidates: RoaringBitmap,
    ) -> Result<RoaringBitmap, SegmentError> {
        let before = candidates.len();
        let granules = &self.segment.granules().granules;
        let mut left = prune::by_attributes(&self.plan, granules, hits, candidates);
        if !self.plan.plan().label_matchers.is_empty() {
            left = prune::by_row_labels(&self.plan, self.segment.index()?, granules, hits, left)
                .map_err(|cause| self.segment.damaged(INDEX, cause))?;
        }
        self.stats.granules_pruned_by_attributes = before - left.len();
        Ok(left)
    }

    fn look_up_text(&self, hits: &TokenHits) -> Result<Option<TextPruner>, SegmentError> {
        if self.plan.needles() == 0 {
            return Ok(None);
        }
        let (index, granules) = (self.segment.index()?, &self.segment.granules().granules);
        let pruner = TextPruner::new(&self.plan, index, granules, hits);
        pruner.map(Some).map_err(|cause| self.segment.damaged(INDEX, cause))
    }

    /// Takes away granules that no line filter lets through, rule by rule.
    fn prune_by_text(
        &mut self,
        text: Option<&TextPruner>,
        mut candidates: RoaringBitmap,
    ) -> RoaringBitmap {
        let Some(text) = text else { return candidates };
        for rule in TextRule::ALL {
            let before = candidates.len();
            candidates = text.prune(rule, &self.plan, candidates);
            let pruned = before - candidates.len();
            match rule {
                TextRule::Words => self.stats.granules_pruned_by_words = pruned,
                TextRule::Fragments => self.stats.granules_pruned_by_fragments = pruned,
                TextRule::TokenLengths => self.stats.granules_pruned_by_token_lengths = pruned,
                TextRule::Tokens => self.stats.granules_pruned_by_tokens = pruned,
            }
        }
        candidates
    }

    /// Takes away granules that no pattern lets a line through of; what is left gets the verdicts
    /// that go with the variables it may have.
    pub(super) fn prune_by_patterns(
        &mut self,
        text: Option<&TextPruner>,
        candidates: RoaringBitmap,
    ) -> Result<RoaringBitmap, SegmentError> {
        let filters = self.plan.filters();
        if filters.is_empty() || candidates.is_empty() {
            return Ok(candidates);
        }
        let granules = &self.segment.granules().granules;
        let patterns = self.segment.pattern_table()?;
        let mut verdicts = PatternVerdicts::new(filters, patterns);
        let before = candidates.len();
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
        self.stats.granules_pruned_by_patterns = before - left.len();
        Ok(left)
    }
}
