//! What a chunk amounts to without decoding it.

/// Facts about one chunk. Long ranges use them for the chunks wholly inside and decode the edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChunkStats {
    pub samples: u32,
    /// Unix milliseconds.
    pub first_ms: i64,
    pub last_ms: i64,
    pub first: f64,
    pub last: f64,
    /// `None` when a NaN (a staleness marker, say) is among the values: decode then.
    pub numbers: Option<NumberStats>,
}

/// Facts about values none of which is a NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberStats {
    pub min: f64,
    pub max: f64,
    /// Compensated, so it is as exact as a double can be.
    pub sum: f64,
    /// What a counter gained from its first to its last sample here, resets taken into account.
    pub increase: f64,
}

impl NumberStats {
    /// Looks at all values; `None` when there are none or one is a NaN.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let first = *values.first()?;
        if values.iter().any(|value| value.is_nan()) {
            return None;
        }
        if values.iter().all(|value| value.to_bits() == first.to_bits()) {
            return Some(Self::of_constant(first, values.len() as u32));
        }
        let mut numbers = Self { min: first, max: first, sum: 0.0, increase: 0.0 };
        let (mut before, mut compensation) = (first, 0.0);
        for value in values {
            if *value < numbers.min {
                numbers.min = *value;
            }
            if numbers.max < *value {
                numbers.max = *value;
            }
            let gain = if *value < before { *value } else { *value - before };
            numbers.increase += gain;
            before = *value;
            let sum = numbers.sum + *value;
            compensation += if value.abs() <= numbers.sum.abs() {
                (numbers.sum - sum) + *value
            } else {
                (*value - sum) + numbers.sum
            };
            numbers.sum = sum;
        }
        // With infinities the compensation is meaningless, the plain sum right.
        if numbers.sum.is_finite() {
            numbers.sum += compensation;
        }
        Some(numbers)
    }

    pub(super) fn of_constant(value: f64, samples: u32) -> Self {
        Self { min: value, max: value, sum: value * f64::from(samples), increase: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn increase_survives_counter_resets() {
        let numbers = NumberStats::of(&[10.0, 15.0, 3.0, 4.0, 4.0, 1.0]).unwrap();
        assert_eq!(numbers.increase, 5.0 + 3.0 + 1.0 + 0.0 + 1.0);
        assert_eq!((numbers.min, numbers.max, numbers.sum), (1.0, 15.0, 37.0));
    }

    #[test]
    fn sums_do_not_lose_small_values() {
        let numbers = NumberStats::of(&[1e100, 1.0, -1e100]).unwrap();
        assert_eq!(numbers.sum, 1.0);
        let infinite = NumberStats::of(&[1.0, f64::INFINITY]).unwrap();
        assert_eq!(infinite.sum, f64::INFINITY);
    }

    #[test]
    fn a_nan_leaves_no_numbers() {
        assert_eq!(NumberStats::of(&[1.0, f64::from_bits(0x7ff0_0000_0000_0002)]), None);
    }
}
