//! What a line must contain for a test to hit it: the ground of all pruning by text.
//!
//! A substring test gives one needle. A regular expression gives what can be read off its syntax
//! tree: runs of adjoining characters and small classes become needles, alternations become
//! [`Condition::Any`], and everything else (optional parts, wide classes, counted groups) only
//! ends a run.
//!
//! What always holds: a line the test hits satisfies the condition. The reverse does not hold, so
//! a condition can only ever discard.
//!
//! Bounds: [`NEEDLES_MAX`] needles a test, [`NEEDLE_POSITIONS_MAX`] positions a needle; beyond
//! them the condition gets looser, never wrong.

use memchr::memmem::Finder;
use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

use super::needle::{Needle, Position, TermShape, TokenDemand};

/// Needles of one test. An expression of hundreds of words is searched rather than pruned by.
const NEEDLES_MAX: usize = 128;

/// Positions of a needle; a longer run is cut, and each part is still required.
const NEEDLE_POSITIONS_MAX: usize = 512;

#[derive(Clone, Debug)]
pub(crate) enum Condition {
    /// Nothing is required.
    Always,
    All(Vec<Self>),
    Any(Vec<Self>),
    Needle(Box<CompiledNeedle>),
}

/// A needle with its expressions built, once a query.
#[derive(Clone, Debug)]
pub(crate) struct CompiledNeedle {
    /// The needle's number within its plan.
    pub(crate) number: usize,
    /// Over pattern bytes: where the needle could be, variables included.
    anywhere: Expression,
    /// The same, for lines whose variables it cannot touch.
    in_static_text: Expression,
    pub(crate) tokens: Vec<TokenTest>,
}

/// An expression over pattern bytes, or why there is none.
#[derive(Clone, Debug)]
enum Expression {
    Regex(regex::bytes::Regex),
    /// Nothing matches.
    Never,
    /// It would be too large to build: everything may match.
    Unknown,
}

/// Which needles of a plan may touch a variable of a line, by number: what the index says about
/// the granules at hand.
pub(crate) type Touches = [bool];

/// Hands out the numbers of a plan's needles.
#[derive(Debug, Default)]
pub(crate) struct NeedleNumbers {
    next: usize,
}

/// [`TokenDemand`] with its expressions built.
#[derive(Clone, Debug)]
pub(crate) enum TokenTest {
    Word(TermTest),
    WordOrFragment(TermTest),
    Variable { exact: Option<String>, bytes_min: usize, open: bool, fragments: Vec<TermTest> },
}

/// Which terms of the index a token may be.
#[derive(Clone, Debug)]
pub(crate) enum TermTest {
    Exact(String),
    /// Those in which the search finds something, each term standing between two
    /// [`TERM_BOUNDARY`]s.
    Search {
        search: TermSearch,
        /// Whether what is found starts with the boundary before the term.
        from_boundary: bool,
    },
    /// The expression would be too large to build: every term may.
    Every,
}

#[derive(Clone, Debug)]
pub(crate) enum TermSearch {
    Text(Box<Finder<'static>>),
    Regex(regex::bytes::Regex),
}

/// Separates terms that are searched together; a separator, so part of none.
pub(crate) const TERM_BOUNDARY: &str = "\n";

impl Condition {
    /// The condition of a substring test.
    pub(crate) fn of_text(text: &str, numbers: &mut NeedleNumbers) -> Self {
        let mut collector = Collector::default();
        text.chars().for_each(|c| collector.push(Position::one(c)));
        collector.finish().compile(numbers, &mut 0)
    }

    /// The condition of a search with `expression`, in the syntax of the `regex` crate.
    pub(crate) fn of_regex(expression: &Hir, numbers: &mut NeedleNumbers) -> Self {
        required(expression).compile(numbers, &mut 0)
    }

    /// Whether a line of `pattern` may satisfy the condition.
    pub(crate) fn pattern_may_satisfy(&self, pattern: &[u8], touches: &Touches) -> bool {
        match self {
            Self::Always => true,
            Self::All(all) => all.iter().all(|c| c.pattern_may_satisfy(pattern, touches)),
            Self::Any(any) => any.iter().any(|c| c.pattern_may_satisfy(pattern, touches)),
            Self::Needle(needle) => {
                let touches = touches.get(needle.number).copied().unwrap_or(true);
                if touches { &needle.anywhere } else { &needle.in_static_text }.may_match(pattern)
            }
        }
    }

    /// Calls `visit` with each needle.
    pub(crate) fn for_each_needle<'a>(&'a self, visit: &mut impl FnMut(&'a CompiledNeedle)) {
        match self {
            Self::Always => {}
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().for_each(|part| part.for_each_needle(visit));
            }
            Self::Needle(needle) => visit(needle),
        }
    }
}

