//! Other systems by address: fed the same lines, asked the same questions.
//!
//! A rival is somebody else's process. What it costs is read from `/proc` when its process id is
//! known, what it stores from its folder when that is known.

use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;
use record::Labels;
use runtime::http::{Client, ClientOptions, Outgoing, Response};
use serde::Serialize;

use super::{elasticsearch, loki, victorialogs};
use crate::corpus::{CorpusPlan, Rows, Summary};
use crate::questions::Question;

/// Bytes of lines in one request.
const REQUEST_BYTES: usize = 2 << 20;

/// Which system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RivalKind {
    /// VictoriaLogs, fed JSON lines, asked in LogsQL.
    #[value(name = "victorialogs")]
    VictoriaLogs,
    /// Loki, or Millrace by the same API.
    Loki,
    /// Elasticsearch or OpenSearch.
    Elasticsearch,
}

/// A system to be fed and asked.
#[derive(Clone, Debug)]
pub struct Rival {
    kind: RivalKind,
    pub(super) client: Client,
    /// `http://host:port` for questions.
    pub(super) address: String,
    /// The same for writing.
    pub(super) push_address: String,
}

/// A row with its labels and level, as every system is given it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Of its stream.
    pub labels: &'a Labels,
    /// Unix ns.
    pub time_ns: i64,
    /// What a collector detects.
    pub level: &'a str,
    /// Without line end.
    pub line: &'a str,
}

/// Makes the body of one write request of a system.
pub(super) trait Body: Send {
    /// Adds a row.
    fn push(&mut self, entry: &Entry<'_>);

    /// About how large the body is.
    fn bytes(&self) -> usize;

    /// The body; afterwards it is empty again.
    fn take(&mut self) -> Vec<u8>;
}

impl Rival {
    /// A system at `address`; writes go to `push_address` where that is another one.
    pub fn new(kind: RivalKind, address: &str, push_address: Option<&str>) -> Self {
        let options = ClientOptions {
            deadline: std::time::Duration::from_secs(600),
            response_bytes_max: 1 << 30,
            ..ClientOptions::default()
        };
        let address = address.trim_end_matches('/').to_owned();
        let push_address = push_address.map_or(address.as_str(), |push| push.trim_end_matches('/'));
        let push_address = push_address.to_owned();
        Self { kind, client: Client::new(options), address, push_address }
    }

    /// Writes a whole corpus and waits until it can be searched.
    ///
    /// # Errors
    /// When the system cannot be reached or refuses a request.
    pub async fn feed(&self, plan: CorpusPlan) -> anyhow::Result<(Summary, Rows)> {
        let mut rows = Rows::new(plan)?;
        let streams = rows.streams().to_vec();
        let mut body: Box<dyn Body> = match self.kind {
            RivalKind::VictoriaLogs => Box::new(victorialogs::JsonLines::default()),
            RivalKind::Loki => Box::new(loki::Push::default()),
            RivalKind::Elasticsearch => {
                elasticsearch::create_index(self).await?;
                Box::new(elasticsearch::Bulk::default())
            }
        };
        while let Some(row) = rows.next_row() {
            let labels = &streams[row.stream];
            let level = record::level::detect::<&str, &str>(labels, &[], row.line);
            body.push(&Entry { labels, time_ns: row.time_ns, level: &level, line: row.line });
            if REQUEST_BYTES <= body.bytes() {
                self.write(body.take()).await?;
            }
        }
        if 0 < body.bytes() {
            self.write(body.take()).await?;
        }
        match self.kind {
            RivalKind::VictoriaLogs => victorialogs::flush(self).await?,
            RivalKind::Loki => {}
            RivalKind::Elasticsearch => elasticsearch::refresh(self).await?,
        }
        Ok((rows.summary(), rows))
    }

    async fn write(&self, body: Vec<u8>) -> anyhow::Result<()> {
        match self.kind {
            RivalKind::VictoriaLogs => victorialogs::write(self, body).await,
            RivalKind::Loki => loki::write(self, body).await,
            RivalKind::Elasticsearch => elasticsearch::write(self, body).await,
        }
    }

    /// Asks a question and returns the entries, or the sum of all values.
    ///
    /// # Errors
    /// When the system cannot be reached, refuses, or answers in another shape.
    pub async fn ask(&self, question: &Question, range: (i64, i64)) -> anyhow::Result<u64> {
        match self.kind {
            RivalKind::VictoriaLogs => victorialogs::ask(self, question, range).await,
            RivalKind::Loki => crate::loki::Loki::new(&self.address).answer(question, range).await,
            RivalKind::Elasticsearch => elasticsearch::ask(self, question, range).await,
        }
        .context(question.name)
    }

