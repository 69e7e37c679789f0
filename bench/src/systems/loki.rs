//! Loki's push API, which Millrace's collector takes as well. Questions: [`crate::loki`].

use std::collections::BTreeMap;

use runtime::http::Outgoing;
use serde_json::{Value, json};

use super::rival::{Body, Entry, Rival};

/// A push request in JSON. Levels are left to the receiver, who detects them.
#[derive(Debug, Default)]
pub(super) struct Push {
    streams: BTreeMap<String, Vec<Value>>,
    bytes: usize,
}

impl Body for Push {
    fn push(&mut self, entry: &Entry<'_>) {
        self.bytes += entry.line.len() + 32;
        let value = json!([entry.time_ns.to_string(), entry.line]);
        self.streams.entry(entry.labels.to_json()).or_default().push(value);
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn take(&mut self) -> Vec<u8> {
        self.bytes = 0;
        let streams = std::mem::take(&mut self.streams).into_iter().map(|(labels, values)| {
            let labels: Value = serde_json::from_str(&labels).unwrap_or_default();
            json!({"stream": labels, "values": values})
        });
        json!({"streams": streams.collect::<Vec<Value>>()}).to_string().into_bytes()
    }
}

pub(super) async fn write(rival: &Rival, body: Vec<u8>) -> anyhow::Result<()> {
    let url = format!("{}/loki/api/v1/push", rival.push_address);
    rival.send(Outgoing::post(&url, "application/json", body)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use record::Labels;

    use super::*;

    #[test]
    fn rows_are_grouped_by_stream_in_order() {
        let (a, b) = (Labels::from_pairs([("app", "a")]), Labels::from_pairs([("app", "b")]));
        let mut body = Push::default();
        for (labels, time_ns, line) in [(&a, 1, "x"), (&b, 2, "y"), (&a, 3, "z")] {
            body.push(&Entry { labels, time_ns, level: "info", line });
        }
        let sent: Value = serde_json::from_slice(&body.take()).unwrap();
        let expected = json!({"streams": [
            {"stream": {"app": "a"}, "values": [["1", "x"], ["3", "z"]]},
            {"stream": {"app": "b"}, "values": [["2", "y"]]},
        ]});
        assert_eq!(sent, expected);
    }
}
