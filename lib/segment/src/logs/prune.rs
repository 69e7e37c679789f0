//! Which granules can hold an answer.
//!
//! Rules run from cheap to dear, and each only takes away: time bounds, streams, words and
//! fragments, tokens. What a rule takes away is counted under its name.
//!
//! What always holds: a granule with a row that satisfies the plan survives every rule. A granule
//! whose table is incomplete survives every question to that table.

use std::collections::{BTreeMap, BTreeSet};

use record::{DETECTED_LEVEL, MatchOp, Matcher};
use roaring::RoaringBitmap;

use super::condition::{CompiledNeedle, Condition, TermTest, TokenTest};
use super::granule::{Complete, Granule};
use super::index::GranuleIndex;
use super::plan::{CompiledFilter, CompiledPlan};
use super::token_filter::{attribute_hash, token_hash};
use super::wire::Malformed;

/// The granules each looked-up hash may be in.
pub(crate) type TokenHits = BTreeMap<u64, RoaringBitmap>;

/// Granules that overlap the plan's time range.
pub(crate) fn by_time(granules: &[Granule], plan: &CompiledPlan) -> RoaringBitmap {
    let (start, end) = (plan.plan().start_ns, plan.plan().end_ns);
    select(granules, |granule| start < end && granule.overlaps(start, end))
}

/// Granules in which the labels that `matchers` ask for exactly occur.
///
/// Weaker than [`by_streams`], but costs a few term lookups instead of reading every label set.
pub(crate) fn by_labels(
    index: &GranuleIndex,
    matchers: &[Matcher],
    mut candidates: RoaringBitmap,
) -> Result<RoaringBitmap, Malformed> {
    let exact = |matcher: &&Matcher| matcher.op() == MatchOp::Eq && !matcher.value().is_empty();
    for matcher in matchers.iter().filter(exact) {
        candidates &= index.with_label(matcher.name(), matcher.value())?;
    }
    Ok(candidates)
}

/// Granules with a row of a stream that `wanted` has.
pub(crate) fn by_streams(granules: &[Granule], wanted: &[bool]) -> RoaringBitmap {
    select(granules, |granule| {
        granule.streams.clone().any(|stream| wanted.get(stream as usize) == Some(&true))
    })
}

/// Granules with a row of a level that every matcher of the level accepts.
pub(crate) fn by_levels(
    index: &GranuleIndex,
    levels: &[Option<String>],
    matchers: &[Matcher],
    mut candidates: RoaringBitmap,
) -> Result<RoaringBitmap, Malformed> {
    for matcher in matchers.iter().filter(|matcher| matcher.name() == DETECTED_LEVEL) {
        let mut accepted = RoaringBitmap::new();
        for (number, level) in levels.iter().enumerate() {
            if matcher.matches(level.as_deref().unwrap_or("")) {
                accepted |= index.with_level(number as u32)?;
            }
        }
        candidates &= accepted;
    }
    Ok(candidates)
}

/// Granules whose words are not all in the index, such as those with lines without a pattern.
pub(crate) fn with_incomplete_words(granules: &[Granule]) -> RoaringBitmap {
    select(granules, |granule| !granule.complete.words)
}

/// Granules with a row that has each attribute the plan asks for exactly.
pub(crate) fn by_attributes(
    plan: &CompiledPlan,
    granules: &[Granule],
    hits: &TokenHits,
    mut candidates: RoaringBitmap,
) -> RoaringBitmap {
    let open = select(granules, |granule| !granule.complete.tokens);
    for found in exact_attributes(plan).filter_map(|hash| hits.get(&hash)) {
        candidates &= found | &open;
    }
    candidates
}

/// Every hash that [`by_attributes`] and [`TextPruner::by_tokens`] will ask for.
pub(crate) fn token_hashes(plan: &CompiledPlan) -> BTreeSet<u64> {
    let mut hashes = BTreeSet::new();
    for test in positive(plan).flat_map(|filter| &filter.tests) {
        test.condition.for_each_needle(&mut |needle| {
            for token in &needle.tokens {
                if let TokenTest::Variable { exact: Some(exact), .. } = token {
                    hashes.insert(token_hash(exact.as_bytes()));
                }
            }
        });
    }
    hashes.extend(exact_attributes(plan));
    hashes
}

/// Whether words or fragments can take granules away.
pub(crate) fn asks_for_text(plan: &CompiledPlan) -> bool {
    let asks = |filter: &CompiledFilter| {
        filter.tests.iter().all(|test| !matches!(test.condition, Condition::Always))
    };
    positive(plan).any(asks)
}

/// Only a filter that must hit says what a line contains.
fn positive(plan: &CompiledPlan) -> impl Iterator<Item = &CompiledFilter> {
    plan.filters().iter().filter(|filter| !filter.negative)
}

fn exact_attributes(plan: &CompiledPlan) -> impl Iterator<Item = u64> {
    let exact = |matcher: &&Matcher| {
        let named = matcher.name() != DETECTED_LEVEL;
        named && matcher.op() == MatchOp::Eq && !matcher.value().is_empty()
    };
    let mut scratch = Vec::new();
    let matchers = plan.plan().attribute_matchers.iter().filter(exact);
    matchers.map(move |matcher| attribute_hash(matcher.name(), matcher.value(), &mut scratch))
}

