//! What line filters say about a pattern, and so about all its lines at once.
//!
//! - **Yes**: every line of the pattern passes; no line is read.
//! - **No**: no line of it passes; no line is read.
//! - **Perhaps**: a variable could decide; lines are read, and only for the filters that are open.
//!
//! What always holds: yes and no are exact. Number 0, "none", is always perhaps.

use regex_syntax::hir::Hir;

use super::condition::{Condition, NeedleNumbers, Touches};
use super::pattern::{PLACEHOLDER, PatternTable, TOKEN_PLACEHOLDER};
use super::plan::{CompiledFilter, LineTest};
use super::token::{ByteClass, class};

/// One alternative of a line filter, with what it says about patterns and granules.
#[derive(Clone, Debug)]
pub(crate) struct AnalysedTest {
    pub(crate) test: LineTest,
    pub(crate) condition: Condition,
    /// Whether a hit on part of a line is a hit on the line: true unless the expression looks
    /// around (`^`, `$`, `\b`).
    context_free: bool,
    /// The number of the one needle, where it is a text without separators: it lies within a token.
    token: Option<usize>,
}

/// What is known about a filter's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Yes,
    No,
    Perhaps,
}

impl AnalysedTest {
    pub(crate) fn new(test: LineTest, numbers: &mut NeedleNumbers) -> Self {
        let (condition, context_free) = match &test {
            LineTest::Contains(finder) => match std::str::from_utf8(finder.needle()) {
                Ok(text) => (Condition::of_text(text, numbers), true),
                Err(_) => (Condition::Always, true),
            },
            // `Regex` was built from this text with the parser's defaults, so the trees agree.
            LineTest::Regex(regex) => match regex_syntax::parse(regex.as_str()) {
                Ok(hir) => (Condition::of_regex(&hir, numbers), looks_nowhere(&hir)),
                Err(_) => (Condition::Always, false),
            },
        };
        let token = match (&test, &condition) {
            (LineTest::Contains(finder), Condition::Needle(needle)) => {
                let within = finder.needle().iter().all(|b| class(*b) != ByteClass::Separator);
                within.then_some(needle.number)
            }
            _ => None,
        };
        Self { test, condition, context_free, token }
    }

    fn verdict(&self, pattern: &[u8], touches: &Touches) -> Verdict {
        if memchr::memchr2(PLACEHOLDER, TOKEN_PLACEHOLDER, pattern).is_none() {
            return match std::str::from_utf8(pattern) {
                Ok(line) if self.test.hits(line) => Verdict::Yes,
                Ok(_) => Verdict::No,
                Err(_) => Verdict::Perhaps,
            };
        }
        if self.context_free && self.hits_static_text(pattern) {
            return Verdict::Yes;
        }
        let perhaps = match self.token {
            // It is not in the static text, so it must be in what stands in a placeholder's place.
            Some(needle) => {
                touches.get(needle).copied().unwrap_or(true)
                    || memchr::memchr(TOKEN_PLACEHOLDER, pattern).is_some()
            }
            None => self.condition.pattern_may_satisfy(pattern, touches),
        };
        if perhaps { Verdict::Perhaps } else { Verdict::No }
    }

    /// The verdicts on all patterns, in order; `None` where they have to be looked at one by one.
    fn verdicts(&self, patterns: &PatternTable, touches: &Touches) -> Option<Vec<Verdict>> {
        let (Some(needle), LineTest::Contains(finder)) = (self.token, &self.test) else {
            return None;
        };
        let touched = touches.get(needle).copied().unwrap_or(true);
        let missed = |number: u32| match patterns.placeholders(number).0 {
            [] => Verdict::No,
            _ if touched || patterns.widened(number) => Verdict::Perhaps,
            _ => Verdict::No,
        };
        let mut verdicts: Vec<Verdict> = (1..=patterns.len() as u32).map(missed).collect();
        let (bytes, ends) = (patterns.bytes(), patterns.ends());
        let (mut from, mut at) = (0, 0);
        while let Some(found) = finder.find(&bytes[from..]).map(|found| from + found) {
            at += ends[at..].partition_point(|end| *end <= found);
            let Some(end) = ends.get(at) else { break };
            // What begins in one pattern and ends in the next is in neither.
            let within = found + finder.needle().len() <= *end;
            if within {
                verdicts[at] = Verdict::Yes;
            }
            from = if within { *end } else { found + 1 };
        }
        Some(verdicts)
    }

    fn hits_static_text(&self, pattern: &[u8]) -> bool {
        match &self.test {
            // No text has placeholders in it, so it is found between them.
            LineTest::Contains(finder) => finder.find(pattern).is_some(),
            LineTest::Regex(_) => pattern
                .split(|byte| matches!(*byte, PLACEHOLDER | TOKEN_PLACEHOLDER))
                .filter_map(|stretch| std::str::from_utf8(stretch).ok())
                .any(|stretch| self.test.hits(stretch)),
        }
    }
}

