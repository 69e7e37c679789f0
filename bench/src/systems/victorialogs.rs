//! VictoriaLogs: `/insert/jsonline`, LogsQL `/select/logsql/query` and `/select/logsql/hits`.

use runtime::http::Outgoing;
use serde_json::Value;

use super::rival::{Body, Entry, Rival};
use crate::loki::encode;
use crate::questions::{Question, Search, Want};

/// Our labels make the stream; the level is a field like any other.
const INSERT: &str = "/insert/jsonline?_time_field=_time&_msg_field=_msg\
                      &_stream_fields=namespace,pod,container,service_name,node,stream";

/// One JSON object a line.
#[derive(Debug, Default)]
pub(super) struct JsonLines(Vec<u8>);

impl Body for JsonLines {
    fn push(&mut self, entry: &Entry<'_>) {
        let mut object = serde_json::Map::new();
        // Integers of this size are taken as ns.
        object.insert("_time".to_owned(), Value::from(entry.time_ns.to_string()));
        // A message that is empty would be taken as missing.
        let line = if entry.line.is_empty() { " " } else { entry.line };
        object.insert("_msg".to_owned(), Value::from(line));
        object.insert("detected_level".to_owned(), Value::from(entry.level));
        for (name, value) in entry.labels.iter() {
            object.insert(name.to_owned(), Value::from(value));
        }
        // A map of strings always becomes JSON.
        self.0.extend(serde_json::to_vec(&object).unwrap_or_default());
        self.0.push(b'\n');
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

pub(super) async fn write(rival: &Rival, body: Vec<u8>) -> anyhow::Result<()> {
    let url = format!("{}{INSERT}", rival.push_address);
    rival.send(Outgoing::post(&url, "application/stream+json", body)).await?;
    Ok(())
}

/// Makes what was written searchable and writes it to disk.
pub(super) async fn flush(rival: &Rival) -> anyhow::Result<()> {
    rival.send(Outgoing::get(&format!("{}/internal/force_flush", rival.push_address))).await?;
    Ok(())
}

/// The question in LogsQL, without its time range.
pub(super) fn logsql(question: &Question) -> String {
    let filter = match &question.search {
        Search::Everything => "*".to_owned(),
        Search::Word(word) => quoted(word),
        Search::Text(text) => format!("~{}", quoted(&regex::escape(text))),
        Search::Regex(pattern) => format!("~{}", quoted(pattern)),
    };
    match question.want {
        Want::Newest(limit) => format!("{filter} | sort by (_time) desc limit {limit}"),
        Want::Total => format!("{filter} | stats count() as rows"),
        Want::PerMinute | Want::PerMinuteAndLevel => filter,
    }
}

/// A string literal of LogsQL, which has Go's escapes.
fn quoted(text: &str) -> String {
    crate::oracle::quote(text)
}

pub(super) async fn ask(
    rival: &Rival,
    question: &Question,
    (start_ns, end_ns): (i64, i64),
) -> anyhow::Result<u64> {
    let query = encode(&logsql(question));
    let endpoint = match question.want {
        Want::Newest(_) | Want::Total => "query?",
        Want::PerMinute => "hits?step=1m&",
        Want::PerMinuteAndLevel => "hits?step=1m&field=detected_level&",
    };
    let url = format!(
        "{}/select/logsql/{endpoint}query={query}&start={start_ns}&end={end_ns}",
        rival.address
    );
    let answer = rival.send(Outgoing::get(&url)).await?.text();
    match question.want {
        Want::Newest(_) => Ok(answer.lines().filter(|line| !line.is_empty()).count() as u64),
        Want::Total => {
            let row: Value = serde_json::from_str(answer.lines().next().unwrap_or("{}"))?;
            Ok(row["rows"].as_str().and_then(|rows| rows.parse().ok()).unwrap_or(0))
        }
        Want::PerMinute | Want::PerMinuteAndLevel => {
            let answer: Value = serde_json::from_str(&answer)?;
            let hits = answer["hits"].as_array().map(Vec::as_slice).unwrap_or_default();
            Ok(hits.iter().filter_map(|series| series["total"].as_u64()).sum())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use record::Labels;

    use super::*;

    #[test]
    fn rows_are_objects_with_time_message_level_and_labels() {
        let labels = Labels::from_pairs([("namespace", "shop")]);
        let mut body = JsonLines::default();
        for line in ["say \"hi\"", ""] {
            body.push(&Entry {
                labels: &labels,
                time_ns: 1_736_920_800_000_000_001,
                level: "info",
                line,
            });
        }
        let text = String::from_utf8(body.take()).unwrap();
        let rows: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(rows[0]["_msg"], "say \"hi\"");
        assert_eq!(rows[0]["_time"], "1736920800000000001");
        assert_eq!(
            (&rows[0]["detected_level"], &rows[0]["namespace"]),
            (&"info".into(), &"shop".into())
        );
        assert_eq!(rows[1]["_msg"], " ");
        assert_eq!(body.bytes(), 0);
    }

    #[test]
    fn questions_are_written_in_logsql() {
        let question = |search, want| logsql(&Question { name: "q", search, want });
        let word = || Search::Word("abc".to_owned());
        assert_eq!(question(word(), Want::PerMinute), r#""abc""#);
        assert_eq!(
            question(word(), Want::Newest(100)),
            r#""abc" | sort by (_time) desc limit 100"#
        );
        assert_eq!(
            question(Search::Text("a.b".to_owned()), Want::Total),
            r#"~"a\\.b" | stats count() as rows"#
        );
        assert_eq!(question(Search::Everything, Want::PerMinuteAndLevel), "*");
    }
}
