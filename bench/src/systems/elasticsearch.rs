//! Elasticsearch and OpenSearch: `_bulk` and `_search`.
//!
//! The message is indexed twice, as its makers advise for logs: as text for words and as a
//! wildcard field for substrings and regular expressions.

use runtime::http::Outgoing;
use serde_json::{Value, json};

use super::rival::{Body, Entry, Rival};
use crate::questions::{Question, Search, Want};

const INDEX: &str = "bench";

/// Pairs of an action and a document.
#[derive(Debug, Default)]
pub(super) struct Bulk(Vec<u8>);

impl Body for Bulk {
    fn push(&mut self, entry: &Entry<'_>) {
        self.0.extend_from_slice(b"{\"create\":{}}\n");
        let mut document = serde_json::Map::new();
        // Milliseconds would lose the order; strings of this form keep every ns.
        let (seconds, nanos) =
            (entry.time_ns.div_euclid(1_000_000_000), entry.time_ns.rem_euclid(1_000_000_000));
        let millis = seconds * 1_000 + nanos / 1_000_000;
        let time = format!("{millis}.{:06}", nanos % 1_000_000);
        document.insert("@timestamp".to_owned(), Value::from(time));
        document.insert("message".to_owned(), Value::from(entry.line));
        document.insert("detected_level".to_owned(), Value::from(entry.level));
        for (name, value) in entry.labels.iter() {
            document.insert(name.to_owned(), Value::from(value));
        }
        // A map of strings always becomes JSON.
        self.0.extend(serde_json::to_vec(&document).unwrap_or_default());
        self.0.push(b'\n');
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// Makes an empty index, and removes the one of an earlier run.
pub(super) async fn create_index(rival: &Rival) -> anyhow::Result<()> {
    let url = format!("{}/{INDEX}", rival.push_address);
    let old = Outgoing { method: axum::http::Method::DELETE, ..Outgoing::get(&url) };
    // There may be none.
    rival.client.send(old).await?;
    let body = json!({
        "settings": {"number_of_shards": 1, "number_of_replicas": 0, "codec": "best_compression"},
        "mappings": {
            "dynamic_templates": [{"labels": {"match": "*", "mapping": {"type": "keyword"}}}],
            "properties": {
                "@timestamp": {"type": "date_nanos", "format": "epoch_millis"},
                "message": {"type": "text", "fields": {"raw": {"type": "wildcard"}}},
            },
        },
    });
    let create = Outgoing {
        method: axum::http::Method::PUT,
        ..Outgoing::post(&url, "application/json", body.to_string())
    };
    rival.send(create).await?;
    Ok(())
}

pub(super) async fn write(rival: &Rival, body: Vec<u8>) -> anyhow::Result<()> {
    let url = format!("{}/{INDEX}/_bulk", rival.push_address);
    let answer = rival.send(Outgoing::post(&url, "application/x-ndjson", body)).await?;
    let answer: Value = serde_json::from_slice(&answer.body)?;
    anyhow::ensure!(answer["errors"] == false, "documents were refused: {answer:.500}");
    Ok(())
}

/// Makes what was written searchable.
pub(super) async fn refresh(rival: &Rival) -> anyhow::Result<()> {
    let url = format!("{}/{INDEX}/_refresh", rival.push_address);
    rival.send(Outgoing::post(&url, "application/json", "")).await?;
    Ok(())
}

/// The body of `_search`.
pub(super) fn search(question: &Question, (start_ns, end_ns): (i64, i64)) -> Value {
    let millis = |ns: i64| ns / 1_000_000;
    let range = json!({"range": {"@timestamp": {"gte": millis(start_ns), "lt": millis(end_ns), "format": "epoch_millis"}}});
    let wildcard = |text: &str| {
        let escaped = text.replace('\\', "\\\\").replace('*', "\\*").replace('?', "\\?");
        json!({"wildcard": {"message.raw": {"value": format!("*{escaped}*")}}})
    };
    let filter = match &question.search {
        Search::Everything => json!({"match_all": {}}),
        Search::Word(word) => json!({"match_phrase": {"message": word}}),
        Search::Text(text) => wildcard(text),
        // Lucene's expressions match the whole field.
        Search::Regex(pattern) => {
            json!({"regexp": {"message.raw": {"value": format!(".*({pattern}).*")}}})
        }
    };
    let minutes = json!({"date_histogram": {"field": "@timestamp", "fixed_interval": "1m"}});
    let (size, aggregations) = match question.want {
        Want::Newest(limit) => (limit, json!({})),
        Want::Total => (0, json!({})),
        Want::PerMinute => (0, json!({"minutes": minutes})),
        Want::PerMinuteAndLevel => {
            let levels =
                json!({"terms": {"field": "detected_level"}, "aggs": {"minutes": minutes}});
            (0, json!({"levels": levels}))
        }
    };
    json!({
        "size": size,
        "track_total_hits": !matches!(question.want, Want::Newest(_)),
        "query": {"bool": {"filter": [range, filter]}},
        "sort": [{"@timestamp": "desc"}],
        "aggs": aggregations,
    })
}

pub(super) async fn ask(
    rival: &Rival,
    question: &Question,
    range: (i64, i64),
) -> anyhow::Result<u64> {
    // Its own cache of whole answers would hide what a question costs.
    let url = format!("{}/{INDEX}/_search?request_cache=false", rival.address);
    let body = search(question, range).to_string();
    let answer = rival.send(Outgoing::post(&url, "application/json", body)).await?;
    let answer: Value = serde_json::from_slice(&answer.body)?;
    Ok(match question.want {
        Want::Newest(_) => answer["hits"]["hits"].as_array().map_or(0, Vec::len) as u64,
        _ => answer["hits"]["total"]["value"].as_u64().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use record::Labels;

    use super::*;

    #[test]
    fn documents_follow_their_actions_and_keep_every_nanosecond() {
        let labels = Labels::from_pairs([("namespace", "shop")]);
        let mut body = Bulk::default();
        body.push(&Entry {
            labels: &labels,
            time_ns: 1_736_920_800_000_000_001,
            level: "info",
            line: "x",
        });
        let text = String::from_utf8(body.take()).unwrap();
        let (action, document) = text.split_once('\n').unwrap();
        assert_eq!(action, r#"{"create":{}}"#);
        let document: Value = serde_json::from_str(document).unwrap();
        assert_eq!(document["@timestamp"], "1736920800000.000001");
        assert_eq!((&document["message"], &document["namespace"]), (&"x".into(), &"shop".into()));
    }

    #[test]
    fn words_texts_and_expressions_use_the_field_made_for_them() {
        let filter = |search| {
            let question = Question { name: "q", search, want: Want::Total };
            search_filter(&search_body(&question))
        };
        let search_body_of = |text: &str| text.to_owned();
        assert_eq!(
            filter(Search::Word(search_body_of("abc"))),
            json!({"match_phrase": {"message": "abc"}})
        );
        assert_eq!(
            filter(Search::Text("a*b".to_owned())),
            json!({"wildcard": {"message.raw": {"value": "*a\\*b*"}}})
        );
    }

    fn search_body(question: &Question) -> Value {
        search(question, (0, 1))
    }

    fn search_filter(body: &Value) -> Value {
        body["query"]["bool"]["filter"][1].clone()
    }
}
