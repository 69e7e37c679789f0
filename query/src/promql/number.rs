//! Numbers and durations as PromQL writes them, and samples as the API writes them.
//!
//! Prometheus is written in Go, so its text forms are those of Go's `strconv`: an integer with a
//! leading zero is octal, a hexadecimal float has a binary exponent, and an exponent has at least
//! two digits. Clients compare these strings, so they are reproduced, not approximated.

/// Milliseconds of each unit, largest first: the order a duration must be written in.
const UNITS_MS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The longest duration the reference can hold: its durations are 64-bit nanoseconds.
pub const DURATION_MS_MAX: u64 = i64::MAX as u64 / 1_000_000;

/// Returns the text of a sample value: plain notation from 1e-6 up to 1e21, otherwise exponents.
#[must_use]
pub fn sample(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() || magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        return plain(value);
    }
    exponent(value)
}

/// Returns the shortest decimal without an exponent that reads back as `value`.
#[must_use]
pub fn plain(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value.is_sign_positive() { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    format!("{value}")
}

/// Returns the text Go's `%g` gives, with which messages quote numbers: exponents from 1e6 on.
#[must_use]
pub fn general(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() || magnitude == 0.0 || (1e-4..1e6).contains(&magnitude) {
        return plain(value);
    }
    exponent(value)
}

/// Shortest digits with a signed exponent of at least two digits: `1e-07`, `1.5e+21`.
fn exponent(value: f64) -> String {
    let text = format!("{value:e}");
    let Some((digits, power)) = text.split_once('e') else { return text };
    match power.strip_prefix('-') {
        Some(power) => format!("{digits}e-{power:0>2}"),
        None => format!("{digits}e+{power:0>2}"),
    }
}

/// Returns a timestamp in milliseconds as the API writes it: seconds, with three decimals if any.
#[must_use]
pub fn seconds(time_ms: i64) -> String {
    let sign = if time_ms < 0 { "-" } else { "" };
    let (whole, part) = (time_ms.unsigned_abs() / 1000, time_ms.unsigned_abs() % 1000);
    if part == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part:03}") }
}

/// Reads a number of a query: as [`float`], but an integer with a leading zero is octal.
#[must_use]
pub fn parse(text: &str) -> Option<f64> {
    let octal = text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    match u64::from_str_radix(text, 8) {
        Ok(value) if octal => Some(value as f64),
        _ => float(text),
    }
}

/// Reads a number: decimal, hexadecimal, `Inf`, `NaN`; a sign is allowed.
#[must_use]
pub fn float(text: &str) -> Option<f64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let magnitude = unsigned(digits)?;
    Some(if negative { -magnitude } else { magnitude })
}

fn unsigned(text: &str) -> Option<f64> {
    if text.eq_ignore_ascii_case("inf") {
        return Some(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    let text = without_separators(text)?;
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return hexadecimal(hex);
    }
    if !text.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b)) {
        return None;
    }
    text.parse().ok()
}

/// Removes `_` where it stands between two digits (or after a base prefix); elsewhere it is wrong.
fn without_separators(text: &str) -> Option<String> {
    if text.contains("__") || text.starts_with('_') || text.ends_with('_') {
        return None;
    }
    Some(text.replace('_', ""))
}

fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, power) = match text.split_once(['p', 'P']) {
        Some((mantissa, power)) => (mantissa, power.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars().chain(part.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let shift = power.checked_sub(i32::try_from(part.len()).ok()?.checked_mul(4)?)?;
    Some(value * f64::powi(2.0, shift))
}

/// Reads `1h30m` as milliseconds: units from `y` to `ms`, largest first, each at most once.
#[must_use]
pub fn parse_duration(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = UNITS_MS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters)?;
        let (_, unit_ms) = units.by_ref().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*unit_ms)?)?;
        rest = after;
    }
    (!text.is_empty() && total <= DURATION_MS_MAX).then_some(total)
}

/// Returns milliseconds as a duration: `1h30m`, `0s` for none.
#[must_use]
pub fn duration(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut rest = ms;
    let mut text = String::new();
    for (name, unit_ms) in UNITS_MS {
        // Years and weeks only where they are the whole of it: `90d` says more than `12w6d`.
        let whole_only = matches!(name, "y" | "w");
        if rest < unit_ms || (whole_only && !rest.is_multiple_of(unit_ms)) {
            continue;
        }
        text.push_str(&format!("{}{name}", rest / unit_ms));
        rest %= unit_ms;
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn samples_are_written_as_the_reference_writes_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (9.9e-7, "9.9e-07"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (12_340_000.0, "12340000"),
        ];
        for (value, text) in cases {
            assert_eq!(sample(value), text);
        }
    }

    #[test]
    fn times_have_three_decimals_or_none() {
        let cases = [
            (1_435_781_430_000, "1435781430"),
            (1_435_781_451_781, "1435781451.781"),
            (1, "0.001"),
            (-1, "-0.001"),
            (-1500, "-1.500"),
            (0, "0"),
        ];
        for (time, text) in cases {
            assert_eq!(seconds(time), text);
        }
    }

    #[test]
    fn numbers_read_as_in_go() {
        let cases = [
            ("1", Some(1.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("1_000", Some(1000.0)),
            ("0x1F", Some(31.0)),
            ("0x1p-2", Some(0.25)),
            ("010", Some(8.0)),
            ("08", Some(8.0)),
            ("-3", Some(-3.0)),
            ("iNf", Some(f64::INFINITY)),
            ("1__0", None),
            ("0x", None),
            ("1x", None),
            ("", None),
            ("1.5h", None),
        ];
        for (text, value) in cases {
            assert_eq!(parse(text), value, "{text}");
        }
        assert!(parse("nan").unwrap().is_nan());
    }

    #[test]
    fn durations_have_their_units_in_order() {
        let cases = [
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("1y2w3d4h5m6s7ms", Some(31_536_000_000 + 1_209_600_000 + 273_906_007)),
            ("0s", Some(0)),
            ("30m1h", None),
            ("1m1m", None),
            ("1.5h", None),
            ("5", None),
            ("m", None),
            ("", None),
            ("300y", None),
        ];
        for (text, value) in cases {
            assert_eq!(parse_duration(text), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn sample_text_reads_back_and_is_shortest(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let text = sample(value);
            if value.is_nan() {
                prop_assert_eq!(text, "NaN");
            } else {
                prop_assert_eq!(parse(&text).unwrap().to_bits(), value.to_bits(), "{}", &text);
                let digits = |t: &str| {
                    let mantissa = t.split('e').next().unwrap_or_default().to_owned();
                    mantissa.chars().filter(char::is_ascii_digit).collect::<String>()
                        .trim_matches('0').len()
                };
                prop_assert_eq!(digits(&text), digits(&format!("{value:e}")));
            }
        }

        #[test]
        fn duration_text_reads_back(ms in 0..DURATION_MS_MAX) {
            prop_assert_eq!(parse_duration(&duration(ms)), Some(ms));
        }
    }
}
