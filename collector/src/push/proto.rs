//! The protobuf form, `logproto.PushRequest`. Field numbers: `specs/loki-api.md` 8.1.

use prost::Message;
use record::Labels;

use super::{PushEntry, PushError, PushStream};

#[derive(Clone, PartialEq, Message)]
pub(super) struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Stream {
    #[prost(string, tag = "1")]
    pub(super) labels: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(message, optional, tag = "1")]
    pub(super) timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub(super) line: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) structured_metadata: Vec<Pair>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Pair {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

pub(super) fn decode(body: &[u8]) -> Result<Vec<PushStream>, PushError> {
    let request = PushRequest::decode(body)
        .map_err(|error| PushError::Malformed(format!("push request is no protobuf: {error}")))?;
    request.streams.into_iter().map(stream).collect()
}

fn stream(sent: Stream) -> Result<PushStream, PushError> {
    let labels = Labels::parse(&sent.labels).map_err(|error| {
        let shown: String = sent.labels.chars().take(200).collect();
        PushError::Malformed(format!("labels `{shown}`: {error}"))
    })?;
    Ok(PushStream { labels, entries: sent.entries.into_iter().map(entry).collect() })
}

fn entry(sent: Entry) -> PushEntry {
    let time = sent.timestamp.unwrap_or_default();
    // Saturates: such a time is rejected by its age later, entry by entry.
    let time_ns = time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanos.into());
    let attributes = sent.structured_metadata.into_iter().map(|p| (p.name, p.value)).collect();
    PushEntry { time_ns, line: sent.line, attributes }
}
