//! The two ways of writing a duration, and the one way of printing it.

const NANOS_PER_MILLI: i64 = 1_000_000;
const NANOS_PER_SECOND: i64 = 1_000 * NANOS_PER_MILLI;

/// Prometheus' units, largest first: each may stand once, in this order.
const PROMETHEUS_UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400 * NANOS_PER_SECOND),
    ("w", 7 * 86_400 * NANOS_PER_SECOND),
    ("d", 86_400 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", NANOS_PER_MILLI),
];

/// Go's units, any number of times in any order.
const GO_UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("\u{b5}s", 1e3),
    ("\u{3bc}s", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3_600e9),
];

/// Reads `1h30m`: whole numbers, units of [`PROMETHEUS_UNITS`] in falling order. Nanoseconds.
///
/// # Errors
/// A message that quotes the text.
pub fn parse_prometheus_duration(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    if text == "0" {
        return Ok(0);
    }
    let invalid = || format!("not a valid duration string: {text:?}");
    let mut rest = text;
    let mut total: i64 = 0;
    let mut smallest_seen = None;
    while !rest.is_empty() {
        let (digits, after) = split_while(rest, |c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(invalid());
        }
        let (unit, after) = split_while(after, |c| !c.is_ascii_digit());
        let at = PROMETHEUS_UNITS.iter().position(|(name, _)| *name == unit);
        let Some(at) = at else {
            return Err(format!("unknown unit {unit:?} in duration {text:?}"));
        };
        if smallest_seen.is_some_and(|seen| at <= seen) {
            return Err(invalid());
        }
        smallest_seen = Some(at);
        let (_, nanos) = PROMETHEUS_UNITS[at];
        let part = digits.parse::<i64>().ok().and_then(|count| count.checked_mul(nanos));
        total = part
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| "duration out of range".to_owned())?;
        rest = after;
    }
    Ok(total)
}

/// Reads a Go duration (`1.5h`, `-2ms`, `0`). Nanoseconds.
///
/// # Errors
/// The message Go gives, which ends up in `__error_details__`.
pub fn parse_go_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or("")),
        Some(b'+') => (false, text.get(1..).unwrap_or("")),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
        let value: f64 = number.parse().map_err(|_not_a_number| invalid())?;
        let (unit, after) = split_while(after, |c| !c.is_ascii_digit() && c != '.');
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let nanos = GO_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, nanos)| nanos);
        let Some(nanos) = nanos else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        total += value * nanos;
        rest = after;
    }
    if !total.is_finite() || total >= i64::MAX as f64 {
        return Err(invalid());
    }
    let total = total.round() as i64;
    Ok(if negative { -total } else { total })
}

/// Prints nanoseconds so that [`parse_go_duration`] reads them back, and
/// [`parse_prometheus_duration`] does when they are whole milliseconds: `1h30m`, `250ms`.
pub fn format_duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    if nanos < 0 {
        text.push('-');
    }
    let mut rest = nanos.unsigned_abs();
    let units: [(u64, &str); 6] = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    for (size, unit) in units {
        let count = rest / size;
        if count != 0 {
            text.push_str(&count.to_string());
            text.push_str(unit);
            rest %= size;
        }
    }
    text
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !keep(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prometheus_durations() {
        let cases: &[(&str, Result<i64, &str>)] = &[
            ("5m", Ok(300 * NANOS_PER_SECOND)),
            ("1h30m", Ok(5_400 * NANOS_PER_SECOND)),
            ("1d2h", Ok(26 * 3_600 * NANOS_PER_SECOND)),
            ("250ms", Ok(250 * NANOS_PER_MILLI)),
            ("", Err("empty duration string")),
            ("5minutes", Err("unknown unit \"minutes\" in duration \"5minutes\"")),
            ("30m1h", Err("not a valid duration string: \"30m1h\"")),
            ("1.5h", Err("unknown unit \".\" in duration \"1.5h\"")),
            ("m", Err("not a valid duration string: \"m\"")),
            ("5", Err("unknown unit \"\" in duration \"5\"")),
            ("999999y", Err("duration out of range")),
        ];
        for (text, expected) in cases {
            let expected = expected.map_err(str::to_owned);
            assert_eq!(parse_prometheus_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn go_durations() {
        assert_eq!(parse_go_duration("1.5h"), Ok(5_400 * NANOS_PER_SECOND));
        assert_eq!(parse_go_duration("-10ms"), Ok(-10 * NANOS_PER_MILLI));
        let unknown = parse_go_duration("1d").expect_err("Go has no days");
        assert_eq!(unknown, "time: unknown unit \"d\" in duration \"1d\"");
    }

    proptest! {
        #[test]
        fn printed_durations_read_back(nanos in -10_i64.pow(15)..10_i64.pow(15)) {
            prop_assert_eq!(parse_go_duration(&format_duration(nanos)), Ok(nanos));
            let millis = nanos.abs() / NANOS_PER_MILLI * NANOS_PER_MILLI;
            prop_assert_eq!(parse_prometheus_duration(&format_duration(millis)), Ok(millis));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = (parse_go_duration(&text).is_ok(), parse_prometheus_duration(&text).is_ok());
        }
    }
}
