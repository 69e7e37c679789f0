//! Which granules can hold an answer.
//!
//! Rules run from cheap to dear, and each only takes away: time bounds, streams, levels, words,
//! fragments, lengths and hashes of tokens, attributes. What a rule takes away is counted under its
//! name.
//!
//! What always holds: a granule with a row that satisfies the plan survives every rule. A granule
//! whose table is incomplete survives every question to that table.

use std::collections::{BTreeMap, BTreeSet};

use record::{DETECTED_LEVEL, MatchOp, Matcher};
use roaring::RoaringBitmap;

use super::condition::{CompiledNeedle, Condition, TermTest, TokenTest};
use super::granule::{Complete, Granule};
use super::index::GranuleIndex;
use super::plan::{CompiledFilter, CompiledPlan, LogPlan};
use super::token_filter::{attribute_hash, selective, token_hash};
use super::verdict::Verdict;
use crate::wire::Malformed;

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

/// What the plan says about all rows of a level; `None` is a row without.
///
/// As a label, an empty level says nothing: another attribute or the stream may have one.
pub(crate) fn level_verdict(level: Option<&str>, plan: &LogPlan) -> Verdict {
    let level = level.unwrap_or("");
    let refused = |matchers: &[Matcher]| {
        matchers.iter().any(|m| m.name() == DETECTED_LEVEL && !m.matches(level))
    };
    if refused(&plan.attribute_matchers) || (!level.is_empty() && refused(&plan.label_matchers)) {
        return Verdict::No;
    }
    let asked = plan.label_matchers.iter().any(|matcher| matcher.name() == DETECTED_LEVEL);
    if asked && level.is_empty() { Verdict::Perhaps } else { Verdict::Yes }
}

/// Granules with a row of a level that the plan does not refuse.
pub(crate) fn by_levels(
    index: &GranuleIndex,
    levels: &[Option<String>],
    plan: &LogPlan,
    candidates: RoaringBitmap,
) -> Result<RoaringBitmap, Malformed> {
    let mut accepted = RoaringBitmap::new();
    for (number, level) in levels.iter().enumerate() {
        if level_verdict(level.as_deref(), plan) != Verdict::No {
            accepted |= index.with_level(number as u32)?;
        }
    }
    Ok(candidates & accepted)
}

