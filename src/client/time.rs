//! Instants as people read them, in UTC.

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Renders nanoseconds since 1970 as RFC 3339 with milliseconds.
pub(crate) fn rfc3339_millis(unix_nanos: i64) -> String {
    let seconds = unix_nanos.div_euclid(NANOS_PER_SECOND);
    let millis = unix_nanos.rem_euclid(NANOS_PER_SECOND) / 1_000_000;
    let (year, month, day) = civil(seconds.div_euclid(SECONDS_PER_DAY));
    let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Turns days since 1970-01-01 into year, month and day of the Gregorian calendar.
///
/// Counts in eras of 400 years and years that begin in March, so that a leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    let since_march_0000 = days + 719_468;
    let era = since_march_0000.div_euclid(DAYS_PER_ERA);
    let day_of_era = since_march_0000.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (unix_nanos, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123Z"),
            (4_107_542_399_999_000_000, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339_millis(unix_nanos), text);
        }
    }
}
