//! Orders: by value with NaN last, and by labels in natural order (`node2` before `node10`).

use std::cmp::Ordering;

use record::Labels;

pub(crate) fn ascending(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

pub(crate) fn descending(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// By the values of `names` in turn; what ties is in order of all labels.
pub(crate) fn by_labels(a: &Labels, b: &Labels, names: &[&str]) -> Ordering {
    let value = |labels: &Labels, name: &str| labels.get(name).unwrap_or("").to_owned();
    names
        .iter()
        .map(|name| natural(&value(a, name), &value(b, name)))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.cmp(b))
}

/// Compares runs of digits as numbers and everything else as bytes.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (digits_a, digits_b) = (digits(a), digits(b));
        let order = if digits_a.is_empty() || digits_b.is_empty() {
            match (a.split_first(), b.split_first()) {
                (Some((first_a, rest_a)), Some((first_b, rest_b))) => {
                    (a, b) = (rest_a, rest_b);
                    first_a.cmp(first_b)
                }
                (first_a, first_b) => return first_a.is_some().cmp(&first_b.is_some()),
            }
        } else {
            (a, b) = (&a[digits_a.len()..], &b[digits_b.len()..]);
            let (number_a, number_b) = (significant(digits_a), significant(digits_b));
            number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b))
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn digits(text: &[u8]) -> &[u8] {
    &text[..text.iter().take_while(|byte| byte.is_ascii_digit()).count()]
}

fn significant(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|digit| **digit == b'0').count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_inside_names_count_as_numbers() {
        let ordered = ["", "4m5", "4m600", "4m1000", "a", "a1.2.3", "a1.11.3", "b"];
        for pair in ordered.windows(2) {
            assert_eq!(natural(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(natural("a01", "a1"), Ordering::Equal);
    }

    #[test]
    fn nan_is_last_in_both_directions() {
        let mut values = [2.0, f64::NAN, 1.0];
        values.sort_by(|a, b| ascending(*a, *b));
        assert_eq!(values[..2], [1.0, 2.0]);
        values.sort_by(|a, b| descending(*a, *b));
        assert_eq!(values[..2], [2.0, 1.0]);
    }
}
