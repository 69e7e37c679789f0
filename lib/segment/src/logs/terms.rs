//! The terms of an index field, end to end, so that one search goes over all of them.
//!
//! A needle that may be part of a longer word has to be compared with every word there is. Asking
//! each term on its own costs more than all else a query does before it reads columns; as one
//! text they are searched at memory speed.
//!
//! Bounds: as large as the terms, plus some fifty bytes each; a writer keeps both small by its caps.

use super::condition::{TERM_BOUNDARY, TermTest};
use crate::wire::Malformed;

#[derive(Debug, Default)]
pub(crate) struct TermTable {
    /// A boundary before each term and one behind the last.
    text: Vec<u8>,
    /// Where each term starts.
    starts: Vec<u32>,
}

impl TermTable {
    /// Appends the next term in the index's order.
    pub(crate) fn push(&mut self, term: &[u8]) -> Result<(), Malformed> {
        self.text.extend_from_slice(TERM_BOUNDARY.as_bytes());
        let start = u32::try_from(self.text.len()).map_err(|_| Malformed("its terms are huge"))?;
        self.starts.push(start);
        self.text.extend_from_slice(term);
        Ok(())
    }

    /// Ends the table.
    pub(crate) fn finish(mut self) -> Self {
        self.text.extend_from_slice(TERM_BOUNDARY.as_bytes());
        self
    }

    /// The numbers of the terms that pass, ascending. [`TermTest::Exact`] is the index's own
    /// business, and passes none here.
    pub(crate) fn passing(&self, test: &TermTest) -> Vec<usize> {
        let (search, from_boundary) = match test {
            TermTest::Exact(_) => return Vec::new(),
            TermTest::Every => return (0..self.starts.len()).collect(),
            TermTest::Search { search, from_boundary } => (search, *from_boundary),
        };
        let mut passing = Vec::new();
        let mut from = 0;
        while let Some(found) = search.find(&self.text, from) {
            let inside = found + if from_boundary { TERM_BOUNDARY.len() } else { 0 };
            let after = self.starts.partition_point(|start| *start as usize <= inside);
            let Some(number) = after.checked_sub(1) else { break };
            passing.push(number);
            // On from the boundary before the next term: one find a term is enough.
            let Some(next) = self.starts.get(after) else { break };
            from = *next as usize - TERM_BOUNDARY.len();
        }
        passing
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::super::condition::Condition;
    use super::super::condition::{NeedleNumbers, TokenTest};
    use super::*;

    fn tests_of(expression: &str) -> Vec<TermTest> {
        let hir = regex_syntax::parse(expression).unwrap();
        let condition = Condition::of_regex(&hir, &mut NeedleNumbers::default());
        let mut tests = Vec::new();
        condition.for_each_needle(&mut |needle| {
            for token in &needle.tokens {
                match token {
                    TokenTest::Word(test) | TokenTest::WordOrFragment(test) => {
                        tests.push(test.clone());
                    }
                    TokenTest::Variable { fragments, .. } => tests.extend(fragments.clone()),
                }
            }
        });
        tests
    }

    proptest! {
        #[test]
        fn finds_the_terms_that_are_found_one_by_one(
            mut terms in prop::collection::btree_set("[abAé]{1,5}", 0..12),
            text in "[abAé]{1,3}",
            (before, after) in (prop::sample::select(vec!["", " ", "1"]), prop::sample::select(vec!["", " ", "1"])),
            any_case in any::<bool>(),
        ) {
            terms.insert(text.clone());
            let mut table = TermTable::default();
            terms.iter().for_each(|term| table.push(term.as_bytes()).unwrap());
            let table = table.finish();
            let flag = if any_case { "(?i)" } else { "" };
            let open = |side: &str| side.is_empty();
            let alone = regex::Regex::new(&format!(
                "{flag}{}{text}{}",
                if open(before) { "" } else { "^" },
                if open(after) { "" } else { "$" },
            )).unwrap();
            let expected: Vec<usize> =
                terms.iter().zip(0..).filter(|(t, _)| alone.is_match(t)).map(|(_, n)| n).collect();
            for test in tests_of(&format!("{flag}{before}{text}{after}")) {
                if !matches!(test, TermTest::Exact(_)) {
                    prop_assert_eq!(table.passing(&test), expected.clone(), "{:?}", test);
                }
            }
        }
    }
}
