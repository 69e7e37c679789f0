//! A plain client of the Loki and Prometheus query APIs, as a test or a person would ask.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use runtime::http::{Client, ClientOptions, Outgoing};
use serde_json::Value;

use crate::oracle::{Entry, StreamKey};
use crate::questions::{Question, Want};

/// Asks one query service.
#[derive(Clone, Debug)]
pub struct Loki {
    client: Client,
    address: String,
}

/// A log query over a range of time.
#[derive(Clone, Debug)]
pub struct RangeQuery<'a> {
    /// LogQL.
    pub query: &'a str,
    /// First ns, included.
    pub start_ns: i64,
    /// Last ns, excluded.
    pub end_ns: i64,
    /// Most entries.
    pub limit: usize,
    /// Oldest first.
    pub forward: bool,
}

/// One stream of an answer: its labels and its entries in order.
pub type Stream = (serde_json::Map<String, Value>, Vec<Entry>);

impl Loki {
    /// A client of `http://host:port`.
    pub fn new(address: &str) -> Self {
        let options = ClientOptions {
            deadline: Duration::from_secs(120),
            response_bytes_max: 1 << 30,
            ..ClientOptions::default()
        };
        Self { client: Client::new(options), address: address.to_owned() }
    }

    /// The streams of a log query.
    ///
    /// # Errors
    /// When the service cannot be reached, refuses, answers in part (a warning), or in another
    /// shape.
    pub async fn query_range(&self, ask: &RangeQuery<'_>) -> anyhow::Result<Vec<Stream>> {
        let RangeQuery { query, start_ns, end_ns, limit, forward } = ask;
        let direction = if *forward { "forward" } else { "backward" };
        let query = encode(query);
        let path = format!(
            "/loki/api/v1/query_range?query={query}&start={start_ns}&end={end_ns}&limit={limit}&direction={direction}"
        );
        let answer = self.get(&path).await?;
        let data = &answer["data"];
        ensure!(data["resultType"] == "streams", "not streams: {answer}");
        data["result"].as_array().context("result")?.iter().map(stream).collect()
    }

    /// Every entry of one stream, page by page, oldest first.
    ///
    /// # Errors
    /// As [`Loki::query_range`].
    pub async fn all(&self, key: &StreamKey, range: (i64, i64)) -> anyhow::Result<Vec<Entry>> {
        let (mut start_ns, end_ns) = range;
        let limit = 5000;
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let query = key.selector();
            let ask = RangeQuery { query: &query, start_ns, end_ns, limit, forward: true };
            // Attributes such as the level split the stream in groups: put them in order again.
            let mut page: Vec<Entry> =
                self.query_range(&ask).await?.into_iter().flat_map(|(_, e)| e).collect();
            page.sort_by_key(|(time, _)| *time);
            let full = limit <= page.len();
            start_ns = page.last().map_or(end_ns, |(time, _)| time + 1);
            all.append(&mut page);
            if !full {
                return Ok(all);
            }
        }
    }

    /// The one value of an instant metric query; 0 where the answer is empty.
    ///
    /// # Errors
    /// As [`Loki::query_range`].
    pub async fn number(&self, query: &str, time_ns: i64) -> anyhow::Result<f64> {
        let path = format!("/loki/api/v1/query?query={}&time={time_ns}", encode(query));
        let answer = self.get(&path).await?;
        let result = answer["data"]["result"].as_array().context("result")?;
        let Some(first) = result.first() else { return Ok(0.0) };
        first["value"][1].as_str().context("value")?.parse().context("number")
    }

    /// The entries, or the sum of all values, that answer a named question.
    ///
    /// # Errors
    /// As [`Loki::query_range`].
    pub async fn answer(&self, question: &Question, range: (i64, i64)) -> anyhow::Result<u64> {
        let (start_ns, end_ns) = range;
        let query = question.logql(((end_ns - start_ns) / 1_000_000_000).unsigned_abs());
        match question.want {
            Want::Newest(limit) => {
                let query = &query;
                let ask = RangeQuery { query, start_ns, end_ns, limit, forward: false };
                let streams = self.query_range(&ask).await?;
                Ok(streams.iter().map(|(_, entries)| entries.len() as u64).sum())
            }
            Want::PerMinute | Want::PerMinuteAndLevel => {
                let answer = self.matrix(&query, range, 60).await?;
                Ok(answer.iter().map(sum_of_values).sum::<f64>() as u64)
            }
            Want::Total => Ok(self.number(&query, end_ns).await? as u64),
        }
    }

    /// The series of a metric query over a range, a value every `step_secs`.
    ///
    /// # Errors
    /// As [`Loki::query_range`].
    pub async fn matrix(
        &self,
        query: &str,
        (start_ns, end_ns): (i64, i64),
        step_secs: u64,
    ) -> anyhow::Result<Vec<Value>> {
        let query = encode(query);
        let path = format!(
            "/loki/api/v1/query_range?query={query}&start={start_ns}&end={end_ns}&step={step_secs}"
        );
        let mut answer = self.get(&path).await?;
        ensure!(answer["data"]["resultType"] == "matrix", "not a matrix: {answer}");
        match answer["data"]["result"].take() {
            Value::Array(series) => Ok(series),
            other => bail!("no series: {other}"),
        }
    }

    /// A path's JSON answer.
    ///
    /// # Errors
    /// When it is no 200 with JSON, or carries a warning.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.address);
        let response = self.client.send(Outgoing::get(&url)).await?;
        ensure!(response.status == 200, "{} {}: {}", response.status, path, response.text());
        let answer: Value = serde_json::from_slice(&response.body).context("JSON")?;
        if let Some(warnings) = answer.get("warnings") {
            bail!("partial answer: {warnings}");
        }
        Ok(answer)
    }
}

fn stream(value: &Value) -> anyhow::Result<Stream> {
    let labels = value["stream"].as_object().context("stream")?.clone();
    let entry = |row: &Value| {
        let time = row[0].as_str().context("time")?.parse().context("time")?;
        Ok((time, row[1].as_str().context("line")?.to_owned()))
    };
    let entries: anyhow::Result<Vec<Entry>> =
        value["values"].as_array().context("values")?.iter().map(entry).collect();
    Ok((labels, entries?))
}

fn sum_of_values(series: &Value) -> f64 {
    let values = series["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(|value| value[1].as_str()?.parse::<f64>().ok()).sum()
}

/// Percent-encodes a query parameter.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
