//! Rows an indexer holds and no pinned segment holds: what query asks for and what it is answered.
//!
//! Query pins a catalog state, reads the segments in it, and asks every partition's owner for the
//! rows at or beyond the offset that state had published. Both halves use the same plan, so the
//! two together hold each row exactly once.
//!
//! What always holds:
//! * An answer covers every pin of its request or is refused as a whole: status [`PLAN_AGAIN`]
//!   says that the indexer does not own a partition, or no longer holds rows a pin asks for. The
//!   asker refreshes its catalog state and plans again.
//! * A framed body ends with an end frame; one that does not was cut short and is an error, never
//!   a shorter answer.
//! * A partition whose owner has not yet read up to where the queue stood when it took over is
//!   named in [`ScanStats::catching_up`]: rows seen before may be missing for that moment.
//!
//! Requests are JSON and bounded by the server's body limit; answers are JSON or frames.

use bytes::{Buf, Bytes};
use record::{Matcher, TenantId};
use serde::{Deserialize, Serialize};

/// Log rows that satisfy a plan, in the order they arrived. Asks with [`Ask`] over
/// [`LogPlan`](crate::logs::plan::LogPlan), answers with frames of log batches.
pub const LOGS_SCAN: &str = "/internal/v1/logs/scan";
/// Lines and bytes per stream, level and minute. Asks with [`Ask`] over [`StreamPlan`], answers with
/// a JSON array of volume rows.
pub const LOGS_VOLUME: &str = "/internal/v1/logs/volume";
/// Streams with at least one row in the range. Asks with [`Ask`] over [`StreamPlan`], answers with a
/// JSON array of label sets.
pub const LOGS_STREAMS: &str = "/internal/v1/logs/streams";
/// Samples that satisfy a plan. Asks with [`Ask`] over a sample plan, answers with frames of sample
/// batches, since JSON cannot carry every bit pattern of a float.
///
/// Samples already published may be among them: a sample is identified by its series and time, so
/// the asker merges and keeps one. Where values differ, the published one wins.
pub const SAMPLES_SCAN: &str = "/internal/v1/samples/scan";
/// Series with at least one sample in the range. Asks with [`Ask`] over a sample plan, answers with
/// a JSON array of label sets.
pub const SAMPLES_SERIES: &str = "/internal/v1/samples/series";
/// Metric families the indexer holds a description of. Asks with [`Ask`] over [`MetadataPlan`],
/// answers with a JSON array of metric metadata.
pub const SAMPLES_METADATA: &str = "/internal/v1/samples/metadata";

/// HTTP status of "your catalog state is too old for me, or I am not the owner: plan again".
pub const PLAN_AGAIN: u16 = 409;

/// Answer header that carries [`ScanStats`] as JSON.
pub const STATS_HEADER: &str = "x-millrace-stats";

/// Content type of a body of frames.
pub const FRAMES_CONTENT_TYPE: &str = "application/vnd.millrace.frames";

/// Bytes of a frame's length prefix.
const PREFIX_BYTES: usize = 4;

/// Length that marks the end of a body. No batch encodes to nothing, so no frame has it.
const END: u32 = 0;
const END_FRAME: [u8; PREFIX_BYTES] = END.to_le_bytes();

/// A partition and the first offset that the asker's catalog state had not published.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pin {
    pub topic: String,
    pub partition: i32,
    /// Rows from this queue offset on are wanted; those below it are in segments the asker reads.
    pub offset: i64,
}

/// A question to one indexer about partitions it owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask<P> {
    pub pinned: Vec<Pin>,
    pub plan: P,
}

/// Which streams a question about log streams or volume is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPlan {
    pub tenant: TenantId,
    /// All must hold for the stream.
    pub matchers: Vec<Matcher>,
    /// Earliest time, inclusive, ns since the Unix epoch.
    pub start_ns: i64,
    /// Latest time, exclusive.
    pub end_ns: i64,
}

/// Whose metric families a question is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataPlan {
    pub tenant: TenantId,
}

/// A partition by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartitionName {
    pub topic: String,
    pub partition: i32,
}

/// What answering cost and how complete the answer is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScanStats {
    /// Rows looked at, beyond the pins.
    pub rows_scanned: u64,
    /// Line bytes (samples: 16 per sample) of the rows looked at.
    pub bytes_scanned: u64,
    /// Rows in the answer.
    pub rows_returned: u64,
    /// Partitions whose owner is still reading what was queued when it took over.
    pub catching_up: Vec<PartitionName>,
}

