//! Numbers as Loki's JSON writes them.

/// A sample's value: shortest decimal that reads back, never an exponent.
pub(super) fn format_value(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value.is_sign_positive() { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

/// A time in seconds with at most three decimals, as a JSON number.
pub(super) fn format_seconds(time_ns: i64) -> String {
    let millis = time_ns.div_euclid(1_000_000);
    let sign = if millis < 0 { "-" } else { "" };
    let (seconds, rest) = (millis.unsigned_abs() / 1_000, millis.unsigned_abs() % 1_000);
    if rest == 0 {
        return format!("{sign}{seconds}");
    }
    let decimals = format!("{rest:03}");
    format!("{sign}{seconds}.{}", decimals.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::inconsistent_digit_grouping, reason = "milliseconds apart")]
    fn writes_what_clients_read() {
        let values = [
            (0.4, "0.4"),
            (1e20, "100000000000000000000"),
            (1e-7, "0.0000001"),
            (2.0, "2"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, expected) in values {
            assert_eq!(format_value(value), expected);
        }
        let times = [
            (1_639_125_366_989_000_000, "1639125366.989"),
            (4_000_000_000, "4"),
            (4_500_000_000, "4.5"),
            (4_010_999_999, "4.01"),
            (0, "0"),
            (-1_500_000_000, "-1.5"),
        ];
        for (time, expected) in times {
            assert_eq!(format_seconds(time), expected);
        }
    }
}
