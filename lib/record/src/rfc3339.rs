//! RFC 3339 times as container runtimes write them, to nanoseconds, by byte scan.

const NANOS_PER_SEC: i64 = 1_000_000_000;

/// Reads `YYYY-MM-DDThh:mm:ss[.fraction](Z|±hh:mm)` with 0 to 9 fraction digits.
///
/// Returns nanoseconds since 1970-01-01 UTC, or `None` when the text is anything else or lies
/// outside the years an `i64` of nanoseconds covers (1677 to 2262).
pub fn parse(text: &[u8]) -> Option<i64> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let [y0, y1, y2, y3, b'-', mo0, mo1, b'-', d0, d1, t, h0, h1, b':', mi0, mi1, b':', s0, s1] =
        *date_time
    else {
        return None;
    };
    if t != b'T' && t != b't' {
        return None;
    }
    let year = two(y0, y1)? * 100 + two(y2, y3)?;
    let (month, day) = (two(mo0, mo1)?, two(d0, d1)?);
    let (hour, minute, second) = (two(h0, h1)?, two(mi0, mi1)?, two(s0, s1)?);
    // Second 60 is a leap second; it becomes the first second of the next minute.
    if day < 1 || days_in_month(year, month)? < day || 23 < hour || 59 < minute || 60 < second {
        return None;
    }
    let (nanos, zone) = fraction(rest)?;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second
        - zone_seconds(zone)?;
    seconds.checked_mul(NANOS_PER_SEC)?.checked_add(nanos)
}

/// Reads `.123` at the start; returns nanoseconds and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let mut nanos = 0;
    let mut count = 0;
    for byte in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        nanos = nanos * 10 + i64::from(byte - b'0');
        count += 1;
        if 9 < count {
            return None;
        }
    }
    for _ in count..9 {
        nanos *= 10;
    }
    Some((nanos, digits.get(count..)?))
}

/// Returns how far local time is ahead of UTC.
fn zone_seconds(zone: &[u8]) -> Option<i64> {
    match *zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hour, minute) = (two(h0, h1)?, two(m0, m1)?);
            if 23 < hour || 59 < minute {
                return None;
            }
            let ahead = hour * 3_600 + minute * 60;
            Some(if sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}

fn two(tens: u8, ones: u8) -> Option<i64> {
    if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return None;
    }
    Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

fn days_in_month(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 if leap => Some(29),
        2 => Some(28),
        _ => None,
    }
}

/// Counts days from 1970-01-01 in the Gregorian calendar.
///
/// Years start in March here, so that the leap day comes last and the month lengths follow the
/// 153-days-in-five-months pattern.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(parse(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn reads_every_form_a_runtime_writes() {
        check("1970-01-01T00:00:00Z", Some(0));
        check("1970-01-01T00:00:00.000000001Z", Some(1));
        check("1970-01-01T01:00:00+01:00", Some(0));
        check("1969-12-31T19:30:00.5-04:30", Some(500_000_000));
        check("2000-02-29T00:00:00Z", Some(951_782_400 * NANOS_PER_SEC));
        check("2016-10-06T00:17:09.669794202Z", Some(1_475_713_029_669_794_202));
        check("2024-12-31T23:59:60Z", Some(1_735_689_600 * NANOS_PER_SEC));
        check("1969-12-31T23:59:59.999999999z", Some(-1));
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "2024-01-01",
            "2024-01-01 00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-10T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.1234567890Z",
            "2024-01-01T00:00:00+0100",
            "2024-01-01T00:00:00Zx",
            "9999-01-01T00:00:00Z",
            "+024-01-01T00:00:00Z",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn days_agree_with_counting_them_one_by_one() {
        let mut days = -719_162; // 0001-01-01
        for year in 1..=2400 {
            for month in 1..=12 {
                let length = days_in_month(year, month).unwrap_or(0);
                for day in 1..=length {
                    assert_eq!(days_since_1970(year, month, day), days);
                    days += 1;
                }
            }
        }
    }
}