fn looks_nowhere(hir: &Hir) -> bool {
    hir.properties().look_set().is_empty()
}

impl Verdict {
    /// Of two that both have to hold.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Perhaps,
        }
    }

    /// The opposite.
    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Perhaps => Self::Perhaps,
        }
    }
}

impl CompiledFilter {
    fn verdict(&self, pattern: &[u8], touches: &Touches) -> Verdict {
        let mut miss = Verdict::Yes;
        for test in &self.tests {
            miss = miss.and(test.verdict(pattern, touches).not());
            if miss == Verdict::No {
                break;
            }
        }
        if self.negative { miss } else { miss.not() }
    }

    /// The verdicts on all patterns, in order, where that is faster than one by one.
    fn verdicts(&self, patterns: &PatternTable, touches: &Touches) -> Option<Vec<Verdict>> {
        let mut misses = vec![Verdict::Yes; patterns.len()];
        for test in &self.tests {
            let verdicts = test.verdicts(patterns, touches)?;
            misses.iter_mut().zip(verdicts).for_each(|(miss, hit)| *miss = miss.and(hit.not()));
        }
        if !self.negative {
            misses.iter_mut().for_each(|miss| *miss = miss.not());
        }
        Some(misses)
    }
}

/// The verdicts of all of a plan's filters together on the patterns of one segment, worked out
/// when a pattern is first met.
///
/// They depend on which needles may touch variables, and that on the granule; few combinations
/// occur, and each has verdicts of its own.
#[derive(Debug)]
pub(crate) struct PatternVerdicts {
    patterns: usize,
    combinations: Vec<Combination>,
}

/// Combinations told apart in one scan; each costs a look at every pattern.
const COMBINATIONS_MAX: usize = 16;

#[derive(Debug)]
struct Combination {
    touches: Vec<bool>,
    known: Vec<Option<Verdict>>,
    /// Granules asked about so far.
    granules: usize,
}

/// Names a combination of touching needles within [`PatternVerdicts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CombinationId(usize);

impl PatternVerdicts {
    pub(crate) fn new(patterns: &PatternTable) -> Self {
        Self { patterns: patterns.len(), combinations: Vec::new() }
    }

    /// The combination in which these needles may touch variables; past [`COMBINATIONS_MAX`] one
    /// in which more may.
    pub(crate) fn combination(&mut self, mut touches: Vec<bool>) -> CombinationId {
        let position =
            |touches: &[bool]| self.combinations.iter().position(|known| known.touches == touches);
        let mut known = position(&touches);
        if known.is_none() && COMBINATIONS_MAX <= self.combinations.len() {
            touches.fill(true);
            known = position(&touches);
        }
        CombinationId(known.unwrap_or_else(|| {
            let known = vec![None; self.patterns + 1];
            self.combinations.push(Combination { touches, known, granules: 0 });
            self.combinations.len() - 1
        }))
    }

    /// The verdicts on the patterns `numbers` of a granule's rows, in order.
    pub(crate) fn of_rows(
        &mut self,
        filters: &[CompiledFilter],
        patterns: &PatternTable,
        combination: CombinationId,
        numbers: &[u32],
    ) -> Vec<Verdict> {
        let Combination { touches, known, granules } = &mut self.combinations[combination.0];
        *granules += 1;
        // A single granule has few of the patterns.
        if *granules == 2
            && let Some(verdicts) = all_at_once(filters, patterns, touches)
        {
            known[1..].iter_mut().zip(verdicts).for_each(|(known, found)| *known = Some(found));
        }
        // Most are known, so rows are looked up without a branch on what is found.
        let known = &self.combinations[combination.0].known;
        let found: Vec<Option<Verdict>> =
            numbers.iter().map(|number| known.get(*number as usize).copied().flatten()).collect();
        let verdict = |(found, number): (Option<Verdict>, &u32)| {
            found.unwrap_or_else(|| self.verdict(filters, patterns, combination, *number))
        };
        found.into_iter().zip(numbers).map(verdict).collect()
    }

    pub(crate) fn verdict(
        &mut self,
        filters: &[CompiledFilter],
        patterns: &PatternTable,
        combination: CombinationId,
        number: u32,
    ) -> Verdict {
        let Combination { touches, known, .. } = &mut self.combinations[combination.0];
        let (Some(slot), Some(pattern)) = (known.get_mut(number as usize), patterns.get(number))
        else {
            return Verdict::Perhaps;
        };
        *slot.get_or_insert_with(|| all(filters, pattern, touches))
    }
}

fn all(filters: &[CompiledFilter], pattern: &[u8], touches: &Touches) -> Verdict {
    let mut verdict = Verdict::Yes;
    for filter in filters {
        verdict = verdict.and(filter.verdict(pattern, touches));
        if verdict == Verdict::No {
            break;
        }
    }
    verdict
}