/// Granules in which each label that is asked for exactly is an attribute's or a stream's.
pub(crate) fn by_row_labels(
    plan: &CompiledPlan,
    index: &GranuleIndex,
    granules: &[Granule],
    hits: &TokenHits,
    mut candidates: RoaringBitmap,
) -> Result<RoaringBitmap, Malformed> {
    let open = select(granules, |granule| !granule.complete.tokens);
    let mut scratch = Vec::new();
    for matcher in exact(&plan.plan().label_matchers) {
        let (name, value) = (matcher.name(), matcher.value());
        if let Some(found) = hits.get(&attribute_hash(name, value, &mut scratch)) {
            candidates &= found | &open | index.with_label(name, value)?;
        }
    }
    Ok(candidates)
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

/// Every hash that [`by_attributes`], [`by_row_labels`] and [`TextPruner`] will ask for.
pub(crate) fn token_hashes(plan: &CompiledPlan) -> BTreeSet<u64> {
    let mut hashes: BTreeSet<u64> = exact_attributes(plan).collect();
    let mut scratch = Vec::new();
    let labels = exact(&plan.plan().label_matchers);
    hashes.extend(labels.map(|m| attribute_hash(m.name(), m.value(), &mut scratch)));
    for_each_needle(plan, |needle| {
        for token in &needle.tokens {
            // Others are not in the filter; not looked up, they tell nothing.
            if let TokenTest::Variable { exact: Some(exact), .. } = token
                && selective(exact.as_bytes(), exact.bytes().all(|byte| byte.is_ascii_digit()))
            {
                hashes.insert(token_hash(exact.as_bytes()));
            }
        }
    });
    hashes
}

fn for_each_needle<'a>(plan: &'a CompiledPlan, mut visit: impl FnMut(&'a CompiledNeedle)) {
    for test in plan.filters().iter().flat_map(|filter| &filter.tests) {
        test.condition.for_each_needle(&mut visit);
    }
}

/// Only a filter that must hit says what a line contains.
fn positive(plan: &CompiledPlan) -> impl Iterator<Item = &CompiledFilter> {
    plan.filters().iter().filter(|filter| !filter.negative)
}

fn exact_attributes(plan: &CompiledPlan) -> impl Iterator<Item = u64> {
    let mut scratch = Vec::new();
    exact(&plan.plan().attribute_matchers)
        .map(move |matcher| attribute_hash(matcher.name(), matcher.value(), &mut scratch))
}

/// Matchers that only one value satisfies, and one that the token filter would have: levels are
/// not in it.
fn exact(matchers: &[Matcher]) -> impl Iterator<Item = &Matcher> {
    matchers.iter().filter(|matcher| {
        let named = matcher.name() != DETECTED_LEVEL;
        named && matcher.op() == MatchOp::Eq && !matcher.value().is_empty()
    })
}

fn select(granules: &[Granule], wanted: impl Fn(&Granule) -> bool) -> RoaringBitmap {
    let numbered = granules.iter().zip(0_u32..);
    numbered.filter(|(granule, _)| wanted(granule)).map(|(_, number)| number).collect()
}

/// Prunes by what lines contain, and tells where variables are out of the question.
#[derive(Debug)]
pub(crate) struct TextPruner {
    /// By the needles' numbers.
    needles: Vec<NeedleGranules>,
}

/// Where one needle may be, by rule: each is within the one before.
#[derive(Clone, Debug, Default)]
struct NeedleGranules {
    /// By words, and by fragments where a word may be part of a variable.
    by_words: RoaringBitmap,
    /// By fragments of its variables too.
    by_fragments: RoaringBitmap,
    /// By their lengths too.
    by_lengths: RoaringBitmap,
    /// By their hashes too.
    by_tokens: RoaringBitmap,
    /// Such that a variable takes part.
    touching: RoaringBitmap,
}

/// What of a granule says that a text is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextRule {
    Words,
    Fragments,
    TokenLengths,
    Tokens,
}

impl TextRule {
    /// In the order in which they are tried.
    pub(crate) const ALL: [Self; 4] =
        [Self::Words, Self::Fragments, Self::TokenLengths, Self::Tokens];

    fn of(self, needle: &NeedleGranules) -> &RoaringBitmap {
        match self {
            Self::Words => &needle.by_words,
            Self::Fragments => &needle.by_fragments,
            Self::TokenLengths => &needle.by_lengths,
            Self::Tokens => &needle.by_tokens,
        }
    }
}

impl TextPruner {
    /// Looks every needle of `plan` up; `hits` answers [`token_hashes`].
    pub(crate) fn new(
        plan: &CompiledPlan,
        index: &GranuleIndex,
        granules: &[Granule],
        hits: &TokenHits,
    ) -> Result<Self, Malformed> {
        let lookup = Lookup::new(index, granules, hits);
        let mut needles = vec![NeedleGranules::default(); plan.needles()];
        let mut outcome = Ok(());
        for_each_needle(plan, |needle| match lookup.needle(needle) {
            Ok(found) => needles[needle.number] = found,
            Err(cause) => outcome = Err(cause),
        });
        outcome.map(|()| Self { needles })
    }

    /// Granules that a rule leaves.
    pub(crate) fn prune(
        &self,
        rule: TextRule,
        plan: &CompiledPlan,
        mut candidates: RoaringBitmap,
    ) -> RoaringBitmap {
        for filter in positive(plan) {
            let mut any = RoaringBitmap::new();
            for test in &filter.tests {
                any |= self.condition(&test.condition, &candidates, rule);
            }
            candidates = any;
        }
        candidates
    }

    /// Which needles may touch a variable of a granule's lines.
    pub(crate) fn touches(&self, granule: u32) -> Vec<bool> {
        self.needles.iter().map(|needle| needle.touching.contains(granule)).collect()
    }