    /// Sends a request and fails on any answer but a good one.
    pub(super) async fn send(&self, outgoing: Outgoing<'_>) -> anyhow::Result<Response> {
        let url = outgoing.url.to_owned();
        let response = self.client.send(outgoing).await?;
        anyhow::ensure!(
            response.status.is_success(),
            "{url}: {} {}",
            response.status,
            response.text().chars().take(500).collect::<String>()
        );
        Ok(response)
    }
}

/// Bytes of all files below a folder.
///
/// # Errors
/// When a folder cannot be read.
pub fn folder_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        // Files may be merged away while we look.
        let Ok(meta) = entry.metadata() else { continue };
        bytes += if meta.is_dir() { folder_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::Router;
    use axum::extract::{DefaultBodyLimit, State};
    use axum::http::Uri;
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::corpus::CorpusKind;
    use crate::questions::named;

    /// Counts the rows it is sent, and answers every question with 7.
    async fn fake(State(rows): State<Arc<AtomicU64>>, uri: Uri, body: Bytes) -> String {
        let (path, uri) = (uri.path().to_owned(), uri.to_string());
        let parsed = || serde_json::from_slice::<Value>(&body).unwrap();
        let lines = || body.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count() as u64;
        let seven = json!({"data": {"resultType": "matrix", "result": [
            {"metric": {}, "value": [1, "7"], "values": [[1, "3"], [2, "4"]]}]}});
        let entries: Vec<Value> = (1..=7).map(|n| json!([n.to_string(), "x"])).collect();
        let answer = match path.as_str() {
            "/insert/jsonline" => {
                rows.fetch_add(lines(), Ordering::SeqCst);
                Value::Null
            }
            "/loki/api/v1/push" => {
                let streams = parsed()["streams"].as_array().unwrap().clone();
                let sent = streams.iter().map(|s| s["values"].as_array().unwrap().len() as u64);
                rows.fetch_add(sent.sum(), Ordering::SeqCst);
                Value::Null
            }
            "/bench/_bulk" => {
                rows.fetch_add(lines() / 2, Ordering::SeqCst);
                json!({"errors": false})
            }
            "/select/logsql/query" if uri.contains("stats") => json!({"rows": "7"}),
            "/select/logsql/query" => return "{}\n".repeat(7),
            "/select/logsql/hits" => json!({"hits": [{"total": 3}, {"total": 4}]}),
            "/loki/api/v1/query_range" if uri.contains("count_over_time") => seven,
            "/loki/api/v1/query_range" => json!({"data": {"resultType": "streams", "result": [
                {"stream": {"app": "a"}, "values": entries}]}}),
            "/loki/api/v1/query" => seven,
            "/bench/_search" => json!({"hits": {"total": {"value": 7}, "hits": entries}}),
            _ => json!({}),
        };
        answer.to_string()
    }

    #[tokio::test]
    async fn every_system_gets_every_row_and_its_answers_are_understood() {
        let kinds = [RivalKind::VictoriaLogs, RivalKind::Loki, RivalKind::Elasticsearch];
        for kind in kinds {
            let rows = Arc::new(AtomicU64::new(0));
            let router = Router::new().fallback(fake).layer(DefaultBodyLimit::disable());
            let router = router.with_state(Arc::clone(&rows));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            let serving = async { axum::serve(listener, router).await.unwrap() };
            let rival = Rival::new(kind, &address, None);
            let asking = async {
                let plan = CorpusPlan::new(CorpusKind::K8s, 5_000_000, 1);
                let (summary, made) = rival.feed(plan).await.unwrap();
                assert_eq!(rows.load(Ordering::SeqCst), summary.rows, "{kind:?}");
                for question in named(made.needles()) {
                    let answer = rival.ask(&question, plan.range()).await.unwrap();
                    assert_eq!(answer, 7, "{kind:?} {question:?}");
                }
            };
            tokio::select! {
                () = serving => panic!("the fake ended"),
                () = asking => {}
            }
        }
    }

    #[test]
    fn folders_are_summed_with_what_lies_below() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/b"), "123").unwrap();
        std::fs::write(folder.path().join("c"), "4567").unwrap();
        assert_eq!(folder_bytes(folder.path()).unwrap(), 7);
    }
}
