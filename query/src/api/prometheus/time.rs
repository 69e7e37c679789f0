//! Times in parameters: Unix seconds with fractions, or RFC 3339.

use crate::promql::functions::unix_days;
use crate::promql::number;

/// Times are cut to this many milliseconds around 1970, so that moving them cannot overflow.
const TIME_MS_MAX: i64 = i64::MAX / 8;
/// What the reference's own client sends for "the beginning" and "the end".
const FIRST_AND_LAST: [(&str, i64); 2] = [
    ("-292273086-05-16T16:47:06Z", -TIME_MS_MAX),
    ("292277025-08-18T07:12:54.999999999Z", TIME_MS_MAX),
];

/// The beginning of time.
pub(super) const FIRST_MS: i64 = -TIME_MS_MAX;
/// The end of time.
pub(super) const LAST_MS: i64 = TIME_MS_MAX;

/// Reads a time as Unix milliseconds, rounded.
pub(super) fn parse(text: &str) -> Option<i64> {
    if let Some(seconds) = number::float(text) {
        let ms = (seconds * 1000.0).round();
        return (!ms.is_nan()).then(|| (ms as i64).clamp(FIRST_MS, LAST_MS));
    }
    let special = FIRST_AND_LAST.iter().find(|(known, _)| *known == text);
    special.map(|(_, ms)| *ms).or_else(|| rfc3339(text))
}

/// `2015-07-01T20:10:30.781Z`, or with an offset such as `+02:00`.
fn rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let (clock, offset_secs) = split_offset(time)?;
    let [year, month, day] = fixed(date, '-', [4, 2, 2])?;
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = fixed(whole, ':', [2, 2, 2])?;
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range || fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction_ms = (format!("0.{fraction}").parse::<f64>().ok()? * 1000.0).round() as i64;
    let seconds = unix_days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds - offset_secs) * 1000 + fraction_ms)
}

fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let at = time.rfind(['+', '-'])?;
    let (clock, offset) = time.split_at_checked(at)?;
    let [hours, minutes] = fixed(offset.get(1..)?, ':', [2, 2])?;
    let seconds = hours * 3_600 + minutes * 60;
    Some((clock, if offset.starts_with('-') { -seconds } else { seconds }))
}

/// Numbers of fixed widths between separators.
fn fixed<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width)?;
        *number = part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_and_the_ends_of_time_are_read() {
        let cases = [
            ("1435781451.781", Some(1_435_781_451_781)),
            ("1435781451.7815", Some(1_435_781_451_782)),
            ("-1", Some(-1000)),
            ("2015-07-01T20:10:51.781Z", Some(1_435_781_451_781)),
            ("2015-07-01T22:10:51.781+02:00", Some(1_435_781_451_781)),
            ("2015-07-01T19:40:51.781-00:30", Some(1_435_781_451_781)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1600096945479000", Some(1_600_096_945_479_000_000 / 8 * 8)),
            ("1e300", Some(LAST_MS)),
            ("-292273086-05-16T16:47:06Z", Some(FIRST_MS)),
            ("292277025-08-18T07:12:54.999999999Z", Some(LAST_MS)),
            ("", None),
            ("nan", None),
            ("2015-13-01T00:00:00Z", None),
            ("2015-07-01", None),
            ("2015-07-01T20:10:51.Z", None),
            ("2015-07-01T20:10:51", None),
            ("+015-07-01T20:10:51Z", None),
        ];
        for (text, expected) in cases {
            let found = parse(text);
            assert_eq!(found, expected.map(|ms: i64| ms.clamp(FIRST_MS, LAST_MS)), "{text}");
        }
    }
}
