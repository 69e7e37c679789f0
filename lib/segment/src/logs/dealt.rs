//! Rows dealt out by a small number, such as that of their pattern or stream.
//!
//! The numbers are few and dense, so counting them says where each row goes.

/// Rows in the order of a number of theirs; those of one number keep their order.
#[derive(Debug, Default)]
pub(crate) struct Dealt {
    rows: Vec<u32>,
    /// By number, where its next row goes.
    next: Vec<u32>,
}

impl Dealt {
    /// Deals out as many rows as there are `numbers`.
    pub(crate) fn deal(&mut self, numbers: impl ExactSizeIterator<Item = u32> + Clone) {
        let most = numbers.clone().max().unwrap_or(0);
        self.next.clear();
        self.next.resize(most as usize + 2, 0);
        for number in numbers.clone() {
            self.next[number as usize + 1] += 1;
        }
        let mut start = 0;
        for next in &mut self.next {
            start += *next;
            *next = start;
        }
        self.rows.clear();
        self.rows.resize(numbers.len(), 0);
        for (number, row) in numbers.zip(0..) {
            let next = &mut self.next[number as usize];
            self.rows[*next as usize] = row;
            *next += 1;
        }
    }

    pub(crate) fn rows(&self) -> &[u32] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sorts_as_a_stable_sort_does(numbers in prop::collection::vec(0_u32..50, 0..100)) {
            let mut dealt = Dealt::default();
            // What was dealt before is gone.
            dealt.deal([7, 3].into_iter());
            dealt.deal(numbers.iter().copied());
            let mut rows: Vec<u32> = (0..numbers.len() as u32).collect();
            rows.sort_by_key(|row| numbers[*row as usize]);
            prop_assert_eq!(dealt.rows(), rows);
        }
    }
}
