//! Compares a running system that speaks the Loki API with the oracle, by count and content.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use record::Labels;
use serde_json::Value;

use crate::loki::{Loki, RangeQuery};
use crate::oracle::{Answer, AskFor, Found, LogQuestion, Series, Table};

/// Asks the system and compares with what the table answers.
///
/// # Errors
/// When the answers differ; the error holds the question and the first difference. Also when
/// the system cannot be asked.
pub async fn check(loki: &Loki, table: &Table, question: &LogQuestion) -> anyhow::Result<()> {
    let found = ask(loki, question).await;
    let compared = found.and_then(|found| compare(&table.answer(question), &found));
    compared.with_context(|| {
        let LogQuestion { start_ns, end_ns, ask, .. } = question;
        format!("{} from {start_ns} to {end_ns}, {ask:?}", question.logql())
    })
}

async fn ask(loki: &Loki, question: &LogQuestion) -> anyhow::Result<Answer> {
    let query = &question.logql();
    let (start_ns, end_ns) = (question.start_ns, question.end_ns);
    match question.ask {
        AskFor::Lines { limit, forward } => {
            let ask = RangeQuery { query, start_ns, end_ns, limit, forward };
            let mut found = Vec::new();
            for (labels, entries) in loki.query_range(&ask).await? {
                let labels = label_set(&labels);
                let row = |(time_ns, line)| Found { labels: labels.clone(), time_ns, line };
                found.extend(entries.into_iter().map(row));
            }
            // Streams come one after another.
            found.sort_by_key(|row| if forward { row.time_ns } else { -row.time_ns });
            Ok(Answer::Lines(found))
        }
        AskFor::Values { step_secs, .. } => {
            let step_secs = step_secs.unsigned_abs();
            let answer = loki.matrix(query, (start_ns, end_ns), step_secs).await?;
            let mut series = Series::new();
            for one in &answer {
                let labels = one["metric"].as_object().context("metric")?;
                series.insert(label_set(labels), values(one)?);
            }
            Ok(Answer::Values(series))
        }
    }
}

fn values(series: &Value) -> anyhow::Result<BTreeMap<i64, u64>> {
    let values = series["values"].as_array().context("values")?;
    let point = |pair: &Value| {
        let time = pair[0].as_f64().context("time of a point")?;
        let value: f64 = pair[1].as_str().context("value of a point")?.parse()?;
        Ok((time as i64, value as u64))
    };
    values.iter().map(point).collect()
}

fn label_set(object: &serde_json::Map<String, Value>) -> Labels {
    Labels::from_pairs(object.iter().map(|(n, v)| (n, v.as_str().unwrap_or_default())))
}

/// Compares an answer with the expected one. A row found may have more labels than expected:
/// systems add some, such as the level.
///
/// # Errors
/// With the first difference.
pub fn compare(expected: &Answer, found: &Answer) -> anyhow::Result<()> {
    match (expected, found) {
        (Answer::Lines(expected), Answer::Lines(found)) => {
            for (at, (want, have)) in expected.iter().zip(found).enumerate() {
                let same = want.time_ns == have.time_ns && want.line == have.line;
                let labelled = want.labels.iter().all(|(n, v)| have.labels.get(n) == Some(v));
                ensure!(same && labelled, "row {at} is {have:?}, expected {want:?}");
            }
            let (want, have) = (expected.len(), found.len());
            ensure!(want == have, "{have} rows, expected {want}");
        }
        (Answer::Values(expected), Answer::Values(found)) => {
            for (labels, want) in expected {
                let have = found.get(labels).with_context(|| format!("no series {labels}"))?;
                let differs = |time: &&i64| want.get(*time) != have.get(*time);
                if let Some(time) = want.keys().chain(have.keys()).find(differs) {
                    let (want, have) = (want.get(time), have.get(time));
                    anyhow::bail!("series {labels} at {time} is {have:?}, expected {want:?}");
                }
            }
            let surplus = found.keys().find(|labels| !expected.contains_key(*labels));
            ensure!(surplus.is_none(), "series {surplus:?} was not expected");
        }
        _ => anyhow::bail!("an answer of another kind"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(time_ns: i64, line: &str, labels: &[(&str, &str)]) -> Found {
        let labels = Labels::from_pairs(labels.iter().copied());
        Found { labels, time_ns, line: line.to_owned() }
    }

    fn difference(expected: &Answer, found: &Answer) -> String {
        compare(expected, found).map_or_else(|error| error.to_string(), |()| "none".to_owned())
    }

    #[test]
    fn lines_differ_by_count_time_text_and_labels_but_not_by_more_labels() {
        let app = [("app", "a")];
        let expected = Answer::Lines(vec![row(1, "x", &app), row(2, "y", &app)]);
        let more = [("app", "a"), ("detected_level", "info")];
        let found = |rows: Vec<Found>| difference(&expected, &Answer::Lines(rows));
        assert_eq!(found(vec![row(1, "x", &more), row(2, "y", &app)]), "none");
        assert_eq!(found(vec![row(1, "x", &app)]), "1 rows, expected 2");
        assert!(found(vec![row(1, "x", &app), row(3, "y", &app)]).starts_with("row 1"));
        assert!(found(vec![row(1, "z", &app), row(2, "y", &app)]).starts_with("row 0"));
        assert!(found(vec![row(1, "x", &[]), row(2, "y", &app)]).starts_with("row 0"));
    }

    #[test]
    fn series_differ_by_points_missing_surplus_or_other() {
        fn labels(app: &str) -> Labels {
            Labels::from_pairs([("app", app)])
        }
        let answer = |series: &[(&str, &[(i64, u64)])]| {
            let of = series.iter().map(|(app, points)| {
                (labels(app), points.iter().copied().collect::<BTreeMap<i64, u64>>())
            });
            Answer::Values(of.collect())
        };
        let expected = answer(&[("a", &[(60, 2), (120, 1)])]);
        let found = |series: &[(&str, &[(i64, u64)])]| difference(&expected, &answer(series));
        assert_eq!(found(&[("a", &[(60, 2), (120, 1)])]), "none");
        assert!(found(&[("a", &[(60, 2)])]).contains("at 120 is None, expected Some(1)"));
        assert!(found(&[("a", &[(60, 3), (120, 1)])]).contains("at 60 is Some(3)"));
        assert!(found(&[("a", &[(60, 2), (120, 1), (180, 1)])]).contains("at 180"));
        assert!(found(&[]).starts_with("no series"));
        assert!(found(&[("a", &[(60, 2), (120, 1)]), ("b", &[])]).contains("not expected"));
    }
}
