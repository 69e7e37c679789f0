//! Asking a server and saying clearly what went wrong.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use runtime::http::{Client, ClientError, ClientOptions, Outgoing};
use serde_json::Value;

use crate::cli::ServerArgs;

/// Time a question may take: longer than a server's own query deadline, so that its words arrive.
const DEADLINE: Duration = Duration::from_secs(310);

/// Most bytes of an answer: five thousand lines of the longest length are far less.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// A server to ask.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    base: String,
    tenant: Option<String>,
}

impl Api {
    pub(super) fn new(server: &ServerArgs) -> Self {
        let options = ClientOptions {
            deadline: DEADLINE,
            response_bytes_max: ANSWER_BYTES_MAX,
            ..ClientOptions::default()
        };
        let base = server.addr.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        Self { client: Client::new(options), base, tenant: server.tenant.clone() }
    }

    /// Asks and returns the answer as JSON.
    pub(super) async fn get(
        &self,
        path: &str,
        parameters: &[(&str, String)],
    ) -> anyhow::Result<Value> {
        let pairs: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let url = format!("{}{path}?{}", self.base, pairs.join("&"));
        let mut question =
            Outgoing::get(&url).header("x-loki-response-encoding-flags", "categorize-labels");
        if let Some(tenant) = &self.tenant {
            question = question.header("x-scope-orgid", tenant);
        }
        let answer = self.client.send(question).await.map_err(|error| self.explain(error))?;
        if !answer.status.is_success() {
            bail!(refusal(answer.status.as_u16(), &answer.text()));
        }
        serde_json::from_slice(&answer.body).with_context(|| {
            format!("read the answer of `{}`; is it a Millrace or Loki server?", self.base)
        })
    }

    fn explain(&self, error: ClientError) -> anyhow::Error {
        match error {
            ClientError::Connect { reason, .. } => anyhow!(
                "nothing answers at {}: {reason}\n\
                 start a server with `millrace`, or name another one with --addr or MILLRACE_ADDR",
                self.base
            ),
            ClientError::BadUrl { reason, .. } => {
                anyhow!("`{}` is no address we can ask: {reason}", self.base)
            }
            other => other.into(),
        }
    }
}

/// Returns the server's words; Loki's are plain text, Prometheus' are JSON.
fn refusal(status: u16, body: &str) -> String {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let said = json
        .as_ref()
        .and_then(|json| json["error"].as_str().or_else(|| json["message"].as_str()))
        .unwrap_or(body)
        .trim();
    if said.is_empty() {
        return format!("server answered {status} without a word");
    }
    format!("server answered {status}: {said}")
}

/// Percent-encodes everything but unreserved characters.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_odd_is_encoded() {
        assert_eq!(encode("{a=\"ä b\"}+~"), "%7Ba%3D%22%C3%A4%20b%22%7D%2B~");
    }

    #[test]
    fn refusals_keep_the_servers_words() {
        let plain = refusal(400, "parse error at line 1, col 3: syntax error\n");
        assert_eq!(plain, "server answered 400: parse error at line 1, col 3: syntax error");
        let json = refusal(422, "{\"status\":\"error\",\"error\":\"too many\"}");
        assert_eq!(json, "server answered 422: too many");
        assert_eq!(refusal(502, " "), "server answered 502 without a word");
    }
}