/// Why a framed body could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the answer ends inside a frame or without its end frame")]
    Truncated,
    #[error("a frame of {bytes} bytes is over the limit of {bytes_max} bytes")]
    TooLarge { bytes: u32, bytes_max: u32 },
    #[error("{bytes} bytes follow the end frame")]
    Trailing { bytes: usize },
}

/// Returns `payload` as a frame: its length as u32 little endian, then the payload.
///
/// # Errors
/// [`FrameError::TooLarge`] when the payload's length does not fit the prefix.
pub fn frame(payload: &[u8]) -> Result<Bytes, FrameError> {
    let Ok(length) = u32::try_from(payload.len()) else {
        return Err(FrameError::TooLarge { bytes: u32::MAX, bytes_max: u32::MAX });
    };
    let mut framed = Vec::with_capacity(PREFIX_BYTES + payload.len());
    framed.extend_from_slice(&length.to_le_bytes());
    framed.extend_from_slice(payload);
    Ok(Bytes::from(framed))
}

/// Returns the frame that ends every body.
#[must_use]
pub fn end_frame() -> Bytes {
    Bytes::from_static(&END_FRAME)
}

/// Splits a whole body into the payloads of its frames, without copying them.
///
/// # Errors
/// When the body was cut short, a frame is over `frame_bytes_max`, or bytes follow the end.
pub fn split_frames(mut body: Bytes, frame_bytes_max: u32) -> Result<Vec<Bytes>, FrameError> {
    let mut payloads = Vec::new();
    loop {
        if body.remaining() < PREFIX_BYTES {
            return Err(FrameError::Truncated);
        }
        let length = body.get_u32_le();
        if length == END {
            break;
        }
        if frame_bytes_max < length {
            return Err(FrameError::TooLarge { bytes: length, bytes_max: frame_bytes_max });
        }
        if body.remaining() < length as usize {
            return Err(FrameError::Truncated);
        }
        payloads.push(body.split_to(length as usize));
    }
    if body.has_remaining() {
        return Err(FrameError::Trailing { bytes: body.remaining() });
    }
    Ok(payloads)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    fn body(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut body = Vec::new();
        for payload in payloads {
            body.extend_from_slice(&frame(payload).unwrap());
        }
        body.extend_from_slice(&end_frame());
        body
    }

    proptest! {
        #[test]
        fn frames_come_back_and_no_shorter_body_is_accepted(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        ) {
            let whole = body(&payloads);
            let read = split_frames(Bytes::from(whole.clone()), 64).unwrap();
            prop_assert_eq!(read, payloads.iter().cloned().map(Bytes::from).collect::<Vec<_>>());
            for length in 0..whole.len() {
                let cut = Bytes::copy_from_slice(whole.get(..length).unwrap());
                prop_assert_eq!(split_frames(cut, 64), Err(FrameError::Truncated));
            }
        }

        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            match split_frames(Bytes::from(bytes), 16) {
                Ok(payloads) => prop_assert!(payloads.iter().all(|payload| payload.len() <= 16)),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn a_frame_over_the_limit_and_bytes_after_the_end_are_named() {
        let large = Bytes::from(body(&[vec![7; 65]]));
        assert_eq!(split_frames(large, 64), Err(FrameError::TooLarge { bytes: 65, bytes_max: 64 }));
        let mut trailing = body(&[vec![1]]);
        trailing.extend_from_slice(&[9, 9]);
        assert_eq!(split_frames(Bytes::from(trailing), 64), Err(FrameError::Trailing { bytes: 2 }));
    }

    #[test]
    fn an_ask_reads_as_documented_and_ignores_what_it_does_not_know() {
        let text = r#"{"pinned":[{"topic":"millrace.logs","partition":0,"offset":42,"new":1}],"plan":{"a":1}}"#;
        let ask: Ask<serde_json::Value> = serde_json::from_str(text).unwrap();
        assert_eq!(ask.pinned, [Pin { topic: "millrace.logs".into(), partition: 0, offset: 42 }]);
        let stats: ScanStats = serde_json::from_str(r#"{"rows_returned":3}"#).unwrap();
        assert_eq!(stats.rows_returned, 3);
        assert!(stats.catching_up.is_empty());
    }
}