fn select(granules: &[Granule], wanted: impl Fn(&Granule) -> bool) -> RoaringBitmap {
    let numbered = granules.iter().zip(0_u32..);
    numbered.filter(|(granule, _)| wanted(granule)).map(|(_, number)| number).collect()
}

/// Prunes by what lines contain.
#[derive(Debug)]
pub(crate) struct TextPruner<'a> {
    index: &'a GranuleIndex,
    granules: &'a [Granule],
    /// Granules whose words, fragments or tokens are not all there.
    open_words: RoaringBitmap,
    open_fragments: RoaringBitmap,
    open_tokens: RoaringBitmap,
}

/// How far a condition is looked into.
#[derive(Clone, Copy, Debug)]
enum Depth<'a> {
    Words,
    Tokens(&'a TokenHits),
}

impl<'a> TextPruner<'a> {
    pub(crate) fn new(index: &'a GranuleIndex, granules: &'a [Granule]) -> Self {
        let open = |complete: fn(Complete) -> bool| select(granules, |g| !complete(g.complete));
        Self {
            index,
            granules,
            open_words: open(|complete| complete.words),
            open_fragments: open(|complete| complete.fragments),
            open_tokens: open(|complete| complete.tokens),
        }
    }

    /// Granules whose words and fragments allow a row.
    pub(crate) fn by_words(
        &self,
        plan: &CompiledPlan,
        candidates: RoaringBitmap,
    ) -> Result<RoaringBitmap, Malformed> {
        self.by_filters(plan, candidates, Depth::Words)
    }

    /// Granules whose tokens allow a row; `hits` answers [`token_hashes`].
    pub(crate) fn by_tokens(
        &self,
        plan: &CompiledPlan,
        hits: &TokenHits,
        candidates: RoaringBitmap,
    ) -> Result<RoaringBitmap, Malformed> {
        self.by_filters(plan, candidates, Depth::Tokens(hits))
    }

    fn by_filters(
        &self,
        plan: &CompiledPlan,
        mut candidates: RoaringBitmap,
        depth: Depth<'_>,
    ) -> Result<RoaringBitmap, Malformed> {
        for filter in positive(plan) {
            let mut any = RoaringBitmap::new();
            for test in &filter.tests {
                any |= self.condition(&test.condition, &candidates, depth)?;
            }
            candidates = any;
        }
        Ok(candidates)
    }

    fn condition(
        &self,
        condition: &Condition,
        among: &RoaringBitmap,
        depth: Depth<'_>,
    ) -> Result<RoaringBitmap, Malformed> {
        match condition {
            Condition::Always => Ok(among.clone()),
            Condition::All(all) => {
                let mut left = among.clone();
                for part in all {
                    left = self.condition(part, &left, depth)?;
                }
                Ok(left)
            }
            Condition::Any(any) => {
                let mut found = RoaringBitmap::new();
                for part in any {
                    found |= self.condition(part, among, depth)?;
                }
                Ok(found)
            }
            Condition::Needle(needle) => self.needle(needle, among.clone(), depth),
        }
    }

    fn needle(
        &self,
        needle: &CompiledNeedle,
        mut left: RoaringBitmap,
        depth: Depth<'_>,
    ) -> Result<RoaringBitmap, Malformed> {
        for token in &needle.tokens {
            if left.is_empty() {
                break;
            }
            left &= match (token, depth) {
                (TokenTest::Word(test), _) => self.with_word(test)?,
                (TokenTest::WordOrFragment(test), _) => {
                    self.with_word(test)? | self.with_fragment(test)?
                }
                (TokenTest::Variable { exact: Some(exact), open, .. }, Depth::Tokens(hits)) => {
                    self.with_token(hits, token_hash(exact.as_bytes()))
                        | self.with_longer(*open, exact.len())
                }
                (TokenTest::Variable { fragments, bytes_min, .. }, _) => {
                    self.with_variable(fragments, *bytes_min)?
                }
            };
        }
        Ok(left)
    }

    /// Granules in which an open token of this length may be part of a longer one.
    fn with_longer(&self, open: bool, bytes: usize) -> RoaringBitmap {
        select(self.granules, |granule| open && granule.lengths.has_longer(bytes))
    }

    /// Granules that may hold a variable of these fragments and at least this length.
    fn with_variable(
        &self,
        fragments: &[TermTest],
        bytes_min: usize,
    ) -> Result<RoaringBitmap, Malformed> {
        let mut left = select(self.granules, |granule| granule.lengths.has_at_least(bytes_min));
        for fragment in fragments {
            left &= self.with_fragment(fragment)?;
        }
        Ok(left)
    }

    fn with_word(&self, test: &TermTest) -> Result<RoaringBitmap, Malformed> {
        Ok(self.index.with_word(test)? | &self.open_words)
    }

    fn with_fragment(&self, test: &TermTest) -> Result<RoaringBitmap, Malformed> {
        Ok(self.index.with_fragment(test)? | &self.open_fragments)
    }

    fn with_token(&self, hits: &TokenHits, hash: u64) -> RoaringBitmap {
        match hits.get(&hash) {
            Some(found) => found | &self.open_tokens,
            // Nobody looked it up: it tells nothing.
            None => select(self.granules, |_| true),
        }
    }
}