    fn condition(
        &self,
        condition: &Condition,
        among: &RoaringBitmap,
        rule: TextRule,
    ) -> RoaringBitmap {
        match condition {
            Condition::Always => among.clone(),
            Condition::All(all) => {
                all.iter().fold(among.clone(), |left, part| self.condition(part, &left, rule))
            }
            Condition::Any(any) => any.iter().fold(RoaringBitmap::new(), |found, part| {
                found | self.condition(part, among, rule)
            }),
            Condition::Needle(needle) => rule.of(&self.needles[needle.number]) & among,
        }
    }
}

/// Asks index, filter and granule table about needles.
struct Lookup<'a> {
    index: &'a GranuleIndex,
    granules: &'a [Granule],
    hits: &'a TokenHits,
    all: RoaringBitmap,
    /// Granules whose words, fragments or tokens are not all there.
    open_words: RoaringBitmap,
    open_fragments: RoaringBitmap,
    open_tokens: RoaringBitmap,
}

impl<'a> Lookup<'a> {
    fn new(index: &'a GranuleIndex, granules: &'a [Granule], hits: &'a TokenHits) -> Self {
        let open = |complete: fn(Complete) -> bool| select(granules, |g| !complete(g.complete));
        Self {
            index,
            granules,
            hits,
            all: select(granules, |_| true),
            open_words: open(|complete| complete.words),
            open_fragments: open(|complete| complete.fragments),
            open_tokens: open(|complete| complete.tokens),
        }
    }

    fn needle(&self, needle: &CompiledNeedle) -> Result<NeedleGranules, Malformed> {
        let mut by_words = self.all.clone();
        let mut by_fragments = self.all.clone();
        let mut by_lengths = self.all.clone();
        let mut by_tokens = self.all.clone();
        let mut in_fragments = RoaringBitmap::new();
        let mut has_variable = false;
        for token in &needle.tokens {
            match token {
                TokenTest::Word(test) => by_words &= self.with_word(test)?,
                TokenTest::WordOrFragment(test) => {
                    let fragments = self.with_fragment(test)?;
                    in_fragments |= &fragments;
                    by_words &= self.with_word(test)? | fragments;
                }
                TokenTest::Variable { exact, bytes_min, open, fragments } => {
                    has_variable = true;
                    for fragment in fragments {
                        by_fragments &= self.with_fragment(fragment)?;
                    }
                    by_lengths &= self.with_at_least(*bytes_min);
                    if let Some(exact) = exact {
                        by_tokens &= self.with_token(exact) | self.with_longer(*open, exact);
                    }
                }
            }
        }
        by_fragments &= &by_words;
        by_lengths &= &by_fragments;
        by_tokens &= &by_lengths;
        // Without a digit in it, only its open ends can lie in a variable.
        let touching = if has_variable { by_tokens.clone() } else { &by_tokens & in_fragments };
        Ok(NeedleGranules { by_words, by_fragments, by_lengths, by_tokens, touching })
    }

    fn with_word(&self, test: &TermTest) -> Result<RoaringBitmap, Malformed> {
        Ok(self.index.with_word(test)? | &self.open_words)
    }

    fn with_fragment(&self, test: &TermTest) -> Result<RoaringBitmap, Malformed> {
        Ok(self.index.with_fragment(test)? | &self.open_fragments)
    }

    /// Granules that may hold a variable of at least this length.
    fn with_at_least(&self, bytes: usize) -> RoaringBitmap {
        select(self.granules, |granule| granule.lengths.has_at_least(bytes))
    }

    fn with_token(&self, token: &str) -> RoaringBitmap {
        match self.hits.get(&token_hash(token.as_bytes())) {
            Some(found) => found | &self.open_tokens,
            // Nobody looked it up: it tells nothing.
            None => self.all.clone(),
        }
    }

    /// Granules in which an open token may be part of a longer one.
    fn with_longer(&self, open: bool, token: &str) -> RoaringBitmap {
        select(self.granules, |granule| {
            open && granule.lengths.has_longer(token.len())
                && granule.runs.may_extend(token.as_bytes())
                && granule.grams.may_extend(token.as_bytes())
        })
    }
}
