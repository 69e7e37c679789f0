//! Values that people or programs wrote as decimals: integers over a power of ten.
//!
//! `12345.67` is the double nearest to 1234567 / 100, and that division gives exactly this double
//! back. Integers of counters then differ little from one another, or their differences do.
//! Values for which it does not work out to the bit are kept aside as exceptions.

use crate::wire::{Malformed, Reader, put_signed, put_varint};

/// Powers of ten up to 10^22 are exact doubles; integers below 2^53 have at most 16 digits, so
/// more than 15 decimals never help.
const EXPONENT_MAX: usize = 15;
const POWERS: [f64; EXPONENT_MAX + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Integers up to here are exact in a double.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Of so many values at most this share may be exceptions; each costs about ten bytes, so beyond
/// it xor is smaller anyway.
const EXCEPTIONS_SHARE: usize = 4;

/// Bytes of one exception besides its distance.
const FLOAT_BYTES: usize = 8;

/// Encodes the values, or returns `None` when too few of them are decimals.
pub(super) fn encode(values: &[f64]) -> Option<Vec<u8>> {
    let mut best: Option<Integers> = None;
    for exponent in exponents(values)? {
        let Some(integers) = Integers::of(values, exponent) else { continue };
        if best.as_ref().is_none_or(|best| integers.bytes < best.bytes) {
            best = Some(integers);
        }
    }
    best.map(|integers| integers.write(values))
}

pub(super) fn decode(item: &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
    let mut reader = Reader::new(item);
    let (exponent, order) = (reader.take(1)?[0], reader.take(1)?[0]);
    let Some(power) = POWERS.get(exponent as usize) else {
        return Err(Malformed("a decimal has too many places"));
    };
    let exceptions = read_exceptions(&mut reader, count)?;
    let integers = match order {
        0 => read_offsets(&mut reader, count)?,
        1 | 2 => read_differences(&mut reader, count, order)?,
        _ => return Err(Malformed("integers have an unknown order")),
    };
    reader.finish()?;
    let mut values: Vec<f64> = integers.into_iter().map(|integer| integer as f64 / power).collect();
    for (at, value) in exceptions {
        values[at] = value;
    }
    Ok(values)
}

/// The integer that gives exactly `value` when divided by the power of ten.
fn integer(value: f64, exponent: usize) -> Option<i64> {
    let scaled = (value * POWERS[exponent]).round();
    if INTEGER_MAX <= scaled.abs() || scaled.is_nan() {
        return None;
    }
    let integer = scaled as i64;
    (((integer as f64) / POWERS[exponent]).to_bits() == value.to_bits()).then_some(integer)
}

/// Exponents worth trying: the commonest number of decimals, and the largest.
fn exponents(values: &[f64]) -> Option<Vec<usize>> {
    let mut counts = [0_usize; EXPONENT_MAX + 1];
    let mut failed = 0;
    let mut likely = 0;
    for value in values {
        // Neighbours have as many decimals as a rule: trying that first saves most divisions.
        let fits_exactly = |exponent: usize| {
            integer(*value, exponent).is_some()
                && (exponent == 0 || integer(*value, exponent - 1).is_none())
        };
        let found = if fits_exactly(likely) {
            Some(likely)
        } else {
            (0..=EXPONENT_MAX).find(|e| integer(*value, *e).is_some())
        };
        match found {
            Some(exponent) => {
                counts[exponent] += 1;
                likely = exponent;
            }
            None => failed += 1,
        }
        if values.len() / EXCEPTIONS_SHARE < failed {
            return None;
        }
    }
    let commonest = (0..=EXPONENT_MAX).max_by_key(|exponent| counts[*exponent])?;
    let largest = (0..=EXPONENT_MAX).rev().find(|exponent| counts[*exponent] != 0)?;
    Some(if commonest == largest { vec![largest] } else { vec![commonest, largest] })
}

/// The integers of all values, and what writing them would cost.
struct Integers {
    exponent: usize,
    order: u8,
    integers: Vec<i64>,
    exceptions: Vec<usize>,
    bytes: usize,
}

impl Integers {
    fn of(values: &[f64], exponent: usize) -> Option<Self> {
        let mut integers = Vec::with_capacity(values.len());
        let mut exceptions = Vec::new();
        let mut before = 0;
        for (at, value) in values.iter().enumerate() {
            match integer(*value, exponent) {
                Some(integer) => before = integer,
                None => exceptions.push(at),
            }
            integers.push(before);
        }
        if values.len() / EXCEPTIONS_SHARE < exceptions.len() {
            return None;
        }
        let mut sizes = [offsets_size(&integers), 0, 0];
        (sizes[1], sizes[2]) = difference_sizes(&integers);
        let order = (0..3).min_by_key(|order| sizes[*order])?;
        let bytes = sizes[order] + exceptions.len() * (FLOAT_BYTES + 1);
        Some(Self { exponent, order: order as u8, integers, exceptions, bytes })
    }

    fn write(&self, values: &[f64]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes + 16);
        out.extend_from_slice(&[self.exponent as u8, self.order]);
        put_varint(&mut out, self.exceptions.len() as u64);
        let mut position = 0;
        for at in &self.exceptions {
            put_varint(&mut out, (at - position) as u64);
            out.extend_from_slice(&values[*at].to_bits().to_le_bytes());
            position = *at;
        }
        match self.order {
            0 => put_offsets(&mut out, &self.integers),
            order => put_differences(&mut out, &self.integers, order),
        }
        out
    }
}

