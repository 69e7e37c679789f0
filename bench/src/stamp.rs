//! Times as text, the way logs write them.

use crate::digits::push_padded;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A form of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `2025-11-14T22:13:20.123456789Z`, as runtimes write.
    NanosZ,
    /// `2025-11-14T22:13:20.123456Z`
    MicrosZ,
    /// `2025-11-14T22:13:20.123Z`
    MillisZ,
    /// `2025-11-14 22:13:20,123`, as Python writes.
    Comma,
    /// `2025/11/14 22:13:20`, as Go writes.
    Slash,
    /// `1114 22:13:20.123456`, as Kubernetes writes.
    Klog,
    /// `14/Nov/2025:22:13:20 +0000`, as web servers write.
    Clf,
}

/// Writes times; the text of one second is made once, since most follow in the same second.
#[derive(Debug)]
pub(crate) struct Stamps {
    second: i64,
    nanos: i64,
    /// `2025-11-14`
    date: String,
    /// `22:13:20`
    time: String,
    /// `2025/11/14`
    slashed: String,
    /// `1114`
    short: String,
    /// `14/Nov/2025`
    clf: String,
}

impl Stamps {
    pub(crate) fn new() -> Self {
        let text = String::new;
        let mut stamps = Self {
            second: i64::MIN,
            nanos: 0,
            date: text(),
            time: text(),
            slashed: text(),
            short: text(),
            clf: text(),
        };
        stamps.set(0);
        stamps
    }

    /// Sets the time, ns since the Unix epoch, that [`Stamps::push`] writes.
    pub(crate) fn set(&mut self, time_ns: i64) {
        self.nanos = time_ns.rem_euclid(NANOS_PER_SECOND);
        let second = time_ns.div_euclid(NANOS_PER_SECOND);
        if second == self.second {
            return;
        }
        self.second = second;
        let (year, month, day) = civil(second.div_euclid(86_400));
        let of_day = second.rem_euclid(86_400);
        let name = MONTHS[(month - 1) as usize];
        self.date = format!("{year:04}-{month:02}-{day:02}");
        self.slashed = format!("{year:04}/{month:02}/{day:02}");
        self.short = format!("{month:02}{day:02}");
        self.clf = format!("{day:02}/{name}/{year:04}");
        self.time = format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
    }

    /// Appends the time to `out`.
    pub(crate) fn push(&self, form: Form, out: &mut String) {
        let (date, between) = match form {
            Form::NanosZ | Form::MicrosZ | Form::MillisZ => (&self.date, 'T'),
            Form::Comma => (&self.date, ' '),
            Form::Slash => (&self.slashed, ' '),
            Form::Klog => (&self.short, ' '),
            Form::Clf => (&self.clf, ':'),
        };
        out.push_str(date);
        out.push(between);
        out.push_str(&self.time);
        let nanos = self.nanos.unsigned_abs();
        let (separator, value, width, end) = match form {
            Form::NanosZ => (".", nanos, 9, "Z"),
            Form::MicrosZ => (".", nanos / 1_000, 6, "Z"),
            Form::MillisZ => (".", nanos / 1_000_000, 3, "Z"),
            Form::Comma => (",", nanos / 1_000_000, 3, ""),
            Form::Klog => (".", nanos / 1_000, 6, ""),
            Form::Clf => (" +0000", 0, 0, ""),
            Form::Slash => ("", 0, 0, ""),
        };
        out.push_str(separator);
        push_padded(value, width, out);
        out.push_str(end);
    }
}

/// Year, month and day of days since the Unix epoch. Howard Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_right_in_every_form() {
        let text = |form, time_ns| {
            let mut stamps = Stamps::new();
            stamps.set(time_ns);
            let mut out = String::new();
            stamps.push(form, &mut out);
            out
        };
        let time_ns = 1_700_000_000_123_456_789;
        for (form, expected) in [
            (Form::NanosZ, "2023-11-14T22:13:20.123456789Z"),
            (Form::MicrosZ, "2023-11-14T22:13:20.123456Z"),
            (Form::MillisZ, "2023-11-14T22:13:20.123Z"),
            (Form::Comma, "2023-11-14 22:13:20,123"),
            (Form::Slash, "2023/11/14 22:13:20"),
            (Form::Klog, "1114 22:13:20.123456"),
            (Form::Clf, "14/Nov/2023:22:13:20 +0000"),
        ] {
            assert_eq!(text(form, time_ns), expected);
        }
        assert_eq!(text(Form::MillisZ, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(Form::MillisZ, 951_782_400_000_000_000), "2000-02-29T00:00:00.000Z");
    }
}
