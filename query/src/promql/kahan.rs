//! Compensated sums: the error of each addition is kept and added at the end.
//!
//! Neumaier's variant of Kahan's algorithm, so that `1e100 + 1 - 1e100` is 1. The reference uses
//! it everywhere it sums, and its test suite notices when we do not.

/// A running sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    sum: f64,
    compensation: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - total) + value;
        } else {
            self.compensation += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub(crate) fn value(self) -> f64 {
        self.sum + self.compensation
    }

    fn scaled(self, factor: f64) -> Self {
        Self { sum: self.sum * factor, compensation: self.compensation * factor }
    }
}

/// A running mean: the sum over the count, until the sum overflows; from then on incremental.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    sum: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.sum;
            next.add(value);
            // The first value is taken as it is, even if infinite.
            if self.count == 1.0 || !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            self.incremental = true;
            let before = self.count - 1.0;
            self.sum =
                Sum { sum: self.sum.sum / before, compensation: self.sum.compensation / before };
        }
        self.sum = self.sum.scaled((self.count - 1.0) / self.count);
        self.sum.add(value / self.count);
    }

    pub(crate) fn value(self) -> f64 {
        if self.incremental {
            return self.sum.value();
        }
        self.sum.sum / self.count + self.sum.compensation / self.count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cancelling_giants_leave_the_small() {
        let mut sum = Sum::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn a_mean_does_not_overflow() {
        let mut mean = Mean::default();
        for _ in 0..4 {
            mean.add(f64::MAX / 2.0);
        }
        assert!((mean.value() / (f64::MAX / 2.0) - 1.0).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn sums_of_integers_are_exact(values in prop::collection::vec(-1_000_000_i32..1_000_000, 1..100)) {
            let mut sum = Sum::default();
            let mut mean = Mean::default();
            for value in &values {
                sum.add(f64::from(*value));
                mean.add(f64::from(*value));
            }
            let exact: i64 = values.iter().map(|value| i64::from(*value)).sum();
            prop_assert_eq!(sum.value(), exact as f64);
            let expected = exact as f64 / values.len() as f64;
            prop_assert!((mean.value() - expected).abs() <= 1e-9);
        }
    }
}