/// The same for all patterns, in order, where that is faster than one by one.
fn all_at_once(
    filters: &[CompiledFilter],
    patterns: &PatternTable,
    touches: &Touches,
) -> Option<Vec<Verdict>> {
    let mut verdicts = vec![Verdict::Yes; patterns.len()];
    for filter in filters {
        let found = filter.verdicts(patterns, touches)?;
        verdicts.iter_mut().zip(found).for_each(|(verdict, found)| *verdict = verdict.and(found));
    }
    Some(verdicts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use record::TenantId;

    use super::super::pattern::{pattern_of, wide_pattern_of};
    use super::super::plan::{CompiledPlan, LineFilter, LineFilterOp, LogPlan};
    use super::*;
    use crate::wire;

    fn plan(op: LineFilterOp, needles: &[&str]) -> Option<CompiledPlan> {
        let mut plan = LogPlan::all(TenantId::default(), 0, 1, Vec::new());
        let needles = needles.iter().map(|n| (*n).to_owned()).collect();
        plan.filters = vec![LineFilter { op, needles }];
        CompiledPlan::new(&plan).ok()
    }

    #[test]
    fn says_what_the_static_text_decides() {
        use LineFilterOp::{Contains, NotContains, NotRegex, Regex};
        use Verdict::{No, Perhaps, Yes};
        let line = "GET /user/17 took 3ms";
        for (op, needle, expected) in [
            (Contains, "took ", Yes),
            (Contains, "missing", Perhaps), // in `3missing`, say
            (Contains, "/missing/", No),
            (Contains, "GET 1", No),
            (Contains, "/1", Perhaps),
            (NotContains, "took ", No),
            (NotContains, "/missing/", Yes),
            (Regex, "(?i)TOOK", Yes),
            (Regex, "^GET", Perhaps),
            (Regex, "GET.*took", Perhaps),
            (Regex, "PUT/.*took", No),
            (NotRegex, "PUT/.*took", Yes),
            (NotRegex, "us[e]r", No),
        ] {
            let plan = plan(op, &[needle]).unwrap();
            assert_eq!(all(plan.filters(), &pattern_of(line), &[]), expected, "{op:?} {needle}");
        }
        let plan = plan(Regex, &["^no digits$"]).unwrap();
        assert_eq!(all(plan.filters(), b"no digits", &[]), Yes, "without variables it is the line");
    }

    fn needle() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ab1 :é]{0,4}",
            "[ab1 :é.|]{0,4}",
            "(\\^|\\\\b|)[ab1 :.*]{0,3}(\\$|)",
            "\\(\\?i\\)[aB1 ]{1,3}",
        ]
    }

    proptest! {
        #[test]
        fn yes_and_no_are_what_the_line_says(
            line in "[abAB1 :é]{0,12}",
            op in prop::sample::select(vec![
                LineFilterOp::Contains, LineFilterOp::NotContains,
                LineFilterOp::Regex, LineFilterOp::NotRegex,
            ]),
            needles in prop::collection::vec(needle(), 1..3),
            wide in any::<u32>(),
        ) {
            let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
            let Some(plan) = plan(op, &needles) else { return Ok(()) };
            let passes = plan.line_matches(&line);
            for pattern in [pattern_of(&line), wide_pattern_of(&line, wide)] {
                match all(plan.filters(), &pattern, &[]) {
                    Verdict::Yes => prop_assert!(passes),
                    Verdict::No => prop_assert!(!passes),
                    Verdict::Perhaps => {}
                }
            }
        }

        #[test]
        fn all_at_once_says_what_one_by_one_does(
            lines in prop::collection::vec(("[ab1 :é]{0,6}", any::<u32>()), 1..20),
            filters in prop::collection::vec(
                (any::<bool>(), prop::collection::vec("[ab1é]{1,3}", 1..3)),
                1..3,
            ),
            touches in prop::collection::vec(any::<bool>(), 0..4),
        ) {
            let mut plan = LogPlan::all(TenantId::default(), 0, 1, Vec::new());
            plan.filters = filters
                .into_iter()
                .map(|(negative, needles)| {
                    let op = if negative { LineFilterOp::NotContains } else { LineFilterOp::Contains };
                    LineFilter { op, needles }
                })
                .collect();
            let plan = CompiledPlan::new(&plan).unwrap();
            let mut section = Vec::new();
            wire::put_varint(&mut section, lines.len() as u64);
            for (line, wide) in &lines {
                wire::put_bytes(&mut section, &wide_pattern_of(line, *wide));
            }
            let table = PatternTable::decode(&section).unwrap();
            let found = all_at_once(plan.filters(), &table, &touches).unwrap();
            prop_assert_eq!(found.len(), lines.len());
            for (found, number) in found.into_iter().zip(1..) {
                let pattern = table.get(number).unwrap();
                prop_assert_eq!(found, all(plan.filters(), pattern, &touches), "{}", number);
            }
        }
    }
}