impl Expression {
    fn new(regex: Option<String>) -> Self {
        match regex.map(|regex| regex::bytes::Regex::new(&regex)) {
            Some(Ok(regex)) => Self::Regex(regex),
            Some(Err(_)) => Self::Unknown,
            None => Self::Never,
        }
    }

    fn may_match(&self, pattern: &[u8]) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(pattern),
            Self::Never => false,
            Self::Unknown => true,
        }
    }
}

impl NeedleNumbers {
    /// How many were handed out.
    pub(crate) fn count(&self) -> usize {
        self.next
    }

    fn next(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }
}

impl TermTest {
    fn new(shape: &TermShape) -> Self {
        if let Some(exact) = shape.exact() {
            return Self::Exact(exact);
        }
        let from_boundary = !shape.open_left();
        if let Some(text) = shape.text(TERM_BOUNDARY) {
            let search = TermSearch::Text(Box::new(Finder::new(&text).into_owned()));
            return Self::Search { search, from_boundary };
        }
        let regex = regex::bytes::Regex::new(&shape.regex(TERM_BOUNDARY));
        regex.map_or(Self::Every, |regex| Self::Search {
            search: TermSearch::Regex(regex),
            from_boundary,
        })
    }
}

impl TermSearch {
    /// Where the next find starts, at `from` or after it.
    pub(crate) fn find(&self, text: &[u8], from: usize) -> Option<usize> {
        match self {
            Self::Text(finder) => finder.find(text.get(from..)?).map(|at| from + at),
            Self::Regex(regex) => regex.find_at(text, from).map(|found| found.start()),
        }
    }
}

/// A condition before its expressions are built.
#[derive(Debug)]
enum Required {
    Always,
    All(Vec<Self>),
    Any(Vec<Self>),
    Needle(Needle),
}

impl Required {
    /// Builds the expressions; past [`NEEDLES_MAX`] needles the rest requires nothing.
    fn compile(&self, numbers: &mut NeedleNumbers, needles: &mut usize) -> Condition {
        match self {
            Self::Always => Condition::Always,
            Self::All(all) => {
                let all: Vec<_> = all
                    .iter()
                    .map(|part| part.compile(numbers, needles))
                    .filter(|part| !matches!(part, Condition::Always))
                    .collect();
                if all.is_empty() { Condition::Always } else { Condition::All(all) }
            }
            Self::Any(any) => {
                let any: Vec<_> = any.iter().map(|part| part.compile(numbers, needles)).collect();
                if any.iter().any(|part| matches!(part, Condition::Always)) {
                    return Condition::Always;
                }
                Condition::Any(any)
            }
            Self::Needle(_) if *needles == NEEDLES_MAX => Condition::Always,
            Self::Needle(needle) => {
                *needles += 1;
                Condition::Needle(Box::new(CompiledNeedle::new(needle, numbers.next())))
            }
        }
    }
}

impl CompiledNeedle {
    fn new(needle: &Needle, number: usize) -> Self {
        let token = |demand: TokenDemand| match demand {
            TokenDemand::Word(shape) => TokenTest::Word(TermTest::new(&shape)),
            TokenDemand::WordOrFragment(shape) => TokenTest::WordOrFragment(TermTest::new(&shape)),
            TokenDemand::Variable { exact, bytes_min, open, fragments } => TokenTest::Variable {
                exact,
                bytes_min,
                open,
                fragments: fragments.iter().map(TermTest::new).collect(),
            },
        };
        Self {
            number,
            anywhere: Expression::new(Some(needle.pattern_regex())),
            in_static_text: Expression::new(needle.static_regex()),
            tokens: needle.demands().into_iter().map(token).collect(),
        }
    }
}

fn required(hir: &Hir) -> Required {
    let mut collector = Collector::default();
    collector.feed(hir);
    collector.finish()
}

/// Walks an expression in the order it consumes text.
#[derive(Debug, Default)]
struct Collector {
    /// Positions known to stand next to each other so far.
    run: Vec<Position>,
    parts: Vec<Required>,
}

