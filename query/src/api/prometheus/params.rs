//! The grammar of single parameters.

use std::time::Duration;

use record::Matcher;

use super::envelope::ApiError;
use super::form::Form;
use super::time;
use crate::promql::{Wishes, number, parse_selector};

/// A range of time, both ends inclusive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

impl Form {
    pub(super) fn time(&self, name: &'static str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match time::parse(text) {
            Some(ms) => Ok(Some(ms)),
            None => Err(bad_time(name, text)),
        }
    }

    pub(super) fn required_time(&self, name: &'static str) -> Result<i64, ApiError> {
        self.time(name)?.ok_or_else(|| bad_time(name, ""))
    }

    /// `start` and `end`, both optional: all of time.
    pub(super) fn times(&self) -> Result<Times, ApiError> {
        let start_ms = self.time("start")?.unwrap_or(time::FIRST_MS);
        let end_ms = self.time("end")?.unwrap_or(time::LAST_MS);
        if end_ms < start_ms {
            return Err(ApiError::parameter("end", END_BEFORE_START));
        }
        Ok(Times { start_ms, end_ms })
    }

    /// Seconds, or a duration with units, as milliseconds.
    pub(super) fn duration(&self, name: &'static str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match duration(text) {
            Some(ms) => Ok(Some(ms)),
            None => Err(bad_duration(name, text)),
        }
    }

    pub(super) fn required_duration(&self, name: &'static str) -> Result<i64, ApiError> {
        self.duration(name)?.ok_or_else(|| bad_duration(name, ""))
    }

    /// A count, where 0 and none mean no limit.
    pub(super) fn limit(&self, name: &'static str) -> Result<usize, ApiError> {
        let Some(text) = self.get(name) else { return Ok(usize::MAX) };
        let Ok(limit) = text.parse::<i64>() else {
            return Err(ApiError::parameter(name, format!("cannot parse {text:?} to an integer")));
        };
        match usize::try_from(limit) {
            Ok(0) => Ok(usize::MAX),
            Ok(limit) => Ok(limit),
            Err(_) => Err(ApiError::parameter(name, "limit must be non-negative")),
        }
    }

    /// The sets of `match[]`, each with a matcher that selects something.
    pub(super) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        self.all("match[]")
            .map(|text| {
                let matchers =
                    parse_selector(text).map_err(|e| ApiError::parameter("match[]", e))?;
                if matchers.iter().all(Matcher::matches_empty) {
                    let cause = "match[] must contain at least one non-empty matcher";
                    return Err(ApiError::parameter("match[]", cause));
                }
                Ok(matchers)
            })
            .collect()
    }

    /// `timeout` and `lookback_delta`.
    pub(super) fn wishes(&self) -> Result<Wishes, ApiError> {
        let timeout = self.duration("timeout")?;
        let lookback_ms = self.duration("lookback_delta")?;
        if lookback_ms.is_some_and(|ms| ms <= 0) {
            return Err(ApiError::parameter("lookback_delta", "must be greater than 0"));
        }
        let timeout = timeout.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        Ok(Wishes { timeout, lookback_ms })
    }
}

pub(super) const END_BEFORE_START: &str = "end timestamp must not be before start time";

fn duration(text: &str) -> Option<i64> {
    if let Some(ms) = number::parse_duration(text) {
        return i64::try_from(ms).ok();
    }
    let ms = number::float(text)? * 1000.0;
    (ms.abs() <= number::DURATION_MS_MAX as f64).then_some(ms as i64)
}

fn bad_time(name: &'static str, text: &str) -> ApiError {
    ApiError::parameter(name, format!("cannot parse {text:?} to a valid timestamp"))
}

fn bad_duration(name: &'static str, text: &str) -> ApiError {
    ApiError::parameter(name, format!("cannot parse {text:?} to a valid duration"))
}
