//! Times as shippers write them: RFC 3339 and its relatives, and numbers since 1970.

use record::rfc3339;
use serde_json::Value;

/// Numbers are seconds, milliseconds, microseconds or nanoseconds by their size: the largest that
/// is taken for seconds is the year 5138, which is March 1973 in milliseconds.
const SECONDS_BELOW: f64 = 1e11;
const MILLIS_BELOW: f64 = 1e14;
const MICROS_BELOW: f64 = 1e17;

/// Reads nanoseconds since 1970-01-01 UTC.
pub(super) fn read(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) => from_whole(whole),
            None => from_fraction(number.as_f64()?),
        },
        Value::String(text) => from_text(text.trim()),
        _ => None,
    }
}

fn from_whole(number: i64) -> Option<i64> {
    let size = number.unsigned_abs() as f64;
    let nanos = if size < SECONDS_BELOW {
        1_000_000_000
    } else if size < MILLIS_BELOW {
        1_000_000
    } else if size < MICROS_BELOW {
        1_000
    } else {
        1
    };
    number.checked_mul(nanos)
}

/// Microseconds are all that a float of today's seconds holds.
fn from_fraction(number: f64) -> Option<i64> {
    let size = number.abs();
    let micros = if size < SECONDS_BELOW {
        number * 1e6
    } else if size < MILLIS_BELOW {
        number * 1e3
    } else if size < MICROS_BELOW {
        number
    } else {
        number / 1e3
    };
    // Casting saturates, and what saturated does not fit nanoseconds either.
    (micros.round() as i64).checked_mul(1_000)
}

/// Accepts a blank for the `T`, no zone for UTC, and a zone without its colon.
fn from_text(text: &str) -> Option<i64> {
    if let Some(time) = rfc3339::parse(text.as_bytes()) {
        return Some(time);
    }
    if let Ok(number) = text.parse::<i64>() {
        return from_whole(number);
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number && let Ok(number) = text.parse() {
        return from_fraction(number);
    }
    let (date, rest) = text.split_at_checked(10)?;
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    let zone = match zone.split_at_checked(3) {
        None if zone.is_empty() => "Z".to_owned(),
        None => zone.to_owned(),
        Some((hours, minutes)) => format!("{hours}:{}", minutes.trim_start_matches(':')),
    };
    rfc3339::parse(format!("{date}T{}{zone}", clock.trim_end().replace(',', ".")).as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_to_write_one_moment() {
        let moment = 1_764_076_800_123_000_000;
        for value in [
            json!("2025-11-25T13:20:00.123Z"),
            json!("2025-11-25 13:20:00.123"),
            json!("2025-11-25 13:20:00,123"),
            json!("2025-11-25T14:20:00.123+0100"),
            json!("2025-11-25T14:20:00.123+01:00"),
            json!(1_764_076_800.123),
            json!(1_764_076_800_123_i64),
            json!(1_764_076_800_123_000_i64),
            json!(1_764_076_800_123_000_000_i64),
            json!(1_764_076_800_123.0),
            json!("1764076800.123"),
            json!("1764076800123"),
        ] {
            assert_eq!(read(&value), Some(moment), "{value}");
        }
        assert_eq!(read(&json!(1_764_076_800)), Some(1_764_076_800_000_000_000));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for value in [
            json!(null),
            json!({}),
            json!("yesterday"),
            json!(""),
            json!("2025-11-25"),
            json!("2025-13-25 00:00:00"),
            json!("ä025-11-25 00:00:00"),
            json!(1e300),
            json!("."),
        ] {
            assert_eq!(read(&value), None, "{value}");
        }
    }
}
