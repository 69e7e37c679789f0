//! What line filters say about a pattern, and so about all its lines at once.
//!
//! - **Yes**: every line of the pattern passes; no line is read.
//! - **No**: no line of it passes; no line is read.
//! - **Perhaps**: a variable could decide; lines are read, and only for the filters that are open.
//!
//! What always holds: yes and no are exact. Number 0, "none", is always perhaps.

use regex_syntax::hir::Hir;

use super::condition::{Condition, NeedleNumbers, Touches};
use super::pattern_table::PatternTable;
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

    /// `hits` are this test's.
    fn verdict(&self, pattern: &Pattern<'_>, hits: &mut StretchHits, touches: &Touches) -> Verdict {
        let is_line = pattern.stretches.len() == 1;
        if self.context_free {
            // No text has placeholders in it, so what is in the static text is in a stretch.
            if pattern.stretches.iter().any(|stretch| self.hits_stretch(pattern, *stretch, hits)) {
                return Verdict::Yes;
            }
            if is_line {
                return Verdict::No;
            }
        } else if is_line {
            return match std::str::from_utf8(&pattern.spelled()) {
                Ok(line) if self.test.hits(line) => Verdict::Yes,
                Ok(_) => Verdict::No,
                Err(_) => Verdict::Perhaps,
            };
        }
        let perhaps = match self.token {
            // It is not in the static text, so it must be in what stands in a placeholder's place.
            Some(needle) => touches.get(needle).copied().unwrap_or(true) || pattern.widened(),
            None => self.condition.pattern_may_satisfy(&pattern.spelled(), touches),
        };
        if perhaps { Verdict::Perhaps } else { Verdict::No }
    }

    /// Whether the text of a stretch is a hit, and so all lines with it.
    fn hits_stretch(&self, pattern: &Pattern<'_>, stretch: u32, hits: &mut StretchHits) -> bool {
        let look = || {
            let text = pattern.table.text(stretch);
            std::str::from_utf8(text).is_ok_and(|text| self.test.hits(text))
        };
        match hits.get_mut(stretch as usize) {
            Some(known) => *known.get_or_insert_with(look),
            None => look(),
        }
    }
}

/// What a test says of each stretch of a segment's patterns, as far as it was asked.
type StretchHits = [Option<bool>];

/// A pattern with a number.
struct Pattern<'a> {
    table: &'a PatternTable,
    number: u32,
    stretches: &'a [u32],
}

impl<'a> Pattern<'a> {
    /// `None` for "none" and numbers never given.
    fn new(table: &'a PatternTable, number: u32) -> Option<Self> {
        let stretches = table.stretches(number);
        (!stretches.is_empty()).then_some(Self { table, number, stretches })
    }

    fn spelled(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.table.spell(self.number, &mut text);
        text
    }