fn read_exceptions(reader: &mut Reader<'_>, count: usize) -> Result<Vec<(usize, f64)>, Malformed> {
    let exceptions = reader.count(FLOAT_BYTES + 1)?;
    let mut found = Vec::with_capacity(exceptions);
    let mut position = 0_usize;
    for _ in 0..exceptions {
        position = position.saturating_add(reader.number()?);
        if count <= position {
            return Err(Malformed("an exception lies outside its chunk"));
        }
        found.push((position, f64::from_bits(reader.fixed_u64()?)));
    }
    Ok(found)
}

fn put_offsets(out: &mut Vec<u8>, integers: &[i64]) {
    let smallest = integers.iter().copied().min().unwrap_or(0);
    put_signed(out, smallest);
    for integer in integers {
        put_varint(out, integer.abs_diff(smallest));
    }
}

fn offsets_size(integers: &[i64]) -> usize {
    let smallest = integers.iter().copied().min().unwrap_or(0);
    let offsets: usize = integers.iter().map(|one| varint_bytes(one.abs_diff(smallest))).sum();
    signed_bytes(smallest) + offsets
}

fn read_offsets(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, Malformed> {
    let smallest = reader.signed()?;
    let mut integers = Vec::with_capacity(count);
    for _ in 0..count {
        integers.push(smallest.wrapping_add_unsigned(reader.varint()?));
    }
    Ok(integers)
}

/// Differences from the value before (order 1) or of differences (order 2), the first from 0.
fn put_differences(out: &mut Vec<u8>, integers: &[i64], order: u8) {
    let (mut before, mut step_before) = (0_i64, 0_i64);
    for (at, integer) in integers.iter().enumerate() {
        let step = integer.wrapping_sub(before);
        put_signed(out, step.wrapping_sub(step_before));
        before = *integer;
        // The first step is the first value itself: nothing to expect the next one from.
        step_before = if order == 2 && at != 0 { step } else { 0 };
    }
}

fn difference_sizes(integers: &[i64]) -> (usize, usize) {
    let (mut before, mut step_before) = (0_i64, 0_i64);
    let (mut first_order, mut second_order) = (0, 0);
    for (at, integer) in integers.iter().enumerate() {
        let step = integer.wrapping_sub(before);
        first_order += signed_bytes(step);
        second_order += signed_bytes(step.wrapping_sub(step_before));
        before = *integer;
        step_before = if at != 0 { step } else { 0 };
    }
    (first_order, second_order)
}

fn read_differences(
    reader: &mut Reader<'_>,
    count: usize,
    order: u8,
) -> Result<Vec<i64>, Malformed> {
    let mut integers = Vec::with_capacity(count);
    let (mut before, mut step_before) = (0_i64, 0_i64);
    for at in 0..count {
        let step = step_before.wrapping_add(reader.signed()?);
        before = before.wrapping_add(step);
        integers.push(before);
        step_before = if order == 2 && at != 0 { step } else { 0 };
    }
    Ok(integers)
}

fn varint_bytes(value: u64) -> usize {
    ((64 - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

fn signed_bytes(value: i64) -> usize {
    varint_bytes(((value << 1) ^ (value >> 63)) as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn finds_the_integer_behind_a_decimal() {
        for (text, exponent, expected) in
            [("12345.67", 2, 1_234_567), ("-0.1", 1, -1), ("1e15", 0, 1_000_000_000_000_000)]
        {
            assert_eq!(integer(text.parse().unwrap(), exponent), Some(expected), "{text}");
        }
        for value in [-0.0, f64::NAN, f64::INFINITY, 0.1 + 0.2, 1e300, f64::MIN_POSITIVE] {
            assert_eq!(integer(value, 1), None, "{value}");
        }
    }

    #[test]
    fn sizes_are_what_is_written() {
        let integers = [5, -900, 3, i64::from(i32::MAX), 0, 0, 1 << 52];
        for order in 0..3_u8 {
            let mut out = Vec::new();
            match order {
                0 => put_offsets(&mut out, &integers),
                order => put_differences(&mut out, &integers, order),
            }
            let (first, second) = difference_sizes(&integers);
            assert_eq!(out.len(), [offsets_size(&integers), first, second][order as usize]);
        }
    }

    #[test]
    fn too_many_exceptions_are_not_decimals() {
        let values: Vec<f64> = (1..100).map(|n| f64::from(n).sqrt()).collect();
        assert_eq!(encode(&values), None);
    }
}