impl Collector {
    fn feed(&mut self, hir: &Hir) {
        match hir.kind() {
            // Consumes nothing: what follows adjoins what came before.
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
                Ok(text) => text.chars().for_each(|c| self.push(Position::one(c))),
                Err(_) => self.end_run(),
            },
            HirKind::Class(class) => self.class(class),
            HirKind::Repetition(repetition) => self.repetition(repetition),
            HirKind::Capture(capture) => self.feed(&capture.sub),
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.feed(part)),
            HirKind::Alternation(branches) => {
                self.end_run();
                self.parts.push(Required::Any(branches.iter().map(required).collect()));
            }
        }
    }

    fn class(&mut self, class: &Class) {
        let ranges: Vec<(char, char)> = match class {
            Class::Unicode(class) => class.ranges().iter().map(|r| (r.start(), r.end())).collect(),
            Class::Bytes(class) if class.is_ascii() => {
                class.ranges().iter().map(|r| (r.start().into(), r.end().into())).collect()
            }
            Class::Bytes(_) => Vec::new(),
        };
        match Position::any(&ranges) {
            Some(position) => self.push(position),
            None => self.end_run(),
        }
    }

    fn repetition(&mut self, repetition: &Repetition) {
        let single = matches!(repetition.sub.kind(), HirKind::Literal(_) | HirKind::Class(_));
        if single && repetition.max == Some(repetition.min) {
            for _ in 0..(repetition.min as usize).min(NEEDLE_POSITIONS_MAX) {
                self.feed(&repetition.sub);
            }
            if NEEDLE_POSITIONS_MAX < repetition.min as usize {
                self.end_run();
            }
            return;
        }
        self.end_run();
        if 0 < repetition.min {
            self.parts.push(required(&repetition.sub));
        }
    }

    fn push(&mut self, position: Position) {
        if self.run.len() == NEEDLE_POSITIONS_MAX {
            self.end_run();
        }
        self.run.push(position);
    }

    fn end_run(&mut self) {
        if let Some(needle) = Needle::new(std::mem::take(&mut self.run)) {
            self.parts.push(Required::Needle(needle));
        }
    }

    fn finish(mut self) -> Required {
        self.end_run();
        match self.parts.len() {
            0 => Required::Always,
            1 => self.parts.remove(0),
            _ => Required::All(self.parts),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::super::pattern::pattern_of;
    use super::*;

    fn of(expression: &str) -> Condition {
        let regex = record::re2::unanchored(expression).unwrap();
        let hir = regex_syntax::parse(regex.as_str()).unwrap();
        Condition::of_regex(&hir, &mut NeedleNumbers::default())
    }

    #[test]
    fn reads_what_is_required_off_the_syntax() {
        for (expression, line, possible) in [
            ("error", "no such word", false),
            ("error", "terrors", true),
            ("(?i)error", "an ERRor", true),
            ("(?i)error", "an erro", false),
            ("conn.*reset", "reset conn", true),
            ("conn.*reset", "conn", false),
            ("a+ b", "aa c", false),
            ("a+ b", "aa b", true),
            ("foo|bar", "a baz", false),
            ("foo|bar|", "a baz", true),
            ("(foo)? x", "x", false),
            ("^x$", "y", false),
            ("took [0-9]{3}ms", "took long", false),
            ("took [0-9]{3}ms", "took 17ms", true),
            (r"\bup\b", "it is up", true),
            (r"x{0,3}", "", true),
        ] {
            let may = of(expression).pattern_may_satisfy(&pattern_of(line), &[]);
            assert_eq!(may, possible, "{expression} on {line:?}");
        }
    }

    #[test]
    fn many_alternatives_only_loosen() {
        let words: Vec<String> = (0..1_000).map(|i| format!("w{i}x")).collect();
        assert!(of(&words.join("|")).pattern_may_satisfy(b"anything", &[]));
    }

    /// Expressions over few characters with every construct that ends or joins a run.
    fn expression() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[ab1: ]{1,3}".prop_map(|s| s),
            Just("[0-9]".to_owned()),
            Just("[ab]".to_owned()),
            Just("[a1]".to_owned()),
            Just(".".to_owned()),
            Just(r"\b".to_owned()),
            Just("é".to_owned()),
            Just("(?i:B)".to_owned()),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..3).prop_map(|v| v.concat()),
                prop::collection::vec(inner.clone(), 1..3)
                    .prop_map(|v| format!("({})", v.join("|"))),
                (inner.clone(), prop::sample::select(vec!["*", "+", "?", "{2}", "{1,2}", "{0}"]))
                    .prop_map(|(sub, times)| format!("(?:{sub}){times}")),
            ]
        })
    }

    proptest! {
        // About one expression in three hits its line.
        #![proptest_config(ProptestConfig { cases: 1_024, ..ProptestConfig::default() })]

        #[test]
        fn a_pattern_whose_line_is_hit_may_satisfy(
            expression in expression(),
            line in "[abB1: é]{0,14}",
        ) {
            let Ok(regex) = record::re2::unanchored(&expression) else { return Ok(()) };
            if !regex.is_match(&line) {
                return Ok(());
            }
            prop_assert!(of(&expression).pattern_may_satisfy(&pattern_of(&line), &[]));
        }
    }
}
