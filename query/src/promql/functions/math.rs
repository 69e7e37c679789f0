//! Functions of one number, and those that bound or round it.

use super::Id;

/// The body of a function that maps each value by itself.
pub(crate) fn unary(id: Id) -> Option<fn(f64) -> f64> {
    Some(match id {
        Id::Abs => f64::abs,
        Id::Ceil => f64::ceil,
        Id::Floor => f64::floor,
        Id::Exp => f64::exp,
        Id::Sqrt => f64::sqrt,
        Id::Ln => f64::ln,
        Id::Log2 => f64::log2,
        Id::Log10 => f64::log10,
        Id::Sgn => sign,
        Id::Sin => f64::sin,
        Id::Cos => f64::cos,
        Id::Tan => f64::tan,
        Id::Asin => f64::asin,
        Id::Acos => f64::acos,
        Id::Atan => f64::atan,
        Id::Sinh => f64::sinh,
        Id::Cosh => f64::cosh,
        Id::Tanh => f64::tanh,
        Id::Asinh => f64::asinh,
        Id::Acosh => f64::acosh,
        Id::Atanh => f64::atanh,
        Id::Deg => f64::to_degrees,
        Id::Rad => f64::to_radians,
        _ => return None,
    })
}

/// -1, 0 or 1; NaN stays.
fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if 0.0 < value {
        1.0
    } else {
        value
    }
}

/// Rounds to the nearest multiple of `nearest`, ties up.
///
/// Multiplies by the inverse, as the reference does: dividing gives another last digit.
pub(crate) fn round(value: f64, nearest: f64) -> f64 {
    let inverse = 1.0 / nearest;
    (value * inverse + 0.5).floor() / inverse
}

/// The larger; NaN unless the other is infinite, as in Go.
pub(crate) fn maximum(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// The smaller; NaN unless the other is negative infinity, as in Go.
pub(crate) fn minimum(a: f64, b: f64) -> f64 {
    -maximum(-a, -b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_ties_up_and_keeps_the_references_digits() {
        let cases =
            [(-0.5, 1.0, 0.0), (0.5, 1.0, 1.0), (-2.5, 1.0, -2.0), (0.045 * 200.0, 5.0, 10.0)];
        for (value, nearest, rounded) in cases {
            assert_eq!(round(value, nearest), rounded);
        }
    }

    #[test]
    fn bounds_pass_nan_on_but_not_past_an_infinity() {
        assert!(maximum(1.0, f64::NAN).is_nan());
        assert_eq!(maximum(f64::INFINITY, f64::NAN), f64::INFINITY);
        assert_eq!(minimum(f64::NEG_INFINITY, f64::NAN), f64::NEG_INFINITY);
        assert_eq!(minimum(1.0, 2.0), 1.0);
    }
}
