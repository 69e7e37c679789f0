//! The values of a chunk, by the smallest encoding that gives back every bit.
//!
//! Metrics are mostly constants, counters and decimals with few digits; what is none of these
//! (averages, ratios) falls back to xor, and noise to plain bytes in planes.

mod decimal;
mod xor;

use crate::wire::Malformed;

/// How a chunk's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Constant = 0,
    Decimal = 1,
    Xor = 2,
    Planes = 3,
}

impl Encoding {
    pub(super) fn of_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Constant,
            1 => Self::Decimal,
            2 => Self::Xor,
            _ => Self::Planes,
        }
    }
}

/// Encodes values as small as it can, leaving out the first, which the directory holds.
///
/// Returns `None` only when no encoding decodes to the same bits, which would be a bug.
pub(super) fn encode(values: &[f64]) -> Option<(Encoding, Vec<u8>)> {
    let first = *values.first()?;
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        return Some((Encoding::Constant, Vec::new()));
    }
    let mut candidates = vec![(Encoding::Xor, xor::encode(values))];
    candidates.extend(decimal::encode(values).map(|item| (Encoding::Decimal, item)));
    candidates.sort_by_key(|(_, item)| item.len());
    // No smaller than the values themselves: then the simplest form, which decodes fastest.
    let planes_bytes = size_of_val(values);
    candidates.retain(|(_, item)| item.len() < planes_bytes);
    candidates.push((Encoding::Planes, planes(values)));
    candidates.into_iter().find(|(encoding, item)| {
        decode(*encoding, item, first, values.len())
            .is_ok_and(|decoded| same_bits(&decoded, values))
    })
}

/// Decodes `count` values.
pub(super) fn decode(
    encoding: Encoding,
    item: &[u8],
    first: f64,
    count: usize,
) -> Result<Vec<f64>, Malformed> {
    match encoding {
        Encoding::Constant if item.is_empty() => Ok(vec![first; count]),
        Encoding::Constant => Err(Malformed("a constant has bytes")),
        Encoding::Decimal => decimal::decode(item, count),
        Encoding::Xor => xor::decode(item, first, count),
        Encoding::Planes => from_planes(item, count),
    }
}

fn same_bits(left: &[f64], right: &[f64]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Byte 0 of every value, then byte 1, and so on: exponents lie together and compress.
fn planes(values: &[f64]) -> Vec<u8> {
    (0..8)
        .flat_map(|byte| values.iter().map(move |value| value.to_bits().to_le_bytes()[byte]))
        .collect()
}

fn from_planes(item: &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
    if item.len() != count * size_of::<f64>() {
        return Err(Malformed("planes have another length"));
    }
    let value = |at: usize| {
        let bytes = std::array::from_fn(|byte| item[byte * count + at]);
        f64::from_bits(u64::from_le_bytes(bytes))
    };
    Ok((0..count).map(value).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::samples::tests::values as any_values;

    const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

    #[track_caller]
    fn check(values: &[f64], expected: Encoding, bytes_max: usize) {
        let (encoding, item) = encode(values).unwrap();
        assert_eq!(encoding, expected);
        assert!(item.len() <= bytes_max, "{} bytes", item.len());
        let decoded = decode(encoding, &item, values[0], values.len()).unwrap();
        assert!(same_bits(&decoded, values));
    }

    #[test]
    fn each_shape_finds_its_encoding() {
        let series = |f: &dyn Fn(u32) -> f64| (0..500).map(f).collect::<Vec<_>>();
        check(&series(&|_| STALE), Encoding::Constant, 0);
        check(&series(&|_| -0.0), Encoding::Constant, 0);
        check(&series(&|n| f64::from(n) * 15.0), Encoding::Decimal, 510);
        check(&series(&|n| f64::from(n % 7) / 100.0 + 0.25), Encoding::Decimal, 510);
        check(&series(&|n| 1.7e9 + f64::from(n)), Encoding::Decimal, 510);
        check(&series(&|n| if n == 499 { STALE } else { f64::from(n) }), Encoding::Decimal, 530);
        check(&series(&|n| if n % 2 == 0 { 0.0 } else { -0.0 }), Encoding::Xor, 1_000);
        check(&series(&|n| f64::from(n / 100).sqrt()), Encoding::Xor, 200);
        let noise = |n: u32| f64::from_bits(u64::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        check(&series(&noise), Encoding::Planes, 4_000);
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(values in any_values(1..300)) {
            let (encoding, item) = encode(&values).unwrap();
            let decoded = decode(encoding, &item, values[0], values.len()).unwrap();
            prop_assert!(same_bits(&decoded, &values));
            prop_assert!(item.len() <= values.len() * 8);
        }

        #[test]
        fn any_bytes_are_values_or_an_error(
            encoding in 0_u8..4,
            item in prop::collection::vec(any::<u8>(), 0..100),
            count in 1_usize..120,
        ) {
            if let Ok(values) = decode(Encoding::of_bits(encoding), &item, 1.0, count) {
                prop_assert_eq!(values.len(), count);
            }
        }
    }
}
