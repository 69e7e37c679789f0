//! Values as JSON, byte for byte as the reference writes them.

use std::fmt::Write;
use std::time::Duration;

use super::envelope::json;
use crate::promql::{Outcome, SeriesSamples, Stats, number};

/// The `data` of a query's answer.
pub(super) fn data(outcome: &Outcome, stats: Option<&Stats>) -> String {
    let mut out = String::new();
    let (kind, write): (_, &dyn Fn(&mut String)) = match outcome {
        Outcome::Scalar { time_ms, value } => {
            ("scalar", &move |out: &mut String| point(out, *time_ms, *value))
        }
        Outcome::Text { time_ms, text } => ("string", &move |out: &mut String| {
            out.push_str(&format!("[{},{}]", number::seconds(*time_ms), json(text)));
        }),
        Outcome::Vector { time_ms, series } => ("vector", &move |out: &mut String| {
            list(out, series, |out, (labels, value)| {
                out.push_str(&format!(r#"{{"metric":{},"value":"#, labels.to_json()));
                point(out, *time_ms, *value);
                out.push('}');
            });
        }),
        Outcome::Matrix { series } => {
            ("matrix", &move |out: &mut String| list(out, series, samples))
        }
    };
    out.push_str(&format!(r#"{{"resultType":"{kind}","result":"#));
    write(&mut out);
    if let Some(stats) = stats {
        out.push_str(r#","stats":"#);
        out.push_str(&cost(stats));
    }
    out.push('}');
    out
}

fn samples(out: &mut String, series: &SeriesSamples) {
    out.push_str(&format!(r#"{{"metric":{},"values":"#, series.labels.to_json()));
    let points: Vec<(i64, f64)> =
        series.times.iter().copied().zip(series.values.iter().copied()).collect();
    list(out, &points, |out, (time_ms, value)| point(out, *time_ms, *value));
    out.push('}');
}

fn list<T>(out: &mut String, items: &[T], write: impl Fn(&mut String, &T)) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at != 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

fn point(out: &mut String, time_ms: i64, value: f64) {
    // Writing to a string cannot fail.
    let written = write!(out, r#"[{},"{}"]"#, number::seconds(time_ms), number::sample(value));
    debug_assert!(written.is_ok());
}

fn cost(stats: &Stats) -> String {
    let secs = |duration: Duration| duration.as_secs_f64();
    let total = stats.prepare.saturating_add(stats.evaluate);
    json(&serde_json::json!({
        "timings": {
            "evalTotalTime": secs(total),
            "resultSortTime": 0.0,
            "queryPreparationTime": secs(stats.prepare),
            "innerEvalTime": secs(stats.evaluate),
            "execQueueTime": 0.0,
            "execTotalTime": secs(total),
        },
        "samples": {
            "totalQueryableSamples": stats.samples_looked_at,
            "samplesRead": stats.samples_read,
            "peakSamples": stats.samples_peak,
        },
    }))
}

#[cfg(test)]
mod tests {
    use record::Labels;

    use super::*;

    #[test]
    fn values_are_written_as_the_reference_writes_them() {
        let labels = Labels::from_pairs([("__name__", "up"), ("a", "\"")]);
        let matrix = Outcome::Matrix {
            series: vec![SeriesSamples {
                labels: labels.clone(),
                times: vec![1_435_781_430_000, 1_435_781_430_001],
                values: vec![1.0, f64::NAN],
            }],
        };
        let cases = [
            (
                Outcome::Scalar { time_ms: 4_000, value: 2.0 },
                r#"{"resultType":"scalar","result":[4,"2"]}"#,
            ),
            (
                Outcome::Text { time_ms: 1, text: "a\"b".to_owned() },
                r#"{"resultType":"string","result":[0.001,"a\"b"]}"#,
            ),
            (
                Outcome::Vector { time_ms: 0, series: vec![(labels, 1e21)] },
                r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","a":"\""},"value":[0,"1e+21"]}]}"#,
            ),
            (
                Outcome::Vector { time_ms: 0, series: Vec::new() },
                r#"{"resultType":"vector","result":[]}"#,
            ),
            (
                matrix,
                r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","a":"\""},"values":[[1435781430,"1"],[1435781430.001,"NaN"]]}]}"#,
            ),
        ];
        for (outcome, expected) in cases {
            assert_eq!(data(&outcome, None), expected);
        }
    }
}
