//! The JSON form: `{"streams":[{"stream":{…},"values":[["<ns>","<line>",{…}?],…]}]}`.

use std::collections::BTreeMap;

use record::Labels;
use serde::Deserialize;

use super::{PushEntry, PushError, PushStream};

#[derive(Deserialize)]
struct Request {
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    stream: Labels,
    values: Vec<Entry>,
}

/// Time in ns and line, both strings, and structured metadata where there is some.
#[derive(Deserialize)]
struct Entry(String, String, #[serde(default)] BTreeMap<String, String>);

/// Nesting is capped by the parser (128 levels), size by the caller.
pub(super) fn decode(body: &[u8]) -> Result<Vec<PushStream>, PushError> {
    let request: Request = serde_json::from_slice(body).map_err(|error| {
        PushError::Malformed(format!("push request is not as expected: {error}"))
    })?;
    request.streams.into_iter().map(stream).collect()
}

fn stream(sent: Stream) -> Result<PushStream, PushError> {
    let entries: Result<Vec<PushEntry>, PushError> = sent.values.into_iter().map(entry).collect();
    Ok(PushStream { labels: sent.stream, entries: entries? })
}

fn entry(Entry(time, line, metadata): Entry) -> Result<PushEntry, PushError> {
    let time_ns = time.parse().map_err(|_| {
        let shown: String = time.chars().take(40).collect();
        PushError::Malformed(format!("timestamp `{shown}` is not a number of nanoseconds"))
    })?;
    Ok(PushEntry { time_ns, line, attributes: metadata.into_iter().collect() })
}