    fn widened(&self) -> bool {
        self.table.widened(self.number)
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
    /// `hits` are those of the filter's tests, in their order.
    fn verdict(
        &self,
        pattern: &Pattern<'_>,
        hits: &mut [Vec<Option<bool>>],
        touches: &Touches,
    ) -> Verdict {
        let mut miss = Verdict::Yes;
        for (test, hits) in self.tests.iter().zip(hits) {
            miss = miss.and(test.verdict(pattern, hits, touches).not());
            if miss == Verdict::No {
                break;
            }
        }
        if self.negative { miss } else { miss.not() }
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
    /// Of each test of all filters, in their order: what it says of stretches.
    hits: Vec<Vec<Option<bool>>>,
}

/// Combinations told apart in one scan; each costs a look at every pattern.
const COMBINATIONS_MAX: usize = 16;

#[derive(Debug)]
struct Combination {
    touches: Vec<bool>,
    known: Vec<Option<Verdict>>,
}

/// Names a combination of touching needles within [`PatternVerdicts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CombinationId(usize);

impl PatternVerdicts {
    pub(crate) fn new(filters: &[CompiledFilter], patterns: &PatternTable) -> Self {
        let tests = filters.iter().map(|filter| filter.tests.len()).sum();
        let hits = vec![vec![None; patterns.distinct_stretches()]; tests];
        Self { patterns: patterns.len(), combinations: Vec::new(), hits }
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
            self.combinations.push(Combination { touches, known });
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
        let Combination { touches, known } = &mut self.combinations[combination.0];
        let Some((slot, pattern)) =
            known.get_mut(number as usize).zip(Pattern::new(patterns, number))
        else {
            return Verdict::Perhaps;
        };
        *slot.get_or_insert_with(|| all(filters, &pattern, &mut self.hits, touches))
    }
}

fn all(
    filters: &[CompiledFilter],
    pattern: &Pattern<'_>,
    hits: &mut [Vec<Option<bool>>],
    touches: &Touches,
) -> Verdict {
    let mut verdict = Verdict::Yes;
    let mut hits = hits;
    for filter in filters {
        let (of_filter, of_others) = hits.split_at_mut(filter.tests.len());
        verdict = verdict.and(filter.verdict(pattern, of_filter, touches));
        if verdict == Verdict::No {
            break;
        }
        hits = of_others;
    }
    verdict
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use record::TenantId;

    use super::super::pattern::{pattern_of, wide_pattern_of};
    use super::super::pattern_table::Stretches;
    use super::super::plan::{CompiledPlan, LineFilter, LineFilterOp, LogPlan};
    use super::super::sections::FORMAT_VERSION;
    use super::*;

    fn plan(op: LineFilterOp, needles: &[&str]) -> Option<CompiledPlan> {
        let mut plan = LogPlan::all(TenantId::default(), 0, 1, Vec::new());
        let needles = needles.iter().map(|n| (*n).to_owned()).collect();
        plan.filters = vec![LineFilter { op, needles }];
        CompiledPlan::new(&plan).ok()
    }

    /// Of several patterns in one table, one after the other, as a scan does.
    fn verdicts(plan: &CompiledPlan, patterns: &[Vec<u8>], touches: &Touches) -> Vec<Verdict> {
        let mut cut = Stretches::default();
        patterns.iter().for_each(|pattern| cut.add(pattern));
        let table = PatternTable::decode(&cut.encode(), FORMAT_VERSION).unwrap();
        let mut verdicts = PatternVerdicts::new(plan.filters(), &table);
        let combination = verdicts.combination(touches.to_vec());
        let numbers: Vec<u32> = (1..=patterns.len() as u32).collect();
        verdicts.of_rows(plan.filters(), &table, combination, &numbers)
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
            assert_eq!(verdicts(&plan, &[pattern_of(line)], &[]), [expected], "{op:?} {needle}");
        }
        let plan = plan(Regex, &["^no digits$"]).unwrap();
        assert_eq!(
            verdicts(&plan, &[b"no digits".to_vec()], &[]),
            [Yes],
            "the pattern is the line"
        );
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
        fn yes_and_no_are_what_the_lines_say(
            lines in prop::collection::vec(("[abAB1 :é]{0,12}", any::<u32>()), 1..4),
            filters in prop::collection::vec(
                (
                    prop::sample::select(vec![
                        LineFilterOp::Contains, LineFilterOp::NotContains,
                        LineFilterOp::Regex, LineFilterOp::NotRegex,
                    ]),
                    prop::collection::vec(needle(), 1..3),
                ),
                1..3,
            ),
        ) {
            let mut plan = LogPlan::all(TenantId::default(), 0, 1, Vec::new());
            plan.filters =
                filters.into_iter().map(|(op, needles)| LineFilter { op, needles }).collect();
            let Ok(plan) = CompiledPlan::new(&plan) else { return Ok(()) };
            let narrow = lines.iter().map(|(line, _)| pattern_of(line));
            let wide = lines.iter().map(|(line, wide)| wide_pattern_of(line, *wide));
            let patterns: Vec<Vec<u8>> = narrow.chain(wide).collect();
            let verdicts = verdicts(&plan, &patterns, &[]);
            let twice = lines.iter().chain(&lines);
            for ((line, _), verdict) in twice.zip(verdicts) {
                let passes = plan.line_matches(line);
                match verdict {
                    Verdict::Yes => prop_assert!(passes, "{}", line),
                    Verdict::No => prop_assert!(!passes, "{}", line),
                    Verdict::Perhaps => {}
                }
            }
        }
    }
}
