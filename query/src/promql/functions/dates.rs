//! Calendar fields of Unix seconds, in UTC.
//!
//! A day's date is computed from days since 0000-03-01 in eras of 400 years, in which leap years
//! repeat; March first puts the leap day at the end of the year.

use super::Id;

const DAY_SECS: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;
const ERA_DAYS: i64 = 146_097;

/// The body of a function that reads a calendar field. What is no time gives NaN.
pub(crate) fn field(id: Id) -> Option<fn(f64) -> f64> {
    Some(match id {
        Id::Minute => |t| with(t, |secs| secs.rem_euclid(3600) / 60),
        Id::Hour => |t| with(t, |secs| secs.rem_euclid(DAY_SECS) / 3600),
        Id::DayOfWeek => |t| with(t, |secs| (secs.div_euclid(DAY_SECS) + 4).rem_euclid(7)),
        Id::DayOfMonth => |t| with(t, |secs| date(secs).day),
        Id::DayOfYear => |t| with(t, |secs| day_of_year(&date(secs))),
        Id::DaysInMonth => |t| with(t, |secs| days_in_month(&date(secs))),
        Id::Month => |t| with(t, |secs| date(secs).month),
        Id::Year => |t| with(t, |secs| date(secs).year),
        _ => return None,
    })
}

fn with(time: f64, read: impl Fn(i64) -> i64) -> f64 {
    // Beyond this no calendar means anything, and the arithmetic below would overflow.
    const SECS_MAX: f64 = 1e15;
    if time.is_nan() || SECS_MAX < time.abs() {
        return f64::NAN;
    }
    read(time.trunc() as i64) as f64
}

struct Date {
    year: i64,
    /// From 1.
    month: i64,
    /// From 1.
    day: i64,
}

fn date(secs: i64) -> Date {
    let days = secs.div_euclid(DAY_SECS) + EPOCH_DAYS;
    let era = days.div_euclid(ERA_DAYS);
    let day_of_era = days.rem_euclid(ERA_DAYS);
    // Whole years before this day: leap days of 4, 100 and 400 years taken out.
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_march_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 153 days per five.
    let march_month = (5 * day_of_march_year + 2) / 153;
    let day = day_of_march_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date { year, month, day }
}

/// Days from 1970-01-01 to a date.
pub(crate) fn unix_days(year: i64, month: i64, day: i64) -> i64 {
    let march_year = year - i64::from(month <= 2);
    let march_month = (month + 9) % 12;
    let day_of_march_year = (153 * march_month + 2) / 5 + day - 1;
    let year_of_era = march_year.rem_euclid(400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_march_year;
    march_year.div_euclid(400) * ERA_DAYS + day_of_era - EPOCH_DAYS
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(date: &Date) -> i64 {
    match date.month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(date.year) => 29,
        2 => 28,
        _ => 31,
    }
}

fn day_of_year(date: &Date) -> i64 {
    let before = |month| days_in_month(&Date { year: date.year, month, day: 1 });
    (1..date.month).map(before).sum::<i64>() + date.day
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn fields_of_known_times() {
        // 2006-01-02 22:04:05, a Monday; leap days; before 1970.
        let cases = [
            (Id::Year, 1_136_239_445.0, 2006.0),
            (Id::Month, 1_136_239_445.0, 1.0),
            (Id::DayOfMonth, 1_136_239_445.0, 2.0),
            (Id::DayOfWeek, 1_136_239_445.0, 1.0),
            (Id::Hour, 1_136_239_445.0, 22.0),
            (Id::Minute, 1_136_239_445.0, 4.0),
            (Id::DayOfMonth, 1_456_790_399.0, 29.0),
            (Id::DayOfYear, 1_483_191_420.0, 366.0),
            (Id::DaysInMonth, 1_454_284_800.0, 29.0),
            (Id::DaysInMonth, 1_485_907_200.0, 28.0),
            (Id::Year, -1.0, 1969.0),
            (Id::Year, -86_401.0, 1969.0),
            (Id::DayOfWeek, 0.0, 4.0),
        ];
        for (id, time, value) in cases {
            assert_eq!(field(id).unwrap()(time), value, "{id:?} of {time}");
        }
        assert!(field(Id::Year).unwrap()(f64::NAN).is_nan());
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut previous = date(-800 * 365 * DAY_SECS);
        for day in (-800 * 365 + 1)..(800 * 365) {
            let next = date(day * DAY_SECS);
            let month_over = previous.day == days_in_month(&previous);
            let expected = match (month_over, previous.month) {
                (false, month) => (previous.year, month, previous.day + 1),
                (true, 12) => (previous.year + 1, 1, 1),
                (true, month) => (previous.year, month + 1, 1),
            };
            assert_eq!((next.year, next.month, next.day), expected);
            assert_eq!(unix_days(next.year, next.month, next.day), day);
            previous = next;
        }
    }
}
