//! Times and durations as Loki's parameters write them.

use crate::logql::parse_prometheus_duration;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// Integers of at most this many characters are seconds; longer ones are nanoseconds.
const SECONDS_CHARACTERS_MAX: usize = 10;

/// Reads float seconds, integer seconds, integer nanoseconds or RFC 3339, as Unix nanoseconds.
///
/// # Errors
/// When the text is none of these, or a time out of range.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if text.contains('.')
        && let Ok(seconds) = text.parse::<f64>()
    {
        let millis = (seconds * 1e3).round();
        if millis.is_finite() && millis.abs() < 9.2e12 {
            return Ok(millis as i64 * NANOS_PER_MILLI);
        }
        return Err(format!("time {text:?} is out of range"));
    }
    if let Ok(number) = text.parse::<i64>() {
        if text.len() <= SECONDS_CHARACTERS_MAX {
            return Ok(number.saturating_mul(NANOS_PER_SECOND));
        }
        return Ok(number);
    }
    parse_rfc3339(text).ok_or_else(|| {
        format!("parsing time {text:?} as \"2006-01-02T15:04:05.999999999Z07:00\": cannot parse")
    })
}

/// Reads float seconds or a Prometheus duration, as nanoseconds.
pub(super) fn parse_step(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let nanos = seconds * 1e9;
        if nanos.is_finite() && nanos.abs() < 9.2e18 {
            return Ok(nanos as i64);
        }
        return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
    }
    parse_prometheus_duration(text)
        .map_err(|_why| format!("cannot parse {text:?} to a valid duration"))
}

/// `2006-01-02T15:04:05.999999999Z`, or with an offset such as `+02:00`.
fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let [year, month, day] = numbers::<3>(date, '-', [4, 2, 2])?;
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [hour, minute, second] = numbers::<3>(clock, ':', [2, 2, 2])?;
    let valid = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset_seconds(zone)?;
    seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(fraction_nanos(fraction)?)
}

fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn fraction_nanos(fraction: &str) -> Option<i64> {
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    nine.parse().ok()
}

fn offset_seconds(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let [hours, minutes] = numbers::<2>(zone.get(1..)?, ':', [2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, by counting years from March so that the leap day comes last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_four_forms() {
        let cases = [
            ("1700000000", Some(1_700_000_000_000_000_000)),
            ("1700000000.5", Some(1_700_000_000_500_000_000)),
            ("1.23456", Some(1_235_000_000)),
            ("4000000000", Some(4_000_000_000_000_000_000)),
            ("1700000000123", Some(1_700_000_000_123)),
            ("1700000000000000001", Some(1_700_000_000_000_000_001)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000_000_000_000)),
            ("2023-11-14T22:13:20.000000001Z", Some(1_700_000_000_000_000_001)),
            ("2023-11-15T00:13:20.5+02:00", Some(1_700_000_000_500_000_000)),
            ("2000-02-29T00:00:00Z", Some(951_782_400_000_000_000)),
            ("1969-12-31T23:59:59Z", Some(-1_000_000_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2023-11-14T24:00:00Z", None),
            ("2023-11-14", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_time(text).ok(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = (parse_time(&text).is_ok(), parse_step(&text).is_ok());
        }
    }
}
